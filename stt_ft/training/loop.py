"""Training, from a recipe to checkpoints, in the order in which it happens.

train          the whole of it, for `stt-ft train`
prepare        open the model and load the clips; whatever is wrong is found here, before anything is written
learn          the loop: batches, steps, validations, checkpoints
do_step        one optimizer step: forward and backward (losses.py), then the weights move, unless the guard leaves the step out
load_learner   the model, what of it learns, and its optimizer
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from moshi.models.lm import LMModel
from torch import nn
from torch.amp.grad_scaler import GradScaler

from stt_ft.core.atomic import write_text
from stt_ft.core.errors import ConfigError
from stt_ft.core.progress import say
from stt_ft.core.recipe import OptimRecipe, Recipe
from stt_ft.dataset.manifest import Dataset
from stt_ft.model.checkpoint_dir import TAIL_S, ModelDir, open_model
from stt_ft.model.device import pick_device, pick_dtype, training_kernels
from stt_ft.model.lora import checkpoint_layers, make_trainable, part_of_batch
from stt_ft.model.stt_lm import load_lm
from stt_ft.training import checkpoints
from stt_ft.training.beginning import at_the_beginning, load_start, what_is_shared, where_it_stands, with_precision
from stt_ft.training.calibration import calibrate
from stt_ft.training.checkpoints import DEV_METRICS, TRAIN_METRICS, Progress, RunDir, Snapshot, find_checkpoint
from stt_ft.training.data.batches import PlannedBatch, TrainingBatches
from stt_ft.training.data.clips import TrainingClip
from stt_ft.training.data.loading import dev_clips, training_clips
from stt_ft.training.labels import LabelWriter, StyleChooser, labelled
from stt_ft.training.losses import BaseMemory, Objective
from stt_ft.training.parallel import World, data_parallel, joined_world, local_device, shard, shards_weights, whole
from stt_ft.training.validation import validate
from stt_ft.training.watching import Dashboard, Trackers, draw_curves, out_of_memory_advice, what_next, why_it_gave_up

BETAS = (0.9, 0.95)
"""AdamW's averaging of gradient and squared gradient; moshi-finetune's."""

MAX_GRAD_NORM = 1.0
"""The gradient is scaled down to this norm."""

WARMUP_STEPS_IN = 20
"""The learning rate rises over one in so many steps: 5 %, as moshi-finetune's pct_start."""

MAX_SKIPPED_IN_A_ROW = 10
"""Steps left out in a row after which a run gives up."""

GUARD_MEMORY = 0.98
"""Share of the running mean of the loss that stays at every step: it looks back over some fifty steps."""

GUARD_WARM_STEPS = 20
"""Steps before which no loss counts as a jump: there is no level yet."""

FIRST_LOSS_SCALE = 2.0**14
"""Factor on a float16 loss at first: small gradients would vanish without it."""

STEPS_TO_DOUBLE = 500
"""Steps without an overflow after which that factor doubles."""


def train(recipe: Recipe) -> None:
    """Do the steps of `recipe` that its run directory does not hold yet, and calibrate the pause heads where it asks for that."""
    recipe = with_precision(recipe)
    run = RunDir(Path(recipe.run_dir))
    with joined_world(pick_device(recipe.device)) as world, world.sole_writer(run.directory):
        precision = world.from_main(world.together(functools.partial(with_precision, recipe)).precision)
        if recipe.precision == "auto":  # one for machines of several kinds
            recipe = dataclasses.replace(recipe, precision=precision)
        world.together(lambda: shards_weights(recipe, world))
        inputs = world.together(lambda: prepare(recipe))
        begun = at_the_beginning(inputs.model, train=inputs.train_clips, dev=inputs.dev_clips)
        world.check_alike(what_is_shared(recipe, begun))
        # The first process decides: whether a checkpoint is whole takes reading all of it.
        progress = world.from_main(world.together(lambda: where_it_stands(run, recipe, inputs.model, begun) if world.is_main else begun))
        if world.is_main:
            RunDir.open(recipe)
        was_done = progress.step >= recipe.schedule.max_steps
        if not was_done:
            progress = learn(inputs, run, progress, world)
        world.together(lambda: _finish(run, inputs, progress, was_done=was_done) if world.is_main else None)


