"""What a person sees of a run: a live line on a terminal or plain lines in a log, `loss.png`, TensorBoard, Weights & Biases, a README.md
that says what to do next, and advice where it does not fit into memory.

All of it is beside metrics.train.jsonl and metrics.eval.jsonl, which are always there.
"""

from __future__ import annotations

import hashlib
import math
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from stt_ft.core.atomic import atomic_path
from stt_ft.core.config import to_dict
from stt_ft.core.errors import MissingExtra
from stt_ft.core.progress import say
from stt_ft.core.recipe import Recipe
from stt_ft.training.data.batches import PlannedBatch

_STEP = "optimizer_step"


class Dashboard:
    """Shows step, loss, frames a second, time left and memory. To be used as a context manager."""

    def __init__(self, *, first_step: int, max_steps: int, is_shown: bool = True) -> None:
        self._is_shown = is_shown
        self._first_step = first_step
        self._max_steps = max_steps
        self._begin_s = time.monotonic()
        self._num_frames = 0
        self._live: Any = None
        self._task: Any = None

    def __enter__(self) -> Dashboard:
        if self._is_shown and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
            self._live = Progress(*columns, console=Console(stderr=True), redirect_stderr=True)
            self._task = self._live.add_task("", total=self._max_steps, completed=self._first_step)
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    @property
    def frames_per_s(self) -> float:
        """Frames learned from per second since the beginning, padding not counted."""
        return self._num_frames / max(time.monotonic() - self._begin_s, 1e-9)

    def step_done(self, step: int, num_frames: int, loss: float) -> None:
        """Note one optimizer step."""
        self._num_frames += num_frames
        if self._live is not None:
            shown = f"loss {loss:.4f}  {self.frames_per_s:,.0f} frames/s{_memory()}"
            self._live.update(self._task, completed=step, description=shown)

    def validated(self, step: int, figures: dict[str, float], *, is_best: bool) -> None:
        """Say how the dev split came out."""
        shown = "  ".join(f"{name} {_figure(name, value)}" for name, value in figures.items())
        say(f"step {step:>5}  dev: {shown}{'  (best)' if is_best else ''}")


def _figure(name: str, value: float) -> str:
    if name.endswith("_s"):
        return f"{value:.2f} s"
    return f"{value:.4f}" if "loss" in name or name == "combined" else f"{100 * value:.1f} %"


