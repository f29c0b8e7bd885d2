from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import safetensors.torch
import torch

from stt_ft.core.config import dump_config
from stt_ft.core.errors import ConfigError, SttFtError
from stt_ft.core.recipe import (
    AugmentRecipe,
    BatchRecipe,
    CheckpointRecipe,
    EvalRecipe,
    LoraRecipe,
    LossRecipe,
    OptimRecipe,
    Recipe,
    ScheduleRecipe,
)  # fmt: skip
from stt_ft.stages.train import train
from stt_ft.training import loop
from stt_ft.training.run_state import RunDir

TIMES = ("frames_per_s",)


@pytest.fixture
def recipe(encoded_dataset, random_base, tmp_path) -> Recipe:
    return Recipe(
        dataset=str(encoded_dataset.directory),
        run_dir=str(tmp_path / "run"),
        base=str(random_base.directory),
        precision="float32",
        device="cpu",
        threads=1,
        lora=LoraRecipe(rank=4, dropout=0.1),
        loss=LossRecipe(pause_targets="binary", text_noise=0.1),
        optim=OptimRecipe(lr=3e-3),
        schedule=ScheduleRecipe(max_steps=12, warmup_steps=2),
        batch=BatchRecipe(batch_size=4, grad_accumulation=2),
        augment=AugmentRecipe(pause_prob=0.3, crop_prob=0.3, join_prob=0.2),
        evaluation=EvalRecipe(every_steps=4),
        checkpoint=CheckpointRecipe(every_steps=5),
    )


def run_train(recipe: Recipe) -> RunDir:
    path = Path(recipe.run_dir).parent / "recipe.yaml"
    path.write_text(dump_config(recipe))
    train(str(path))
    return RunDir(Path(recipe.run_dir))


def _rows(run: RunDir, name: str) -> list[dict]:
    return run.read_rows(f"metrics.{name}.jsonl")


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


def test_a_run_killed_at_any_step_ends_as_if_it_had_not_been(recipe, monkeypatch, tmp_path):
    whole = run_train(recipe)
    for kill_at in (3, 8, 11):
        resumed_recipe = dataclasses.replace(recipe, run_dir=str(tmp_path / f"killed_{kill_at}"))
        original = loop.Trainer._step

        def step(self, number, dashboard, kill_at=kill_at, original=original):
            if number == kill_at:
                raise Killed
            original(self, number, dashboard)

        with monkeypatch.context() as patch:
            patch.setattr(loop.Trainer, "_step", step)
            with pytest.raises(Killed):
                run_train(resumed_recipe)
        resumed = run_train(resumed_recipe)
        assert _rows(resumed, "train") == _rows(whole, "train")
        assert _rows(resumed, "eval") == _rows(whole, "eval")
        for name in ("consolidated/lora.safetensors", "training_state/state.safetensors"):
            ours, theirs = (safetensors.torch.load_file(run.checkpoint(12) / name) for run in (resumed, whole))
            assert list(ours) == list(theirs)
            assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_a_run_leaves_what_the_layout_promises_and_learns(recipe):
    run = run_train(recipe)
    for name in ("args.yaml", "loss.png", "checkpoints/checkpoint_000005/training_state/state.json"):
        assert (run.directory / name).is_file()
    rows = _rows(run, "train")
    assert [row["step"] for row in rows] == list(range(1, 13))
    assert rows[-1]["loss"] < rows[0]["loss"]
    figures = _rows(run, "eval")
    assert [row["step"] for row in figures] == [4, 8, 12]
    assert {"loss", "text_loss", "pause_loss", "word_error_rate", "digits_exact", "word_form", "cut_offs"} <= set(figures[0])
    assert run.read_progress(12).best_step in (4, 8, 12)


def test_a_finished_run_is_left_alone(recipe, capsys):
    run = run_train(recipe)
    before = {path: path.stat().st_mtime_ns for path in run.directory.rglob("*.safetensors")}
    run_train(recipe)
    assert {path: path.stat().st_mtime_ns for path in run.directory.rglob("*.safetensors")} == before
    assert "this run is done" in capsys.readouterr().err


def test_another_recipe_or_other_clips_are_refused_on_resuming(recipe, encoded_dataset):
    run_train(recipe)
    with pytest.raises(ConfigError, match=r"schedule\.max_steps was 12, is 20"):
        run_train(dataclasses.replace(recipe, schedule=ScheduleRecipe(max_steps=20, warmup_steps=2)))
    clips = encoded_dataset.clips("train")
    encoded_dataset.write_clips("train", clips[:-1])
    try:
        with pytest.raises(ConfigError, match="the training clips changed"):
            run_train(recipe)
    finally:
        encoded_dataset.write_clips("train", clips)


def test_training_stops_when_the_dev_split_no_longer_improves(recipe):
    stubborn = dataclasses.replace(recipe, optim=OptimRecipe(lr=1e-12), evaluation=EvalRecipe(every_steps=1, patience=3, listen=False))
    run = run_train(stubborn)
    assert run.checkpoint_steps()[-1] < 12


def test_a_loss_that_is_no_number_stops_the_run_with_the_clips(recipe, monkeypatch):
    monkeypatch.setattr(loop, "MAX_SKIPPED_IN_A_ROW", 3)
    broken = dataclasses.replace(recipe, optim=OptimRecipe(lr=1e30, max_grad_norm=None), evaluation=EvalRecipe(every_steps=0))
    with pytest.raises(SttFtError, match=r"not a number 3 steps in a row.*audio/train_.*optim\.lr"):
        run_train(broken)


@pytest.mark.parametrize("changes", [{"lora": LoraRecipe(enable=False)}, {"lora": LoraRecipe(rank=2, ft_embed=True, heads="lora")}])
def test_other_choices_of_weights_train_and_merge(recipe, changes, tmp_path):
    from stt_ft.model.checkpoint_dir import open_model
    from stt_ft.stages.merge import merge

    run = run_train(dataclasses.replace(recipe, schedule=ScheduleRecipe(max_steps=2, warmup_steps=0), **changes))
    merge(str(run.directory), out=str(tmp_path / "merged"))
    assert open_model(tmp_path / "merged").config["lora"] is False


def test_bfloat16_trains_with_weights_kept_in_float32(recipe):
    run = run_train(dataclasses.replace(recipe, precision="bfloat16", lora=LoraRecipe(rank=4, ft_embed=True)))
    state = safetensors.torch.load_file(run.checkpoint(12) / "training_state" / "state.safetensors")
    assert {tensor.dtype for tensor in state.values()} == {torch.float32}
    adapter = safetensors.torch.load_file(run.checkpoint(12) / "consolidated" / "lora.safetensors")
    assert {tensor.dtype for tensor in adapter.values()} == {torch.bfloat16}
    rows = _rows(run, "train")
    assert rows[-1]["loss"] < rows[0]["loss"]


def test_gradient_checkpointing_changes_no_loss(recipe, tmp_path):
    short = dataclasses.replace(recipe, schedule=ScheduleRecipe(max_steps=3, warmup_steps=0), lora=LoraRecipe(rank=4))
    checkpointed = dataclasses.replace(
        short, run_dir=str(tmp_path / "checkpointed"), batch=dataclasses.replace(recipe.batch, gradient_checkpointing=True)
    )
    for one, other in zip(_rows(run_train(short), "train"), _rows(run_train(checkpointed), "train"), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)
