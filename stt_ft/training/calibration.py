"""Calibrating the pause heads after training: a temperature and a bias of class 0, fitted on the dev split, folded into the weights.

The production engine's heads have no bias. But the transformer's last norm keeps the length of what the heads hear, and one direction of
it hardly changes from frame to frame: `u` with `u . h` close to 1, found by least squares over training frames (no labels are needed). So
`scale * W`, with `bias * u` added to the row of class 0, is a scale and a bias to within the spread of `u . h`, which is reported.

What is heard here is heard as the server does: the model's own text goes back in. The text itself is not touched, heads do not feed back.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from moshi.models.lm import LMModel

from stt_ft.core.errors import ConfigError
from stt_ft.metrics.endpointing import EndpointRule, Turn, judge_turn
from stt_ft.model.streaming import stream_codes
from stt_ft.model.stt_lm import forward
from stt_ft.training.clips import SpokenClip

RIDGE = 0.01
"""Share of the mean square of `h` that keeps `u` small where directions were hardly ever seen."""

MAX_SPREAD = 0.35
"""Standard deviation of `u . h` above which no direction counts as constant, and no bias can be folded in."""

MIN_SCALE = 0.01
"""A head whose logits had to be scaled by less than this, or more than its inverse, says nothing of pauses."""

MAX_ITERATIONS = 200


@dataclass(frozen=True, kw_only=True)
class HeadCorrection:
    """What is done to one head: `scale * W`, and `bias * u` on the row of class 0."""

    scale: float = 1.0
    bias: float = 0.0

    def apply(self, weight: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
        """Return the corrected weight [C, D], in the type of `weight`."""
        corrected = self.scale * weight.double()
        corrected[0] += self.bias * direction
        return corrected.to(weight.dtype)


@torch.no_grad()
def hear(lm: LMModel, clips: Sequence[SpokenClip]) -> list[torch.Tensor]:
    """Listen to `clips` as the server does and return what the heads hear, [T, D] each; `lm` is in evaluation mode."""
    streams = stream_codes(lm, [clip.codes for clip in clips])
    return [hidden_of(lm, stream.text_tokens, clip.codes) for clip, stream in zip(clips, streams, strict=True)]


@torch.no_grad()
def hidden_of(lm: LMModel, text_tokens: np.ndarray, codes: np.ndarray) -> torch.Tensor:
    """Return the transformer's output [T, D] in float64 for a text [T] and codes [n_q, T]."""
    tokens = torch.from_numpy(np.concatenate([text_tokens[None].astype(np.int64), codes.astype(np.int64)]))
    return forward(lm, tokens[None].to(lm.device)).hidden[0].double().cpu()


def head_logits_of(weights: Sequence[torch.Tensor], hidden: torch.Tensor) -> torch.Tensor:
    """Return the logits [T, H, C] of heads with `weights` [C, D] each, in float64."""
    return torch.stack([hidden @ weight.double().T for weight in weights], dim=1)


def constant_direction(hidden: Iterable[torch.Tensor]) -> torch.Tensor:
    """Return `u` [D] in float64, the ridge solution of `u . h = 1` over all frames of `hidden`, [T, D] each."""
    square, total = torch.zeros(()), torch.zeros(())
    for frames in hidden:
        square, total = square + frames.T @ frames, total + frames.sum(dim=0)
    ridge = RIDGE * square.diagonal().mean() * torch.eye(len(square), dtype=torch.float64)
    return torch.linalg.solve(square + ridge, total)


def fit_likelihood(logits: torch.Tensor, constant: torch.Tensor, is_pause: torch.Tensor, *, with_bias: bool = True) -> HeadCorrection:
    """Return the scale and bias of one head that make what came likeliest, class 0 against the rest, by L-BFGS in float64.

    Args:
        logits: what the head says now [N, C].
        constant: `u . h` of every frame [N].
        is_pause: whether a pause came [N].
        with_bias: False fits the scale alone.
    """
    parameters = torch.zeros(2 if with_bias else 1, dtype=torch.float64, requires_grad=True)  # log of the scale, bias
    logits, constant, truth = logits.double(), constant.double(), is_pause.double()
    optimizer = torch.optim.LBFGS([parameters], max_iter=MAX_ITERATIONS, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def negative_log_likelihood() -> torch.Tensor:
        optimizer.zero_grad()
        scaled = parameters[0].exp() * logits
        odds = scaled[:, 0] - scaled[:, 1:].logsumexp(dim=-1) + (parameters[1] * constant if with_bias else 0.0)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(odds, truth)
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(negative_log_likelihood)  # pyright: ignore[reportArgumentType]
    scale, bias = float(parameters[0].detach().exp()), float(parameters[1].detach()) if with_bias else 0.0
    if not (math.isfinite(scale) and math.isfinite(bias) and MIN_SCALE < scale < 1 / MIN_SCALE):
        raise ConfigError(
            f"calibration: the dev split contradicts the pause heads (scale {scale:.3g}, bias {bias:.3g}); the run is done and whole, "
            "give --calibration.method off to merge it as it is"
        )
    return HeadCorrection(scale=scale, bias=bias)


def fit_cut_offs(turns: Sequence[Turn], constants: Sequence[np.ndarray], rule: EndpointRule, max_cut_offs: float) -> HeadCorrection:
    """Return the greatest bias, so the least latency, at which at most a share `max_cut_offs` of the turns is cut off.

    Args:
        turns: log-odds in the place of probabilities.
        constants: `u . h` of each turn [T].
        rule: when an agent ends the turn; its `hold_frames` must be 1, its `half_life_s` 0, and its threshold is a probability.
        max_cut_offs: share of turns, 0 to 1.
    """
    level = math.log(rule.threshold / (1 - rule.threshold))
    needed = []  # of each turn: the bias above which it is cut off
    for turn, constant in zip(turns, constants, strict=True):
        speaking = turn.speaking_rows
        rows = slice(max(rule.ignore_frames, speaking.start), speaking.stop)
        room = (level - turn.pause_probs[rows, rule.head]) / np.maximum(constant[rows], 1e-6)
        needed.append(room.min(initial=math.inf))
    ordered = sorted(needed)
    bias = ordered[min(math.floor(max_cut_offs * len(ordered) + 1e-9), len(ordered) - 1)]
    if not math.isfinite(bias):
        raise ConfigError("calibration: every dev clip ends too soon for a false cut-off, so no bias can be chosen from them")
    return HeadCorrection(bias=float(bias) - 1e-6)


def turn_shares(turns: Sequence[Turn], rule: EndpointRule) -> dict[str, float | None]:
    """Return cut-offs, missed ends and the median latency of `turns`; the latency is None when half of the ends are missed."""
    verdicts = [judge_turn(turn, rule) for turn in turns]
    latency_s = float(np.median([verdict.latency_s for verdict in verdicts]))
    return {
        "cut_offs": sum(verdict.is_cut_off for verdict in verdicts) / len(verdicts),
        "missed_ends": sum(verdict.is_missed for verdict in verdicts) / len(verdicts),
        "latency_p50_s": latency_s if math.isfinite(latency_s) else None,
    }
