"""Written quantities read aloud: ordinals, percentages, money, decimals, times, fractions, ranges, dates and units.

`Reader` holds what does not change within a token: the language, and how its whole numbers are read (digit by digit, or as amounts).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from stt_ft.text.language import Language
from stt_ft.text.lattice import Lattice, also, chain, either, fixed, or_else

LARGEST_AMOUNT_DIGITS = 15
"""Numbers with more digits than this are never read as amounts, only digit by digit."""

_SPLIT_UNIT = re.compile(r"^(?P<number>\d[\d.,' ]*?)\s?(?P<unit>[^\d\s.,']+)$")
_DATE = re.compile(r"^(\d{4})-(\d{1,2})-(\d{1,2})$|^(\d{1,2})[/.](\d{1,2})[/.](\d{4}|\d{2})$")
_TIME = re.compile(r"^(\d{1,2})[:h](\d{2})?\s?([ap])?\.?(m)?\.?$", re.IGNORECASE)
_WHOLE_HOUR = re.compile(r"^(\d{1,2})\s?([ap])\.?m\.?$", re.IGNORECASE)
_FRACTION = re.compile(r"^(?:(\d{1,3}) )?(\d{1,3})[/\u2044](\d{1,3})$")
_DECADE = re.compile(r"^(\d{2}|\d{4})['\u2019]?s$")
_RANGE = re.compile(r"^(\d{1,4})[-\u2013\u2014](\d{1,4})$")


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Reads quantities in one language; `whole` reads plain ASCII digits, `grouped` those that were parted into thousands."""

    language: Language
    whole: Callable[[str], Lattice]
    grouped: Callable[[str], Lattice]

    def number(self, text: str) -> Lattice | None:
        """Read digits with grouping and decimal marks; None when `text` is anything else."""
        language = self.language
        grouped = re.compile(
            rf"^\d{{1,3}}([{re.escape(language.group_marks)} ])\d{{3}}(?:\1\d{{3}})*(?={re.escape(language.decimal_mark)}\d|$)"
        )
        match = grouped.match(text)
        if match:
            text = match.group().replace(match.group(1), "") + text[match.end() :]
        read = self.grouped if match else self.whole
        whole, mark, fraction = text.partition(language.decimal_mark)
        if whole.isdigit() and not mark:
            return read(whole)
        if mark and fraction.isdigit() and (whole.isdigit() or not whole):
            before = [read(whole)] if whole else []
            return chain([*before, fixed([language.point]), language.digit_lattice(fraction)])
        return None

    def ordinal(self, text: str) -> Lattice | None:
        """Read "3rd", "21st", "1er", "2e"."""
        match = re.match(r"^(\d+)(\D+)$", text)
        if not match or len(match.group(1)) > LARGEST_AMOUNT_DIGITS or match.group(2).lower() not in self.language.ordinal_suffixes:
            return None
        return either(self.language.ordinals(int(match.group(1))))

    def decade(self, text: str) -> Lattice | None:
        """Read "the 1990s" (English)."""
        match = _DECADE.match(text)
        if not match or self.language.code != "en" or match.group(1)[-1] != "0" or match.group(1)[0] == "0":
            return None
        ways = self.language.years(int(match.group(1))) if len(match.group(1)) == 4 else self.language.cardinals(int(match.group(1)))
        return either([(*way[:-1], way[-1].removesuffix("y") + ("ies" if way[-1].endswith("y") else "s")) for way in ways])

    def percentage(self, text: str) -> Lattice | None:
        """Read "12.5%"."""
        amount = self.number(text[:-1].rstrip()) if text.endswith("%") else None
        return chain([amount, fixed(self.language.percent)]) if amount else None

    def money(self, text: str, magnitude: str = "") -> Lattice | None:
        """Read "$5.50", "5,50€", "USD 20"; `magnitude` is a word that follows, as in "$5 million"."""
        sign = re.match(r"^([^\d\s.,+-]+)\s?(\d.*)$", text) or re.match(r"^(\d[^A-Za-z€$£]*?)\s?([^\d\s.,]+)$", text)
        if not sign:
            return None
        first, second = sign.groups()
        code, amount = (second, first) if first[0].isdigit() else (first, second)
        names = self.language.currencies.get(code.lower())
        if names is None:
            return None
        one, many, hundredth, hundredths = names
        mark = re.escape(self.language.decimal_mark)
        cents = re.match(rf"^(.*\d){mark}(\d\d)$", amount)
        if magnitude or not cents:
            number = self.number(amount)
            return chain([number, fixed([*magnitude.split(), one if amount == "1" and not magnitude else many])]) if number else None
        whole, hundredth_digits = self.number(cents.group(1)), cents.group(2)
        if whole is None:
            return None
        unit = one if cents.group(1) == "1" else many
        if hundredth_digits == "00":
            return chain([whole, fixed([unit])])
        small = self.whole(hundredth_digits.lstrip("0"))
        if hundredth_digits[0] == "0":
            small = also(small, [(zero, *small.words) for zero in self.language.zero_variants or self.language.digits[:1]])
        named = chain([small, either([(hundredth if int(hundredth_digits) == 1 else hundredths,), ()])])
        return chain([whole, either([(unit,), (unit, self.language.ampersand), ()]), named])

    def measure(self, text: str) -> Lattice | None:
        """Read "5km", "20°C", "60mph"."""
        match = _SPLIT_UNIT.match(text)
        names = self.language.units.get(match.group("unit").lower()) if match else None
        number = self.number(match.group("number")) if match and names else None
        if match is None or names is None or number is None:
            return None
        return chain([number, fixed((names[0] if match.group("number") == "1" else names[1]).split())])

    def time(self, text: str) -> Lattice | None:
        """Read "10:30", "7:05pm", "10h30", "7am"."""
        whole_hour = _WHOLE_HOUR.match(text)
        if whole_hour and int(whole_hour.group(1)) <= 24:
            return either(self.language.times(int(whole_hour.group(1)), 0, whole_hour.group(2).lower() + "m"))
        match = _TIME.match(text)
        if not match or (match.group(2) is None and (":" in text or self.language.code != "fr")):
            return None
        hour, minute = int(match.group(1)), int(match.group(2) or 0)
        if hour > 24 or minute > 59:
            return None
        half = f"{match.group(3).lower()}m" if match.group(3) else ""
        return either(self.language.times(hour, minute, half))

    def fraction(self, text: str) -> Lattice | None:
        """Read "3/4", "3 1/2"; a fraction above one ("24/7") is likelier two numbers."""
        match = _FRACTION.match(text)
        if not match or int(match.group(3)) == 0:
            return None
        above, below = int(match.group(2)), int(match.group(3))
        plain = (*self.language.cardinals(above)[0], *self.language.cardinals(below)[0])
        share = self.language.fractions(above, below)
        part = either([*share, plain] if above < below else [plain, *share])
        return chain([self.whole(match.group(1)), fixed([self.language.ampersand]), part]) if match.group(1) else part

    def range(self, text: str) -> Lattice | None:
        """Read "10-15" when it rises; "555-1234" falls apart by its shape and is no range."""
        match = _RANGE.match(text)
        if not match or int(match.group(1)) >= int(match.group(2)) or any(part[0] == "0" for part in match.groups()):
            return None
        if tuple(map(len, match.groups())) == (3, 4):
            return None
        low, high = (self.whole(part) for part in match.groups())
        return chain([low, either([(self.language.range_word,), ()]), high])

    def date(self, text: str) -> Lattice | None:
        """Read "2024-05-12" and "12/05/2024", with the month by number or by name."""
        match = _DATE.match(text)
        if not match:
            return None
        year_first = match.group(1) is not None
        first, second, year = (match.group(2), match.group(3), match.group(1)) if year_first else match.group(4, 5, 6)
        language = self.language
        spoken_year = language.years(int(year))[0] if len(year) == 4 else language.cardinals(int(year))[0]
        numbers = [language.cardinals(int(part))[0] for part in (first, second)]
        ways = [(*spoken_year, *numbers[0], *numbers[1])] if year_first else [(*numbers[0], *numbers[1], *spoken_year)]
        for month, day in ((first, second), (second, first)):
            if 1 <= int(month) <= 12 and 1 <= int(day) <= 31:
                name, which = language.month_names[int(month) - 1], language.ordinals(int(day))[0]
                ways += [(name, *which, *spoken_year), (*which, name, *spoken_year), (*language.cardinals(int(day))[0], name, *spoken_year)]
        return either(ways)


def amount_lattice(language: Language, digits: str, *, as_year: bool) -> Lattice | None:
    """Return the ways of saying `digits` as an amount or a year, and less likely as a code; None when they are too many or begin with 0."""
    ways = amount_ways(language, digits, as_year=as_year)
    return or_else(either(ways), language.code_lattice(digits)) if ways else None


def amount_ways(language: Language, digits: str, *, as_year: bool) -> list[tuple[str, ...]]:
    """Return the ways of saying all of `digits` as an amount or a year, likeliest first; none when too many or with a leading 0."""
    if len(digits) > LARGEST_AMOUNT_DIGITS or (len(digits) > 1 and digits[0] == "0"):
        return []
    amounts = language.cardinals(int(digits))
    if len(digits) != 4:
        return [*amounts]
    return [*language.years(int(digits)), *amounts] if as_year else [*amounts, *language.years(int(digits))]
