"""A run directory: what it was asked to do, what it has learned so far, and how to take it up again.

    args.yaml                                        the resolved recipe
    labels.json                                      where the base was asked: the form in which each clip's words are learned (labels.py)
    metrics.train.jsonl  metrics.eval.jsonl          one line an optimizer step, one a validation
    checkpoints/checkpoint_000500/consolidated/      lora.safetensors, config.json: moshi-finetune's layout, which moshi's loader takes
    checkpoints/checkpoint_000500/training_state/    weights in float32, optimizer (state.py), step; nothing but safetensors and JSON
    calibrated/                                      where asked for: the best checkpoint, its pause heads calibrated (calibration.py)

A checkpoint directory appears whole or not at all. Batches and noise follow from the seed and the step, so no generator's state is kept.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from moshi.models.lm import LMModel
from torch import nn

from stt_ft.core.atomic import atomic_directory, told_of, write_json, write_text
from stt_ft.core.config import dump_config, load_config
from stt_ft.core.errors import CheckpointError, ConfigError
from stt_ft.core.json_yaml import parse_json
from stt_ft.core.progress import say
from stt_ft.core.provenance import file_sha256
from stt_ft.core.recipe import Recipe
from stt_ft.model.checkpoint_dir import ModelDir
from stt_ft.model.lora import SCALING, adapter_state_dict
from stt_ft.model.output_dir import SUMS_NAME, check_sums, seal
from stt_ft.model.safetensors_file import read_header, write_tensors
from stt_ft.training.parallel import World, whole
from stt_ft.training.state import StateFiles, training_state, write_state

TRAIN_METRICS, DEV_METRICS = "metrics.train.jsonl", "metrics.eval.jsonl"
"""Files of a run directory: a row an optimizer step, a row a validation."""

WEIGHTS_NAMES = ("lora.safetensors", "consolidated.safetensors")
"""Files of trained weights: an adapter, or a whole model. moshi-finetune's names."""

