"""A model directory made by a stranger, or spoiled on its way: one line that names file and key, nothing read or copied from outside."""

from __future__ import annotations

import copy
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
from random_models import make_adapter, random_codes

from stt_ft.core.errors import CheckpointError, ConfigError, SttFtError
from stt_ft.core.recipe import LoraRecipe, Recipe
from stt_ft.export.hub import PushedModel, model_card
from stt_ft.model.checkpoint_dir import open_model
from stt_ft.model.codes import MimiCodec
from stt_ft.model.merge import Adapter, merge_adapter
from stt_ft.model.output_dir import SUMS_NAME
from stt_ft.model.streaming import stream_codes
from stt_ft.model.stt_lm import load_lm
from stt_ft.stages.finetune import encode
from stt_ft.stages.handover import export, push
from stt_ft.stages.transcribe import transcribe
from stt_ft.training.loop import prepare

HUGE = 10**9


@pytest.fixture
def directory(random_base, tmp_path: Path) -> Path:
    return shutil.copytree(random_base.directory, tmp_path / "model")


def _change(path: Path, *keys: str | int, value: Any) -> None:
    """Set a value deep in a JSON file."""
    whole = json.loads(path.read_text())
    inner = whole
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    path.write_text(json.dumps(whole))


def _use(directory: Path) -> None:
    """Open a model and everything in it, and let it listen to a few frames."""
    model = open_model(directory)
    MimiCodec.load(model)
    stream_codes(load_lm(model), [random_codes(model, 3)])


def _refusal(directory: Path) -> str:
    with pytest.raises(CheckpointError) as refusal:
        _use(directory)
    assert "\n" not in str(refusal.value)
    assert str(directory) in str(refusal.value)
    return str(refusal.value)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("n_q", HUGE, "config.json: n_q: must be less than or equal to 1024, got 1000000000"),
        ("n_q", 10**400, "config.json: not JSON: it holds 1000"),
        ("num_layers", HUGE, "num_layers: must be less"),
        ("num_layers", 1000, "2 layers, config.json says num_layers 1000"),
        ("context", HUGE, "context: must be less"),
        ("dim", True, "dim: must be a whole number, got true"),
        ("dim", 63, "tensor text_emb.weight has shape"),
        ("num_heads", 7, "do not fit"),
        ("moshi_name", 5, "moshi_name: must be a text, got 5"),
        ("mimi_config_name", [1], "mimi_config_name: must be a text"),
        ("tokenizer_name", None, "tokenizer_name: must be a text, got none"),
        ("tokenizer_name", "hf://a", "config.json: 'hf://a' is not hf://OWNER/REPO/FILE"),
        ("tokenizer_name", "hf://", "is not hf://OWNER/REPO/FILE"),
        ("tokenizer_name", "a" * 5000, "the name is too long"),
        ("tokenizer_name", "a\0b", "the name holds a NUL"),
        ("mimi_name", "/", "the name leads out"),
        ("mimi_name", ".", "the name is that of no file"),
        ("extra_heads_num_heads", "four", "extra_heads_num_heads: must be a whole number, got the text 'four'"),
        ("extra_heads_num_heads", HUGE, "extra_heads_num_heads: must be less"),
        ("dep_q", "none", "dep_q: must be a whole number"),
        ("stt_config", 5, "stt_config: "),
        ("stt_config", {"audio_delay_seconds": 1e300}, "stt_config.audio_delay_seconds: must be less than or equal to 60"),
        ("stt_config", {"audio_delay_seconds": "0.5"}, "stt_config.audio_delay_seconds: must be a number"),
        ("conditioners", {"speaker": {"type": "lut"}}, "do not fit"),
        ("conditioners", [1], "conditioners: "),
        ("existing_text_padding_id", 96, "existing_text_padding_id must be one of text_card's 96 tokens, got 96"),
        ("hidden_scale", "wide", "hidden_scale: must be a number"),
        ("delays", "none", "delays: must be a list"),
        ("quantize", True, "quantize is true"),
        ("foo", 1, "do not fit"),
    ],
)
def test_a_wrong_value_of_config_json_is_named(directory, key, value, reason):
    _change(directory / "config.json", key, value=value)
    assert reason in _refusal(directory)


