"""A dataset directory: manifests, sidecars and `dataset.yaml`, in moshi-finetune's format.

    NAME/dataset.yaml                                language, sample rate, how it was made
    NAME/train.jsonl  dev.jsonl  heldout.jsonl       {"path": "audio/sample_001.wav", "duration": 4.352} a line, more keys allowed
    NAME/audio/sample_001.wav, sample_001.json       sound and sidecar: {"alignments": [["order", [0.58, 0.94], "SPEAKER_MAIN"]]}

A clip is known by its `path`, relative to the dataset directory and inside it. Sound is read through links, as `ingest` makes them; nothing
is written through a link that leads out. The directory may lie in an object store (`core/storage.py`). A dataset of very many clips has its
sound in archives, told by a line's key `inside`, and its sidecars packed (`dataset/packed.py`); a packed one counts before a loose one.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from stt_ft.core.atomic import atomic_path, json_text, recover, write_text
from stt_ft.core.errors import ConfigError, DatasetError, NoSidecar
from stt_ft.core.json_yaml import dump_yaml, parse_json, read_yaml
from stt_ft.core.storage import Piece, Source, answered, check_lies_inside, inside, is_local, kind_of, place, read_bytes, read_many
from stt_ft.dataset.packed import WINDOW, PackedSidecars
from stt_ft.dataset.sidecar import Sidecar, seconds_of

SPLITS = ("train", "dev", "heldout")

MAX_DURATION_S = 86_400.0
"""Longest clip, a day: sizes of arrays follow from a manifest's durations and are bounded by it."""

SYNTHETIC = "synthetic"
"""Key of a manifest's line, and of a sidecar (for `ingest`): true for a clip that a synthesiser spoke (`synthesize`), to be learned
from and never measured on."""

INSIDE = "inside"
"""Key of a manifest's line whose sound lies in an archive of the dataset: `{"archive": "archives/a.tar", "offset": 1536, "size": 88244}`,
bytes of a tar's member, or `{"archive": "archives/a.parquet", "column": "audio", "row": 17}`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Clip:
    """One line of a manifest. `extra` holds every key but path and duration: speaker, prompt_id, script, kind …"""

    path: str
    duration_s: float
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def is_synthetic(self) -> bool:
        return self.extra.get(SYNTHETIC) is True

    def to_json(self) -> dict[str, Any]:
        return {"path": self.path, "duration": round(self.duration_s, 4), **self.extra}


def speaker_name(value: Any) -> Any:
    """Return a speaker as a text where it is a number, as corpora have them (7 is "7"); anything else as it is."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


