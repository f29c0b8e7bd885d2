"""One optimizer step: which are left out, how fast they go, what decays."""

from __future__ import annotations

import math

import pytest

from stt_ft.core.recipe import LoraRecipe, OptimRecipe
from stt_ft.model.lora import make_trainable
from stt_ft.model.stt_lm import load_lm
from stt_ft.training.loop import GUARD_WARM_STEPS, StepGuard, learning_rate, make_optimizer


def _accepts(guard: StepGuard, loss: float, norm: float = 1.0) -> bool:
    return guard.accepts(loss, norm)


@pytest.mark.parametrize(("loss", "norm"), [(math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan), (1.0, math.inf)])
def test_what_is_not_a_number_is_left_out_and_leaves_no_trace(loss, norm):
    guard = StepGuard(skip_above=None)
    assert _accepts(guard, 2.0)
    before = guard.state
    assert not _accepts(guard, loss, norm)
    assert guard.state == before


def test_a_jump_above_the_running_mean_is_left_out_once_there_is_a_level():
    guard = StepGuard(skip_above=3.0)
    losses = [1.0 + 0.1 * (number % 3) for number in range(GUARD_WARM_STEPS)]
    assert all(_accepts(guard, loss) for loss in [50.0, *losses[1:]])  # no level yet
    guard = StepGuard(skip_above=3.0)
    assert all(_accepts(guard, loss) for loss in losses)
    weights = [0.98 ** (GUARD_WARM_STEPS - 1 - number) for number in range(GUARD_WARM_STEPS)]
    mean = sum(w * x for w, x in zip(weights, losses, strict=True)) / sum(weights)
    assert _accepts(StepGuard(skip_above=3.0, state=guard.state), 2.999 * mean)
    assert not _accepts(guard, 3.001 * mean)
    assert _accepts(StepGuard(skip_above=None, state=guard.state), 100.0)


def test_only_adapters_decay(random_base):
    trainable = make_trainable(load_lm(random_base), LoraRecipe(rank=4), seed=0)
    adapters, whole = make_optimizer(trainable, OptimRecipe(weight_decay=0.1)).param_groups
    assert (adapters["weight_decay"], whole["weight_decay"]) == (0.1, 0.0)
    assert len(whole["params"]) == 4  # the heads


def test_where_every_weight_learns_matrices_decay(random_base):
    trainable = make_trainable(load_lm(random_base), LoraRecipe(rank=None), seed=0)
    matrices, gains = make_optimizer(trainable, OptimRecipe(weight_decay=0.1)).param_groups
    assert (matrices["weight_decay"], gains["weight_decay"]) == (0.1, 0.0)
    assert {parameter.dim() for parameter in matrices["params"]} == {2}
    assert len(matrices["params"]) + len(gains["params"]) == len(trainable)


def test_the_learning_rate_rises_over_a_twentieth_of_the_steps_then_falls_along_a_cosine():
    rates = [learning_rate(step, 2.0, 100) for step in range(100)]
    assert rates[:6] == pytest.approx([0.4, 0.8, 1.2, 1.6, 2.0, 2.0])
    for step in range(5, 100):
        assert rates[step] == pytest.approx(1 + math.cos(math.pi * (step - 5) / 95))
    assert learning_rate(0, 2.0, 10) == 2.0  # too few steps to rise over
