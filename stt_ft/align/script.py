"""Align a written script: each of its tokens with the span of its sound, and for numbers the words that were said and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stt_ft.align.aligned_word import AlignedWord, Aligner
from stt_ft.core.doubts import Rival
from stt_ft.core.errors import AlignmentError
from stt_ft.text.lattice import fixed
from stt_ft.text.spoken_forms import LANGUAGES, SpokenToken, spoken_tokens


@dataclass(frozen=True, kw_only=True)
class ScriptWord:
    """A written token where it was heard; `spoken` holds what was said for it when that is not the token itself, `rival` what came next."""

    written: str
    start_s: float
    end_s: float
    confidence: float
    spoken: tuple[AlignedWord, ...] | None = None
    rival: Rival | None = None


def align_script(aligner: Aligner, samples: np.ndarray, script: str, *, language: str) -> list[ScriptWord]:
    """Return the tokens of `script` with their times in `samples`; tokens of marks alone are left out.

    Numbers may be said in any of their readings; the one that fits the sound is taken.

    Raises:
        AlignmentError: the script is empty or does not fit the sound.
        TextError: a token cannot be read aloud.
    """
    tokens = script_tokens(script, language=language)
    lattices = [token.lattice for token in tokens]
    aligned = aligner.align(samples, lattices)
    return script_words(tokens, aligned, aligner.rivals(samples, lattices, [[word.text for word in words] for words in aligned]))


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
    tokens: Sequence[SpokenToken], aligned: Sequence[Sequence[AlignedWord]], rivals: Sequence[Rival | None] = ()
) -> list[ScriptWord]:
    """Return one entry a token from the words that were heard for it; tokens for which nothing was heard are marks, and are left out.

    Args:
        rivals: for each token the reading that came second, or nothing at all.
    """
    return [
        ScriptWord(
            written=" ".join(token.written),
            start_s=heard[0].start_s,
            end_s=heard[-1].end_s,
            confidence=min(word.confidence for word in heard),
            spoken=None if token.is_same else tuple(heard),
            rival=rival,
        )
        for token, heard, rival in zip(tokens, aligned, rivals or [None] * len(tokens), strict=True)
        if heard
    ]
