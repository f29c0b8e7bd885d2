"""The recipe of a fine-tuning: the dataclasses that `configs/*.yaml` are read into by `train` and `run`.

Each field says its unit and what its default is taken from. `train` reads the part up to `calibration`; the sections after it are for
`run`, which makes every stage from the same file. Paths are relative to the working directory. What the shipped recipes share stands in
configs/digits_common.yaml, which they `inherit` (core/config.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from stt_ft.core.config import load_config
from stt_ft.core.recipe_checks import refuse
from stt_ft.core.recipe_data import AugmentRecipe, BatchRecipe, Copy, LabelsRecipe, ReplayRecipe, SyntheticRecipe
from stt_ft.core.recipe_learning import LoraRecipe, LossRecipe, OptimRecipe, ScheduleRecipe
from stt_ft.core.recipe_stages import AnnotateRecipe, ConvertRecipe, EvaluateRecipe, MergeRecipe
from stt_ft.core.recipe_watching import CalibrationRecipe, CheckpointRecipe, EvalRecipe, LogRecipe

__all__ = [
    "DEFAULT_BASE",
    "AnnotateRecipe",
    "AugmentRecipe",
    "BatchRecipe",
    "CalibrationRecipe",
    "CheckpointRecipe",
    "ConvertRecipe",
    "Copy",
    "EvalRecipe",
    "EvaluateRecipe",
    "LabelsRecipe",
    "LogRecipe",
    "LoraRecipe",
    "LossRecipe",
    "MergeRecipe",
    "OptimRecipe",
    "Recipe",
    "ReplayRecipe",
    "ScheduleRecipe",
    "SyntheticRecipe",
    "load_recipe",
]

DEFAULT_BASE = "kyutai/stt-1b-en_fr-candle"
"""The model fine-tuned by default: the hub repo of the 1b model that holds the extra heads (the plain repo lacks them)."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A whole recipe file."""

    dataset: str
    """Dataset directory to train on."""

    run_dir: str
    """Directory of the run: checkpoints, metrics, resolved recipe. A run that was interrupted there is taken up again."""

    base: str = DEFAULT_BASE
    """Model to start from: a hub repo, a model directory, or `tiny`."""

    seed: int = 0
    """Seed of weights, batches and noise; equal seeds on equal machines give equal runs."""

    device: str = "auto"
    """`cpu`, `cuda`, `cuda:1` …; auto takes a GPU where there is one."""

    threads: int | None = None
    """CPU threads; none leaves the choice to torch."""

    parallel: Literal["auto", "ddp", "fsdp"] = "auto"
    """Under torchrun: whole weights on every device (ddp), or shards of them (fsdp); auto shards when every weight learns."""

    precision: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    """Type of the frozen weights and of activations; trained weights are kept in float32. float16 scales the loss: for older GPUs."""

    lora: LoraRecipe = field(default_factory=LoraRecipe)
    loss: LossRecipe = field(default_factory=LossRecipe)
    optim: OptimRecipe = field(default_factory=OptimRecipe)
    schedule: ScheduleRecipe = field(default_factory=ScheduleRecipe)
    batch: BatchRecipe = field(default_factory=BatchRecipe)
    labels: LabelsRecipe = field(default_factory=LabelsRecipe)
    augment: AugmentRecipe = field(default_factory=AugmentRecipe)
    replay: ReplayRecipe = field(default_factory=ReplayRecipe)
    synthetic: SyntheticRecipe = field(default_factory=SyntheticRecipe)
    evaluation: EvalRecipe = field(default_factory=EvalRecipe)
    checkpoint: CheckpointRecipe = field(default_factory=CheckpointRecipe)
    log: LogRecipe = field(default_factory=LogRecipe)
    calibration: CalibrationRecipe = field(default_factory=CalibrationRecipe)

    annotate: AnnotateRecipe = field(default_factory=AnnotateRecipe)
    convert: ConvertRecipe = field(default_factory=ConvertRecipe)
    merge: MergeRecipe = field(default_factory=MergeRecipe)
    evaluate: EvaluateRecipe = field(default_factory=EvaluateRecipe)

    def __post_init__(self) -> None:
        refuse(
            (not self.dataset, "dataset must name a directory, got nothing"),
            (not self.run_dir, "run_dir must name a directory, got nothing"),
            (not self.base, "base must name a model, got nothing"),
            (self.threads is not None and self.threads <= 0, f"threads must be positive or none, got {self.threads}"),
        )


def load_recipe(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe file, after setting the dotted keys of `overrides` ("optim.lr": 1e-4).

    Raises:
        ConfigError: what is wrong with it, every mistake in one message.
    """
    return load_config(Recipe, path, overrides)
