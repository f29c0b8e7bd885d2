"""Several processes, one run: `torchrun --nproc-per-node 4 -m stt_ft train CONFIG`, on one machine or on several (docs/cluster.md).

The clips of an optimizer step are decided as for one process and then shared out, so a recipe means the same on one GPU as on eight: the
loss curve is the same but for rounding, and a run begun on two can be taken up on one. Adapters train under DDP (weights on every
device, gradients summed); `parallel: fsdp` shards the weights by `fully_shard`, for bases that do not fit and for full fine-tuning.

What is wrong in one process is said by all machines and ends the run. A process that is gone ends it too, and torchrun begins anew, as
often as --max-restarts says; the processes of then, however many, go on from the newest checkpoint.
"""

from __future__ import annotations

import atexit
import contextlib
import datetime
import os
import signal
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from moshi.models.lm import LMModel
from torch import nn

from stt_ft.core.atomic import sole_writer
from stt_ft.core.errors import BusyError, ConfigError, SttFtError
from stt_ft.core.recipe import Recipe
from stt_ft.training.data.batches import Batch, PlannedBatch

PATIENCE = datetime.timedelta(hours=2)
"""How long processes wait for the first while it listens to the dev split, and for the last to read its clips."""

JOINING = datetime.timedelta(minutes=10)
"""How long processes wait for each other at the start, and for their shares of a gradient."""

SHARED_WITHIN_S = 10.0
"""After this long a file that the first process wrote counts as not there; file systems of several machines take a while to show it."""

LOCK_WAIT_S = 120.0
"""How long a run that was begun anew waits for the lock of its directory: a file server keeps those of a dead machine for 90 s."""

Made = TypeVar("Made")


