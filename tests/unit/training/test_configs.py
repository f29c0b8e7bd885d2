from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from stt_ft.core.config import load_config
from stt_ft.core.recipe import Recipe

CONFIGS = sorted((Path(__file__).parents[3] / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_recipe_reads_and_is_commented(path):
    recipe = load_config(Recipe, path)
    assert recipe.run_dir == f"runs/{'tiny' if path.stem == 'tiny_cpu' else path.stem}"
    assert path.read_text().startswith("# ")
    assert {"lora", "loss", "optim", "schedule", "batch", "augment", "evaluation", "checkpoint"} <= set(yaml.safe_load(path.read_text()))


def test_the_model_without_pause_heads_is_not_asked_for_them():
    recipe = load_config(Recipe, next(path for path in CONFIGS if "2_6b" in path.stem))
    assert recipe.loss.pause_targets == "off"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_recipe_has_what_the_ablation_calls_essential(path):
    """docs/vad.md: without other takes of the same clips, replay held to the base, and a price on cutting off, most cut-offs stay."""
    recipe = load_config(Recipe, path)
    assert len(recipe.augment.speeds) > 1
    assert recipe.augment.pause_prob >= 0.4
    assert recipe.augment.renumber_prob > 0
    assert recipe.augment.crop_prob == 0
    assert recipe.replay.kinds == ("ordinary",)
    assert recipe.replay.text_weight > 0
    if recipe.loss.pause_targets != "off":
        assert recipe.loss.cut_off_cost >= 4
        assert recipe.loss.pause_targets == ("count" if path.stem == "tiny_cpu" else "binary")


def test_a_recipe_that_says_nothing_of_pause_targets_learns_the_documented_class():
    assert Recipe(dataset="d", run_dir="r").loss.pause_targets == "binary"
