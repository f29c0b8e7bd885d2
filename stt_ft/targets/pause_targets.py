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


def pause_targets(
    onset_frames: npt.NDArray[np.int64], num_frames: int, *, kind: PauseTargetKind = "binary", num_classes: int = 6
) -> npt.NDArray[np.int64]:
    """Return the target class of every frame and head [T, 4].

    `binary`: 0 for a pause, 1 for anything else (to be read as "not class 0"). `count`: the words ahead, at most `num_classes - 1`.
    """
    cap = 1 if kind == "binary" else num_classes - 1
    return np.stack([np.minimum(words_ahead(onset_frames, num_frames, horizon_s), cap) for horizon_s in HORIZONS_S], axis=-1)
