"""The two ends of every aligner: clips and their scripts go in; words with times come out, or the reason why there are none."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from stt_ft.audio.files import write_wav
from stt_ft.core.errors import AlignmentError
from stt_ft.core.storage import Readable
from stt_ft.dataset.doubts import Rival
from stt_ft.dataset.sidecar import Word
from stt_ft.text.lattice import fixed
from stt_ft.text.spoken_forms import LANGUAGES, SpokenToken, spoken_tokens

LEAST_CONFIDENCE = {"sphinx": 0.35, "whisper": 0.005}
"""Aligner -> confidence below which a word was not said, or not there.

Of 80 prompts by a neural voice, sphinx placed the least sure word below 0.31 in one of twenty; of 50 with one digit of the script wrong,
below 0.33 in nine of ten, and Whisper heard 49 of those itself.
"""


@dataclass(frozen=True, kw_only=True)
class AlignedWord(Word):
    """A word where an aligner placed it, with a confidence from 0 to 1."""

    confidence: float


@dataclass(frozen=True, kw_only=True)
class ScriptWord(AlignedWord):
    """A token of a script, in `text` as it is written, where an aligner placed it.

    Attributes:
        spoken: the words that were said for it, where they are not the token itself.
        rival: the reading that came second.
    """

    spoken: tuple[AlignedWord, ...] | None = None
    rival: Rival | None = None


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A stretch of a clip, in seconds, in which the sound does not fit the script: the words of the script there, and the words heard."""

    start_s: float
    end_s: float
    script: str
    heard: str


@dataclass(frozen=True, kw_only=True)
class AlignmentJob:
    """One clip to align with its script, or to transcribe where it has none."""

    clip_id: str
    audio_path: Readable
    script: str | None
    language: str


@dataclass(frozen=True, kw_only=True)
class AlignmentResult:
    """The words of one clip, or in `fault` why there are none.

    Attributes:
        mismatch: the script, the words heard instead, and the confidence in them; None where both agree.
        left_out: stretches that do not fit the script at all; no words of theirs, written or heard, are among `words`.
    """

    clip_id: str
    words: tuple[ScriptWord, ...] = ()
    fault: str = ""
    mismatch: dict[str, Any] | None = None
    left_out: tuple[LeftOut, ...] = ()


class Work(Protocol):
    """A way to align or transcribe many clips."""

    @property
    def provenance(self) -> dict[str, Any]:
        """All that decides words and times: aligner, versions, model and options."""
        ...

    def results(self, jobs: Sequence[AlignmentJob]) -> Iterator[AlignmentResult]:
        """Yield one result for each job, in any order, as they come."""
        ...


def known_word_times(samples: np.ndarray, words: Sequence[str], *, work: Work, language: str) -> list[tuple[float, float]]:
    """Return start and end in seconds of each word of a sound whose words are known, where the aligner is sure of them.

    Args:
        samples: mono sound at 24 kHz.
        words: the words said, in order, no marks, numbers in words.

    Raises:
        AlignmentError: the words do not fit the sound, or the aligner hears something else.
    """
    with tempfile.TemporaryDirectory(prefix="stt-ft-") as directory:
        path = Path(directory) / "said.wav"
        write_wav(path, samples)
        (result,) = work.results([AlignmentJob(clip_id="said", audio_path=path, script=" ".join(words), language=language)])
    if result.fault:
        raise AlignmentError(result.fault)
    if result.mismatch or result.left_out or len(result.words) != len(words):
        raise AlignmentError(f"{' '.join(words)!r} is not what was heard")
    unsure = min(result.words, key=lambda word: word.confidence)
    if unsure.confidence < LEAST_CONFIDENCE[str(work.provenance["aligner"])]:
        raise AlignmentError(f"{unsure.text!r} was not heard (confidence {unsure.confidence:.2f})")
    return [(word.start_s, word.end_s) for word in result.words]


def script_tokens(script: str, *, language: str) -> list[SpokenToken]:
    """Return the tokens of `script` with the ways of saying them; in a language whose numbers are not known, each as it is written.

    Raises:
        AlignmentError: the script holds no words.
        TextError: a token cannot be read aloud.
    """
    written = script.split()
    if not any(glyph.isalnum() for glyph in script):
        raise AlignmentError(f"the script {script[:60]!r} holds no words")
    if language not in LANGUAGES:
        return [SpokenToken(start=index, stop=index + 1, written=(word,), lattice=fixed([word])) for index, word in enumerate(written)]
    return spoken_tokens(written, language=language, style="auto")


def script_words(
    tokens: Sequence[SpokenToken], aligned: Sequence[Sequence[AlignedWord]], rivals: Sequence[Rival | None]
) -> tuple[ScriptWord, ...]:
    """Return one entry for each token that has words in `aligned`; the others are marks without a sound.

    Args:
        aligned: for each token the words that were heard.
        rivals: for each token the reading that came second, or None.
    """
    return tuple(
        ScriptWord(
            text=" ".join(token.written),
            start_s=heard[0].start_s,
            end_s=heard[-1].end_s,
            confidence=min(word.confidence for word in heard),
            spoken=None if token.is_same else tuple(heard),
            rival=rival,
        )
        for token, heard, rival in zip(tokens, aligned, rivals, strict=True)
        if heard
    )
