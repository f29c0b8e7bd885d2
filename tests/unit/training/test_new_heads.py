"""`lora.heads: new`: a model without pause heads is given some, which are learned, kept, merged, exported and measured like those of 1b."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from random_models import make_random_base, random_codes, without_heads, write_dataset
from training_runs import kill_run_at, rows_of, run_train

from stt_ft.core.errors import CheckpointError, ConfigError
from stt_ft.core.recipe import BatchRecipe, CalibrationRecipe, LoraRecipe, LossRecipe, OptimRecipe, Recipe, ReplayRecipe
from stt_ft.dataset.manifest import Dataset
from stt_ft.evaluation.gate import check_report, load_gate
from stt_ft.model.checkpoint_dir import ModelDir, open_model
from stt_ft.model.merge import Adapter, merge_adapter
from stt_ft.model.streaming import stream_codes
from stt_ft.model.stt_lm import forward, load_lm
from stt_ft.stages.evaluate import evaluate
from stt_ft.stages.finetune import encode, merge
from stt_ft.stages.handover import export
from stt_ft.targets.pause_targets import pause_targets
from stt_ft.training import calibration
from stt_ft.training.checkpoints import find_consolidated
from stt_ft.training.data.batches import make_stream
from stt_ft.training.data.loading import load_clips

NAMES = [f"extra_heads.{index}.weight" for index in range(4)]


@pytest.fixture
def headless(random_base, tmp_path) -> ModelDir:
    return without_heads(random_base, tmp_path / "headless")


@pytest.fixture
def new(recipe, headless) -> Recipe:
    """The short recipe on a model without heads, which is to be given some."""
    return dataclasses.replace(recipe, base=str(headless.directory), lora=dataclasses.replace(recipe.lora, heads="new"))


def _elsewhere(recipe: Recipe, name: str, **changes: Any) -> Recipe:
    run_dir = Path(recipe.run_dir).parent / name / "run"
    run_dir.parent.mkdir(parents=True, exist_ok=True)
    return dataclasses.replace(recipe, run_dir=str(run_dir), **changes)


def _heads(path: Path) -> torch.Tensor:
    """The heads of a model directory [H, C, D]."""
    tensors = safetensors.torch.load_file(path / "model.safetensors")
    return torch.stack([tensors[name].float() for name in NAMES])


def test_new_heads_say_nothing_and_push_nothing_until_they_have_learned(headless, random_base):
    lm = load_lm(headless.with_new_heads())
    assert [head.state_dict()["weight"].shape for head in lm.extra_heads] == [(6, 64)] * 4
    codes = random_codes(headless, 20)
    (stream,) = stream_codes(lm, [codes])
    np.testing.assert_allclose(stream.head_probs, 1 / 6, rtol=1e-6)
    tokens = torch.from_numpy(np.concatenate([np.full((1, 20), 3), codes]))[None].long()
    output = forward(lm, tokens)
    torch.testing.assert_close(output.text_logits, forward(load_lm(random_base), tokens).text_logits)
    output.hidden.retain_grad()
    output.head_logits.softmax(-1)[..., 0].log().sum().backward()
    assert output.hidden.grad is not None
    assert not output.hidden.grad.any()
    assert all(head.weight.grad.any() for head in lm.extra_heads)  # pyright: ignore


def test_new_heads_go_from_training_to_a_report(new, headless, tmp_path, encoded_dataset):
    run = run_train(new)
    rows = rows_of(run, "train")
    assert rows[-1]["pause_loss"] < rows[0]["pause_loss"]
    assert rows_of(run, "eval")[-1]["latency_p50_s"] is not None
    model = open_model(merge(run.directory, out=tmp_path / "model", dtype="bfloat16"))
    assert (model.num_heads, model.has_new_heads) == (4, False)
    learned = safetensors.torch.load_file(find_consolidated(run.directory) / "lora.safetensors")
    expected = torch.stack([learned[f"extra_heads.{index}.frozen_W.weight"].bfloat16().float() for index in range(4)])
    assert torch.equal(_heads(model.directory), expected)
    assert all(head.any() for head in expected)

    out = export(model.directory, out=tmp_path / "candle")
    assert torch.equal(_heads(out), expected)
    assert "[modules.asr.model.extra_heads]\nnum_heads = 4\ndim = 6\n" in (out / "moshi-server.toml").read_text()

    measured = Dataset(shutil.copytree(encoded_dataset.directory, tmp_path / "measured"))
    options = {"split": "dev", "set_on": None, "silero": False, "device": "cpu"}
    report = evaluate(str(model.directory), str(measured.directory), out=str(tmp_path / "out"), baseline=str(headless.directory), **options)
    assert report.figure("tuned", "numbers", "false_cut_offs") is not None
    assert report.figure("base", "numbers", "false_cut_offs") is None
    results = {result.name: result for result in check_report(report, load_gate())}
    told = results["numbers.false_cut_offs max_ratio"]
    assert (told.outcome, told.line) == ("skipped", "numbers.false_cut_offs max_ratio: no pause heads in base")
    assert results["numbers.false_cut_offs max"].outcome != "skipped"


def test_a_killed_run_with_new_heads_ends_as_if_it_had_not_been(new, monkeypatch):
    killed = _elsewhere(new, "killed")
    kill_run_at(7, killed, monkeypatch)
    run, whole = run_train(killed), run_train(new)
    ours, theirs = (find_consolidated(one.directory) / "lora.safetensors" for one in (run, whole))
    assert ours.read_bytes() == theirs.read_bytes()
    assert rows_of(run, "train") == rows_of(whole, "train")


@pytest.mark.parametrize("held", [False, True])
def test_new_heads_learn_with_every_weight_or_held_to_the_base_too(new, headless, tmp_path, held):
    """Without an adapter a checkpoint holds whole weights; with replay the base is asked, whose heads say nothing."""
    changes: dict[str, Any] = {"lora": LoraRecipe(rank=None, heads="new"), "optim": OptimRecipe(lr=1e-4)}
    if held:
        changes = {"replay": ReplayRecipe(dataset=new.dataset, text_weight=1.0)}
    run = run_train(_elsewhere(new, "run", **changes))
    model = open_model(merge(run.directory, out=tmp_path / "model", base=str(headless.directory)))
    assert _heads(model.directory).any()


def test_new_heads_are_calibrated(new, tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "MAX_SPREAD", 1.0)  # of random weights no direction is that constant
    run = run_train(dataclasses.replace(new, calibration=CalibrationRecipe(method="likelihood")))
    merged = _heads(open_model(merge(run.directory, out=tmp_path / "model")).directory)
    merge_adapter(open_model(new.base, require_extra_heads=False), [Adapter.open(run.checkpoint(12) / "consolidated")], tmp_path / "before")
    assert not torch.equal(merged, _heads(tmp_path / "before"))


@pytest.mark.slow
def test_a_later_run_begins_with_new_heads_or_gives_some_to_an_adapter_of_the_text(new, tmp_path):
    """Learning rate 0 leaves everything where the run began."""
    still = OptimRecipe(lr=1e-12, weight_decay=0.0)
    first = run_train(new)
    later = run_train(_elsewhere(new, "later", lora=dataclasses.replace(new.lora, start_from=str(first.directory)), optim=still))
    for name, run in {"a": first, "b": later}.items():
        merge(run.directory, out=tmp_path / name, dtype="float32")
    torch.testing.assert_close(_heads(tmp_path / "a"), _heads(tmp_path / "b"), atol=1e-7, rtol=0)

    frozen = LoraRecipe(rank=4, heads="frozen")
    text = run_train(_elsewhere(new, "text", lora=frozen, loss=LossRecipe(pause_targets="off")))
    with_heads = run_train(_elsewhere(new, "with_heads", lora=dataclasses.replace(new.lora, start_from=str(text.directory))))
    assert _heads(merge(with_heads.directory, out=tmp_path / "c")).any()
    lost = _elsewhere(new, "lost", lora=dataclasses.replace(frozen, start_from=str(first.directory)), loss=LossRecipe(pause_targets="off"))
    with pytest.raises(CheckpointError, match=r"holds pause heads, and .*headless has none.*--lora\.heads new"):
        run_train(lost)


def test_the_mean_of_two_runs_has_the_mean_of_their_heads(new, headless, tmp_path):
    adapters = [find_consolidated(run_train(_elsewhere(new, str(seed), seed=seed)).directory) for seed in (0, 1)]
    shares = {"first": (1.0,), "second": (0.0, 1.0), "mean": (0.5, 0.5)}
    for name, weights in shares.items():
        chosen = [Adapter.open(path, weight=weight) for path, weight in zip(adapters, weights, strict=False)]
        merge_adapter(headless, chosen, tmp_path / name, dtype="float32")
    first, second, mean = (_heads(tmp_path / name) for name in shares)
    assert not torch.allclose(first, second)
    torch.testing.assert_close(mean, (first + second) / 2)


def test_what_cannot_be_is_refused_with_the_way_out_before_anything_is_written(new, recipe, random_base):
    lora = new.lora
    refused = {
        r"has 4 pause heads, which lora\.heads: new would throw away; lora\.heads: full trains them": {"base": str(random_base.directory)},
        r"lora\.heads: new needs loss\.pause_targets": {"loss": LossRecipe(pause_targets="off")},
        r"no pause heads to train or to show; `train` with lora\.heads: new gives it some": {
            "lora": dataclasses.replace(lora, heads="full")
        },
    }
    for message, changes in refused.items():
        asked = _elsewhere(new, "refused", **changes)
        with pytest.raises((ConfigError, CheckpointError), match=message):
            run_train(asked)
        assert not Path(asked.run_dir).exists()


def test_heads_of_a_model_whose_text_is_late_keep_to_the_clock_of_1b(tmp_path):
    """2.6b writes 2.5 s behind the sound; its new heads are taught what those of a model 0.5 s behind it would be."""
    late, prompt = (make_random_base(tmp_path / str(lag), text_lag_s=lag) for lag in (2.5, 0.5))
    data = write_dataset(tmp_path / "data", {"train": 2})
    encode(str(data.directory), base=str(late.directory), device="cpu")
    recipe = Recipe(dataset=str(data.directory), run_dir="unused", base=str(late.directory))
    for clip in load_clips(data, "train", late, BatchRecipe(tail_s=1.0)):
        stream, as_1b = make_stream(clip, late, recipe), prompt.text_stream(clip.words, clip.num_frames)
        expected = pause_targets(as_1b.onset_frames, as_1b.sound_end_frames, clip.num_frames)
        assert np.array_equal(stream.pause_targets, expected)
        assert np.array_equal(stream.codes[0], late.text_stream(clip.words, clip.num_frames).tokens)
        assert not np.array_equal(stream.codes[0], as_1b.tokens)
