"""Everything that must be in place before the first step; whatever is wrong is found here, before anything is written."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from stt_ft.core.errors import ConfigError
from stt_ft.core.manifest import Dataset
from stt_ft.core.recipe import Recipe
from stt_ft.model.checkpoint_dir import ModelDir, open_model
from stt_ft.model.device import pick_device, pick_dtype
from stt_ft.model.stt_lm import load_lm
from stt_ft.training.batches import TrainingBatches
from stt_ft.training.clips import SpokenClip, fingerprint, load_clips
from stt_ft.training.loop import Trainer
from stt_ft.training.run_state import Progress, RunDir, load_checkpoint
from stt_ft.training.trainable import make_optimizer, make_trainable
from stt_ft.training.validation import Validator


@dataclass(frozen=True, kw_only=True)
class TrainingInputs:
    """A recipe with the model it names opened and its clips loaded."""

    recipe: Recipe
    model: ModelDir
    device: torch.device
    train_clips: list[SpokenClip]
    dev_clips: list[SpokenClip]

    def trainer(self, run: RunDir, *, base_sha256: str) -> Trainer | None:
        """Load the weights and return a trainer at the run's newest checkpoint, or None when the run is done.

        Raises:
            ConfigError: the dataset or the base is not the one that the run began with.
        """
        recipe = self.recipe
        progress = Progress(step=0, data=fingerprint(self.train_clips), base_sha256=base_sha256)
        steps = run.checkpoint_steps()
        if steps:
            progress = _checked(run, run.read_progress(steps[-1]), progress)
            stalled = recipe.evaluation.patience is not None and progress.num_worse >= recipe.evaluation.patience
            if progress.step >= recipe.schedule.max_steps or stalled:
                return None
        lm = load_lm(self.model, device=self.device, dtype=pick_dtype(recipe.precision))
        trainable = make_trainable(lm, recipe.lora, seed=recipe.seed)
        optimizer = make_optimizer(trainable, recipe.optim)
        if steps:
            load_checkpoint(run, steps[-1], trainable, optimizer)
        run.forget_after(progress.step)
        validator = Validator(clips=self.dev_clips, model=self.model, recipe=recipe, tokenizer=self.model.load_tokenizer())
        return Trainer(
            recipe=recipe,
            model=self.model,
            lm=lm,
            trainable=trainable,
            optimizer=optimizer,
            batches=TrainingBatches(self.train_clips, self.model, recipe).starting_at(progress.step * recipe.batch.grad_accumulation),
            run=run,
            progress=progress,
            validator=validator if self.dev_clips else None,
        )

    def describe(self, trainer: Trainer) -> str:
        """Return what is about to happen, in one line."""
        num_trained = sum(parameter.numel() for parameter in trainer.trainable.values())
        resumed = f", going on after step {trainer.progress.step}" if trainer.progress.step else ""
        return (
            f"{num_trained / 1e6:.1f} M of {sum(p.numel() for p in trainer.lm.parameters()) / 1e6:.1f} M weights learn from "
            f"{len(self.train_clips)} clips ({len(self.dev_clips)} dev) on {self.device} in {self.recipe.precision}{resumed}"
        )


def prepare(recipe: Recipe) -> TrainingInputs:
    """Open the model and load the clips that `recipe` names; raises an `SttFtError` for whatever would fail later."""
    if recipe.threads is not None:
        torch.set_num_threads(recipe.threads)
    device = pick_device(recipe.device)
    model = open_model(recipe.base, require_extra_heads=recipe.loss.pause_targets != "off")
    if recipe.loss.pause_targets != "off" and model.num_heads != 4:
        raise ConfigError(f"{model.name}: has {model.num_heads} extra heads, the pause targets are for 4; set loss.pause_targets: off")
    data = Dataset.open(recipe.dataset)
    return TrainingInputs(
        recipe=recipe,
        model=model,
        device=device,
        train_clips=load_clips(data, "train", model, recipe.batch),
        dev_clips=load_clips(data, "dev", model, recipe.batch) if "dev" in data.splits() else [],
    )


def _checked(run: RunDir, then: Progress, now: Progress) -> Progress:
    for what, before, after in (("the training clips", then.data, now.data), ("the base's weights", then.base_sha256, now.base_sha256)):
        if before != after:
            raise ConfigError(f"{run.directory}: {what} changed since this run began; give another --run_dir to train on them anew")
    return then
