"""Two versions of one text, word by word: where they agree, and the stretches in which they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEAST_RUN = 3
"""Least number of words in a row that must agree to count: single words, above all digits, agree by chance."""

_AGREE, _DIFFER, _OPEN, _EXTEND = 1.0, -1.0, -1.5, -0.25
"""Scores of a pair of words and of words that one side lacks. Many missing words in a row cost little more than one: a gap in a text is
mostly one piece."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Words `start` to `stop` (exclusive) of one text stand where the other has `other_start` to `other_stop`."""

    start: int
    stop: int
    other_start: int
    other_stop: int

    @property
    def num_words(self) -> int:
        """Words of the side that has more."""
        return max(self.stop - self.start, self.other_stop - self.other_start)


def agreeing(one: Sequence[str], other: Sequence[str]) -> list[tuple[int, int]]:
    """Return the pairs of places, in order, at which two texts agree in runs of at least `LEAST_RUN` words.

    The likeliest alignment with affine gaps (Gotoh, 1982). Takes time and memory by the product of the lengths: 6 bytes a pair of words.
    """
    pairs = [(row, column) for row, column in _aligned(one, other) if one[row] == other[column]]
    kept: list[tuple[int, int]] = []
    run: list[tuple[int, int]] = []
    for pair in [*pairs, (-1, -1)]:
        if run and pair != (run[-1][0] + 1, run[-1][1] + 1):
            kept += run if len(run) >= LEAST_RUN else []
            run = []
        run.append(pair)
    return kept


def differences(pairs: Sequence[tuple[int, int]], num_words: int, num_others: int) -> list[Difference]:
    """Return the stretches between agreeing `pairs`, over texts of `num_words` and `num_others` words."""
    found = []
    last = (-1, -1)
    for pair in [*pairs, (num_words, num_others)]:
        if pair[0] > last[0] + 1 or pair[1] > last[1] + 1:
            found.append(Difference(start=last[0] + 1, stop=pair[0], other_start=last[1] + 1, other_stop=pair[1]))
        last = pair
    return found


def _aligned(one: Sequence[str], other: Sequence[str]) -> list[tuple[int, int]]:
    """Return all pairs of the best alignment, agreeing or not."""
    number_of = {word: number for number, word in enumerate(dict.fromkeys([*one, *other]))}
    columns = np.array([number_of[word] for word in other], dtype=np.int64)
    width = len(other) + 1
    steps = np.arange(width) * _EXTEND
    best = np.concatenate([[0.0], _OPEN + steps[:-1]])  # [W]: the best score, by the number of words of `other` taken
    down = np.full(width, -np.inf)  # the best that ends with a word which only `one` has
    came = np.zeros((len(one) + 1, width), dtype=np.int8)  # 0: a pair, 1: `one` alone, 2: `other` alone
    goes_down = np.zeros((len(one) + 1, width), dtype=bool)  # the gap was open a row before
    goes_on = np.zeros((len(one) + 1, width), dtype=np.int32)  # how many of `other` alone end here
    came[0, 1:], goes_on[0] = 2, np.arange(width)
    for row, word in enumerate(one, start=1):
        opened, extended = best + _OPEN, down + _EXTEND
        goes_down[row] = extended > opened
        down = np.maximum(opened, extended)
        pair = np.full(width, -np.inf)
        pair[1:] = best[:-1] + np.where(columns == number_of[word], _AGREE, _DIFFER)
        upright = np.maximum(pair, down)
        came[row] = np.where(down > pair, 1, 0)
        # The best gap of `other` alone that ends at a column opened where (score there, freed of the steps since) is highest.
        freed = upright - steps
        highest = np.maximum.accumulate(freed)
        where = np.maximum.accumulate(np.where(freed == highest, np.arange(width), 0))
        along = np.full(width, -np.inf)
        along[1:] = highest[:-1] + _OPEN - _EXTEND + steps[1:]
        goes_on[row, 1:] = np.arange(1, width) - where[:-1]
        came[row][along > upright] = 2
        best = np.maximum(upright, along)
    pairs = []
    row, column, in_gap = len(one), len(other), False
    while row > 0 or column > 0:
        kind = 1 if in_gap else came[row, column]
        if kind == 0:
            row, column = row - 1, column - 1
            pairs.append((row, column))
        elif kind == 1:
            in_gap = bool(goes_down[row, column])
            row -= 1
        else:
            column -= int(goes_on[row, column])
    return pairs[::-1]
