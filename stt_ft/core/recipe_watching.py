"""What of a recipe says how a run is watched and kept: `validation`, `checkpoint`, `calibration`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stt_ft.core.recipe_checks import refuse


@dataclass(frozen=True, kw_only=True)
class ValidationRecipe:
    """Validation on the dev split while training."""

    every_steps: int = 50
    """Optimizer steps between validations, each with a checkpoint; 0 for none: only the last step leaves one."""

    listen: bool = True
    """Also listen to the dev clips frame by frame, with merged weights: word error rate, digit strings, cut-offs."""

    best_metric: Literal["loss", "text_loss", "pause_loss", "word_error_rate", "cut_offs", "turn_area_s", "combined"] = "loss"
    """Which dev figure, the lower the better, picks the best checkpoint.

    turn_area_s is the latency over all thresholds at the cut-offs they cost; combined adds the shares of wrong digit strings, words and
    cut-offs (in ordinary speech too) and half of each second that turns end later than 0.5 s.
    """

    def __post_init__(self) -> None:
        refuse(
            (self.every_steps < 0, f"every_steps must not be negative, got {self.every_steps}"),
            (
                self.best_metric not in ("loss", "text_loss", "pause_loss") and not self.listen,
                f"best_metric {self.best_metric} needs listen: true",
            ),
        )


@dataclass(frozen=True, kw_only=True)
class CheckpointRecipe:
    """What is left on disk while training, and from where an interrupted run goes on."""

    keep: int | None = None
    """Newest checkpoints kept, the best always among them; none keeps all."""

    def __post_init__(self) -> None:
        refuse((self.keep is not None and self.keep <= 0, f"keep must be positive or none, got {self.keep}"))


@dataclass(frozen=True, kw_only=True)
class CalibrationRecipe:
    """What is done to the pause heads after training, on the dev split; the text is not touched. See `calibrated/calibration.json`."""

    method: Literal["off", "likelihood"] = "off"
    """likelihood: scale and bias of class 0 of each head, such that pauses come as often as they are foreseen. The result is folded into
    the heads' weights in RUN_DIR/calibrated, which `merge` then takes."""
