"""Written amounts read aloud: numbers, ordinals, plurals, percentages, money, units and fractions.

    QUANTITIES = Quantities(language=english(), style="auto", context=Context())
    QUANTITIES.money("$5.50")  -> five dollars (and) fifty (cents)

Each method reads one kind of text, and returns None for any other.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from stt_ft.text.language import Language, Ways
from stt_ft.text.lattice import Lattice, also, chain, either, fixed, last_changed, or_else

LARGEST_AMOUNT_DIGITS = 15
"""Numbers with more digits than this are never read as amounts, only digit by digit."""

_LARGEST_GROUPED_DIGITS = 24
"""The same of digits that were parted into thousands."""

_NUMBER = r"\.?\d(?:[\d.,' ]*\d)?"
_SPLIT_UNIT = re.compile(rf"^(?P<number>(?:\d+ )?\d+[/\u2044]\d+|{_NUMBER})\s?(?P<unit>[^\d\s.,'/-][^\s.,'/-]*(?:/[^\d\s/]+)?|/[^\d\s/]+)$")
_FRACTION = re.compile(r"^(?:(\d{1,3}) )?(\d{1,5}) ?[/\u2044] ?(\d{1,5})(?:st|nd|rd|th)?$", re.IGNORECASE)
_MONEY = re.compile(
    rf"^(?P<code>[^\d\s.,+/-]+)\s?(?P<amount>{_NUMBER})\s?(?P<magnitude>[^\W\d_]*)(?:/(?P<unit>[^\W\d_]+))?$"
    rf"|^(?P<amount2>{_NUMBER})\s?(?P<magnitude2>[^\W\d_]*?)\s?(?P<code2>[^\d\s.,+/-]+)$"
)
_SHARES = frozenset([*range(2, 11), 16, 32, 64, 100, 1000])
"""Denominators of fractions that are written in digits; "9/11" is likelier a day."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """Kind of a number, as far as the words around it tell.

    Attributes:
        is_code: something announces a code.
        is_year: something announces a year.
        is_day: a month stands before it ("after") or behind it ("before").
        is_half_named: "a.m." or "p.m." stands behind it.
        is_counted: what stands before it counts it ("triple 5s").
        is_named: a name stands before it ("iPhone 5s").
    """

    is_code: bool = False
    is_year: bool = False
    is_day: str = ""
    is_half_named: bool = False
    is_counted: bool = False
    is_named: bool = False


@dataclass(frozen=True, kw_only=True)
class Quantities:
    """Reads amounts in one language; by digits alone (`style` "digits") or as people say amounts ("auto")."""

    language: Language
    style: str
    context: Context

    def whole(self, digits: str) -> Lattice:
        """Read plain digits: by context a code digit by digit, else a day, a year or an amount; the other readings stay open."""
        language, context = self.language, self.context
        if self.style == "digits":
            return language.digit_lattice(digits)
        if context.is_day and language.days and len(digits) < 3 and 1 <= int(digits) <= 31:
            return or_else(either(language.days(int(digits), context.is_day == "before")), language.code_lattice(digits))
        year = len(digits) == 4 and 1100 <= int(digits) <= 2099
        as_year = year and (context.is_year or (1900 <= int(digits) <= 2049 and not context.is_code))
        looks_like_code = (
            (context.is_code and len(digits) > 2 and not as_year)
            or len(digits) >= 6
            or (len(digits) == 5 and digits[-2:] != "00")
            or digits in language.known_codes
        )
        ways = amount_ways(language, digits, as_year=as_year)
        if ways and not looks_like_code:
            return or_else(language.amount_lattice(ways), language.code_lattice(digits))
        return also(language.code_lattice(digits), ways)

    def amount(self, digits: str) -> Lattice:
        """Read digits that are surely no code."""
        if self.style == "digits":
            return self.language.digit_lattice(digits)
        ways = self.language.cardinals(int(digits)) if _is_amount(digits, _LARGEST_GROUPED_DIGITS) else []
        code = self.language.code_lattice(digits)
        return or_else(self.language.amount_lattice(ways), code) if ways else code

    def number(self, text: str, *, is_amount: bool = False) -> Lattice | None:
        """Read digits with grouping and decimal marks; `is_amount` says that they are no code."""
        language = self.language
        plain = self.ungrouped(text)
        read = self.amount if is_amount or plain != text else self.whole
        whole, mark, fraction = plain.partition(language.decimal_mark)
        if whole.isdigit() and not mark:
            return read(whole)
        if mark and fraction.isdigit() and (whole.isdigit() or not whole):
            before = [read(whole) if self.context.is_code else self.amount(whole)] if whole else []
            return chain([*before, either([(word,) for word in (language.point, *language.point_variants)]), self._decimals(fraction)])
        return None

    def _decimals(self, digits: str) -> Lattice:
        """Read the digits behind a decimal mark."""
        language = self.language
        if self.style == "digits" or not language.says_decimals_as_amounts:
            return language.digit_lattice(digits)
        code = language.code_lattice(digits)
        return or_else(either(language.cardinals(int(digits))[:1]), code, prior=1.0) if _is_amount(digits, 3) else code

    def ungrouped(self, text: str) -> str:
        """Return a number without the marks that part its thousands; any other text as it is."""
        language = self.language
        groups = rf"^\d{{1,3}}([{re.escape(language.group_marks)} ])\d{{3}}(?:\1\d{{3}})*(?={re.escape(language.decimal_mark)}\d|$)"
        match = re.match(groups, text)
        return match.group().replace(match.group(1), "") + text[match.end() :] if match else text

    def ordinal(self, text: str) -> Lattice | None:
        """Read "3rd", "1,000th", "1er", "2e"; beside a month also "the third of"."""
        match = re.match(r"^(\d[\d.,']*?)(\D+)$", text)
        digits = self.ungrouped(match.group(1)) if match else ""
        if not match or not _is_amount(digits) or match.group(2).lower() not in self.language.ordinal_suffixes:
            return None
        ways = self.language.ordinals(int(digits))
        if self.context.is_day and self.language.days:
            days = self.language.days(int(digits), self.context.is_day == "before")
            ways = [*ways, *(day for day in days if set(ways[0]) < set(day))]
        is_odd = not any(way[-1].endswith(match.group(2).lower()) for way in ways)  # "4rd"
        return or_else(either(ways), chain([self.whole(digits), fixed(match.group(2))]) if is_odd else None)

    def plural(self, text: str) -> Lattice | None:
        """Read "1990s", "the 80s", "triple 5s", "747s"; "iPhone 5s" and "wait 5s" are other things that may be written so."""
        match = re.match(r"^(\d+)['\u2019]?s$", text)
        language, context, plural_of = self.language, self.context, self.language.plural
        if not match or plural_of is None:
            return None
        digits = match.group(1)
        number = self.whole(digits)
        letter, unit = chain([number, fixed(["s"])]), chain([number, fixed([language.units["s"][digits != "1"]])])
        if digits[-1] == "0" and digits[0] != "0" and len(digits) in (2, 4):
            ways = language.years(int(digits)) if len(digits) == 4 else language.cardinals(int(digits))
            return or_else(or_else(either([(*way[:-1], plural_of(way[-1])) for way in ways]), letter), unit)
        plural = last_changed(number, plural_of)
        if context.is_counted or (len(digits) > 1 and not context.is_code):
            return or_else(or_else(plural, letter), unit)
        return or_else(or_else(letter, plural), unit) if context.is_named or context.is_code else or_else(or_else(unit, letter), plural)

    def percentage(self, text: str) -> Lattice | None:
        """Read "12.5%"."""
        amount = self.number(text[:-1].rstrip(), is_amount=True) if text.endswith("%") else None
        return chain([amount, fixed(self.language.percent)]) if amount else None

    def money(self, text: str) -> Lattice | None:
        """Read "$5.50", "5,50€", "USD 20", "$5 million", "$2.5B", "$20/mo"."""
        match = _MONEY.match(text)
        if not match:
            return None
        code, amount, scale = (match.group(name) or match.group(f"{name}2") or "" for name in ("code", "amount", "magnitude"))
        country, code = _country_of(code)
        names = self.language.currencies.get(code.lower())
        magnitude = self.language.magnitudes.get(scale.lower(), "")
        rate = self._rate(match.group("unit"))
        if names is None or (scale and not magnitude) or rate is None:
            return None
        of_country: Ways = [(*country.lower(), name) if country else (name,) for name in names]
        one, many = of_country[:2]
        money = self._in_hundredths(amount, names) if not magnitude else None
        if money is None:
            number = self.number(amount, is_amount=True)
            if number is None:
                return None
            unit = one if amount == "1" and not magnitude else many
            money = chain([number, either([(*([magnitude] if magnitude else []), *unit)])])
            if magnitude:
                money = also(
                    money, [(*way, *tail) for way in _first_ways(number) for tail in ((magnitude,), tuple(scale), (*scale, *many))]
                )
            elif country:
                money = also(money, [(*way, unit[-1]) for way in _first_ways(number)])
        return chain([money, rate]) if rate.last else money

    def _in_hundredths(self, amount: str, names: Sequence[str]) -> Lattice | None:
        """Read an amount with hundredths, "5.50", "20.5", ".01"; None where it has none, or more digits than two."""
        language = self.language
        one, many, hundredth, hundredths = names
        whole_digits, mark, fraction = self.ungrouped(amount).partition(language.decimal_mark)
        fraction = fraction[:2] + fraction[2:].rstrip("0") if len(fraction) > 1 else fraction + "0"
        if not mark or len(fraction) > 2 or not fraction.isdigit():
            return None
        unit = one if whole_digits == "1" else many
        if int(fraction) == 0:
            return chain([self.amount(whole_digits), fixed([unit])]) if whole_digits else None
        number = self.number(amount, is_amount=True)
        decimal = chain([number, fixed([many])]) if number else None  # "zero point nine nine dollars"
        small = self.amount(fraction.lstrip("0"))
        named = (hundredth if int(fraction) == 1 else hundredths,)
        if not whole_digits.strip("0"):
            return or_else(chain([small, fixed(named)]), decimal)
        if fraction[0] == "0":
            small = also(small, [(zero, *small.words) for zero in language.zero_variants or language.digits[:1]])
        parts = [self.amount(whole_digits), either([(unit,), (unit, language.ampersand), ()]), small, either([named, ()])]
        return or_else(chain(parts), decimal)

    def _rate(self, unit: str | None) -> Lattice | None:
        """Return how the slash and a unit behind money or a measure are said; nothing for no unit, None for an unknown one."""
        if not unit:
            return chain([])
        names = self.language.units.get(unit.lower())
        return chain([either(self.language.per(names[0])), fixed(names[0].split())]) if names and self.language.per else None

    def measure(self, text: str) -> Lattice | None:
        """Read "5km", "20\u00b0C", "60mph", "12kg/kg", "12/kg"."""
        match = _SPLIT_UNIT.match(text)
        number = self.number(match.group("number"), is_amount=True) or self.fraction(match.group("number")) if match else None
        if number is None or match is None:
            return None
        names = self.language.units.get(match.group("unit").lower())
        rate: Lattice | None = chain([])
        if names is None:
            unit, _, per = match.group("unit").partition("/")
            names = self.language.units.get(unit.lower()) if unit else ("", "")
            rate = self._rate(per) if per else None
        if names is None or rate is None:
            return None
        one, many = (tuple(name.split()) for name in names)
        return chain([number, fixed(one if match.group("number") == "1" else many), rate])

    def fraction(self, text: str) -> Lattice | None:
        """Read "3/4", "3 1/2", "1/4th"; "24/7" and "9/11" are likelier two numbers."""
        match = _FRACTION.match(text)
        if not match or int(match.group(3)) == 0 or (self.style == "digits" and "\u2044" not in text and not match.group(1)):
            return None
        above, below = int(match.group(2)), int(match.group(3))
        language = self.language
        ways = language.fractions(above, below)
        if match.group(1):
            usual = [way for way in ways if way[0] == language.article]
            share = or_else(either(usual), either(ways)) if usual else either(ways)
            return chain([self.amount(match.group(1)), fixed([language.ampersand]), share])
        share, plain = either(ways), chain([self.whole(part) for part in match.group(2, 3)])
        is_share = (above < below and below in _SHARES) or text[-1].isalpha()
        return or_else(share, plain) if is_share else or_else(plain, share)


def amount_ways(language: Language, digits: str, *, as_year: bool) -> Ways:
    """Return the ways of saying all of `digits` as an amount or a year, likeliest first; none when too many or with a leading 0."""
    if not _is_amount(digits):
        return []
    amounts = language.cardinals(int(digits))
    if len(digits) != 4:
        return [*amounts]
    return [*language.years(int(digits)), *amounts] if as_year else [*amounts, *language.years(int(digits))]


def _is_amount(digits: str, largest: int = LARGEST_AMOUNT_DIGITS) -> bool:
    return digits.isdigit() and len(digits) <= largest and (len(digits) == 1 or digits[0] != "0")


def _country_of(code: str) -> tuple[str, str]:
    """Part "US$" into the country and the sign."""
    match = re.match(r"^([A-Z]{1,2})([^\w\s])$", code)
    return (match.group(1), match.group(2)) if match else ("", code)


def _first_ways(lattice: Lattice) -> list[tuple[str, ...]]:
    """Return the way that is taken without sound, as a list of ways."""
    return [lattice.words]
