from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
import torch

from stt_ft.core.config import to_dict
from stt_ft.core.errors import CheckpointError, ConfigError
from stt_ft.core.recipe import CalibrationRecipe, OptimRecipe, Recipe
from stt_ft.training.checkpoints import (
    TRAIN_METRICS,
    Progress,
    RunDir,
    Snapshot,
    find_consolidated,
    flat,
    load_checkpoint,
    prune_checkpoints,
    recipe_differences,
    save_checkpoint,
    training_state,
)


@pytest.fixture
def recipe(tmp_path) -> Recipe:
    return Recipe(dataset="orders", run_dir=str(tmp_path / "run"))


def _progress(step: int, **changes) -> Progress:
    return Progress(step=step, data="d", base_sha256="b", **changes)


def _weights() -> tuple[dict[str, torch.nn.Parameter], torch.optim.AdamW]:
    trainable = {"a.lora_A.weight": torch.nn.Parameter(torch.randn(3, 4)), "head.weight": torch.nn.Parameter(torch.randn(2))}
    return trainable, torch.optim.AdamW(trainable.values(), lr=0.1)


def _save(run: RunDir, step: int, **progress):
    trainable, optimizer = _weights()
    sum(parameter.sum() for parameter in trainable.values()).backward()
    optimizer.step()
    snapshot = Snapshot(
        weights_name="lora.safetensors", weights={"x": torch.zeros(1)}, metadata={}, model_config={"lora": True},
        state=training_state(trainable, optimizer),
    )  # fmt: skip
    save_checkpoint(run, _progress(step, **progress), snapshot)
    return trainable, optimizer


def test_weights_and_optimizer_come_back_to_the_bit(recipe):
    run = RunDir.open(recipe)
    trainable, optimizer = _save(run, 10)
    again, fresh = _weights()
    load_checkpoint(run, 10, again, fresh)
    for name, parameter in trainable.items():
        assert torch.equal(again[name], parameter)
        for moment, value in optimizer.state[parameter].items():
            assert torch.equal(fresh.state[again[name]][moment], value)


def test_equal_checkpoints_are_equal_bytes(recipe, tmp_path):
    trainable, optimizer = _weights()
    snapshot = Snapshot(
        weights_name="lora.safetensors", weights=trainable, metadata={"base": "tiny", "scaling": "2.0"}, model_config={"lora": True},
        state=training_state(trainable, optimizer),
    )  # fmt: skip
    written = []
    for name in "abcd":
        directory = save_checkpoint(RunDir(tmp_path / name), _progress(5), snapshot)
        written.append({str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()})
    assert len(written[0]) == 4
    assert all(files == written[0] for files in written)


def test_another_recipe_in_the_same_directory_is_refused_with_the_difference(recipe):
    RunDir.open(recipe)
    changed = dataclasses.replace(recipe, optim=OptimRecipe(lr=1.0), seed=3)
    with pytest.raises(ConfigError, match=r"seed was 0, is 3; optim\.lr was 2e-05, is 1\.0"):
        RunDir.open(changed)
    RunDir.open(dataclasses.replace(recipe, device="cpu", threads=2))


MAY_CHANGE = {
    "device", "threads", "run_dir", "parallel", "log", "checkpoint.keep", "calibration.method", "annotate.aligner", "annotate.model",
    "convert.style",
}  # fmt: skip
"""Keys that change nothing of what is learned."""


@pytest.mark.parametrize("key", list(flat(to_dict(Recipe(dataset="d", run_dir="r")))))
def test_a_run_goes_on_only_with_the_keys_that_decide_what_is_learned_as_they_were(recipe, key):
    def changed(value: Any, names: list[str]) -> Any:
        if not names:
            return "another"  # of whatever type: it is not what it was
        other = copy.copy(value)
        object.__setattr__(other, names[0], changed(getattr(value, names[0]), names[1:]))  # past the checks of values
        return other

    differences = recipe_differences(recipe, changed(recipe, key.split(".")))
    assert [difference.split(" was ")[0] for difference in differences] == ([] if key in MAY_CHANGE else [key])


def test_a_checkpoint_of_other_weights_is_refused(recipe):
    run = RunDir.open(recipe)
    _save(run, 10)
    trainable, optimizer = _weights()
    with pytest.raises(CheckpointError, match="holds weights that this model does not train"):
        load_checkpoint(run, 10, {"head.weight": trainable["head.weight"]}, optimizer)
    with pytest.raises(CheckpointError, match="cannot be taken up again"):
        load_checkpoint(run, 10, {"other": trainable["head.weight"]}, optimizer)


def test_only_whole_checkpoints_are_counted(recipe):
    run = RunDir.open(recipe)
    _save(run, 10)
    (run.directory / "checkpoints" / ".checkpoint_000020.1234.tmp").mkdir()
    assert run.checkpoint_steps() == [10]


def test_rows_after_the_checkpoint_and_a_half_written_last_line_are_forgotten(recipe):
    run = RunDir.open(recipe)
    run.append(TRAIN_METRICS, [{"step": step, "loss": 1.0} for step in range(1, 5)])
    with (run.directory / TRAIN_METRICS).open("a") as file:
        file.write('{"step": 5, "lo')
    run.forget_after(3)
    assert [row["step"] for row in run.read_rows(TRAIN_METRICS)] == [1, 2, 3]


def test_a_run_means_its_best_checkpoint_and_without_one_its_newest(recipe):
    run = RunDir.open(recipe)
    _save(run, 10)
    assert find_consolidated(run.directory) == run.checkpoint(10) / "consolidated"
    _save(run, 20, best_step=20, best_value=1.0)
    _save(run, 30, best_step=20, best_value=1.0)
    assert find_consolidated(run.directory) == run.checkpoint(20) / "consolidated"
    assert find_consolidated(run.checkpoint(30)) == run.checkpoint(30) / "consolidated"
    assert find_consolidated(run.checkpoint(30) / "consolidated") == run.checkpoint(30) / "consolidated"
    with pytest.raises(CheckpointError, match="no checkpoint here"):
        find_consolidated(run.directory.parent)


def test_a_run_that_asks_for_calibrated_heads_means_nothing_else(recipe):
    run = RunDir.open(dataclasses.replace(recipe, calibration=CalibrationRecipe(method="likelihood")))
    _save(run, 10)
    with pytest.raises(CheckpointError, match=r"asks for calibrated pause heads, and they are not there yet; run `stt-ft train`"):
        find_consolidated(run.directory)
    calibrated = run.directory / "calibrated" / "consolidated"
    calibrated.mkdir(parents=True)
    (calibrated / "lora.safetensors").touch()
    assert find_consolidated(run.directory) == calibrated
    assert find_consolidated(run.checkpoint(10)) == run.checkpoint(10) / "consolidated"


def test_pruning_keeps_the_newest_and_the_best_and_by_default_all(recipe):
    run = RunDir.open(recipe)
    for step in (10, 20, 30, 40):
        _save(run, step)
    prune_checkpoints(run, keep=None, best_step=None)
    assert run.checkpoint_steps() == [10, 20, 30, 40]
    prune_checkpoints(run, keep=2, best_step=10)
    assert run.checkpoint_steps() == [10, 30, 40]
