"""Errors of a transcript against the reference, and its style.

Word and character errors are counted along Levenshtein's alignment (rapidfuzz), on the transcript as it is written and on its scoring form.
The scoring form drops case and punctuation and nothing else: a number written as "129" and the same one written as "one two nine" differ,
for that difference is what this project changes. Rates are errors (substituted, dropped and inserted) per word of the reference.

A tuned model that forgets capitals and full stops has forgotten the style of the base. A full stop at a hesitation misleads agents that
look for the end of a sentence: they answer there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rapidfuzz.distance import Levenshtein

from stt_ft.text.written_style import ends_sentence, scoring_words


@dataclass(frozen=True, kw_only=True)
class EditCounts:
    """One clip's reference against its transcript: counts of units (words or characters) by what became of them.

    Attributes:
        replaced: the substituted units as (reference, transcript), in order.
        matched: indices (reference, transcript) of the units that agree.
    """

    deletions: int
    insertions: int
    replaced: tuple[tuple[str, str], ...] = ()
    matched: tuple[tuple[int, int], ...] = ()

    @property
    def num_errors(self) -> int:
        return len(self.replaced) + self.deletions + self.insertions

    @property
    def num_reference(self) -> int:
        return len(self.matched) + len(self.replaced) + self.deletions


def scoring_form(words: Sequence[str]) -> list[str]:
    """Return the words of a transcript in the form they are scored in."""
    return scoring_words(" ".join(words))


def word_errors(reference: Sequence[str], transcript: Sequence[str]) -> EditCounts:
    """Align two lists of words, compared as they are, and count their differences. Either may be empty."""
    counts, matched, replaced = {"delete": 0, "insert": 0}, [], []
    for edit in Levenshtein.opcodes(reference, transcript):
        said, heard = range(edit.src_start, edit.src_end), range(edit.dest_start, edit.dest_end)
        if edit.tag == "equal":
            matched += zip(said, heard, strict=True)
        elif edit.tag == "replace":
            replaced += [(reference[left], transcript[right]) for left, right in zip(said, heard, strict=True)]
        else:
            counts[edit.tag] += len(said) + len(heard)
    return EditCounts(deletions=counts["delete"], insertions=counts["insert"], replaced=tuple(replaced), matched=tuple(matched))


@dataclass(frozen=True, kw_only=True)
class CharacterErrors:
    """Characters that differ, and characters of the reference."""

    num_errors: int
    num_reference: int


def character_errors(reference: Sequence[str], transcript: Sequence[str]) -> CharacterErrors:
    """Count the differing characters of two transcripts, words joined by one space."""
    said = " ".join(reference)
    return CharacterErrors(num_errors=Levenshtein.distance(said, " ".join(transcript)), num_reference=len(said))


def is_written_as_sentence(words: Sequence[str]) -> bool:
    """Return whether a transcript begins with a capital and ends with a full stop, question or exclamation mark.

    What has no capital form (a digit, an apostrophe before it) is passed over, so "129." is a sentence; a transcript without words is none.
    """
    first = next((character for word in words for character in word if character.isalnum()), None)
    return first is not None and not first.islower() and ends_sentence(words[-1])


def num_early_stops(words: Iterable[tuple[str, float]], speech_end_s: float) -> int:
    """Return how many of `words` (text, and second in which it appeared) end a sentence before `speech_end_s`, the end of the speech."""
    return sum(ends_sentence(text) and appeared_s < speech_end_s for text, appeared_s in words)
