"""Exports run by the engines they are made for: the `moshi` crate (Candle), moshi_mlx and transformers, on the tiny model.

Each test skips, by name, only where its engine is not installed.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from random_models import make_random_base, random_codes, without_heads

from stt_ft.audio.files import read_audio, write_wav
from stt_ft.core.errors import CheckFailed, MissingExtra
from stt_ft.core.recipe import LoraRecipe
from stt_ft.core.serving import SERVINGS
from stt_ft.dataset.manifest import Dataset
from stt_ft.export.candle import CargoMissing, build_probe, run_on_codes, run_probe
from stt_ft.export.formats import Engine, engine_of, heard_by_pytorch, verify_export, write_format
from stt_ft.model.checkpoint_dir import ModelDir, open_model
from stt_ft.model.codes import MimiCodec
from stt_ft.model.lora import adapter_state_dict, make_trainable
from stt_ft.model.merge import Adapter, merge_adapter
from stt_ft.model.safetensors_file import write_tensors
from stt_ft.model.stt_lm import load_lm

NUM_CLIPS = 20


@pytest.fixture(scope="session")
def candle() -> Path:
    """The program built on the production engine's crate."""
    try:
        return build_probe()
    except CargoMissing:
        pytest.skip("cargo is not installed: the Candle engine cannot be built")


