"""When an agent that follows a pause head would end the user's turn, and whether it should have.

Row t of the pause probabilities is what the server sends after hearing frame t, so it is known at `timing.frame_heard_s(t)`. A rule
*passes* at row t when the level of its head has been above the threshold for `hold_frames` rows, t the last of them, all counted.

- **the turn begins** with its first word: a passing before that word's sound begins does not count, and one that began before it and
  goes on does not count for `NOTICED_WITHIN_S` more;
- **cut-off**: a passing from there until the sound of the last word has ended, less `ALIGNER_S`, before the last word or inside it;
- **end of the turn**: the first passing after that;
- **end-of-turn latency**: the time from the end of the last word's sound to the end of the turn, never below zero;
- **missed end**: no passing from there to the end of the recording, whose latency is then infinite.

Every clip has a latency, also one that is cut off: as if the agent had gone on listening. Sweeping threshold and hold for latency against
cut-offs follows livekit's eot-bench.

An agent without a pause head takes a voice activity detector and waits for silence: speech begins with the first step whose
probability of speech reaches the threshold; silence begins with the first one after that which lies 0.15 below it, and ends with the next
that reaches it again. Source: `VADIterator` of silero-vad (`silero_vad/utils_vad.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stt_ft.core.timing import FRAME_S, frame_heard_s, num_frames_covering
from stt_ft.metrics.intervals import sorted_quantile

ALIGNER_S = 0.1
"""An agent may end the turn this much before the aligner's end of the last word: that end may be off by as much."""

NOTICED_WITHIN_S = 0.5
"""How long a head that was high in the silence before the first word may stay so: an agent learns of a first word from its text, which
comes a text lag (0.5 s in Kyutai's 1b) after the sound."""


@dataclass(frozen=True, kw_only=True)
class EndpointRule:
    """When an agent ends the turn.

    Attributes:
        head: index of the pause head.
        threshold: pause probability that the head's level must be above.
        hold_frames: consecutive rows in which it must be.
        ignore_frames: first rows of the stream that do not count.
        half_life_s: the level is an exponential moving average of this half-life in seconds; at 0 it is the probability itself.
        after_text: nothing counts up to the row with which the first word is written, and there the average begins anew, at 0.
    """

    head: int = 2
    threshold: float = 0.6
    hold_frames: int = 1
    ignore_frames: int = 12
    half_life_s: float = 0.0
    after_text: bool = False

    def __post_init__(self) -> None:
        demands = {
            "head must be 0 or more": self.head >= 0,
            "threshold must lie between 0 and 1": 0 <= self.threshold <= 1,
            "hold_frames must be 1 or more": self.hold_frames >= 1,
            "ignore_frames must be 0 or more": self.ignore_frames >= 0,
            "half_life_s must be 0 or more": self.half_life_s >= 0,
        }
        mistakes = [f"{demand}, got {getattr(self, demand.split()[0])}" for demand, is_met in demands.items() if not is_met]
        if mistakes:
            raise ValueError(*mistakes)

    @classmethod
    def named(cls, name: str) -> EndpointRule:
        """Return the rule called `name`, a key of `RULES`; raises `ValueError` for another.

        `kyutai`: head 2 above 0.6, the first 12 rows ignored, and nothing else.

        `unmute`: the same as Kyutai's voice agent has it (github.com/kyutai-labs/unmute at 84aa28d: `unmute/stt/speech_to_text.py`,
        `unmute/stt/exponential_moving_average.py`, and `determine_pause` and `_stt_loop` of `unmute/unmute_handler.py`). It listens
        to an average of head 2 with a half-life of 0.01 s up and down, an eighth of a frame, that starts at 1 and takes no part of the
        first 12 steps. It asks for a pause only once the user has said a word, which it learns from the text; with that word the average
        is set to 0 (the server sends a step before the words of that step). When the average is above 0.6 the turn is over: unmute
        sends 0.5 s and a frame of silence faster than real time, so that the last words are written, and answers. That takes the
        machine's time and none of the caller's sound, so it is in no figure here.
        """
        if name not in RULES:
            raise ValueError(f"rule must be one of {', '.join(RULES)}, got {name!r}")
        return RULES[name]

    @property
    def name(self) -> str | None:
        """The name of this rule, None when it has none."""
        return next((name for name, rule in RULES.items() if rule == self), None)


