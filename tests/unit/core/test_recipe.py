"""The recipe's dataclasses: every key documented, every default valid, every limit checked."""

from __future__ import annotations

from pathlib import Path

import pytest

from stt_ft.core.config import describe, dump_config, load_config, schema_text
from stt_ft.core.errors import ConfigError
from stt_ft.core.recipe import DEFAULT_BASE, Recipe

CONFIG_DIR = Path(__file__).parents[3] / "configs"


def load(tmp_path: Path, **overrides: str) -> Recipe:
    path = tmp_path / "recipe.yaml"
    path.write_text("dataset: datasets/x\nrun_dir: runs/x\n")
    return load_config(Recipe, path, {key.replace("__", "."): value for key, value in overrides.items()})


def test_dataset_and_run_directory_are_enough(tmp_path: Path):
    recipe = load(tmp_path)
    assert recipe == Recipe(dataset="datasets/x", run_dir="runs/x")
    assert recipe.base == DEFAULT_BASE


def test_the_resolved_recipe_is_read_back_equal(tmp_path: Path):
    recipe = load(tmp_path, optim__lr="3e-6", augment__speeds="0.9,1", log="wandb", checkpoint__keep="none", base="tiny")
    resolved = tmp_path / "args.yaml"
    resolved.write_text(dump_config(recipe))
    assert load_config(Recipe, resolved) == recipe


def test_every_key_is_documented():
    assert [doc.key for doc in describe(Recipe) if len(doc.doc) < 10] == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("threads", "0"),
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
        ("augment.speeds", "1,3"),
        ("augment.speeds", "[]"),
        ("augment.channels", "phone,telefon"),
        ("seed", "-1"),
        ("log", "tensorbord"),
        ("validation.best_metric", "wer"),
        ("synthetic.share", "1"),
        ("synthetic.share", "-0.1"),
        ("validation.every_steps", "-1"),
        ("checkpoint.keep", "0"),
    ],
)
def test_a_value_out_of_its_limits_is_refused_by_its_key(tmp_path: Path, key: str, value: str):
    with pytest.raises(ConfigError, match=f"--{key}"):
        load(tmp_path, **{key: value})


def test_the_recipe_has_fewer_than_fifty_keys():
    assert len(describe(Recipe)) < 50


@pytest.mark.parametrize("key", Recipe.formerly)
def test_a_key_of_earlier_versions_is_refused_with_what_became_of_it(tmp_path: Path, key: str):
    assert key not in {doc.key for doc in describe(Recipe)}
    with pytest.raises(ConfigError) as error:
        load(tmp_path, **{key: "1"})
    assert "no such key any more" in str(error.value)
    assert Recipe.formerly.get(key.partition(".")[0], Recipe.formerly[key]) in str(error.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("replay: {text_weight: 1}", "replay.dataset or kinds must say which clips are replay, or text_weight be 0"),
        ("validation: {listen: false, best_metric: combined}", "validation.best_metric combined needs listen: true"),
        ("log: {wandb: orders}", "log: no such key any more (now a list: log: [wandb]; the project is named as the run's directory)"),
    ],
)
def test_keys_that_contradict_each_other_are_refused(tmp_path: Path, text: str, complaint: str):
    path = tmp_path / "recipe.yaml"
    path.write_text(f"dataset: d\nrun_dir: r\n{text}\n")
    with pytest.raises(ConfigError) as error:
        load_config(Recipe, path)
    assert str(error.value) == f"{path}: {complaint}"


def test_the_schema_beside_the_configs_is_that_of_the_recipe():
    path = CONFIG_DIR / "recipe.schema.json"
    assert path.read_text(encoding="utf-8") == schema_text(Recipe), f"write it anew: python -m stt_ft.core.recipe > {path}"


@pytest.mark.parametrize("path", sorted(CONFIG_DIR.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_config_names_the_schema(path: Path):
    assert "# yaml-language-server: $schema=recipe.schema.json" in path.read_text(encoding="utf-8").splitlines()
