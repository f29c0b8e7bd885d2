from __future__ import annotations

import dataclasses
import json
import math
import sys
import types
from pathlib import Path

import pytest
import safetensors.torch
import torch
from random_models import write_dataset
from training_runs import kill_run_at, rows_of, run_killed_at, run_train

from stt_ft.core.errors import ConfigError, DatasetError, MissingExtra, SttFtError
from stt_ft.core.recipe import (
    BatchRecipe,
    LabelsRecipe,
    LoraRecipe,
    OptimRecipe,
    ReplayRecipe,
    ScheduleRecipe,
    SyntheticRecipe,
    ValidationRecipe,
)  # fmt: skip
from stt_ft.dataset.sidecar import Sidecar
from stt_ft.stages.finetune import encode, merge
from stt_ft.training import loop
from stt_ft.training.labels import StyleChooser
from stt_ft.training.losses import Objective
from stt_ft.training.watching import Trackers


def test_a_run_killed_at_any_step_ends_as_if_it_had_not_been(recipe, monkeypatch, tmp_path):
    whole = run_train(recipe)
    for kill_at in (3, 9, 11):
        resumed_recipe = dataclasses.replace(recipe, run_dir=str(tmp_path / f"killed_{kill_at}"))
        resumed = run_killed_at(kill_at, resumed_recipe, monkeypatch)
        assert rows_of(resumed, "train") == rows_of(whole, "train")
        assert rows_of(resumed, "eval") == rows_of(whole, "eval")
        for name in ("consolidated/lora.safetensors", "training_state/state.safetensors"):
            ours, theirs = (safetensors.torch.load_file(run.checkpoint(12) / name) for run in (resumed, whole))
            assert list(ours) == list(theirs)
            assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


@pytest.fixture
def no_numbers(monkeypatch):
    """Every clip counts as a sentence, so that the base has marks to choose among."""
    monkeypatch.setattr("stt_ft.corpus.packed_words.number_runs", lambda texts: [])


@pytest.mark.usefixtures("no_numbers")
def test_labels_are_chosen_by_the_base_once_a_run(recipe, monkeypatch, tmp_path):
    """A run that is taken up learns the labels that it began with, though its weights are no longer the base's."""
    recipe = dataclasses.replace(recipe, labels=LabelsRecipe(style="base"))
    whole = run_train(recipe)
    chosen = json.loads((whole.directory / "labels.json").read_bytes())
    assert len(set(chosen["styles"].values())) > 1
    recipe = dataclasses.replace(recipe, run_dir=str(tmp_path / "killed"))
    kill_run_at(8, recipe, monkeypatch)
    with monkeypatch.context() as patch:
        patch.delattr(StyleChooser, "choose")
        resumed = run_train(recipe)
    assert json.loads((resumed.directory / "labels.json").read_bytes()) == chosen
    assert rows_of(resumed, "train") == rows_of(whole, "train")


@pytest.mark.usefixtures("no_numbers")
def test_a_lost_choice_of_labels_is_made_again_by_the_base_not_by_what_was_learned(recipe, monkeypatch):
    recipe = dataclasses.replace(recipe, labels=LabelsRecipe(style="base"))
    kill_run_at(8, recipe, monkeypatch)
    path = Path(recipe.run_dir) / "labels.json"
    chosen = path.read_bytes()
    path.unlink()
    run_train(recipe)
    assert path.read_bytes() == chosen


def test_plain_labels_ask_no_base(recipe, monkeypatch):
    monkeypatch.delattr(StyleChooser, "choose")
    assert not (run_train(recipe).directory / "labels.json").exists()


def test_a_run_leaves_what_the_layout_promises_and_learns(recipe):
    run = run_train(recipe)
    for name in ("args.yaml", "loss.png", "checkpoints/checkpoint_000004/training_state/state.json"):
        assert (run.directory / name).is_file()
    rows = rows_of(run, "train")
    assert [row["step"] for row in rows] == list(range(1, 13))
    assert rows[-1]["loss"] < rows[0]["loss"]
    figures = rows_of(run, "eval")
    assert [row["step"] for row in figures] == [4, 8, 12]
    assert {"loss", "text_loss", "pause_loss", "word_error_rate", "digits_exact", "word_form", "cut_offs"} <= set(figures[0])
    assert run.read_progress(12).best_step in (4, 8, 12)


