"""Safetensors files tensor by tensor: a header read with suspicion, and a writer that never holds more than one tensor.

The `safetensors` package loads whole files and trusts the caller to know what is in them. Merging needs neither the memory nor the trust.
Format: https://huggingface.co/docs/safetensors (8 bytes of header length, a JSON header, the tensors' bytes one after the other).
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from stt_ft.core.errors import CheckpointError

MAX_HEADER_BYTES = 100_000_000
"""A header longer than this is no header (the `safetensors` package sets the same limit)."""

ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
"""Bytes of one number, by the format's name of its type."""


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """What a tensor is, without its numbers. `dtype` is the format's name: BF16, F32 …"""

    dtype: str
    shape: tuple[int, ...]

    @property
    def num_values(self) -> int:
        return math.prod(self.shape)

    @property
    def num_bytes(self) -> int:
        return ITEM_BYTES[self.dtype] * self.num_values


@dataclass(frozen=True, kw_only=True)
class SafetensorsHeader:
    """The table of contents of a safetensors file, checked against the file's length."""

    path: Path
    tensors: dict[str, TensorSpec]
    offsets: dict[str, int]
    metadata: dict[str, str] = field(default_factory=dict)

    def read_bytes(self, name: str) -> bytearray:
        """Return the bytes of tensor `name`; raises `CheckpointError` when there is no such tensor or the file ends too soon."""
        if name not in self.tensors:
            raise CheckpointError(f"{self.path}: no tensor named {name}")
        buffer = bytearray(self.tensors[name].num_bytes)
        with self.path.open("rb") as file:
            file.seek(self.offsets[name])
            if file.readinto(buffer) != len(buffer):
                raise CheckpointError(f"{self.path}: the file ends inside tensor {name}; fetch it again")
        return buffer


def read_header(path: Path) -> SafetensorsHeader:
    """Read and check the header of a safetensors file, without reading its tensors.

    Raises:
        CheckpointError: the file is missing, truncated, or not a safetensors file.
    """
    try:
        file_bytes = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
            header_bytes = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            if not 2 <= header_bytes <= min(MAX_HEADER_BYTES, file_bytes - 8):
                raise CheckpointError(f"{path}: not a whole safetensors file (header of {header_bytes} bytes, file of {file_bytes})")
            header = json.loads(file.read(header_bytes))
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: its safetensors header cannot be read: {error}") from None
    if not isinstance(header, dict):
        raise CheckpointError(f"{path}: its safetensors header is not a JSON object")
    metadata = header.pop("__metadata__", None) or {}
    tensors, offsets = _read_entries(path, header, data_start=8 + header_bytes, file_bytes=file_bytes)
    return SafetensorsHeader(path=path, tensors=tensors, offsets=offsets, metadata=metadata)


def _read_entries(path: Path, header: dict[str, Any], *, data_start: int, file_bytes: int) -> tuple[dict[str, TensorSpec], dict[str, int]]:
    """Check every entry against its neighbours: the tensors must fill the file without gap or overlap."""
    tensors: dict[str, TensorSpec] = {}
    spans: dict[str, tuple[int, int]] = {}
    for name, entry in header.items():
        try:
            dtype, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
            spec = TensorSpec(dtype=dtype, shape=shape)
            sound = all(isinstance(size, int) and size >= 0 for size in (*shape, begin, end)) and end - begin == spec.num_bytes
        except (KeyError, TypeError, ValueError):
            sound = False
        if not sound:
            raise CheckpointError(f"{path}: tensor {name} is described as {json.dumps(entry)[:100]}, which cannot be; fetch the file again")
        tensors[name], spans[name] = spec, (begin, end)
    position = 0
    for name in sorted(tensors, key=lambda name: spans[name]):
        if spans[name][0] != position:
            raise CheckpointError(
                f"{path}: tensor {name} begins at byte {spans[name][0]} where {position} was expected; fetch the file again"
            )
        position = spans[name][1]
    if data_start + position != file_bytes:
        raise CheckpointError(f"{path}: {file_bytes} bytes long where its header asks for {data_start + position}; fetch the file again")
    return tensors, {name: data_start + begin for name, (begin, _) in spans.items()}


class SafetensorsWriter:
    """Write a safetensors file tensor by tensor, in the order of `specs`. To be used as a context manager."""

    def __init__(self, path: Path, specs: Mapping[str, TensorSpec], metadata: Mapping[str, str]) -> None:
        self._path = path
        self._specs = dict(specs)
        self._pending = list(specs)
        self._metadata = dict(metadata)
        self._file: BinaryIO | None = None

    def __enter__(self) -> SafetensorsWriter:
        self._file = self._path.open("wb")
        header: dict[str, Any] = {"__metadata__": dict(sorted(self._metadata.items()))}
        position = 0
        for name, spec in self._specs.items():
            header[name] = {"dtype": spec.dtype, "shape": list(spec.shape), "data_offsets": [position, position + spec.num_bytes]}
            position += spec.num_bytes
        encoded = json.dumps(header, separators=(",", ":")).encode()
        encoded += b" " * (-len(encoded) % 8)
        self._file.write(struct.pack("<Q", len(encoded)) + encoded)
        return self

    def write(self, name: str, data: Any) -> None:
        """Append tensor `name` from any contiguous buffer of its bytes."""
        assert self._file is not None, "write() outside the with block"
        assert self._pending[:1] == [name], f"tensor {name} out of turn, expected {self._pending[:1]}"
        num_bytes = memoryview(data).nbytes
        assert num_bytes == self._specs[name].num_bytes, f"tensor {name}: {num_bytes} bytes for {self._specs[name]}"
        self._file.write(data)
        self._pending.pop(0)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._file is not None
        self._file.close()
        assert kind is not None or not self._pending, f"tensors never written: {self._pending[:3]}"
