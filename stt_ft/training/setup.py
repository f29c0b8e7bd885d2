"""Everything that must be in place before the first step; whatever is wrong is found here, before anything is written."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from stt_ft.core.errors import ConfigError
from stt_ft.core.manifest import Dataset
from stt_ft.core.progress import say
from stt_ft.core.recipe import Recipe
from stt_ft.metrics.intervals import wilson
from stt_ft.model.checkpoint_dir import ModelDir, open_model
from stt_ft.model.device import pick_device, pick_dtype
from stt_ft.model.stt_lm import load_lm
from stt_ft.training.batches import TrainingBatches
from stt_ft.training.calibrated_run import calibrate
from stt_ft.training.clips import SpokenClip, fingerprint
from stt_ft.training.distillation import BaseMemory
from stt_ft.training.distributed import World, check_shardable, local_device, shard
from stt_ft.training.guard import LossScale, StepGuard
from stt_ft.training.labels import LabelWriter, StyleChooser, choice_in_words, read_choice, styled, write_choice
from stt_ft.training.loop import Trainer
from stt_ft.training.objective import Objective
from stt_ft.training.run_state import Progress, RunDir, load_checkpoint
from stt_ft.training.selection import dev_clips, training_clips
from stt_ft.training.step import Stepper
from stt_ft.training.trackers import Trackers
from stt_ft.training.trainable import checkpoint_layers, make_optimizer, make_trainable
from stt_ft.training.validation import Validator


@dataclass(frozen=True, kw_only=True)
class TrainingInputs:
    """A recipe with the model it names opened and its clips loaded."""

    recipe: Recipe
    model: ModelDir
    device: torch.device
    train_clips: list[SpokenClip]
    dev_clips: list[SpokenClip]

    def trainer(self, run: RunDir, *, base_sha256: str, world: World | None = None) -> Trainer | None:
        """Load the weights and return a trainer at the run's newest checkpoint, or None when the run is done.

        Raises:
            ConfigError: the dataset or the base is not the one that the run began with.
        """
        recipe, world = self.recipe, world or World()
        progress = Progress(step=0, data=fingerprint(self.train_clips), base_sha256=base_sha256)
        steps = run.checkpoint_steps()
        if steps:
            progress = _checked(run, run.read_progress(steps[-1]), progress)
            stalled = recipe.evaluation.patience is not None and progress.num_worse >= recipe.evaluation.patience
            if progress.step >= recipe.schedule.max_steps or stalled:
                return None
        stepper = self._stepper(world, progress)
        train_clips, dev_clips, writer = self._labelled(run, stepper, progress)  # before what was learned is loaded: the base chooses
        if steps:
            load_checkpoint(run, steps[-1], stepper.trainable, stepper.optimizer)
        world.wait()
        if world.is_main:
            run.forget_after(progress.step)
        validator = Validator(clips=dev_clips, model=self.model, recipe=recipe, tokenizer=writer.tokenizer)
        batches = TrainingBatches(train_clips, self.model, recipe, write=writer.write)
        return Trainer(
            recipe=recipe,
            model=self.model,
            lm=stepper.lm,
            stepper=stepper,
            batches=batches.starting_at(progress.step * recipe.batch.grad_accumulation),
            run=run,
            progress=progress,
            validator=validator if dev_clips else None,
            trackers=Trackers.open(recipe, run.directory) if world.is_main else Trackers(),
        )

    def _stepper(self, world: World, progress: Progress) -> Stepper:
        """Load the base, make of it what learns, and spread it over the processes where that is asked for."""
        recipe = self.recipe
        is_sharded = world.size > 1 and (recipe.parallel == "fsdp" or (recipe.parallel == "auto" and not recipe.lora.enable))
        if is_sharded:
            check_shardable(recipe)
        device = local_device(self.device)
        dtype = frozen_dtype(recipe)
        lm = load_lm(self.model, device="cpu" if is_sharded else device, dtype=dtype)
        trainable = make_trainable(lm, recipe.lora, seed=recipe.seed)
        memory = BaseMemory.of(trainable, dtype) if recipe.replay.holds else None
        if recipe.batch.gradient_checkpointing:
            checkpoint_layers(lm, keeps_noise=recipe.lora.dropout > 0)
        if is_sharded:
            shard(lm, device)
            trainable = {name: parameter for name, parameter in lm.named_parameters() if parameter.requires_grad}
        return Stepper(
            recipe=recipe,
            lm=lm,
            trainable=trainable,
            optimizer=make_optimizer(trainable, recipe.optim),
            objective=Objective(recipe=recipe, model=self.model, memory=memory, asks_always=is_sharded),
            guard=StepGuard.on(device, recipe.optim.skip_above, progress.guard),
            scale=LossScale.on(device, is_on=recipe.precision == "float16", state=progress.loss_scale),
            world=world,
            is_sharded=is_sharded,
        )

    def _labelled(self, run: RunDir, stepper: Stepper, progress: Progress) -> tuple[list[SpokenClip], list[SpokenClip], LabelWriter]:
        """Return the training clips with the styles that they are to be written in, the dev clips written, and who writes.

        With `labels.style: base` the base chooses, once a run: labels.json in its directory keeps the choice.
        """
        writer, world = LabelWriter(model=self.model, tokenizer=self.model.load_tokenizer()), stepper.world
        if self.recipe.labels.style == "plain":
            return self.train_clips, self.dev_clips, writer
        path = run.directory / "labels.json"
        made_of = {"train": progress.data, "dev": fingerprint(self.dev_clips), "base_sha256": progress.base_sha256}
        chosen = world.from_main(read_choice(path, made_of) if world.is_main else None)
        if chosen is None:
            chooser = StyleChooser(writer=writer, recipe=self.recipe)
            listens = world.is_main or stepper.is_sharded
            clips = [*self.train_clips, *self.dev_clips]
            chosen = world.from_main(chooser.choose(stepper.lm, clips, stepper.autocast()) if listens else None)
            if world.is_main:
                write_choice(path, made_of, chosen)
        if world.is_main:
            say(f"{path}: labels in the form that the base finds likeliest: {choice_in_words(chosen)}")
        dev_clips = [writer.write(clip) for clip in styled(self.dev_clips, chosen)]
        return styled(self.train_clips, chosen), dev_clips, writer

    def calibrate(self, run: RunDir) -> None:
        """Calibrate the pause heads of a run that is done, where its recipe asks for it, and say what came of it."""
        if self.recipe.calibration.method == "off":
            return
        record = calibrate(run, self.model, self.recipe, train=self.train_clips, dev=self.dev_clips)
        if record is not None:
            before, after = (_shares_in_words(record[when], len(record["dev_clips"])) for when in ("before", "after"))
            say(f"{run.directory}/calibrated: pause heads of step {record['step']} on dev: {before} before, {after} after")

    def describe(self, trainer: Trainer) -> str:
        """Return what is about to happen, in one line."""
        num_trained = sum(parameter.numel() for parameter in trainer.stepper.trainable.values())
        num_synthetic = sum(clip.is_synthetic for clip in self.train_clips)
        beside = f", {num_synthetic} of them synthetic," if num_synthetic else ""
        resumed = f", going on after step {trainer.progress.step}" if trainer.progress.step else ""
        return (
            f"{num_trained / 1e6:.1f} M of {sum(p.numel() for p in trainer.lm.parameters()) / 1e6:.1f} M weights learn from "
            f"{len(self.train_clips)} clips{beside} ({len(self.dev_clips)} dev) on {self.device} in {self.recipe.precision}{resumed}"
        )


def prepare(recipe: Recipe) -> TrainingInputs:
    """Open the model and load the clips that `recipe` names; raises an `SttFtError` for whatever would fail later."""
    if recipe.threads is not None:
        torch.set_num_threads(recipe.threads)
    device = pick_device(recipe.device)
    model = open_model(recipe.base, require_extra_heads=recipe.loss.pause_targets != "off")
    if recipe.loss.pause_targets != "off" and model.num_heads != 4:
        raise ConfigError(f"{model.name}: has {model.num_heads} extra heads, the pause targets are for 4; set loss.pause_targets: off")
    if model.dep_q not in (0, model.n_q):
        two = f"hears {model.n_q} codebooks of two streams, of which it speaks {model.dep_q}"
        raise ConfigError(
            f"{model.name}: {two}; recordings hold one, so only speech-to-text models (dep_q 0) and models of one stream learn"
        )
    if recipe.replay.holds and not recipe.lora.enable:
        raise ConfigError("replay.text_weight and replay.pause_weight need lora.enable: without adapters to switch off, the base is gone")
    data = Dataset.open(recipe.dataset)
    return TrainingInputs(
        recipe=recipe,
        model=model,
        device=device,
        train_clips=training_clips(data, model, recipe),
        dev_clips=dev_clips(data, model, recipe),
    )


def _shares_in_words(shares: dict[str, float | None], num_turns: int) -> str:
    """Say what calibration reached on dev, with what so many turns leave open."""
    cut_offs, latency_s = shares["cut_offs"] or 0.0, shares["latency_p50_s"]
    low, high = wilson(round(cut_offs * num_turns), num_turns)
    ends = "no median latency" if latency_s is None else f"p50 {latency_s:.2f} s"
    return f"cut-offs {100 * cut_offs:.1f} % ({100 * low:.1f} to {100 * high:.1f} on {num_turns} turns), {ends}"


def frozen_dtype(recipe: Recipe) -> torch.dtype:
    """Return the type in which the base is loaded: `lora.base_dtype`, or `precision` where that says auto or packs what is loaded."""
    name = recipe.lora.base_dtype
    return pick_dtype(recipe.precision if name in ("auto", "nf4", "int8") else name)


def _checked(run: RunDir, then: Progress, now: Progress) -> Progress:
    for what, before, after in (("the training clips", then.data, now.data), ("the base's weights", then.base_sha256, now.base_sha256)):
        if before != after:
            raise ConfigError(f"{run.directory}: {what} changed since this run began; give another --run_dir to train on them anew")
    return then
