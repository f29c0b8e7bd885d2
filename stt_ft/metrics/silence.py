"""When an agent that only listens for silence would end the turn: the rule of every voice activity detector.

Speech begins with the first step whose probability of speech reaches the threshold; silence begins with the first one after that which lies
0.15 below it, and ends with the next that reaches it again. Source: `VADIterator` of silero-vad (`silero_vad/utils_vad.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stt_ft.core.timing import frame_heard_s

SILENCE_RULES_S = (0.5, 1.0, 2.0)
"""Seconds of silence after which an agent ends the turn: what frameworks ship, and twice and four times that."""

SPEECH_THRESHOLD = 0.5
_HYSTERESIS = 0.15
_TICK_S = 1e-6


def silent_for_s(speech_probs: Sequence[float] | np.ndarray, step_s: float, threshold: float = SPEECH_THRESHOLD) -> np.ndarray:
    """Return [N]: for how long, at the end of each step, there has been silence since someone spoke; 0 while nobody has."""
    silent_s = np.zeros(len(speech_probs))
    has_spoken, began = False, None
    for step, prob in enumerate(np.asarray(speech_probs, dtype=np.float64)):
        if prob >= threshold:
            has_spoken, began = True, None
        elif has_spoken and began is None and prob < threshold - _HYSTERESIS:
            began = step
        silent_s[step] = 0.0 if began is None else (step - began) * step_s
    return silent_s


def turn_rows(silent_s: np.ndarray, step_s: float, num_rows: int, rules_s: Sequence[float] = SILENCE_RULES_S) -> np.ndarray:
    """Return [num_rows, rules] as pause heads would say it: 1 where a row of 80 ms ends with a rule's silence fulfilled, else 0."""
    last_steps = [int(frame_heard_s(row) / step_s + _TICK_S) - 1 for row in range(num_rows)]
    heard_s = np.array([silent_s[min(step, len(silent_s) - 1)] if step >= 0 and len(silent_s) else 0.0 for step in last_steps])
    return (heard_s[:, None] >= np.asarray(rules_s)[None] - _TICK_S).astype(np.float64)
