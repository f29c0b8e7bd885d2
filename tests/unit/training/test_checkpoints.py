from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch

from stt_ft.core.errors import CheckpointError
from stt_ft.core.recipe import CalibrationRecipe, Recipe
from stt_ft.training.checkpoints import (
    TRAIN_METRICS,
    Progress,
    RunDir,
    Snapshot,
    find_consolidated,
    newest_consolidated,
    prune_checkpoints,
    save_checkpoint,
)
from stt_ft.training.parallel import World
from stt_ft.training.state import training_state


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
    torch.stack([parameter.sum() for parameter in trainable.values()]).sum().backward()
    optimizer.step()
    snapshot = Snapshot(adapter={"x": torch.zeros(1)}, metadata={}, model_config={"lora": True}, state=training_state(trainable, optimizer))
    save_checkpoint(run, _progress(step, **progress), snapshot, World())
    return trainable, optimizer


def test_weights_and_optimizer_come_back_to_the_bit(recipe):
    run = RunDir.open(recipe)
    trainable, optimizer = _save(run, 10)
    again, fresh = _weights()
    run.state(10).restore(again, fresh)
    for name, parameter in trainable.items():
        assert torch.equal(again[name], parameter)
        for moment, value in optimizer.state[parameter].items():
            assert torch.equal(fresh.state[again[name]][moment], value)


def test_equal_checkpoints_are_equal_bytes(recipe, tmp_path):
    trainable, optimizer = _weights()
    snapshot = Snapshot(
        adapter=trainable,
        metadata={"base": "tiny", "scaling": "2.0"},
        model_config={"lora": True},
        state=training_state(trainable, optimizer),
    )
    written = []
    for name in "abcd":
        directory = save_checkpoint(RunDir(tmp_path / name), _progress(5), snapshot, World())
        written.append({str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()})
    assert len(written[0]) == 6
    assert all(files == written[0] for files in written)


def test_a_checkpoint_of_other_weights_is_refused(recipe):
    run = RunDir.open(recipe)
    _save(run, 10)
    trainable, optimizer = _weights()
    with pytest.raises(CheckpointError, match="holds weights that this model does not train"):
        run.state(10).restore({"head.weight": trainable["head.weight"]}, optimizer)
    with pytest.raises(CheckpointError, match="cannot be taken up again"):
        run.state(10).restore({"other": trainable["head.weight"]}, optimizer)


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
    shutil.copytree(run.checkpoint(10) / "consolidated", calibrated)
    (run.directory / "calibrated" / "calibration.json").write_text(json.dumps({"step": 10}))
    assert find_consolidated(run.directory) == calibrated
    assert find_consolidated(run.checkpoint(10)) == run.checkpoint(10) / "consolidated"
    _save(run, 20, best_step=20, best_value=1.0)  # the run was lengthened and is better now
    with pytest.raises(CheckpointError, match="they are not there yet"):
        find_consolidated(run.directory)


def _emptied(path: Path) -> None:
    shutil.rmtree(path)
    path.mkdir()


def _cut_to_nothing(path: Path) -> None:
    path.write_bytes(b"")


