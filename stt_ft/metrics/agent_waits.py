"""How an agent's wait depends on what the model has written: longer after a comma, shorter after a full stop, anew with every word.

The server sends the words of a step after the step itself, so a word changes nothing in the row with which it is known, and everything
from the next row on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stt_ft.core.config import Config
from stt_ft.core.timing import num_frames_covering
from stt_ft.text.digit_words import bare_word

_CLOSING = "\"'\u201d\u2019)]\u00bb "
"""What may follow a mark at the end of a word."""


@dataclass(frozen=True, kw_only=True)
class Tail(Config):
    """What the text may end with, and how much longer an agent then waits."""

    ends_with: tuple[str, ...]
    """Marks behind the newest word (",") or whole words ("and"; neither case nor marks around them matter)."""

    extra_frames: int
    """Rows added to every hold while the text ends so; fewer where it is negative, but a hold is never less than 1."""

    def __post_init__(self) -> None:
        if not self.ends_with or not all(text.strip() for text in self.ends_with):
            raise ValueError("ends_with must have one or more words or marks, none of them empty")

    def ends(self, word: str) -> bool:
        """Return whether a text whose newest word is `word` ends so."""
        bare, shown = bare_word(word), word.rstrip(_CLOSING)
        return any(bare == spoken if (spoken := bare_word(text)) else shown.endswith(text) for text in self.ends_with)


@dataclass(frozen=True, kw_only=True)
class Fallback(Config):
    """A second way to end the turn: a lower threshold kept for longer. Without a threshold it is a timer: the heads are not asked."""

    hold_frames: int
    """Consecutive rows in which the level must be above the threshold."""

    threshold: float | None = None
    """Pause probability that the level must be above; none asks for nothing but rows that count."""

    def __post_init__(self) -> None:
        demands = {
            "hold_frames must be 1 or more": self.hold_frames >= 1,
            "threshold must lie between 0 and 1": self.threshold is None or 0 <= self.threshold <= 1,
        }
        refuse(self, demands)

    @property
    def bound(self) -> float:
        """The level that must be passed: -inf without a threshold, as no row that counts has it."""
        return -np.inf if self.threshold is None else self.threshold


def refuse(rule: Config, demands: dict[str, bool]) -> None:
    """Raise `ValueError` with every demand, beginning with the name of a field, that `rule` does not meet."""
    mistakes = [f"{demand}, got {getattr(rule, demand.split()[0])}" for demand, is_met in demands.items() if not is_met]
    if mistakes:
        raise ValueError(*mistakes)


def first_row_known_at(time_s: float) -> int:
    """Return the first row that is known at `time_s` or later."""
    return max(num_frames_covering(time_s) - 1, 0)


def extra_frames(written: Sequence[tuple[str, float]], tails: Sequence[Tail], num_rows: int) -> np.ndarray:
    """Return [num_rows]: the rows that the tail of the text adds to a hold; the first of `tails` that fits counts.

    `written` are the words of the transcript, each with the second in which it appeared.
    """
    extra = np.zeros(num_rows, dtype=np.int64)
    for word, appeared_s in sorted(written, key=lambda one: one[1]):
        extra[first_row_known_at(appeared_s) + 1 :] = next((tail.extra_frames for tail in tails if tail.ends(word)), 0)
    return extra
