"""Doubts about the words of `annotate`: numbers of which two readings fit about equally, and words to which a second source gives other
times."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stt_ft.dataset.sidecar import Sidecar, Word

RIVALS, DOUBTFUL = "rivals", "doubtful"
"""Keys of a sidecar: a list parallel to the aligner's words with the reading of each number that came second, by `annotate`; and the
converted numbers whose reading is in doubt, by `convert`."""

SPOKEN = "spoken"
"""Key of a sidecar: a list parallel to the aligner's words, with what was said for a written one, `[[word, [start, end]], …]`, or null."""

TIMES_BY = "times_by"
"""Key of a sidecar: source -> `[[word, [start, end]], …]`, the times of the spoken words as another aligner or a synthesiser has them."""

TRUTH = "synthesiser"
"""The source of `TIMES_BY` that is not an opinion: simulated takes know when their words are spoken."""

MOST_APART_S = 0.2
"""Two sources disagree about a word when they put its start or end further apart than this."""


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
    """A number of which two readings fit the sound about equally: words `start` to `stop` (exclusive), and the second-best reading."""

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


@dataclass(frozen=True, kw_only=True)
class Dispute:
    """A word to which a second source gives other times: its place among the spoken words, and both spans in seconds."""

    place: int
    text: str
    source: str
    here_s: tuple[float, float]
    there_s: tuple[float, float]


def words_from_json(entry: Any) -> list[Word] | None:
    """Read an entry of the sidecar's `spoken` or `times_by`; None where it holds none or is not what `annotate` writes."""
    try:
        return [Word(text=str(text), start_s=float(start_s), end_s=float(end_s)) for text, (start_s, end_s) in entry] if entry else None
    except (TypeError, ValueError):
        return None


def words_to_json(words: Sequence[Word]) -> list[Any]:
    """Return words for `spoken` or `times_by`: `[[word, [start, end]], …]`."""
    return [[word.text, [round(word.start_s, 4), round(word.end_s, 4)]] for word in words]


def spoken_words_of(sidecar: Sidecar) -> list[Word]:
    """Return the spoken form of the words of `sidecar`, converted or not yet."""
    entries = sidecar.extra.get(SPOKEN)
    if sidecar.written is not None or not isinstance(entries, list) or len(entries) != len(sidecar.alignments):
        return list(sidecar.alignments)
    words: list[Word] = []
    for word, entry in zip(sidecar.alignments, entries, strict=True):
        words += words_from_json(entry) or [word]
    return words


def disputes_of(sidecar: Sidecar) -> list[Dispute]:
    """Return the words of `sidecar` whose times differ by more than `MOST_APART_S` from a source that has the same words."""
    by_source = sidecar.extra.get(TIMES_BY)
    words = spoken_words_of(sidecar)
    found = []
    for source, entry in by_source.items() if isinstance(by_source, dict) else ():
        others = words_from_json(entry) or []
        if [_bare(other.text) for other in others] != [_bare(word.text) for word in words]:
            continue
        for place, (word, other) in enumerate(zip(words, others, strict=True)):
            here_s, there_s = (word.start_s, word.end_s), (other.start_s, other.end_s)
            if max(abs(here_s[0] - there_s[0]), abs(here_s[1] - there_s[1])) > MOST_APART_S:
                found.append(Dispute(place=place, text=word.text, source=str(source), here_s=here_s, there_s=there_s))
    return found


def _bare(text: str) -> str:
    return "".join(glyph for glyph in text.lower() if glyph.isalnum())
