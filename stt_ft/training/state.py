"""What a run needs to go on, in a checkpoint: the weights that learn, in float32, and what the optimizer remembers of each.

    training_state/state.safetensors                    written by one process for all
    training_state/state-00002-of-00003.safetensors     sharded weights (`parallel.shard`): the rows that the second of three processes held

Nothing is gathered. A process writes the rows that it holds, a tensor at a time, and reads those that it is to hold, however many
processes wrote and read. In a file of several, a tensor is a run of rows (of its first dimension), and the metadata say which:

    {"rows": "{\"weight/NAME\": [FIRST, NUMBER OF ALL], …}"}
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from stt_ft.core.errors import CheckpointError
from stt_ft.model.merge import FORMAT_NAMES
from stt_ft.model.safetensors_file import SafetensorsHeader, SafetensorsWriter, TensorSpec, as_buffer, read_header, write_tensors
from stt_ft.training.parallel import own_part, own_rows

STATE_NAME = "state.safetensors"
_SHARD = re.compile(r"state-(\d{5})-of-(\d{5})\.safetensors")
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")
"""What AdamW remembers of a weight."""


def training_state(trainable: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Return the trained weights and what the optimizer remembers of each, where and as sharded as they are: no copies."""
    tensors = {}
    for name, parameter in trainable.items():
        tensors[f"weight/{name}"] = parameter.detach()
        for moment, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{moment}/{name}"] = value.detach()
    return tensors


def write_state(directory: Path, state: Mapping[str, torch.Tensor], *, rank: int = 0, size: int = 1) -> Path:
    """Write what process `rank` of the `size` that share `state` holds of it, and return the file: each row is written once."""
    held: dict[str, torch.Tensor] = {}
    rows: dict[str, tuple[int, int]] = {}
    for name, tensor in state.items():
        own = own_rows(tensor)
        if own is None and rank == 0:
            held[name] = tensor
        elif own is not None and own.start < own.stop:
            held[name], rows[name] = own_part(tensor), (own.start, len(tensor))
    path = directory / (STATE_NAME if size == 1 else f"state-{rank + 1:05d}-of-{size:05d}.safetensors")
    write_tensors(path, held, {"rows": json.dumps(rows, sort_keys=True)} if size > 1 else {})
    return path


@dataclass(frozen=True, kw_only=True)
class _Piece:
    """The rows of a tensor that one file holds, from row `first` on."""

    header: SafetensorsHeader
    spec: TensorSpec
    first: int

    @property
    def stop(self) -> int:
        return self.first + self.spec.shape[0]


@dataclass(frozen=True, kw_only=True)
class StateFiles:
    """The training state of a checkpoint on disk.

    Attributes:
        directory: training_state.
        pieces: tensor -> the pieces it lies in, by their first rows.
    """

    directory: Path
    pieces: Mapping[str, tuple[_Piece, ...]]

    @classmethod
    def open(cls, directory: Path) -> StateFiles:
        """Read the headers of all files; raises `CheckpointError` where one is missing or broken, or a row is missing."""
        pieces: dict[str, list[_Piece]] = {}
        num_rows: dict[str, int] = {}
        for header in map(read_header, _files(directory)):
            try:
                rows = {name: (int(first), int(count)) for name, (first, count) in json.loads(header.metadata.get("rows", "{}")).items()}
            except (ValueError, TypeError, AttributeError) as error:
                raise CheckpointError(f"{header.path}: does not say which rows it holds: {error}") from None
            for name, spec in header.tensors.items():
                first, num_rows[name] = rows.get(name, (0, spec.shape[0] if spec.shape else 0))
                pieces.setdefault(name, []).append(_Piece(header=header, spec=spec, first=first))
        state = cls(directory=directory, pieces={name: tuple(sorted(each, key=lambda one: one.first)) for name, each in pieces.items()})
        for name, found in state.pieces.items():
            ends = [0, *(piece.stop for piece in found)] if found[0].spec.shape else [0]
            if ends != [*(piece.first for piece in found if piece.spec.shape), num_rows[name]]:
                raise CheckpointError(f"{directory}: rows of {name} are missing, or there twice")
        return state

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of the whole tensor."""
        last = self.pieces[name][-1]
        return (last.stop, *last.spec.shape[1:]) if last.spec.shape else ()

    def read(self, name: str, rows: slice | None = None) -> torch.Tensor:
        """Return these rows of tensor `name`, all of it by default; `KeyError` where there is no such tensor."""
        found = self.pieces[name]
        if rows is None and len(found) == 1:
            return found[0].header.tensor(name)
        first, stop = (0, self.shape(name)[0]) if rows is None else (rows.start, rows.stop)
        parts = []
        for piece in found:
            begin, end = max(first, piece.first), min(stop, piece.stop)
            if begin < end:
                parts.append(piece.header.tensor(name, rows=slice(begin - piece.first, end - piece.first)))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def put(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """Fill `tensor`, which may be sharded, with what is kept under `name`, and return it."""
        if tensor.shape != self.shape(name):
            raise CheckpointError(f"{self.directory}: {name} is {list(self.shape(name))}, where this model has {list(tensor.shape)}")
        rows = own_rows(tensor)
        if rows is None or rows.start < rows.stop:
            own_part(tensor).copy_(self.read(name, rows))
        return tensor

    @torch.no_grad()
    def restore(self, trainable: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
        """Put weights and optimizer back to where they were.

        Raises:
            CheckpointError: the state is of other weights than these.
        """
        if missing := [name for name in trainable if f"weight/{name}" not in self.pieces]:
            raise CheckpointError(f"{self.directory}: cannot be taken up again: it lacks {missing[0]}")
        wanted = {f"{kind}/{name}" for kind in ("weight", *_MOMENTS) for name in trainable}
        if left_over := sorted(set(self.pieces) - wanted):
            raise CheckpointError(f"{self.directory}: holds weights that this model does not train: {', '.join(left_over[:3])}")
        for name, parameter in trainable.items():
            self.put(f"weight/{name}", parameter)
            found = [moment for moment in _MOMENTS if f"{moment}/{name}" in self.pieces]
            blank = {
                moment: torch.zeros((), device=parameter.device) if moment == "step" else torch.zeros_like(parameter) for moment in found
            }
            if found:
                optimizer.state[parameter] = {moment: self.put(f"{moment}/{name}", blank[moment]) for moment in found}

    def write_weights(self, path: Path, dtype: torch.dtype, metadata: Mapping[str, str]) -> None:
        """Write the weights, rounded to `dtype`, as one safetensors file, with one of them in memory at a time."""
        names = sorted(name.removeprefix("weight/") for name in self.pieces if name.startswith("weight/"))
        specs = {name: TensorSpec(dtype=FORMAT_NAMES[dtype], shape=self.shape(f"weight/{name}")) for name in names}
        with SafetensorsWriter(path, specs, metadata) as writer:
            for name in names:
                writer.write(name, as_buffer(self.read(f"weight/{name}").to(dtype)))


def _files(directory: Path) -> list[Path]:
    """Return the files of the state in `directory`; raises `CheckpointError` where shards are missing."""
    shards = {path: match for path in sorted(directory.glob("state-*.safetensors")) if (match := _SHARD.fullmatch(path.name))}
    if not shards:
        return [directory / STATE_NAME]  # where it is missing, reading it says so
    [size, *others] = {int(match[2]) for match in shards.values()}
    missing = sorted(set(range(1, size + 1)) - {int(match[1]) for match in shards.values()})
    if missing or others:
        raise CheckpointError(f"{directory}: of {size} shards, number {', '.join(map(str, missing))} is missing")
    return list(shards)
