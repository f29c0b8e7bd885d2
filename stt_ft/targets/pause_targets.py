"""What the four pause heads should have said at every frame, derived from where words begin.

Head `k` looks `HORIZONS_S[k]` seconds ahead. Its class 0 means a pause: no word begins in that time. What the classes 1 to 5 mean is not
documented upstream; `count` reads them as the number of words to come, capped at 5, `binary` leaves them alone. See docs/vad.md.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from stt_ft.core.timing import FRAME_RATE_HZ

HORIZONS_S = (0.5, 1.0, 2.0, 3.0)
"""How far ahead each head looks, in seconds."""

MAX_PAUSE_LAG_S = 0.5
"""Longest lag of the heads' clock behind the sound, in seconds: that of Kyutai's 1b model, whose heads keep to its text stream. The text of
2.6b is 2.5 s late: heads that kept to it would say what has long been heard, and let a caller wait for 2 s, as a timer of 2 s does."""

PauseTargetKind = Literal["binary", "count"]


def words_ahead(onset_frames: npt.NDArray[np.int64], num_frames: int, horizon_s: float) -> npt.NDArray[np.int64]:
    """Count, for each frame `t`, the words that begin in `(t, t + horizon]`.

    Args:
        onset_frames: frames in which words begin, ascending [num_words]; those at or past `num_frames` count as words to come.
        num_frames: length T of the stream.
        horizon_s: how far ahead to look, in seconds.

    Returns:
        Counts [T].
    """
    frames = np.arange(num_frames)
    begun = np.searchsorted(onset_frames, frames, side="right")
    begun_by_horizon = np.searchsorted(onset_frames, frames + horizon_s * FRAME_RATE_HZ, side="right")
    return (begun_by_horizon - begun).astype(np.int64)


def still_sounding(onset_frames: npt.NDArray[np.int64], sound_end_frames: npt.NDArray[np.int64], num_frames: int) -> npt.NDArray[np.bool_]:
    """Say, for each frame [T], whether a word whose text has begun has not been heard to its end: nobody ends a turn inside a word."""
    frames = np.arange(num_frames)
    latest_end = np.concatenate([[0], np.maximum.accumulate(sound_end_frames)])
    return frames < latest_end[np.searchsorted(onset_frames, frames, side="right")]


def pause_targets(
    onset_frames: npt.NDArray[np.int64],
    sound_end_frames: npt.NDArray[np.int64],
    num_frames: int,
    *,
    kind: PauseTargetKind = "binary",
    num_classes: int = 6,
) -> npt.NDArray[np.int64]:
    """Return the target class of every frame and head [T, 4].

    `binary`: 0 for a pause, 1 for anything else (to be read as "not class 0"). `count`: the words ahead, at most `num_classes - 1`. A word
    that still sounds counts as one ahead. The frames of words are those of a `TextStream`.
    """
    cap = 1 if kind == "binary" else num_classes - 1
    sounding = still_sounding(onset_frames, sound_end_frames, num_frames)
    ahead = [np.maximum(words_ahead(onset_frames, num_frames, horizon_s), sounding) for horizon_s in HORIZONS_S]
    return np.minimum(np.stack(ahead, axis=-1), cap)
