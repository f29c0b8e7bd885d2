from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from stt_ft.core.config import load_config
from stt_ft.core.recipe import Recipe

CONFIG_DIR = Path(__file__).parents[3] / "configs"
COMMON = CONFIG_DIR / "digits_common.yaml"
CONFIGS = sorted(path for path in CONFIG_DIR.glob("*.yaml") if path != COMMON)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_recipe_reads_is_commented_and_inherits_what_all_share(path):
    recipe = load_config(Recipe, path)
    assert recipe.run_dir == f"runs/{'tiny' if path.stem == 'tiny_cpu' else path.stem}"
    assert path.read_text().startswith("# ")
    assert yaml.safe_load(path.read_text())["inherit"] == COMMON.name


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_recipe_says_only_what_differs_from_what_all_share(path):
    own, shared = _flat(yaml.safe_load(path.read_text())), _flat(yaml.safe_load(COMMON.read_text()))
    assert {key: value for key, value in own.items() if shared.get(key, object()) == value} == {}


def test_what_every_recipe_says_alike_stands_in_the_shared_file():
    written = [_flat(yaml.safe_load(path.read_text())) for path in CONFIGS]
    alike = {key for key, value in written[0].items() if all(one.get(key, object()) == value for one in written[1:])}
    assert alike == {"inherit", "dataset"}


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def test_the_model_without_pause_heads_is_given_some():
    recipe = load_config(Recipe, next(path for path in CONFIGS if "2_6b" in path.stem))
    assert (recipe.lora.heads, recipe.loss.pause_targets) == ("new", "binary")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_recipe_has_what_the_ablation_calls_essential(path):
    """docs/vad.md: what is lost without other takes, sentences held to the base and written as it writes, a price on cutting off."""
    recipe = load_config(Recipe, path)
    assert len(recipe.augment.speeds) > 1
    assert recipe.augment.pause_prob > 0
    assert recipe.labels.style == "base"
    assert recipe.augment.renumber_prob > 0
    assert recipe.replay.kinds == ("ordinary",)
    assert recipe.replay.text_weight > 0
    if recipe.loss.pause_targets != "off":
        assert recipe.loss.cut_off_cost >= 4
        assert recipe.loss.pause_targets == "binary"


def test_a_recipe_that_says_nothing_of_pause_targets_learns_the_documented_class():
    assert Recipe(dataset="d", run_dir="r").loss.pause_targets == "binary"
