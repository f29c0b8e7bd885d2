"""When an agent that follows a pause head would end the user's turn, and whether it should have.

Row t of the pause probabilities is what the server sends after hearing frame t, so it is known at `timing.frame_heard_s(t)`. A rule
*passes* at row t when the level of its heads has been above the threshold for `hold_frames` rows, t the last of them, all counted; a
rule may have other ways to pass, and wait by what is written (`agent_waits`).

- **the turn begins** with its first word: a passing before that word's sound begins does not count, and one that began before it and
  goes on does not count for `NOTICED_WITHIN_S` more;
- **cut-off**: a passing from there until the sound of the last word has ended, less `ALIGNER_S`, before the last word or inside it;
- **end of the turn**: the first passing after that;
- **end-of-turn latency**: the time from the end of the last word's sound to the end of the turn, never below zero;
- **missed end**: no passing from there to the end of the recording, whose latency is then infinite.

Every clip has a latency, also one that is cut off: as if the agent had gone on listening.

An agent without a pause head takes a voice activity detector and waits for silence: speech begins with the first step whose
probability of speech reaches the threshold; silence begins with the first one after that which lies 0.15 below it, and ends with the next
that reaches it again. Source: `VADIterator` of silero-vad (`silero_vad/utils_vad.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from stt_ft.core.config import Config
from stt_ft.core.timing import FRAME_S, frame_heard_s
from stt_ft.metrics.agent_waits import Fallback, Tail, extra_frames, first_row_known_at, refuse

ALIGNER_S = 0.1
"""An agent may end the turn this much before the aligner's end of the last word: that end may be off by as much."""

NOTICED_WITHIN_S = 0.5
"""How long a head that was high in the silence before the first word may stay so: an agent learns of a first word from its text, which
comes a text lag (0.5 s in Kyutai's 1b) after the sound."""


