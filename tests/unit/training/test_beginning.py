"""Runs that are lengthened, go on with other keys, or begin with an adapter; and the bytes that equal runs leave."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from random_models import make_random_base, random_codes
from training_runs import kill_run_at, rows_of, run_train

from stt_ft.core.config import to_dict
from stt_ft.core.errors import CheckpointError, ConfigError
from stt_ft.core.provenance import file_sha256
from stt_ft.core.recipe import LoraRecipe, OptimRecipe, Recipe, ReplayRecipe, ScheduleRecipe, ValidationRecipe
from stt_ft.model.lora import SCALING
from stt_ft.model.merge import Adapter, merge_adapter
from stt_ft.model.stt_lm import forward, load_lm
from stt_ft.stages.finetune import encode
from stt_ft.training import beginning
from stt_ft.training.beginning import MAY_CHANGE, flat, recipe_differences, with_precision
from stt_ft.training.checkpoints import RunDir, find_consolidated
from stt_ft.training.data import clips as clips_module
from stt_ft.training.loop import learning_rate


def _steps(recipe: Recipe, max_steps: int) -> Recipe:
    return dataclasses.replace(recipe, schedule=ScheduleRecipe(max_steps=max_steps))


def _elsewhere(recipe: Recipe, name: str, **changes: Any) -> Recipe:
    return dataclasses.replace(recipe, run_dir=str(Path(recipe.run_dir).parent / name / "run"), **changes)


@pytest.fixture
def make(tmp_path):
    """Return a function that trains a recipe, whose directory of the run is made first."""

    def trained(recipe: Recipe) -> RunDir:
        Path(recipe.run_dir).parent.mkdir(parents=True, exist_ok=True)
        return run_train(recipe)

    return trained


def _contents(run: RunDir) -> dict[str, bytes]:
    """Every file of a run and its bytes."""
    return {str(path.relative_to(run.directory)): path.read_bytes() for path in sorted(run.directory.rglob("*")) if path.is_file()}


# --- Number types -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("is_fast", "precision"), [(True, "bfloat16"), (False, "float32")])
def test_half_precision_is_taken_where_it_is_fast_unless_asked_for(recipe, monkeypatch, is_fast, precision):
    monkeypatch.setattr(beginning, "has_bfloat16", lambda device: is_fast)
    assert with_precision(dataclasses.replace(recipe, precision="auto")).precision == precision
    assert with_precision(dataclasses.replace(recipe, precision="float16")).precision == "float16"


def test_a_run_goes_on_in_the_number_type_it_began_with(recipe, monkeypatch):
    RunDir.open(recipe)
    monkeypatch.setattr(beginning, "has_bfloat16", lambda device: True)
    assert with_precision(dataclasses.replace(recipe, precision="auto")) == recipe


# --- Lengthening --------------------------------------------------------------------------------------------------------------------------


def test_a_finished_run_goes_on_to_more_steps_and_says_so(recipe, make, capsys):
    first = make(recipe)
    before = rows_of(first, "train")
    capsys.readouterr()
    longer = make(_steps(recipe, 20))
    assert "was 12 steps, goes on to 20 after step 12" in capsys.readouterr().err
    rows = rows_of(longer, "train")
    assert rows[:12] == before
    assert [row["step"] for row in rows] == list(range(1, 21))
    assert [row["step"] for row in rows_of(longer, "eval")] == [4, 8, 12, 16, 20]
    assert "goes on" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "kill_at", [14, pytest.param(18, marks=pytest.mark.slow)]
)  # before and after the first checkpoint of the longer part
def test_a_lengthened_run_that_is_killed_ends_as_if_it_had_not_been(recipe, make, monkeypatch, kill_at):
    killed = _elsewhere(recipe, "killed")
    make(recipe)
    make(killed)
    whole = make(_steps(recipe, 40))
    kill_run_at(kill_at, _steps(killed, 40), monkeypatch)
    resumed = make(_steps(killed, 40))
    assert rows_of(resumed, "train") == rows_of(whole, "train")
    for name in ("consolidated/lora.safetensors", "training_state/state.safetensors"):
        ours, theirs = (safetensors.torch.load_file(run.checkpoint(40) / name) for run in (resumed, whole))
        assert list(ours) == list(theirs)
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_a_lengthened_run_has_the_rate_of_its_new_length(recipe, make):
    make(recipe)
    rates = [row["lr"] for row in rows_of(make(_steps(recipe, 40)), "train")]
    assert rates[:12] == [learning_rate(step, recipe.optim.lr, 12) for step in range(12)]
    assert rates[12:] == [learning_rate(step, recipe.optim.lr, 40) for step in range(12, 40)]
    assert rates[11] < 0.1 * recipe.optim.lr < 0.7 * recipe.optim.lr < rates[12]


def test_a_run_is_shortened_down_to_the_steps_that_are_done(recipe, make, monkeypatch):
    kill_run_at(6, recipe, monkeypatch)  # its newest checkpoint is of step 4
    with pytest.raises(ConfigError, match=r"4 steps are done, and schedule\.max_steps is 3; give 4 or more"):
        make(_steps(recipe, 3))
    assert [row["step"] for row in rows_of(make(_steps(recipe, 8)), "train")] == list(range(1, 9))


def test_the_newest_checkpoint_is_damaged_and_the_run_ends_as_if_it_were_not(recipe, make, capsys):
    run = make(recipe)
    rows, whole = rows_of(run, "train"), _contents(run)
    (run.checkpoint(12) / "consolidated" / "lora.safetensors").write_bytes(b"")
    capsys.readouterr()
    make(recipe)
    said = capsys.readouterr().err
    assert "checkpoint_000012: damaged, so the checkpoint before it counts" in said
    assert "going on after step 8" in said
    assert "this run is done" not in said
    assert rows_of(run, "train") == rows
    shutil.rmtree(run.directory / "checkpoints" / "damaged_checkpoint_000012")
    again = _contents(run)
    assert [name for name in again if again[name] != whole.get(name)] == []


# --- What may change ----------------------------------------------------------------------------------------------------------------------


FREE = {
    "run_dir", "dataset", "base", "replay.dataset", "synthetic.dataset", "device", "threads", "parallel", "batch.gradient_checkpointing",
    "schedule.max_steps", "validation.every_steps", "validation.listen", "checkpoint.keep", "log", "calibration.method",
    "annotate.aligner", "annotate.model", "convert.style",
}  # fmt: skip
"""Keys that change nothing of what is learned in the steps that are done."""

PLAIN = Recipe(dataset="d", run_dir="r")


@pytest.mark.parametrize("key", list(flat(to_dict(PLAIN))))
def test_a_run_goes_on_only_with_the_keys_that_decide_what_is_learned_as_they_were(key):
    def changed(value: Any, names: list[str]) -> Any:
        if not names:
            return "another"  # of whatever type: it is not what it was
        other = copy.copy(value)
        object.__setattr__(other, names[0], changed(getattr(value, names[0]), names[1:]))  # past the checks of values
        return other

    differences = recipe_differences(PLAIN, changed(PLAIN, key.split(".")))
    assert [difference.split(" was ")[0] for difference in differences] == ([] if key in FREE else [key])


def test_the_table_names_keys_that_exist():
    keys = flat(to_dict(PLAIN))
    assert all(any(key == name or key.startswith(f"{name}.") for key in keys) for name in MAY_CHANGE)


def test_another_recipe_is_refused_with_every_difference_and_its_reason(recipe, make):
    make(recipe)
    changed = dataclasses.replace(recipe, optim=OptimRecipe(lr=1.0), seed=3, lora=LoraRecipe(rank=8, dropout=0.1))
    with pytest.raises(ConfigError) as refused:
        make(changed)
    message = str(refused.value)
    for part in (
        "seed was 0, is 3 (what was learned",
        "optim.lr was 0.003, is 1.0 (what",
        "lora.rank was 4, is 8 (says which weights learn)",
    ):
        assert part in message
    assert "--lora.start_from begins a new run with the adapter of an old one" in message


def test_looking_at_other_steps_changes_nothing_that_is_learned(recipe, make, monkeypatch):
    whole = make(recipe)
    other = _elsewhere(recipe, "other")
    Path(other.run_dir).parent.mkdir()
    kill_run_at(6, other, monkeypatch)
    resumed = make(dataclasses.replace(other, validation=ValidationRecipe(every_steps=3, listen=False)))
    assert rows_of(resumed, "train") == rows_of(whole, "train")
    assert [row["step"] for row in rows_of(resumed, "eval")] == [4, 6, 9, 12]


def test_a_run_goes_on_with_dataset_and_base_in_another_place_but_not_with_others(recipe, make, tmp_path, monkeypatch):
    dataset, base = tmp_path / "moved" / "dataset", tmp_path / "moved" / "base"
    shutil.copytree(recipe.dataset, dataset)
    shutil.copytree(recipe.base, base)
    whole = make(recipe)
    moved = _elsewhere(recipe, "there", dataset=str(dataset), base=str(base))
    Path(moved.run_dir).parent.mkdir()
    kill_run_at(9, _elsewhere(recipe, "there"), monkeypatch)
    assert rows_of(make(moved), "train") == rows_of(whole, "train")
    for split, name in (("train", "training"), ("dev", "dev")):
        manifest = dataset / f"{split}.jsonl"
        lines = manifest.read_text()
        manifest.write_text("".join(lines.splitlines(keepends=True)[:-1]))
        with pytest.raises(ConfigError, match=f"the {name} clips changed since this run began"):
            make(moved)
        manifest.write_text(lines)


def test_a_run_whose_clips_were_known_by_all_their_codes_is_refused_with_the_way_out(recipe, make, monkeypatch):
    monkeypatch.setattr(clips_module, "FINGERPRINT", "")  # as runs of earlier versions have it
    kill_run_at(9, recipe, monkeypatch)
    monkeypatch.undo()
    with pytest.raises(ConfigError, match=r"was begun by an earlier version of stt-ft, .*--run_dir, and --lora\.start_from .*run to begin"):
        make(recipe)


# --- Beginning with an adapter ------------------------------------------------------------------------------------------------------------


def _outputs(model, **options):
    codes = torch.cat([torch.randint(0, 96, (1, 30)), torch.from_numpy(random_codes(model, 30)).long()])[None]
    with torch.no_grad():
        output = forward(load_lm(model, **options), codes)
    return output.text_logits, output.head_logits


def _standing_still(recipe: Recipe, name: str, **changes: Any) -> Recipe:
    """One step so small that it moves nothing that can be seen."""
    return _elsewhere(
        recipe,
        name,
        schedule=ScheduleRecipe(max_steps=1),
        optim=OptimRecipe(lr=1e-12),
        validation=ValidationRecipe(every_steps=0),
        **changes,
    )


@pytest.mark.parametrize("heads", ["full", "lora", "frozen"])
def test_a_new_run_begins_with_the_adapter_of_a_run_and_records_which(recipe, make, random_base, heads, capsys):
    old = make(dataclasses.replace(recipe, lora=LoraRecipe(rank=4, heads=heads)))
    source = find_consolidated(old.directory) / "lora.safetensors"
    new = make(_standing_still(recipe, "new", lora=LoraRecipe(rank=4, heads=heads, start_from=str(old.directory))))
    assert f"begins with {source}" in capsys.readouterr().err
    weights = find_consolidated(new.directory) / "lora.safetensors"
    torch.manual_seed(1)
    expected = _outputs(random_base, lora_weights=source)
    torch.manual_seed(1)
    for ours, theirs in zip(_outputs(random_base, lora_weights=weights), expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert new.read_progress(1).started_from == {"path": str(source), "sha256": file_sha256(source)}
    assert Adapter.open(weights).header.metadata["started_from_sha256"] == file_sha256(source)


def test_a_start_is_fresh_but_for_the_weights_and_is_read_once(recipe, make, monkeypatch):
    old = make(recipe)
    lora = dataclasses.replace(recipe.lora, start_from=str(old.checkpoint(8)))
    whole = make(_elsewhere(recipe, "whole", lora=lora))
    rows = rows_of(whole, "train")
    assert [row["step"] for row in rows] == list(range(1, 13))
    assert [row["lr"] for row in rows] == [row["lr"] for row in rows_of(old, "train")]
    assert rows[0]["loss"] < rows_of(old, "train")[0]["loss"]
    killed = _elsewhere(recipe, "killed", lora=lora)
    Path(killed.run_dir).parent.mkdir()
    kill_run_at(6, killed, monkeypatch)
    shutil.rmtree(old.directory)  # read when the run began
    assert rows_of(make(killed), "train") == rows


def test_the_base_that_replay_and_labels_ask_is_the_base_not_where_the_run_began(recipe, make):
    held = dataclasses.replace(recipe, replay=ReplayRecipe(dataset=recipe.dataset, text_weight=1.0))
    old = make(held)
    new = make(_elsewhere(held, "new", lora=dataclasses.replace(recipe.lora, start_from=str(old.directory))))
    assert rows_of(old, "train")[0]["text_kl"] == pytest.approx(0.0, abs=1e-6)  # dropout alone
    assert rows_of(new, "train")[0]["text_kl"] > 1e-4


def _by_moshi_finetune(source: Path, out: Path, scaling: float) -> Path:
    """An adapter as moshi-finetune leaves it: A and B of every linear layer, no metadata, rank and scaling in config.json alone."""
    out.mkdir()
    tensors = {name: tensor.bfloat16() for name, tensor in safetensors.torch.load_file(source / "lora.safetensors").items()}
    safetensors.torch.save_file({name: tensor for name, tensor in tensors.items() if ".lora_" in name}, out / "lora.safetensors")
    config = json.loads((source / "config.json").read_bytes())
    (out / "config.json").write_text(json.dumps(config | {"lora_scaling": scaling}, indent=4))
    return out


@pytest.mark.parametrize("heads", ["full", "lora"])
def test_a_run_begins_with_an_adapter_by_moshi_finetune_of_another_scaling(recipe, make, random_base, tmp_path, heads):
    old = make(dataclasses.replace(recipe, lora=LoraRecipe(rank=4, heads="lora")))
    theirs = _by_moshi_finetune(find_consolidated(old.directory), tmp_path / "theirs", scaling=2 * SCALING)
    new = make(_standing_still(recipe, "new", lora=LoraRecipe(rank=4, heads=heads, start_from=str(theirs))))
    for source, out in ((theirs, "a"), (find_consolidated(new.directory), "b")):
        merge_adapter(random_base, [Adapter.open(source)], tmp_path / out, dtype="float32")
    ours, expected = (safetensors.torch.load_file(tmp_path / out / "model.safetensors") for out in ("b", "a"))
    for name, tensor in expected.items():
        torch.testing.assert_close(ours[name], tensor, atol=1e-5, rtol=1e-5)


def test_an_adapter_that_would_lose_something_or_does_not_fit_is_refused_before_anything_is_written(recipe, make, tmp_path):
    old = make(recipe)
    start = str(old.directory)
    whole = make(_elsewhere(recipe, "whole", lora=LoraRecipe(rank=None), optim=OptimRecipe(lr=1e-4)))
    by_heads = make(_elsewhere(recipe, "heads", lora=LoraRecipe(rank=4, heads="lora")))
    other = make_random_base(tmp_path / "other", seed=5)
    refused = {
        r"is of rank 4, lora\.rank is 8; give --lora\.rank 4": {"lora": LoraRecipe(rank=8, start_from=start)},
        r"lora\.heads frozen leaves to the base; give --lora\.heads full": {"lora": LoraRecipe(rank=4, heads="frozen", start_from=start)},
        "give --lora.heads lora": {"lora": LoraRecipe(rank=4, heads="frozen", start_from=str(by_heads.directory))},
        r"holds a whole model, no adapter; merge it": {"lora": LoraRecipe(rank=4, start_from=str(whole.directory))},
        r"lora\.start_from needs lora\.rank": {"lora": LoraRecipe(rank=None, start_from=start)},
        "no checkpoint here": {"lora": LoraRecipe(rank=4, start_from=str(tmp_path / "nothing"))},
        "trained on another base": {"lora": LoraRecipe(rank=4, start_from=start), "base": str(other.directory)},
    }
    encode(recipe.dataset, base=str(other.directory))
    for message, changes in refused.items():
        asked = _elsewhere(recipe, "refused", **changes)
        with pytest.raises((ConfigError, CheckpointError), match=message):
            make(asked)
        assert not Path(asked.run_dir).exists()


# --- Equal runs, and the directory of a run -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_equal_runs_leave_equal_bytes_in_whatever_process(recipe, make, tmp_path):
    run = make(recipe)
    ours = _contents(run)
    shutil.rmtree(run.directory)
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-m", "stt_ft", "train", str(tmp_path / "recipe.yaml")]
    subprocess.run(command, check=True, capture_output=True, env=environment, cwd=tmp_path)
    theirs = _contents(run)
    assert sorted(ours) == sorted(theirs)
    assert [name for name in ours if ours[name] != theirs[name]] == []


def test_a_run_that_was_killed_leaves_the_bytes_of_one_that_was_not(recipe, make, monkeypatch):
    run = make(recipe)
    whole = _contents(run)
    shutil.rmtree(run.directory)
    kill_run_at(6, recipe, monkeypatch)
    resumed = _contents(make(recipe))
    assert sorted(resumed) == sorted(whole)
    assert [name for name in whole if resumed[name] != whole[name]] == []


def test_the_directory_of_a_run_says_what_to_do_next_in_commands_that_work(recipe, make, tmp_path, monkeypatch):
    from stt_ft.cli import main

    run = make(recipe)
    text = (run.directory / "README.md").read_text()
    monkeypatch.chdir(tmp_path)
    commands = [line.strip().removeprefix("stt-ft ").split() for line in text.splitlines() if line.startswith("    stt-ft ")]
    assert [command[0] for command in commands] == ["merge", "evaluate", "train", "train"]
    merged, _, longer, other = commands
    assert main(merged) == 0
    assert (tmp_path / merged[merged.index("--out") + 1] / "model.safetensors").is_file()
    assert main(longer) == 0
    assert rows_of(run, "train")[-1]["step"] == 24
    assert main([*other[:-2], "--schedule.max_steps", "2"]) == 0
    assert RunDir(Path(f"{recipe.run_dir}_2")).read_progress(2).started_from
