"""A recipe means the same in two processes as in one: the same losses and gradients at every step, the same weights at the end."""

from __future__ import annotations

import shutil

import pytest
import yaml
from short_runs import NUM_STEPS

from stt_ft.stages.finetune import train

SHARED = {  # how the clips of a step fall to the processes
    "rows": {"batch": {"batch_size": 3, "grad_accumulation": 3}},  # of every batch, which do not go round: two of them, or one
    "rows or none": {"batch": {"batch_size": 1}},
    "whole batches": {"batch": {"batch_size": 3, "grad_accumulation": 2}},
}

WHOLE_WEIGHTS = {"lora": {"rank": None, "heads": "full"}, "optim": {"lr": 3e-4}, "batch": {"batch_size": 5}}


@pytest.fixture
def held(encoded_dataset):
    """Adapters with dropout, and replay on which they are held to the base."""
    return {"lora": {"dropout": 0.2}, "replay": {"dataset": str(encoded_dataset.directory), "text_weight": 1.0}}


@pytest.mark.parametrize("sharing", [pytest.param("rows", marks=pytest.mark.slow), "rows or none", "whole batches"])
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_adapters_learn_the_same(trained, held, parallel, sharing):
    """With dropout, and with replay of which in many a step one process has rows and the other has none."""
    one = trained(1, {**held, **SHARED[sharing]})
    trained(2, {**held, **SHARED[sharing], "parallel": parallel}).assert_like(one)
    assert max(row["text_kl"] for row in one.rows("train")) > 1e-5


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_whole_weights_learn_the_same(trained, parallel):
    trained(2, {**WHOLE_WEIGHTS, "parallel": parallel}).assert_like(trained(1, WHOLE_WEIGHTS))


@pytest.mark.slow
def test_a_run_of_two_processes_is_taken_up_by_one(trained, held):
    """The last checkpoint is gone, as after a kill: one process goes on from the one before, weights and optimizer."""
    run = trained(2, {**held, **SHARED["rows"], "parallel": "fsdp"})
    before, last = run.checkpoint_steps()
    assert 0 < before < last
    shutil.rmtree(run.checkpoint(last))
    train(str(run.config))
    run.assert_like(trained(1, {**held, **SHARED["rows"]}))


def test_a_run_of_one_process_is_taken_up_by_two(trained, held, two_processes):
    run = trained(1, {**held, **SHARED["rows"], "parallel": "fsdp"})
    shutil.rmtree(run.checkpoint(run.checkpoint_steps()[-1]))
    two_processes.train(run.config)
    run.assert_like(trained(1, {**held, **SHARED["rows"]}))


@pytest.mark.slow
def test_a_run_begun_with_an_adapter_and_lengthened_learns_the_same(trained, held, two_processes):
    start = {"lora": {"start_from": str(trained(1, held).directory)}}
    one, ddp, fsdp = trained(1, start), *(trained(2, {**start, "parallel": parallel}) for parallel in ("ddp", "fsdp"))
    for run in (one, ddp, fsdp):
        recipe = yaml.safe_load(run.config.read_text())
        run.config.write_text(yaml.safe_dump({**recipe, "schedule": {"max_steps": 2 * NUM_STEPS}}))
        (train if run is one else two_processes.train)(str(run.config))
        assert run.rows("train")[-1]["step"] == 2 * NUM_STEPS
        run.assert_like(one)


def test_what_shards_cannot_do_is_refused_by_all(trained):
    with pytest.raises(AssertionError, match=r"(?s)process 0: .*cannot listen to the dev split.*process 1: .*SystemExit: 2"):
        trained(2, {"parallel": "fsdp", "precision": "bfloat16"})