_CHECKPOINT = re.compile(r"checkpoint_(\d{6,})")


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run has come.

    Attributes:
        step: optimizer steps done.
        best_step: after which step the dev split looked best, None before the first validation.
        best_value: its figure.
        num_skipped: steps left out so far, their loss not a number or a jump.
        guard: what `StepGuard` remembers of the loss.
        loss_scale: the state of float16's `GradScaler`, empty in other types.
        data: fingerprint of the clips trained on.
        dev_data: fingerprint of the clips of validation; empty in runs of earlier versions.
        base_sha256: hash of the base's language model.
        started_from: path and sha256 of the adapter that the run began with, empty where it began as the base.
    """

    step: int
    data: str
    base_sha256: str
    best_step: int | None = None
    best_value: float | None = None
    num_skipped: int = 0
    guard: tuple[float, float, float] = (0.0, 0.0, 0.0)
    loss_scale: dict[str, Any] = field(default_factory=dict)
    dev_data: str = ""
    started_from: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RunDir:
    """A run directory on disk."""

    directory: Path

    @classmethod
    def open(cls, recipe: Recipe) -> RunDir:
        """Open the run of `recipe`, whose directory is made if need be, and write the recipe into it."""
        run = cls(Path(recipe.run_dir))
        write_text(run.directory / "args.yaml", dump_config(recipe))
        return run

    def checkpoint(self, step: int) -> Path:
        return self.directory / "checkpoints" / f"checkpoint_{step:06d}"

    def checkpoint_steps(self) -> list[int]:
        """Return the steps that have a checkpoint, ascending."""
        found = (self.directory / "checkpoints").glob("checkpoint_*")
        return sorted(int(match.group(1)) for path in found if (match := _CHECKPOINT.fullmatch(path.name)) and path.is_dir())

    def whole_steps(self, *, to_go_on: bool = False, tell: Callable[[str], None] = say) -> Iterator[int]:
        """Yield the steps whose checkpoints are whole, the newest first; of a damaged one `tell` gets a line that names the fault.

        What was trained has to be whole, and, for a run `to_go_on` from there, training_state too.
        """
        for step in reversed(self.checkpoint_steps()):
            if (fault := self.fault(step, to_go_on=to_go_on)) is None:
                yield step
            else:
                tell(f"{self.checkpoint(step)}: damaged, so the checkpoint before it counts ({fault})")

    def newest(self, *, to_go_on: bool = False, tell: Callable[[str], None] = say) -> int | None:
        """Return the first of `whole_steps`, None where there are no checkpoints.

        Raises:
            CheckpointError: there are some, and none is whole.
        """
        steps, newest = self.checkpoint_steps(), next(self.whole_steps(to_go_on=to_go_on, tell=tell), None)
        if steps and newest is None:
            raise CheckpointError(
                f"{self.directory}: none of its {len(steps)} checkpoints is whole; train into another --run_dir, with "
                "--lora.start_from and the directory of a checkpoint whose adapter is"
            )
        return newest

    def fault(self, step: int, *, to_go_on: bool = False) -> str | None:
        """Return what is wrong with the checkpoint of `step`: a file that is missing, cut short, or not the bytes that were written."""
        path = self.checkpoint(step)
        try:
            check_whole(weights_in(path / "consolidated"))
            if to_go_on:
                self.state(step)
                check_listed(path / "training_state")
                self.read_progress(step)
        except CheckpointError as error:
            return str(error)
        return None

    def state(self, step: int) -> StateFiles:
        """Open the training state of the checkpoint of `step`; raises `CheckpointError` when it is not whole."""
        return StateFiles.open(self.checkpoint(step) / "training_state")

    def read_progress(self, step: int) -> Progress:
        """Read how far the run was at the checkpoint of `step`; raises `CheckpointError` when it cannot be read."""
        path = self.checkpoint(step) / "training_state" / "state.json"
        try:
            return Progress(**parse_json(path.read_bytes()))
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise CheckpointError(f"{path}: not the state of a run: {error}") from None

    def append(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Append rows to `name`, `TRAIN_METRICS` or `DEV_METRICS`; a figure that is not finite is written as null."""
        path = self.directory / name
        with told_of(path), path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(_finite(row), allow_nan=False) + "\n" for row in rows)

    def read_rows(self, name: str) -> list[dict[str, Any]]:
        """Read the rows of a metrics file, up to the first line that is none: a kill may cut the last one short."""
        path = self.directory / name
        rows = []
        for line in path.read_bytes().splitlines() if path.exists() else []:
            try:
                row = parse_json(line)
            except (ValueError, RecursionError):
                break
            if not isinstance(row, dict) or not isinstance(row.get("step"), int) or not all(map(_is_figure, row.values())):
                break
            rows.append(row)
        return rows

    def forget_after(self, step: int) -> None:
        """Drop the rows of steps that a resumed run will do again, and set their checkpoints, which are damaged, aside."""
        for path in [self.checkpoint(later) for later in self.checkpoint_steps() if later > step]:
            aside = path.with_name(f"damaged_{path.name}")
            shutil.rmtree(aside, ignore_errors=True)
            path.rename(aside)
        for name in (TRAIN_METRICS, DEV_METRICS):
            kept = [row for row in self.read_rows(name) if row["step"] <= step]
            write_text(self.directory / name, "".join(json.dumps(row) + "\n" for row in kept))


def _is_figure(value: object) -> bool:
    return value is None or (isinstance(value, (int, float)) and math.isfinite(value))


