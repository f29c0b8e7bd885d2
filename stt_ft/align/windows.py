"""Cut a long sound into windows that Whisper can hear: where nobody speaks, if there is such a place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stt_ft.align.placing import STEP_S, presence
from stt_ft.core.timing import num_samples

SHORTEST_S, LONGEST_S = 6.0, 15.0
"""A window ends within these bounds, at the longest silence there is. In longer ones attention now and then loses its way by seconds."""

REAL_SILENCE_S = 0.15
"""What is quiet for so long parts words; the closure of a "t" is shorter."""

_LONG_SILENCE_S = 3.0  # always ends a window: Whisper makes up text for silence
_EDGE_S = 0.3  # silence kept around a window's sound
_HEARD = 0.1  # presence, as in `placing`
_LEAST_SOUND_S = 0.15  # less is a click


@dataclass(frozen=True, kw_only=True)
class Window:
    """A stretch of a clip, in seconds; `cuts_speech` where no silence was found to end it in."""

    start_s: float
    end_s: float
    cuts_speech: bool = False

    def of(self, samples: np.ndarray) -> np.ndarray:
        return samples[num_samples(self.start_s) : num_samples(self.end_s)]


def windows_of(samples: np.ndarray) -> list[Window]:
    """Return the windows of a sound, in order, apart or touching; none holds nothing but silence."""
    heard = np.convolve(np.pad(presence(samples), 2, mode="edge"), np.full(5, 0.2), mode="valid")
    is_loud = heard >= _HEARD
    windows = []
    begin, end = 0, len(heard)
    while begin < end:
        stop, cuts_speech = _stop(heard, begin)
        loud = begin + np.flatnonzero(is_loud[begin:stop])
        if len(loud) * STEP_S >= _LEAST_SOUND_S:
            first = max(begin, int(loud[0]) - round(_EDGE_S / STEP_S))
            last = min(stop, int(loud[-1]) + 1 + round(_EDGE_S / STEP_S))
            windows.append(Window(start_s=round(first * STEP_S, 2), end_s=round(last * STEP_S, 2), cuts_speech=cuts_speech))
        begin = stop
    return windows


def _stop(heard: np.ndarray, begin: int) -> tuple[int, bool]:
    """Return the step at which a window that begins at `begin` ends, and whether that is no silence."""
    shortest, longest = (round(seconds / STEP_S) for seconds in (SHORTEST_S, LONGEST_S))
    quiet = np.flatnonzero(np.diff(np.concatenate([[0], heard[begin : begin + longest] < _HEARD, [0]])))
    silences = [(int(first), int(last)) for first, last in zip(quiet[::2], quiet[1::2], strict=True)]
    for first, last in silences:
        if first > 0 and (last - first) * STEP_S >= _LONG_SILENCE_S:
            return begin + (first + last) // 2, False
    if begin + longest >= len(heard):
        return len(heard), False
    late = [(first, last) for first, last in silences if last > shortest and (last - first) * STEP_S >= REAL_SILENCE_S]
    if late:
        first, last = max(late, key=lambda silence: silence[1] - silence[0])
        return begin + (first + last) // 2, False
    quietest = np.convolve(heard[begin + shortest : begin + longest], np.ones(5), mode="same")
    return begin + shortest + int(np.argmin(quietest)), True
