"""When an agent that listens to a pause head would end the user's turn, and whether it should have.

Row t of the pause probabilities is what the server sends after hearing frame t, so it is known at `timing.frame_heard_s(t)`. A head
*passes* at row t when its probability has been above the threshold for `hold_frames` rows, t the last of them, all after the ignored
first rows.

- **false cut-off**: it passes before the speaker's last word begins;
- **early end**: it first passes, counted from where the last word begins, before that word's sound ends;
- **end-of-turn latency**: from the end of the last word's sound to the first passing at or after that word's beginning; negative when
  early;
- **missed end**: it never passes from there to the end of the recording, whose latency is then infinite.

Every clip has a latency, those with a false cut-off too: what the agent would have done had it been allowed to go on listening. Source: the
threshold 0.6 on head 2 is what kyutai's unmute ends turns on; sweeping threshold and hold for latency against cut-offs follows livekit's
eot-bench.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stt_ft.core.timing import FRAME_S, frame_heard_s, num_frames_covering
from stt_ft.metrics.intervals import sorted_quantile


@dataclass(frozen=True, kw_only=True)
class EndpointRule:
    """When an agent ends the turn: `head` above `threshold` for `hold_frames` frames, the first `ignore_frames` not counted."""

    head: int = 2
    threshold: float = 0.6
    hold_frames: int = 1
    ignore_frames: int = 12

    def __post_init__(self) -> None:
        mistakes = [
            *([f"head must be 0 or more, got {self.head}"] if self.head < 0 else []),
            *([f"threshold must lie between 0 and 1, got {self.threshold}"] if not 0 <= self.threshold <= 1 else []),
            *([f"hold_frames must be 1 or more, got {self.hold_frames}"] if self.hold_frames < 1 else []),
            *([f"ignore_frames must be 0 or more, got {self.ignore_frames}"] if self.ignore_frames < 0 else []),
        ]
        if mistakes:
            raise ValueError(*mistakes)


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One clip as an agent hears it: pause probabilities [T, H], and when its last word begins and its sound ends (seconds of the clip)."""

    pause_probs: np.ndarray
    last_word_start_s: float
    last_word_end_s: float


@dataclass(frozen=True, kw_only=True)
class TurnVerdict:
    """What an agent would have done with a turn; times in seconds of the clip.

    Attributes:
        cut_off_s: when it would have cut the speaker off, None when it would not.
        ended_s: the first passing once the last word has begun, None when missed.
        latency_s: `ended_s` minus the end of the last word's sound; infinite when missed.
    """

    cut_off_s: float | None
    ended_s: float | None
    latency_s: float

    @property
    def is_cut_off(self) -> bool:
        return self.cut_off_s is not None

    @property
    def is_early_end(self) -> bool:
        return self.latency_s < -1e-6

    @property
    def is_missed(self) -> bool:
        return self.ended_s is None


def judge_turn(turn: Turn, rule: EndpointRule) -> TurnVerdict:
    """Return what an agent that follows `rule` would have done with `turn`."""
    level = held_level(turn.pause_probs, head=rule.head, hold_frames=rule.hold_frames, ignore_frames=rule.ignore_frames)
    passing = np.flatnonzero(level > rule.threshold)
    onset_row = first_row_known_at(turn.last_word_start_s)
    before, after = passing[passing < onset_row], passing[passing >= onset_row]
    ended_s = frame_heard_s(int(after[0])) if len(after) else None
    return TurnVerdict(
        cut_off_s=frame_heard_s(int(before[0])) if len(before) else None,
        ended_s=ended_s,
        latency_s=math.inf if ended_s is None else ended_s - turn.last_word_end_s,
    )


def first_row_known_at(time_s: float) -> int:
    """Return the first row that is known at `time_s` or later."""
    return max(num_frames_covering(time_s) - 1, 0)