@dataclass(frozen=True)
class Dataset:
    """A dataset directory on disk. Nothing is cached: each read sees what is there."""

    directory: Path

    @classmethod
    def open(cls, directory: str | Path) -> Dataset:
        """Open an existing dataset; raises `DatasetError` when the directory or all its manifests are missing."""
        dataset = cls(place(directory))
        if kind_of(dataset.directory) != "directory":
            raise DatasetError(f"{directory}: no such dataset directory")
        if not dataset.splits():
            raise DatasetError(f"{directory}: no manifest here (expected one of {', '.join(f'{split}.jsonl' for split in SPLITS)})")
        return dataset

    @classmethod
    def to_fill(cls, directory: str | Path) -> Dataset:
        """Return the dataset that a stage writes into, there already or not; raises `ConfigError` where `directory` is a file."""
        dataset = cls(place(directory))
        if kind_of(dataset.directory) not in (None, "directory"):
            raise ConfigError(f"--out {directory}: expected a directory, this is a file")
        return dataset

    def splits(self) -> list[str]:
        """Return the splits that have a manifest, in the order train, dev, heldout."""
        return [split for split in SPLITS if self.manifest_path(split).exists()]

    def manifest_path(self, split: str) -> Path:
        if split not in SPLITS:
            raise DatasetError(f"{self.directory}: no split named {split!r}; splits are {', '.join(SPLITS)}")
        return self.directory / f"{split}.jsonl"

    def clips(self, *splits: str) -> list[Clip]:
        """Return the clips of `splits` (all that exist, when none is named), in manifest order; raises `DatasetError` by file and line."""
        return list(self.each_clip(*splits))

    def each_clip(self, *splits: str) -> Iterator[Clip]:
        """Yield what `clips` returns, and keep nothing of it: for a million clips that are looked at one by one."""
        for split in splits or self.splits():
            yield from _read_manifest(self.manifest_path(split))

    def manifest_pieces(self, split: str, num_lines: int) -> list[tuple[int, int, int]]:
        """Return pieces of a manifest of so many lines: the bytes between which each lies, and the number of its first line."""
        with _opened(self.manifest_path(split)) as file:
            ends = [0, *itertools.accumulate(map(len, file))]
        cuts = [*range(0, len(ends) - 1, num_lines), len(ends) - 1]
        return [(ends[first], ends[last], first + 1) for first, last in itertools.pairwise(cuts)]

    def clips_of_piece(self, split: str, piece: tuple[int, int, int]) -> list[Clip]:
        """Return the clips of a piece of a manifest; raises `DatasetError` by file and line."""
        begin, stop, first_line = piece
        return list(_read_manifest(self.manifest_path(split), begin, stop, first_line=first_line))

    def measured_clips(self, split: str) -> list[Clip]:
        """Return the clips of a split on which a model is measured; raises `DatasetError` by name for a synthetic clip of dev or heldout:
        a synthesiser's speech proves nothing about people."""
        clips = self.clips(split)
        synthetic = [clip.path for clip in clips if clip.is_synthetic]
        if synthetic and split != "train":
            more = f" and {len(synthetic) - 1} more are" if len(synthetic) > 1 else " is"
            raise DatasetError(
                f"{self.manifest_path(split)}: clip {synthetic[0]}{more} synthetic, and only train may hold such clips; "
                f"`stt-ft split {self.directory}` puts them there"
            )
        return clips

    def write_clips(self, split: str, clips: Iterable[Clip]) -> None:
        """Replace the manifest of `split`."""
        path = self.manifest_path(split)
        recover(path)
        with atomic_path(path) as temporary:
            _write_manifest(temporary, clips)

    def deal(self, parts: Mapping[str, Sequence[Clip]]) -> None:
        """Replace all manifests by `parts`, split -> its clips; a split without clips has none.

        All of it is on the disk before any of it counts. Then all clips stand in train until the rest is in place: a kill loses none.
        """
        everything = [clip for part in parts.values() for clip in part]
        order = [("train", everything), *((name, parts[name]) for name in ("heldout", "dev", "train") if parts.get(name))]
        with contextlib.ExitStack() as last_first:
            for name, clips in reversed(order):
                path = last_first.enter_context(atomic_path(self.manifest_path(name)))
                _write_manifest(path, clips)
        for name in SPLITS:
            if not parts.get(name):
                self.manifest_path(name).unlink(missing_ok=True)

    def files(self) -> Iterator[Path]:
        """Yield every file of the dataset: dataset.yaml, the manifests, sound or archives, and sidecars."""
        yield self.directory / "dataset.yaml"
        yield from (self.manifest_path(split) for split in self.splits())
        packed = self.packed.files()
        yield from packed
        archives: set[Path] = set()
        for clip in self.clips():
            sound = self.sound(clip)
            if not isinstance(sound, Piece):
                yield sound
            elif sound.archive not in archives:
                archives.add(sound.archive)
                yield sound.archive
            if not packed:
                yield self.sidecar_path(clip)

    def sound(self, clip: Clip) -> Source:
        """Return what the sound of `clip` is read from: its file, or a piece of an archive; raises `DatasetError` as `audio_path` does, or
        where the clip's `inside` is none."""
        if INSIDE not in clip.extra:
            return self.audio_path(clip)
        value = clip.extra[INSIDE]
        try:
            return Piece.from_json(value, name=clip.path, directory=self.directory)
        except ValueError as error:
            shown = json.dumps(value, ensure_ascii=False)[:100]
            raise DatasetError(f"{self.directory}: clip {clip.path[:100]!r}: {INSIDE} is {shown}: {error}; ingest it again") from None

    def has_sound(self, clip: Clip) -> bool:
        """Whether the file or the archive of a clip's sound is there."""
        sound = self.sound(clip)
        return kind_of(sound.archive if isinstance(sound, Piece) else sound) == "file"

    def audio_path(self, clip: Clip, *, to_write: bool = False) -> Path:
        """Return where a file with the sound of `clip` lies; to read it, ask `sound`. Raises `DatasetError` where that is outside the
        dataset, `to_write` by a link too."""
        try:
            path = inside(self.directory, clip.path)
            if to_write:
                check_lies_inside(path.parent, self.directory)
        except UnicodeEncodeError:  # no fault of the name, but of the locale
            raise
        except ValueError as error:
            way_out = "`stt-ft ingest` makes a dataset of sound that lies elsewhere"
            raise DatasetError(f"{self.directory}: clip {clip.path[:100]!r}: {error}; {way_out}") from None
        return path

    def sidecar_path(self, clip: Clip, *, to_write: bool = False) -> Path:
        """Return where the sidecar of `clip` lies unless it is packed: beside its sound; raises as `audio_path` does."""
        return self.audio_path(clip, to_write=to_write).with_suffix(".json")

    @property
    def packed(self) -> PackedSidecars:
        """The sidecars that are packed, by the paths at which they would lie."""
        return PackedSidecars(self.directory / "sidecars")

    @staticmethod
    def packed_name(clip: Clip) -> str:
        """Return the name of a clip's sidecar among the packed ones: the path at which it would lie."""
        folder, slash, name = clip.path.rpartition("/")
        stem, _, suffix = name.rpartition(".")
        return f"{folder}{slash}{stem if stem and suffix else name}.json"

    def sidecars(self, clips: Iterable[Clip]) -> Iterator[tuple[Clip, Sidecar | DatasetError]]:
        """Yield each of many clips, in order, with its sidecar or the error that `read_sidecar` would raise."""
        for clip, text in self.sidecar_texts(clips):
            try:
                yield clip, self.sidecar_of(clip, text)
            except DatasetError as error:
                yield clip, error

    def known_sidecars(self, clips: Iterable[Clip]) -> Iterator[tuple[Clip, Sidecar | None]]:
        """Yield each of many clips, in order, with its sidecar, None where there is none; raises `DatasetError` for a malformed one."""
        for clip, sidecar in self.sidecars(clips):
            if isinstance(sidecar, DatasetError) and not isinstance(sidecar, NoSidecar):
                raise sidecar
            yield clip, None if isinstance(sidecar, DatasetError) else sidecar

    def sidecar_texts(self, clips: Iterable[Clip]) -> Iterator[tuple[Clip, bytes | str | DatasetError | None]]:
        """Yield each of many clips, in order, with the JSON text of its sidecar, None where there is none: the packed one before the loose
        one; or with the error where that would be outside the dataset."""
        remaining = iter(clips)
        while some := list(itertools.islice(remaining, WINDOW)):
            texts: list[bytes | str | DatasetError | None] = [*self.packed.get([self.packed_name(clip) for clip in some])]
            loose: dict[int, Path] = {}
            for index, clip in enumerate(some):
                if texts[index] is None:
                    try:
                        loose[index] = self.sidecar_path(clip)
                    except DatasetError as error:
                        texts[index] = error
            contents = read_many(list(loose.values()))
            for index, clip in enumerate(some):
                yield clip, next(contents) if index in loose else texts[index]

    def read_sidecar(self, clip: Clip) -> Sidecar:
        """Read the sidecar of `clip`; raises `DatasetError` naming the file when it is missing or malformed, or as `audio_path` does."""
        ((_, text),) = self.sidecar_texts([clip])
        return self.sidecar_of(clip, text)

    def sidecar_bytes(self, clip: Clip) -> bytes | None:
        """Return the JSON text of a clip's sidecar as it stands, None where there is none; raises as `audio_path` does."""
        ((_, text),) = self.sidecar_texts([clip])
        if isinstance(text, DatasetError):
            raise text
        return text.encode() if isinstance(text, str) else text

    def put_sidecar(self, clip: Clip, content: bytes) -> None:
        """Write the JSON text of a clip's sidecar; raises as `write_sidecar` does."""
        if self.packed.are_there():
            self.packed.add({self.packed_name(clip): content.decode()})
        else:
            self._put_loose(clip, content)

    def _put_loose(self, clip: Clip, content: bytes) -> None:
        with atomic_path(self.sidecar_path(clip, to_write=True)) as temporary:
            temporary.write_bytes(content)

    def sidecar_of(self, clip: Clip, text: bytes | str | DatasetError | None) -> Sidecar:
        """Read what `sidecar_texts` has yielded for `clip`; raises as `read_sidecar` does."""
        if isinstance(text, DatasetError):
            raise text
        if text is None:
            raise NoSidecar(f"{self.sidecar_path(clip)}: clip {clip.path} has no sidecar; run `stt-ft annotate {self.directory}`")
        try:
            return Sidecar.from_json(parse_json(text))
        except (ValueError, RecursionError) as error:
            raise DatasetError(f"{self.sidecar_path(clip)}: {error}") from None

    def has_sidecar(self, clip: Clip) -> bool:
        return self.packed.has(self.packed_name(clip)) or self.sidecar_path(clip).exists()

    def check_writable(self, clip: Clip) -> None:
        """Raise `DatasetError` where the sidecar of `clip` could not be written, since it would be outside the dataset."""
        if not is_local(self.directory) or not self.packed.are_there():  # a store has no links, and is not asked
            self.sidecar_path(clip, to_write=True)

    def write_sidecar(self, clip: Clip, sidecar: Sidecar) -> None:
        """Replace the sidecar of `clip`; raises `DatasetError` where that would be outside the dataset."""
        self.write_sidecars([(clip, sidecar)])

    def write_sidecars(self, pairs: Iterable[tuple[Clip, Sidecar]], *, packed: bool = False) -> None:
        """Replace the sidecars of many clips as they come: each file by itself, or many together where the dataset has packed sidecars, or
        is to have them (`packed`). Raises as `write_sidecar` does."""
        if packed or self.packed.are_there():
            self.packed.add_all((self.packed_name(clip), json_text(sidecar.to_json())) for clip, sidecar in pairs)
            return
        for clip, sidecar in pairs:
            self._put_loose(clip, json_text(sidecar.to_json()).encode())

    def info(self) -> dict[str, Any]:
        """Return the contents of `dataset.yaml`, or an empty dictionary where there is none (moshi-finetune writes none)."""
        path = self.directory / "dataset.yaml"
        return read_yaml(path) if path.exists() else {}

    def language(self, asked: str | None = None, *, choices: Sequence[str] = ()) -> str:
        """Return the language that was `asked` for, else that of dataset.yaml, else English.

        `choices` are dialects that are told apart, such as fr-be; of any other ("en-US") only the language is kept.
        """
        if asked is not None:
            return asked
        language = str(self.info().get("language") or "en").lower().replace("_", "-")
        return language if language in choices else language.partition("-")[0]

    def write_info(self, info: dict[str, Any]) -> None:
        write_text(self.directory / "dataset.yaml", dump_yaml(info))


