"""When each word is said in a sound whose words are known: an aligner asked for one sound at a time, and trusted only where it is sure."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stt_ft.align.batch import AlignmentJob, Work
from stt_ft.audio.files import write_wav
from stt_ft.core.errors import AlignmentError

LEAST_CONFIDENCE = {"sphinx": 0.35, "whisper": 0.005}
"""Aligner -> confidence below which a word was not said, or not there.

Of 80 prompts by a neural voice, sphinx placed the least sure word below 0.31 in one of twenty; of 50 with one digit of the script wrong,
below 0.33 in nine of ten, and Whisper heard 49 of those itself.
"""


class KnownWords:
    """Times words of one language by the aligner behind `work`."""

    def __init__(self, work: Work, *, language: str) -> None:
        self._work = work
        self._language = language
        self._least_confidence = LEAST_CONFIDENCE[str(work.provenance["aligner"])]

    def times_of(self, samples: np.ndarray, words: Sequence[str]) -> list[tuple[float, float]]:
        """Return start and end of each word in seconds.

        Args:
            samples: mono sound at 24 kHz.
            words: what is said in it, in order, no marks, numbers in words.

        Raises:
            AlignmentError: the words do not fit the sound, or the aligner hears something else.
        """
        with tempfile.TemporaryDirectory(prefix="stt-ft-") as directory:
            path = Path(directory) / "said.wav"
            write_wav(path, samples)
            job = AlignmentJob(clip_id="said", audio_path=path, script=" ".join(words), language=self._language)
            (result,) = self._work.results([job])
        if result.fault:
            raise AlignmentError(result.fault)
        if result.mismatch or result.left_out or len(result.words) != len(words):
            raise AlignmentError(f"{' '.join(words)!r} is not what was heard")
        unsure = min(result.words, key=lambda word: word.confidence)
        if unsure.confidence < self._least_confidence:
            raise AlignmentError(f"{unsure.written!r} was not heard (confidence {unsure.confidence:.2f})")
        return [(word.start_s, word.end_s) for word in result.words]