def _finish(run: RunDir, inputs: TrainingInputs, progress: Progress, *, was_done: bool) -> None:
    """Draw the curves, calibrate the pause heads, and say what to do next."""
    recipe = inputs.recipe
    if not was_done:
        draw_curves(run.directory / "loss.png", run.read_rows(TRAIN_METRICS), run.read_rows(DEV_METRICS))
    if recipe.calibration.method != "off":
        calibrate(run, inputs.model, recipe, train=inputs.train_clips, dev=inputs.dev_clips)
    step = find_checkpoint(run)
    write_text(run.directory / "README.md", what_next(run.directory, recipe, step=step, num_done=progress.step))
    best = f", best on dev after step {step}" if progress.best_step == step else ""
    state = "this run is done" if was_done else f"{progress.step} steps done"
    say(f"{run.directory}: {state}{best}; next: stt-ft merge {run.directory} --out DIR ({run.directory / 'README.md'} has more)")


@dataclass(frozen=True, kw_only=True)
class TrainingInputs:
    """A recipe with the model it names opened and its clips loaded."""

    recipe: Recipe
    model: ModelDir
    device: torch.device
    train_clips: Sequence[TrainingClip]
    dev_clips: Sequence[TrainingClip]


def prepare(recipe: Recipe) -> TrainingInputs:
    """Open the model and load the clips that `recipe` names; raises an `SttFtError` for whatever would fail later."""
    if recipe.threads is not None:
        torch.set_num_threads(recipe.threads)
    device = pick_device(recipe.device)
    learns_pauses, is_new = recipe.loss.pause_targets != "off", recipe.lora.heads == "new"
    if is_new and not learns_pauses:
        raise ConfigError("lora.heads: new needs loss.pause_targets binary or count, which new pause heads learn from; it is off")
    model = open_model(recipe.base, require_extra_heads=learns_pauses and not is_new)
    model = model.with_new_heads() if is_new else model
    if recipe.lora.enable and recipe.lora.rank > model.config["dim"]:
        raise ConfigError(f"lora.rank must be at most {model.config['dim']}, the width of {model.name}, got {recipe.lora.rank}")
    if learns_pauses and model.num_heads != 4:
        raise ConfigError(f"{model.name}: has {model.num_heads} extra heads, the pause targets are for 4; set loss.pause_targets: off")
    if recipe.batch.tail_s > TAIL_S:
        raise ConfigError(f"batch.tail_s must be at most {TAIL_S}, got {recipe.batch.tail_s}: `encode` keeps no more silence after a clip")
    if recipe.replay.holds and not recipe.lora.enable:
        raise ConfigError("replay.text_weight needs lora.rank: without adapters to switch off, the base is gone")
    data = Dataset.open(recipe.dataset)
    return TrainingInputs(
        recipe=recipe,
        model=model,
        device=device,
        train_clips=training_clips(data, model, recipe),
        dev_clips=dev_clips(data, model, recipe),
    )