class LostProcess(SttFtError):
    """Another process of the run is gone, or cannot be reached: no mistake of the user's, and worth another try."""


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
    """The processes that share a run; one alone by default.

    `talk` is the group in which they wait for each other and tell each other; gradients have torch's own.
    """

    rank: int = 0
    size: int = 1
    talk: Any = None

    @property
    def is_main(self) -> bool:
        """Whether this process writes what the run leaves behind."""
        return self.rank == 0

    def share(self, batches: Sequence[PlannedBatch]) -> list[Share]:
        """Make what this process learns from of one optimizer step: whole batches where they go round, else rows of each batch.

        All processes get equally many batches; one that is left without rows gets a batch that weighs nothing.
        """
        if len(batches) % self.size == 0:
            chosen = range(self.rank, len(batches), self.size)
            return [Share(batch=batches[number].made(), number=number, rows=None, num_rows=len(batches[number].takes)) for number in chosen]
        return [self._rows(batch, number) for number, batch in enumerate(batches)]

    def _rows(self, batch: PlannedBatch, number: int) -> Share:
        num_rows = len(batch.takes)
        is_left_out = self.rank >= num_rows
        rows = slice(0, 1) if is_left_out else slice(self.rank, None, self.size)
        part = batch.made(rows)
        return Share(batch=part.weighing_nothing() if is_left_out else part, number=number, rows=rows, num_rows=num_rows)

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sum of `values` over all processes."""
        if self.size > 1:
            dist.all_reduce(values, group=self.talk if values.device.type == "cpu" else None)
        return values

    def from_main(self, value: Any) -> Any:
        """Return what the first process has as `value`."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self.talk)
        return box[0]

    def of_all(self, value: Made) -> list[Made]:
        """Return what each process has as `value`, the first one's first."""
        values: list[Any] = [None] * self.size
        if self.size == 1:
            return [value]
        dist.all_gather_object(values, value, group=self.talk)
        return values

    def wait(self) -> None:
        """Return when all processes have come here."""
        if self.size > 1:
            dist.barrier(group=self.talk)

    def together(self, act: Callable[[], Made]) -> Made:
        """Return what `act` does in this process, once it is done in all.

        Raises:
            SttFtError: it cannot be done in one of them. The first process of each machine says why, and the others end without a word.
        """
        made, error = None, None
        try:
            made = act()
        except SttFtError as raised:
            if self.size == 1:
                raise
            error = type(raised), str(raised)
        errors = [each for each in self.of_all(error) if each is not None]
        if not errors:
            return made  # pyright: ignore[reportReturnType]
        kind, message = errors[0]
        raise kind.__new__(kind, message) if _local_rank() == 0 else SystemExit(kind.exit_code)

    @contextlib.contextmanager
    def sole_writer(self, directory: Path) -> Iterator[None]:
        """Have `directory`, the same for all processes, to write into while the block lasts.

        Raises:
            BusyError: another run writes there.
            ConfigError: some process has another directory of that name.
        """
        with contextlib.ExitStack() as stack:
            if self.is_main:
                self.together(lambda: _enter_patiently(stack, directory))
            else:
                self.together(lambda: None)
            self._check_is_shared(directory)
            yield

    def _check_is_shared(self, directory: Path) -> None:
        if self.size == 1:
            return
        mark = self.from_main(f".shared.{uuid.uuid4().hex[:8]}.tmp")  # a leftover of that name is swept (`core/atomic.py`)
        if self.is_main:
            self.together((directory / mark).touch)
        else:
            self.together(lambda: None)
        try:
            self.together(lambda: self._find(directory, mark))
        finally:
            if self.is_main:
                (directory / mark).unlink(missing_ok=True)

    def _find(self, directory: Path, mark: str) -> None:
        end_s = time.monotonic() + SHARED_WITHIN_S
        while not (directory / mark).exists():
            if time.monotonic() > end_s:
                raise ConfigError(
                    f"{directory}: is not one directory for all processes; {self._who()} does not see what the first one writes there; "
                    "give a --run_dir on a file system that all machines share"
                )
            time.sleep(0.1)

    def check_alike(self, facts: Mapping[str, str]) -> None:
        """Raise `ConfigError` for the first of `facts` that is another in the first process; by what is said of a process that differs."""

        def check() -> None:
            for what, fingerprint in self.from_main(dict(facts)).items():
                if facts[what] != fingerprint:
                    raise ConfigError(
                        f"torchrun: {self._who()} {what} than the first; start all with the same recipe and flags, on the same files"
                    )

        self.together(check)

    def _who(self) -> str:
        return f"process {self.rank} of {self.size}, on {socket.gethostname()},"


@contextlib.contextmanager
def joined_world(device: torch.device) -> Iterator[World]:
    """Join the other processes where torchrun has started several, and leave them when the block ends; yields a `World`.

    Raises:
        ConfigError: more processes than GPUs.
        LostProcess: another process cannot be reached, or is gone before the block ends.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    try:
        if size == 1:
            yield World()
            return
        with _no_lost_process(), _joined(device) as world:
            yield world
    except (LostProcess, BusyError):
        raise
    except SttFtError:
        _end_torchrun()
        raise


@contextlib.contextmanager
def _joined(device: torch.device) -> Iterator[World]:
    size = int(os.environ["WORLD_SIZE"])
    if device.type == "cuda":
        if _local_rank() >= torch.cuda.device_count():
            raise ConfigError(
                f"torchrun: process {_local_rank()} has no GPU, torch sees {torch.cuda.device_count()}; give --nproc-per-node so many"
            )
        torch.cuda.set_device(_local_rank())
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=JOINING)
        talk = dist.new_group(backend="gloo", timeout=PATIENCE)
    except RuntimeError as error:
        raise LostProcess(
            f"torchrun: the {size} processes of this run do not reach each other ({_one_line(error)}); see that all were started, and name "
            "the network interface of each machine: export GLOO_SOCKET_IFNAME=eth0 NCCL_SOCKET_IFNAME=eth0"
        ) from None
    try:
        yield World(rank=dist.get_rank(), size=size, talk=talk)
    finally:
        dist.destroy_process_group()


@contextlib.contextmanager
def _no_lost_process() -> Iterator[None]:
    """Within the block, what torch raises where another process is gone is one line."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and not any(sign in str(error) for sign in _SIGNS_OF_LOSS):
            raise
        raise LostProcess(
            f"torchrun: another process of this run is gone ({_one_line(error)}); the run goes on from its newest checkpoint: by itself "
            "where torchrun was given --max-restarts, else by the same command"
        ) from None


