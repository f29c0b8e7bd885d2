"""What of a recipe says how a run is watched and kept: `evaluation`, `checkpoint`, `log`, `calibration`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stt_ft.core.recipe_checks import refuse


@dataclass(frozen=True, kw_only=True)
class EvalRecipe:
    """Validation on the dev split while training."""

    every_steps: int = 50
    """Optimizer steps between validations; 0 for none."""

    listen: bool = True
    """Also listen to the dev clips frame by frame, with merged weights: word error rate, digit strings, cut-offs."""

    best_metric: Literal["loss", "text_loss", "pause_loss", "word_error_rate", "cut_offs", "turn_area_s", "combined"] = "loss"
    """Which dev figure, the lower the better, picks the best checkpoint.

    turn_area_s is the latency over all thresholds at the cut-offs they cost; combined adds the shares of wrong digit strings, words and
    cut-offs (in ordinary speech too) and half of each second that turns end later than 0.5 s.
    """

    patience: int | None = None
    """Stop after this many validations without a better figure; none trains to `max_steps`."""

    def __post_init__(self) -> None:
        refuse(
            (self.every_steps < 0, f"every_steps must not be negative, got {self.every_steps}"),
            (self.patience is not None and self.patience <= 0, f"patience must be positive or none, got {self.patience}"),
            (
                self.best_metric not in ("loss", "text_loss", "pause_loss") and not self.listen,
                f"best_metric {self.best_metric} needs listen: true",
            ),
        )


@dataclass(frozen=True, kw_only=True)
class CheckpointRecipe:
    """What is left on disk while training, and from where an interrupted run goes on."""

    every_steps: int = 100
    """Optimizer steps between checkpoints; 0 writes only the last. A validation that finds a new best writes one too."""

    keep: int | None = None
    """Newest checkpoints kept, the best always among them; none keeps all."""

    def __post_init__(self) -> None:
        refuse(
            (self.every_steps < 0, f"every_steps must not be negative, got {self.every_steps}"),
            (self.keep is not None and self.keep <= 0, f"keep must be positive or none, got {self.keep}"),
        )


@dataclass(frozen=True, kw_only=True)
class LogRecipe:
    """Where figures go beside metrics.train.jsonl, metrics.eval.jsonl and loss.png."""

    tensorboard: bool = False
    """Also write TensorBoard event files to RUN_DIR/tensorboard; needs the extra `tensorboard`."""

    wandb: str | None = None
    """Also send figures to this project of Weights & Biases; needs the extra `wandb`. None sends nothing anywhere."""


@dataclass(frozen=True, kw_only=True)
class CalibrationRecipe:
    """What is done to the pause heads after training, on the dev split; the text is not touched. See `calibrated/calibration.json`."""

    method: Literal["off", "likelihood", "cut_offs"] = "off"
    """likelihood: scale and bias of class 0 of each head, such that pauses come as often as they are foreseen. cut_offs: a bias of the
    head that agents read (2), as great as `max_cut_offs` allows. The result is folded into the heads' weights in RUN_DIR/calibrated,
    which `merge` then takes."""

    bias: bool = True
    """Also fit a bias. The heads have none, so it is carried by a direction that hardly changes from frame to frame. False: scale only."""

    max_cut_offs: float = 0.01
    """Share of dev turns, 0 to 1, that may be cut off under the method cut_offs; of 24 turns 0.01 allows none."""

    def __post_init__(self) -> None:
        refuse(
            (not 0 <= self.max_cut_offs < 1, f"max_cut_offs must be at least 0 and below 1, got {self.max_cut_offs}"),
            (self.method == "cut_offs" and not self.bias, "bias must be true for method cut_offs, which chooses one"),
        )