def _write_manifest(path: Path, clips: Iterable[Clip]) -> None:
    with path.open("w", encoding="utf-8") as lines:
        lines.writelines(json.dumps(clip.to_json(), ensure_ascii=False, allow_nan=False) + "\n" for clip in clips)


def _opened(path: Path, begin: int = 0, stop: int | None = None) -> BinaryIO:
    """Return a manifest to read, or the bytes of a piece of it; raises `DatasetError` where it is not there."""
    try:
        with answered(path):
            if stop is None:
                return path.open("rb") if is_local(path) else io.BytesIO(read_bytes(path))
            with path.open("rb") as file:
                file.seek(begin)
                return io.BytesIO(file.read(stop - begin))
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such manifest") from None


def _read_manifest(path: Path, begin: int = 0, stop: int | None = None, *, first_line: int = 1) -> Iterator[Clip]:
    """Yield the clips of a manifest or a piece of it, line by line. Texts that come again (keys, speakers, archives) are one in memory."""
    known: dict[str, str] = {}

    def shared(value: Any) -> Any:
        if type(value) is str:
            return known.setdefault(value, value)
        return {known.setdefault(key, key): shared(one) for key, one in value.items()} if type(value) is dict else value

    with _opened(path, begin, stop) as file:
        for number, line in enumerate(file, start=first_line):
            if not line.strip():
                continue
            try:
                entry = shared(parse_json(line))
                clip_path, duration_s = entry.pop("path"), seconds_of(entry.pop("duration"))
            except (ValueError, OverflowError, KeyError, TypeError, AttributeError, RecursionError):
                raise DatasetError(f'{path}, line {number}: expected {{"path": "audio/NAME.wav", "duration": SECONDS}}') from None
            if not isinstance(clip_path, str) or not clip_path or not 0 <= duration_s <= MAX_DURATION_S:
                raise DatasetError(f"{path}, line {number}: path {str(clip_path)[:100]!r} and duration {duration_s} cannot be used")
            if "speaker" in entry:
                entry["speaker"] = speaker_name(entry["speaker"])
            if len(known) > _SHARED_TEXTS:
                known.clear()
            yield Clip(path=clip_path, duration_s=duration_s, extra=entry)


_SHARED_TEXTS = 10_000
"""Texts of a manifest that are looked for again in what follows."""
