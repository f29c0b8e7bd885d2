"""The sounds of clips: versions of a recording, and the keys by which their codes are found again without reading them.

    NAME/tokens/sounds.npy    [N, 2] in 64 bits each: the stamp of a file (a hash of its path, size and times), and its key

A sound is known by the bytes of its file, not by its name: renamed, it is found; changed, it is another.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stt_ft.audio.channel import channels_named
from stt_ft.audio.files import change_speed, read_audio
from stt_ft.core.atomic import atomic_path, check_lies_inside
from stt_ft.core.errors import AudioError, DiskError
from stt_ft.core.manifest import Clip, Dataset
from stt_ft.core.recipe import Version

KEY_LENGTH = 16
"""Hexadecimal digits of a key: 64 bits, enough to tell billions of clips apart."""

SETTLED_S = 2.0
"""A file that was changed no longer ago than this may change again and bear the same times: file systems count in ticks."""


def audio_key(path: Path) -> str:
    """Return the key of a sound file: the beginning of its SHA-256. Raises `AudioError` when it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:KEY_LENGTH]
    except OSError as error:
        raise AudioError(f"{path}: {error.strerror or error}") from None


class SoundKeys:
    """The keys of a dataset's sound files, kept so that no file is read a second time to find its key.

    A file counts as unchanged as long as its stamp is the same. Its time of change is part of it, which nothing sets back; one that was
    changed in the last `SETTLED_S` is not kept, since it may change again within the clock's tick.
    """

    def __init__(self, data: Dataset) -> None:
        self._data = data
        self._path = data.directory / "tokens" / "sounds.npy"
        self._kept, self._new = _read_pairs(self._path), dict[int, int]()

    def of(self, clips: Sequence[Clip]) -> list[str]:
        """Return the key of the sound of each of `clips`; raises `AudioError` as `audio_key` does."""
        settled_ns = time.time_ns() - SETTLED_S * 1e9
        paths = [self._data.audio_path(clip) for clip in clips]
        facts = [_facts(path) for path in paths]
        stamps = np.array([hash64(f"{clip.path} {fact}") for clip, fact in zip(clips, facts, strict=True)], dtype=np.uint64)
        keys = []
        for path, (_, *times), stamp, at in zip(paths, facts, stamps.tolist(), places_of(stamps, self._kept[:, 0]).tolist(), strict=True):
            key = int(self._kept[at, 1]) if at >= 0 else self._new.get(stamp)
            keys.append(audio_key(path) if key is None else f"{key:0{KEY_LENGTH}x}")
            if key is None and max(times) < settled_ns:
                self._new[stamp] = int(keys[-1], 16)
        return keys

    def keep(self) -> None:
        """Write what was found, where the dataset may be written: what is not kept is found again."""
        if not self._new or not os.access(self._data.directory, os.W_OK):
            return
        pairs = np.concatenate([_read_pairs(self._path), np.array(list(self._new.items()), dtype=np.uint64)])  # another may have written
        with contextlib.suppress(ValueError, DiskError):
            check_lies_inside(self._path.parent, self._data.directory)
            with atomic_path(self._path) as temporary:
                np.save(temporary, pairs[np.unique(pairs[:, 0], return_index=True)[1]])


def places_of(asked: npt.NDArray[np.uint64], held: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """Return where in `held`, which is sorted, each of `asked` stands; -1 where it does not."""
    if not len(held):
        return np.full(len(asked), -1)
    places = np.minimum(np.searchsorted(held, asked), len(held) - 1)
    return np.where(held[places] == asked, places, -1)


def _read_pairs(path: Path) -> npt.NDArray[np.uint64]:
    """Return what `SoundKeys` has kept [N, 2], sorted; nothing where there is no such file, or another."""
    try:
        pairs = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return np.zeros((0, 2), dtype=np.uint64)
    is_sound = pairs.dtype == np.uint64 and pairs.ndim == 2 and pairs.shape[1] == 2
    return pairs if is_sound else np.zeros((0, 2), dtype=np.uint64)


def _facts(path: Path) -> tuple[int, int, int]:
    """Return size, time of the contents and time of change, in nanoseconds, of a file; raises `AudioError` where it is not there."""
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:
        raise AudioError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


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
        samples = change_speed(read_audio(data.audio_path(self.clip)), self.version.speed)
        return samples if self.version.channel is None else channels_named([self.version.channel])[0].carry(samples, self.clip.path)


def sounds_of(data: Dataset, clips: Sequence[Clip], versions: Sequence[Version] = (Version(),)) -> list[Sound]:
    """Return each of `versions` of every clip, version by version; raises `AudioError` as `audio_key` does."""
    known = SoundKeys(data)
    keys = known.of(clips)
    known.keep()
    return [
        Sound(key=version_key(key, version), clip=clip, version=version)
        for version in versions
        for key, clip in zip(keys, clips, strict=True)
    ]


def version_key(key: str, version: Version) -> str:
    """Return the key of a version of the sound with `key`."""
    return f"{key}@{version.name}" if version.name else key
