"""Whether an agent that listens to a pause head hears the caller barge in, and whether it hears so in silence.

The agent begins to speak when the head rises above the rule's threshold, and stops when it falls below 0.4. Words that are written stop it
too; here the head alone is asked.

- **barge-in**: a turn, not the call's first, that begins while the agent speaks. Its delay runs from the onset of its first word to the
  fall of the head; it is never heard where the head does not fall until the turn is over;
- **false barge-in**: such a fall while nobody speaks.

The times of words are off by a little, and the head knows a word only once it has been heard for a while: a fall `ALIGNER_S` before an
onset is the turn's, and so is one up to `NOTICED_WITHIN_S` after its end, with which the silence begins.

Source: `receive` of `unmute/unmute_handler.py`, github.com/kyutai-labs/unmute, under "Interruption by STT-VAD".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stt_ft.core.timing import FRAME_S, frame_heard_s
from stt_ft.metrics.agent_waits import first_row_known_at
from stt_ft.metrics.endpointing import ALIGNER_S, NOTICED_WITHIN_S
from stt_ft.metrics.intervals import sorted_quantile

BARGE_IN_BELOW = 0.4
"""The agent stops when its head falls below this."""


@dataclass(frozen=True, kw_only=True)
class HeadInCall:
    """A pause head in a call: its probability after each frame [T], and the turns in their order, each from the onset of its first word to
    the end of its last one in seconds of the call."""

    level: np.ndarray
    turns: Sequence[tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class BargeInFigures:
    """Figures of barge-ins; None of no turns, or of no silence.

    Attributes:
        num_turns: turns but the first of each call.
        num_spoken_over: those of them that begin while the agent speaks: barge-ins. In the others the head was low beforehand.
        delay_p50_s: of the barge-ins, infinite for one that is never heard; `delay_p90_s` likewise.
        never_rate: share of the barge-ins that are never heard.
        silence_s: seconds in which nobody speaks, all together.
        false_per_minute: false barge-ins per minute of that silence.
    """

    num_turns: int
    num_spoken_over: int
    delay_p50_s: float | None
    delay_p90_s: float | None
    never_rate: float | None
    silence_s: float
    false_per_minute: float | None


def barge_in_figures(calls: Sequence[HeadInCall], speaks_above: float) -> BargeInFigures:
    """Return the figures over all turns and silences of `calls`, of an agent that speaks once the head is above `speaks_above`."""
    delays_s: list[float] = []
    num_turns, num_false, silent_rows = 0, 0, 0
    for call in calls:
        speaks, falls = _agent_in(call.level, speaks_above)
        onsets = [first_row_known_at(onset_s - ALIGNER_S) for onset_s, _ in call.turns]
        ends = [first_row_known_at(end_s + NOTICED_WITHIN_S) for _, end_s in call.turns]
        num_turns += len(onsets) - 1
        for (onset_s, _), first, stop in list(zip(call.turns, onsets, ends, strict=True))[1:]:
            if speaks[first - 1]:
                row = next((row for row in falls if first <= row < stop), None)
                delays_s.append(math.inf if row is None else max(0.0, frame_heard_s(row) - onset_s))
        for first, stop in zip(ends, [*onsets[1:], len(call.level)], strict=True):
            num_false += sum(first <= row < stop for row in falls)
            silent_rows += max(stop - first, 0)
    ordered, silence_s = np.sort(delays_s), silent_rows * FRAME_S
    return BargeInFigures(
        num_turns=num_turns,
        num_spoken_over=len(delays_s),
        delay_p50_s=float(sorted_quantile(ordered, 0.5)) if delays_s else None,
        delay_p90_s=float(sorted_quantile(ordered, 0.9)) if delays_s else None,
        never_rate=float(np.isinf(ordered).mean()) if delays_s else None,
        silence_s=silence_s,
        false_per_minute=60 * num_false / silence_s if silent_rows else None,
    )


def _agent_in(level: np.ndarray, speaks_above: float) -> tuple[list[bool], list[int]]:
    """Return whether the agent speaks after each row [T], and the rows with which the head falls and stops it."""
    speaks, falls, is_speaking = [], [], False
    for row, prob in enumerate(level.tolist()):
        if is_speaking and prob < BARGE_IN_BELOW:
            falls.append(row)
            is_speaking = False
        else:
            is_speaking = is_speaking or prob > speaks_above
        speaks.append(is_speaking)
    return speaks, falls
