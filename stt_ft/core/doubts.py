"""Doubt about how a number was said: the reading that came second, and the numbers of a sidecar for which two fit about equally."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from stt_ft.core.manifest import Sidecar

RIVALS, DOUBTFUL = "rivals", "doubtful"
"""Keys of a sidecar: a list parallel to the aligner's words with the reading of each number that came second, by `annotate`; and the
converted numbers whose reading is in doubt, by `convert`."""


@dataclass(frozen=True, kw_only=True)
class Rival:
    """The next best reading of one written token.

    Attributes:
        words: what would have been said.
        lead: how much better the chosen reading fits the sound, in nats of the aligner, whose scales differ.
        is_close: whether the lead is too small to trust the choice.
    """

    words: tuple[str, ...]
    lead: float
    is_close: bool

    def to_json(self) -> dict[str, Any]:
        return {"reading": " ".join(self.words), "lead": round(self.lead, 2), "close": self.is_close}

    @classmethod
    def from_json(cls, entry: Any) -> Rival | None:
        """Read an entry of the sidecar's `rivals`; None where it holds none or is not what `annotate` writes."""
        try:
            return cls(words=tuple(entry["reading"].split()), lead=float(entry["lead"]), is_close=entry["close"] is True)
        except (TypeError, ValueError, KeyError, AttributeError):
            return None


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """A number of which two readings fit the sound about equally: words `start` to `stop` (exclusive), and what else may have been said."""

    start: int
    stop: int
    reading: str
    lead: float

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, entry: Any) -> Doubt | None:
        """Read an entry of the sidecar's `doubtful`; None where it is not what `convert` writes."""
        try:
            return cls(start=int(entry["start"]), stop=int(entry["stop"]), reading=str(entry["reading"]), lead=float(entry["lead"]))
        except (TypeError, ValueError, KeyError):
            return None


def rivals_of(sidecar: Sidecar, num_words: int) -> list[Rival | None]:
    """Return the rivals beside the aligner's `num_words` words; none at all where the sidecar holds another number of them."""
    entries = sidecar.extra.get(RIVALS)
    if not isinstance(entries, list) or len(entries) != num_words:
        return [None] * num_words
    return [Rival.from_json(entry) for entry in entries]


def doubts_of(sidecar: Sidecar) -> list[Doubt]:
    """Return the numbers of `sidecar` whose reading is in doubt, converted or not yet."""
    if sidecar.written is None:
        rivals = rivals_of(sidecar, len(sidecar.alignments))
        return [
            Doubt(start=index, stop=index + 1, reading=" ".join(rival.words), lead=rival.lead)
            for index, rival in enumerate(rivals)
            if rival is not None and rival.is_close
        ]
    entries = sidecar.extra.get(DOUBTFUL)
    doubts = [Doubt.from_json(entry) for entry in entries] if isinstance(entries, list) else []
    return [doubt for doubt in doubts if doubt is not None and 0 <= doubt.start < doubt.stop <= len(sidecar.alignments)]
