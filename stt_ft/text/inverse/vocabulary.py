"""The words with which a language says numbers, turned round: from what is said to what it means; and a text cut into pieces of them.

The words come from `Language`, which says numbers aloud, so what `convert` writes is read back in every dialect.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from stt_ft.text.digit_words import REPEAT_OF_WORD, ZERO_IN_COMPANY, bare_word, glyph_digits, is_digit_word
from stt_ft.text.language import Language
from stt_ft.text.spoken_forms import LANGUAGES, language_named

SENTENCE_MARK, COMMA = ".", ","
HALF_WORDS = frozenset(["am", "pm", "a.m", "p.m"])

_SENTENCE_ENDS = ".?!"
_HESITATIONS = ("\u2026", "...")
"""Marks of a speaker who goes on: they part a number no more than a comma does."""

_JOINTS = re.compile("([-\u2010\u2011\u2013/])")
_OUTER_MARKS = re.compile(r"^(\W*)(.*?)(\W*)$", re.DOTALL)
_UNIT_SIGNS = {
    **{sign: sign for sign in ("km", "cm", "mm", "kg", "mg", "ml", "mph", "km/h")},
    **{sign.lower(): sign for sign in ("KB", "MB", "GB", "TB", "Ko", "Mo", "Go", "Hz", "kHz", "MHz", "GHz", "kW", "°C", "°F")},
}
"""Units whose names mean nothing else; "pounds", "feet", "seconds" stay words."""
_MAGNITUDES = {
    "en": ["thousand", "million", "billion", "trillion", "quadrillion", "quintillion", "sextillion"],
    "fr": ["mille", "million", "milliard", "billion", "billiard", "trillion"],
}
_KNOWN_WORDS = 10_000  # whose marks are kept
_UNSURE_LETTERS = {"en": frozenset("ai"), "fr": frozenset("aày")}
"""Letters that are words too: they belong to a code only in its middle, or beside a surer letter."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A word, or a part of a word with hyphens or slashes of whose parts one says a number.

    Attributes:
        text: without the marks around it; `bare` is the same in lower case.
        word: its place in the list of words.
        joint: the hyphen or slash before it, "" at the beginning of a word.
        mark: what stands behind it: `SENTENCE_MARK` (or a slash, which parts numbers as well), `COMMA` or "".
    """

    text: str
    bare: str
    word: int
    joint: str = ""
    mark: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class NumberWords:
    """The words of a language, turned round: from what is said to what it means. There is one of each language (`number_words`).

    Attributes:
        below_hundred: words -> number from 0 to 99.
        hundreds: the words for a hundred.
        magnitudes: word -> thousand, million …
        ordinals: last word of an ordinal -> that of its cardinal.
        shares: (word, whether it is a plural) -> denominator of a fraction.
        unsure_letters: letters that are words too.
    """

    speech: Language
    below_hundred: Mapping[tuple[str, ...], int]
    hundreds: frozenset[str]
    magnitudes: Mapping[str, int]
    ordinals: Mapping[str, str]
    shares: Mapping[tuple[str, bool], int]
    unsure_letters: frozenset[str]

    @property
    def is_french(self) -> bool:
        return self.speech.code == "fr"

    @functools.cached_property
    def vocabulary(self) -> frozenset[str]:
        """Every word that may be part of a cardinal or an ordinal."""
        cardinal = {word for phrase in self.below_hundred for word in phrase} - {"et"}
        return frozenset({*cardinal, *self.hundreds, *self.magnitudes, *self.ordinals})

    @functools.cached_property
    def name_lengths(self) -> Mapping[str, Sequence[int]]:
        """First word of a name of 0 to 99 -> how many words such names have, the longest first."""
        lengths: dict[str, set[int]] = {}
        for phrase in self.below_hundred:
            lengths.setdefault(phrase[0], set()).add(len(phrase))
        return {word: sorted(found, reverse=True) for word, found in lengths.items()}

    @functools.cached_property
    def units(self) -> Mapping[tuple[str, ...], str]:
        """The signs of percent and of units by their names."""
        speech = self.speech
        names = {tuple(name.split()): _UNIT_SIGNS[unit] for unit, names in speech.units.items() if unit in _UNIT_SIGNS for name in names}
        return names | {speech.percent: "%"} | ({} if self.is_french else {("per", "cent"): "%"})

    @functools.cached_property
    def starters(self) -> frozenset[str]:
        """Every word with which a number may begin; so may any letter, and written digits."""
        linking = {"half", "quarter"} if not self.is_french else set()
        signs = {self.speech.minus, self.speech.plus} | ({self.speech.point} if not self.is_french else set())
        return frozenset({*self.vocabulary, *REPEAT_OF_WORD, *ZERO_IN_COMPANY, *linking, *signs})

    @functools.cached_property
    def followers(self) -> frozenset[str]:
        """Every word that may stand within a number, or right behind it and say how it is written."""
        speech = self.speech
        money = {name for names in speech.currencies.values() for name in names}
        units = {word for phrase in self.units for word in phrase}
        linking = "et de sur virgule demi demie heure heures minute minutes moins le"
        if not self.is_french:
            linking = "and of past to over point dot half quarter minute minutes o'clock"
        decades = {f"{word[:-1]}ies" if word.endswith("y") else f"{word}s" for word in self.vocabulary if not self.is_french}
        shares = {word for word, _ in self.shares}
        return frozenset({*self.starters, *money, *units, *shares, *decades, *speech.months, *HALF_WORDS, *linking.split()})

    def may_start(self, bare: str) -> bool:
        """Whether a number may begin with this word."""
        return bare in self.starters or len(bare) == 1 or (bool(bare) and glyph_digits(bare) is not None)

    def may_follow(self, bare: str) -> bool:
        """Whether this word may belong to a number that has begun."""
        return bare in self.followers or self.may_start(bare)

    @functools.lru_cache(maxsize=_KNOWN_WORDS)  # noqa: B019 (there is one of each language, for good)
    def may_begin(self, word: str) -> bool:
        """Whether a number may begin in this word, as it stands in a text."""
        return any(self.may_start(bare_word(text)) for text, _ in self.parts(word))

    @functools.lru_cache(maxsize=_KNOWN_WORDS)  # noqa: B019
    def parts(self, word: str) -> Sequence[tuple[str, str]]:
        """Part a word at hyphens and slashes where one of its parts says a number; return the parts, each with the joint before it."""
        text = marks_around(word)[1]
        cut = _JOINTS.split(text)
        texts, joints = cut[::2], ["", *cut[1::2]]
        if len(texts) == 1 or not all(texts) or not any(bare_word(part) in self.vocabulary for part in texts):
            return [(text, "")]
        return list(zip(texts, joints, strict=True))

    def pieces(self, words: Sequence[str]) -> list[Piece]:
        """Return the pieces of `words`; a mark that stands alone belongs to the word before it."""
        pieces: list[Piece] = []
        for index, word in enumerate(words):
            if is_mark(word):
                pieces[-1:] = [replace(piece, mark=max(mark_behind(word), piece.mark)) for piece in pieces[-1:]]
                continue
            parts = self.parts(word)
            marks = [SENTENCE_MARK if joint == "/" else "" for _, joint in parts[1:]] + [mark_behind(word)]
            for (text, joint), mark in zip(parts, marks, strict=True):
                pieces.append(Piece(text=text, bare=bare_word(text).replace("\u2019", "'"), word=index, joint=joint, mark=mark))
        return pieces


@functools.cache
def number_words(language: str) -> NumberWords:
    """Return the number words of `en`, `fr`, `fr-be` or `fr-ch`; raises `TextError` for any other.

    The three dialects of French read each other's words: "septante" means 70 wherever it is said.
    """
    speech = language_named(language)
    dialects = [language_named(name) for name in LANGUAGES if name.partition("-")[0] == speech.code]
    below = {way: number for dialect in dialects for number in range(100) for way in dialect.cardinals(number)}
    names = [*range(speech.code == "fr", 20), *range(20, 100, 10), 21, 100, 1000, 10**6, 10**9]
    ordinals = {
        bare_word(way[-1]): dialect.cardinals(number)[0][-1] for dialect in dialects for number in names for way in dialect.ordinals(number)
    }
    magnitudes = {word: 1000 ** (step + 1) for step, word in enumerate(_MAGNITUDES[speech.code])}
    if speech.code == "en":
        below[("niner",)] = 9
        shares = {("half", False): 2, ("halves", True): 2, ("quarter", False): 4, ("quarters", True): 4}
    else:
        below |= {("zero",): 0, ("quatre", "vingt"): 80, ("quatre", "vingts"): 80, **{("vingt", *way): 21 for way in [("un",), ("une",)]}}
        ordinals = {word: cardinal for word, cardinal in ordinals.items() if word not in ("second", "seconde")}
        magnitudes |= {f"{word}s": value for word, value in magnitudes.items() if word != "mille"}
        shares = {("demi", False): 2, ("demis", True): 2, ("tiers", False): 3, ("tiers", True): 3, ("quart", False): 4, ("quarts", True): 4}
    for number in (3, 4, *range(5, 21), *range(30, 100, 10), 100, 1000):
        for way in speech.ordinals(number):
            if len(way) == 1 and (way[0], False) not in shares:
                shares |= {(way[0], False): number, (f"{way[0]}s", True): number}
    return NumberWords(
        speech=speech,
        below_hundred=below,
        hundreds=frozenset(["cent", "cents"] if speech.code == "fr" else ["hundred"]),
        magnitudes=magnitudes,
        ordinals=ordinals,
        shares=shares,
        unsure_letters=_UNSURE_LETTERS[speech.code],
    )


def language_of(words: Sequence[str]) -> str:
    """Return `en` or `fr`, whichever has more of the number words in `words`; English where neither has."""
    bares = [bare_word(part) for word in words for part in _JOINTS.split(word)]
    english, french = number_words("en").vocabulary, number_words("fr").vocabulary
    lead = sum((bare in french) - (bare in english) for bare in bares)
    return "fr" if lead > 0 else "en"


def says_number(word: str) -> bool:
    """Whether `word` may say a number by itself, in English or French, or is written in digits."""
    vocabulary = number_words("en").vocabulary | number_words("fr").vocabulary
    return is_digit_word(word) or any(bare_word(part) in vocabulary or any(map(str.isdecimal, part)) for part in _JOINTS.split(word))


@functools.lru_cache(maxsize=_KNOWN_WORDS)
def marks_around(word: str) -> tuple[str, str, str]:
    """Return the marks before a word, the word, and the marks behind it."""
    match = _OUTER_MARKS.match(word)
    return (match.group(1), match.group(2), match.group(3)) if match else ("", word, "")


@functools.lru_cache(maxsize=_KNOWN_WORDS)
def mark_behind(word: str) -> str:
    """Return what stands behind a word: `SENTENCE_MARK`, `COMMA` or ""."""
    behind = word if is_mark(word) else marks_around(word)[2]
    if any(mark in behind for mark in _HESITATIONS):
        return COMMA
    if any(mark in behind for mark in _SENTENCE_ENDS):
        return SENTENCE_MARK
    return COMMA if any(mark in behind for mark in ",;:") else ""


@functools.lru_cache(maxsize=_KNOWN_WORDS)
def is_mark(word: str) -> bool:
    """Whether a word is nothing but marks of a sentence."""
    return bool(word.strip()) and all(glyph in ",;:\u2026" + _SENTENCE_ENDS for glyph in word.strip())
