"""Written times of day, durations and dates read aloud."""

from __future__ import annotations

import re
from dataclasses import dataclass

from stt_ft.text.language import Language, Ways
from stt_ft.text.lattice import Lattice, chain, either, fixed, or_else
from stt_ft.text.reading.quantities import Context

_TIME = re.compile(r"^(\d{1,2})(?P<mark>[:.h])(\d{2})?\s?(?:([ap])\.?m\.?)?$", re.IGNORECASE)
_WHOLE_HOUR = re.compile(r"^(\d{1,2})\s?([ap])\.?m\.?$", re.IGNORECASE)
_CLOCK = re.compile(r"^(\d{1,2}):(\d{2}):(\d{2})$")
_DATE = re.compile(r"^(\d{4})[-./](\d{1,2})[-./](\d{1,2})$|^(\d{1,2})([-./])(\d{1,2})\5(\d{4}|\d{2})$")
_NAMED_DATE = re.compile(r"^([^\W\d_]{3,})\.?-(\d{1,2})(?:-(\d{4}))?$")


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Reads times and dates in one language; every method returns None for any other text."""

    language: Language
    context: Context

    def time(self, text: str) -> Lattice | None:
        """Read "10:30", "7:05pm", "1.59 p.m.", "10h30", "7am"; "10:00" before "a.m." has no "o'clock"."""
        times = self.language.times
        whole_hour = _WHOLE_HOUR.match(text)
        if whole_hour and int(whole_hour.group(1)) <= 24:
            return either(times(int(whole_hour.group(1)), 0, whole_hour.group(2).lower() + "m"))
        match = _TIME.match(text)
        if not match:
            return None
        mark, minutes, half = match.group("mark").lower(), match.group(3), match.group(4)
        is_dotted = mark == "." and not half and not self.context.is_half_named
        if is_dotted or (minutes is None and mark != self.language.hour_mark) or (mark == "h" and not self.language.hour_mark):
            return None
        hour, minute = int(match.group(1)), int(minutes or 0)
        if hour > 24 or minute > 59:
            return None
        if self.context.is_half_named and not half:
            return either([way[:-2] for way in times(hour, minute, "am")])
        return either(times(hour, minute, f"{half.lower()}m" if half else ""))

    def duration(self, text: str) -> Lattice | None:
        """Read "1:01:01": hours, minutes and seconds, or the numbers alone."""
        match = _CLOCK.match(text)
        if not match or int(match.group(2)) > 59 or int(match.group(3)) > 59:
            return None
        named: list[Lattice] = []
        bare: list[Lattice] = []
        for part, unit in zip(match.groups(), ("h", "min", "s"), strict=True):
            number = either(self.language.cardinals(int(part)))
            joint = either([(), (self.language.ampersand,)]) if named else chain([])
            named += [joint, number, fixed([self.language.units[unit][int(part) != 1]])]
            zeros = [(zero, *way) for zero in self.language.zero_variants for way in self.language.cardinals(int(part))]
            bare.append(either([*number.paths(), *zeros]) if part[0] == "0" else number)
        return or_else(chain(named), chain(bare), prior=1.0)

    def date(self, text: str) -> Lattice | None:
        """Read "2024-05-12", "12/05/2024" and "Jan-15-2020", with the month by number or by name."""
        language = self.language
        named = _NAMED_DATE.match(text)
        if named:
            month = next((number for number, name in enumerate(language.month_names, 1) if name == self._month(named.group(1))), 0)
            return self._named([(month, int(named.group(2)))], named.group(3)) if month else None
        match = _DATE.match(text)
        if not match:
            return None
        year_first = match.group(1) is not None
        first, second, year = match.group(2, 3, 1) if year_first else match.group(4, 6, 7)
        either_way = [(int(first), int(second)), (int(second), int(first))]
        names = self._named(either_way if year_first or not language.is_day_first else either_way[1:], year)
        if names is None:
            return None
        numbers = [either(language.cardinals(int(part))) for part in (first, second)]
        spoken_year = self._year(year)
        plain = chain([spoken_year, *numbers] if year_first else [*numbers, spoken_year])
        return or_else(names, plain, prior=1.0) if language.is_day_first else or_else(plain, names, prior=1.0)

    def _month(self, name: str) -> str:
        return self.language.months_of.get(name.lower(), name.capitalize())

    def _year(self, year: str) -> Lattice:
        """Return the ways of saying a year of two or four digits."""
        language = self.language
        if len(year) == 4:
            return either(language.years(int(year)))
        short = language.cardinals(int(year))
        zeros = [(zero, *way) for zero in (*language.zero_variants, language.digits[0]) for way in short if year[0] == "0"]
        return either([*short, *zeros, *language.years(2000 + int(year)), *language.years(1900 + int(year))])

    def _named(self, dates: list[tuple[int, int]], year: str | None) -> Lattice | None:
        """Return the ways of saying dates (month, day) with the month's name; None where none of them is a date."""
        language = self.language
        ways: Ways = []
        for month, day in dates:
            if 1 <= month <= 12 and 1 <= day <= 31:
                name, which = language.month_names[month - 1], language.ordinals(day)[0]
                numbers = language.cardinals(day)[:1]
                after = language.days(day, False) if language.days else numbers
                before = language.days(day, True) if language.days else numbers
                day_first = [(*way, name) for way in before]
                ways += (
                    day_first if language.is_day_first else [(name, *which), (*which, name), *((name, *way) for way in after), *day_first]
                )
        if not ways:
            return None
        return chain([either(ways), self._year(year)] if year else [either(ways)])