def _memory() -> str:
    """Return the peak GPU memory so far, where a GPU is in use."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return ""
    return f"  {torch.cuda.max_memory_allocated() / 1e9:.1f} GB"


@dataclass(kw_only=True)
class Trackers:
    """Where rows of figures go beside the metrics files; nowhere by default."""

    writers: list[Any] = field(default_factory=list)

    @classmethod
    def open(cls, recipe: Recipe, directory: Path) -> Trackers:
        """Open what the recipe asks for; raises `MissingExtra` where a package is missing."""
        writers: list[Any] = []
        if "tensorboard" in recipe.log:
            writers.append(_TensorBoard(directory / "tensorboard"))
        if "wandb" in recipe.log:
            writers.append(_WeightsAndBiases(directory, to_dict(recipe)))
        return cls(writers=writers)

    def log(self, rows: Sequence[dict[str, Any]], *, prefix: str = "train/") -> None:
        """Hand on rows that have a `step`; figures that are not numbers are left out."""
        for row in rows:
            figures = {
                f"{prefix}{name}": float(value)
                for name, value in row.items()
                if name != "step" and value is not None and math.isfinite(value)
            }
            for writer in self.writers:
                writer.write(row["step"], figures)

    def close(self) -> None:
        for writer in self.writers:
            writer.close()


class _TensorBoard:
    def __init__(self, directory: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise MissingExtra("tensorboard", "tensorboard", "log: [tensorboard]") from None
        self._writer = SummaryWriter(str(directory))

    def write(self, step: int, figures: dict[str, float]) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class _WeightsAndBiases:
    def __init__(self, directory: Path, config: dict[str, Any]) -> None:
        try:
            import wandb  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise MissingExtra("wandb", "wandb", "log: [wandb]") from None
        place = hashlib.sha256(str(directory.resolve()).encode()).hexdigest()[:8]  # the same for a run that is taken up again, and no other
        self._run = wandb.init(
            project=directory.name, name=directory.name, dir=str(directory), config=config, resume="allow", id=f"{directory.name}-{place}",
            allow_val_change=True,
        )  # fmt: skip
        # Rows of training come a few steps after the dev split's, and W&B drops what comes late by its own count of steps.
        self._run.define_metric("*", step_metric=_STEP)

    def write(self, step: int, figures: dict[str, float]) -> None:
        self._run.log({**figures, _STEP: step})

    def close(self) -> None:
        self._run.finish()


def draw_curves(path: Path, train_rows: Sequence[dict[str, Any]], eval_rows: Sequence[dict[str, Any]]) -> None:
    """Draw text and pause loss over steps, training as lines and dev as dots."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name, label, color in (("text_loss", "text", "tab:blue"), ("pause_loss", "pause heads", "tab:orange")):
        for rows, split, style in ((train_rows, "train", "-"), (eval_rows, "dev", "o--")):
            shown = [row for row in rows if row.get(name)]
            steps, losses = [row["step"] for row in shown], [row[name] for row in shown]
            axes.plot(steps, losses, style, color=color, linewidth=1, markersize=4, alpha=0.8, label=f"{label}, {split}")
    if train_rows:
        axes.set_yscale("log")
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("loss")
    axes.grid(alpha=0.3)
    axes.legend()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)


def what_next(run_dir: Path, recipe: Recipe, *, step: int, num_done: int) -> str:
    """Return the README.md of a run of which `num_done` steps are done, and the checkpoint of `step` counts."""
    run, model, dataset = shlex.quote(str(run_dir)), shlex.quote(f"models/{run_dir.name}"), shlex.quote(recipe.dataset)
    report, other, base = shlex.quote(f"reports/{run_dir.name}"), shlex.quote(f"{run_dir}_2"), shlex.quote(recipe.base)
    return f"""# A run of `stt-ft train`

{num_done} steps from {recipe.base} on {recipe.dataset}. The checkpoint that counts is that of step {step}; `loss.png` and
`metrics.*.jsonl` have the course of training, `args.yaml` has the whole recipe.

A model of it, and its figures beside the base's:

    stt-ft merge {run} --out {model}
    stt-ft evaluate {model} {dataset} --out {report} --baseline {base} --run_dir {run}

More steps of the same, here:

    stt-ft train {run}/args.yaml --schedule.max_steps {2 * num_done}

A new run that begins with this adapter, on other recordings or by another recipe:

    stt-ft train {run}/args.yaml --lora.start_from {run} --run_dir {other} --dataset DATASET
"""


def out_of_memory_advice(recipe: Recipe, batches: Sequence[PlannedBatch], step: int) -> str:
    """Return which knob to turn, and by how much, when the batches of a step do not fit into memory."""
    rows, longest = max(((len(batch.takes), batch.longest) for batch in batches), key=math.prod)
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


def why_it_gave_up(recipe: Recipe, batches: Sequence[PlannedBatch], step: int, num_skipped: int) -> str:
    """Return why a run ends at `step`, so many steps before which were left out, and what to do."""
    optim, clip_ids = recipe.optim, [take.clip_id for batch in batches for take in batch.takes]
    jumped = f", or jumped above {optim.skip_above} times its mean," if optim.skip_above is not None else ""
    return (
        f"{recipe.run_dir}: the loss was not a number{jumped} {num_skipped} steps in a row, up to step {step} with clips "
        f"{', '.join(clip_ids[:4])} …; lower optim.lr (now {optim.lr}) and train into another --run_dir"
    )