_SIGNS_OF_LOSS = ("gloo", "Connection closed by peer", "Connection reset by peer", "Broken pipe", "NCCL")
"""What is in torch's messages where a connection between processes breaks."""


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


def _end_torchrun() -> None:
    """Let torchrun on this machine end with this process: it would begin the run anew, as after a crash, and the mistake would be the same.

    An exit code cannot tell it (https://docs.pytorch.org/docs/stable/elastic/run.html); a signal ends it, as Ctrl-C does.
    """
    restarts_left = int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) - int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    if "TORCHELASTIC_RUN_ID" in os.environ and restarts_left > 0 and _local_rank() == 0:
        atexit.register(os.kill, os.getppid(), signal.SIGTERM)  # when the mistake has been told


def _local_rank() -> int:
    return int(os.environ.get("LOCAL_RANK", "0"))


def _enter_patiently(stack: contextlib.ExitStack, directory: Path) -> None:
    """Enter `sole_writer`; where torchrun begins runs anew, wait for a lock that was a dead process's."""
    is_elastic = int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) > 0
    end_s = time.monotonic() + (LOCK_WAIT_S if is_elastic else 0.0)
    while True:
        try:
            stack.enter_context(sole_writer(directory))
        except BusyError:
            if time.monotonic() > end_s:
                raise
            time.sleep(1.0)
        else:
            return


def local_device(device: torch.device) -> torch.device:
    """Return the device of this process: under torchrun, each GPU its own."""
    if device.type == "cuda" and "LOCAL_RANK" in os.environ:
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return device


def shards_weights(recipe: Recipe, world: World) -> bool:
    """Return whether each process holds a part of the weights alone.

    Raises:
        ConfigError: the recipe asks for something that cannot be done with such weights.
    """
    if world.size == 1 or not (recipe.parallel == "fsdp" or (recipe.parallel == "auto" and not recipe.lora.enable)):
        return False
    if recipe.replay.holds and recipe.lora.learns_whole_heads:
        raise ConfigError("parallel fsdp with replay.text_weight needs lora.heads: lora or frozen")
    if recipe.precision == "float16":
        raise ConfigError("parallel fsdp cannot scale the loss of float16; give --precision bfloat16, or --parallel ddp")
    if recipe.validation.every_steps and recipe.validation.listen and recipe.precision != "float32":
        raise ConfigError(f"parallel fsdp in {recipe.precision} cannot listen to the dev split; give --validation.listen false")
    return True


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


def own_rows(tensor: torch.Tensor) -> slice | None:
    """Return which rows (of the first dimension) of a sharded tensor this process holds; None for a tensor that it holds whole.

    `fully_shard` gives each process as many as `torch.chunk` would.
    """
    if not _is_sharded(tensor):
        return None
    mesh, num_rows = tensor.device_mesh, tensor.shape[0]  # pyright: ignore[reportAttributeAccessIssue]
    most = -(-num_rows // mesh.size())
    first, stop = (min(at * most, num_rows) for at in (mesh.get_local_rank(), mesh.get_local_rank() + 1))
    return slice(first, stop)


def own_part(tensor: torch.Tensor) -> torch.Tensor:
    """Return the rows of `own_rows`, sharing memory with the tensor; of a tensor that is not sharded, all of it."""
    return tensor.to_local() if _is_sharded(tensor) else tensor  # pyright: ignore[reportAttributeAccessIssue]


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
