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

from stt_ft.core.errors import ConfigError
from stt_ft.core.recipe import Recipe
from stt_ft.model.checkpoint_dir import ModelDir
from stt_ft.training.batches import Batch
from stt_ft.training.dashboard import Dashboard
from stt_ft.training.distributed import World
from stt_ft.training.run_state import Progress, RunDir, Snapshot, prune_checkpoints, save_checkpoint
from stt_ft.training.step import Stepper
from stt_ft.training.trackers import Trackers
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
    stepper: Stepper
    batches: Iterator[Batch]
    run: RunDir
    progress: Progress
    validator: Validator | None = None
    trackers: Trackers = field(default_factory=Trackers)
    pending: list[tuple[dict[str, Any], list[str]]] = field(default_factory=list)
    skipped_in_a_row: int = 0

    @property
    def world(self) -> World:
        return self.stepper.world

    def train(self) -> Progress:
        """Train to the last step."""
        recipe, first_step = self.recipe, self.progress.step
        self.lm.train()
        with Dashboard(first_step=first_step, max_steps=recipe.schedule.max_steps, is_shown=self.world.is_main) as dashboard:
            for step in range(first_step + 1, recipe.schedule.max_steps + 1):
                self._step(step, dashboard)
                is_last = step == recipe.schedule.max_steps
                if step % FLUSH_STEPS == 0 or is_last:
                    self._flush()
                self.progress = dataclasses.replace(self.progress, step=step)
                is_best = self._is_due(recipe.validation.every_steps, step, is_last) and self._validate(step, dashboard)
                if is_best or self._is_due(recipe.validation.every_steps, step, is_last):
                    self._flush()
                    self._save()
        return self.progress

    def _step(self, step: int, dashboard: Dashboard) -> None:
        """Do one optimizer step over `grad_accumulation` batches."""
        batches = list(itertools.islice(self.batches, self.recipe.batch.grad_accumulation))
        row = self.stepper.do(step, batches)
        self.pending.append((row, [clip_id for batch in batches for clip_id in batch.clip_ids]))
        is_shown = self.lm.device.type == "cpu" or step % FLUSH_STEPS == 0
        dashboard.step_done(step, row["frames"], row["loss"].item() if is_shown else None)

    def _flush(self) -> None:
        """Fetch the pending figures, write them to metrics.train.jsonl, and give up where nothing was learned for too long.

        Raises:
            ConfigError: too many steps in a row were skipped; names the clips of the last.
        """
        rows = [{name: _number(value) for name, value in row.items()} for row, _ in self.pending]
        clips = [clip_ids for _, clip_ids in self.pending]
        self.pending.clear()
        if self.world.is_main:
            self.run.append("metrics.train.jsonl", rows)
            self.trackers.log(rows)
        for row, clip_ids in zip(rows, clips, strict=True):
            self.skipped_in_a_row = self.skipped_in_a_row + 1 if row["skipped"] else 0
            self.progress = dataclasses.replace(self.progress, num_skipped=self.progress.num_skipped + row["skipped"])
            if self.skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
                self._give_up(row["step"], clip_ids)

    def _give_up(self, step: int, clip_ids: Sequence[str]) -> None:
        optim = self.recipe.optim
        jumped = f", or jumped above {optim.skip_above} times its mean," if optim.skip_above is not None else ""
        raise ConfigError(
            f"{self.run.directory}: the loss was not a number{jumped} {self.skipped_in_a_row} steps in a row, up to step {step} with clips "
            f"{', '.join(clip_ids[:4])} …; lower optim.lr (now {optim.lr}) and train into another --run_dir"
        )

    def _is_due(self, every_steps: int, step: int, is_last: bool) -> bool:
        return is_last or (every_steps > 0 and step % every_steps == 0)

    def _validate(self, step: int, dashboard: Dashboard) -> bool:
        """Hear the dev split; returns whether it never came out better. One process listens, all of them where each has a part of it."""
        if self.validator is None or self.recipe.validation.every_steps == 0:
            return False
        listens = self.world.is_main or self.stepper.is_sharded
        figures = self.world.from_main(self.validator.evaluate(self.lm, self.stepper.autocast()) if listens else None)
        value = figures[self.recipe.validation.best_metric]
        best = self.progress.best_value
        is_best = best is None or value < best
        changes = {"best_step": step, "best_value": value, "num_worse": 0} if is_best else {"num_worse": self.progress.num_worse + 1}
        self.progress = dataclasses.replace(self.progress, **changes)
        if self.world.is_main:
            self.run.append("metrics.eval.jsonl", [{"step": step, **figures}])
            self.trackers.log([{"step": step, **figures}], prefix="dev/")
            dashboard.validated(step, figures, is_best=is_best)
        return is_best

    def _save(self) -> None:
        states = {"guard": self.stepper.guard.state, "loss_scale": self.stepper.scale.state}
        self.progress = dataclasses.replace(self.progress, **{name: tuple(state.tolist()) for name, state in states.items()})
        snapshot = Snapshot.of(self.lm, self.stepper.trainable, self.stepper.optimizer, self.recipe, self.model)
        if self.world.is_main:
            save_checkpoint(self.run, self.progress, snapshot)
            prune_checkpoints(self.run, keep=self.recipe.checkpoint.keep, best_step=self.progress.best_step)
        self.world.wait()


def _number(value: Any) -> Any:
    """Return a tensor as a float, and anything that is not finite as None."""
    value = value.item() if isinstance(value, torch.Tensor) else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
