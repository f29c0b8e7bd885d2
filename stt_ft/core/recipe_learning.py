"""What of a recipe says what learns, from which loss, and how fast: `lora`, `loss`, `optim`, `schedule`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stt_ft.core.recipe_checks import refuse


@dataclass(frozen=True, kw_only=True)
class LoraRecipe:
    """Which weights are trained: low-rank additions `W + 2 B @ A` in moshi's own names, and pause heads."""

    enable: bool = True
    """Train an adapter. False trains every weight of the model, which takes several times the memory."""

    rank: int = 128
    """Columns of A and rows of B; moshi-finetune's default for 7b and 1b. The tiny model needs 16."""

    dropout: float = 0.0
    """Share of the adapter's inputs zeroed while training, 0 to 1."""

    heads: Literal["full", "lora", "frozen"] = "full"
    """The pause heads: trained in full (49 thousand weights in 1b), through an adapter as all else, or left alone."""

    def __post_init__(self) -> None:
        refuse(
            (self.rank <= 0, f"rank must be positive, got {self.rank}"),
            (not 0 <= self.dropout < 1, f"dropout must be at least 0 and below 1, got {self.dropout}"),
        )


@dataclass(frozen=True, kw_only=True)
class LossRecipe:
    """What is minimised: cross-entropy of the text stream, weighted by kind of token, and of the pause heads."""

    pad_weight: float = 0.5
    """Weight of a frame that carries padding; moshi-finetune's `text_padding_weight`."""

    pause_targets: Literal["binary", "count", "off"] = "binary"
    """What the pause heads learn: whether a word comes within the horizon (class 0 against the rest, all that Kyutai documents by use), the
    number of words coming (0 to 5, as the tiny model's heads were made), or nothing."""

    pause_weight: float = 1.0
    """Weight of the pause heads' loss, a weighted mean over frames and heads, beside the text loss."""

    cut_off_cost: float = 1.0
    """How much worse it is to end a turn too soon than too late: frames with a word to come weigh this much in the pause heads' loss, a
    weighted mean, so that `pause_weight` alone says how much the heads count beside the text."""

    text_noise: float = 0.0
    """Share of input text tokens replaced by padding while training, 0 to 1, so that the model leans on the sound."""

    def __post_init__(self) -> None:
        refuse(
            (self.pad_weight < 0, f"pad_weight must not be negative, got {self.pad_weight}"),
            (self.pause_weight < 0, f"pause_weight must not be negative, got {self.pause_weight}"),
            (not 0 <= self.text_noise < 1, f"text_noise must be at least 0 and below 1, got {self.text_noise}"),
            (self.cut_off_cost <= 0, f"cut_off_cost must be positive, got {self.cut_off_cost}"),
        )


@dataclass(frozen=True, kw_only=True)
class OptimRecipe:
    """AdamW."""

    lr: float = 2e-5
    """Highest learning rate, per step. 2e-5 moved the 1b model on 50 clips; the tiny model takes 1e-3."""

    weight_decay: float = 0.1
    """AdamW's decoupled decay; moshi-finetune's default."""

    skip_above: float | None = None
    """Steps whose loss is more than this many times its running mean are left out and counted, as are those that are not a number."""

    def __post_init__(self) -> None:
        refuse(
            (self.skip_above is not None and self.skip_above <= 1, f"skip_above must be above 1 or none, got {self.skip_above}"),
            (self.lr <= 0, f"lr must be positive, got {self.lr}"),
            (self.weight_decay < 0, f"weight_decay must not be negative, got {self.weight_decay}"),
        )


@dataclass(frozen=True, kw_only=True)
class ScheduleRecipe:
    """The learning rate rises over the first twentieth of `max_steps` and falls to 0 along a cosine."""

    max_steps: int = 500
    """Optimizer steps in all."""

    def __post_init__(self) -> None:
        refuse(
            (self.max_steps <= 0, f"max_steps must be positive, got {self.max_steps}"),
        )