@pytest.mark.parametrize(
    ("keys", "value", "reason"),
    [
        (("seanet",), 5, "mimi_config.json: seanet: "),
        (("seanet", "n_residual_layers"), HUGE, "seanet.n_residual_layers: must be less"),
        (("seanet", "n_filters"), 10**7, "mimi_config.json asks for"),
        (("seanet", "ratios"), [0, 6, 5, 4], "codec weights cannot be used"),
        (("seanet", "ratios"), [2] * 40, "seanet.ratios: "),
        (("seanet", "activation"), "Elephant", "codec weights cannot be used"),
        (("transformer", "num_layers"), HUGE, "transformer.num_layers: must be less"),
        (("transformer", "d_model"), 10**9, "codec weights cannot be used"),
        (("quantizer", "bins"), 10**9, "mimi_config.json asks for"),
        (("quantizer", "n_q"), 0, "quantizer.n_q: must be greater"),
        (("transformer", "context"), "silu", "transformer.context: must be a whole number"),
        (("transformer", "max_period"), None, "transformer.max_period: must be a number, got none"),
        (("seanet", "dilation_base"), 10**300, "seanet.dilation_base: must be"),
        (("sample_rate",), "fast", "sample_rate: must be a whole number"),
        (("frame_rate",), 0, "frame_rate: must be greater"),
        (("channels",), None, "channels: must be a whole number, got none"),
    ],
)
def test_a_wrong_value_of_mimi_config_json_is_named(directory, keys, value, reason):
    _change(directory / "mimi_config.json", *keys, value=value)
    assert reason in _refusal(directory)


def test_any_change_of_a_config_is_one_line_or_works(directory):
    rng, values = random.Random(5), (None, True, -1, 0, 0.5, 7, HUGE, 2**70, 1e300, "", "x", "../x", "hf://x/y/z", [], [1], {}, {"a": 1})
    for name in ("config.json", "mimi_config.json"):
        whole = (directory / name).read_text()
        places = [(key,) for key in json.loads(whole)]
        places += [(outer, inner) for outer, value in json.loads(whole).items() if isinstance(value, dict) for inner in value]
        for keys in places:
            value = copy.deepcopy(rng.choice(values))
            _change(directory / name, *keys, value=value)
            message = ""
            try:
                _use(directory)
            except SttFtError as error:
                message = str(error)
            assert "\n" not in message, (name, keys, value)
            (directory / name).write_text(whole)


def test_a_name_on_the_hub_stays_in_its_repository(directory):
    _change(directory / "config.json", "tokenizer_name", value="hf://someone/some-model/../../x")
    with pytest.raises(CheckpointError, match=r"someone/some-model: .*the name leads out of the directory"):
        open_model(directory)


def test_a_tokenizer_of_another_size_is_refused_by_whoever_opens_the_model(directory, tiny_model):
    shutil.copy(tiny_model.tokenizer_path, directory / "tokenizer.model")
    assert _refusal(directory).endswith("tokenizer.model: 340 pieces, where config.json's text_card is 96: another model's")


