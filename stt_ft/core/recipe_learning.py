"""What of a recipe says what learns, from which loss, and how fast: `lora`, `loss`, `optim`, `schedule`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stt_ft.core.recipe_checks import refuse


@dataclass(frozen=True, kw_only=True)
class LoraRecipe:
    """Which weights are trained: low-rank additions `W + scaling * B @ A` in moshi's own names, embeddings, pause heads."""

    enable: bool = True
    """Train an adapter. False trains every weight of the model, which takes several times the memory."""

    rank: int = 128
    """Columns of A and rows of B; moshi-finetune's default for 7b and 1b. The tiny model needs 16."""

    scaling: float = 2.0
    """Factor on `B @ A`; moshi's loader assumes 2 unless config.json says otherwise."""

    dropout: float = 0.0
    """Share of the adapter's inputs zeroed while training, 0 to 1."""

    targets: tuple[str, ...] = ("*",)
    """Glob patterns of the linear layers to adapt ("transformer.*"); what matches none stays as it is. All by default."""

    ft_embed: bool = False
    """Train the text and audio embeddings in full and save them with the adapter (about 300 MiB more for 1b)."""

    heads: Literal["full", "lora", "frozen"] = "full"
    """The pause heads: trained in full (49 thousand weights in 1b), through an adapter as all else, or left alone."""

    base_dtype: Literal["auto", "bfloat16", "float16", "float32", "nf4", "int8"] = "auto"
    """Type of the frozen weights; auto is `precision`. nf4 and int8 pack those under adapters (QLoRA) and need the extra `quant`."""

    def __post_init__(self) -> None:
        refuse(
            (self.base_dtype != "auto" and not self.enable, "base_dtype needs enable: true; weights that all learn are float32"),
            (self.rank <= 0, f"rank must be positive, got {self.rank}"),
            (self.scaling <= 0, f"scaling must be positive, got {self.scaling}"),
            (not 0 <= self.dropout < 1, f"dropout must be at least 0 and below 1, got {self.dropout}"),
            (not self.targets, "targets must name at least one pattern; set enable to false to train without an adapter"),
        )


@dataclass(frozen=True, kw_only=True)
class LossRecipe:
    """What is minimised: cross-entropy of the text stream, weighted by kind of token, and of the pause heads."""

    word_weight: float = 1.0
    """Weight of a frame that carries a piece of a word."""

    pad_weight: float = 0.5
    """Weight of a frame that carries padding; moshi-finetune's `text_padding_weight`."""

    end_padding_weight: float = 1.0
    """Weight of the end-of-padding token, which says that a word begins in the next frame."""

    pause_targets: Literal["binary", "count", "off"] = "binary"
    """What the pause heads learn: whether a word comes within the horizon (class 0 against the rest, all that Kyutai documents by use), the
    number of words coming (0 to 5, as the tiny model's heads were made), or nothing."""

    pause_weight: float = 1.0
    """Weight of the pause heads' loss, a weighted mean over frames and heads, beside the text loss."""

    cut_off_cost: float = 1.0
    """How much worse it is to end a turn too soon than too late: frames with a word to come weigh this much in the pause heads' loss, a
    weighted mean, so that `pause_weight` alone says how much the heads count beside the text."""

    audio_weight: float = 1.0
    """Weight of the audio loss beside the text loss, for a model that also speaks (`dep_q` above 0); speech-to-text models have none."""

    first_codebook_weight: float = 100.0
    """Weight of the first codebook in the audio loss, the others' being 1; moshi-finetune's `first_codebook_weight_multiplier`."""

    label_smoothing: float = 0.0
    """Share of each target's probability spread over all classes, 0 to 1; text and heads."""

    text_noise: float = 0.0
    """Share of input text tokens replaced by padding while training, 0 to 1, so that the model leans on the sound."""

    def __post_init__(self) -> None:
        weights = {
            name: getattr(self, name) for name in ("word_weight", "pad_weight", "end_padding_weight", "pause_weight", "audio_weight")
        }
        shares = {name: getattr(self, name) for name in ("label_smoothing", "text_noise")}
        refuse(
            *((weight < 0, f"{name} must not be negative, got {weight}") for name, weight in weights.items()),
            *((not 0 <= share < 1, f"{name} must be at least 0 and below 1, got {share}") for name, share in shares.items()),
            (self.cut_off_cost <= 0, f"cut_off_cost must be positive, got {self.cut_off_cost}"),
            (self.first_codebook_weight <= 0, f"first_codebook_weight must be positive, got {self.first_codebook_weight}"),
            (not any(weights.values()), "word_weight and all other weights are 0: there is nothing to learn"),
        )


@dataclass(frozen=True, kw_only=True)
class OptimRecipe:
    """AdamW."""

    lr: float = 2e-5
    """Highest learning rate, per step. 2e-5 moved the 1b model on 50 clips; the tiny model takes 1e-3."""

    weight_decay: float = 0.1
    """AdamW's decoupled decay; moshi-finetune's default."""

    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's averaging of gradient and squared gradient; moshi-finetune's default."""

    max_grad_norm: float | None = 1.0
    """The gradient is scaled down to this norm; none leaves it alone."""

    skip_above: float | None = None
    """Steps whose loss is more than this many times its running mean are left out and counted, as are those that are not a number."""

    def __post_init__(self) -> None:
        refuse(
            (self.skip_above is not None and self.skip_above <= 1, f"skip_above must be above 1 or none, got {self.skip_above}"),
            (self.lr <= 0, f"lr must be positive, got {self.lr}"),
            (self.weight_decay < 0, f"weight_decay must not be negative, got {self.weight_decay}"),
            (not all(0 <= beta < 1 for beta in self.betas), f"betas must be at least 0 and below 1, got {list(self.betas)}"),
            (
                self.max_grad_norm is not None and self.max_grad_norm <= 0,
                f"max_grad_norm must be positive or none, got {self.max_grad_norm}",
            ),
        )


@dataclass(frozen=True, kw_only=True)
class ScheduleRecipe:
    """How the learning rate moves: up over `warmup_steps`, then down to nothing at `max_steps`, or level."""

    kind: Literal["cosine", "linear", "onecycle", "constant"] = "cosine"
    """Shape after the warm-up. onecycle is moshi-finetune's: up from a 25th along a cosine, and down to next to nothing."""

    max_steps: int = 500
    """Optimizer steps in all."""

    warmup_steps: int = 25
    """Optimizer steps of linear rise from 0; 5 % of `max_steps`, as moshi-finetune's pct_start."""

    def __post_init__(self) -> None:
        refuse(
            (self.max_steps <= 0, f"max_steps must be positive, got {self.max_steps}"),
            (self.warmup_steps < 0, f"warmup_steps must not be negative, got {self.warmup_steps}"),
            (
                0 < self.max_steps < self.warmup_steps,
                f"warmup_steps must not be above max_steps ({self.max_steps}), got {self.warmup_steps}",
            ),
        )
