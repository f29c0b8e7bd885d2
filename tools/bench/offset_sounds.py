"""What `tools/bench/offsets.py` measures on: sounds whose times are known, and how an offset is kept and told."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from stt_ft.audio.channel import add_pink_noise, phone_line
from stt_ft.audio.files import read_audio
from stt_ft.core.errors import DatasetError
from stt_ft.dataset.manifest import Dataset
from stt_ft.simulation.casting import HELDOUT_CAST
from stt_ft.simulation.glued import SpokenDigits, mixed_gaps
from stt_ft.simulation.takes import TakePlan, write_takes

REPOSITORY = Path(__file__).resolve().parents[2]
PEOPLE, SIMULATED = "people", "espeak"
CHANNELS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "clean": lambda samples: samples,
    "phone": phone_line,
    "noise at 15 dB": partial(add_pink_noise, snr_db=15.0, seed=3),
}


@dataclass(frozen=True, kw_only=True)
class Offsets:
    """What a part told minus what is true, in milliseconds; positive is late.

    Attributes:
        part: what tells a time, and which.
        sound: whose sound it was checked on.
        weights: whose weights, "none" where the part has none.
        offsets_ms: one a case.
        note: what the figures alone do not say.
    """

    part: str
    sound: str
    weights: str
    offsets_ms: np.ndarray
    note: str = ""

    @classmethod
    def of(cls, part: str, sound: str, weights: str, offsets_s: Iterable[float], note: str = "") -> Offsets:
        return cls(part=part, sound=sound, weights=weights, offsets_ms=1000 * np.asarray(list(offsets_s), np.float64), note=note)

    def row(self) -> str:
        """Return a line of a Markdown table."""
        if len(self.offsets_ms) == 0:
            return f"| {self.part} | {self.sound} | {self.weights} | 0 | – | – | – | – | {self.note} |"
        size = np.abs(self.offsets_ms)
        figures = (np.median(self.offsets_ms), np.percentile(size, 90), size.max(), self.offsets_ms.mean())
        told = " | ".join(in_ms(float(figure)) for figure in figures)
        return f"| {self.part} | {self.sound} | {self.weights} | {len(self.offsets_ms)} | {told} | {self.note} |"


@dataclass(frozen=True, kw_only=True)
class Take:
    """Sound at 24 kHz with the true times of its words (`text`, `start_s`, `end_s`); `kind` as in a manifest."""

    samples: np.ndarray
    words: tuple[Any, ...]
    whose: str
    kind: str

    @property
    def begin_s(self) -> float:
        return min(word.start_s for word in self.words)

    @property
    def end_s(self) -> float:
        return max(word.end_s for word in self.words)


class Sounds:
    """The takes of a run, made once.

    Args:
        scratch: where simulated takes are written.
        count: takes of people; of simulated speakers so many numbers and so many sentences.
        seed: decides everything.
    """

    def __init__(self, scratch: Path, *, count: int, seed: int) -> None:
        self.scratch = scratch
        self.seed = seed
        self.digits = _spoken_digits()
        self.people = list(self._people(count)) if self.digits is not None else []
        self.simulated = list(self._simulated(count))

    def of(self, whose: str) -> list[Take]:
        return self.people if whose == PEOPLE else self.simulated

    def _people(self, count: int) -> Iterator[Take]:
        for index in range(count):
            yield self.number(index, num_digits=7)

    def number(self, index: int, *, num_digits: int, gap_s: float | None = None) -> Take:
        """Return a number glued from one person's digits, all gaps of `gap_s` or mixed."""
        assert self.digits is not None
        rng = random.Random(f"{self.seed} {index} {num_digits}")
        speaker = self.digits.speakers[index % len(self.digits.speakers)]
        gaps_s = mixed_gaps(rng, num_digits - 1) if gap_s is None else [gap_s] * (num_digits - 1)
        said = self.digits.number(speaker, "".join(rng.choices("0123456789", k=num_digits)), gaps_s, rng)
        return Take(samples=said.samples, words=said.words, whose=speaker, kind="number")

    def _simulated(self, count: int) -> Iterator[Take]:
        data = Dataset(self.scratch / "simulated")
        for kind in ("number", "ordinary"):
            plan = TakePlan(split="heldout", kind=kind, count=count, cast=HELDOUT_CAST)
            for clip in write_takes(data, plan, seed=self.seed, used_digits=set(), with_times=True):
                words = tuple(data.read_sidecar(clip).alignments)
                yield Take(samples=read_audio(data.audio_path(clip)), words=words, whose=str(clip.extra["speaker"]), kind=kind)


def digits_folder() -> Path:
    """Return where people's digits are looked for: in STT_FT_SPEECH_DATA, or beside the checkout."""
    return Path(os.environ.get("STT_FT_SPEECH_DATA") or REPOSITORY.parent / "shared" / "data") / "fsdd"


def _spoken_digits() -> SpokenDigits | None:
    try:
        return SpokenDigits(digits_folder())
    except DatasetError:
        return None


def in_ms(figure: float) -> str:
    """Return milliseconds as a table shows them: tenths below ten."""
    return f"{round(figure, 1) + 0.0:g}" if abs(figure) < 10 else f"{figure:.0f}"


def delay_samples(sent: np.ndarray, heard: np.ndarray, max_lag: int = 6000) -> float:
    """Return by how many samples `heard` is later than `sent`: the peak of their cross-correlation, a parabola laid through it."""
    size = 1 << (len(sent) + len(heard)).bit_length()
    spectrum = np.fft.rfft(heard.astype(np.float64), size) * np.conj(np.fft.rfft(sent.astype(np.float64), size))
    correlation = np.fft.irfft(spectrum, size)
    around = np.concatenate([correlation[-max_lag:], correlation[: max_lag + 1]])
    peak = int(around[1:-1].argmax()) + 1
    before, at, after = around[peak - 1 : peak + 2]
    return peak - max_lag + 0.5 * (before - after) / (before - 2 * at + after)
