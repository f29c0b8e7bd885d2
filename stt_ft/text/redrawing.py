"""A prompt said anew: the words around its numbers stay, each dictated number becomes another of its kind in another reading. Pure."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from stt_ft.text.digit_words import digits_of_words, is_digit_word
from stt_ft.text.prompts import Prompt, dictation, digit_string
from stt_ft.text.spoken_forms import language_named, spoken_tokens

MIN_DIGITS = 3
"""Shorter numbers are quantities: "two boxes" stays."""

_BREAKS = ",;:.!?…"
_MARKS = _BREAKS + "\"'()[]-–—«»“”‘’"
_SILENCE = ("…", "...")
_TRIES = 200
_BREAK_BEFORE_NUMBER = 0.15


@dataclass(frozen=True, kw_only=True)
class Redrawn:
    """A prompt with new numbers.

    Attributes:
        prompt: the text to say; its words bear no marks.
        labels: the same words as a transcript of the prompt writes them, capitals and marks as in the script.
        numbers: the digit strings that are dictated, in order.
        asks_for_silence: whether the script holds a "…", at which the speaker is to wait.
    """

    prompt: Prompt
    labels: tuple[str, ...]
    numbers: tuple[str, ...]
    asks_for_silence: bool


def redraw(text: str, rng: random.Random, *, language: str, is_new: Callable[[str], bool]) -> Redrawn:
    """Return `text` with other digits in each of its numbers: up to one more or fewer, grouped and read ("oh", "double") anew.

    Args:
        text: a prompt, with its numbers in digits ("310 555 1720") or in words ("four one five … five").
        language: of the words: `en`, `fr`, `fr-be` or `fr-ch`.
        is_new: whether a digit string may be said; drawn again until it may, longer where none of that length is left.

    Raises:
        TextError: a token that cannot be read aloud, or an unknown language.
    """
    writer = _Writer()
    names = language_named(language).digits
    numbers: list[str] = []
    tokens = text.split()
    plain: list[str] = []
    position = 0
    while position < len(tokens):
        stop = _number_end(tokens, position)
        if stop is None:
            plain.append(tokens[position])
            position += 1
            continue
        writer.say(plain, language)
        plain = []
        digits = _new_digits(rng, len(digits_of_words(tokens[position:stop])), lambda digits: digits not in numbers and is_new(digits))
        numbers.append(digits)
        words, group_starts = dictation(rng, digits, names=names, spoken_zero_and_double=language == "en")
        writer.dictate(words, group_starts, breaks_before=rng.random() < _BREAK_BEFORE_NUMBER, breaks_after=_is_break(tokens[stop - 1]))
        position = stop
    writer.say(plain, language)
    return Redrawn(
        prompt=writer.prompt(numbers),
        labels=tuple(writer.labels),
        numbers=tuple(numbers),
        asks_for_silence=any(mark in text for mark in _SILENCE),
    )


def holds_number(text: str) -> bool:
    """Return whether `text` holds a number that `redraw` would draw anew."""
    tokens = text.split()
    return any(_number_end(tokens, position) is not None for position in range(len(tokens)))


@dataclass(kw_only=True)
class _Writer:
    """Words of a prompt as they are put together."""

    words: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    breaks: set[int] = field(default_factory=set)
    spans: list[tuple[int, int]] = field(default_factory=list)

    def say(self, tokens: Sequence[str], language: str) -> None:
        """Add tokens that are no dictated number; marks alone are a break."""
        for token in spoken_tokens(tokens, language=language):
            words = [word for word in token.lattice.words if word.strip(_MARKS)]
            self.words += [word.strip(_MARKS) for word in words]
            self.labels += words
            if _is_break(token.written[-1]):
                self.breaks.add(len(self.words))

    def dictate(self, words: Sequence[str], group_starts: Sequence[int], *, breaks_before: bool, breaks_after: bool) -> None:
        """Add a number."""
        first = len(self.words)
        self.words += words
        self.labels += words
        self.spans.append((first, len(self.words)))
        self.breaks |= {first + start for start in group_starts}
        self.breaks |= {first} if breaks_before else set()
        self.breaks |= {len(self.words)} if breaks_after else set()

    def prompt(self, numbers: Sequence[str]) -> Prompt:
        """Return the whole."""
        return Prompt(
            words=tuple(self.words),
            kind="number" if numbers else "ordinary",
            breaks=frozenset(index for index in self.breaks if 0 < index < len(self.words)),
            digits=numbers[0] if numbers else "",
            number_span=self.spans[0] if self.spans else None,
            other_numbers=tuple(self.spans[1:]),
        )


def _number_end(tokens: Sequence[str], start: int) -> int | None:
    """Return where the number that begins with token `start` ends (exclusive), or None where none of `MIN_DIGITS` digits begins there.

    Silences ("…") may part its digits; a comma or full stop ends it.
    """
    if not _is_dictated(tokens[start]):
        return None
    stop = position = start
    while position < len(tokens) and (_is_dictated(tokens[position]) or not tokens[position].strip(_MARKS)):
        position += 1
        if tokens[position - 1].strip(_MARKS):
            stop = position
            if tokens[position - 1][-1] in _BREAKS:
                break
    return stop if len(digits_of_words(tokens[start:stop])) >= MIN_DIGITS else None


def _is_dictated(token: str) -> bool:
    """Whether a token belongs to a dictated number; "1,250" is an amount."""
    return is_digit_word(token) and "," not in token.strip(_MARKS)


def _new_digits(rng: random.Random, length: int, is_new: Callable[[str], bool]) -> str:
    """Return a digit string of about `length` digits that is new."""
    tries = 0
    while True:
        digits = digit_string(rng, max(MIN_DIGITS, length + rng.choice((-1, 0, 0, 1)) + tries // _TRIES))
        if is_new(digits):
            return digits
        tries += 1


def _is_break(token: str) -> bool:
    return token[-1:] in tuple(_BREAKS) or not token.strip(_MARKS)