@dataclass(frozen=True, kw_only=True)
class EndpointRule(Config):
    """When an agent ends the turn. Read from a file by `load_config` (core/config.py), or named (`EndpointRule.named`)."""

    head: int = 2
    """Index of the pause head."""

    and_heads: tuple[int, ...] = ()
    """Heads that must be above the threshold too: the level is that of the lowest."""

    threshold: float = 0.6
    """Pause probability that the level must be above."""

    hold_frames: int = 1
    """Consecutive rows in which it must be."""

    ignore_frames: int = 12
    """First rows of the stream that do not count."""

    half_life_s: float = 0.0
    """Each head's level is an exponential moving average of this half-life in seconds; at 0 it is the probability itself."""

    after_text: bool = False
    """Nothing counts up to the row with which the first word is written, and there the average begins anew, at 0."""

    since_last_word: bool = False
    """Nothing counts up to the row with which the first word is written, nor any row with which another is: each begins the hold anew."""

    tails: tuple[Tail, ...] = ()
    """How the end of the text lengthens or shortens every hold."""

    fallbacks: tuple[Fallback, ...] = ()
    """Other thresholds and holds, each enough to end the turn."""

    def __post_init__(self) -> None:
        demands = {
            "head must be 0 or more": self.head >= 0,
            "and_heads must be 0 or more": all(head >= 0 for head in self.and_heads),
            "threshold must lie between 0 and 1": 0 <= self.threshold <= 1,
            "hold_frames must be 1 or more": self.hold_frames >= 1,
            "ignore_frames must be 0 or more": self.ignore_frames >= 0,
            "half_life_s must be 0 or more": self.half_life_s >= 0,
        }
        refuse(self, demands)

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

        `two_heads`: what Kyutai's Laurent Mazare advises (delayed-streams-modeling#23: no canonical way, but ask that the shortest head
        has been high for some time) as agents do it: heads 2 and 0 above 0.6 for the six rows since the last word that livekit's plugin
        for the same heads counts (`delay_in_tokens` in its `gradium/stt.py`), or above 0.4 for twice as long, or 1.6 s without a word.

        `text_tail`: the same, and it reads the end of the text, as livekit's first agents did (livekit/agents#1212): ten rows more after a
        comma or "and", four fewer after a full stop.
        """
        if name not in RULES:
            raise ValueError(f"rule must be one of {', '.join(RULES)}, or a file (NAME.yaml), got {name!r}")
        return RULES[name]

    @property
    def name(self) -> str | None:
        """The name of this rule, None when it has none."""
        return next((name for name, rule in RULES.items() if rule == self), None)

    @property
    def heads(self) -> tuple[int, ...]:
        """All heads that it listens to."""
        return (self.head, *self.and_heads)


_SINCE_LAST_WORD = EndpointRule(
    and_heads=(0,),
    hold_frames=6,
    since_last_word=True,
    fallbacks=(Fallback(threshold=0.4, hold_frames=12), Fallback(hold_frames=20)),
)

_GOES_ON = (",", ";", ":", "-", "\u2026", "and", "or", "but", "then", "um", "uh", "et", "ou", "mais", "puis", "euh")
"""Ends of a text, English and French, after which more is coming."""

RULES = {
    "kyutai": EndpointRule(),
    "unmute": EndpointRule(half_life_s=0.01, after_text=True),
    "two_heads": _SINCE_LAST_WORD,
    "text_tail": replace(
        _SINCE_LAST_WORD,
        tails=(Tail(ends_with=_GOES_ON, extra_frames=10), Tail(ends_with=(".", "?", "!"), extra_frames=-4)),
    ),
}
"""Rules that have a name (`EndpointRule.named`)."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """The inputs of a rule for one clip; times in seconds of the clip.

    Attributes:
        pause_probs: pause probabilities [T, H].
        first_word_start_s: where the sound of the first word begins.
        last_word_start_s: where the sound of the last word begins; `last_word_end_s` is where it has ended.
        written: the words of the transcript, each with the second in which it appeared. Only rules that read the text look at them.
    """

    pause_probs: np.ndarray
    first_word_start_s: float
    last_word_start_s: float
    last_word_end_s: float
    written: tuple[tuple[str, float], ...] = ()

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
    speaking = turn.speaking_rows
    (passing,) = np.nonzero(_passing(turn, rule, _counted_level(turn, rule), rule.hold_frames, np.array([rule.threshold]))[:, 0])
    cut_offs = passing[(passing >= speaking.start) & (passing < speaking.stop)]
    ends = passing[passing >= speaking.stop]
    ended_s = frame_heard_s(int(ends[0])) if len(ends) else None
    return TurnVerdict(
        cut_off_s=frame_heard_s(int(cut_offs[0])) if len(cut_offs) else None,
        is_inside_last_word=len(cut_offs) > 0 and int(cut_offs[0]) >= first_row_known_at(turn.last_word_start_s),
        ended_s=ended_s,
        latency_s=math.inf if ended_s is None else max(0.0, ended_s - turn.last_word_end_s),
    )


def judge_turn_at(turn: Turn, rule: EndpointRule, holds: Sequence[int], thresholds: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Return what `judge_turn` finds with each hold and threshold in the place of the rule's: whether the turn is cut off, and its
    end-of-turn latency, both [holds, thresholds]."""
    level, bounds = _counted_level(turn, rule), np.asarray(thresholds, dtype=np.float64)
    judged = [_judged_at(turn, rule, level, hold, bounds) for hold in holds]
    return np.array([is_cut_off for is_cut_off, _ in judged]), np.array([latency_s for _, latency_s in judged])


