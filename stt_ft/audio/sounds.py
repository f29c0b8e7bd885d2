"""The sounds of clips: versions of a recording, and the keys by which their codes are found again without reading them.

    NAME/tokens/sounds.npy    [N, 2] in 64 bits each: the stamp of a file (a hash of its path, size and times), and its key

A sound is known by the bytes of its file, not by its name: renamed, it is found; changed, it is another.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stt_ft.audio.channel import channels_named
from stt_ft.audio.files import change_speed, read_audio
from stt_ft.core.atomic import atomic_path, is_writable
from stt_ft.core.engine import LOCAL, Engine, SetAside, batched
from stt_ft.core.errors import AudioError, DatasetError, DiskError
from stt_ft.core.recipe import Version
from stt_ft.core.storage import Piece, Source, check_lies_inside, is_local, read_bytes
from stt_ft.dataset.manifest import Clip, Dataset

KEY_LENGTH = 16
"""Hexadecimal digits of a key: 64 bits, enough to tell billions of clips apart."""

_BATCH_CLIPS = 64

SETTLED_S = 2.0
"""A file that was changed no longer ago than this may change again and bear the same times: file systems count in ticks."""


def audio_key(source: Source) -> str:
    """Return the key of a sound: the beginning of its SHA-256. Raises `AudioError` when it cannot be read."""
    try:
        return hashlib.sha256(read_bytes(source)).hexdigest()[:KEY_LENGTH]
    except OSError as error:
        raise AudioError(f"{source}: {error.strerror or error}") from None


class KeyFinder:
    """A worker (`core/engine.py`) that reads the sounds of clips and returns their keys, or the error in the place of one."""

    def __init__(self, data: Dataset) -> None:
        self._data = data

    def __call__(self, clips: Sequence[Clip]) -> list[str | AudioError]:
        return [self._key(clip) for clip in clips]

    def _key(self, clip: Clip) -> str | AudioError:
        try:
            return audio_key(self._data.sound(clip))
        except AudioError as error:
            return error


class SoundKeys:
    """The keys of a dataset's sound files, kept so that no file is read a second time to find its key.

    A file counts as unchanged as long as its stamp is the same. Its time of change is part of it, which nothing sets back; one that was
    changed in the last `SETTLED_S` is not kept, since it may change again within the clock's tick.
    """

    def __init__(self, data: Dataset) -> None:
        self._data = data
        self._path = data.directory / "tokens" / "sounds.npy"
        self._stamps, self._keys = np.ascontiguousarray(_read_pairs(self._path).T)
        self._new: dict[int, int] = {}

    def of(self, clips: Sequence[Clip], engine: Engine = LOCAL, faults: dict[str, str] | None = None) -> list[str]:
        """Return the key of the sound of each of `clips`; raises `AudioError` as `audio_key` does.

        Args:
            engine: where files are read whose keys are not known.
            faults: where it is given, it is told why a clip's sound cannot be read, and the clip's key is empty.
        """
        settled_ns = time.time_ns() - SETTLED_S * 1e9
        archives: dict[Path, tuple[int, int, int]] = {}
        told: list[tuple[str, bool]] = []  # what the stamp is made of, and whether the file is settled
        for clip in clips:
            try:
                size, *times = _facts(source := self._data.sound(clip), archives)
            except (AudioError, DatasetError) as error:
                if faults is None:
                    raise
                faults[clip.path] = str(error)
                told.append(("", False))
            else:
                told.append((f"{clip.path} {(size, *times)}{_place_in_archive(source)}", max(times) < settled_ns))
        stamps = [hash64(text) for text, _ in told]
        places = places_of(np.array(stamps, dtype=np.uint64), self._stamps).tolist()
        known = [int(self._keys[at]) if at >= 0 else self._new.get(stamp) for stamp, at in zip(stamps, places, strict=True)]
        keys = ["" if key is None else f"{key:0{KEY_LENGTH}x}" for key in known]
        unknown = [index for index, key in enumerate(known) if key is None and told[index][0]]
        found = engine.results(functools.partial(KeyFinder, self._data), batched([clips[index] for index in unknown], _BATCH_CLIPS))
        for index, (clip, key) in zip(unknown, found, strict=True):
            if isinstance(key, str):
                keys[index] = key
                if told[index][1]:
                    self._new[stamps[index]] = int(key, 16)
            elif faults is None:
                raise AudioError(f"{clip.path}: {key.fault}" if isinstance(key, SetAside) else str(key))
            else:
                faults[clip.path] = key.fault if isinstance(key, SetAside) else str(key)
        return keys

    def found(self) -> dict[int, int]:
        """Return what was found since this was asked last, for `tell` of another process."""
        found, self._new = self._new, {}
        return found

    def tell(self, found: Mapping[int, int]) -> None:
        """Take in what another process has `found`."""
        self._new |= found

    def keep(self) -> None:
        """Write what was found, where the dataset may be written: what is not kept is found again."""
        if not self._new or not is_writable(self._data.directory):
            return
        pairs = np.concatenate([_read_pairs(self._path), np.array(list(self._new.items()), dtype=np.uint64)])  # another may have written
        with contextlib.suppress(ValueError, DiskError):
            check_lies_inside(self._path.parent, self._data.directory)
            with atomic_path(self._path) as temporary:
                np.save(temporary, pairs[np.unique(pairs[:, 0], return_index=True)[1]])


def places_of(asked: npt.NDArray[np.uint64], held: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """Return where in `held`, which is sorted, each of `asked` stands; -1 where it does not."""
    assert held.flags.c_contiguous  # or each call would copy all of it
    if not len(held):
        return np.full(len(asked), -1)
    places = np.minimum(np.searchsorted(held, asked), len(held) - 1)
    return np.where(held[places] == asked, places, -1)


def _read_pairs(path: Path) -> npt.NDArray[np.uint64]:
    """Return what `SoundKeys` has kept [N, 2], sorted; nothing where there is no such file, or another."""
    try:
        if is_local(path):
            pairs = np.load(path, mmap_mode="r", allow_pickle=False)
        else:
            pairs = np.load(io.BytesIO(read_bytes(path)), allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return np.zeros((0, 2), dtype=np.uint64)
    is_sound = pairs.dtype == np.uint64 and pairs.ndim == 2 and pairs.shape[1] == 2
    return pairs if is_sound else np.zeros((0, 2), dtype=np.uint64)


def _facts(source: Source, archives: dict[Path, tuple[int, int, int]]) -> tuple[int, int, int]:
    """Return size, time of the contents and time of change, in nanoseconds, of a sound's file, or of its archive, which is noted in
    `archives`; raises `AudioError` where it is not there."""
    path = source.archive if isinstance(source, Piece) else source
    if path in archives:
        return archives[path]
    try:
        found = os.stat(path) if is_local(path) else path.stat()
    except (OSError, ValueError) as error:
        raise AudioError(f"{source}: {getattr(error, 'strerror', None) or error}") from None
    facts = (found.st_size, found.st_mtime_ns, found.st_ctime_ns) if is_local(path) else (found.st_size, int(found.st_mtime * 1e9), 0)
    if isinstance(source, Piece):
        archives[path] = facts
    return facts


def _place_in_archive(source: Source) -> str:
    return f" {source.offset} {source.size} {source.column} {source.row}" if isinstance(source, Piece) else ""


def hash64(text: str) -> int:
    """Return a hash of `text` in 64 bits."""
    return int.from_bytes(hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest(), "little")


@dataclass(frozen=True, kw_only=True)
class Sound:
    """A version of a clip, and the key under which its codes are stored."""

    key: str
    clip: Clip
    version: Version

    def samples(self, data: Dataset) -> npt.NDArray[np.float32]:
        """Return the sound, mono at 24 kHz."""
        samples = change_speed(read_audio(data.sound(self.clip)), self.version.speed)
        return samples if self.version.channel is None else channels_named([self.version.channel])[0].carry(samples, self.clip.path)


def sounds_of(
    data: Dataset,
    clips: Sequence[Clip],
    versions: Sequence[Version] = (Version(),),
    *,
    engine: Engine = LOCAL,
    faults: dict[str, str] | None = None,
) -> list[Sound]:
    """Return each of `versions` of every clip, version by version; raises `AudioError` as `audio_key` does, or where `faults` is given
    tells it why a clip is left out."""
    known = SoundKeys(data)
    keys = known.of(clips, engine, faults)
    known.keep()
    return [
        Sound(key=version_key(key, version), clip=clip, version=version)
        for version in versions
        for key, clip in zip(keys, clips, strict=True)
        if key
    ]


def version_key(key: str, version: Version) -> str:
    """Return the key of a version of the sound with `key`."""
    return f"{key}@{version.name}" if version.name else key
