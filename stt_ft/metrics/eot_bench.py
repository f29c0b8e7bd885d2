"""livekit's eot-bench on our frames: every silence inside a turn and the one after it, judged at each threshold, delay and timer.

A silence inside a turn is a *hold*, the one after its last word the *end*. While one lasts, an agent looks at the detector every 0.1 s.
It acts at the first look with a probability above `threshold`, but not before the silence has lasted `delay`, and at `timer` in any case.
Acting inside a hold is a cut-off; the time from the beginning of the end to the action is its latency. The three are swept together, and
the report tells the fewest cut-offs within a mean latency, and the least mean latency within a rate of cut-offs.

This is another measure than ours (`endpointing`) on four counts: it counts holds, not turns; what happens while somebody speaks is not
looked at; no setting misses an end, since a timer always runs; and its latencies are means in steps of 0.1 s.

Source: the README of github.com/livekit/eot-bench, and its `eot_harness` (`io.py`, `streaming_stt.py`, `metrics.py`). There the silences
come from annotators, here from the times of the words.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from stt_ft.core.timing import frame_heard_s
from stt_ft.dataset.sidecar import Word

LOOK_S = 0.1
"""Seconds between two looks at the detector."""

MIN_SILENCE_S = 0.1
"""A shorter silence is none."""

MIN_HOLD_S, MAX_HOLD_S = 0.2, 5.0
"""Holds that count; every end does."""

THRESHOLDS = tuple(round(0.01 * step, 2) for step in range(101))
DELAYS_S = tuple(round(0.1 * step, 1) for step in range(2, 11))
TIMERS_S = tuple(0.5 * step for step in range(2, 8))

LATENCY_BUDGETS_S = (0.3, 0.6)
CUT_OFF_BUDGETS = (0.05, 0.10)

_AREA_BUDGETS = tuple(round(0.001 * step, 3) for step in range(101))
_EPS = 1e-6

_HOLDS_AT_A_TIME = 2048
"""Holds whose cut-offs are counted together."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """One look at a detector, a row of eot-bench's predictions.

    Attributes:
        id: of the clip.
        span_index: number of the silence in the clip, from 0.
        timestamp: seconds of the clip.
        silence_dur: seconds since the silence began.
        p_eot: the probability that the turn is over.
        label: "hold" or "eot".
    """

    id: str
    span_index: int
    timestamp: float
    silence_dur: float
    p_eot: float
    label: str


@dataclass(frozen=True, kw_only=True)
class EotFigures:
    """The result: eot-bench's operating points; None where no setting keeps a budget.

    Attributes:
        num_holds: holds that count.
        num_ends: turns.
        cut_offs_within_s: mean latency in seconds -> the lowest rate of cut-off holds within it.
        latency_within_s: rate of cut-off holds -> the least mean latency within it, in seconds.
        area_s: mean of the least mean latencies over the rates from 0 to 0.1, those that no setting keeps left out.
    """

    num_holds: int
    num_ends: int
    cut_offs_within_s: dict[str, float | None]
    latency_within_s: dict[str, float | None]
    area_s: float | None


def silences(words: Sequence[Word], until_s: float) -> list[tuple[float, float]]:
    """Return the silences between `words`, in order, and last the one from the last word's end `until_s`, as (start, end) in seconds.

    Silences shorter than `MIN_SILENCE_S` are left out; the last one never is.
    """
    found, spoken_until_s = [], math.inf
    for word in sorted(words, key=lambda word: word.start_s):
        if word.start_s - spoken_until_s >= MIN_SILENCE_S - _EPS:
            found.append((spoken_until_s, word.start_s))
        spoken_until_s = word.end_s if math.isinf(spoken_until_s) else max(spoken_until_s, word.end_s)
    return [*found, (spoken_until_s, max(until_s, spoken_until_s + MIN_SILENCE_S))]


def looks(clip_id: str, spans: Sequence[tuple[float, float]], probs: np.ndarray, *, every_s: float = LOOK_S) -> list[Look]:
    """Return the looks at a detector in all silences of a clip.

    Args:
        spans: the silences in seconds, the end last. One that is shorter than `MIN_SILENCE_S` counts in `span_index`, and has no looks.
        probs: the probability that the turn is over after each frame [T]. A look sees the newest one of its own silence, 0 before any.
        every_s: seconds between two looks.
    """
    heard_s, found = np.array([frame_heard_s(row) for row in range(len(probs))]), []
    for index, (start_s, end_s) in enumerate(spans):
        if end_s - start_s < MIN_SILENCE_S - _EPS:
            continue
        for time_s in _times(start_s, end_s, every_s):
            row = int(np.searchsorted(heard_s, time_s + _EPS, side="right")) - 1
            is_inside = row >= 0 and heard_s[row] >= start_s - _EPS
            found.append(
                Look(
                    id=clip_id,
                    span_index=index,
                    timestamp=time_s,
                    silence_dur=round(time_s - start_s, 6),
                    p_eot=float(probs[row]) if is_inside else 0.0,
                    label="eot" if index == len(spans) - 1 else "hold",
                )
            )
    return found


class EotTally:
    """Counts a detector's looks as they come, clip by clip."""

    def __init__(self) -> None:
        self._hold_s: list[float] = []
        self._num_tallied = 0
        self._waiting: list[np.ndarray] = []
        self._ended_s: list[np.ndarray] = []
        self._cut_offs = np.zeros((len(DELAYS_S) * len(TIMERS_S), len(THRESHOLDS)), dtype=np.int64)

    def add(self, rows: Sequence[Look]) -> None:
        """Count the looks of some clips, all of each."""
        for one in _silences_of(rows, "hold"):
            if MIN_HOLD_S - _EPS <= one[-1].silence_dur <= MAX_HOLD_S + _EPS:
                self._hold_s.append(one[-1].silence_dur)
                self._waiting.append(_fired_s(one))
        self._ended_s += [_fired_s(one) for one in _silences_of(rows, "eot")]
        if len(self._waiting) >= _HOLDS_AT_A_TIME:
            self._tally()

    def _tally(self) -> None:
        """Count the cut-offs of the holds that wait, by delay and timer, and threshold."""
        if self._waiting:
            hold_s, fired_s = np.array(self._hold_s[self._num_tallied :])[:, None], np.stack(self._waiting)  # [holds, thresholds]
            for place, (delay_s, timer_s) in enumerate(_settings()):
                self._cut_offs[place] += (hold_s > np.clip(fired_s, delay_s, timer_s) + _EPS).sum(axis=0)
            self._num_tallied, self._waiting = len(self._hold_s), []

    def figures(self) -> EotFigures | None:
        """Return the operating points of the detector; None without a hold or without an end."""
        self._tally()
        if not self._hold_s or not self._ended_s:
            return None
        ended_s = np.stack(self._ended_s, axis=1)
        latencies_s = [np.clip(ended_s, delay_s, timer_s).mean(axis=1) for delay_s, timer_s in _settings()]
        return self._operating_points((self._cut_offs / len(self._hold_s)).ravel(), np.concatenate(latencies_s))

    def timer(self) -> EotFigures | None:
        """Return the operating points of a timer alone, of every delay and timer that is swept; None where `figures` is."""
        if not self._hold_s or not self._ended_s:
            return None
        hold_s, timers_s = np.array(self._hold_s), np.array(sorted({*DELAYS_S, *TIMERS_S}))
        return self._operating_points((hold_s > timers_s[:, None] + _EPS).mean(axis=1), timers_s)

    def _operating_points(self, cut_offs: np.ndarray, latencies_s: np.ndarray) -> EotFigures:
        def least(values: np.ndarray, budgeted: np.ndarray, budget: float) -> float | None:
            kept = values[budgeted <= budget + _EPS]
            return float(kept.min()) if len(kept) else None

        under = [one for budget in _AREA_BUDGETS if (one := least(latencies_s, cut_offs, budget)) is not None]
        return EotFigures(
            num_holds=len(self._hold_s),
            num_ends=len(self._ended_s),
            cut_offs_within_s={f"{budget:g}": least(cut_offs, latencies_s, budget) for budget in LATENCY_BUDGETS_S},
            latency_within_s={f"{budget:g}": least(latencies_s, cut_offs, budget) for budget in CUT_OFF_BUDGETS},
            area_s=float(np.mean(under)) if under else None,
        )


