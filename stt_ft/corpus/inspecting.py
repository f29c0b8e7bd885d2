"""A whole dataset gone through: `Inspector` finds the faults of each clip by itself, in many processes, `SetFaults` those between clips.
One faulty clip never hides another, and no fault raises.

Of a clip only what is compared with others' is kept: the hash of its sound, its numbers, its speaker. A million clips take half a gigabyte.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from stt_ft.audio.files import read_audio
from stt_ft.core.engine import LOCAL, Engine, SetAside, batched
from stt_ft.core.errors import AudioError, DatasetError
from stt_ft.core.progress import track
from stt_ft.core.provenance import file_sha256
from stt_ft.core.storage import fetched
from stt_ft.core.timing import SAMPLE_RATE_HZ
from stt_ft.corpus.problems import Problem, numbers_in, sound_problems, stream_problems, word_problems
from stt_ft.dataset.manifest import Clip, Dataset
from stt_ft.dataset.sidecar import Sidecar
from stt_ft.model.checkpoint_dir import TAIL_S, open_model

CLIPS_IN_BATCH = 64
"""Clips that a process is given at a time: a second of work."""


@dataclass(frozen=True, kw_only=True)
class Sound:
    """A clip's sound at 24 kHz, the hash of its file, and its faults; no samples and no hash where it cannot be read."""

    samples: np.ndarray | None
    sha256: str
    problems: tuple[Problem, ...]

    @classmethod
    def of(cls, data: Dataset, clip: Clip) -> Sound:
        try:
            sound = fetched(data.sound(clip))
            samples, sha256 = read_audio(sound), file_sha256(sound)
        except (AudioError, DatasetError, OSError) as error:
            return cls(samples=None, sha256="", problems=(Problem(clip_id=clip.path, kind="audio", message=str(error)),))
        return cls(samples=samples, sha256=sha256, problems=tuple(sound_problems(clip, samples, SAMPLE_RATE_HZ)))


@dataclass(frozen=True, kw_only=True)
class Inspected:
    """What was found in a clip, and what is compared with other clips.

    Attributes:
        sha256: hash of the sound's file, empty where it cannot be read.
        numbers: the dictated numbers of its words that may be in one split only, sorted.
    """

    problems: tuple[Problem, ...] = ()
    sha256: str = ""
    numbers: tuple[str, ...] = ()


class Inspector:
    """A worker (`core/engine.py`) that finds the faults of clips by themselves."""

    def __init__(self, data: Dataset, *, base: str | None, tail_s: float) -> None:
        """Open the base, where one is given: the words must find room on its text stream with `tail_s` seconds of silence after a clip and
        the text lag."""
        self._data = data
        self._model = None if base is None else open_model(base, require_extra_heads=False)
        self._tail_s = tail_s

    def __call__(self, clips: Sequence[Clip]) -> list[Inspected]:
        return [self._inspected(clip, sidecar) for clip, sidecar in self._data.sidecars(clips)]

    def _inspected(self, clip: Clip, sidecar: Sidecar | DatasetError) -> Inspected:
        sound = Sound.of(self._data, clip)
        if isinstance(sidecar, DatasetError):
            fault = Problem(clip_id=clip.path, kind="sidecar", message=str(sidecar))
            return Inspected(problems=(*sound.problems, fault), sha256=sound.sha256)
        found = [*sound.problems, *word_problems(clip, sidecar)]
        if self._model is not None:
            found += stream_problems(clip, sidecar, self._model, self._tail_s)
        return Inspected(problems=tuple(found), sha256=sound.sha256, numbers=tuple(sorted(numbers_in(sidecar))))