def _finite(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in row.items()}


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """One checkpoint in memory.

    Attributes:
        adapter: tensors of lora.safetensors; None for a whole model, whose consolidated.safetensors is made of `state`, on disk.
        dtype: type of consolidated.safetensors.
        metadata: metadata of either.
        model_config: config.json beside it.
        state: weights in float32 and the optimizer's moments, by "weight/NAME", "exp_avg/NAME" …, as sharded as they are.
        is_sharded: whether each process holds a part of `state`.
    """

    adapter: Mapping[str, torch.Tensor] | None
    metadata: Mapping[str, str]
    model_config: Mapping[str, Any]
    state: Mapping[str, torch.Tensor]
    dtype: torch.dtype = torch.float32
    is_sharded: bool = False

    @classmethod
    def of(
        cls,
        lm: LMModel,
        trainable: Mapping[str, nn.Parameter],
        optimizer: torch.optim.Optimizer,
        recipe: Recipe,
        model: ModelDir,
        *,
        is_sharded: bool = False,
    ) -> Snapshot:
        """Take a checkpoint; an adapter, which is small, is gathered, so every process must ask where weights are sharded."""
        dtype = torch.bfloat16 if recipe.precision == "bfloat16" else torch.float32
        lora = recipe.lora
        return cls(
            adapter=None if lora.rank is None else adapter_state_dict(lm, rank=lora.rank, dtype=dtype, gather=whole),
            dtype=dtype,
            is_sharded=is_sharded,
            metadata={"base": model.name, "scaling": repr(SCALING)},
            model_config=model.config
            | ({"lora": True, "lora_rank": lora.rank, "lora_scaling": SCALING} if lora.enable else {"lora": False}),
            state=training_state(trainable, optimizer),
        )


def save_checkpoint(run: RunDir, progress: Progress, snapshot: Snapshot, world: World) -> Path:
    """Write the checkpoint of `progress.step`, whole or not at all, and return its directory; every process must ask.

    Each writes its part of a sharded state, and the first all else. The directory gets its name when all parts are on the disk.
    """
    path = run.checkpoint(progress.step)
    if world.from_main(path.exists()):
        return path
    with contextlib.ExitStack() as stack:
        made = world.together(lambda: stack.enter_context(atomic_directory(path)) if world.is_main else None)
        temporary = world.from_main(None if made is None else made.relative_to(run.directory))
        directory = run.directory / temporary
        consolidated, state_dir = directory / "consolidated", directory / "training_state"
        if world.is_main:
            consolidated.mkdir()
            state_dir.mkdir()
        world.wait()
        sums = dict(filter(None, world.of_all(world.together(lambda: _write_own(state_dir, snapshot, world)))))
        if world.is_main:
            _write_consolidated(consolidated, state_dir, snapshot, progress)
            write_json(state_dir / "state.json", dataclasses.asdict(progress))
            seal(consolidated, (".safetensors", ".json"))
            seal(state_dir, (".safetensors", ".json"), known=sums)
    return path


def _write_own(state_dir: Path, snapshot: Snapshot, world: World) -> tuple[str, str] | None:
    """Write what this process has to of the state, onto the disk, and return name and checksum of the file."""
    if not (snapshot.is_sharded or world.is_main):
        return None
    with told_of(state_dir):
        path = write_state(state_dir, snapshot.state, rank=world.rank, size=world.size if snapshot.is_sharded else 1)
        with path.open("rb") as file:
            os.fsync(file.fileno())
        return path.name, file_sha256(path)


def _write_consolidated(directory: Path, state_dir: Path, snapshot: Snapshot, progress: Progress) -> None:
    """Write what moshi's loader takes."""
    metadata = {"format": "pt", **snapshot.metadata, "base_sha256": progress.base_sha256, "step": str(progress.step)}
    if progress.started_from:
        metadata["started_from_sha256"] = progress.started_from["sha256"]
    adapter_name, whole_name = WEIGHTS_NAMES
    if snapshot.adapter is None:
        StateFiles.open(state_dir).write_weights(directory / whole_name, snapshot.dtype, metadata)
    else:
        write_tensors(directory / adapter_name, snapshot.adapter, metadata)
    write_json(directory / "config.json", dict(snapshot.model_config))


def prune_checkpoints(run: RunDir, *, keep: int | None, best_step: int | None) -> None:
    """Delete all but the newest `keep` checkpoints; the best stays. With `keep` None nothing is deleted."""
    if keep is None:
        return
    for step in run.checkpoint_steps()[:-keep]:
        if step != best_step:
            shutil.rmtree(run.checkpoint(step))