def test_a_finished_run_is_left_alone(recipe, capsys):
    run = run_train(recipe)
    before = {path: path.stat().st_mtime_ns for path in run.directory.rglob("*.safetensors")}
    run_train(recipe)
    assert {path: path.stat().st_mtime_ns for path in run.directory.rglob("*.safetensors")} == before
    assert "this run is done" in capsys.readouterr().err


def test_another_recipe_or_other_clips_are_refused_on_resuming(recipe, encoded_dataset):
    run_train(recipe)
    with pytest.raises(ConfigError, match=r"optim\.lr was 0\.003, is 0\.001"):
        run_train(dataclasses.replace(recipe, optim=OptimRecipe(lr=1e-3)))
    clips = encoded_dataset.clips("train")
    encoded_dataset.write_clips("train", clips[:-1])
    try:
        with pytest.raises(ConfigError, match="the training clips changed"):
            run_train(recipe)
    finally:
        encoded_dataset.write_clips("train", clips)


def test_a_loss_that_is_no_number_stops_the_run_with_the_clips(recipe, monkeypatch):
    monkeypatch.setattr(loop, "MAX_SKIPPED_IN_A_ROW", 3)
    broken = dataclasses.replace(recipe, optim=OptimRecipe(lr=1e30), validation=ValidationRecipe(every_steps=0))
    with pytest.raises(SttFtError, match=r"not a number 3 steps in a row.*audio/train_.*optim\.lr"):
        run_train(broken)


@pytest.mark.parametrize("changes", [{"lora": LoraRecipe(rank=None)}, {"lora": LoraRecipe(rank=2, heads="lora")}])
def test_other_choices_of_weights_train_and_merge(recipe, changes, tmp_path):
    from stt_ft.model.checkpoint_dir import open_model

    run = run_train(dataclasses.replace(recipe, schedule=ScheduleRecipe(max_steps=2), **changes))
    merge(str(run.directory), out=str(tmp_path / "merged"))
    assert open_model(tmp_path / "merged").config["lora"] is False


def test_bfloat16_trains_with_weights_kept_in_float32(recipe):
    run = run_train(dataclasses.replace(recipe, precision="bfloat16", lora=LoraRecipe(rank=4)))
    state = safetensors.torch.load_file(run.checkpoint(12) / "training_state" / "state.safetensors")
    assert {tensor.dtype for tensor in state.values()} == {torch.float32}
    adapter = safetensors.torch.load_file(run.checkpoint(12) / "consolidated" / "lora.safetensors")
    assert {tensor.dtype for tensor in adapter.values()} == {torch.bfloat16}
    rows = rows_of(run, "train")
    assert rows[-1]["loss"] < rows[0]["loss"]


def test_replayed_clips_hold_the_model_to_the_base(recipe, encoded_dataset, tmp_path):
    """The clips of the dataset are replayed too: the harder they hold, the less the model moves."""
    ends = {}
    for weight in (1e-6, 30.0):
        replay = ReplayRecipe(dataset=str(encoded_dataset.directory), text_weight=weight)
        run = run_train(
            dataclasses.replace(recipe, replay=replay, run_dir=str(tmp_path / f"held_{weight}"), validation=ValidationRecipe(every_steps=0))
        )
        rows = rows_of(run, "train")
        assert rows[0]["text_kl"] == pytest.approx(0.0, abs=1e-6)  # a fresh adapter is the base
        ends[weight] = rows[-1]["text_kl"]
    assert ends[30.0] < ends[1e-6] / 2


def test_replay_of_a_kind_that_is_not_there_is_refused(recipe):
    with pytest.raises(ConfigError, match=r"replay\.kinds names ordinary, and no clip of train is of that kind"):
        run_train(dataclasses.replace(recipe, replay=ReplayRecipe(kinds=("ordinary",))))
    replay = ReplayRecipe(dataset=recipe.dataset, text_weight=1.0)
    with pytest.raises(ConfigError, match=r"needs lora\.rank"):
        run_train(dataclasses.replace(recipe, replay=replay, lora=LoraRecipe(rank=None)))


