"""Which optimizer steps are left out: those whose loss or gradient is not a number, and those whose loss jumps.

Everything is decided on the device, so that a GPU is never waited for; how many were skipped is counted when figures are fetched anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

MEMORY = 0.98
"""Share of the running mean of the loss that stays at every step: it looks back over some fifty steps."""

WARM_STEPS = 20
"""Steps before which no loss counts as a jump: there is no level yet."""


@dataclass(kw_only=True)
class StepGuard:
    """Accepts steps, and remembers the level of the loss.

    Attributes:
        skip_above: how many times its running mean a loss may be; None for any.
        state: sum of weighted losses, sum of weights, steps accepted [3].
    """

    skip_above: float | None
    state: torch.Tensor

    @classmethod
    def on(cls, device: torch.device, skip_above: float | None, state: tuple[float, ...] = (0.0, 0.0, 0.0)) -> StepGuard:
        return cls(skip_above=skip_above, state=torch.tensor(state, dtype=torch.float32, device=device))

    def accepts(self, loss: torch.Tensor, norm: torch.Tensor) -> torch.Tensor:
        """Return, as a tensor on the device, whether a step with this loss and gradient norm is to be done."""
        accepted = torch.isfinite(loss + norm)
        total, weight, steps = self.state.unbind()
        if self.skip_above is not None:
            accepted = accepted & ((steps < WARM_STEPS) | (loss * weight <= self.skip_above * total))
        after = torch.stack([MEMORY * total + (1 - MEMORY) * loss, MEMORY * weight + (1 - MEMORY), steps + 1])
        self.state = torch.where(accepted, after, self.state)
        return accepted


FIRST_SCALE = 2.0**14
"""Factor on a float16 loss at first: small gradients would vanish without it."""

STEPS_TO_DOUBLE = 500
"""Steps without an overflow after which the factor doubles."""


@dataclass(kw_only=True)
class LossScale:
    """The factor on the loss in float16, halved when gradients overflow; 1 for ever in other types. State: factor, good steps [2]."""

    is_on: bool
    state: torch.Tensor

    @classmethod
    def on(cls, device: torch.device, *, is_on: bool, state: tuple[float, ...] = ()) -> LossScale:
        return cls(is_on=is_on, state=torch.tensor(state or (FIRST_SCALE if is_on else 1.0, 0.0), dtype=torch.float32, device=device))

    def scaled(self, loss: torch.Tensor) -> torch.Tensor:
        return loss * self.state[0] if self.is_on else loss

    def unscale(self, gradients: Sequence[torch.Tensor]) -> None:
        """Divide gradients by the factor, in place."""
        if self.is_on:
            for gradient in gradients:
                gradient.mul_(1 / self.state[0])

    def update(self, norm: torch.Tensor) -> None:
        """Adapt the factor to a step's gradient norm: not a number means that something overflowed."""
        if not self.is_on:
            return
        factor, good = self.state.unbind()
        is_doubled = good + 1 >= STEPS_TO_DOUBLE
        fine = torch.stack([torch.where(is_doubled, factor * 2, factor), torch.where(is_doubled, torch.zeros_like(good), good + 1)])
        overflowed = torch.stack([(factor / 2).clamp(min=1.0), torch.zeros_like(good)])
        self.state = torch.where(torch.isfinite(norm), fine, overflowed)