def engine_or_skip(format: str) -> Engine:
    try:
        return engine_of(format)
    except MissingExtra as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def heldout(tiny_model: ModelDir, tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """Codes of clips by voices that the tiny model has never heard, and one clip longer than its context."""
    pytest.importorskip("espeakng_loader")
    from stt_ft.simulation.casting import HELDOUT_CAST
    from stt_ft.simulation.takes import TakePlan, write_takes

    data = Dataset(tmp_path_factory.mktemp("heldout"))
    plans = [TakePlan(split="heldout", kind=kind, count=NUM_CLIPS // 2, cast=HELDOUT_CAST) for kind in ("number", "ordinary")]
    clips = [clip for plan in plans for clip in write_takes(data, plan, seed=5, used_digits=set())]
    codes = MimiCodec.load(tiny_model).encode([read_audio(data.audio_path(clip)) for clip in clips])
    long = np.concatenate(codes[:8], axis=1)[:, : tiny_model.context + 50]
    return dict(zip((clip.path for clip in clips), codes, strict=True)) | {"longer than the context": long}


def test_candle_writes_the_same_tokens_and_pauses(candle, tiny_model, heldout, tmp_path):
    write_format("candle", tiny_model, tmp_path / "out")
    result = verify_export(engine_of("candle"), tiny_model, tmp_path / "out", heldout)
    assert result.agreement.same_tokens == 1.0
    assert result.agreement.max_pause_difference is not None
    assert result.agreement.max_pause_difference <= 1e-3
    assert result.agreement.num_clips == NUM_CLIPS + 1
    assert result.bfloat16 is not None


@pytest.mark.slow
def test_candle_notices_other_weights(candle, tiny_model, heldout, tmp_path):
    write_format("candle", tiny_model, tmp_path / "out")
    path = tmp_path / "out" / "model.safetensors"
    weights = safetensors.torch.load_file(path)
    weights["extra_heads.2.weight"] += 0.05
    safetensors.torch.save_file(weights, path)
    with pytest.raises(CheckFailed, match="pause probabilities differ"):
        verify_export(engine_of("candle"), tiny_model, tmp_path / "out", heldout)


@pytest.mark.slow
def test_candle_hears_as_few_codebooks_as_unmutes_server(candle, tiny_model, heldout, tmp_path):
    """Ten of the tiny model's 16 codebooks, on speech: the same tokens and pauses; and not those of all 16."""
    unmute = SERVINGS["unmute"]
    write_format("candle", tiny_model, tmp_path / "out", serving=unmute)
    result = verify_export(engine_of("candle"), tiny_model, tmp_path / "out", heldout, unmute)
    assert result.agreement.same_tokens == 1.0
    assert result.agreement.num_clips == NUM_CLIPS + 1
    with pytest.raises(CheckFailed):
        verify_export(engine_of("candle"), tiny_model, tmp_path / "out", heldout)


def hear_wav(candle: Path, model: ModelDir, directory: Path) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Forty frames of noise that swells and fades: the codes [n_q, T] that our Mimi makes of it, and what the engine tells of the WAV."""
    write_format("candle", model, directory / "out")
    loudness = np.sin(np.linspace(0, 3 * np.pi, 40 * 1920)) ** 2
    write_wav(directory / "noise.wav", (np.random.default_rng(1).normal(0, 0.1, len(loudness)) * loudness).astype(np.float32))
    rows = run_probe(candle, directory / "out", "--wav", str(directory / "noise.wav"))
    codes = MimiCodec.load(model).encode([read_audio(directory / "noise.wav")])[0][:, : len(rows)]
    assert codes.shape == (model.n_q, 40)
    return codes, rows


def test_candle_hears_a_wav_through_its_own_mimi(candle, tiny_model, tmp_path):
    """The codec too: the crate's Mimi, streaming, makes the codes that ours makes."""
    ours, rows = hear_wav(candle, tiny_model, tmp_path)
    theirs = np.array([row["codes"] for row in rows]).T
    # A residual quantizer that is torn at one codebook goes another way from there on; the first ones decide what is heard.
    assert (theirs[0] == ours[0]).mean() > 0.99
    assert (theirs == ours).mean() > 0.95


@pytest.fixture(scope="module")
def newly_headed(tiny_model: ModelDir, tmp_path_factory: pytest.TempPathFactory) -> ModelDir:
    """The tiny model without its heads, merged with an adapter of `lora.heads: new` whose heads are those that were taken away."""
    directory = tmp_path_factory.mktemp("newly_headed")
    headless = without_heads(tiny_model, directory / "headless")
    lm = load_lm(headless.with_new_heads())
    make_trainable(lm, LoraRecipe(rank=2, heads="new"), seed=0)
    own = safetensors.torch.load_file(tiny_model.lm_weights)
    with torch.no_grad():
        for index, head in enumerate(lm.extra_heads):
            head.weight.copy_(own[f"extra_heads.{index}.weight"])  # pyright: ignore
    metadata = {"scaling": "2.0", "base_sha256": headless.sha256(headless.lm_weights)}
    write_tensors(directory / "lora.safetensors", adapter_state_dict(lm, rank=2, dtype=torch.float32), metadata)
    merge_adapter(headless, [Adapter.open(directory)], directory / "model")
    return open_model(directory / "model")


@pytest.mark.parametrize("format", ["candle", "gguf", "mlx", "transformers"])
def test_every_engine_runs_the_heads_of_a_model_that_had_none(newly_headed, tiny_model, heldout, tmp_path, format):
    """The heads, put back as new ones, lie where each engine looks for them and say what they said in the model they came from."""
    try:
        engine = engine_or_skip(format)
    except CargoMissing:
        pytest.skip("cargo is not installed: the Candle engine cannot be built")
    clips = dict(list(heldout.items())[:4])
    write_format(format, newly_headed, tmp_path / "out")
    result = verify_export(engine, newly_headed, tmp_path / "out", clips)
    assert result.agreement.max_pause_difference is not None
    ours, theirs = heard_by_pytorch(newly_headed, clips), heard_by_pytorch(tiny_model, clips)
    assert all(np.array_equal(ours[clip].pause_probs, theirs[clip].pause_probs) for clip in clips)
    assert all(one.pause_probs.shape[1] == 4 for one in ours.values())


@pytest.mark.slow
def test_candle_hears_a_wav_through_a_mimi_of_kyutais_own_shape(candle, tmp_path):
    """The only shape that moshi-server takes, all 32 codebooks: the same codes, and of them the same tokens and pauses."""
    model = make_random_base(tmp_path / "served", shape="served")
    assert model.mimi_config is None
    ours, rows = hear_wav(candle, model, tmp_path)
    theirs = np.array([row["codes"] for row in rows]).T
    assert all(len(np.unique(codebook)) > 10 for codebook in ours)
    assert (theirs == ours).mean() > 0.95
    heard = heard_by_pytorch(model, {"theirs": theirs.astype(np.int16)})["theirs"]
    assert [row["text_token"] for row in rows] == heard.text_tokens.tolist()
    np.testing.assert_allclose([row["pause"] for row in rows], heard.pause_probs, atol=1e-3)


def test_the_engine_reads_weights_that_were_saved_under_pytorchs_names(candle, tmp_path):
    model = make_random_base(tmp_path / "random")
    write_format("candle", model, tmp_path / "out")
    codes = {"a": random_codes(model, 30), "b": random_codes(model, 7, seed=1)}
    heard = run_on_codes(candle, tmp_path / "out", codes)
    assert {clip: len(one.text_tokens) for clip, one in heard.items()} == {"a": 30, "b": 7}
    ours = heard_by_pytorch(model, codes)
    assert all(np.allclose(one.pause_probs, ours[clip].pause_probs, atol=1e-3) for clip, one in heard.items())


@pytest.mark.slow
def test_candle_reads_q8_0(candle, tiny_model, heldout, tmp_path):
    pytest.importorskip("gguf")
    write_format("gguf", tiny_model, tmp_path / "out")
    result = verify_export(engine_of("gguf"), tiny_model, tmp_path / "out", heldout)
    assert result.agreement.same_tokens >= 0.95


def test_moshi_mlx_writes_the_same_tokens_and_pauses(tiny_model, heldout, tmp_path):
    engine = engine_or_skip("mlx")
    write_format("mlx", tiny_model, tmp_path / "out")
    result = verify_export(engine, tiny_model, tmp_path / "out", heldout)
    assert result.agreement.same_tokens == 1.0


def test_transformers_writes_the_same_tokens_and_pauses(tiny_model, heldout, tmp_path):
    pytest.importorskip("transformers.models.kyutai_speech_to_text")
    write_format("transformers", tiny_model, tmp_path / "out")
    result = verify_export(engine_of("transformers"), tiny_model, tmp_path / "out", heldout)
    assert result.agreement.same_tokens == 1.0


def test_transformers_computes_our_logits(tiny_model, heldout, tmp_path):
    """Not the likeliest token alone: every logit, on a clip as long as the context."""
    transformers = pytest.importorskip("transformers")
    from stt_ft.model.stt_lm import forward, load_lm

    write_format("transformers", tiny_model, tmp_path / "out")
    model = transformers.KyutaiSpeechToTextForConditionalGeneration.from_pretrained(tmp_path / "out", dtype=torch.float32).eval()
    audio = torch.from_numpy(heldout["longer than the context"][:, : tiny_model.context].astype(np.int64))
    text = torch.randint(4, int(tiny_model.config["text_card"]), (1, audio.shape[1]))
    codes = torch.cat([text, audio])[None]
    with torch.inference_mode():
        ours = forward(load_lm(tiny_model), codes).text_logits[0]
        shifted = torch.cat([torch.full((1, codes.shape[1], 1), model.config.audio_bos_token_id), codes[:, :, :-1]], dim=2)
        shifted[:, 0, 0] = model.config.bos_token_id
        theirs = model(input_ids=shifted.transpose(1, 2), use_cache=False).logits[0, :, :-1]
    torch.testing.assert_close(theirs, ours, atol=2e-3, rtol=1e-3)


def test_transformers_hears_sound_and_writes_text(tiny_model, tmp_path):
    """From samples to text by `generate`: the codec inside it, the processor, the tokenizer."""
    transformers = pytest.importorskip("transformers")
    write_format("transformers", tiny_model, tmp_path / "out")
    model = transformers.KyutaiSpeechToTextForConditionalGeneration.from_pretrained(tmp_path / "out", dtype=torch.float32).eval()
    processor = transformers.KyutaiSpeechToTextProcessor.from_pretrained(tmp_path / "out")
    samples = np.random.default_rng(0).normal(0, 0.1, 24_000 * 3).astype(np.float32)
    inputs = processor.feature_extractor(samples, sampling_rate=24_000, return_tensors="pt")
    with torch.inference_mode():
        codes = model.codec_model.encode(inputs["input_values"]).audio_codes[0].numpy()
        tokens = model.generate(**inputs)
    ours = MimiCodec.load(tiny_model).encode([samples])[0]
    assert (codes[:, :30] == ours[:, :30]).mean() > 0.95
    pieces = tiny_model.tokenizer
    assert processor.batch_decode(tokens, skip_special_tokens=True)[0].strip() == pieces.decode(
        [int(token) for token in tokens[0] if token not in (0, 3, model.config.bos_token_id)]
    )


def test_the_gguf_file_rounds_to_8_bits(random_base, tmp_path):
    gguf = pytest.importorskip("gguf")
    write_format("gguf", random_base, tmp_path / "out")
    original = safetensors.torch.load_file(random_base.lm_weights)
    reader = gguf.GGUFReader(tmp_path / "out" / "model.q8_0.gguf")
    assert {tensor.name for tensor in reader.tensors} == set(original)
    for tensor in reader.tensors:
        restored = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(original[tensor.name].shape)
        exact = original[tensor.name].float().numpy()
        assert np.abs(restored - exact).max() <= np.abs(exact).max() / 127


@pytest.mark.parametrize("format", ["mlx", "transformers"])
def test_an_export_without_its_engine_can_still_be_told(random_base, tmp_path, format, monkeypatch):
    """The message names the extra when the engine is missing."""
    if format == "transformers":
        monkeypatch.setitem(__import__("sys").modules, "transformers", None)
        with pytest.raises(MissingExtra, match=r"stt-ft\[transformers\]"):
            write_format(format, random_base, tmp_path / "out")
        return
    monkeypatch.setenv("STT_FT_MLX_PYTHON", str(tmp_path / "no_python"))
    with pytest.raises(MissingExtra, match=r"stt-ft\[mlx\]"):
        engine_of(format)


def test_the_command_verifies_and_tells_programs(candle, tmp_path, capsys):
    from stt_ft.stages.handover import export

    export("tiny", out=str(tmp_path / "out"), verify=True, num_clips=2)
    told = json.loads(capsys.readouterr().out)
    assert told["engine"] == "Candle (float32)"
    assert (told["clips"], told["frames"], told["same_tokens"]) == (2, 200, 1.0)
    assert told["pytorch_bfloat16"]["frames"] == 200


def test_no_cargo_is_said_before_anything_is_written(monkeypatch, tmp_path):
    from stt_ft.stages.handover import export

    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CargoMissing, match="rustup"):
        export("tiny", out=str(tmp_path / "out"), verify=True)
    assert not (tmp_path / "out").exists()


def test_mlx_names_and_shapes(random_base, tmp_path):
    names = write_format("mlx", random_base, tmp_path / "out")
    tensors = safetensors.torch.load_file(tmp_path / "out" / "model.safetensors")
    assert set(names) == set(tensors)
    assert tensors["out_norm.weight"].dim() == 1
    assert "transformer.layers.0.self_attn.in_proj.weight" in tensors
    assert "audio_embs.0.weight" in tensors
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dep_q"] == 0
    assert open_model(random_base.directory).lm_header().tensors.keys() != tensors.keys()
    assert os.listdir(tmp_path) == ["out"]
