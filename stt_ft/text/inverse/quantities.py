"""Spoken quantities read back: times of day, money, units, fractions, ordinals, codes, at a place in a list of words.

The inverse of `quantities`. What one digit alone means ("two dogs", "room two") is decided here as well, by what stands beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from stt_ft.text.digit_words import ZERO_IN_COMPANY, glyph_digits
from stt_ft.text.inverse.clocks import HALVES, ClockReader, Reading, digits_in
from stt_ft.text.inverse.grammar import Item, NumberGrammar, Whole
from stt_ft.text.inverse.vocabulary import NumberWords

_NO_CONTEXT = frozenset(["no", "nr", "call", "dial", "case", "customer", "client", "poste", "card"])
"""Words that announce a code and may as well be followed by "one" or "two" of ordinary talk."""

_VERBS = frozenset(["order", "commande"])
"""The same of one digit alone ("order one please"); what follows in several parts is a code."""

_PLACES = {
    "en": "chapter step page line option gate platform track unit level part section question version seat table bus route channel "
    "apartment suite floor box grade size highway",
    "fr": "chapitre étape page ligne option porte quai voie niveau partie question version place table bus route chaîne étage",
}
_ANY_ONE = frozenset(["no", "any", "every", "some", "each", "this", "that", "which", "another"])
_UNSURE_MONEY = frozenset(["pound", "pounds", "livre", "livres", "franc", "francs", "won"])
"""Currencies whose names mean other things too: a sign is written where the hundredths are named as well."""


@dataclass(frozen=True, kw_only=True)
class Amount:
    """A number without its unit: its text, the digits it says, whether it is one digit alone or several parts, as a code is."""

    text: str
    digits: str
    stop: int
    is_lone: bool = False
    is_dictated: bool = False
    is_whole: bool = True


@dataclass(frozen=True, kw_only=True)
class QuantityReader:
    """Reads pieces that may hold a number; `is_sentence` says that they are all of a sentence."""

    grammar: NumberGrammar
    is_sentence: bool

    @property
    def words(self) -> NumberWords:
        return self.grammar.words

    def read(self, start: int) -> Reading | None:
        """Return what begins at piece `start`; None where no number does."""
        readers = (self._day, ClockReader(grammar=self.grammar).read, self._quantity)
        return next((reading for reader in readers if (reading := reader(start)) is not None), None)

    def _day(self, start: int) -> Reading | None:
        """Read the day of "may five twenty twenty four" alone: the year is no part of it."""
        if self.words.is_french or self.grammar.said_before(start) not in self.words.speech.months:
            return None
        day = self.grammar.below_hundred(start)
        if day is None or not 1 <= day.value <= 31:
            return None
        all_digits = "".join(item.text for item in self.grammar.digit_items(start))
        year = "".join(item.text for item in self.grammar.digit_items(day.stop))
        whole = self.grammar.whole(day.stop)
        has_year = (len(year) == 4 and len(all_digits) != 4) or (whole is not None and whole.in_thousands)
        return Reading(text=str(day.value), digits=str(day.value), stop=day.stop) if has_year else None

    def _quantity(self, start: int) -> Reading | None:
        sign, position = self._sign(start)
        if not sign:
            for reader in (self._fraction, self._ordinal, self._decade):
                reading = reader(position)
                if reading is not None:
                    return reading
        code = self._code(position) if not sign else None
        number = self._number(position)
        if code is not None and (number is None or code.stop > number.stop):
            return code
        if number is None:
            return None
        if sign == "+" and len(number.digits) < 7:
            return None
        with_unit = self._money(number) or self._unit(number) or self._and_fraction(number)
        if with_unit is not None:
            text = sign + (with_unit.text or "")
            return Reading(text=text, digits=with_unit.digits, stop=with_unit.stop, is_dictated=number.is_dictated)
        if number.is_lone and not sign and not self._is_announced(start, number):
            return Reading(digits=number.digits, stop=number.stop)
        return Reading(text=sign + number.text, digits=number.digits, stop=number.stop, is_dictated=number.is_dictated)

    def _sign(self, start: int) -> tuple[str, int]:
        """Return "-" for a "minus" and "+" for a "plus" that stands before a number and behind none, and where the number begins."""
        speech = self.words.speech
        sign = {speech.minus: "-", speech.plus: "+"}.get(self.grammar.bare(start), "")
        before = self.grammar.said_before(start)
        is_none = before in self.words.vocabulary or before[-1:].isdigit() or before in ("au", "du", "le")  # "au moins un"
        return (sign, start + 1) if sign and not is_none else ("", start)

    def _number(self, start: int) -> Amount | None:
        """Read an amount in thousands or a string of digits, with what stands behind the point, and "million" behind that."""
        grammar, speech = self.grammar, self.words.speech
        whole = grammar.whole(start)
        if whole is not None and whole.in_thousands:
            number = self._in_thousands(start, whole.value, whole.stop)
        elif grammar.bare(start) == speech.point and speech.code == "en":
            items = grammar.digit_items(start + 1, is_share=True)
            if len(items) < 2 and (not items or grammar.bare(items[0].stop) not in ("percent", "per", *self.words.magnitudes)):
                return None
            digits = "".join(item.text for item in items)
            number = Amount(text=f".{digits}", digits=digits, stop=items[-1].stop, is_whole=False)
        else:
            number = self._digits(start)
        if number is None:
            return None
        if number.is_whole:
            number = self._behind_point(start, number)
        magnitude = self.words.magnitudes.get(grammar.bare(number.stop), 0)
        if magnitude and grammar.together(start, number.stop + 1) and " " not in number.text:
            value = Decimal(number.text.replace(",", "." if speech.decimal_mark == "," else "")) * magnitude
            text = f"{number.text} {grammar.pieces[number.stop].text}"
            return Amount(text=text, digits=f"{value:f}".partition(".")[0], stop=number.stop + 1)
        return number

    def _in_thousands(self, start: int, value: int, stop: int) -> Amount:
        """Write an amount: "2003", "12,500"; "5 million" where no more than the million was named."""
        head = self.grammar.in_hundreds(start)
        magnitude = self.words.magnitudes.get(self.grammar.bare(head.stop), 0) if head else 0
        if head is not None and magnitude >= 10**6 and value == head.value * magnitude:
            return Amount(text=f"{head.value} {self.grammar.pieces[stop - 1].text}", digits=str(value), stop=stop, is_whole=False)
        grouped = f"{value:,}".replace(",", "," if self.words.speech.code == "en" else " ")
        return Amount(text=grouped if value >= 10_000 else str(value), digits=str(value), stop=stop)

    def _digits(self, start: int) -> Amount | None:
        items = self.grammar.digit_items(start)
        begins_with_zero = bool(items) and self.grammar.bare(start) in ZERO_IN_COMPANY
        if all(item.is_oh for item in items):
            return None
        digits = "".join(item.text for item in items)
        is_dropped = (
            len(digits) == 2
            and items[0].text == "1"
            and self.grammar.said_before(start) in _ANY_ONE
            and self.grammar.bare(start) in ("one", "un")
        )
        if is_dropped:
            return Amount(text="1", digits="1", stop=items[0].stop, is_lone=True)
        is_lone = len(digits) == 1 or (begins_with_zero and len(digits) == 2)
        is_glyph = len(items) == 1 and glyph_digits(self.grammar.bare(start)) is not None
        if is_glyph:
            return Amount(text=self.grammar.pieces[start].text, digits=digits, stop=items[-1].stop, is_dictated=True)
        is_dictated = len(items) > 1 or items[0].text[1:] == items[0].text[:-1]  # "triple seven" is one part
        return Amount(text=digits, digits=digits, stop=items[-1].stop, is_lone=is_lone, is_dictated=is_dictated)

    def _behind_point(self, start: int, number: Amount) -> Amount:
        """Add what follows "point", or "dot" as in addresses of machines: "one two three dot zero dot four"."""
        point = self.words.speech.point
        for said, mark in ((point, self.words.speech.decimal_mark), ("dot", ".")):
            while self.grammar.bare(number.stop) == said and self.grammar.together(number.stop - 1, number.stop + 2):
                items = self.grammar.digit_items(number.stop + 1, is_share=True)
                if not items or (said == point and not number.is_whole):
                    break
                digits = "".join(item.text for item in items)
                text = f"{number.text}{mark}{digits}"
                number = Amount(text=text, digits=number.digits + digits, stop=items[-1].stop, is_whole=False)
        return number

    def _money(self, number: Amount) -> Reading | None:
        """Write "five dollars fifty cents" as "$5.50", in French "5,50 €"."""
        grammar, speech = self.grammar, self.words.speech
        name = grammar.bare(number.stop)
        for sign, (one, many, hundredth, hundredths) in speech.currencies.items():
            if name not in (one, many) or not grammar.together(number.stop - 1, number.stop + 1):
                continue
            if sign.isalpha() and sign != "chf":
                continue
            stop = number.stop + 1
            cents = self._cents(stop, (hundredth, hundredths)) if number.is_whole else None
            is_swiss = name.startswith("franc") and cents is not None
            if name in _UNSURE_MONEY and not (cents is not None and (cents.is_digit or is_swiss)):
                return None
            amount, digits = number.text, number.digits
            if cents is not None:
                amount, digits, stop = f"{amount}{speech.decimal_mark}{cents.text}", digits + cents.text, cents.stop
            sign = sign.upper()
            return Reading(text=f"{amount} {sign}" if self.words.is_french else sign + amount, digits=digits, stop=stop)
        return None

    def _cents(self, start: int, names: tuple[str, str]) -> Item | None:
        """Read the hundredths behind a sum: "fifty cents", "and five cents", "fifty"; `is_digit` says that they are named."""
        grammar = self.grammar
        if start >= len(grammar.pieces) or not grammar.together(start - 1, start + 1):
            return None
        has_and = grammar.bare(start) == self.words.speech.ampersand
        items = grammar.digit_items(start + has_and)
        digits = "".join(item.text for item in items)
        if not items or len(digits) > 2:
            return None
        if grammar.bare(items[-1].stop) in names and grammar.together(start, items[-1].stop + 1):
            return Item(text=digits.zfill(2), stop=items[-1].stop + 1, is_digit=True)
        return Item(text=digits, stop=items[-1].stop) if len(digits) == 2 and not has_and else None

    def _unit(self, number: Amount) -> Reading | None:
        """Write "twenty percent" as "20%", "five kilometers" as "5km"; in French with a space."""
        for phrase, sign in self.words.units.items():
            if self.grammar.says(number.stop, phrase) and self.grammar.together(number.stop - 1, number.stop + 1):
                gap = " " if self.words.is_french or number.text[-1].isalpha() else ""
                return Reading(text=f"{number.text}{gap}{sign}", digits=number.digits, stop=number.stop + len(phrase))
        return None

    def _and_fraction(self, number: Amount) -> Reading | None:
        """Write "three and a half" as "3 1/2"."""
        grammar = self.grammar
        if not number.is_whole or grammar.bare(number.stop) != self.words.speech.ampersand:
            return None
        if not grammar.together(number.stop - 1, number.stop + 2):
            return None
        start = number.stop + 1
        halves = (("demi",), ("demie",)) if self.words.is_french else (("a", "half"),)
        fraction = next(
            (Reading(text="1/2", digits="12", stop=start + len(half)) for half in halves if grammar.says(start, half)), None
        ) or self._fraction(start)
        if fraction is None or fraction.text is None:
            return None
        return Reading(text=f"{number.text} {fraction.text}", digits=number.digits + fraction.digits, stop=fraction.stop)

    def _fraction(self, start: int) -> Reading | None:
        """Write "three quarters" as "3/4", "one twenty fifth" as "1/25", "five over seven" as "5/7"."""
        grammar = self.grammar
        for longest in (5, 3, 2, 1):
            above = grammar.in_hundreds(start) if longest == 5 else grammar.below_hundred(start, longest=longest)
            if above is None or not above.value:
                return None
            below = self._share(above)
            is_time = below is not None and grammar.bare(below.stop) in ("d'heure", "d'heures")
            if below is not None and grammar.together(start, below.stop) and not is_time:
                text = f"{above.value}/{below.value}"
                return Reading(text=text, digits=digits_in(text), stop=below.stop)
        return None

    def _share(self, above: Whole) -> Whole | None:
        """Read the denominator behind `above`; "seconds" are a time."""
        grammar, name = self.grammar, self.grammar.bare(above.stop)
        if name == ("sur" if self.words.is_french else "over"):
            under = grammar.in_hundreds(above.stop + 1)
            return under if under and under.value and above.value < 1000 else None
        if (name, above.value > 1) in self.words.shares:
            return Whole(value=self.words.shares[name, above.value > 1], stop=above.stop + 1)
        under = grammar.ordinal(above.stop, is_plural=above.value > 1)
        is_long = under is not None and under.stop - above.stop > 1 and grammar.bare(under.stop - 1) not in ("second", "seconds")
        return under if is_long else None

    def _ordinal(self, start: int) -> Reading | None:
        """Write "twenty first" as "21st"; "first" to "ninth" only in a date, or as all of a sentence."""
        read = self.grammar.ordinal(start)
        if read is None:
            return None
        last = self.grammar.bare(read.stop - 1)
        after = [self.grammar.bare(read.stop + step) for step in (0, 1)]
        months = self.words.speech.months
        is_date = self.grammar.said_before(start) in months or after[0] in months or (after[0] in ("of", "de") and after[1] in months)
        if read.value < 10 and not is_date and not self._is_whole_sentence(start, read.stop):
            return None
        if self.words.is_french:
            suffix = {"premier": "er", "première": "re"}.get(last, "e")
        else:
            suffix = "th" if read.value // 10 % 10 == 1 else {1: "st", 2: "nd", 3: "rd"}.get(read.value % 10, "th")
        grouped = f"{read.value:,}".replace(",", " " if self.words.is_french else ",") if read.value >= 10_000 else str(read.value)
        return Reading(text=grouped + suffix, digits=str(read.value), stop=read.stop)

    def _decade(self, start: int) -> Reading | None:
        read = self.grammar.decade(start)
        return Reading(text=f"{read[0]}s", digits=read[0], stop=read[1]) if read else None

    def _code(self, start: int) -> Reading | None:
        """Write "a one b two c" as "A1B2C": digits among letters."""
        announced = self.grammar.said_before(start) in self._announcing
        items = self._sure_items(start, announced=announced)
        letters = [item.text for item in items if item.is_letter]
        digits = "".join(item.text for item in items if not item.is_letter)
        if not letters or all(item.is_letter or item.is_oh for item in items):
            return None
        stop = items[-1].stop
        if len(digits) + len(letters) < 3 and not announced and not self._is_whole_sentence(start, stop):
            return None
        text = "".join(item.text for item in items)
        if "".join(letters).islower():
            text = text.upper()
        return Reading(text=text, digits=digits, stop=stop, is_dictated=True)

    def _sure_items(self, start: int, *, announced: bool) -> list[Item]:
        """Return the digits and letters from `start`, without what may be no part of a code at either end: "a", "I", "p m"."""
        items = self.grammar.digit_items(start, letters=True)
        unsure = self.words.unsure_letters
        has_sure = any(item.is_letter and item.text.lower() not in unsure for item in items)
        if items and items[0].is_letter and self._is_unsure(items[0].text) and not (announced or has_sure):
            return []
        is_last = bool(items) and items[-1].stop == len(self.grammar.pieces)
        if items and items[-1].is_letter and self._is_unsure(items[-1].text) and not (is_last and has_sure):
            items = items[:-1]
        return items[:-2] if tuple(item.text.lower() for item in items[-2:]) in HALVES else items

    def _is_unsure(self, letter: str) -> bool:
        return letter.lower() in self.words.unsure_letters and (letter.islower() or letter == "I")

    @property
    def _announcing(self) -> frozenset[str]:
        return self.words.speech.code_contexts - _NO_CONTEXT | frozenset(_PLACES[self.words.speech.code].split())

    def _is_announced(self, start: int, number: Amount) -> bool:
        """Whether one digit is a number and no word of ordinary talk."""
        after = self.grammar.bare(number.stop)
        if self._is_whole_sentence(start, number.stop) or after in self.words.speech.months:
            return True
        before = self.grammar.said_before(start)
        if before in self.words.speech.months:
            return self.grammar.bare(start) not in ("one", "un", "une")
        return before in self._announcing - _VERBS and after != "of"

    def _is_whole_sentence(self, start: int, stop: int) -> bool:
        return self.is_sentence and start == 0 and stop == len(self.grammar.pieces)