@pytest.mark.slow
def test_synthetic_clips_of_another_dataset_are_learned_and_a_resumed_run_hears_the_same(
    recipe, random_base, tmp_path, capsys, monkeypatch
):
    beside = write_dataset(tmp_path / "synthetic", {"train": 9}, seed=8)
    encode(str(beside.directory), base=str(random_base.directory), device="cpu")
    mixed = dataclasses.replace(recipe, synthetic=SyntheticRecipe(dataset=str(beside.directory), share=0.25))
    whole = rows_of(run_train(mixed), "train")
    assert "learn from 21 clips, 9 of them synthetic, (4 dev)" in capsys.readouterr().err
    resumed = run_killed_at(8, dataclasses.replace(mixed, run_dir=str(tmp_path / "killed")), monkeypatch)
    assert rows_of(resumed, "train") == whole
    capsys.readouterr()
    without = dataclasses.replace(mixed, run_dir=str(tmp_path / "without"), synthetic=SyntheticRecipe(dataset="nowhere", share=0.0))
    run_train(without)
    assert "learn from 12 clips (4 dev)" in capsys.readouterr().err


def test_a_synthetic_clip_that_says_a_number_of_dev_is_refused_with_the_way_out(recipe, random_base, encoded_dataset, tmp_path):
    beside = write_dataset(tmp_path / "synthetic", {"train": 3}, seed=8)
    encode(str(beside.directory), base=str(random_base.directory), device="cpu")
    words = next(
        sidecar.alignments for clip in encoded_dataset.clips("dev") if len((sidecar := encoded_dataset.read_sidecar(clip)).alignments) > 8
    )
    beside.write_sidecar(beside.clips("train")[1], Sidecar(alignments=words))
    with pytest.raises(DatasetError, match=r"clip audio/train_1\.wav says \d{6}, as audio/dev_\d\.wav does, .*--apart_from .*orders"):
        run_train(dataclasses.replace(recipe, synthetic=SyntheticRecipe(dataset=str(beside.directory))))


def test_synthetic_clips_are_refused_where_a_run_is_judged_and_where_there_is_nothing_beside_them(recipe, random_base, tmp_path):
    data = write_dataset(tmp_path / "data", {"train": 2, "dev": 2})
    encode(str(data.directory), base=str(random_base.directory), device="cpu")
    marked = {split: [dataclasses.replace(clip, extra={"synthetic": True}) for clip in data.clips(split)] for split in ("train", "dev")}
    data.write_clips("dev", marked["dev"])
    with pytest.raises(
        DatasetError, match=r"dev\.jsonl: clip audio/dev_0\.wav and 1 more are synthetic, and only train may hold such clips"
    ):
        run_train(dataclasses.replace(recipe, dataset=str(data.directory)))
    data.manifest_path("dev").unlink()
    data.write_clips("train", marked["train"])
    with pytest.raises(ConfigError, match="train holds no recording to learn"):
        run_train(dataclasses.replace(recipe, dataset=str(data.directory)))
    assert not Path(recipe.run_dir).exists()


def test_gradient_checkpointing_changes_no_loss(recipe, tmp_path):
    short = dataclasses.replace(recipe, schedule=ScheduleRecipe(max_steps=3), lora=LoraRecipe(rank=4))
    checkpointed = dataclasses.replace(
        short, run_dir=str(tmp_path / "checkpointed"), batch=dataclasses.replace(recipe.batch, gradient_checkpointing=True)
    )
    for one, other in zip(rows_of(run_train(short), "train"), rows_of(run_train(checkpointed), "train"), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)