RULES = {"kyutai": EndpointRule(), "unmute": EndpointRule(half_life_s=0.01, after_text=True)}
"""Rules that have a name (`EndpointRule.named`)."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """The inputs of a rule for one clip; times in seconds of the clip.

    Attributes:
        pause_probs: pause probabilities [T, H].
        first_word_start_s: where the sound of the first word begins.
        last_word_start_s: where the sound of the last word begins; `last_word_end_s` is where it has ended.
        first_text_s: when the first word of the transcript appeared, None when none did. Only a rule `after_text` looks at it.
    """

    pause_probs: np.ndarray
    first_word_start_s: float
    last_word_start_s: float
    last_word_end_s: float
    first_text_s: float | None = None

    @property
    def speaking_rows(self) -> slice:
        """The rows at which a passing is a cut-off: from the first word to just before the end of the last one's sound."""
        start = first_row_known_at(self.first_word_start_s)
        return slice(start, max(start, first_row_known_at(self.last_word_end_s - ALIGNER_S)))


@dataclass(frozen=True, kw_only=True)
class TurnVerdict:
    """How an agent would have ended a turn; times in seconds of the clip.

    Attributes:
        cut_off_s: the first cut-off, None without one.
        is_inside_last_word: whether the cut-off is inside the last word.
        ended_s: the end of the turn, None when missed.
        latency_s: from the end of the last word's sound to `ended_s`; infinite when missed.
    """

    cut_off_s: float | None
    is_inside_last_word: bool
    ended_s: float | None
    latency_s: float

    @property
    def is_cut_off(self) -> bool:
        return self.cut_off_s is not None

    @property
    def is_missed(self) -> bool:
        return self.ended_s is None


NEVER_ENDED = TurnVerdict(cut_off_s=None, is_inside_last_word=False, ended_s=None, latency_s=math.inf)
"""The verdict on a turn that nothing ends."""


def judge_turn(turn: Turn, rule: EndpointRule) -> TurnVerdict:
    """Return how an agent that follows `rule` would have ended `turn`."""
    level, speaking = level_of(turn, rule), turn.speaking_rows
    passing = np.flatnonzero((level > rule.threshold) & (_lowest_since_silence(turn, level) <= rule.threshold))
    cut_offs = passing[(passing >= speaking.start) & (passing < speaking.stop)]
    ends = passing[passing >= speaking.stop]
    ended_s = frame_heard_s(int(ends[0])) if len(ends) else None
    return TurnVerdict(
        cut_off_s=frame_heard_s(int(cut_offs[0])) if len(cut_offs) else None,
        is_inside_last_word=len(cut_offs) > 0 and int(cut_offs[0]) >= first_row_known_at(turn.last_word_start_s),
        ended_s=ended_s,
        latency_s=math.inf if ended_s is None else max(0.0, ended_s - turn.last_word_end_s),
    )


def first_row_known_at(time_s: float) -> int:
    """Return the first row that is known at `time_s` or later."""
    return max(num_frames_covering(time_s) - 1, 0)


def level_of(turn: Turn, rule: EndpointRule) -> np.ndarray:
    """Return [T]: the level that the rule's head has kept over `hold_frames` rows ending at t, -inf where these are not all counted."""
    return _held(_counted_level(turn, rule), rule.hold_frames)


def _counted_level(turn: Turn, rule: EndpointRule) -> np.ndarray:
    """Return the level of the rule's head at each row [T], -inf where it does not count."""
    probs = np.asarray(turn.pause_probs, dtype=np.float64)
    if probs.ndim != 2 or not 0 <= rule.head < probs.shape[1]:
        raise ValueError(f"pause_probs of shape {probs.shape} have no head {rule.head}")
    text_row = None if turn.first_text_s is None else first_row_known_at(turn.first_text_s)
    level = probs[:, rule.head].copy()
    if rule.half_life_s > 0:
        level = _smoothed(level, rule, text_row if rule.after_text else None)
    first = rule.ignore_frames
    if rule.after_text:
        first = max(first, len(level) if text_row is None else text_row + 1)
    level[:first] = -np.inf
    return level


def _smoothed(probs: np.ndarray, rule: EndpointRule, restart_row: int | None) -> np.ndarray:
    """Return the moving average of `probs` [T]: it starts at 1, leaves the ignored rows out, and is set to 0 at `restart_row`."""
    stays, value, average = 0.5 ** (FRAME_S / rule.half_life_s), 1.0, np.empty(len(probs))
    for row, prob in enumerate(probs):
        if row >= rule.ignore_frames:
            value = stays * value + (1 - stays) * prob
        if row == restart_row:
            value = 0.0
        average[row] = value
    return average


