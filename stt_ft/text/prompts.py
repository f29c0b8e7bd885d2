"""Prompts for a speaker: dictated numbers in the shapes people dictate them, and ordinary sentences. Seeded, balanced, pure.

A prompt is a list of spoken words with the places where a speaker may pause, and the span of the number in it. English.
"""

from __future__ import annotations

import enum
import hashlib
import math
import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from stt_ft.text.digit_words import ENGLISH_DIGITS

_NUMBER_KINDS = (
    (
        ("order number", "my order number is", "the order number is", "please check order number", "i am calling about order number",
         "it is order number"),
        (7, 7, 7, 8, 6, 5),
    ),
    (("location code", "the location code is", "my location code is", "please look up location code"), (6, 6, 6, 5, 7, 4)),
    (
        ("my phone number is", "the phone number is", "you can call me at", "please call me back on", "my number is"),
        (10, 10, 10, 7, 8, 9),
    ),
    (
        ("the code is", "the reference is", "my account number is", "the ticket number is", "customer number", "the pin is"),
        (3, 4, 5, 6, 8, 9),
    ),
)  # fmt: skip
"""For each kind of number: the phrases that announce it, and its lengths in digits."""

_AFTER_NUMBER = ("please", "thank you", "for the delivery", "and it is late", "can you check it", "from last week")