def learn(inputs: TrainingInputs, run: RunDir, progress: Progress, world: World) -> Progress:
    """Train from `progress` to the last step, and return how far the run has come.

    Raises:
        ConfigError: too many steps in a row were left out (names clips of the last), or a step does not fit into memory.
    """
    recipe, model = inputs.recipe, inputs.model
    max_steps, every_steps = recipe.schedule.max_steps, recipe.validation.every_steps
    learner = load_learner(recipe, model, inputs.device, world, progress)
    writer = LabelWriter(model=model)
    train_clips, dev_clips = inputs.train_clips, inputs.dev_clips
    if recipe.labels.style == "base":  # before what was learned is loaded: the base chooses
        chooser = StyleChooser(writer=writer, recipe=recipe, lm=learner.lm, autocast=learner.autocast)
        path = run.directory / "labels.json"
        train_clips, dev_clips = labelled(train_clips, dev_clips, path, progress.base_sha256, chooser, world, listens=learner.listens)
    if progress.step:
        run.state(progress.step).restore(learner.trainable, learner.optimizer)
    elif progress.started_from:
        load_start(Path(progress.started_from["path"]), learner.trainable)
    world.wait()
    if world.is_main:
        run.forget_after(progress.step)
        say(f"{run.directory}: {_plan(inputs, learner, progress)}")
    batches = TrainingBatches(train_clips, model, recipe, write=writer.write).planned(progress.step * recipe.batch.grad_accumulation)
    trackers = Trackers.open(recipe, run.directory) if world.is_main else Trackers()
    num_skipped_in_a_row = 0
    learner.lm.train()
    with Dashboard(first_step=progress.step, max_steps=max_steps, is_shown=world.is_main) as dashboard:
        for step in range(progress.step + 1, max_steps + 1):
            step_batches = list(itertools.islice(batches, recipe.batch.grad_accumulation))
            row = do_step(learner, step, step_batches)
            if world.is_main:
                run.append(TRAIN_METRICS, [row])
                trackers.log([row])
            dashboard.step_done(step, row["frames"], row["loss"])
            progress = dataclasses.replace(progress, step=step, num_skipped=progress.num_skipped + row["skipped"])
            num_skipped_in_a_row = num_skipped_in_a_row + 1 if row["skipped"] else 0
            if num_skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
                raise ConfigError(why_it_gave_up(recipe, step_batches, step, MAX_SKIPPED_IN_A_ROW))

            is_due = every_steps > 0 and step % every_steps == 0
            if not is_due and step < max_steps:
                continue
            if dev_clips and every_steps > 0:
                figures = world.from_main(validate(learner.lm, dev_clips, model, recipe, learner.autocast()) if learner.listens else None)
                value = figures[recipe.validation.best_metric]
                is_best = math.isfinite(value) and (progress.best_value is None or value < progress.best_value)
                if is_best:
                    progress = dataclasses.replace(progress, best_step=step, best_value=value)
                if world.is_main:
                    run.append(DEV_METRICS, [{"step": step, **figures}])
                    trackers.log([{"step": step, **figures}], prefix="dev/")
                    dashboard.validated(step, figures, is_best=is_best)
            progress = dataclasses.replace(progress, guard=learner.guard.state, loss_scale=learner.scaler.state_dict())
            snapshot = Snapshot.of(learner.lm, learner.trainable, learner.optimizer, recipe, model, is_sharded=learner.is_sharded)
            checkpoints.save_checkpoint(run, progress, snapshot, world)
            if world.is_main:
                checkpoints.prune_checkpoints(run, keep=recipe.checkpoint.keep, best_step=progress.best_step)
            world.wait()
    trackers.close()
    return progress


def do_step(learner: Learner, step: int, batches: Sequence[PlannedBatch]) -> dict[str, Any]:
    """Do optimizer step number `step` over `batches` and return its row of metrics.train.jsonl.

    Raises:
        ConfigError: the batches do not fit into memory; says which knob to turn and by how much.
    """
    recipe, optimizer = learner.recipe, learner.optimizer
    lr = learning_rate(step - 1, recipe.optim.lr, recipe.schedule.max_steps)
    for group in optimizer.param_groups:
        group["lr"] = lr
    try:
        terms = _add_gradients(learner, step, batches)
    except RuntimeError as error:
        if not _is_out_of_memory(error):
            raise
        raise ConfigError(out_of_memory_advice(recipe, batches, step)) from None
    learner.scaler.unscale_(optimizer)
    norm = whole(nn.utils.clip_grad_norm_(learner.trainable.values(), MAX_GRAD_NORM))
    *values, grad_norm = torch.cat([terms, norm[None]]).tolist()  # the only wait for the device in a step
    is_accepted = learner.guard.accepts(values[0], grad_norm)
    if is_accepted:
        learner.scaler.step(optimizer)
    learner.scaler.update()
    optimizer.zero_grad(set_to_none=True)
    return {
        "step": step,
        **dict(zip(learner.objective.names, values, strict=True)),
        "grad_norm": grad_norm,
        "lr": lr,
        "frames": sum(batch.num_frames for batch in batches),
        "skipped": not is_accepted,
    }


