"""The words and rules by which a language reads numbers aloud: digits, signs, quantities."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stt_ft.text.lattice import Arc, Lattice, either, or_else

if TYPE_CHECKING:
    import re

Ways = list[tuple[str, ...]]
"""Ways of saying one thing, likeliest first."""

_VARIANT_PRIOR, _REPEAT_PRIOR = 1e-2, 1e-20
"""How likely "oh" is against "zero", and "double" against saying a digit twice, before the sound counts (by 80 synthetic takes)."""

_GROUP_PRIOR = 1e-10
"""The same for two or three digits of a code said as one amount: "ninety six", "eight hundred three"."""

_FEMININE_PRIOR = 1e-3
"""The same for "une" against "un" at the end of an amount (by tools/bench/readings_fr.py)."""


@dataclass(frozen=True, kw_only=True)
class Language:
    """The words and rules of one language.

    Attributes:
        code: ISO 639-1.
        digits: the words for 0 to 9.
        zero_variants: other words for 0 in a dictated number.
        repeats: count -> word said before a digit that comes that many times in a row ("double").
        plus, point, percent, minus, star, ampersand: the words for these signs.
        decimal_mark, group_marks: the characters that part whole from fraction, and thousands.
        ordinal_suffixes: lower-case endings that make digits an ordinal.
        cardinals: number -> ways of saying it, likeliest first.
        ordinals: number -> ways of saying its ordinal.
        years: number -> ways of saying it as a year.
        times: hour, minute, half of the day ("am", "pm" or "") -> ways of saying it.
        currencies: sign or code -> (singular, plural, singular of the hundredth, plural of the hundredth).
        units: abbreviation -> (singular, plural).
        months: lower-case names and abbreviations, after or before which a number is a day or a year.
        month_names: the twelve names, where a date in digits may be said with one.
        range_word: the word for the dash between two quantities.
        code_contexts: lower-case words that announce a code, which is read digit by digit.
        year_contexts: lower-case words after which four digits are a year.
        fractions: (numerator, denominator) -> ways of saying it.
        hundred: the word for two zeros after any two digits ("twenty three hundred"); empty in a language without this habit.
        apart: what belongs together though it is written apart ("10 h 30"); its group `thousands` is one number ("10 000").
        lone_units: units of one letter that are units apart from their number too ("10 h").
        dialect: which of its dialects these words are of ("be"); empty in a language of one.
        point_variants: other words for a decimal mark.
        says_decimals_as_amounts: whether the digits behind a decimal mark are said as one amount ("virgule quatorze").
        is_day_first: whether "02/03/2003" is the second of March and nothing else.
        feminine: the last word of an amount before a feminine noun, where it is another ("vingt et une").
        hour_mark: the letter between hours and minutes ("10h30"); empty where there is none.
        plural: a word -> its plural, where digits have one ("the 5s", "1990s"); None where they have none.
        days: day of the month, whether its month follows -> ways of saying it; None where it is said as an amount.
        months_of: lower-case abbreviation of a month -> its name, said instead beside a day.
        magnitudes: abbreviation or word behind an amount of money -> the word that is said.
        minus_variants: other words for a minus sign before a number.
        per: unit -> ways of saying the slash before it ("$20/mo").
        marks: a mark between numbers or letters -> ways of saying it, likeliest first; where it may be silent, that is likelier still.
        article: the word with which a fraction begins behind a number ("two and a half"); empty where it has none.
        known_codes: digits that are a code wherever they stand ("911").
        street_words: lower-case abbreviation in an address -> what may be said for it.
    """

    code: str
    digits: tuple[str, ...]
    zero_variants: tuple[str, ...]
    repeats: Mapping[int, str]
    plus: str
    minus: str
    point: str
    percent: tuple[str, ...]
    star: str
    ampersand: str
    decimal_mark: str
    group_marks: str
    ordinal_suffixes: tuple[str, ...]
    cardinals: Callable[[int], Ways]
    ordinals: Callable[[int], Ways]
    years: Callable[[int], Ways]
    times: Callable[[int, int, str], Ways]
    fractions: Callable[[int, int], Ways]
    currencies: Mapping[str, tuple[str, str, str, str]]
    units: Mapping[str, tuple[str, str]]
    months: frozenset[str]
    month_names: tuple[str, ...]
    range_word: str
    code_contexts: frozenset[str]
    year_contexts: frozenset[str]
    hundred: str = ""
    apart: re.Pattern[str] | None = None
    lone_units: frozenset[str] = frozenset()
    dialect: str = ""
    point_variants: tuple[str, ...] = ()
    says_decimals_as_amounts: bool = False
    is_day_first: bool = False
    feminine: str = ""
    hour_mark: str = ""
    plural: Callable[[str], str] | None = None
    days: Callable[[int, bool], Ways] | None = None
    months_of: Mapping[str, str] = field(default_factory=dict)
    magnitudes: Mapping[str, str] = field(default_factory=dict)
    minus_variants: tuple[str, ...] = ()
    per: Callable[[str], Ways] | None = None
    marks: Mapping[str, Ways] = field(default_factory=dict)
    article: str = ""
    known_codes: frozenset[str] = frozenset()
    street_words: Mapping[str, Ways] = field(default_factory=dict)

    def mark_ways(self, mark: str) -> Ways:
        """Return the ways of saying a mark that stands between or beside numbers; none where it is not said."""
        own: Mapping[str, Ways] = {
            "+": [(self.plus,)],
            "*": [(self.star,)],
            "&": [(self.ampersand,)],
            "%": [self.percent],
        }
        return [*own.get(mark, []), *self.marks.get(mark, [])]

    def amount_lattice(self, ways: Ways) -> Lattice:
        """Return the lattice of `ways` of saying an amount; those before a feminine noun are less likely."""
        feminine = [way for way in ways if self.feminine and way[-1] == self.feminine]
        others = [way for way in ways if way not in feminine]
        return or_else(either(others), either(feminine) if feminine else None, prior=_FEMININE_PRIOR) if others else either(feminine)

    def digit_lattice(self, digits: str) -> Lattice:
        """Return the ways of saying ASCII `digits` one by one: each zero under any of its names, repeats with "double" and "triple"."""
        words = tuple(self.digits[int(digit)] for digit in digits)
        arcs = [Arc(index, index + 1, (word,)) for index, word in enumerate(words)]
        for index, digit in enumerate(digits):
            if digit == "0":
                arcs += [Arc(index, index + 1, (variant,), _VARIANT_PRIOR) for variant in self.zero_variants]
            for count, repeat in self.repeats.items():
                if digits[index : index + count] == digit * count:
                    names = (words[index], *(self.zero_variants if digit == "0" else ()))
                    arcs += [Arc(index, index + count, (repeat, name), _REPEAT_PRIOR) for name in names]
        return Lattice(words=words, arcs=tuple(arcs), last=len(digits))

    def code_lattice(self, digits: str) -> Lattice:
        """Return the ways of saying a code: its `digits` one by one, and any two to four of them as an amount ("twelve ninety six").

        A full ten stays alone or before another amount: "twenty" and "five" would be heard as 25, "twenty fifteen" is 2015.
        """
        one_by_one = self.digit_lattice(digits)
        amounts = [
            Arc(start, stop, way, _GROUP_PRIOR)
            for start in range(len(digits))
            for stop in range(start + 2, min(start + 4, len(digits)) + 1)
            for way in self._group_ways(digits, start, stop)
        ]
        return Lattice(words=one_by_one.words, arcs=(*one_by_one.arcs, *amounts), last=one_by_one.last)

    def _group_ways(self, digits: str, start: int, stop: int) -> Ways:
        """Return the ways of saying `digits[start:stop]`, two to four of them, as one amount within a code."""
        group, following = digits[start:stop], digits[stop : stop + 1]
        if group[0] == "0":
            return []
        if len(group) == 4:
            in_hundreds = self.hundred and group.endswith("00") and group[1] != "0"
            two_tens = group[1] == "0" and group[2] != "0" and (group[3] != "0" or following in ("", "0"))
            ways = [(*self.cardinals(int(group[:2]))[0], self.hundred)] if in_hundreds else []
            return ways + ([self.cardinals(int(group[:2]))[0] + self.cardinals(int(group[2:]))[0]] if two_tens else [])
        if len(group) == 2 and group[1] == "0" and following not in ("", "0"):
            return []
        return [way for way in self.cardinals(int(group)) if way[-1] != self.feminine]


def words_of(text: str) -> tuple[str, ...]:
    """Return the words of a number as num2words writes it, without hyphens and commas."""
    return tuple(text.replace(",", " ").replace("-", " ").split())
