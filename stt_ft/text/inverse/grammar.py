"""Spoken numbers read back, the first floor: cardinals, ordinals and strings of digits and letters, at a place in a list of pieces.

What a number is followed by (percent, dollars, o'clock) is read by `quantities`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from stt_ft.text.digit_words import REPEAT_OF_WORD, ZERO_IN_COMPANY, glyph_digits
from stt_ft.text.inverse.vocabulary import SENTENCE_MARK, NumberWords, Piece

_MOST_LETTERS = 12  # before the first digit of a code
_ENGLISH_HUNDREDS = frozenset(count for count in range(1, 100) if count % 10)
_FRENCH_HUNDREDS = frozenset([*range(2, 10), *range(11, 20)])


@dataclass(frozen=True, kw_only=True)
class Whole:
    """A cardinal that ends before piece `stop`; `in_thousands` says that a thousand, a million … was named."""

    value: int
    stop: int
    in_thousands: bool = False


@dataclass(frozen=True, kw_only=True)
class Item:
    """Part of a code: the digits or letters that pieces up to `stop` say; `is_digit` for one digit alone, `is_oh` for a
    zero that only its neighbours make one, `is_glyphs` for written digits."""

    text: str
    stop: int
    is_letter: bool = False
    is_digit: bool = False
    is_oh: bool = False
    is_glyphs: bool = False


@dataclass(frozen=True, kw_only=True)
class NumberGrammar:
    """Reads what begins at a piece; every method returns None where nothing of its kind does. `before` is the word before all pieces."""

    pieces: Sequence[Piece]
    words: NumberWords
    before: str = ""
    _hundreds: dict[int, Whole | None] = field(init=False, default_factory=dict, repr=False, compare=False)  # asked for again and again

    def bare(self, index: int) -> str:
        """The bare word at `index`, "" beyond the ends."""
        return self.pieces[index].bare if 0 <= index < len(self.pieces) else ""

    def said_before(self, start: int) -> str:
        """Return the bare word before piece `start`."""
        return self.bare(start - 1) or (self.before if start == 0 else "")

    def says(self, start: int, phrase: Sequence[str]) -> bool:
        """Whether the pieces from `start` on are `phrase`, with no mark between them."""
        stop = start + len(phrase)
        if self.bare(start) != phrase[0]:
            return False  # at once, as nearly always
        return tuple(piece.bare for piece in self.pieces[start:stop]) == tuple(phrase) and self.together(start, stop)

    def together(self, start: int, stop: int) -> bool:
        """Whether no mark stands between the pieces from `start` to `stop` (exclusive)."""
        return not any(piece.mark for piece in self.pieces[start : stop - 1])

    def below_hundred(self, start: int, *, longest: int = 5) -> Whole | None:
        """Read the longest name of 0 to 99, of up to so many words: "quatre vingt dix sept" is 97."""
        for length in self.words.name_lengths.get(self.bare(start), ()):
            if length > longest or start + length > len(self.pieces):
                continue
            value = self.words.below_hundred.get(tuple(piece.bare for piece in self.pieces[start : start + length]))
            if value is not None and self.together(start, start + length):
                return Whole(value=value, stop=start + length)
        return None

    def in_hundreds(self, start: int) -> Whole | None:
        """Read a cardinal without thousands: "five", "two hundred and six", "twelve hundred"; in French "cent", "dix neuf cent trois"."""
        if start not in self._hundreds:
            self._hundreds[start] = self._in_hundreds(start)
        return self._hundreds[start]

    def _in_hundreds(self, start: int) -> Whole | None:
        if self.words.is_french:
            counts, head = _FRENCH_HUNDREDS, Whole(value=1, stop=start) if self.bare(start) in self.words.hundreds else None
        else:
            counts = _ENGLISH_HUNDREDS
            is_one = self.bare(start) == "a" and self.bare(start + 1) in ("hundred", "thousand") and self.together(start, start + 2)
            head = Whole(value=1, stop=start + 1) if is_one else None
        head = head or self.below_hundred(start)
        if head is None or self.bare(head.stop) not in self.words.hundreds or not self.together(start, head.stop + 1):
            return head
        if head.stop > start and head.value not in counts and self.bare(start) != "a":
            return head
        hundreds = Whole(value=head.value * 100, stop=head.stop + 1)
        tail = self._tail(hundreds.stop)
        return hundreds if tail is None else Whole(value=hundreds.value + tail.value, stop=tail.stop)

    def whole(self, start: int) -> Whole | None:
        """Read the longest cardinal: "one million two hundred and three thousand and five"."""
        read: Whole | None = None
        limit, position = 0, start
        while True:
            part = self.in_hundreds(position)
            if self.bare(position) == "mille":
                part = Whole(value=1, stop=position)
            if part is None:
                return read
            magnitude = self.words.magnitudes.get(self.bare(part.stop), 0)
            if magnitude and (not limit or magnitude < limit) and self.together(start, part.stop + 1):
                sofar = read.value if read else 0
                read = Whole(value=sofar + part.value * magnitude, stop=part.stop + 1, in_thousands=True)
                limit, position = magnitude, part.stop + 1
                if self.says(position - 1, (self.bare(position - 1), "and")) and self.in_hundreds(position + 1):
                    position += 1
                if not self.together(start, position + 1):
                    return read
                continue
            if read is None:
                return part
            is_tail = 0 < part.value < 1000 and not magnitude and self.together(start, part.stop)
            if is_tail and not (position == read.stop and self._begins_digits(position, part)):
                return Whole(value=read.value + part.value, stop=part.stop, in_thousands=True)
            return read

    def ordinal(self, start: int, *, is_plural: bool = False) -> Whole | None:
        """Read "twenty first", "one hundred and third", "deux millième" (or "twenty firsts") as the cardinal it makes."""
        for last in range(start, min(start + 14, len(self.pieces))):
            bare = self.bare(last)
            cardinal = self.words.ordinals.get(bare.removesuffix("s") if is_plural else bare)
            if cardinal is not None and is_plural and not bare.endswith("s"):
                return None
            if cardinal is not None:
                return self._as_cardinal(start, last, cardinal)
            if self.bare(last) not in self.words.vocabulary and self.bare(last) not in ("and", "et", "a"):
                return None
        return None

    def decade(self, start: int) -> tuple[str, int] | None:
        """Read "nineteen nineties", "two thousands" (English); return its first year and where it ends."""
        for last in range(start + 1, min(start + 4, len(self.pieces))):
            plural = self.bare(last)
            single = f"{plural[:-3]}y" if plural.endswith("ties") else plural.removesuffix("s")
            if plural == single or self.words.is_french or single not in self.words.vocabulary:
                continue
            changed = self._with(last, single)
            items = changed.digit_items(start)
            whole = changed.whole(start)
            year = str(whole.value) if whole and whole.in_thousands else "".join(item.text for item in items)
            stop = whole.stop if whole and whole.in_thousands else items[-1].stop if items else start
            if stop == last + 1 and len(year) == 4 and year.endswith("0"):
                return year, stop
        return None

    def item(self, position: int, *, letters: bool = False, is_share: bool = False) -> Item | None:
        """Read a part of a code: a digit, "double seven", "oh", an amount up to a thousand, written digits, or a letter.

        A thousand or a million ends a code, but for digits behind a point (`is_share`): "three point two million".
        """
        bare = self.bare(position)
        count = REPEAT_OF_WORD.get(bare)
        if count is not None:
            after = self._single(position + 1, letters=letters) if self.together(position, position + 2) else None
            if letters and bare == "double" and self.bare(position + 1) in (("v",) if self.words.is_french else ("u",)):
                return Item(text="w", stop=position + 2, is_letter=True)
            return replace(after, text=after.text * count) if after else None
        if bare in ZERO_IN_COMPANY:
            return self._single(position)
        whole = self.in_hundreds(position) if is_share else self.whole(position)
        if whole is not None:
            return None if whole.in_thousands else Item(text=str(whole.value), stop=whole.stop, is_digit=whole.value < 10)
        glyphs = glyph_digits(bare) if bare else None
        if glyphs is not None:
            return Item(text=glyphs, stop=position + 1, is_digit=len(glyphs) == 1, is_glyphs=True)
        return self._single(position, letters=letters)

    def _single(self, position: int, *, letters: bool = False) -> Item | None:
        """Read one piece that says one digit or one letter."""
        bare = self.bare(position)
        digit = 0 if bare in ZERO_IN_COMPANY else self.words.below_hundred.get((bare,), int(bare) if bare.isdecimal() else 10)
        if digit < 10:
            return Item(text=str(digit), stop=position + 1, is_digit=True, is_oh=bare in ZERO_IN_COMPANY)
        is_letter = letters and len(bare) == 1 and bare.isalpha() and unicodedata.name(bare, "").startswith("LATIN")
        return Item(text=self.pieces[position].text, stop=position + 1, is_letter=True) if is_letter else None

    def digit_items(self, start: int, *, letters: bool = False, is_share: bool = False) -> list[Item]:
        """Read a code, part by part, up to what says none of it or to the end of a sentence.

        A comma parts amounts ("twenty, thirty") and two digits ("four, five or six"), but not three and more, nor what follows two of them.
        Written numbers stay apart, single glyphs do not.
        """
        items: list[Item] = []
        position = start
        only_letters = True
        while position < len(self.pieces) and not (only_letters and len(items) > _MOST_LETTERS):
            item = self.item(position, letters=letters, is_share=is_share)
            if item is None and items and only_letters:
                whole = self.whole(position)  # "t two thousand"
                item = Item(text=str(whole.value), stop=whole.stop) if whole else None
            if item is None or (items and not self._goes_on(items, item, position)):
                break
            items.append(item)
            only_letters = only_letters and item.is_letter
            position = item.stop
        return items[:1] if len(items) == 2 and self.pieces[items[0].stop - 1].mark else items

    def _goes_on(self, items: Sequence[Item], item: Item, position: int) -> bool:
        mark = self.pieces[position - 1].mark
        if mark == SENTENCE_MARK or (items[-1].is_glyphs and item.is_glyphs and not (items[-1].is_digit and item.is_digit)):
            return False
        if not mark:
            return True
        spelled = [one.is_digit or one.is_letter for one in items]
        return (spelled[-1] and (item.is_digit or item.is_letter)) or sum(spelled[:_MOST_LETTERS]) > 1

    def _tail(self, position: int) -> Whole | None:
        """Read what follows a hundred: "and five", "twenty three", but nothing of "one hundred and two hundred"."""
        has_and = self.bare(position) == "and" and not self.words.is_french
        tail = self.below_hundred(position + has_and)
        if tail is not None and self.bare(tail.stop) in self.words.hundreds:  # "four hundred thirty eight hundred five" is 430 805
            last = self.below_hundred(tail.stop - 1)
            if not self.words.is_french or (last is not None and last.value in _FRENCH_HUNDREDS):
                tail = self.below_hundred(position + has_and, longest=tail.stop - position - has_and - 1)
        if tail is None or not tail.value or not self.together(position - 1, tail.stop):
            return None
        is_counted = self.bare(position - 1) == "cent" and self.below_hundred(position - 2) is not None  # "cents" where nothing follows
        return None if not has_and and not is_counted and self._begins_digits(position, tail) else tail

    def _begins_digits(self, position: int, part: Whole) -> bool:
        """Whether `part` is the first of several digits: "eight hundred five five five" is 800 555."""
        after = self.below_hundred(part.stop)
        is_digit = (after is not None and after.value < 10) or self.bare(part.stop) in ZERO_IN_COMPANY
        return part.value < 10 and part.stop == position + 1 and is_digit

    def _as_cardinal(self, start: int, last: int, cardinal: str) -> Whole | None:
        whole = self._with(last, cardinal).whole(start)
        return whole if whole and whole.stop == last + 1 and self.together(start, last + 1) else None

    def _with(self, index: int, bare: str) -> NumberGrammar:
        changed = [*self.pieces[:index], replace(self.pieces[index], bare=bare), *self.pieces[index + 1 :]]
        return replace(self, pieces=changed)