def _add_gradients(learner: Learner, step: int, batches: Sequence[PlannedBatch]) -> torch.Tensor:
    """Add up the gradients of all batches, over all processes, and return the terms of the loss, one for each of `Objective.names`.

    A process makes its own share of the batches alone.
    """
    world, passes, names = learner.world, learner.passes, learner.objective.names
    own, sums = world.share(batches), torch.zeros(len(names), device=learner.lm.device)
    totals = learner.objective.totals([share.batch for share in own], over_all=world.sum)
    for share in own:
        # Dropout is seeded by the batch, whichever process has it, and rows have the noise that they have in the whole batch.
        torch.manual_seed(learner.recipe.seed * 1_000_003 + step + share.number * 7_919_000_003)
        noise = contextlib.nullcontext() if share.rows is None else part_of_batch(learner.lm, share.rows, share.num_rows)
        # Under DDP, gradients stay on their device until the last pass of a step.
        is_kept = isinstance(passes, nn.parallel.DistributedDataParallel) and share is not own[-1]
        kept = passes.no_sync() if is_kept else contextlib.nullcontext()  # pyright: ignore[reportCallIssue]
        with kept, training_kernels(learner.lm.device), noise:
            with learner.autocast():
                terms = passes(share.batch, totals)
            # Gradients are averaged over processes, and the loss is a share of the whole.
            learner.scaler.scale(terms["loss"] * world.size).backward()
        sums += torch.stack([terms[name].detach() for name in names])
    return world.sum(sums)


@dataclass(kw_only=True)
class StepGuard:
    """Says which steps are left out: those whose loss or gradient is not a number, and those whose loss jumps.

    Attributes:
        skip_above: how many times its running mean a loss may be; None for any.
        state: sum of weighted losses, sum of weights, steps accepted.
    """

    skip_above: float | None
    state: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def accepts(self, loss: float, norm: float) -> bool:
        """Return whether a step with this loss and gradient norm is to be done, and remember its loss if so."""
        if not (math.isfinite(loss) and math.isfinite(norm)):
            return False
        total, weight, steps = self.state
        if self.skip_above is not None and steps >= GUARD_WARM_STEPS and loss * weight > self.skip_above * total:
            return False
        self.state = (GUARD_MEMORY * total + (1 - GUARD_MEMORY) * loss, GUARD_MEMORY * weight + (1 - GUARD_MEMORY), steps + 1)
        return True


@dataclass(kw_only=True)
class Learner:
    """What learns on this process, and what an optimizer step needs.

    Attributes:
        objective: the model and its loss.
        passes: `objective`, or what averages its gradients over the processes.
        trainable: the weights that learn, by name.
        scaler: factor on the loss in float16, where small gradients vanish; does nothing in other types.
        is_sharded: whether the weights are spread over the processes of `world`.
    """

    recipe: Recipe
    objective: Objective
    passes: nn.Module
    trainable: dict[str, nn.Parameter]
    optimizer: torch.optim.AdamW
    scaler: GradScaler
    guard: StepGuard
    world: World
    is_sharded: bool

    @property
    def lm(self) -> LMModel:
        return self.objective.lm

    @property
    def listens(self) -> bool:
        """Whether this process hears clips for all: the first does while the others wait, or all where each holds a part of the weights."""
        return self.world.is_main or self.is_sharded

    def autocast(self) -> torch.autocast:
        """Return the context in which the model computes: float32 as it stands, or the shorter type that the recipe asks for."""
        half = torch.float16 if self.recipe.precision == "float16" else torch.bfloat16
        return torch.autocast(self.lm.device.type, dtype=half, enabled=self.recipe.precision != "float32")


