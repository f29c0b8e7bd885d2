"""What kind of thing a token with digits is, by ordered rules, and the ways of saying it.

`Reader.read` takes the first rule that fits: an amount, a time, a date, a range … What is none of them is a compound, read part by part
("5-year-old", "9-to-5", "21st-century"), an address ("abc1@gmail.com"), or a code ("A1B2C3"), whose letters are spelled.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from stt_ft.text.language import Language
from stt_ft.text.lattice import Arc, Lattice, also, chain, either, fixed, last_changed, maybe, or_else
from stt_ft.text.reading.moments import Moments
from stt_ft.text.reading.quantities import Context, Quantities, amount_ways

DASHES = "-\u2010\u2011\u2012\u2013\u2014\u2212"
_SILENT = frozenset(DASHES + "./,()[]{}:;'\u2019\u00b7_|\\!?\"\u201c\u201d\u2026~ ")
"""Marks in codes that are mostly not said."""

_OPTIONAL = frozenset("+#")
_SIGNED = re.compile(rf"^(?P<sign>[{DASHES}+\u00b1])(?P<rest>[^\s\w]?\.?\d.*)$|^(?P<currency>[^\s\w])[{DASHES}](?P<money>\d.*)$")
_RANGE = re.compile(rf"^(?P<low>[^{DASHES}]*\d[^{DASHES}]*?) ?[{DASHES}] ?(?P<high>[^{DASHES}]*\d[^{DASHES}]*)$")
_PHONE = re.compile(rf"^\d{{3}}[{DASHES}]\d{{4}}$")
_PRODUCT = re.compile(r"^(\d+) ?([x\u00d7:]) ?(\d[^:]*)$")
_DOTTED = re.compile(r"^(?P<version>[vV]?)(?P<numbers>\d{1,3}(?:\.\d{1,3}){2,})$")
_ADDRESS = re.compile(
    r"^(?=.*[^\W\d_])(?:[a-z]+://\S+|\S+@\S+|(?:[\w-]+\.)+(?:com|org|net|edu|gov|info|biz|app|dev|[a-z]{2})(?:/\S*)?|\S*\bwww\.\S+)$",
    re.IGNORECASE,
)
_CALLED_UNIT = re.compile(r"^\d+[A-Z]$")
_VOWELS = frozenset("aeiouyàâäéèêëîïôöùûü")
_SPELLED_AT_MOST = 3  # letters of a code; more of them, with a vowel, are a word


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Reads tokens with digits in one language; `style` and context as in `Quantities`."""

    language: Language
    style: str
    context: Context

    @property
    def quantities(self) -> Quantities:
        return Quantities(language=self.language, style=self.style, context=self.context)

    @property
    def moments(self) -> Moments:
        return Moments(language=self.language, context=self.context)

    def read(self, text: str) -> Lattice | None:
        """Return the ways of saying a token without the marks around it; None where a mark in it cannot be said."""
        own = self._notation(text)
        if own is not None:
            return own
        if text.isdigit():
            return self.quantities.whole(text)
        rules = (self._moment, self._amount, self._range, self._product, self._dotted, self._address, self._compound)
        return next((lattice for rule in rules if (lattice := rule(text)) is not None), None)

    def _notation(self, text: str) -> Lattice | None:
        """Read what the language alone writes, as the reader of such a language does; it goes before all other rules."""
        return None

    def _amount(self, text: str) -> Lattice | None:
        """Read what `Quantities` knows, with a sign before it."""
        signed = _SIGNED.match(text)
        if signed:
            unsigned = signed.group("rest") or signed.group("currency") + signed.group("money")
            amount = self._notation(unsigned) or self._amount(unsigned)
            sign = "-" if (signed.group("sign") or "-") in DASHES else signed.group("sign")
            return chain([self._sign(sign), amount]) if amount else None
        quantities = self.quantities
        rules: tuple[Callable[[str], Lattice | None], ...] = (
            *(quantities.ordinal, quantities.plural, quantities.percentage, quantities.money),
            *((quantities.fraction,) if not self.context.is_code else ()),
            *(self._measure_or_code, quantities.number),
        )
        return next((lattice for rule in rules if (lattice := rule(text)) is not None), None)

    def _sign(self, sign: str) -> Lattice:
        """Return the ways of saying a sign before an amount."""
        if sign == "-":
            return or_else(either([(self.language.minus,), *((other,) for other in self.language.minus_variants)]), fixed([]))
        return either([*self.language.mark_ways(sign), ()])

    def _moment(self, text: str) -> Lattice | None:
        if self.style == "digits":
            return None
        return self.moments.time(text) or self.moments.duration(text) or self.moments.date(text)

    def _measure_or_code(self, text: str) -> Lattice | None:
        """Read "5km"; "345G", "12C" and "4K" are likelier codes by their capital alone."""
        measure = self.quantities.measure(text)
        if measure is None or not text[-1].isalpha() or not text[-2].isdigit():
            return measure
        coded = replace(self.quantities, context=replace(self.context, is_code=True))
        number = coded.number(text[:-1])
        code = chain([number, fixed([text[-1]])]) if number else None
        is_code = code is not None and (text[-1].isupper() or self.context.is_code)
        return or_else(code, measure) if is_code and code else or_else(measure, code)

    def _range(self, text: str) -> Lattice | None:
        """Read "10-15", "$250-$300", "2pm-5pm", "1960s-80s", "2-5lb"; digits alone only where they rise and are no phone number."""
        match = _RANGE.match(text)
        if not match or self.context.is_code or _PHONE.match(text):
            return None
        low, high = match.group("low"), match.group("high")
        if low.isdigit() and high.isdigit():
            if self.style == "digits":
                return None
            is_year = len(low) == 4 and len(high) == 2 and low[2:] < high
            if "0" in (low[0], high[0]) or max(len(low), len(high)) > 5 or not (int(low) < int(high) or is_year):
                return None
        sides = [self._side(side) for side in (low, high)]
        if sides[0] is None or sides[1] is None:
            return None
        return chain([sides[0], either([(self.language.range_word,), ()]), sides[1]])

    def _side(self, text: str) -> Lattice | None:
        return self.quantities.whole(text) if text.isdigit() else self._moment(text) or self._amount(text)

    def _product(self, text: str) -> Lattice | None:
        """Read "2x8", "16:9"."""
        match = _PRODUCT.match(text)
        high = self._side(match.group(3)) if match and self.style == "auto" and self.language.marks else None
        if match is None or high is None:
            return None
        joint = [(self.language.range_word,), ()] if match.group(2) == ":" else self.language.mark_ways("\u00d7")
        return chain([self.quantities.whole(match.group(1)), either(joint), high])

    def _dotted(self, text: str) -> Lattice | None:
        """Read "192.168.0.1" and "v1.2.3", whose dots are said; those of "555.555.5555" are not."""
        match = _DOTTED.match(text)
        if not match:
            return None
        version = [either([(match.group("version"),), ("version",)])] if match.group("version") else []
        dots = either(self.language.mark_ways(".") or [(self.language.point,)])
        numbers = [self._code_digits(part) for part in match.group("numbers").split(".")]
        said = list(itertools.chain.from_iterable((dots, number) for number in numbers))[1:]
        return chain([*version, *said])

    def _address(self, text: str) -> Lattice | None:
        """Read an e-mail or web address, every mark of which is said."""
        return self._pieces(text, is_silent=lambda mark: False, is_address=True) if _ADDRESS.match(text) and self.language.marks else None

    def _compound(self, text: str) -> Lattice | None:
        """Read parts between hyphens: words as words, amounts beside them as amounts; with no word among them it is a code."""
        parts = re.split(rf"[{DASHES}]", text)
        quantities = self.quantities
        words = [part for part in parts if part.isalpha() and self._is_word(part)]
        is_worded = bool(words) or any(quantities.ordinal(part) or quantities.plural(part) for part in parts)
        if len(parts) == 1 or not all(parts) or not is_worded:
            return self._pieces(text, is_silent=_SILENT.__contains__)
        is_code = self.context.is_code or (bool(words) and all(word.isupper() for word in words))
        read: list[Lattice] = []
        for index, part in enumerate(parts):
            if not part.isalpha():
                lattice = replace(self, context=Context(is_code=is_code, is_year=index > 0)).read(part)
            elif index and parts[index - 1][-1].isdigit():
                lattice = self._behind_number(part)
            else:
                lattice = self._letters(part)
            if lattice is None:
                return None
            read.append(lattice)
        return chain(read)

    def _is_word(self, letters: str) -> bool:
        """Whether letters of a compound are a word or a unit, and not part of a code."""
        is_unit = letters.lower() in self.language.units and len(letters) > 1
        is_short_capitals = letters.isupper() and len(letters) <= _SPELLED_AT_MOST
        return is_unit or (self._is_spoken(letters) and not is_short_capitals)

    def _behind_number(self, letters: str) -> Lattice:
        """Read letters behind a number and a hyphen: a word, or the unit of "a 5-km run"."""
        names = self.language.units.get(letters.lower())
        if names is None or len(letters) == 1:
            return self._letters(letters)
        units = either([name.split() for name in names])
        return or_else(self._letters(letters), units) if self._is_spoken(letters) else units

    def _is_spoken(self, letters: str) -> bool:
        """Whether letters can be said as a word."""
        return len(letters) > 1 and bool(set(letters.lower()) & _VOWELS)

    def _letters(self, letters: str, *, is_glued: bool = False) -> Lattice:
        """Read letters beside digits: words as words, others spelled; capitals and letters glued to digits are likelier spelled."""
        word, spelled = fixed([letters]), fixed(letters)
        if len(letters) == 1 or not self._is_spoken(letters):
            return spelled if len(letters) <= _SPELLED_AT_MOST or letters.isupper() else or_else(word, spelled)
        if len(letters) <= _SPELLED_AT_MOST:
            return or_else(spelled, word) if letters.isupper() or is_glued else or_else(word, spelled)
        return or_else(word, spelled) if len(letters) <= _SPELLED_AT_MOST + 2 else word

    def _code_digits(self, digits: str) -> Lattice:
        return self.language.digit_lattice(digits) if self.style == "digits" else self.language.code_lattice(digits)

    def _pieces(self, text: str, *, is_silent: Callable[[str], bool], is_address: bool = False) -> Lattice | None:
        """Read digits as a code, letters by themselves and marks by their names; None at a mark without a name that is not silent."""
        parts: list[Lattice] = []
        pieces = re.findall(r"\d+|[^\W\d_]+|.", text, re.DOTALL)
        for index, piece in enumerate(pieces):
            if piece.isdigit():
                code = self._code_digits(piece)
                has_amount = self.style == "auto" and len(piece) > 3
                parts.append(also(code, amount_ways(self.language, piece, as_year=False)) if has_amount else code)
            elif piece.isalpha():
                is_plural = piece == "s" and index == len(pieces) - 1 and index > 0 and pieces[index - 1].isdigit()
                if is_plural and self.language.plural:
                    parts[-1] = or_else(chain([parts[-1], fixed(["s"])]), last_changed(parts[-1], self.language.plural))
                else:
                    parts.append(self._letters(piece, is_glued=not is_address and _is_glued(pieces, index)))
            else:
                mark = "-" if piece in DASHES else "*" if piece == "\u2217" else piece
                ways = self.language.mark_ways(mark)
                if is_silent(piece):
                    parts += [maybe(ways)] if ways and 0 < index < len(pieces) - 1 and self.style == "auto" else []
                elif not ways:
                    return None
                elif mark in _OPTIONAL:
                    parts.append(Lattice(words=ways[0], arcs=(*(Arc(0, 1, way) for way in ways), Arc(0, 1, ())), last=1))
                else:
                    parts.append(either(ways))
        return chain(parts) if parts else None


def _is_glued(pieces: list[str], index: int) -> bool:
    """Whether digits stand right beside a piece."""
    return any(0 <= place < len(pieces) and pieces[place].isdigit() for place in (index - 1, index + 1))
