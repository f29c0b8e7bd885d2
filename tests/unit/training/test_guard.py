from __future__ import annotations

import math

import pytest
import torch

from stt_ft.training.guard import FIRST_SCALE, STEPS_TO_DOUBLE, WARM_STEPS, LossScale, StepGuard

CPU = torch.device("cpu")


def _accepts(guard: StepGuard, loss: float, norm: float = 1.0) -> bool:
    return bool(guard.accepts(torch.tensor(loss), torch.tensor(norm)))


@pytest.mark.parametrize(("loss", "norm"), [(math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan), (1.0, math.inf)])
def test_what_is_not_a_number_is_left_out_and_leaves_no_trace(loss, norm):
    guard = StepGuard.on(CPU, None)
    assert _accepts(guard, 2.0)
    before = guard.state.clone()
    assert not _accepts(guard, loss, norm)
    assert torch.equal(guard.state, before)


def test_a_jump_above_the_running_mean_is_left_out_once_there_is_a_level():
    guard = StepGuard.on(CPU, 3.0)
    losses = [1.0 + 0.1 * (number % 3) for number in range(WARM_STEPS)]
    assert all(_accepts(guard, loss) for loss in [50.0, *losses[1:]])  # no level yet
    guard = StepGuard.on(CPU, 3.0)
    assert all(_accepts(guard, loss) for loss in losses)
    weights = [0.98 ** (WARM_STEPS - 1 - number) for number in range(WARM_STEPS)]
    mean = sum(w * x for w, x in zip(weights, losses, strict=True)) / sum(weights)
    assert _accepts(StepGuard.on(CPU, 3.0, tuple(guard.state.tolist())), 2.999 * mean)
    assert not _accepts(guard, 3.001 * mean)
    assert _accepts(StepGuard.on(CPU, None, tuple(guard.state.tolist())), 100.0)


def test_a_guard_taken_up_again_decides_the_same():
    guard = StepGuard.on(CPU, 2.0)
    for number in range(30):
        _accepts(guard, 1.0 + math.sin(number) / 3)
    again = StepGuard.on(CPU, 2.0, tuple(guard.state.tolist()))
    assert torch.equal(again.state, guard.state)


def test_the_loss_scale_halves_on_overflow_doubles_in_peace_and_cancels_out():
    scale = LossScale.on(CPU, is_on=True)
    weight = torch.ones(3, requires_grad=True)
    scale.scaled((weight * torch.tensor([1.0, 2.0, 3.0])).sum()).backward()
    assert weight.grad is not None
    scale.unscale([weight.grad])
    assert weight.grad.tolist() == [1.0, 2.0, 3.0]
    scale.update(torch.tensor(math.inf))
    assert scale.state.tolist() == [FIRST_SCALE / 2, 0.0]
    for _ in range(STEPS_TO_DOUBLE):
        scale.update(torch.tensor(1.0))
    assert scale.state.tolist() == [FIRST_SCALE, 0.0]


def test_other_types_are_not_scaled():
    scale = LossScale.on(CPU, is_on=False)
    loss = torch.tensor(1.5)
    assert scale.scaled(loss) is loss
    scale.update(torch.tensor(math.inf))
    assert scale.state[0] == 1.0