def _held(level: np.ndarray, hold_frames: int) -> np.ndarray:
    """Return the lowest of the `hold_frames` rows that end at t [T], -inf for the first rows, which lack some."""
    if hold_frames == 1:
        return level
    held = np.full(len(level), -np.inf)
    if hold_frames <= len(level):
        held[hold_frames - 1 :] = np.lib.stride_tricks.sliding_window_view(level, hold_frames).min(axis=1)
    return held


def _lowest_since_silence(turn: Turn, level: np.ndarray) -> np.ndarray:
    """Return [T]: the lowest level from the last row before the first word up to row t - 1, -inf once a word must have been noticed.

    Where even this is above a threshold, the head was above it when the first word began and has been ever since.
    """
    lowest = np.full(len(level), -np.inf)
    start = first_row_known_at(turn.first_word_start_s)
    noticed = min(first_row_known_at(turn.first_word_start_s + NOTICED_WITHIN_S), len(level))
    if 0 < start < noticed:
        lowest[start:noticed] = np.minimum.accumulate(level[start - 1 : noticed - 1])
    return lowest


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


SWEEP_THRESHOLDS = (*(round(0.02 * step, 2) for step in range(1, 50)), 0.985, 0.99, 0.995, 0.999)
"""Thresholds of a sweep: every 0.02, and closer where confident heads live."""

SWEEP_HOLDS = (1, 2, 3, 4, 6, 8, 12)
"""Holds of a sweep in frames: 80 ms to about a second."""


def sweep(
    turns: Sequence[Turn], rule: EndpointRule, *, thresholds: Sequence[float] = SWEEP_THRESHOLDS, holds: Sequence[int] = SWEEP_HOLDS
) -> list[OperatingPoint]:
    """Return an operating point for every hold and threshold put in the place of the rule's, as `judge_turn` would find it turn by turn."""
    levels_above = np.asarray(thresholds, dtype=np.float64)
    counted = [_counted_level(turn, rule) for turn in turns]
    points = []
    for hold in holds:
        swept = [_swept(turn, _held(level, hold), levels_above) for turn, level in zip(turns, counted, strict=True)]
        cut_offs = np.mean([is_cut_off for is_cut_off, _ in swept], axis=0)
        latencies_s = np.sort([latency_s for _, latency_s in swept], axis=0).T  # [thresholds, turns]
        quantiles_s = [sorted_quantile(latencies_s, q) for q in (0.5, 0.9, 0.95)]
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


def _swept(turn: Turn, level: np.ndarray, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return whether the turn is cut off at each threshold, and its end-of-turn latency there [thresholds], from the held level [T]."""
    speaking, lowest = turn.speaking_rows, _lowest_since_silence(turn, level)
    passing = (level[:, None] > thresholds) & (lowest[:, None] <= thresholds)  # [T, thresholds]
    ends = passing[speaking.stop :]
    rows = speaking.stop + (ends.argmax(axis=0) if len(ends) else np.zeros(len(thresholds)))
    latency_s = np.maximum((rows + 1) * FRAME_S - turn.last_word_end_s, 0.0)
    return np.logical_or.reduce(passing[speaking]), np.where(ends.any(axis=0), latency_s, np.inf)


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


SPEECH_THRESHOLD = 0.5
_TICK_S = 1e-6


def silent_for_s(speech_probs: Sequence[float] | np.ndarray, step_s: float) -> np.ndarray:
    """Return [N]: for how long, at the end of each step, there has been silence since someone spoke; 0 while nobody has."""
    silent_s = np.zeros(len(speech_probs))
    has_spoken, began = False, None
    for step, prob in enumerate(np.asarray(speech_probs, dtype=np.float64)):
        if prob >= SPEECH_THRESHOLD:
            has_spoken, began = True, None
        elif has_spoken and began is None and prob < SPEECH_THRESHOLD - 0.15:
            began = step
        silent_s[step] = 0.0 if began is None else (step - began) * step_s
    return silent_s


def turn_rows(silent_s: np.ndarray, step_s: float, num_rows: int, rules_s: Sequence[float]) -> np.ndarray:
    """Return [num_rows, rules] as pause heads would say it: 1 where a row of 80 ms ends with a rule's silence fulfilled, else 0."""
    last_steps = [int(frame_heard_s(row) / step_s + _TICK_S) - 1 for row in range(num_rows)]
    heard_s = np.array([silent_s[min(step, len(silent_s) - 1)] if step >= 0 and len(silent_s) else 0.0 for step in last_steps])
    return (heard_s[:, None] >= np.asarray(rules_s)[None] - _TICK_S).astype(np.float64)