def _flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "an empty directory": (".", _emptied),
    "no training_state": ("training_state", shutil.rmtree),
    "no consolidated": ("consolidated", shutil.rmtree),
    "no config.json": ("consolidated/config.json", Path.unlink),
    "an adapter of 0 bytes": ("consolidated/lora.safetensors", _cut_to_nothing),
    "an optimizer of 0 bytes": ("training_state/state.safetensors", _cut_to_nothing),
    "a progress of 0 bytes": ("training_state/state.json", _cut_to_nothing),
    "a bit of the adapter": ("consolidated/lora.safetensors", _flipped),
    "a bit of the optimizer": ("training_state/state.safetensors", _flipped),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before_and_a_line_says_so(recipe, name, capsys):
    """For a run to go on all of it has to be whole; to merge, what was trained alone."""
    run = RunDir.open(recipe)
    for step in (10, 20, 30):
        _save(run, step)
    where, damage = DAMAGE[name]
    damage(run.checkpoint(30) / where)
    assert run.newest(to_go_on=True) == 20
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{run.checkpoint(30)}: damaged, so the checkpoint before it counts (")
    is_adapter = not where.startswith("training_state")
    steps = (10, 20) if is_adapter else (20, 30)
    assert newest_consolidated(run.directory, 2) == [run.checkpoint(step) / "consolidated" for step in steps]
    assert find_consolidated(run.directory) == run.checkpoint(steps[-1]) / "consolidated"
    for step in (10, 20):
        damage(run.checkpoint(step) / where)
    with pytest.raises(CheckpointError, match="none of its 3 checkpoints is whole"):
        run.newest(to_go_on=True)
    if is_adapter:
        with pytest.raises(CheckpointError, match="none of its 3 checkpoints is whole"):
            find_consolidated(run.directory)


def test_a_damaged_best_checkpoint_gives_way_to_the_newest_and_a_line_says_so(recipe, capsys):
    run = RunDir.open(recipe)
    for step in (10, 20, 30):
        _save(run, step, best_step=10, best_value=1.0)
    _flipped(run.checkpoint(10) / "consolidated" / "lora.safetensors")
    assert find_consolidated(run.directory) == run.checkpoint(30) / "consolidated"
    assert "best on dev, but damaged, so the newest counts, of step 30" in capsys.readouterr().err


def test_what_a_damaged_checkpoint_says_of_itself_does_not_count(recipe, capsys):
    run = RunDir.open(recipe)
    for step, best in ((10, 10), (20, 10), (30, 30)):
        _save(run, step, best_step=best, best_value=1.0 / best)
    _flipped(run.checkpoint(30) / "consolidated" / "lora.safetensors")
    assert find_consolidated(run.directory) == run.checkpoint(10) / "consolidated"
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_damaged_adapter_is_refused_by_its_own_name_too(recipe):
    run = RunDir.open(recipe)
    _save(run, 10)
    _flipped(run.checkpoint(10) / "consolidated" / "lora.safetensors")
    for path in (run.checkpoint(10), run.checkpoint(10) / "consolidated"):
        with pytest.raises(CheckpointError, match=r"lora\.safetensors: not the bytes that SHA256SUMS tells of"):
            find_consolidated(path)


def test_a_checkpoint_of_an_earlier_version_has_no_sums_and_counts(recipe):
    run = RunDir.open(recipe)
    _save(run, 10)
    for path in run.checkpoint(10).rglob("SHA256SUMS"):
        path.unlink()
    state = run.checkpoint(10) / "training_state" / "state.json"
    newer = ("dev_data", "started_from")
    state.write_text(json.dumps({key: value for key, value in json.loads(state.read_bytes()).items() if key not in newer}))
    assert run.newest(to_go_on=True) == 10


def test_damaged_checkpoints_are_set_aside_where_their_steps_are_done_again_and_no_pruning_counts_them(recipe):
    run = RunDir.open(recipe)
    for step in (10, 20, 30):
        _save(run, step)
    _emptied(run.checkpoint(30))
    run.forget_after(20)
    assert run.checkpoint_steps() == [10, 20]
    assert (run.directory / "checkpoints" / "damaged_checkpoint_000030").is_dir()
    _save(run, 25)
    prune_checkpoints(run, keep=1, best_step=None)
    assert run.checkpoint_steps() == [25]


def test_pruning_keeps_the_newest_and_the_best_and_by_default_all(recipe):
    run = RunDir.open(recipe)
    for step in (10, 20, 30, 40):
        _save(run, step)
    prune_checkpoints(run, keep=None, best_step=None)
    assert run.checkpoint_steps() == [10, 20, 30, 40]
    prune_checkpoints(run, keep=2, best_step=10)
    assert run.checkpoint_steps() == [10, 30, 40]
