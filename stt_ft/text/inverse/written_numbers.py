"""From spoken form back to digits: "order number one two nine six eight zero three" is written "order number 1296803".

The inverse of `spoken_forms`, for what stands behind the model: an application wants digits. `write_numbers` writes a text that is whole,
`NumberWriter` words that arrive one at a time; both read alike, for the first is made of the second.

Ordinary talk stays as it is: a lone "one" to "nine" or "first" to "ninth" is written in digits only where something says that it is a
number: a unit, a month, a word such as "room" before it, or nothing else in the sentence. Words that sound like numbers ("to", "for",
"won") are never touched. Neighbours make one string of digits ("seven eighty eight" is 788), but for amounts in thousands.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field

from stt_ft.dataset.sidecar import Word
from stt_ft.text.digit_words import bare_word
from stt_ft.text.inverse.clocks import Reading
from stt_ft.text.inverse.grammar import NumberGrammar
from stt_ft.text.inverse.quantities import QuantityReader
from stt_ft.text.inverse.vocabulary import SENTENCE_MARK, NumberWords, Piece, is_mark, mark_behind, marks_around, number_words

_GLYPH_ORDINAL = re.compile(r"\d(?:st|nd|rd|th|er|re|ère|nd|nde|e|ème)")


@dataclass(frozen=True, kw_only=True)
class WrittenToken:
    """Words `start` to `stop` (exclusive) of a list as they are written.

    Attributes:
        text: with the marks around the words.
        digits: the digits that the words say, whether or not they are written so: "5 million" says 5000000, "one" of "no one" says 1.
        is_dictated: whether they are said part by part, as codes are, or written so; not as an amount, a time, a date.
    """

    start: int
    stop: int
    text: str
    digits: str = ""
    is_dictated: bool = False


def write_numbers(words: str | Sequence[str], language: str = "en") -> str:
    """Return a text, or its words, with its numbers in digits; raises `TextError` for a language other than `spoken_forms.LANGUAGES`."""
    words = words.split() if isinstance(words, str) else words
    return " ".join(token.text for token in written_tokens(words, language))


def written_tokens(words: Sequence[str], language: str = "en") -> list[WrittenToken]:
    """Return `words` as they are written, every word in one token; raises `TextError` as `write_numbers` does."""
    reader = _StreamReader(words=number_words(language))
    return [token for word in words for token in reader.hear(word)] + reader.finish()


@dataclass(kw_only=True)
class NumberWriter:
    """Writes the numbers of words that arrive one at a time, with their times.

    What `hear` and `finish` return is final. A number is final once a word comes that cannot belong to it, or its sentence ends; until
    then it is `pending`, as it would be written if nothing else came. A writer is of one speaker and one turn, and may take the next one
    after `finish`.
    """

    language: str = "en"
    _reader: _StreamReader = field(init=False, repr=False)
    _heard: dict[int, Word] = field(init=False, default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self._reader = _StreamReader(words=number_words(self.language))

    @property
    def pending(self) -> list[Word]:
        """The words that are not final yet, as they would be written now."""
        return self._timed(self._reader.pending())

    def hear(self, word: Word) -> list[Word]:
        """Take the next word; return what is final with it, each word with the span of the words it was written from."""
        self._heard[self._reader.num_heard] = word
        return self._final(self._reader.hear(word.text))

    def finish(self) -> list[Word]:
        """End the turn, as at a pause; return the rest."""
        rest = self._final(self._reader.finish())
        self._reader, self._heard = _StreamReader(words=self._reader.words), {}
        return rest

    def _final(self, tokens: Sequence[WrittenToken]) -> list[Word]:
        words = self._timed(tokens)
        self._heard = {place: word for place, word in self._heard.items() if place >= self._reader.num_final}
        return words

    def _timed(self, tokens: Sequence[WrittenToken]) -> list[Word]:
        timed = []
        for token in tokens:
            first, last = self._heard[token.start], self._heard[token.stop - 1]
            timed.append(Word(text=token.text, start_s=first.start_s, end_s=last.end_s, speaker=first.speaker))
        return timed


@dataclass(kw_only=True)
class _StreamReader:
    """Gathers the words of a number and reads them once they are all there, so that nothing read is ever taken back."""

    words: NumberWords
    num_final: int = 0
    before: str = ""
    begins: bool = True
    gathered: list[str] = field(default_factory=list)

    @property
    def num_heard(self) -> int:
        return self.num_final + len(self.gathered)

    def hear(self, word: str) -> list[WrittenToken]:
        """Take a word; return the tokens that are final."""
        self.gathered.append(word)
        if mark_behind(word) == SENTENCE_MARK:
            return self._release(ends=True)
        goes_on = is_mark(word) or self.words.may_follow(bare_word(self.words.parts(word)[-1][0]))
        return [] if goes_on and self.words.may_begin(self.gathered[0]) else self._release(ends=False)

    def pending(self) -> list[WrittenToken]:
        """Return the tokens of the gathered words, as if they were the last."""
        return self._read(ends=True)

    def finish(self) -> list[WrittenToken]:
        """Return the tokens of the gathered words."""
        return self._release(ends=True)

    def _release(self, *, ends: bool) -> list[WrittenToken]:
        tokens = self._read(ends=ends)
        self.before = bare_word(self.gathered[-1]) if self.gathered else self.before
        self.num_final += len(self.gathered)
        self.begins = ends
        self.gathered = []
        return tokens

    def _read(self, *, ends: bool) -> list[WrittenToken]:
        if len(self.gathered) == 1 and not self.words.may_begin(self.gathered[0]) and not any(map(str.isdecimal, self.gathered[0])):
            return [self._token(0, 1, None)]  # as most words are
        pieces = self.words.pieces(self.gathered)
        grammar = NumberGrammar(pieces=pieces, words=self.words, before=self.before)
        reader = QuantityReader(grammar=grammar, is_sentence=self.begins and ends)
        tokens: list[WrittenToken] = []
        position = 0
        while (index := tokens[-1].stop - self.num_final if tokens else 0) < len(self.gathered):
            if position == len(pieces) or pieces[position].word > index:
                reading, stop = None, index + 1
            else:
                reading = _whole_words(reader, position)
                position = reading.stop
                stop = pieces[position - 1].word + 1
            tokens.append(self._token(index, stop, reading))
        return tokens

    def _token(self, index: int, stop: int, reading: Reading | None) -> WrittenToken:
        """Return the token of the gathered words `index` to `stop`: what was read, between the marks around them."""
        text = " ".join(self.gathered[index:stop])
        if reading is not None and reading.text is not None:
            text = marks_around(self.gathered[index])[0] + reading.text + marks_around(self.gathered[stop - 1])[2]
        return WrittenToken(
            start=self.num_final + index,
            stop=self.num_final + stop,
            text=text,
            digits=reading.digits if reading else "",
            is_dictated=reading is not None and reading.is_dictated,
        )


def _whole_words(reader: QuantityReader, start: int) -> Reading:
    """Read from piece `start` to where a number and a word end together; what is no number is in the text as it stands."""
    pieces = reader.grammar.pieces
    text, position = "", start
    readings: list[Reading] = []
    while position == start or (position < len(pieces) and pieces[position].word == pieces[position - 1].word):
        reading = reader.read(position) or _glyphs(pieces[position], position + 1)
        readings.append(reading)
        as_it_is = pieces[position].text + "".join((one.joint or " ") + one.text for one in pieces[position + 1 : reading.stop])
        text += pieces[position].joint + (as_it_is if reading.text is None else reading.text)
        position = reading.stop
    is_same = all(reading.text is None for reading in readings)
    digits = "".join(reading.digits for reading in readings)
    return Reading(
        stop=position, digits=digits, text=None if is_same else text, is_dictated=any(reading.is_dictated for reading in readings)
    )


def _glyphs(piece: Piece, stop: int) -> Reading:
    """Return the digits written in a word: none in "1st", as there is none in "first"."""
    if _GLYPH_ORDINAL.fullmatch(piece.bare):
        return Reading(stop=stop, digits="")
    digits = "".join(str(unicodedata.decimal(glyph)) for glyph in piece.text if glyph.isdecimal())
    return Reading(stop=stop, digits=digits, is_dictated=piece.bare.isalnum())
