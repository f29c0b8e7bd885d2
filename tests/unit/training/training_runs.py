"""Short runs on random weights, whole or killed, and their rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from stt_ft.core.config import dump_config
from stt_ft.core.recipe import Recipe
from stt_ft.stages.finetune import train
from stt_ft.training import loop
from stt_ft.training.checkpoints import DEV_METRICS, TRAIN_METRICS, RunDir


def run_train(recipe: Recipe) -> RunDir:
    path = Path(recipe.run_dir).parent / "recipe.yaml"
    path.write_text(dump_config(recipe))
    train(str(path))
    return RunDir(Path(recipe.run_dir))


def rows_of(run: RunDir, name: str) -> list[dict]:
    return run.read_rows({"train": TRAIN_METRICS, "eval": DEV_METRICS}[name])


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


def run_killed_at(kill_at: int, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """Train, die before step `kill_at`, and take the run up again."""
    kill_run_at(kill_at, recipe, monkeypatch)
    return run_train(recipe)


def kill_run_at(kill_at: int, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train, and die before step `kill_at`."""
    original = loop.do_step

    def step(learner, number, batches):
        if number == kill_at:
            raise Killed
        return original(learner, number, batches)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "do_step", step)
        with pytest.raises(Killed):
            run_train(recipe)
