"""What French alone writes, read aloud: "10 h 30", "1m80", "12€50", "n° 5", "1 er", "06 12 34 56 78", "3 M€"."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import replace

from num2words import num2words

from stt_ft.text.french import HOURS, ORDINAL_ENDINGS, PERIODS, french_days, french_ordinals
from stt_ft.text.language import Ways, words_of
from stt_ft.text.lattice import Lattice, also, chain, either, fixed, or_else
from stt_ft.text.reading.reader import Reader

_PHONE = re.compile(r"^(?P<trunk>(?:\+|00)(?P<country>33|32|41)(?:\(0\))?|0)(?P<rest>[1-9]\d{8})$")
_PHONE_GROUPS = {"fr": ("33", (1, 2, 2, 2, 2)), "be": ("32", (3, 2, 2, 2)), "ch": ("41", (2, 3, 2, 2))}
"""Dialect -> its country's code, and the groups in which telephone numbers are said behind the zero."""

_SPLIT = re.compile(r"^(?P<whole>\d[\d ]*)(?P<unit>m|kg|min|€|\$|£|euros?)(?P<rest>\d{1,3})(?P<seconds>s?)$")
_POINTED = re.compile(r"^(?P<sign>[^\W\d]*|[€$£]) ?(?P<whole>\d[\d ']*)\.(?P<rest>\d{1,2}|\d{4,})(?P<unit>[^\d.,/-]\D*)?$")


class FrenchReader(Reader):
    """Reads tokens with digits in French; the language's `dialect` chooses among amounts and telephone numbers."""

    def _notation(self, text: str) -> Lattice | None:
        if phone := _PHONE.match(re.sub(r"[ .-]", "", text)):
            return self._phone(phone["trunk"].strip("+(0)"), phone["rest"])
        for pattern, rule in _RULES if self.style == "digits" else (*_RULES, *_RULES_OF_AMOUNTS):
            if match := pattern.match(text):
                return rule(self, match)
        return self._pointed(text)

    def _phone(self, country: str, rest: str) -> Lattice:
        """Read a telephone number, in the groups of its country where the sound does not tell."""
        language = self.language
        own, groups = _PHONE_GROUPS[language.dialect]
        trunk = [] if country else ["0"]
        if self.style == "digits" or country not in ("", own):
            number = self.quantities.whole("".join([*trunk, rest]))
        else:
            ends = list(itertools.accumulate(groups))
            parts = [rest[end - length : end] for length, end in zip(groups, ends, strict=True)]
            said = [language.digit_lattice("".join([*trunk, parts[0]]))]
            for part in parts[1:]:
                digits = language.digit_lattice(part)
                said.append(digits if part[0] == "0" else or_else(either(language.cardinals(int(part))[:1]), digits))
            number = or_else(chain(said), language.code_lattice("".join([*trunk, rest])))
        if not country:
            return number
        return chain([either([("plus",), (), ("zéro", "zéro")]), self.quantities.whole(country), number])

    def _numbered(self, match: re.Match[str]) -> Lattice | None:
        """Read "n° 5"."""
        number = replace(self, context=replace(self.context, is_code=True)).read(match["rest"])
        return chain([fixed(["numéro"]), number]) if number else None

    def _ordinal(self, match: re.Match[str]) -> Lattice | None:
        """Read "1er", "2nde", "20es"; "20E" may be a place in a train."""
        digits = re.sub(r"\D", "", match["number"])
        ways = self._which(digits, match["ending"] + match["plural"]) if len(digits) < 16 else []
        if match["ending"] == "E":
            return also(chain([self.quantities.whole(digits), fixed(["E"])]), ways)
        return either(ways) if ways else None

    def _time(self, match: re.Match[str]) -> Lattice:
        """Read "10h30"."""
        hour, minute = match["hour"], match["minute"]
        if self.style != "digits":
            return either(self.language.times(int(hour), int(minute or 0), ""))
        named = fixed(["heure" if int(hour) < 2 else "heures"])
        return chain([self.quantities.whole(hour), named, *([self.quantities.whole(minute)] if minute else [])])

    def _around_the_clock(self, match: re.Match[str]) -> Lattice:
        """Read "24h/24", "7j/7"."""
        unit = self._unit(match["unit"], is_one=match["count"] == "1")
        return chain([self.quantities.whole(match["count"]), fixed([unit, "sur"]), self.quantities.whole(match["of"])])

    def _split(self, match: re.Match[str]) -> Lattice | None:
        """Read a number on either side of its unit: "1m80", "12€50", "3kg500"."""
        amounts, unit, rest = self.quantities, match["unit"], match["rest"]
        unit = "€" if unit.startswith("euro") else unit
        if unit in self.language.currencies:
            return amounts.money(f"{match['whole']},{rest}{unit}") if len(rest) == 2 and not match["seconds"] else None
        whole = amounts.number(match["whole"], is_amount=True)
        if whole is None or len(rest) != {"m": 2, "kg": 3}.get(unit, len(rest)) or (match["seconds"] and unit != "min"):
            return None
        small = amounts.whole(rest)
        if rest[0] == "0" and len(small.words) > 1:
            small = also(small, [small.words[1:]])
        seconds = [fixed([self._unit("s", is_one=rest in ("1", "01"))])] if match["seconds"] else []
        return chain([whole, fixed([self._unit(unit, is_one=match["whole"] == "1")]), small, *seconds])

    def _thousands_of_euros(self, match: re.Match[str]) -> Lattice | None:
        """Read "10k€", "3,5M€", "2Md€"."""
        number, scale = self.quantities.number(match["number"], is_amount=True), {"k": "mille", "M": "million"}.get(match[2], "milliard")
        plural = "" if scale == "mille" or match["number"].partition(",")[0] in ("0", "1") else "s"
        return chain([number, fixed(["mille", "euros"] if scale == "mille" else [f"{scale}{plural}", "d'euros"])]) if number else None

    def _money_a_period(self, match: re.Match[str]) -> Lattice | None:
        """Read "20€/mois"."""
        money = self.read(match["money"])
        period = self._unit("h", is_one=True) if match["period"] == "h" else match["period"]
        return chain([money, either([("par",), ()]), fixed([period])]) if money else None

    def _decade(self, match: re.Match[str]) -> Lattice:
        """Read "90s": by its English name, or as an amount of seconds."""
        number = int(match["number"])
        english = (words_of(num2words(number))[0][:-1] + "ies",)
        masculine = [way for way in self.language.cardinals(number) if way[-1] != self.language.feminine]
        return or_else(either([english, *masculine]), self.quantities.measure(match[0]))

    def _metres(self, match: re.Match[str]) -> Lattice | None:
        """Read "1,80m", which is mostly said as "1m80" is."""
        measure, split = self.quantities.measure(match[0]), _SPLIT.match(f"{match['metres']}m{match['centimetres']}")
        return or_else(measure, self._split(split), prior=1.0) if split and measure else measure

    def _millions(self, match: re.Match[str]) -> Lattice | None:
        """Read "3 000 000€": "trois millions d'euros"."""
        unit = match["unit"].lower()
        names = self.language.units.get(unit) or self.language.currencies.get(unit)
        if names is None:
            return self._pointed(match[0])
        first, *others = names[1].split()
        noun = [f"d'{first}", *others] if first[0] in "aeiouéh" else ["de", first, *others]
        return chain([self.quantities.amount(match["number"].replace(" ", "")), fixed(noun)])

    def _and_a_half(self, match: re.Match[str]) -> Lattice:
        """Read "2 1/2"."""
        return chain([self.quantities.whole(match["whole"]), fixed(["et"]), either([("demi",), ("demie",), ("un", "demi")])])

    def _degrees(self, match: re.Match[str]) -> Lattice:
        """Read "6°", of angles and of heat, and for "sixième"."""
        degrees = chain([self.quantities.whole(match["number"]), fixed([self._unit("°", is_one=match["number"] == "1")])])
        return or_else(degrees, either(self._which(match["number"])), prior=1.0)

    def _day_of_month(self, match: re.Match[str]) -> Lattice | None:
        """Read "14/07" and "14.07"."""
        month, is_dotted = self.language.month_names[int(match["month"]) - 1], match["mark"] == "."
        date = either([(*way, month) for way in french_days(int(match["day"]), True)])
        numbers = self._pointed(match[0]) if is_dotted else self.quantities.fraction(match[0])
        is_date = is_dotted or match["month"][0] == "0"
        return or_else(date, numbers, prior=1.0) if is_date or numbers is None else or_else(numbers, date)

    def _pointed(self, text: str) -> Lattice | None:
        """Read a decimal point as the comma that it stands for: "1.5", "12.50€"."""
        match = _POINTED.match(text)
        if not match or not (match["sign"] == "" or match["sign"].lower() in self.language.currencies):
            return None
        return self.read(f"{match['sign']}{match['whole']},{match['rest']}{match['unit'] or ''}")

    def _which(self, digits: str, suffix: str = "") -> Ways:
        return french_ordinals(int(digits), suffix, dialect=self.language.dialect)

    def _unit(self, unit: str, *, is_one: bool) -> str:
        return self.language.units[unit][not is_one]