def _settings() -> Iterator[tuple[float, float]]:
    """Yield every delay with every timer; every timer is as long as the longest delay."""
    return itertools.product(DELAYS_S, TIMERS_S)


def _times(start_s: float, end_s: float, every_s: float) -> list[float]:
    """Return when an agent looks in a silence: every `every_s` seconds from its beginning, and at its end."""
    steps = math.floor((end_s - start_s) / every_s + _EPS)
    times_s = [round(start_s + step * every_s, 6) for step in range(steps + 1)]
    return times_s if times_s[-1] >= end_s - _EPS else [*times_s, round(end_s, 6)]


def _silences_of(rows: Sequence[Look], label: str) -> list[list[Look]]:
    """Return the looks of each silence of one kind, in order of time."""
    found: dict[tuple[str, int], list[Look]] = {}
    for row in rows:
        if row.label == label:
            found.setdefault((row.id, row.span_index), []).append(row)
    return [sorted(one, key=lambda row: row.silence_dur) for one in found.values()]


def _fired_s(silence: Sequence[Look]) -> np.ndarray:
    """Return after how much silence the detector was first above each threshold [thresholds]; infinite where it never was."""
    highest = np.maximum.accumulate([row.p_eot for row in silence])
    return np.array([*(row.silence_dur for row in silence), np.inf])[np.searchsorted(highest, THRESHOLDS, side="right")]
