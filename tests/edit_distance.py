"""Edit distance by the textbook, for tests to hold the product's against."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def levenshtein(left: Sequence[Any], right: Sequence[Any]) -> int:
    """Return how many insertions, deletions and substitutions lie between two sequences."""
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, start=1):
        before, row[0] = row[0], i
        for j, b in enumerate(right, start=1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]
