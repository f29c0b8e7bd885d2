"""A step shared by two processes is the step of one: the same losses, whatever is divided by what."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stt_ft.core.config import dump_config
from stt_ft.core.recipe import (
    AugmentRecipe,
    BatchRecipe,
    LabelsRecipe,
    LoraRecipe,
    LossRecipe,
    OptimRecipe,
    Recipe,
    ReplayRecipe,
    ScheduleRecipe,
    ValidationRecipe,
)  # fmt: skip
from stt_ft.training.run_state import RunDir


@pytest.fixture
def recipe(encoded_dataset, random_base, tmp_path) -> Recipe:
    """Every weight of the loss at work, and no noise, which processes draw for themselves."""
    return Recipe(
        dataset=str(encoded_dataset.directory),
        run_dir=str(tmp_path / "one"),
        base=str(random_base.directory),
        precision="float32",
        device="cpu",
        threads=1,
        lora=LoraRecipe(rank=4),
        loss=LossRecipe(pad_weight=0.3, pause_weight=0.7, cut_off_cost=7.5),
        optim=OptimRecipe(lr=3e-3),
        schedule=ScheduleRecipe(max_steps=4),
        batch=BatchRecipe(batch_size=5, grad_accumulation=1),
        labels=LabelsRecipe(style="base"),
        augment=AugmentRecipe(pause_prob=0.4, renumber_prob=0.3, join_prob=0.2),
        replay=ReplayRecipe(dataset=str(encoded_dataset.directory), text_weight=1.0),
        validation=ValidationRecipe(every_steps=4, listen=False),
    )


def _train(recipe: Recipe, num_processes: int) -> RunDir:
    path = Path(recipe.run_dir).with_suffix(".yaml")
    path.write_text(dump_config(recipe), encoding="utf-8")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(num_processes)] if num_processes > 1 else []
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(
        [sys.executable, *launcher, "-m", "stt_ft", "train", str(path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return RunDir(Path(recipe.run_dir))


def test_two_processes_lose_what_one_loses_and_learn_the_same_labels(recipe, tmp_path):
    one = _train(recipe, 1)
    two = _train(dataclasses.replace(recipe, run_dir=str(tmp_path / "two")), 2)
    for ours, theirs in zip(two.read_rows("metrics.train.jsonl"), one.read_rows("metrics.train.jsonl"), strict=True):
        for name in ("loss", "text_loss", "pause_loss", "text_kl", "pause_kl", "grad_norm"):
            assert ours[name] == pytest.approx(theirs[name], rel=2e-4, abs=1e-6), name
    labels = [json.loads((run.directory / "labels.json").read_bytes()) for run in (one, two)]
    assert labels[0] == labels[1]
    assert len(labels[0]["styles"]) == 12 + 12 + 4  # to learn, to replay, dev
