"""What a GPU does otherwise: half precision, the fused optimizer, pinned memory, kernels of its own."""

from __future__ import annotations

import math
import shutil

import pytest

from stt_ft.stages.finetune import train

pytestmark = pytest.mark.gpu

DROPOUT = {"lora": {"dropout": 0.2}}


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_learns(trained, precision):
    """No loss but a number. float16 may leave steps out at first, until the factor of its loss has come down."""
    run = trained({"precision": precision})
    rows = run.rows("train")
    learned = [row["loss"] for row in rows if not row["skipped"]]
    assert all(map(math.isfinite, learned))
    assert precision == "float16" or len(learned) == len(rows)
    assert all(tensor.isfinite().all() for tensor in run.weights().values())


def test_without_dropout_a_gpu_learns_what_a_cpu_does(trained):
    """Batches come whole through pinned memory, and the kernels agree to what float32 allows."""
    one, other = trained({}), trained({"device": "cpu"})
    for ours, theirs in zip(one.rows("train"), other.rows("train"), strict=True):
        assert ours == pytest.approx(theirs, rel=5e-3, abs=1e-4)


def test_a_step_that_is_no_number_is_left_out_by_the_fused_optimizer(trained):
    """The first step throws the weights out of all bounds; those after it have no loss, and must not touch what is there."""
    run = trained({"optim": {"lr": 1e30}, "validation": {"every_steps": 0}})
    assert [row["skipped"] for row in run.rows("train")] == [False, True, True, True]
    assert [row["loss"] is None for row in run.rows("train")] == [False, True, True, True]
    assert all(tensor.isfinite().all() for tensor in run.weights().values())


def test_gradient_checkpointing_draws_the_dropout_of_the_forward_pass_again(trained):
    trained({**DROPOUT, "batch": {"gradient_checkpointing": True}}).assert_like(trained(DROPOUT), rel=1e-3, rms=1e-4)


def test_a_run_that_is_taken_up_ends_as_if_it_had_not_been(trained):
    whole, resumed = trained(DROPOUT), trained(DROPOUT)
    shutil.rmtree(resumed.checkpoint(resumed.checkpoint_steps()[-1]))
    train(str(resumed.config))
    resumed.assert_like(whole, rel=1e-4, rms=1e-5)


def test_rows_of_a_batch_have_the_dropout_that_they_have_in_the_whole(random_base, device):
    """What several GPUs rely on (`part_of_batch`): the noise of a batch does not depend on who draws it."""
    import torch

    from stt_ft.model.lora import add_lora, part_of_batch
    from stt_ft.model.stt_lm import forward, load_lm

    lm = load_lm(random_base, device=device)
    add_lora(lm, rank=4, scaling=2.0, dropout=0.3)
    for name, parameter in lm.named_parameters():
        if ".lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    codes = torch.randint(0, 60, (5, lm.num_codebooks, 40), device=device)
    lm.train()
    with torch.no_grad():
        torch.manual_seed(7)
        whole = forward(lm, codes).text_logits
        torch.manual_seed(7)
        with part_of_batch(lm, slice(1, None, 2), 5):
            part = forward(lm, codes[1::2]).text_logits
        torch.manual_seed(7)
        alone = forward(lm, codes[1::2]).text_logits
    torch.testing.assert_close(part, whole[1::2], rtol=1e-3, atol=1e-3)
    assert (alone - whole[1::2]).abs().max() > 0.01
