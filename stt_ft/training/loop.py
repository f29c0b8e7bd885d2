"""The training loop: from a recipe and a run directory to checkpoints."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from moshi.models.lm import LMModel
from torch import nn

from stt_ft.core.errors import ConfigError
from stt_ft.core.recipe import Recipe
from stt_ft.model.checkpoint_dir import ModelDir
from stt_ft.model.device import compile_only_on_gpu
from stt_ft.model.lora import adapter_state_dict
from stt_ft.model.stt_lm import forward
from stt_ft.training.batches import Batch
from stt_ft.training.dashboard import Dashboard
from stt_ft.training.loss import loss_weights, stream_loss
from stt_ft.training.run_state import Progress, RunDir, prune_checkpoints, save_checkpoint
from stt_ft.training.trainable import learning_rate
from stt_ft.training.validation import Validator

FLUSH_STEPS = 10
"""Steps between writings of metrics.train.jsonl: a GPU is asked for its losses no more often than this."""

MAX_SKIPPED_IN_A_ROW = 10
"""Steps without a finite loss after which a run gives up."""


@dataclass(kw_only=True)
class Trainer:
    """One run. `train` does its steps from `progress.step` on."""

    recipe: Recipe
    model: ModelDir
    lm: LMModel
    trainable: dict[str, nn.Parameter]
    optimizer: torch.optim.AdamW
    batches: Iterator[Batch]
    run: RunDir
    progress: Progress
    validator: Validator | None = None
    pending_rows: list[dict[str, Any]] = field(default_factory=list)
    skipped_in_a_row: int = 0

    def train(self) -> Progress:
        """Train to the last step, or until the dev split has not improved for `evaluation.patience` validations."""
        recipe, first_step = self.recipe, self.progress.step
        self.lm.train()
        self.lm.transformer.checkpointing = recipe.batch.gradient_checkpointing
        with Dashboard(first_step=first_step, max_steps=recipe.schedule.max_steps) as dashboard:
            for step in range(first_step + 1, recipe.schedule.max_steps + 1):
                self._step(step, dashboard)
                is_last = step == recipe.schedule.max_steps
                if step % FLUSH_STEPS == 0 or is_last:
                    self._flush()
                self.progress = dataclasses.replace(self.progress, step=step)
                is_best = self._is_due(recipe.evaluation.every_steps, step, is_last) and self._validate(step, dashboard)
                is_over = is_last or self._has_stalled()
                if is_best or is_over or self._is_due(recipe.checkpoint.every_steps, step, is_last):
                    self._flush()
                    self._save()
                if is_over:
                    break
        return self.progress

    def _step(self, step: int, dashboard: Dashboard) -> None:
        """Do one optimizer step over `grad_accumulation` batches; a step whose gradient is not finite is skipped and counted."""
        recipe = self.recipe
        ids = {"padding_id": self.model.padding_id, "end_padding_id": self.model.end_padding_id}
        batches = list(itertools.islice(self.batches, recipe.batch.grad_accumulation))
        weights = loss_weights(batches, recipe.loss, **ids)
        lr = learning_rate(step - 1, recipe.optim, recipe.schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        torch.manual_seed(recipe.seed * 1_000_003 + step)
        sums = {name: torch.zeros((), device=self.lm.device) for name in ("loss", "text_loss", "pause_loss")}
        for batch in batches:
            moved = batch.to(self.lm.device)
            with self.autocast(), compile_only_on_gpu(self.lm.device):
                terms = stream_loss(forward(self.lm, moved.inputs), moved, recipe.loss, weights, **ids)
            terms.total.backward()
            for name, term in (("loss", terms.total), ("text_loss", terms.text), ("pause_loss", terms.pause)):
                sums[name] += term.detach()
        norm = nn.utils.clip_grad_norm_(self.trainable.values(), recipe.optim.max_grad_norm or math.inf)
        is_finite = bool(torch.isfinite(norm + sums["loss"]))
        if is_finite:
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self._count_skipped(step, batches, is_finite)
        num_frames = sum(batch.num_frames for batch in batches)
        self.pending_rows.append({"step": step, **sums, "grad_norm": norm, "lr": lr, "frames": num_frames, "skipped": not is_finite})
        loss = sums["loss"].item() if self.lm.device.type == "cpu" or step % FLUSH_STEPS == 0 else None
        dashboard.step_done(step, num_frames, loss)

    def autocast(self) -> torch.autocast:
        """Return the context in which the model computes: bfloat16 where the recipe asks for it, float32 as it stands otherwise."""
        return torch.autocast(self.lm.device.type, dtype=torch.bfloat16, enabled=self.recipe.precision == "bfloat16")

    def _count_skipped(self, step: int, batches: Sequence[Batch], is_finite: bool) -> None:
        self.skipped_in_a_row = 0 if is_finite else self.skipped_in_a_row + 1
        if self.skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
            clips = [clip_id for batch in batches for clip_id in batch.clip_ids]
            raise ConfigError(
                f"{self.run.directory}: the loss was not a number {self.skipped_in_a_row} steps in a row, up to step {step} with clips "
                f"{', '.join(clips[:4])} …; lower optim.lr (now {self.recipe.optim.lr}) and train into another --run_dir"
            )

    def _flush(self) -> None:
        """Write the pending rows of metrics.train.jsonl; a figure that is not finite is written as null."""
        rows = [{name: _number(value) for name, value in row.items()} for row in self.pending_rows]
        self.run.append("metrics.train.jsonl", rows)
        self.pending_rows.clear()

    def _is_due(self, every_steps: int, step: int, is_last: bool) -> bool:
        return is_last or (every_steps > 0 and step % every_steps == 0)

    def _validate(self, step: int, dashboard: Dashboard) -> bool:
        """Hear the dev split; returns whether it never came out better."""
        if self.validator is None or self.recipe.evaluation.every_steps == 0:
            return False
        figures = self.validator.evaluate(self.lm, self.autocast())
        value = figures[self.recipe.evaluation.best_metric]
        best = self.progress.best_value
        is_best = best is None or value < best
        changes = {"best_step": step, "best_value": value, "num_worse": 0} if is_best else {"num_worse": self.progress.num_worse + 1}
        self.progress = dataclasses.replace(self.progress, **changes)
        self.run.append("metrics.eval.jsonl", [{"step": step, **figures}])
        dashboard.validated(step, figures, is_best=is_best)
        return is_best

    def _has_stalled(self) -> bool:
        patience = self.recipe.evaluation.patience
        return patience is not None and self.progress.num_worse >= patience

    def _save(self) -> None:
        recipe = self.recipe
        dtype = torch.bfloat16 if recipe.precision == "bfloat16" else torch.float32
        adapter = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in self.lm.state_dict().items()}
        if recipe.lora.enable:
            adapter = adapter_state_dict(self.lm, rank=recipe.lora.rank, dtype=dtype)
        lora = {"lora": True, "lora_rank": recipe.lora.rank, "lora_scaling": recipe.lora.scaling} if recipe.lora.enable else {"lora": False}
        save_checkpoint(
            self.run,
            self.progress,
            self.trainable,
            self.optimizer,
            adapter=adapter,
            adapter_name="lora.safetensors" if recipe.lora.enable else "consolidated.safetensors",
            adapter_metadata={
                "base": self.model.name,
                "base_sha256": self.progress.base_sha256,
                "scaling": repr(recipe.lora.scaling),
                "step": str(self.progress.step),
            },
            model_config={**self.model.config, **lora},
        )
        prune_checkpoints(self.run, keep=recipe.checkpoint.keep, best_step=self.progress.best_step)


def _number(value: Any) -> Any:
    """Return a tensor as a float, and anything that is not finite as None."""
    value = value.item() if isinstance(value, torch.Tensor) else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
