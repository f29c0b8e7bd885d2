"""Times of day read back: "half past ten", "ten oh five p m", "onze heures moins le quart"."""

from __future__ import annotations

from dataclasses import dataclass

from stt_ft.text.digit_words import ZERO_IN_COMPANY
from stt_ft.text.inverse.grammar import Item, NumberGrammar
from stt_ft.text.inverse.vocabulary import HALF_WORDS

HALVES = {("a", "m"): "am", ("p", "m"): "pm"}
"""The halves of a day as they are spelled, and as they are written."""

_TIME_CONTEXTS = frozenset(["à", "vers", "dès", "avant", "après", "depuis", "jusqu'à"])


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What the pieces before `stop` say, and how it is written.

    Attributes:
        digits: what is said in digits; `is_dictated` where that was part by part, as codes are, and not as an amount, a time, a date.
        text: None for what stays in words.
    """

    stop: int
    digits: str
    text: str | None = None
    is_dictated: bool = False


@dataclass(frozen=True, kw_only=True)
class ClockReader:
    """Reads pieces that may say a time."""

    grammar: NumberGrammar

    def read(self, start: int) -> Reading | None:
        """Return the time that begins at piece `start`; None where none does."""
        return self._french_clock(start) if self.grammar.words.is_french else self._clock(start)

    def _clock(self, start: int) -> Reading | None:
        """Read "ten thirty p m", "half past ten", "ten o'clock"."""
        grammar = self.grammar
        named = self._minutes_past(start)
        if named is not None:
            minute, hour_at, side = named
            hour = grammar.below_hundred(hour_at)
            if hour is not None and 1 <= hour.value <= 12 and grammar.together(start, hour.stop):
                past = hour.value if side == "past" else (hour.value - 2) % 12 + 1
                return self._with_half(f"{past}:{minute:02}", hour.stop)
            return None
        hour = grammar.below_hundred(start)
        if hour is None or hour.value > 24:
            return self._spelled_clock(start)
        if grammar.bare(hour.stop) == "o'clock" and grammar.together(start, hour.stop + 1):
            return self._with_half(f"{hour.value}:00", hour.stop + 1)
        minutes = self._minutes(hour.stop)
        if minutes is not None and grammar.together(start, minutes.stop):
            at = self.grammar.said_before(start) == "at" and grammar.item(minutes.stop) is None
            if at or (self._half(minutes.stop) is not None and hour.value <= 12):
                return self._with_half(f"{hour.value}:{minutes.text}", minutes.stop)
        is_verb = hour.value == 1 and hour.stop < len(grammar.pieces) and grammar.pieces[hour.stop].text == "am"
        is_hour = 1 <= hour.value <= 12 and not is_verb
        if is_hour and self._half(hour.stop) is not None:
            return self._with_half(str(hour.value), hour.stop)
        return self._spelled_clock(start)

    def _minutes_past(self, start: int) -> tuple[int, int, str] | None:
        """Read "half past", "a quarter to", "ten past"; return minute, where the hour begins, and "past" or "to"."""
        grammar = self.grammar
        first = start + (grammar.bare(start) == "a")
        if grammar.says(start, ("half", "past")):
            return 30, start + 2, "past"
        if grammar.bare(first) == "quarter" and grammar.bare(first + 1) in ("past", "to"):
            return (15 if grammar.bare(first + 1) == "past" else 45), first + 2, grammar.bare(first + 1)
        minute = grammar.below_hundred(start)
        if minute is None or not 1 <= minute.value <= 59:
            return None
        side_at = minute.stop + (grammar.bare(minute.stop) in ("minute", "minutes"))
        side = grammar.bare(side_at)
        hour = grammar.below_hundred(side_at + 1)
        sure = side == "past" or (side == "to" and (self.grammar.said_before(start) == "at" or (hour and self._half(hour.stop))))
        return (minute.value if side == "past" else 60 - minute.value, side_at + 1, side) if sure else None

    def _minutes(self, start: int) -> Item | None:
        """Read the minutes of "ten thirty", "ten oh five"."""
        if self.grammar.bare(start) in ZERO_IN_COMPANY:
            digit = self.grammar.below_hundred(start + 1)
            return Item(text=f"0{digit.value}", stop=digit.stop) if digit and 0 < digit.value < 10 else None
        minute = self.grammar.below_hundred(start)
        return Item(text=str(minute.value), stop=minute.stop) if minute and 10 <= minute.value <= 59 else None

    def _spelled_clock(self, start: int) -> Reading | None:
        """Read "one zero three zero p m"."""
        items = self.grammar.digit_items(start)
        digits = "".join(item.text for item in items)
        if len(digits) not in (3, 4) or int(digits[-2:]) > 59 or not 1 <= int(digits[:-2]) <= 12 or self._half(items[-1].stop) is None:
            return None
        return self._with_half(f"{digits[:-2]}:{digits[-2:]}", items[-1].stop)

    def _half(self, start: int) -> tuple[str, int] | None:
        """Read "a m", "pm"; return what is written behind the time, and where it ends: a word that is written already stays one."""
        for spelled, written in HALVES.items():
            if self.grammar.says(start, spelled):
                return written, start + 2
        return ("", start) if self.grammar.bare(start) in HALF_WORDS else None

    def _with_half(self, time: str, stop: int) -> Reading:
        written, stop = self._half(stop) or ("", stop)
        return Reading(text=time + written, digits=digits_in(time), stop=stop)

    def _french_clock(self, start: int) -> Reading | None:
        """Read "dix heures trente", "sept heures et demie", "onze heures moins le quart"."""
        grammar = self.grammar
        items = grammar.digit_items(start)
        hour = items[0] if len(items) == 1 or (items and items[0].text == "0") else None
        if hour is None or len(hour.text) > 2 or int(hour.text) > 24 or grammar.bare(hour.stop) not in ("heure", "heures"):
            return None
        position = hour.stop + 1
        if not grammar.together(start, position):
            return None
        if not grammar.pieces[position - 1].mark:
            for words, minute in ((("et", "demie"), 30), (("et", "demi"), 30), (("et", "quart"), 15), (("moins", "le", "quart"), -15)):
                if grammar.says(position, words):
                    return self._french_time(int(hour.text), minute, position + len(words))
            is_minus = grammar.bare(position) == "moins"
            minute = grammar.below_hundred(position + is_minus)
            if minute and 1 <= minute.value <= 59 and grammar.bare(minute.stop) not in ("minute", "minutes", *grammar.words.hundreds):
                return self._french_time(int(hour.text), -minute.value if is_minus else minute.value, minute.stop)
        is_time = len(hour.text) > 1 or self.grammar.said_before(start) in _TIME_CONTEXTS  # "trois heures" may be how long it takes
        return Reading(text=f"{hour.text}h", digits=hour.text, stop=position) if is_time else None

    def _french_time(self, hour: int, minute: int, stop: int) -> Reading:
        text = f"{hour - (minute < 0)}h{minute % 60:02}"
        return Reading(text=text, digits=digits_in(text), stop=stop)


def digits_in(text: str) -> str:
    """Return the digits of a text, without what stands between them."""
    return "".join(glyph for glyph in text if glyph.isdecimal())
