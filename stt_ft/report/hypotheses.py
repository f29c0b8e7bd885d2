"""Which labels a model's heads seem to have been taught, for report.json: see metrics/label_hypotheses.py and docs/vad.md."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from stt_ft.core.timing import frame_at
from stt_ft.metrics.label_hypotheses import HeadEvidence, best_hypothesis, fit_hypotheses
from stt_ft.report.frames import ClipFrames

CLOCK_TITLES = {"sound": "where it is spoken", "text": "a text lag later", "written": "where the model writes it"}


def taught(found: dict[str, Any]) -> str:
    """Say what the heads keep to: `found` is one model's part of report.json."""
    if found["clock"] is None:
        return "none of these labels"
    classes = {None: "", "count": "; the other classes count words", "binary": "; the other classes do not count words"}[found["classes"]]
    return f"a word begins {CLOCK_TITLES[found['clock']]}{classes}"


def label_hypotheses(frames: Sequence[ClipFrames]) -> dict[str, Any] | None:
    """Return the fit of every clock and head, and the best; None for frames that do not know their text lag."""
    evidence = [_evidence(one, one.text_lag_s) for one in frames if one.text_lag_s is not None]
    if not evidence or evidence[0].pause.shape[1] == 0:
        return None
    fits = fit_hypotheses(evidence)
    clock, classes = best_hypothesis(fits)
    rows = [
        {
            "clock": fit.clock,
            "head": fit.head,
            "binary_explained": _finite(fit.binary_explained),
            "count_explained": _finite(fit.count_explained),
        }
        for fit in fits
    ]
    return {"clock": clock, "classes": classes, "fits": rows}


def _evidence(frames: ClipFrames, text_lag_s: float) -> HeadEvidence:
    spoken_s, written_s = sorted(word.start_s for word in frames.reference), sorted(word.start_s for word in frames.words)
    return HeadEvidence(
        pause=frames.pause,
        word_classes=frames.classes,
        onset_frames={
            "sound": [frame_at(start_s) for start_s in spoken_s],
            "text": [frame_at(start_s + text_lag_s) for start_s in spoken_s],
            "written": [frame_at(start_s + text_lag_s) for start_s in written_s],  # a heard word starts at its first token, less the lag
        },
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
