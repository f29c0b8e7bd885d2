"""The words of a clip and when each is said: the sidecar beside its sound, in moshi-finetune's format.

    {"alignments": [["order", [0.58, 0.94], "SPEAKER_MAIN"]], "script": "order …", "provenance": {"annotate": {…}}}

Where sidecars lie, and how they are read and written, is `dataset/manifest.py`'s.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self

MAIN_SPEAKER = "SPEAKER_MAIN"
"""The speaker whose words a model learns to write, as in moshi-finetune; see `Sidecar.main_words`."""

LEFT_OUT = "left_out"
"""Key of a sidecar: `[[start, end], what the script has, what was heard]` for each stretch in which sound and script do not fit. Its words
are not among `alignments`, so the clip would teach silence where somebody speaks."""


@dataclass(frozen=True, kw_only=True)
class Word:
    """A word and the span of its sound, in seconds from the start of the clip; one entry of a sidecar's `alignments`.

    `tokens` are the word's text tokens, where a model's tokenizer has been asked; they are never written to JSON.
    """

    text: str
    start_s: float
    end_s: float
    speaker: str = MAIN_SPEAKER
    tokens: tuple[int, ...] = ()

    @property
    def is_main(self) -> bool:
        """Whether the model is to write it."""
        return self.speaker == MAIN_SPEAKER

    def moved(self, by_s: float) -> Self:
        """Return the same word, later by `by_s` seconds."""
        return dataclasses.replace(self, start_s=self.start_s + by_s, end_s=self.end_s + by_s)

    def at_speed(self, speed: float) -> Self:
        """Return the word where it lies when its sound is played `speed` times as fast."""
        return dataclasses.replace(self, start_s=self.start_s / speed, end_s=self.end_s / speed)

    @classmethod
    def from_json(cls, entry: Any) -> Word:
        """Read `[text, [start, end], speaker]`; raises `ValueError` with the entry when it is anything else."""
        try:
            text, (start_s, end_s), speaker = entry
            word = object.__new__(cls)  # __init__ of a frozen class is most of the time in which a million sidecars are read
            word.__dict__.update(text=text, start_s=seconds_of(start_s), end_s=seconds_of(end_s), speaker=speaker, tokens=())
        except (TypeError, ValueError, OverflowError):
            raise ValueError(f'{json.dumps(entry, ensure_ascii=False)[:80]} is not ["word", [start, end], "SPEAKER"]') from None
        if not isinstance(text, str) or not isinstance(speaker, str):
            raise ValueError(f"word and speaker must be texts, got {text!r} and {speaker!r}")
        if not (math.isfinite(word.start_s) and math.isfinite(word.end_s)):
            raise ValueError(f"word {text!r} has the times {start_s}, {end_s}")
        return word

    def to_json(self) -> list[Any]:
        return [self.text, [round(self.start_s, 4), round(self.end_s, 4)], self.speaker]


@dataclass(frozen=True, kw_only=True)
class Sidecar:
    """The JSON file of one clip. `extra` keeps keys that this program does not know, so that rewriting loses nothing.

    Attributes:
        alignments: the words, in order of time.
        written: what `convert` replaced, as the aligner wrote it; None before the first `convert`.
        script: the text of the prompt.
        provenance: stage -> how it was made.
    """

    alignments: tuple[Word, ...] = ()
    written: tuple[Word, ...] | None = None
    script: str | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, value: Any) -> Sidecar:
        """Read a sidecar's JSON value; raises `ValueError` that names the fault."""
        if not isinstance(value, dict):
            raise ValueError(f"a sidecar is a JSON object, got {type(value).__name__}")
        rest = dict(value)
        written = rest.pop("written", None)
        script = rest.pop("script", None)
        provenance = rest.pop("provenance", None) or {}
        if script is not None and not isinstance(script, str):
            raise ValueError(f"script must be a text, got {script!r}")
        if not isinstance(provenance, dict):
            raise ValueError(f"provenance must be an object, got {provenance!r}")
        return cls(
            alignments=_words(rest.pop("alignments", []), "alignments"),
            written=None if written is None else _words(written, "written"),
            script=script,
            provenance=provenance,
            extra=rest,
        )

    def to_json(self) -> dict[str, Any]:
        value: dict[str, Any] = {"alignments": [word.to_json() for word in self.alignments]}
        if self.written is not None:
            value["written"] = [word.to_json() for word in self.written]
        if self.script is not None:
            value["script"] = self.script
        if self.provenance:
            value["provenance"] = self.provenance
        return {**value, **self.extra}

    @property
    def words_by(self) -> str:
        """The tool whose words and times `ingest` took over; empty where `annotate` found the words, or nobody did."""
        made = self.provenance.get("ingest")
        return str(made.get("words_by", "")) if isinstance(made, dict) and "annotate" not in self.provenance else ""

    @property
    def main_words(self) -> tuple[Word, ...]:
        """The words that a model is to write, and is measured by: those of SPEAKER_MAIN. What others say counts as no speech at all."""
        return tuple(word for word in self.alignments if word.is_main)

    def left_out_s(self) -> list[tuple[float, float]]:
        """Return the stretches that `annotate` left out as (start, end) in seconds; a malformed entry counts as the whole clip."""
        entries = self.extra.get(LEFT_OUT) or []
        spans = []
        for entry in entries if isinstance(entries, list) else [entries]:
            try:
                (start_s, end_s), *_ = entry
                spans.append((float(start_s), float(end_s)))
            except (TypeError, ValueError, OverflowError):
                spans.append((0.0, math.inf))
        return spans

    def with_provenance(self, stage: str, record: dict[str, Any]) -> Sidecar:
        """Return a copy whose provenance says how `stage` made it."""
        return dataclasses.replace(self, provenance={**self.provenance, stage: record})


def _words(value: Any, key: str) -> tuple[Word, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{key} must be a list, got {type(value).__name__}")
    words = []
    for number, entry in enumerate(value, start=1):
        try:
            words.append(Word.from_json(entry))
        except ValueError as error:
            raise ValueError(f"{key}, entry {number}: {error}") from None
    return tuple(words)


def seconds_of(value: Any) -> float:
    """Return a time or duration of JSON, which may be a number in quotes but no switch."""
    if type(value) is float:
        return value
    if isinstance(value, bool):
        raise TypeError(f"{value} is no number")
    return float(value)
