"""Several processes, one run: `torchrun --nproc-per-node 4 -m stt_ft train CONFIG`.

The clips of an optimizer step are decided as for one process and then shared out, so a recipe means the same on one GPU as on eight: the
loss curve is the same but for rounding, and a run begun on two can be taken up on one. Adapters train under DDP (weights on every
device, gradients summed); `parallel: fsdp` shards the weights by `fully_shard`, for bases that do not fit and for full fine-tuning.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from moshi.models.lm import LMModel
from torch import nn

from stt_ft.core.errors import ConfigError
from stt_ft.core.recipe import Recipe
from stt_ft.training.data.batches import Batch

PATIENCE = datetime.timedelta(hours=2)
"""How long processes wait for the first while it listens to the dev split."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """What a process learns from of one batch of an optimizer step.

    Attributes:
        batch: what it learns from.
        number: which batch of the step that is, or is a part of.
        rows: which rows of that batch, None where it is the whole.
        num_rows: how many rows the whole batch has.
    """

    batch: Batch
    number: int
    rows: slice | None
    num_rows: int


@dataclass(frozen=True, kw_only=True)
class World:
    """The processes that share a run; one alone by default."""

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes what the run leaves behind."""
        return self.rank == 0

    def share(self, batches: Sequence[Batch]) -> list[Share]:
        """Return what this process learns from of one optimizer step: whole batches where they go round, else rows of each batch.

        All processes get equally many batches; one that is left without rows gets a batch that weighs nothing.
        """
        if len(batches) % self.size == 0:
            chosen = range(self.rank, len(batches), self.size)
            return [Share(batch=batches[number], number=number, rows=None, num_rows=len(batches[number].clip_ids)) for number in chosen]
        return [self._rows(batch, number) for number, batch in enumerate(batches)]

    def _rows(self, batch: Batch, number: int) -> Share:
        num_rows = len(batch.clip_ids)
        is_left_out = self.rank >= num_rows
        rows = slice(0, 1) if is_left_out else slice(self.rank, None, self.size)
        part = batch.rows(torch.arange(num_rows)[rows])
        return Share(batch=part.weighing_nothing() if is_left_out else part, number=number, rows=rows, num_rows=num_rows)

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sum of `values` over all processes."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def from_main(self, value: Any) -> Any:
        """Return what the first process has as `value`."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def wait(self) -> None:
        """Return when all processes have come here."""
        if self.size > 1:
            dist.barrier()


@contextlib.contextmanager
def joined_world(device: torch.device) -> Iterator[World]:
    """Join the other processes where torchrun has started several, and leave them when the block ends; yields a `World`.

    Raises:
        ConfigError: more processes than GPUs.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World()
        return
    if device.type == "cuda":
        local_rank = int(os.environ.get("LOCAL_RANK", "0"))
        if local_rank >= torch.cuda.device_count():
            raise ConfigError(
                f"torchrun: process {local_rank} has no GPU, torch sees {torch.cuda.device_count()}; give --nproc-per-node so many"
            )
        torch.cuda.set_device(local_rank)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield World(rank=dist.get_rank(), size=size)
    finally:
        dist.destroy_process_group()


def local_device(device: torch.device) -> torch.device:
    """Return the device of this process: under torchrun, each GPU its own."""
    if device.type == "cuda" and "LOCAL_RANK" in os.environ:
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return device


def check_shardable(recipe: Recipe) -> None:
    """Raise `ConfigError` for what cannot be done with weights that are spread over processes."""
    if recipe.replay.holds and recipe.lora.learns_whole_heads:
        raise ConfigError("parallel fsdp with replay.text_weight needs lora.heads: lora or frozen")
    if recipe.precision == "float16":
        raise ConfigError("parallel fsdp cannot scale the loss of float16; give --precision bfloat16, or --parallel ddp")
    if recipe.validation.every_steps and recipe.validation.listen and recipe.precision != "float32":
        raise ConfigError(f"parallel fsdp in {recipe.precision} cannot listen to the dev split; give --validation.listen false")


def shard(lm: LMModel, device: torch.device) -> None:
    """Shard the weights of `lm`, which lie on the CPU, over the devices of all processes: a group a layer and one for the rest."""
    # Imported here: public since torch 2.6, and one process never needs it.
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for module in (lm, *lm.transformer.layers):
        _allow_sharding(type(module))
    for layer in lm.transformer.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(lm, mesh=mesh)
    register_fsdp_forward_method(lm, "forward_text")


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor that may be sharded as all of it; every process must ask."""
    return tensor.full_tensor() if _is_sharded(tensor) else tensor  # pyright: ignore[reportAttributeAccessIssue]


def like(tensor: torch.Tensor, pattern: torch.Tensor) -> torch.Tensor:
    """Return `tensor` on the device of `pattern`, and sharded as it is."""
    moved = tensor.to(pattern.device)
    if not _is_sharded(pattern):
        return moved
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(moved, pattern.device_mesh, pattern.placements)  # pyright: ignore[reportAttributeAccessIssue]


def _is_sharded(tensor: torch.Tensor) -> bool:
    return hasattr(tensor, "full_tensor")


def _allow_sharding(module_class: type[nn.Module]) -> None:
    """Let `fully_shard` take modules of upstream's streaming classes.

    It gives a module a new class, FSDPModule first among the bases. Upstream's derive from `abc.ABC`, whose layout Python then refuses to
    exchange ("object layout differs"); with the module's own class first it does not. torch looks such classes up here before making one.
    """
    from torch.distributed.fsdp import FSDPModule
    from torch.distributed.fsdp._fully_shard import _fully_shard

    classes = _fully_shard.cls_to_fsdp_cls
    if module_class not in classes and not issubclass(module_class, FSDPModule):
        classes[module_class] = type(f"FSDP{module_class.__name__}", (module_class, FSDPModule), {})


def data_parallel(passes: nn.Module, *, some_unused: bool) -> nn.Module:
    """Return `passes` so that its gradients are averaged over all processes in the backward pass."""
    return nn.parallel.DistributedDataParallel(passes, find_unused_parameters=some_unused, broadcast_buffers=False)
