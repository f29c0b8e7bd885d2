"""One optimizer step: forward and backward over its batches, then the weights, unless the guard leaves the step out."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from moshi.models.lm import LMModel
from torch import nn

from stt_ft.core.errors import ConfigError
from stt_ft.core.recipe import Recipe
from stt_ft.model.device import training_kernels
from stt_ft.model.lora import part_of_batch
from stt_ft.training.batches import Batch
from stt_ft.training.distributed import Share, World, data_parallel, whole
from stt_ft.training.guard import LossScale, StepGuard
from stt_ft.training.objective import Objective, StepWeights
from stt_ft.training.trainable import learning_rate


class Passes(nn.Module):
    """The model and its objective as one module, so that gradients can be averaged over processes as they come."""

    def __init__(self, lm: LMModel, objective: Objective) -> None:
        super().__init__()
        self.lm = lm
        self.objective = objective

    def forward(self, batch: Batch, weights: StepWeights) -> dict[str, torch.Tensor]:
        return self.objective.terms(self.lm, batch, weights)


@dataclass(kw_only=True)
class Stepper:
    """Does optimizer steps. `is_sharded` says that the weights of `lm` are spread over the processes of `world`."""

    recipe: Recipe
    lm: LMModel
    trainable: dict[str, nn.Parameter]
    optimizer: torch.optim.AdamW
    objective: Objective
    guard: StepGuard
    scale: LossScale
    world: World
    is_sharded: bool = False

    def __post_init__(self) -> None:
        passes = Passes(self.lm, self.objective)
        some_unused = self.recipe.loss.pause_targets == "off" or self.objective.model.dep_q > 0
        self._passes = data_parallel(passes, some_unused=some_unused) if self.world.size > 1 and not self.is_sharded else passes

    def do(self, step: int, batches: Sequence[Batch]) -> dict[str, Any]:
        """Do step number `step` and return its row of metrics.train.jsonl; figures that are tensors are still on their way.

        Raises:
            ConfigError: the batches do not fit into memory; says which knob to turn and by how much.
        """
        recipe = self.recipe
        weights = self.objective.weigh(batches)
        lr = learning_rate(step - 1, recipe.optim, recipe.schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        try:
            sums = self._gradients(step, batches, weights)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            raise ConfigError(out_of_memory_advice(recipe, batches, step)) from None
        self.scale.unscale([parameter.grad for parameter in self.trainable.values() if parameter.grad is not None])
        norm = whole(nn.utils.clip_grad_norm_(self.trainable.values(), recipe.optim.max_grad_norm or math.inf))
        accepted = self.guard.accepts(sums["loss"], norm)
        self.scale.update(norm)
        self._apply(accepted)
        num_frames = sum(batch.num_frames for batch in batches)
        return {"step": step, **sums, "grad_norm": norm, "lr": lr, "frames": num_frames, "skipped": ~accepted}

    def _gradients(self, step: int, batches: Sequence[Batch], weights: StepWeights) -> dict[str, torch.Tensor]:
        """Add up the gradients of all batches, over all processes, and return each term of the loss."""
        sums = torch.zeros(len(self.objective.names), device=self.lm.device)
        own = self.world.share(batches)
        for share in own:
            with self._summing(is_last=share is own[-1]), training_kernels(self.lm.device), self._noise(step, share):
                with self.autocast():
                    terms = self._passes(share.batch, weights)
                # Gradients are averaged over processes, and the loss is a share of the whole.
                self.scale.scaled(terms["loss"] * self.world.size).backward()
            sums += torch.stack([terms[name].detach() for name in self.objective.names])
        return dict(zip(self.objective.names, self.world.sum(sums).unbind(), strict=True))

    def _noise(self, step: int, share: Share) -> contextlib.AbstractContextManager[Any]:
        """Seed dropout by the step and the batch, whichever process has it, and return a context in which rows have their own of it."""
        torch.manual_seed(self.recipe.seed * 1_000_003 + step + share.number * 7_919_000_003)
        return contextlib.nullcontext() if share.rows is None else part_of_batch(self.lm, share.rows, share.num_rows)

    def _summing(self, *, is_last: bool) -> contextlib.AbstractContextManager[None]:
        """Return a context in which gradients stay on their device until the last pass of a step."""
        if isinstance(self._passes, nn.parallel.DistributedDataParallel) and not is_last:
            return self._passes.no_sync()
        return contextlib.nullcontext()

    def _apply(self, accepted: torch.Tensor) -> None:
        """Move the weights if the step was accepted; a GPU finds out by itself, a CPU is asked."""
        if accepted.is_cuda and not self.is_sharded:
            self.optimizer.found_inf = (~accepted).float()  # pyright: ignore[reportAttributeAccessIssue] (read by the fused kernel)
            self.optimizer.step()
        elif bool(accepted):
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def autocast(self) -> torch.autocast:
        """Return the context in which the model computes: float32 as it stands, or the shorter type that the recipe asks for."""
        half = torch.float16 if self.recipe.precision == "float16" else torch.bfloat16
        return torch.autocast(self.lm.device.type, dtype=half, enabled=self.recipe.precision != "float32")


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error) or "can't allocate memory" in str(error)


def out_of_memory_advice(recipe: Recipe, batches: Sequence[Batch], step: int) -> str:
    """Return which knob to turn, and by how much, when the batches of a step do not fit into memory."""
    rows, _, longest = max((batch.codes.shape for batch in batches), key=lambda shape: shape[0] * shape[2])
    batch = recipe.batch
    knobs = []
    if not batch.gradient_checkpointing:
        knobs.append("--batch.gradient_checkpointing true (a third slower, a few times less memory)")
    if rows > 1:
        knobs.append(f"--batch.batch_size {max(1, rows // 2)} --batch.grad_accumulation {batch.grad_accumulation * 2} (the same gradient)")
        knobs.append(f"--batch.max_frames_per_batch {rows * longest * 2 // 3}")
    else:
        knobs.append(f"--batch.long_clips cut --batch.max_clip_s {longest * 0.08 / 2:.0f}")
    what = f"out of memory at step {step}, with {rows} clips of up to {longest} frames in a pass"
    return f"{what}; give {', or '.join(knobs)}, and another --run_dir"