def test_gradient_checkpointing_draws_the_dropout_of_the_forward_pass_again(recipe, tmp_path):
    """Upstream's own checkpointing draws other noise in the backward pass, whose gradient is then another model's."""
    short = dataclasses.replace(recipe, schedule=ScheduleRecipe(max_steps=3), lora=LoraRecipe(rank=4, dropout=0.5))
    checkpointed = dataclasses.replace(
        short, run_dir=str(tmp_path / "checkpointed"), batch=dataclasses.replace(recipe.batch, gradient_checkpointing=True)
    )
    for one, other in zip(rows_of(run_train(short), "train"), rows_of(run_train(checkpointed), "train"), strict=True):
        assert one["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-4)


def test_out_of_memory_says_which_knob_to_turn_and_by_how_much(recipe, monkeypatch):
    def exhausted(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(Objective, "forward", exhausted)
    with pytest.raises(SttFtError, match=r"out of memory at step 1, with 4 clips.*batch_size 2 --batch\.grad_accumulation 4"):
        run_train(recipe)


def test_float16_trains_with_a_scaled_loss_that_is_taken_up_again(recipe, tmp_path, monkeypatch):
    recipe = dataclasses.replace(recipe, precision="float16", lora=LoraRecipe(rank=4))
    whole = run_train(recipe)
    rows = rows_of(whole, "train")
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert not any(row["skipped"] for row in rows)
    assert whole.read_progress(12).loss_scale["scale"] == loop.FIRST_LOSS_SCALE
    monkeypatch.setattr(loop, "STEPS_TO_DOUBLE", 5)
    doubled = dataclasses.replace(recipe, run_dir=str(tmp_path / "doubled"))
    resumed = run_killed_at(9, doubled, monkeypatch)
    assert resumed.read_progress(12).loss_scale["scale"] == 4 * loop.FIRST_LOSS_SCALE  # after steps 5 and 10


def test_trackers_get_every_row_of_both_kinds(recipe, tmp_path):
    written = []

    class Writer:
        def write(self, step, figures):
            written.append((step, figures))

    Trackers(writers=[Writer()]).log([{"step": 3, "loss": 1.5, "skipped": False, "grad_norm": None}], prefix="train/")
    assert written == [(3, {"train/loss": 1.5, "train/skipped": 0.0})]


def test_weights_and_biases_get_late_rows_by_a_step_of_their_own_and_one_run_a_directory(recipe, tmp_path, monkeypatch):
    opened, logged = [], []

    class Run:
        def define_metric(self, name, *, step_metric):
            assert (name, step_metric) == ("*", "optimizer_step")

        def log(self, figures):  # without W&B's own step, which may not go back
            logged.append(figures)

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=lambda **options: opened.append(options) or Run()))
    wanted = dataclasses.replace(recipe, log=("wandb",))
    for directory in (tmp_path / "a" / "run", tmp_path / "b" / "run", tmp_path / "a" / "run"):
        trackers = Trackers.open(wanted, directory)
    trackers.log([{"step": 3, "loss": 1.0}], prefix="dev/")
    trackers.log([{"step": 1, "loss": 2.0}])
    assert logged == [{"dev/loss": 1.0, "optimizer_step": 3}, {"train/loss": 2.0, "optimizer_step": 1}]
    first, other, again = (options["id"] for options in opened)
    assert first == again != other


@pytest.mark.parametrize(("package", "log"), [("torch.utils.tensorboard", "tensorboard"), ("wandb", "wandb")])
def test_a_tracker_that_is_not_installed_is_named_with_its_extra(recipe, tmp_path, monkeypatch, package, log):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=r"pip install 'stt-ft\[(tensorboard|wandb)\]'"):
        Trackers.open(dataclasses.replace(recipe, log=(log,)), tmp_path)


def test_a_dev_loss_that_is_no_number_is_written_as_nothing_and_is_never_the_best(recipe, monkeypatch):
    losses = iter([math.nan, 2.0, math.nan])
    monkeypatch.setattr(loop, "validate", lambda *_: {"loss": next(losses)})
    run = run_train(recipe)
    assert [row["loss"] for row in rows_of(run, "eval")] == [None, 2.0, None]
    assert (run.read_progress(12).best_step, run.read_progress(12).best_value) == (8, 2.0)


def test_a_run_taken_up_knows_the_level_of_the_loss_that_its_guard_had(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "GUARD_WARM_STEPS", 4)
    recipe = dataclasses.replace(recipe, optim=OptimRecipe(lr=1e-6, skip_above=1.01))
    whole = run_train(recipe)
    resumed = run_killed_at(7, dataclasses.replace(recipe, run_dir=str(tmp_path / "killed")), monkeypatch)
    skipped = [row["skipped"] for row in rows_of(whole, "train")]
    assert any(skipped[4:8])  # so soon after taking up, a guard without its level lets all through
    assert [row["skipped"] for row in rows_of(resumed, "train")] == skipped
    for step in (8, 12):
        assert resumed.read_progress(step).guard == whole.read_progress(step).guard
        assert resumed.read_progress(step).num_skipped == whole.read_progress(step).num_skipped


def test_more_silence_than_the_codes_hold_is_refused(recipe):
    with pytest.raises(ConfigError, match=r"batch\.tail_s must be at most 2\.5, got 8"):
        run_train(dataclasses.replace(recipe, batch=BatchRecipe(tail_s=8.0)))
