"""Codes on disk, so that no clip goes through the codec twice.

    NAME/tokens/<codec hash>/index.json          {"clips": {"<key of the sound>": "00000", …}}
    NAME/tokens/<codec hash>/00000.safetensors   key -> int16 codes [n_q, T]

A clip is known by its bytes, not its name: renamed, it is found; changed, it is encoded anew. Shards are only ever added.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from stt_ft.core.atomic import atomic_path, write_json
from stt_ft.core.errors import AudioError, DatasetError
from stt_ft.model.safetensors_file import SafetensorsHeader, read_header

KEY_LENGTH = 16
"""Hexadecimal digits of a key: 64 bits, enough to tell billions of clips apart."""


def audio_key(path: Path) -> str:
    """Return the key of a sound file: the beginning of its SHA-256. Raises `AudioError` when it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:KEY_LENGTH]
    except OSError as error:
        raise AudioError(f"{path}: {error.strerror or error}") from None


def copy_key(key: str, copy: str) -> str:
    """Return the key under which the codes of a sound's copy of this name are kept (`core.recipe.Version`)."""
    return f"{key}@{copy}" if copy else key


class TokenStore:
    """The codes of a dataset under one codec."""

    def __init__(self, directory: Path, shard_of_key: dict[str, str]) -> None:
        self.directory = directory
        self._shard_of_key = shard_of_key
        self._headers: dict[str, SafetensorsHeader] = {}

    @classmethod
    def open(cls, dataset_dir: Path, codec_hash: str) -> TokenStore:
        """Open the store of `dataset_dir` for a codec, empty where there is none yet."""
        directory = dataset_dir / "tokens" / codec_hash[:KEY_LENGTH]
        index = directory / "index.json"
        if not index.exists():
            return cls(directory, {})
        try:
            return cls(directory, {str(key): str(shard) for key, shard in json.loads(index.read_bytes())["clips"].items()})
        except (ValueError, KeyError, TypeError, AttributeError):
            raise DatasetError(f"{index}: not an index of codes; delete {directory} and encode again") from None

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Return those of `keys` that have no codes yet, each once, in order."""
        return [key for key in dict.fromkeys(keys) if key not in self._shard_of_key]

    def get(self, key: str) -> npt.NDArray[np.int16]:
        """Return the codes of a clip [n_q, T]; raises `DatasetError` when it has none."""
        if key not in self._shard_of_key:
            raise DatasetError(f"{self.directory}: no codes for sound {key}; run `stt-ft encode`")
        shard = self._shard_of_key[key]
        if shard not in self._headers:
            self._headers[shard] = read_header(self.directory / f"{shard}.safetensors")
        header = self._headers[shard]
        return np.frombuffer(header.read_bytes(key), dtype=np.int16).reshape(header.tensors[key].shape)

    def add(self, codes: Mapping[str, npt.NDArray[np.int16]]) -> None:
        """Write one more shard, then the index that names it."""
        if not codes:
            return
        taken = [int(path.stem) for path in self.directory.glob("*.safetensors") if path.stem.isdigit()]
        shard = f"{max(taken, default=-1) + 1:05d}"
        with atomic_path(self.directory / f"{shard}.safetensors") as temporary:
            safetensors.numpy.save_file({key: np.ascontiguousarray(codes[key], dtype=np.int16) for key in sorted(codes)}, temporary)
        self._shard_of_key |= dict.fromkeys(codes, shard)
        write_json(self.directory / "index.json", {"clips": self._shard_of_key})
