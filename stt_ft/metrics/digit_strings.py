"""Digit strings: whether the digits came through, whatever their form, and in which form they were written.

A clip's digit string is all the digits its words say, in order ("order four double five oh" and "order 4550" both give "4550", "seven
eighty eight" and "788" give "788", "A one B two" and "A1B2" give "12"), so a transcript is right when its string equals the reference's.
`text.inverse.said_digits` reads both. The digit error rate is Levenshtein's distance per reference digit; of its operations, two are named
apart: a digit inserted beside its like is *doubled*, and two neighbours that changed places are *swapped* (one swap, two errors, as
Levenshtein has it).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stt_ft.text.inverse.said_digits import said_digits
from stt_ft.text.inverse.vocabulary import says_number
from stt_ft.text.inverse.written_numbers import WrittenToken

FORMS = ("words", "digits", "mixed", "none")


def written_form(words: Sequence[str]) -> str:
    """Return how `words` write their digits: "words", "digits" (glyphs), "mixed", or "none" when they say no digit."""
    return _form(words, said_digits(words))


def _form(words: Sequence[str], runs: Sequence[WrittenToken]) -> str:
    in_glyphs = [any(glyph.isdecimal() for glyph in word) for run in runs for word in words[run.start : run.stop] if says_number(word)]
    if not in_glyphs:
        return "none"
    return "digits" if all(in_glyphs) else "mixed" if any(in_glyphs) else "words"


@dataclass(frozen=True, kw_only=True)
class DigitEdits:
    """How one digit string became another.

    Attributes:
        swapped: neighbours that changed places; each counts for two errors.
        inserted: digits that have no like in the reference beside them; those that have are `doubled`.
        error_positions: index in the reference of each error, an insertion counting at the digit that it precedes.
    """

    num_reference: int
    substituted: int = 0
    dropped: int = 0
    inserted: int = 0
    doubled: int = 0
    swapped: int = 0
    error_positions: tuple[int, ...] = ()

    @property
    def num_errors(self) -> int:
        return self.substituted + self.dropped + self.inserted + self.doubled + 2 * self.swapped


@dataclass(frozen=True, kw_only=True)
class DigitScore:
    """One clip's digit string in reference and transcript, and what lies between them."""

    reference: str
    transcript: str
    form: str
    edits: DigitEdits

    @property
    def is_exact(self) -> bool:
        return self.reference == self.transcript

    @property
    def keeps_leading_zeros(self) -> bool:
        """Whether the transcript begins with as many zeros as the reference."""
        return _num_leading_zeros(self.reference) == _num_leading_zeros(self.transcript)


def score_digits(reference: Sequence[str], transcript: Sequence[str]) -> DigitScore:
    """Compare the digits that two lists of words say."""
    return score_read_digits(transcript, said=said_digits(reference), heard=said_digits(transcript))


def score_read_digits(transcript: Sequence[str], *, said: Sequence[WrittenToken], heard: Sequence[WrittenToken]) -> DigitScore:
    """Compare digits that have been read: those of the reference, and those of `transcript`."""
    wanted, written = ("".join(run.digits for run in read) for read in (said, heard))
    return DigitScore(reference=wanted, transcript=written, form=_form(transcript, heard), edits=digit_edits(wanted, written))


def digit_edits(reference: str, transcript: str) -> DigitEdits:
    """Return a shortest way from `reference` to `transcript`; of equally short ones, one with a swap, then the one with most in place."""
    cost = _edit_costs(reference, transcript)
    counts = dict.fromkeys(("substituted", "dropped", "inserted", "doubled", "swapped"), 0)
    positions: list[int] = []
    i, j = len(reference), len(transcript)
    while i or j:
        if i >= 2 and j >= 2 and _is_swap(reference, transcript, i, j) and cost[i][j] == cost[i - 2][j - 2] + 2:
            counts["swapped"] += 1
            positions += [i - 1, i - 2]
            i, j = i - 2, j - 2
        elif i and j and cost[i][j] == cost[i - 1][j - 1] + (reference[i - 1] != transcript[j - 1]):
            i, j = i - 1, j - 1
            if reference[i] != transcript[j]:
                counts["substituted"] += 1
                positions.append(i)
        elif j and cost[i][j] == cost[i][j - 1] + 1:
            j -= 1
            beside = transcript[max(j - 1, 0) : j] + transcript[j + 1 : j + 2]
            counts["doubled" if transcript[j] in beside and transcript[j] in reference[max(i - 1, 0) : i + 1] else "inserted"] += 1
            positions.append(i)
        else:
            i -= 1
            counts["dropped"] += 1
            positions.append(i)
    return DigitEdits(num_reference=len(reference), error_positions=tuple(sorted(positions)), **counts)


def _is_swap(reference: str, transcript: str, i: int, j: int) -> bool:
    """Return whether the two digits that end at `i` and `j` changed places."""
    return reference[i - 2 : i] == transcript[j - 2 : j][::-1] and reference[i - 1] != reference[i - 2]


def _edit_costs(reference: str, transcript: str) -> list[list[int]]:
    """Return Levenshtein's table: cost[i][j] from the first i digits to the first j."""
    cost = [[i + j if not i or not j else 0 for j in range(len(transcript) + 1)] for i in range(len(reference) + 1)]
    for i, said in enumerate(reference, start=1):
        for j, heard in enumerate(transcript, start=1):
            cost[i][j] = min(cost[i - 1][j - 1] + (said != heard), cost[i - 1][j] + 1, cost[i][j - 1] + 1)
    return cost


def _num_leading_zeros(digits: str) -> int:
    return len(digits) - len(digits.lstrip("0"))
