"""Figures of a run for those who watch many: TensorBoard, Weights & Biases. Both are optional; metrics.*.jsonl is always there."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stt_ft.core.config import to_dict
from stt_ft.core.errors import MissingExtra
from stt_ft.core.recipe import Recipe

_STEP = "optimizer_step"


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
            writers.append(_WeightsAndBiases(directory.name, directory, to_dict(recipe)))
        return cls(writers=writers)

    def log(self, rows: Sequence[dict[str, Any]], *, prefix: str = "train/") -> None:
        """Hand on rows that have a `step`; figures that are not numbers are left out."""
        for row in rows:
            figures = {f"{prefix}{name}": float(value) for name, value in row.items() if name != "step" and value is not None}
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
    def __init__(self, project: str, directory: Path, config: dict[str, Any]) -> None:
        try:
            import wandb  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise MissingExtra("wandb", "wandb", "log: [wandb]") from None
        place = hashlib.sha256(str(directory.resolve()).encode()).hexdigest()[:8]  # the same for a run that is taken up again, and no other
        self._run = wandb.init(
            project=project, name=directory.name, dir=str(directory), config=config, resume="allow", id=f"{directory.name}-{place}"
        )
        # Rows of training come a few steps after the dev split's, and W&B drops what comes late by its own count of steps.
        self._run.define_metric("*", step_metric=_STEP)

    def write(self, step: int, figures: dict[str, float]) -> None:
        self._run.log({**figures, _STEP: step})

    def close(self) -> None:
        self._run.finish()
