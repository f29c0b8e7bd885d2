"""`run` works again what was changed, and nothing else, by the inputs that it declares; stages that rewrite sidecars stand for ours."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stt_ft.core.errors import CheckFailed, ConfigError
from stt_ft.dataset.manifest import Clip, Dataset
from stt_ft.dataset.sidecar import Sidecar, Word
from stt_ft.stages import COMMANDS
from stt_ft.stages.chains import run

CHAIN = ["annotate", "convert", "check", "encode", "train", "merge", "export", "evaluate"]


@pytest.fixture
def worked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Put stages that only note their names, and write what ours write, in the place of ours; return the names."""
    done: list[str] = []

    def rewrite(dataset: str, name: str) -> None:
        data = Dataset.open(dataset)
        for clip in data.clips():
            data.write_sidecar(clip, data.read_sidecar(clip).with_provenance(name, {"run": len(done)}))

    def annotate(dataset: str, **flags: Any) -> None:
        rewrite(dataset, "annotate")

    def convert(dataset: str, **flags: Any) -> None:
        rewrite(dataset, "convert")

    def train(config: str, **overrides: Any) -> None:
        (Path(overrides["run_dir"]) / "checkpoints").mkdir(parents=True, exist_ok=True)

    def makes(name: str) -> Callable[..., None]:
        def stage(*words: str, out: str, **flags: Any) -> None:
            Path(out).mkdir(parents=True, exist_ok=True)
            (Path(out) / "report.json").write_text("{}")

        return stage

    stages: dict[str, Callable[..., None]] = {"annotate": annotate, "convert": convert, "train": train}
    stages |= {name: makes(name) for name in ("merge", "export", "evaluate")}
    modules: dict[str, types.ModuleType] = {}
    for name in CHAIN:
        path = f"stt_ft.stages.{COMMANDS[name].module}"
        module = modules.setdefault(path, types.ModuleType(path))

        def noted(*words: Any, _name: str = name, **flags: Any) -> None:
            done.append(_name)
            stages.get(_name, lambda *words, **flags: None)(*words, **flags)

        setattr(module, name, noted)
    for path, module in modules.items():
        monkeypatch.setitem(sys.modules, path, module)
    return done


def dataset_at(directory: Path) -> Dataset:
    data = Dataset(directory)
    (directory / "audio").mkdir(parents=True)
    for split in ("train", "heldout"):
        clip = Clip(path=f"audio/{split}.wav", duration_s=1.0)
        data.audio_path(clip).write_bytes(b"RIFF")
        data.write_sidecar(clip, Sidecar(alignments=(Word(text="one", start_s=0.1, end_s=0.5),)))
        data.write_clips(split, [clip])
    return data


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    return dataset_at(tmp_path / "data")


@pytest.fixture
def again(data: Dataset, tmp_path: Path, worked: list[str]) -> Callable[..., list[str]]:
    """Return a function that makes a `run` and returns the stages that did something."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("base: tiny\n")

    def again(**overrides: Any) -> list[str]:
        worked.clear()
        options = {key.replace("__", "."): value for key, value in overrides.items()}
        run(str(recipe), dataset=str(data.directory), run_dir=str(tmp_path / "run"), **options)
        return list(worked)

    return again


def test_a_second_run_does_nothing_though_stages_rewrote_the_sidecars(again):
    assert again() == CHAIN
    assert again() == []


@pytest.mark.parametrize("change", ["sidecar", "sound", "manifest", "dataset.yaml"])
def test_what_was_changed_in_the_dataset_is_worked_again_once(again, data: Dataset, change: str):
    again()
    clip = data.clips("train")[0]
    if change == "sidecar":
        path = data.sidecar_path(clip)
        path.write_text(path.read_text().replace("one", "two"))
    elif change == "sound":
        data.audio_path(clip).write_bytes(b"RIFF, retaken")
    elif change == "manifest":
        data.write_clips("train", [Clip(path=clip.path, duration_s=2.0)])
    else:
        data.write_info({"language": "fr"})
    assert again() == CHAIN
    assert again() == []


def test_an_option_of_a_later_stage_leaves_the_earlier_ones_alone(again):
    again()
    assert again(optim__lr="1e-5") == CHAIN[4:]
    assert again(optim__lr="1e-5", convert__style="auto") == CHAIN[1:]


def test_a_dataset_that_is_replayed_counts_too(again, tmp_path: Path):
    other = dataset_at(tmp_path / "other")
    replayed = {"replay__dataset": str(other.directory)}
    assert again(**replayed) == CHAIN
    other.audio_path(other.clips("train")[0]).write_bytes(b"RIFF, retaken")
    assert again(**replayed) == CHAIN[4:]
    assert again(**replayed) == []


def test_check_is_asked_with_the_tail_that_training_sees(again, monkeypatch: pytest.MonkeyPatch):
    asked: dict[str, Any] = {}
    module = sys.modules[f"stt_ft.stages.{COMMANDS['check'].module}"]
    monkeypatch.setattr(module, "check", lambda dataset, **flags: asked.update(flags))
    again(batch__tail_s="0.5")
    assert asked == {"base": "tiny", "tail_s": 0.5}


def test_after_a_check_that_failed_the_correction_is_enough(again, data: Dataset, monkeypatch: pytest.MonkeyPatch):
    module = sys.modules[f"stt_ft.stages.{COMMANDS['check'].module}"]
    original = module.check

    def check(dataset: str, **flags: Any) -> None:
        original(dataset, **flags)
        if "two" not in data.sidecar_path(data.clips("train")[0]).read_text():
            raise CheckFailed("1 problem")

    monkeypatch.setattr(module, "check", check)
    with pytest.raises(CheckFailed):
        again()
    path = data.sidecar_path(data.clips("train")[0])
    path.write_text(path.read_text().replace("one", "two"))
    assert again() == CHAIN
    records = sorted(path.stem for path in (data.directory.parent / "run" / ".stages").glob("*.json"))
    assert records == sorted(CHAIN)
    assert all("run" in json.loads(path.read_text()) for path in (data.directory.parent / "run" / ".stages").glob("*.json"))


def test_a_mistake_in_the_recipe_is_told_before_any_stage(again, worked: list[str]):
    with pytest.raises(ConfigError, match=r"--augment\.channels: 'telefon' is no channel"):
        again(augment__channels="telefon")
    assert worked == []