def _judged_at(turn: Turn, rule: EndpointRule, level: np.ndarray, hold: int, bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    speaking = turn.speaking_rows
    if rule.fallbacks or rule.tails:
        passing = _passing(turn, rule, level, hold, bounds)
        is_cut_off, ends = np.logical_or.reduce(passing[speaking]), passing[speaking.stop :]
        rows = ends.argmax(axis=0) if len(ends) else np.zeros(len(bounds), dtype=int)
        is_ended = ends.any(axis=0)
    else:  # the first row above a threshold is the first at which the highest so far is
        held = _held(level, hold)
        lowest = _lowest_since_silence(turn, held)
        (doubtful,) = np.nonzero(lowest > -np.inf)
        told = held.copy()
        told[doubtful] = -np.inf
        is_cut_off = told[speaking].max(initial=-np.inf) > bounds
        highest = np.maximum.accumulate(told[speaking.stop :])
        rows = np.searchsorted(highest, bounds, side="right")
        for row in doubtful:
            passes = (held[row] > bounds) & (lowest[row] <= bounds)
            if row < speaking.stop:
                is_cut_off |= passes
            else:
                rows = np.where(passes, np.minimum(rows, row - speaking.stop), rows)
        is_ended = rows < len(highest)
    latency_s = np.maximum((speaking.stop + rows + 1) * FRAME_S - turn.last_word_end_s, 0.0)
    return is_cut_off, np.where(is_ended, latency_s, np.inf)


def level_of(turn: Turn, rule: EndpointRule) -> np.ndarray:
    """Return [T]: the level that the rule's heads have kept over the rows it holds, ending at t; -inf where these are not all counted."""
    return _held(_counted_level(turn, rule), rule.hold_frames, _extra_frames(turn, rule))


def _passing(turn: Turn, rule: EndpointRule, level: np.ndarray, hold_frames: int, thresholds: np.ndarray) -> np.ndarray:
    """Return whether the rule passes at each row [T, thresholds], with `hold_frames` and each of `thresholds` in the place of its own.

    What has passed since before the first word is left out. `level` is what `_counted_level` returns.
    """
    extra, ways = _extra_frames(turn, rule), [(hold_frames, thresholds), *((one.hold_frames, one.bound) for one in rule.fallbacks)]
    passing = np.zeros((len(level), len(thresholds)), dtype=bool)
    for hold, bounds in ways:
        held = _held(level, hold, extra)
        passing |= (held[:, None] > bounds) & (_lowest_since_silence(turn, held)[:, None] <= bounds)
    return passing


def _extra_frames(turn: Turn, rule: EndpointRule) -> np.ndarray | None:
    """Return the rows that the text's tail adds to a hold [T], None for a rule that does not read it."""
    return extra_frames(turn.written, rule.tails, len(turn.pause_probs)) if rule.tails else None


def _counted_level(turn: Turn, rule: EndpointRule) -> np.ndarray:
    """Return the level of the rule's heads at each row [T], -inf where it does not count."""
    probs = np.asarray(turn.pause_probs, dtype=np.float64)
    missing = [head for head in rule.heads if probs.ndim != 2 or not 0 <= head < probs.shape[1]]
    if missing:
        raise ValueError(f"pause_probs of shape {probs.shape} have no head {missing[0]}")
    word_rows = sorted(first_row_known_at(appeared_s) for _, appeared_s in turn.written)
    text_row = word_rows[0] if word_rows else None
    levels = [probs[:, head].copy() for head in rule.heads]
    if rule.half_life_s > 0:
        levels = [_smoothed(level, rule, text_row if rule.after_text else None) for level in levels]
    level = np.minimum.reduce(levels)
    first = rule.ignore_frames
    if rule.after_text or rule.since_last_word:
        first = max(first, len(level) if text_row is None else text_row + 1)
    if rule.since_last_word:
        level[[row for row in word_rows if row < len(level)]] = -np.inf
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


def _held(level: np.ndarray, hold_frames: int, extra: np.ndarray | None = None) -> np.ndarray:
    """Return the lowest of the `hold_frames` rows that end at t [T], -inf for the first rows, which lack some.

    `extra` rows [T] lengthen the hold of each t.
    """
    if extra is not None:
        by_length = {more: _held(level, max(hold_frames + more, 1)) for more in np.unique(extra).tolist()}
        return np.select([extra == more for more in by_length], list(by_length.values()))
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