_PEOPLE = (
    "i", "we", "they", "she", "he", "my sister", "my brother", "the driver", "our neighbour", "the manager", "your colleague",
    "the doctor", "a customer", "the young woman", "the old man", "my friend", "the teacher", "our team", "the children", "my mother",
)  # fmt: skip
_PAST = (
    "bought", "found", "lost", "returned", "ordered", "wanted", "opened", "forgot", "brought", "cleaned", "painted", "sold", "used",
    "fixed", "moved", "checked",
)  # fmt: skip
_THINGS = (
    "the blue chair", "a small table", "the green jacket", "some fresh bread", "a new phone", "the kitchen window", "my black shoes",
    "the wrong parcel", "a warm coat", "the red bicycle", "the last ticket", "a good book", "the front door", "a large box",
    "the white car", "some cold water", "the garden key", "a broken lamp", "the silver ring", "an empty bottle", "the heavy bag",
    "a birthday card", "the yellow flowers", "a paper map",
)  # fmt: skip
_PLACES = (
    "at the market", "in the office", "near the station", "behind the school", "in the city", "at home", "by the river",
    "in the kitchen", "next to the bank", "under the bridge", "at the airport", "in our street", "on the second floor", "in the hotel",
    "at the library", "beside the church",
)  # fmt: skip
_TIMES = (
    "yesterday", "last night", "this morning", "on monday", "on friday evening", "before lunch", "after the meeting", "early today",
    "last summer", "two days ago", "at seven", "around noon", "in the afternoon", "a week ago", "at nine thirty",
)  # fmt: skip
_REASONS = (
    "because it was raining", "because the shop was closed", "so we had to wait", "but nobody was there", "and everyone was happy",
    "but it was too late", "because the train was slow", "so i called again", "and then we went home", "but the price was wrong",
)  # fmt: skip
_REQUESTS = (
    "could you send me", "i would like to return", "please bring me", "can we talk about", "do you still have", "i need help with",
    "please cancel", "where can i find", "when will you deliver", "i have a question about", "would you please change",
    "we are waiting for",
)  # fmt: skip
_SHORT_NUMBERS = (
    "two", "three", "four", "five", "six", "eight", "ten", "twelve", "fifteen", "twenty", "twenty three", "thirty", "forty five",
    "sixty",
)  # fmt: skip
_COUNTED = ("boxes", "tickets", "minutes", "people", "pages", "bottles", "chairs", "days", "miles", "letters")
_ASIDES = ("hello", "good morning", "yes", "no", "well", "okay", "excuse me", "thanks", "of course", "sorry")
_STATES = (
    "quite busy", "very tired", "still open", "almost ready", "much cheaper", "completely full", "rather quiet", "too small",
    "really nice", "out today",
)  # fmt: skip
_NUMBERED_PLACES = (
    "i am in room", "please come to gate", "we are waiting at table", "take bus", "it is on platform", "look in aisle",
    "bring it to counter", "they live on floor", "he is in seat", "the parcel is in locker",
)  # fmt: skip
_SUBJECTS = (
    "the shop", "the train", "the weather", "your service", "the new building", "our house", "the restaurant", "this road",
    "the music", "the food",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A text for a speaker to say.

    Attributes:
        words: spoken words, lower case.
        kind: `number` or `ordinary`.
        breaks: indices of words before which the melody breaks (a comma) and a pause is natural.
        digits: the dictated digits as a string, empty for ordinary sentences.
        number_span: first word of the number and one past its last, or None.
        other_numbers: the same of further numbers in the prompt.
    """

    words: tuple[str, ...]
    kind: str
    breaks: frozenset[int] = field(default_factory=frozenset)
    digits: str = ""
    number_span: tuple[int, int] | None = None
    other_numbers: tuple[tuple[int, int], ...] = ()

    @property
    def text(self) -> str:
        """The spoken words with a comma at every break and a full stop."""
        marked = [word + ("," if index + 1 in self.breaks else "") for index, word in enumerate(self.words)]
        return " ".join(marked) + "."

    @property
    def written(self) -> str:
        """The prompt with its number in digits, as a transcriber would write it."""
        if self.number_span is None:
            return " ".join(self.words)
        start, end = self.number_span
        return " ".join([*self.words[:start], self.digits, *self.words[end:]])

    def is_inside_number(self, index: int) -> bool:
        """Return whether the gap before word `index` lies between two words of one number."""
        first = () if self.number_span is None else (self.number_span,)
        return any(start < index < end for start, end in (*first, *self.other_numbers))


@dataclass(frozen=True, kw_only=True)
class PromptLine:
    """A line of a prompt script: the name under which its take is kept, the text to say, `number` or `ordinary`, and how to say it."""

    prompt_id: str
    say: str
    kind: str = "number"
    direction: str = ""


def belongs_to(digits: str, shares: Collection[int]) -> bool:
    """Return whether a digit string falls into one of `shares`, each 0 to 4, of five equal, disjoint parts of all digit strings.

    Splits with different shares never meet.
    """
    return int(hashlib.sha256(digits.encode()).hexdigest(), 16) % 5 in shares


def number_prompt(
    rng: random.Random,
    *,
    allowed: Callable[[str], bool] = lambda digits: True,
    min_digits: int = 3,
    max_digits: int = 10,
) -> Prompt:
    """Make a prompt that dictates a number digit by digit.

    Args:
        allowed: accepts or refuses a digit string (to keep splits apart); drawn again until accepted.
    """
    while True:
        carriers, lengths = rng.choice(_NUMBER_KINDS)
        length = rng.choice(lengths)
        if not min_digits <= length <= max_digits:
            continue
        digits = digit_string(rng, length)
        if allowed(digits):
            break
    carrier = rng.choice(carriers).split()
    spoken, group_starts = dictation(rng, digits)
    breaks = {len(carrier) + start for start in group_starts}
    after: Sequence[str] = ()
    if rng.random() < 0.25:
        after = rng.choice(_AFTER_NUMBER).split()
        breaks.add(len(carrier) + len(spoken))
    if rng.random() < 0.15:
        breaks.add(len(carrier))
    return Prompt(
        words=(*carrier, *spoken, *after),
        kind="number",
        breaks=frozenset(breaks),
        digits=digits,
        number_span=(len(carrier), len(carrier) + len(spoken)),
    )


def dictation(
    rng: random.Random, digits: str, *, names: Sequence[str] = ENGLISH_DIGITS, spoken_zero_and_double: bool = True
) -> tuple[list[str], list[int]]:
    """Return the words by which a speaker dictates `digits`, and the indices of those that begin a group after the first.

    Args:
        names: the words for 0 to 9.
        spoken_zero_and_double: whether "oh" for zero and "double five" may occur (English).
    """
    groups = _group_lengths(rng, len(digits))
    zero = "oh" if spoken_zero_and_double and rng.random() < 0.3 else names[0]
    says_double = spoken_zero_and_double and rng.random() < 0.5
    spoken: list[str] = []
    group_starts = []
    position = 0
    for group in groups:
        if spoken:
            group_starts.append(len(spoken))
        spoken += _spell(digits[position : position + group], names=(zero, *names[1:]), says_double=says_double)
        position += group
    return spoken, group_starts


def spoken_digits(rng: random.Random, digits: str) -> Prompt:
    """Make a prompt of `digits` alone, said one by one in the groups that a speaker makes."""
    words, group_starts = dictation(rng, digits, spoken_zero_and_double=False)
    return Prompt(words=tuple(words), kind="number", breaks=frozenset(group_starts), digits=digits, number_span=(0, len(words)))


def ordinary_prompt(rng: random.Random) -> Prompt:
    """Make an ordinary sentence; numbers in it have one or two digits and are written as words."""
    pattern = rng.randrange(7)
    parts: list[str]
    if pattern == 0:
        parts = [f"{rng.choice(_PEOPLE)} {rng.choice(_PAST)} {rng.choice(_THINGS)} {rng.choice(_PLACES)}"]
        parts += [rng.choice(_TIMES)] if rng.random() < 0.4 else []
    elif pattern == 1:
        parts = [f"{rng.choice(_PEOPLE)} {rng.choice(_PAST)} {rng.choice(_THINGS)} {rng.choice(_TIMES)}", rng.choice(_REASONS)]
    elif pattern == 2:
        parts = [f"{rng.choice(_REQUESTS)} {rng.choice(_THINGS)}"]
        parts += [rng.choice(_ASIDES)] if rng.random() < 0.2 else []
    elif pattern == 3:
        parts = [f"{rng.choice(_PEOPLE)} {rng.choice(_PAST)} {rng.choice(_SHORT_NUMBERS)} {rng.choice(_COUNTED)} {rng.choice(_PLACES)}"]
    elif pattern == 4:
        parts = [f"{rng.choice(_SUBJECTS)} was {rng.choice(_STATES)} {rng.choice(_TIMES)}"]
        parts += [rng.choice(_REASONS)] if rng.random() < 0.4 else []
    elif pattern == 5:
        digits, zero = digit_string(rng, rng.choice((1, 2))), rng.choice(("zero", "oh"))
        number = _spell(digits, names=(zero, *ENGLISH_DIGITS[1:]), says_double=rng.random() < 0.5)
        parts = [" ".join((rng.choice(_NUMBERED_PLACES), *number))]
        parts += [rng.choice(_TIMES)] if rng.random() < 0.4 else []
    else:
        parts = [
            f"{rng.choice(_REQUESTS)} {rng.choice(_SHORT_NUMBERS)} {rng.choice(_COUNTED)}",
            f"{rng.choice(_SUBJECTS)} was {rng.choice(_STATES)}",
        ]
    if rng.random() < 0.25:
        parts.insert(0, rng.choice(_ASIDES))
    words: list[str] = []
    breaks = set()
    for part in parts:
        if words and rng.random() < 0.7:
            breaks.add(len(words))
        words += part.split()
    return Prompt(words=tuple(words), kind="ordinary", breaks=frozenset(breaks))


class Manner(str, enum.Enum):
    """How a speaker dictates a number."""

    NATURAL = "natural"
    """As people read numbers out: groups follow each other closely; one speaker in eight halts."""

    HESITANT = "hesitant"
    """As callers do who look their number up while they speak: long silences, mostly where the melody breaks."""

    @property
    def pace(self) -> float:
        """Factor on a speaker's speed: people dictate more slowly than they talk."""
        return 0.86 if self is Manner.NATURAL else 1.0


_HALTING_PROB, _HALTING_FACTOR = 0.13, 6.8
_NATURAL_PAUSE_PROB = {True: 0.6, False: 0.15}
_NATURAL_MEDIAN_S, _NATURAL_SIGMA = 0.085, 0.5
"""Natural pauses are log-normal, at breaks of the melody (True) and elsewhere; a halting speaker's are longer by the factor.

Fitted to 200 numbers that a person read out: 7 % of the gaps inside numbers above 0.3 s, 2.4 % above 0.5 s, 0.5 % above 1 s; 29, 10 and
3 % of the numbers hold one (tests/unit/simulation/test_takes.py measures ours).
"""

_MAX_PAUSE_S = 1.5


def pauses(
    rng: random.Random, prompt: Prompt, manner: Manner, *, sentence_pause_prob: float = 0.4, max_sentence_pause_s: float = 0.4
) -> dict[int, float]:
    """Draw silences to insert before words, index -> seconds, at most 1.5 s; outside of numbers the manner makes no difference.

    Args:
        manner: how its number is dictated.
        sentence_pause_prob: how often a break outside a number gets a silence, 0 to 1.
        max_sentence_pause_s: the longest of those, in seconds.
    """
    median_s = _NATURAL_MEDIAN_S * (_HALTING_FACTOR if rng.random() < _HALTING_PROB else 1.0)
    drawn: dict[int, float] = {}
    for index in range(1, len(prompt.words)):
        at_break = index in prompt.breaks
        if not prompt.is_inside_number(index):
            if at_break and rng.random() < sentence_pause_prob:
                drawn[index] = rng.uniform(0.05, max_sentence_pause_s)
        elif manner is Manner.NATURAL:
            if rng.random() < _NATURAL_PAUSE_PROB[at_break]:
                drawn[index] = min(rng.lognormvariate(math.log(median_s), _NATURAL_SIGMA), _MAX_PAUSE_S)
        elif rng.random() < (0.6 if at_break else 0.04):
            drawn[index] = rng.uniform(0.1, _MAX_PAUSE_S) if at_break else rng.uniform(0.2, 1.2)
    return drawn


def digit_string(rng: random.Random, length: int) -> str:
    """Return digits with the repeats and leading zeros that real codes have more often than chance."""
    digits: list[str] = []
    for index in range(length):
        if index and rng.random() < 0.1:
            digits.append(digits[-1])
        elif index == 0 and rng.random() < 0.1:
            digits.append("0")
        else:
            digits.append(str(rng.randrange(10)))
    return "".join(digits)


def _group_lengths(rng: random.Random, length: int) -> list[int]:
    """Split `length` digits into the groups a speaker makes: none, 3-3-4 for phone numbers, or threes, fours and twos."""
    if length <= 4 or rng.random() < 0.35:
        return [length]
    if length == 10 and rng.random() < 0.7:
        return [3, 3, 4]
    groups = []
    while length > 0:
        group = min(length, rng.choice((2, 3, 3, 4)))
        if length - group == 1:
            group = length if length <= 4 else group - 1
        groups.append(group)
        length -= group
    return groups


def _spell(digits: str, *, names: Sequence[str], says_double: bool) -> list[str]:
    words = []
    index = 0
    while index < len(digits):
        name = names[int(digits[index])]
        if says_double and digits[index : index + 2] == digits[index] * 2 and digits[index : index + 3] != digits[index] * 3:
            words += ["double", name]
            index += 2
        else:
            words.append(name)
            index += 1
    return words
