"""Word and character errors by edit alignment (jiwer), on the transcript as it is written and on its scoring form.

The scoring form drops case and punctuation and nothing else: a number written as "129" and the same one written as "one two nine" differ,
for that difference is what this project changes. Rates are errors (substituted, dropped and inserted) per word of the reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jiwer

from stt_ft.text.written_style import scoring_words


@dataclass(frozen=True, kw_only=True)
class EditCounts:
    """One clip's reference against its transcript: counts of units (words or characters) by what became of them.

    Attributes:
        replaced: the substituted words as (reference, transcript), in order; empty for characters.
        matched: indices (reference, transcript) of the words that agree; empty for characters.
    """

    hits: int
    substitutions: int
    deletions: int
    insertions: int
    replaced: tuple[tuple[str, str], ...] = ()
    matched: tuple[tuple[int, int], ...] = ()

    @property
    def num_errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def num_reference(self) -> int:
        return self.hits + self.substitutions + self.deletions


def scoring_form(words: Sequence[str]) -> list[str]:
    """Return the words of a transcript in the form they are scored in."""
    return scoring_words(" ".join(words))


def word_errors(reference: Sequence[str], transcript: Sequence[str]) -> EditCounts:
    """Align two lists of words, compared as they are, and count their differences. Either may be empty."""
    if not reference or not transcript:
        return EditCounts(hits=0, substitutions=0, deletions=len(reference), insertions=len(transcript))
    numbered = _numbered([*reference, *transcript])  # jiwer splits at white space; a number a word keeps every word whole
    aligned = jiwer.process_words(" ".join(numbered[: len(reference)]), " ".join(numbered[len(reference) :]))
    matched: list[tuple[int, int]] = []
    replaced: list[tuple[str, str]] = []
    for chunk in aligned.alignments[0]:
        pairs = zip(range(chunk.ref_start_idx, chunk.ref_end_idx), range(chunk.hyp_start_idx, chunk.hyp_end_idx), strict=False)
        if chunk.type == "equal":
            matched += pairs
        elif chunk.type == "substitute":
            replaced += [(reference[left], transcript[right]) for left, right in pairs]
    return EditCounts(
        hits=aligned.hits,
        substitutions=aligned.substitutions,
        deletions=aligned.deletions,
        insertions=aligned.insertions,
        replaced=tuple(replaced),
        matched=tuple(matched),
    )


def character_errors(reference: Sequence[str], transcript: Sequence[str]) -> EditCounts:
    """Count the differing characters of two transcripts, words joined by one space."""
    left, right = " ".join(reference), " ".join(transcript)
    if not left or not right:
        return EditCounts(hits=0, substitutions=0, deletions=len(left), insertions=len(right))
    aligned = jiwer.process_characters(left, right)
    return EditCounts(hits=aligned.hits, substitutions=aligned.substitutions, deletions=aligned.deletions, insertions=aligned.insertions)


def _numbered(words: Sequence[str]) -> list[str]:
    numbers: dict[str, str] = {}
    return [numbers.setdefault(word, str(len(numbers))) for word in words]
