"""The recipe's dataclasses: every key documented, every default valid, every limit checked."""

from __future__ import annotations

from pathlib import Path

import pytest

from stt_ft.core.config import describe, dump_config, load_config
from stt_ft.core.errors import ConfigError
from stt_ft.core.recipe import DEFAULT_BASE, Recipe


def load(tmp_path: Path, **overrides: str) -> Recipe:
    path = tmp_path / "recipe.yaml"
    path.write_text("dataset: datasets/x\nrun_dir: runs/x\n")
    return load_config(Recipe, path, {key.replace("__", "."): value for key, value in overrides.items()})


def test_dataset_and_run_directory_are_enough(tmp_path: Path):
    recipe = load(tmp_path)
    assert recipe == Recipe(dataset="datasets/x", run_dir="runs/x")
    assert recipe.base == DEFAULT_BASE


def test_the_resolved_recipe_is_read_back_equal(tmp_path: Path):
    recipe = load(tmp_path, optim__lr="3e-6", augment__speeds="0.9,1.1", checkpoint__keep="4", base="tiny")
    resolved = tmp_path / "args.yaml"
    resolved.write_text(dump_config(recipe))
    assert load_config(Recipe, resolved) == recipe


def test_every_key_is_documented():
    assert [doc.key for doc in describe(Recipe) if len(doc.doc) < 10] == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("threads", "0"),
        ("seed", "-1"),
        ("dataset", ""),
        ("precision", "float64"),
        ("lora.rank", "0"),
        ("lora.dropout", "1"),
        ("loss.pad_weight", "-0.1"),
        ("loss.pause_targets", "counts"),
        ("optim.lr", "0"),
        ("schedule.max_steps", "0"),
        ("batch.batch_size", "0"),
        ("augment.pause_prob", "1.1"),
        ("synthetic.share", "1"),
        ("synthetic.share", "-0.1"),
        ("validation.every_steps", "-1"),
        ("checkpoint.keep", "0"),
    ],
)
def test_a_value_out_of_its_limits_is_refused_by_its_key(tmp_path: Path, key: str, value: str):
    with pytest.raises(ConfigError, match=f"--{key}"):
        load(tmp_path, **{key: value})
