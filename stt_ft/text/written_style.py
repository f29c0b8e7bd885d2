"""Habits of writing, laid over plain words by their place: capitals, commas, full stops; and words without them, to be compared. Pure.

    WrittenStyle(capital=True, commas=True, stop=True).write(["one", "two", "nine"], [True] * 3) == ["One,", "two,", "nine."]

A style is a rule, not a text: words that are drawn anew, cut short or said by another clip are written by it again, so that the full stop
always stands after the last word and no comma after the last word of a number.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, fields

from stt_ft.text.digit_words import is_repeat_word

SENTENCE_ENDS = (".", "?", "!", "\u2026")
"""Marks that end a sentence."""

_ABBREVIATION = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]")  # "a.m" of "a.m."
_MARKS = ".,;:?!\u2026"
_I_FORMS = frozenset(f"i{rest}" for rest in ("", *(f"{mark}{rest}" for mark in "'\u2019" for rest in ("m", "d", "ll", "ve"))))

_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_DECIMAL_COMMA = re.compile(r"(?<=\d),(?=\d)")
_APOSTROPHES = re.compile("[\u2018\u2019\u02bc\u0060\u00b4\uff07]")
_WORD = re.compile(r"(?:\d+(?:\.\d+)+)|(?:[^\W_]|[\u0300-\u036f])+(?:'(?:[^\W_]|[\u0300-\u036f])+)*'?")


@dataclass(frozen=True, kw_only=True)
class WrittenStyle:
    """How a sentence is written; without any of these habits, in plain words.

    Attributes:
        capital: its first word begins with a capital.
        capital_i: so does "i", alone and in "i'm".
        commas: one stands after every word of a number that another follows, but for "double" and its like.
        stop: a full stop stands after the last word.
    """

    capital: bool = False
    capital_i: bool = False
    commas: bool = False
    stop: bool = False

    @property
    def name(self) -> str:
        """The habits, joined by +: "capital+commas+stop"; "plain" without any."""
        return "+".join(field.name for field in fields(self) if getattr(self, field.name)) or "plain"

    @classmethod
    def named(cls, name: str) -> WrittenStyle:
        """Return the style of this `name`; raises `ValueError` when there is none."""
        habits = {} if name == "plain" else dict.fromkeys(name.split("+"), True)
        unknown = set(habits) - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"no such habit of writing: {', '.join(sorted(unknown))}")
        return cls(**habits)

    def write(self, words: Sequence[str], in_number: Sequence[bool], *, is_whole: bool = True) -> list[str]:
        """Return `words` as this style writes them, one text a word; marks and capitals of sentences that they bear are forgotten first.

        Args:
            words: of one sentence or turn.
            in_number: for each, whether it belongs to a dictated number.
            is_whole: False for one that was cut, whose last word is not its end and bears no full stop.
        """
        written = plain_words(words, in_number)
        if not written:
            return []
        if self.capital_i:
            written = [_capital(word) if word in _I_FORMS else word for word in written]
        if self.capital:
            written[0] = _capital(written[0])
        if self.commas:
            goes_on = [here and following for here, following in itertools.pairwise(in_number)] + [False]
            written = [f"{word}," if more and _takes_comma(word) else word for word, more in zip(written, goes_on, strict=True)]
        if self.stop and is_whole and not ends_sentence(written[-1]):
            written[-1] += "."
        return written


def styles(words: Sequence[str], in_number: Sequence[bool], *, is_whole: bool = True) -> list[WrittenStyle | None]:
    """Return the styles in which `words` might be written, each giving another text; the arguments are those of `WrittenStyle.write`.

    The first is plain words; the last is None, the words as they are, where they bear capitals or marks that no style gives.
    """
    found: dict[tuple[str, ...], WrittenStyle | None] = {}
    for capital_i, capital, commas, stop in itertools.product((False, True), repeat=4):
        style = WrittenStyle(capital=capital, capital_i=capital_i, commas=commas, stop=stop)
        found.setdefault(tuple(style.write(words, in_number, is_whole=is_whole)), style)
    found.setdefault(tuple(words), None)
    return list(found.values())


def plain_words(words: Sequence[str], in_number: Sequence[bool]) -> list[str]:
    """Return `words` without what sentences put on them: closing marks, the capitals of their first words, of "I" and of numbers.

    Marks within a word ("3.5", "a.m.") and capitals of other words (names) stay.
    """
    plain, begins = [], True
    for word, is_in_number in zip(words, in_number, strict=True):
        bare = _without_marks(word)
        lowered = bare.lower()
        is_name = bare[1:] != lowered[1:]  # "NASA", "McDonald"
        plain.append(lowered if is_in_number or lowered in _I_FORMS or (begins and not is_name) else bare)
        begins = ends_sentence(word)
    return plain


def ends_sentence(word: str) -> bool:
    """Return whether `word` is written with a mark after it that ends a sentence; closing quotes and brackets may follow the mark."""
    return word.rstrip("\"'\u201d\u2019)]\u00bb ").endswith(SENTENCE_ENDS)


def scoring_words(text: str) -> list[str]:
    """Return the words of a transcript in the form in which transcripts are compared: lower case, no punctuation, numbers as written.

    Whisper's EnglishTextNormalizer turns "one two nine" into "129" and so hides the very thing that this project changes. Here words stay
    words and glyphs stay glyphs: "one two nine" and "129" are different, and count as errors against each other. Hyphens and other marks
    part words; apostrophes inside a word stay; "1,296" is "1296".
    """
    text = _APOSTROPHES.sub("'", unicodedata.normalize("NFKC", text).lower())
    text = _DECIMAL_COMMA.sub(".", _THOUSANDS.sub("", text))
    return [word.rstrip("'") for word in _WORD.findall(text)]


def _without_marks(word: str) -> str:
    bare = word.rstrip(_MARKS)
    return word if not bare or _ABBREVIATION.fullmatch(bare) else bare


def _takes_comma(word: str) -> bool:
    return not is_repeat_word(word) and word[-1:] not in _MARKS


def _capital(word: str) -> str:
    return word[:1].upper() + word[1:]