def test_a_link_out_of_a_model_directory_is_neither_read_nor_copied_nor_uploaded(directory, tmp_path):
    private = tmp_path / "private.model"
    shutil.move(directory / "tokenizer.model", private)
    (directory / "tokenizer.model").symlink_to(private)
    for command in (lambda: open_model(directory), lambda: export(str(directory), out=str(tmp_path / "out"))):
        with pytest.raises(CheckpointError, match=r"tokenizer\.model is a link that leads out of the directory, to .*private\.model"):
            command()
    with pytest.raises(CheckpointError, match=r"tokenizer\.model is a link that leads out"):
        push(str(directory), "someone/some-model", dry_run=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("linked", [False, True])
def test_the_hubs_cache_of_links_works(directory, tmp_path, linked):
    """https://huggingface.co/docs/huggingface_hub/guides/manage-cache: snapshots/COMMIT/FILE is a link to ../../blobs/HASH."""
    repository = tmp_path / "hub" / "models--someone--some-model"
    snapshot = repository / "snapshots" / "0123abcd"
    (repository / "blobs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, file in enumerate(directory.iterdir()):
        shutil.copy(file, repository / "blobs" / f"{number:064x}")
        (snapshot / file.name).symlink_to(f"../../blobs/{number:064x}")
    named = snapshot
    if linked:
        named = tmp_path / "mine"
        named.symlink_to(snapshot)
    _use(named)
    export(str(named), out=str(tmp_path / "out"))
    _use(tmp_path / "out")


def test_files_of_one_name_in_two_folders_do_not_overwrite_each_other(directory, tmp_path):
    """A codec that is called model.safetensors, in a folder of its own, once took the place of the language model."""
    (directory / "codec").mkdir()
    shutil.move(directory / "mimi.safetensors", directory / "codec" / "model.safetensors")
    _change(directory / "config.json", "mimi_name", value="codec/model.safetensors")
    (directory / "text").mkdir()
    shutil.move(directory / "tokenizer.model", directory / "text" / "config.json")
    _change(directory / "config.json", "tokenizer_name", value="text/config.json")
    base = open_model(directory)
    merge_adapter(base, [Adapter.open(make_adapter(base, tmp_path / "lora.safetensors"))], tmp_path / "merged")
    for format in ("candle", "mlx"):
        export(str(tmp_path / "merged"), out=str(tmp_path / format), format=format)
        assert json.loads((tmp_path / format / "config.json").read_text())["mimi_name"] == "mimi-model.safetensors"
    assert 'audio_tokenizer_file = "mimi-model.safetensors"' in (tmp_path / "candle" / "moshi-server.toml").read_text()
    assert open_model(tmp_path / "merged").mimi_weights.read_bytes() == base.mimi_weights.read_bytes()
    for out in (tmp_path / "merged", tmp_path / "candle"):
        _use(out)
        assert open_model(out).tokenizer_path.read_bytes() == base.tokenizer_path.read_bytes()


@pytest.fixture
def summed(random_base, tmp_path) -> Path:
    """A directory that stt-ft wrote, with its checksums."""
    export(str(random_base.directory), out=str(tmp_path / "summed"))
    return tmp_path / "summed"


def test_whoever_opens_a_model_holds_its_bytes_against_the_checksums(summed, encoded_dataset, tmp_path):
    sound = next((encoded_dataset.directory / "audio").glob("*.wav"))
    recipe = Recipe(dataset=str(encoded_dataset.directory), run_dir=str(tmp_path / "run"), base=str(summed))
    commands = {
        "transcribe": lambda: transcribe(str(summed), str(sound), device="cpu"),
        "encode": lambda: encode(str(encoded_dataset.directory), base=str(summed), device="cpu"),
        "train": lambda: prepare(recipe),
        "push": lambda: push(str(summed), "someone/some-model", dry_run=True),
        "export": lambda: export(str(summed), out=str(tmp_path / "out")),
    }
    for name in ("model.safetensors", "mimi.safetensors", "tokenizer.model"):
        whole = (summed / name).read_bytes()
        (summed / name).write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
        for command in commands.values():
            with pytest.raises(CheckpointError, match=rf"{name}: not the bytes that SHA256SUMS tells of"):
                command()
        (summed / name).write_bytes(whole)
    commands["transcribe"]()


@pytest.mark.parametrize("line", [b"\xff\xfe  x", b"abc  model.safetensors", b"0" * 64 + b"  ../x", b"0" * 64 + b"  " + b"a" * 5000, b"#"])
def test_checksums_that_are_none_are_refused_by_line(summed, line):
    (summed / SUMS_NAME).write_bytes((summed / SUMS_NAME).read_bytes() + line + b"\n")
    assert "SHA256SUMS, line 4: expected HASH  NAME" in _refusal(summed)


@pytest.mark.parametrize("file", ["model.safetensors", "mimi.safetensors"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(directory, tmp_path, file, value):
    tensors = safetensors.torch.load_file(directory / file)
    name = sorted(name for name in tensors if tensors[name].is_floating_point())[1]
    tensors[name].view(-1)[3] = value
    safetensors.torch.save_file(tensors, directory / file)
    assert f"{file}: tensor " in _refusal(directory)
    assert "is not finite" in _refusal(directory)
    for format in ("candle", "gguf", "mlx"):
        with pytest.raises(SttFtError, match=rf"{file}: tensor {name} is not finite"):
            export(str(directory), out=str(tmp_path / format), format=format)
        assert not (tmp_path / format).exists()


def test_a_pushed_directory_of_wrong_types_is_one_line(summed):
    for key, value in (("stt_config", [1]), ("moshi_name", 5), ("moshi_name", "../x"), ("moshi_name", "a" * 5000)):
        whole = (summed / "config.json").read_text()
        _change(summed / "config.json", key, value=value)
        message = ""
        try:
            model_card(PushedModel.open(summed), "someone/some-model")
        except CheckpointError as error:
            message = str(error)
        assert bool(message) == (key == "moshi_name")
        (summed / "config.json").write_text(whole)


def test_a_rank_beyond_the_models_width_is_refused_before_anything_is_made(encoded_dataset, random_base, tmp_path):
    recipe = {"dataset": str(encoded_dataset.directory), "run_dir": str(tmp_path / "run"), "base": str(random_base.directory)}
    with pytest.raises(ConfigError, match=r"lora\.rank must be at most 64, the width of .*, got 100000"):
        prepare(Recipe(**recipe, lora=LoraRecipe(rank=100_000)))