def held_level(pause_probs: np.ndarray, *, head: int, hold_frames: int, ignore_frames: int) -> np.ndarray:
    """Return [T]: the level that `head` has kept over `hold_frames` rows ending at t, -inf where these are not all there and counted."""
    probs = np.asarray(pause_probs, dtype=np.float64)
    if probs.ndim != 2 or not 0 <= head < probs.shape[1]:
        raise ValueError(f"pause_probs of shape {probs.shape} have no head {head}")
    level = np.full(len(probs), -np.inf)
    first = ignore_frames + hold_frames - 1
    if first < len(probs):
        level[first:] = np.lib.stride_tricks.sliding_window_view(probs[ignore_frames:, head], hold_frames).min(axis=1)
    return level


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """What a threshold and a hold give over many turns: shares of turns, and latencies in seconds (infinite when too many are missed)."""

    threshold: float
    hold_frames: int
    cut_off_rate: float
    missed_rate: float
    latency_p50_s: float
    latency_p90_s: float
    latency_p95_s: float


SWEEP_THRESHOLDS = (*(round(0.02 * step, 2) for step in range(1, 50)), 0.985, 0.99, 0.995, 0.999)
"""Thresholds of a sweep: every 0.02, and closer where confident heads live."""

SWEEP_HOLDS = (1, 2, 3, 4, 6, 8, 12)
"""Holds of a sweep in frames: 80 ms to about a second."""


def sweep(
    turns: Sequence[Turn],
    *,
    head: int = 2,
    ignore_frames: int = 12,
    thresholds: Sequence[float] = SWEEP_THRESHOLDS,
    holds: Sequence[int] = SWEEP_HOLDS,
) -> list[OperatingPoint]:
    """Return an operating point for every hold and threshold, as `judge_turn` would find it turn by turn."""
    levels_above = np.asarray(thresholds, dtype=np.float64)
    onset_rows = [first_row_known_at(turn.last_word_start_s) for turn in turns]
    points = []
    for hold in holds:
        levels = [held_level(turn.pause_probs, head=head, hold_frames=hold, ignore_frames=ignore_frames) for turn in turns]
        highest_before = np.array([level[:onset].max(initial=-np.inf) for level, onset in zip(levels, onset_rows, strict=True)])
        latencies_s = np.sort(  # [thresholds, turns]
            [_latencies_s(turn, level, onset, levels_above) for turn, level, onset in zip(turns, levels, onset_rows, strict=True)], axis=0
        ).T
        quantiles_s = [sorted_quantile(latencies_s, q) for q in (0.5, 0.9, 0.95)]
        cut_offs = (highest_before[None] > levels_above[:, None]).mean(axis=1)
        missed = np.isinf(latencies_s).mean(axis=1)
        points += [
            OperatingPoint(
                threshold=float(levels_above[row]),
                hold_frames=hold,
                cut_off_rate=float(cut_offs[row]),
                missed_rate=float(missed[row]),
                latency_p50_s=float(quantiles_s[0][row]),
                latency_p90_s=float(quantiles_s[1][row]),
                latency_p95_s=float(quantiles_s[2][row]),
            )
            for row in range(len(levels_above))
        ]
    return points


def _latencies_s(turn: Turn, level: np.ndarray, onset_row: int, thresholds: np.ndarray) -> np.ndarray:
    """Return the end-of-turn latency at each threshold [thresholds]."""
    highest_so_far = np.maximum.accumulate(level[onset_row:])
    first = np.searchsorted(highest_so_far, thresholds, side="right")  # first row strictly above
    return np.where(first < len(highest_so_far), frame_heard_s(onset_row) + first * FRAME_S - turn.last_word_end_s, np.inf)


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

    Raises:
        ValueError: no point ever ends half of the turns.
    """
    ending = [point for point in points if math.isfinite(point.latency_p50_s)]
    if not ending:
        raise ValueError("no threshold and hold end half of the turns")
    within = latency_within(ending, max_cut_off_rate)
    return within or min(ending, key=lambda p: (p.cut_off_rate, p.latency_p50_s))
