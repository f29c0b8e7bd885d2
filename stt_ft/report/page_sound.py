"""A clip's sound as a page of clips carries it: its outline to draw, and something to play."""

from __future__ import annotations

import base64
import io
import os
from pathlib import Path
from urllib.parse import quote

import numpy as np
import soundfile

from stt_ft.core.timing import SAMPLE_RATE_HZ

PEAKS_PER_S = 100
"""Points a second of a drawn outline: one a pixel when nine seconds fill a wide screen."""

EMBED_LIMIT_BYTES = 32_000_000
"""Sound beyond this is linked by relative path instead of carried in the page."""


class PageSounds:
    """Gives each clip of a page the source of its sound, carried in the page as long as that stays small."""

    def __init__(self, page_dir: Path) -> None:
        self._page_dir = page_dir
        self._num_bytes = 0

    def source(self, path: Path, samples: np.ndarray) -> str:
        """Return a data URI of `samples`, or the sound file's address as the page sees it."""
        if self._num_bytes >= EMBED_LIMIT_BYTES:
            return quote(Path(os.path.relpath(path, self._page_dir)).as_posix())
        source = _data_uri(samples)
        self._num_bytes += len(source)
        return source


def outline(samples: np.ndarray) -> list[int]:
    """Return the loudest sample of each hundredth of a second, in hundredths of the clip's loudest."""
    step = SAMPLE_RATE_HZ // PEAKS_PER_S
    padded = np.pad(np.abs(samples), (0, -len(samples) % step)).reshape(-1, step).max(axis=1)
    return np.round(100 * padded / max(float(padded.max()), 1e-6)).astype(int).tolist()


def _data_uri(samples: np.ndarray) -> str:
    """Return the sound as an MP3 data URI: every browser plays it, and libsndfile's carries no delay."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(samples, -1, 1), SAMPLE_RATE_HZ, format="MP3", subtype="MPEG_LAYER_III", compression_level=0.9)
    return "data:audio/mpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