def load_learner(recipe: Recipe, model: ModelDir, device: torch.device, world: World, progress: Progress) -> Learner:
    """Load the base, make of it what learns, and spread it over the processes where that is asked for."""
    is_sharded = shards_weights(recipe, world)
    device, dtype = local_device(device), pick_dtype(recipe.precision)
    lm = load_lm(model, device="cpu" if is_sharded else device, dtype=dtype)
    trainable = make_trainable(lm, recipe.lora, seed=recipe.seed)
    base = BaseMemory.of(trainable, dtype) if recipe.replay.holds else None
    if recipe.batch.gradient_checkpointing:
        checkpoint_layers(lm, keeps_noise=recipe.lora.dropout > 0)
    if is_sharded:
        shard(lm, device)
        trainable = {name: parameter for name, parameter in lm.named_parameters() if parameter.requires_grad}
    objective = Objective(lm, model, recipe, base, asks_always=is_sharded)
    is_averaged = world.size > 1 and not is_sharded
    is_float16 = recipe.precision == "float16"
    scaler = GradScaler(device.type, init_scale=FIRST_LOSS_SCALE, growth_interval=STEPS_TO_DOUBLE, enabled=is_float16)
    scaler.load_state_dict(progress.loss_scale or scaler.state_dict())
    return Learner(
        recipe=recipe,
        objective=objective,
        passes=data_parallel(objective, some_unused=recipe.loss.pause_targets == "off") if is_averaged else objective,
        trainable=trainable,
        optimizer=make_optimizer(trainable, recipe.optim),
        scaler=scaler,
        guard=StepGuard(skip_above=recipe.optim.skip_above, state=progress.guard),
        world=world,
        is_sharded=is_sharded,
    )


def make_optimizer(trainable: dict[str, nn.Parameter], recipe: OptimRecipe) -> torch.optim.AdamW:
    """Return AdamW over the trainable weights.

    Beside adapters, only adapters decay: their zero is the base, where a whole weight's zero is nothing. Where there are none and every
    weight learns, matrices decay, as usual; gains of norms do not.
    """
    decays = {name: ".lora_" in name for name in trainable}
    if not any(decays.values()):
        decays = {name: parameter.dim() == 2 for name, parameter in trainable.items()}
    groups = [
        {"params": [trainable[name] for name in trainable if decays[name] == is_decayed], "weight_decay": weight_decay}
        for is_decayed, weight_decay in ((True, recipe.weight_decay), (False, 0.0))
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=recipe.lr, betas=BETAS, fused=True)


def learning_rate(step: int, highest: float, max_steps: int) -> float:
    """Return the learning rate of optimizer step `step`, counted from 0: up in a line to `highest`, then down to 0 along a cosine.

    A run that was lengthened follows the curve of its new length from the step that it has reached.
    """
    warmup_steps = max_steps // WARMUP_STEPS_IN
    if step < warmup_steps:
        return highest * (step + 1) / warmup_steps
    done = (step - warmup_steps) / max(1, max_steps - warmup_steps)
    return highest * (0.5 * (1 + math.cos(math.pi * done)))


def _plan(inputs: TrainingInputs, learner: Learner, progress: Progress) -> str:
    """Return what is about to happen, in one line."""
    num_trained = sum(parameter.numel() for parameter in learner.trainable.values())
    num_synthetic = sum(clip.is_synthetic for clip in inputs.train_clips)
    beside = f", {num_synthetic} of them synthetic," if num_synthetic else ""
    resumed = f", going on after step {progress.step}" if progress.step else ""
    return (
        f"{num_trained / 1e6:.1f} M of {sum(p.numel() for p in learner.lm.parameters()) / 1e6:.1f} M weights learn from "
        f"{len(inputs.train_clips)} clips{beside} ({len(inputs.dev_clips)} dev) on {inputs.device} in {inputs.recipe.precision}{resumed}"
    )


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error) or "can't allocate memory" in str(error)
