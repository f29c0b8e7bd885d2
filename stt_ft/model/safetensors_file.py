"""Weights on disk: safetensors files read and written tensor by tensor, and the two naming schemes of weights.

Reading is `safetensors.safe_open`, which maps the file and checks its table of contents against its length. The writer is our own, since
the package writes only what is in memory all at once. Format: https://huggingface.co/docs/safetensors (8 bytes of header length, a JSON
header, the tensors' bytes one after the other).

PyTorch and Candle name attention projections differently. Upstream's PyTorch module says `self_attn.in_projs.0.weight` and
`self_attn.out_projs.0.weight`; its published checkpoints and the Rust engine say `self_attn.in_proj_weight` and
`self_attn.out_proj.weight`. Everything else is named alike. Source: `StreamingMultiheadAttention._load_hook` of moshi 0.2.13.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

from safetensors import SafetensorError, safe_open

from stt_ft.core.errors import CheckpointError

if TYPE_CHECKING:
    import torch

ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
"""Bytes of one number, by the format's name of its type."""

_TORCH_NAMES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8",
    "U8": "uint8", "BOOL": "bool",
}  # fmt: skip
"""torch's names of these types; torch itself takes a second to import and is not needed to read a header."""


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """Type and shape of a tensor. `dtype` is the format's name: BF16, F32 …"""

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
    """The checked table of contents of a safetensors file, in the file's order.

    Tensors named in `zeros` are not in the file: they are all zeros (`ModelDir.with_new_heads`). The others begin with byte `first_byte`.
    """

    path: Path
    tensors: dict[str, TensorSpec]
    metadata: dict[str, str] = field(default_factory=dict)
    zeros: frozenset[str] = frozenset()
    first_byte: int = 0

    def places(self) -> Iterator[tuple[str, TensorSpec, int]]:
        """Yield name, type and shape, and first byte in the file of every tensor that is in it."""
        begin = self.first_byte
        for name, spec in self.tensors.items():
            if name not in self.zeros:
                yield name, spec, begin
                begin += spec.num_bytes

    def tensor(self, name: str, *, rows: slice | None = None) -> torch.Tensor:
        """Return tensor `name` in the type it is stored in; only these `rows` of its first dimension are read where some are given.

        Raises `CheckpointError`: it is not there, the file has changed, or not all of its numbers are finite.

        The file is mapped anew for every tensor: no more of it is in memory than the tensors in use.
        """
        if name in self.zeros:
            import torch

            return torch.zeros(self.tensors[name].shape, dtype=getattr(torch, _TORCH_NAMES[self.tensors[name].dtype]))
        return self._read(name, "pt", rows)

    def array(self, name: str) -> Any:
        """Return tensor `name`, of a type that NumPy knows, as an array; raises as `tensor` does."""
        return self._read(name, "np")

    def _read(self, name: str, framework: str, rows: slice | None = None) -> Any:
        try:
            with safe_open(self.path, framework) as file:
                tensor = file.get_tensor(name) if rows is None else file.get_slice(name)[rows]
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{self.path}: tensor {name} cannot be read: {' '.join(str(error).split())}") from None
        if framework == "pt":
            check_finite({name: tensor}, self.path)
        return tensor


def check_finite(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Raise `CheckpointError` naming the first tensor of the file `path` that holds NaN or infinity (3.5 GB of weights a second)."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and tensor.numel() and not all(math.isfinite(end) for end in tensor.aminmax()):
            raise CheckpointError(f"{path}: tensor {name} is not finite: it holds NaN or infinity; the training that made it went astray")


def read_header(path: Path) -> SafetensorsHeader:
    """Read and check the header of a safetensors file, without reading its tensors.

    Raises `CheckpointError`: the file is missing, truncated, or not a safetensors file.
    """
    try:
        with safe_open(path, "np"):
            pass  # checks the header, and that the tensors fill the file without gap or overlap
        with path.open("rb") as file:
            header = json.loads(file.read(*struct.unpack("<Q", file.read(8))))
            first_byte = file.tell()
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except (OSError, SafetensorError, ValueError) as error:
        reason = " ".join(str(error).removeprefix("Error while deserializing header: ").split())[:200]
        raise CheckpointError(f"{path}: not a whole safetensors file ({reason}); fetch the file again") from None
    metadata = header.pop("__metadata__", None) or {}
    entries = sorted(header.items(), key=lambda item: item[1]["data_offsets"])
    tensors = {name: TensorSpec(dtype=entry["dtype"], shape=tuple(entry["shape"])) for name, entry in entries}
    for name, spec in tensors.items():
        if spec.dtype not in ITEM_BYTES:
            raise CheckpointError(f"{path}: tensor {name} is {spec.dtype}; expected one of {', '.join(ITEM_BYTES)}")
    return SafetensorsHeader(path=path, tensors=tensors, metadata=metadata, first_byte=first_byte)


def as_buffer(tensor: torch.Tensor) -> Any:
    """Return the bytes of a tensor without copying them."""
    import torch

    return tensor.contiguous().view(-1).view(torch.uint8).numpy()


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors as `safetensors.torch.save_file` does, the widest types first and then by name; one at a time is copied to the CPU.

    Equal contents give equal bytes: upstream's writer puts the metadata in another order every time.
    """
    import torch

    name_of = {getattr(torch, long): short for short, long in _TORCH_NAMES.items()}
    ordered = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    specs = {name: TensorSpec(dtype=name_of[tensors[name].dtype], shape=tuple(tensors[name].shape)) for name in ordered}
    with SafetensorsWriter(path, specs, metadata) as writer:
        for name in ordered:
            copied = tensors[name].detach().to("cpu", copy=True)  # NumPy pins a storage for good, and FSDP resizes those of weights
            writer.write(name, as_buffer(copied))


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
        header: dict[str, Any] = {"__metadata__": dict(sorted(self._metadata.items()))} if self._metadata else {}
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


def candle_name(name: str) -> str:
    """Return the Candle name of a main-transformer weight, whichever name is given."""
    name = re.sub(r"\.self_attn\.in_projs\.0\.weight$", ".self_attn.in_proj_weight", name)
    return re.sub(r"\.self_attn\.out_projs\.0\.weight$", ".self_attn.out_proj.weight", name)


def pytorch_name(name: str) -> str:
    """Return the PyTorch name of a main-transformer weight, whichever name is given."""
    name = re.sub(r"\.self_attn\.in_proj(_|\.)weight$", ".self_attn.in_projs.0.weight", name)
    return re.sub(r"\.self_attn\.out_proj\.weight$", ".self_attn.out_projs.0.weight", name)
