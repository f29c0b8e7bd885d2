"""What every aligner takes and gives: a sound and the ways of saying its text in; words with times, confidence and a score out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from stt_ft.core.doubts import Rival
from stt_ft.text.lattice import Lattice


@dataclass(frozen=True, kw_only=True)
class AlignedWord:
    """A word where it was heard, in seconds from the start of the sound; confidence from 0 to 1."""

    text: str
    start_s: float
    end_s: float
    confidence: float


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A stretch of a clip, in seconds, in which the sound does not fit the script: what is written there, and what was heard instead."""

    start_s: float
    end_s: float
    script: str
    heard: str


class Aligner(Protocol):
    """Finds when each word of a known text is spoken."""

    def align(self, samples: np.ndarray, lattices: Sequence[Lattice]) -> list[list[AlignedWord]]:
        """Return the words heard for each lattice, in order in `samples` (mono, 24 kHz); raises `AlignmentError` if they do not fit."""
        ...

    def rivals(self, samples: np.ndarray, lattices: Sequence[Lattice], said: Sequence[Sequence[str]]) -> list[Rival | None]:
        """Return for each lattice the reading that fits `samples` best beside the one `said`; None where there is no other."""
        ...