def find_checkpoint(run: RunDir) -> int:
    """Return the step of the whole checkpoint that looked best on the dev split, where one was validated, else of the newest.

    Raises:
        CheckpointError: the run has none.
    """
    newest = run.newest()
    if newest is None:
        raise CheckpointError(f"{run.directory}: no checkpoint here yet")
    best = _best_step(run, newest)
    if best is None or best == newest or not run.checkpoint(best).is_dir():
        return newest
    if fault := run.fault(best):
        say(f"{run.checkpoint(best)}: best on dev, but damaged, so the newest counts, of step {newest} ({fault})")
        return newest
    return best


def _best_step(run: RunDir, newest: int) -> int | None:
    """Return the best step as the newest readable state.json tells it, that of step `newest` or one before."""
    for step in [step for step in reversed(run.checkpoint_steps()) if step <= newest]:
        with contextlib.suppress(CheckpointError):
            return run.read_progress(step).best_step
    return None


def newest_consolidated(path: Path, count: int) -> list[Path]:
    """Return what `find_consolidated` does of the newest `count` checkpoints of the run at `path`, oldest first.

    Raises:
        CheckpointError: `path` is no run, or has fewer that are whole.
        ConfigError: `count` is not positive.
    """
    if count < 1:
        raise ConfigError(f"--last must be positive, got {count}")
    run = RunDir(path)
    steps = [step for _, step in zip(range(count), run.whole_steps(), strict=False)]
    if len(steps) < count:
        raise CheckpointError(f"{path}: --last {count} asks for more checkpoints than there are, {len(steps)}; checkpoint.keep keeps more")
    return [find_consolidated(run.checkpoint(step)) for step in reversed(steps)]


def find_consolidated(path: Path) -> Path:
    """Return the directory of `lora.safetensors` (or `consolidated.safetensors`) that a run, a checkpoint or that directory itself means.

    Of a run it is its calibrated checkpoint where its recipe asks for one, else that of `find_checkpoint`.

    Raises:
        CheckpointError: nothing of the kind is there, it is damaged, or the calibrated checkpoint that the recipe asks for is missing.
    """
    run = RunDir(path)
    args = path / "args.yaml"
    if run.checkpoint_steps():
        step = find_checkpoint(run)
        asked = args.is_file() and load_config(Recipe, args).calibration.method != "off"
        if asked and calibrated_step(run) != step:
            raise CheckpointError(
                f"{path}: its recipe asks for calibrated pause heads, and they are not there yet; run `stt-ft train` on it again, "
                "or give that --calibration.method off"
            )
        path = path / "calibrated" if asked else run.checkpoint(step)
    directory = path / "consolidated" if (path / "consolidated").is_dir() else path
    if not any((directory / name).is_file() for name in WEIGHTS_NAMES):
        raise CheckpointError(f"{path}: no checkpoint here (expected a run directory, a checkpoint, or a directory with lora.safetensors)")
    check_whole(weights_in(directory))
    return directory


def weights_in(directory: Path) -> Path:
    """Return the file of trained weights in the directory `consolidated`, that of an adapter where there is none."""
    return next((directory / name for name in WEIGHTS_NAMES if (directory / name).is_file()), directory / WEIGHTS_NAMES[0])


def check_whole(weights: Path) -> None:
    """Raise `CheckpointError` where a file of weights, or one beside it, is missing, cut short, or not the bytes that were written."""
    read_header(weights)
    check_listed(weights.parent)


def check_listed(directory: Path) -> None:
    """Raise `CheckpointError` where a file that SHA256SUMS lists is missing, or not the bytes that were written."""
    check_sums(directory)
    sums = directory / SUMS_NAME
    for line in sums.read_text(encoding="utf-8").splitlines() if sums.is_file() else ():
        if not (path := directory / line.partition("  ")[2]).is_file():
            raise CheckpointError(f"{path}: no such file")


def calibrated_step(run: RunDir) -> int | None:
    """Return the step of the checkpoint whose pause heads were calibrated, None where none were."""
    try:
        return json.loads((run.directory / "calibrated" / "calibration.json").read_bytes())["step"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