def inspect(
    data: Dataset,
    *,
    base: str | None = None,
    tail_s: float = TAIL_S,
    engine: Engine = LOCAL,
) -> Iterator[Problem]:
    """Yield the problems of all clips of `data` as they are found, clip by clip in order, and last those between clips.

    Args:
        base: model on whose text stream the words of every clip must find room; None where none is known.
        tail_s: silence after a clip and the text lag, in seconds.
        engine: where the clips are inspected.
    """
    owners = [(split, clip) for split in data.splits() for clip in data.clips(split)]
    between = SetFaults(split_by=split_by(data))
    make_worker = functools.partial(Inspector, data, base=base, tail_s=tail_s)
    results = engine.results(make_worker, batched([clip for _, clip in owners], CLIPS_IN_BATCH), cores=True)
    for (split, clip), (_, found) in track(zip(owners, results, strict=True), "checking clips", len(owners)):
        if isinstance(found, SetAside):
            found = Inspected(problems=(Problem(clip_id=clip.path, kind="set_aside", message=found.fault),))
        between.add(split, clip, found)
        yield from found.problems
    yield from between.problems()


def split_by(data: Dataset) -> str:
    """Return by what the splits of a dataset are kept apart: speaker, number or both."""
    splits = data.info().get("splits")
    return str(splits.get("by", "both")) if isinstance(splits, dict) else "both"


@dataclass(kw_only=True)
class _Apart:
    """What may be in one split only: where each name was first, and who has it in another, by the place of the name among all."""

    kind: str
    what: str
    first: dict[str, tuple[int, str]] = field(default_factory=dict)
    leaks: list[tuple[int, str, str, str]] = field(default_factory=list)

    def add(self, name: str, split: str, clip: Clip) -> None:
        place, first_split = self.first.setdefault(name, (len(self.first), split))
        if split != first_split:
            self.leaks.append((place, name, split, clip.path))

    def problems(self) -> Iterator[Problem]:
        for _, name, split, path in sorted(self.leaks, key=lambda leak: leak[0]):
            message = f"{self.what} {name} is in {self.first[name][1]} and {split}; run `stt-ft split`"
            yield Problem(clip_id=path, kind=self.kind, message=message)


class SetFaults:
    """Finds the faults between clips: sounds that occur twice, speakers and numbers in two splits, synthetic clips outside train."""

    def __init__(self, *, split_by: str = "both") -> None:
        """`split_by` is by what the splits are kept apart (`split --by`): speaker, number or both; the other is no problem."""
        self._split_by = split_by
        self._misplaced: list[Problem] = []
        self._sounds: dict[str | bytes, tuple[int, str, str]] = {}
        self._twice: list[tuple[int, Problem]] = []
        self._speakers = _Apart(kind="split_speaker", what="speaker")
        self._numbers = _Apart(kind="split_number", what="number")

    def add(self, split: str, clip: Clip, found: Inspected) -> None:
        """Note a clip of `split`, in the order of the manifests."""
        if clip.is_synthetic and split != "train":
            message = f"{split} holds it, and only train may; run `stt-ft split`"
            self._misplaced.append(Problem(clip_id=clip.path, kind="split_synthetic", message=message))
        sound = bytes.fromhex(found.sha256) or clip.path
        num_sounds = len(self._sounds)
        place, first_split, first_path = self._sounds.setdefault(sound, (num_sounds, split, clip.path))
        if len(self._sounds) == num_sounds:  # not the first
            twice = f"it stands in {first_split} and again in {split}; `stt-ft split` keeps one"
            message = twice if clip.path == first_path else f"{split} holds the sound of {first_path} ({first_split})"
            self._twice.append((place, Problem(clip_id=clip.path, kind="duplicate", message=message)))
        speaker = clip.extra.get("speaker")
        if isinstance(speaker, str) and speaker:
            self._speakers.add(speaker, split, clip)
        for number in found.numbers:
            self._numbers.add(number, split, clip)

    def problems(self) -> Iterator[Problem]:
        """Yield what was found, by kind."""
        yield from self._misplaced
        yield from (problem for _, problem in sorted(self._twice, key=lambda one: one[0]))
        if self._split_by in ("speaker", "both"):
            yield from self._speakers.problems()
        if self._split_by in ("number", "both"):
            yield from self._numbers.problems()
