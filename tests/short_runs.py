"""Runs of a few steps on a tiny model of random weights: a recipe, what is changed in it, and what a run leaves behind."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from stt_ft.dataset.manifest import Dataset
from stt_ft.model.checkpoint_dir import ModelDir

NUM_STEPS = 4

RECIPE: dict[str, Any] = {
    "precision": "float32",
    "device": "cpu",
    "threads": 1,
    "lora": {"rank": 4, "heads": "lora"},
    "loss": {"pad_weight": 0.3, "pause_weight": 0.7, "cut_off_cost": 7.5, "text_noise": 0.1},
    "optim": {"lr": 3e-3},
    "schedule": {"max_steps": NUM_STEPS},
    "augment": {"pause_prob": 0.4, "renumber_prob": 0.3, "join_prob": 0.2},
    "validation": {"every_steps": 2},
}
"""Every weight of the loss at work, and all noise but dropout. The dev split is listened to half way and at the end."""


class Outcome:
    """What the run of a recipe left behind."""

    def __init__(self, config: Path) -> None:
        self.config = config
        self.directory = config.parent / "run"

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Return the rows of metrics.`name`.jsonl."""
        return [json.loads(line) for line in (self.directory / f"metrics.{name}.jsonl").read_text(encoding="utf-8").splitlines()]

    def checkpoint_steps(self) -> list[int]:
        """Return the steps that have a checkpoint, ascending."""
        return sorted(int(path.name.removeprefix("checkpoint_")) for path in (self.directory / "checkpoints").iterdir())

    def checkpoint(self, step: int) -> Path:
        return self.directory / "checkpoints" / f"checkpoint_{step:06d}"

    def weights(self) -> dict[str, Any]:
        """Return what the last checkpoint holds of the weights that learn, tensors in float32."""
        from stt_ft.training.state import StateFiles

        state = StateFiles.open(self.checkpoint(NUM_STEPS) / "training_state")
        return {name: state.read(name) for name in sorted(state.pieces) if name.startswith("weight/")}

    def assert_like(self, other: Outcome, *, rel: float = 1e-5, rms: float = 2e-6) -> None:
        """Compare every figure of every step and validation, and the weights at the end, of two runs of one recipe.

        Weights are compared by the root of their mean squared difference, by default a thousandth of what they learn: where a gradient is
        nothing but rounding, Adam makes a step of it, so single weights differ by more.
        """
        for name in ("train", "eval"):
            for ours, theirs in zip(self.rows(name), other.rows(name), strict=True):
                assert ours == pytest.approx(theirs, rel=rel, abs=rel / 10)
        ours, theirs = self.weights(), other.weights()
        assert list(ours) == list(theirs)
        differences = {name: (ours[name] - theirs[name]).square().mean().sqrt().item() for name in theirs}
        assert differences == pytest.approx(dict.fromkeys(theirs, 0.0), abs=rms)


@pytest.fixture(scope="session")
def written_recipe(encoded_dataset: Dataset, random_base: ModelDir, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that writes `RECIPE`, with changes by section, into a directory of its own, which the run is left in too."""

    def write(changes: dict[str, Any]) -> Path:
        directory = tmp_path_factory.mktemp("trained")
        places = {"dataset": str(encoded_dataset.directory), "base": str(random_base.directory), "run_dir": str(directory / "run")}
        recipe = {**copy.deepcopy(RECIPE), **places}
        for section, values in changes.items():
            recipe[section] = {**recipe.get(section, {}), **values} if isinstance(values, dict) else values
        path = directory / "recipe.yaml"
        path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
        return path

    return write
