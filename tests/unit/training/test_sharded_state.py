"""A state that several processes hold in parts: written by each, read by any number of them, the same to the bit."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import safetensors.torch
import torch
import torch.distributed as dist
from torch import nn
from torch.testing._internal.distributed.fake_pg import FakeStore

from stt_ft.core.errors import CheckpointError
from stt_ft.model.safetensors_file import SafetensorsHeader
from stt_ft.training.parallel import own_part, own_rows
from stt_ft.training.state import StateFiles, training_state, write_state

SHAPES = {"layer.weight": (7, 5), "norm.alpha": (1, 1, 6), "head.weight": (2, 3)}
"""Rows that two or three processes share unevenly, and fewer than there are processes."""


@contextlib.contextmanager
def _as_process(rank: int, size: int, tensors: Mapping[str, torch.Tensor]) -> Iterator[dict[str, torch.Tensor]]:
    """Within the block this is process `rank` of `size`, and holds of `tensors` what `fully_shard` would give it."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Shard

    dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=size)
    try:
        mesh = init_device_mesh("cpu", (size,))
        parts = {}
        for name, tensor in tensors.items():
            chunks = tensor.chunk(size)
            own = chunks[rank].clone() if rank < len(chunks) else tensor[:0].clone()
            parts[name] = DTensor.from_local(own, mesh, [Shard(0)], run_check=False, shape=tensor.shape, stride=tensor.stride())
        yield parts
    finally:
        dist.destroy_process_group()


def _optimizer(tensors: Mapping[str, torch.Tensor]) -> tuple[dict[str, nn.Parameter], torch.optim.AdamW]:
    trainable = {name: nn.Parameter(tensor) for name, tensor in tensors.items()}
    return trainable, torch.optim.AdamW(trainable.values())


@pytest.fixture(scope="module")
def learned() -> dict[str, torch.Tensor]:
    """The state of one process that has done a step."""
    torch.manual_seed(0)
    trainable, optimizer = _optimizer({name: torch.randn(shape) for name, shape in SHAPES.items()})
    torch.stack([parameter.square().sum() for parameter in trainable.values()]).sum().backward()
    optimizer.step()
    return training_state(trainable, optimizer)


def _written_by(size: int, learned: Mapping[str, torch.Tensor], directory: Path) -> Path:
    directory.mkdir()
    whole, sharded = ({name: value for name, value in learned.items() if (value.dim() == 0) is is_step} for is_step in (True, False))
    for rank in range(size):
        with _as_process(rank, size, sharded) as parts:
            write_state(directory, {**whole, **parts}, rank=rank, size=size)
    return directory


@pytest.mark.parametrize("num_writers", [2, 3])
def test_what_several_wrote_is_what_one_has(learned, tmp_path, num_writers):
    """Each row is in one file only, and a file of weights is made of them as of the whole."""
    state = StateFiles.open(_written_by(num_writers, learned, tmp_path / "state"))
    assert sorted(state.pieces) == sorted(learned)
    for name, tensor in learned.items():
        assert torch.equal(state.read(name), tensor)
    files = sorted(state.directory.iterdir())
    assert [path.name for path in files] == [f"state-{n:05d}-of-{num_writers:05d}.safetensors" for n in range(1, num_writers + 1)]
    stored = [sum(tensor.numel() for tensor in safetensors.torch.load_file(path).values()) for path in files]
    assert sum(stored) == sum(tensor.numel() for tensor in learned.values())
    state.write_weights(tmp_path / "whole.safetensors", torch.bfloat16, {})
    weights = {name.removeprefix("weight/"): value.bfloat16() for name, value in learned.items() if name.startswith("weight/")}
    written = safetensors.torch.load_file(tmp_path / "whole.safetensors")
    assert list(written) == sorted(weights)
    assert all(torch.equal(written[name], weights[name]) for name in weights)


@pytest.mark.parametrize(("num_writers", "num_readers"), [(2, 1), (2, 3), (3, 2), (1, 2)])
def test_any_number_takes_it_up_and_each_reads_its_own_rows(learned, tmp_path, monkeypatch, num_writers, num_readers):
    directory = _written_by(num_writers, learned, tmp_path / "state") if num_writers > 1 else tmp_path
    if num_writers == 1:
        write_state(directory, learned)
    read: list[int] = []
    monkeypatch.setattr(SafetensorsHeader, "tensor", _counted(SafetensorsHeader.tensor, read))
    state, num_held = StateFiles.open(directory), 0
    blank = {name: torch.zeros(shape) for name, shape in SHAPES.items()}
    for rank in range(num_readers):
        with _as_process(rank, num_readers, blank) if num_readers > 1 else contextlib.nullcontext(blank) as parts:
            trainable, optimizer = _optimizer(parts)
            state.restore(trainable, optimizer)
            for name, value in training_state(trainable, optimizer).items():
                rows = own_rows(value)
                assert torch.equal(own_part(value), learned[name] if rows is None else learned[name][rows]), name
                num_held += len(own_part(value)) if value.dim() else 0
    assert sum(read) == num_held


def _counted(tensor_of, read: list[int]):
    def tensor(header, name, *, rows=None):
        got = tensor_of(header, name, rows=rows)
        read.append(len(got) if got.dim() else 0)
        return got

    return tensor


def test_a_missing_shard_and_missing_rows_are_named(learned, tmp_path):
    directory = _written_by(3, learned, tmp_path / "state")
    second = directory / "state-00002-of-00003.safetensors"
    content = second.read_bytes()
    second.unlink()
    with pytest.raises(CheckpointError, match=r"state: of 3 shards, number 2 is missing"):
        StateFiles.open(directory)
    second.write_bytes(content.replace(json.dumps(json.dumps([3, 7]))[1:-1].encode(), b"[2, 7]"))
    with pytest.raises(CheckpointError, match=r"state: rows of .*layer\.weight are missing, or there twice"):
        StateFiles.open(directory)


def test_a_tensor_of_another_shape_is_refused(learned, tmp_path):
    write_state(tmp_path, learned)
    trainable, optimizer = _optimizer({name: torch.zeros((9, *shape[1:])) for name, shape in SHAPES.items()})
    with pytest.raises(CheckpointError, match=r"weight/layer\.weight is \[7, 5\], where this model has \[9, 5\]"):
        StateFiles.open(tmp_path).restore(trainable, optimizer)