_RULES: tuple[tuple[re.Pattern[str], Callable[[FrenchReader, re.Match[str]], Lattice | None]], ...] = (
    (re.compile(r"^n[°o]\.?(?P<rest>\d.*)$", re.IGNORECASE | re.DOTALL), FrenchReader._numbered),
    (re.compile(rf"^(?P<number>\d[\d .]*?)(?P<ending>{'|'.join(ORDINAL_ENDINGS)})(?P<plural>s?)$", re.IGNORECASE), FrenchReader._ordinal),
    (re.compile(rf"^(?P<hour>[01]?\d|2[0-4]){HOURS}(?P<minute>[0-5]\d)?(?:min)?$"), FrenchReader._time),
    (re.compile(r"^(?P<count>\d+)(?P<unit>[hj])/(?P<of>\d+)[hj]?$"), FrenchReader._around_the_clock),
    (_SPLIT, FrenchReader._split),
    (re.compile(r"^(?P<number>\d[\d ,]*)(k|M|Mr?d)€$"), FrenchReader._thousands_of_euros),
    (re.compile(rf"^(?P<money>.*\d.*)/ ?(?P<period>{PERIODS})$"), FrenchReader._money_a_period),
)
"""What is read so in either style, in order: the first pattern that fits decides."""

_RULES_OF_AMOUNTS = (
    (re.compile(r"^(?P<number>[2-9]0)s$"), FrenchReader._decade),
    (re.compile(r"^(?P<metres>\d+),(?P<centimetres>\d\d)m$"), FrenchReader._metres),
    (re.compile(r"^(?P<number>[1-9]\d{0,2}(?: \d{3})* 000 000|[1-9]\d*0{6})(?P<unit>[^\d\s]+)$"), FrenchReader._millions),
    (re.compile(r"^(?P<whole>\d+) 1[/\u2044]2$"), FrenchReader._and_a_half),
    (re.compile(r"^(?P<number>\d{1,4})°$"), FrenchReader._degrees),
    (re.compile(r"^(?P<day>0?[1-9]|[12]\d|3[01])(?P<mark>[./])(?P<month>0[1-9]|1[0-2])$"), FrenchReader._day_of_month),
)
"""What is read so where amounts are said as amounts."""
