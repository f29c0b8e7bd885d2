"""What threshold and hold of an endpoint rule buy: cut-offs against latency at every setting, the settings that no other beats, the best.

Sweeping threshold and hold for latency against cut-offs follows livekit's eot-bench.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stt_ft.metrics.endpointing import EndpointRule, Turn, judge_turn_at
from stt_ft.metrics.intervals import sorted_quantile

SWEEP_THRESHOLDS = (*(round(0.02 * step, 2) for step in range(1, 50)), 0.985, 0.99, 0.995, 0.999)
"""Thresholds of a sweep: every 0.02, and closer where confident heads live."""

SWEEP_HOLDS = (1, 2, 3, 4, 6, 8, 12)
"""Holds of a sweep in frames: 80 ms to about a second."""


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """Cut-offs and misses (shares of turns) and latencies in seconds (infinite when too many are missed) at a threshold and a hold."""

    threshold: float
    hold_frames: int
    cut_off_rate: float
    missed_rate: float
    latency_p50_s: float
    latency_p90_s: float
    latency_p95_s: float


@dataclass(frozen=True, kw_only=True)
class Swept:
    """What becomes of turns at every hold and threshold put in the place of the rule's.

    Attributes:
        is_cut_off: [turns, holds, thresholds].
        latency_s: end-of-turn latencies, of the same shape; infinite where the end is missed.
    """

    thresholds: tuple[float, ...]
    holds: tuple[int, ...]
    is_cut_off: np.ndarray
    latency_s: np.ndarray

    @classmethod
    def of(
        cls,
        turns: Sequence[Turn],
        rule: EndpointRule,
        *,
        thresholds: Sequence[float] = SWEEP_THRESHOLDS,
        holds: Sequence[int] = SWEEP_HOLDS,
    ) -> Swept:
        """Sweep `turns`, each as `judge_turn` would find it."""
        shape = (len(turns), len(holds), len(thresholds))
        swept = cls(thresholds=tuple(thresholds), holds=tuple(holds), is_cut_off=np.empty(shape, dtype=bool), latency_s=np.empty(shape))
        for place, turn in enumerate(turns):
            swept.is_cut_off[place], swept.latency_s[place] = judge_turn_at(turn, rule, holds, thresholds)
        return swept

    def points(self, places: Sequence[int] | slice = slice(None)) -> list[OperatingPoint]:
        """Return an operating point of the turns at `places` for every hold and threshold."""
        points = []
        for row, hold in enumerate(self.holds):
            cut_offs = self.is_cut_off[places, row].mean(axis=0)
            latencies_s = np.sort(self.latency_s[places, row], axis=0).T  # [thresholds, turns]
            quantiles_s = [sorted_quantile(latencies_s, q) for q in (0.5, 0.9, 0.95)]
            missed = np.isinf(latencies_s).mean(axis=1)
            points += [
                OperatingPoint(
                    threshold=float(threshold),
                    hold_frames=hold,
                    cut_off_rate=float(cut_offs[column]),
                    missed_rate=float(missed[column]),
                    latency_p50_s=float(quantiles_s[0][column]),
                    latency_p90_s=float(quantiles_s[1][column]),
                    latency_p95_s=float(quantiles_s[2][column]),
                )
                for column, threshold in enumerate(self.thresholds)
            ]
        return points


def sweep(
    turns: Sequence[Turn], rule: EndpointRule, *, thresholds: Sequence[float] = SWEEP_THRESHOLDS, holds: Sequence[int] = SWEEP_HOLDS
) -> list[OperatingPoint]:
    """Return an operating point of `turns` for every hold and threshold put in the place of the rule's."""
    return Swept.of(turns, rule, thresholds=thresholds, holds=holds).points()


def frontier(points: Sequence[OperatingPoint]) -> list[OperatingPoint]:
    """Return the points that no other beats in both cut-offs and median latency, from most cut-offs to fewest."""
    best: list[OperatingPoint] = []
    for point in sorted(points, key=lambda p: (p.cut_off_rate, p.latency_p50_s, p.threshold, p.hold_frames)):
        if math.isfinite(point.latency_p50_s) and (not best or point.latency_p50_s < best[-1].latency_p50_s):
            best.append(point)
    return best[::-1]


def latency_within(points: Sequence[OperatingPoint], max_cut_off_rate: float) -> OperatingPoint | None:
    """Return the fastest point whose cut-offs stay within the budget (eot-bench's "latency @ 5 % cut-off"); None when none does."""
    allowed = [p for p in points if p.cut_off_rate <= max_cut_off_rate + 1e-9 and math.isfinite(p.latency_p50_s)]
    return min(allowed, key=lambda p: (p.latency_p50_s, p.cut_off_rate), default=None)


AREA_MAX_CUT_OFFS = 0.25
"""Budgets of cut-offs over which the area is taken: nobody ships an agent that cuts off more than every fourth caller."""

AREA_WAIT_S = 3.0
"""Latency counted where no setting keeps a budget: an agent then waits out a timer instead."""


def area_under(points: Sequence[OperatingPoint]) -> float:
    """Return the area under the best median latency, from no cut-offs to `AREA_MAX_CUT_OFFS`, over that width: a mean latency in seconds.

    At each budget of cut-offs counts the fastest point that keeps it, at most `AREA_WAIT_S`. Lower is better.
    """
    area_s, rate, latency_s = 0.0, 0.0, AREA_WAIT_S
    for point in reversed(frontier(points)):  # from fewest cut-offs to most, each faster than the one before
        if point.cut_off_rate >= AREA_MAX_CUT_OFFS:
            break
        area_s += (point.cut_off_rate - rate) * latency_s
        rate, latency_s = point.cut_off_rate, min(point.latency_p50_s, AREA_WAIT_S)
    return (area_s + (AREA_MAX_CUT_OFFS - rate) * latency_s) / AREA_MAX_CUT_OFFS


def best_point(points: Sequence[OperatingPoint], max_cut_off_rate: float) -> OperatingPoint:
    """Return the fastest point within the budget or, where none keeps it, of those with the fewest cut-offs the fastest.

    Raises `ValueError`: no point ever ends half of the turns.
    """
    ending = [point for point in points if math.isfinite(point.latency_p50_s)]
    if not ending:
        raise ValueError("no threshold and hold end half of the turns")
    within = latency_within(ending, max_cut_off_rate)
    return within or min(ending, key=lambda p: (p.cut_off_rate, p.latency_p50_s))
