"""The recipe of a fine-tuning: the dataclasses that `configs/*.yaml` are read into by `train` and `run`.

Each field says its unit and what its default is taken from. `train` reads the part up to `checkpoint`; the sections after it are for
`run`, which makes every stage from the same file. Paths are relative to the working directory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

DEFAULT_BASE = "kyutai/stt-1b-en_fr-candle"
"""The model fine-tuned by default: the hub repo of the 1b model that holds the extra heads (the plain repo lacks them)."""


def _refuse(*checks: tuple[bool, str]) -> None:
    """Raise one `ValueError` with the message of every check that is true."""
    messages = [message for refused, message in checks if refused]
    if messages:
        raise ValueError(*messages)


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

    def __post_init__(self) -> None:
        _refuse(
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

    pause_targets: Literal["binary", "count", "off"] = "count"
    """What the pause heads learn: class 0 or 1 (a word comes within the horizon), the number of words coming (0 to 5), or nothing."""

    pause_weight: float = 1.0
    """Weight of the pause heads' mean loss beside the text loss."""

    label_smoothing: float = 0.0
    """Share of each target's probability spread over all classes, 0 to 1; text and heads."""

    text_noise: float = 0.0
    """Share of input text tokens replaced by padding while training, 0 to 1, so that the model leans on the sound."""

    def __post_init__(self) -> None:
        weights = {name: getattr(self, name) for name in ("word_weight", "pad_weight", "end_padding_weight", "pause_weight")}
        shares = {name: getattr(self, name) for name in ("label_smoothing", "text_noise")}
        _refuse(
            *((weight < 0, f"{name} must not be negative, got {weight}") for name, weight in weights.items()),
            *((not 0 <= share < 1, f"{name} must be at least 0 and below 1, got {share}") for name, share in shares.items()),
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

    def __post_init__(self) -> None:
        _refuse(
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

    kind: Literal["cosine", "linear", "constant"] = "cosine"
    """Shape after the warm-up."""

    max_steps: int = 500
    """Optimizer steps in all."""

    warmup_steps: int = 25
    """Optimizer steps of linear rise from 0; 5 % of `max_steps`, as moshi-finetune's pct_start."""

    def __post_init__(self) -> None:
        _refuse(
            (self.max_steps <= 0, f"max_steps must be positive, got {self.max_steps}"),
            (self.warmup_steps < 0, f"warmup_steps must not be negative, got {self.warmup_steps}"),
            (
                0 < self.max_steps < self.warmup_steps,
                f"warmup_steps must not be above max_steps ({self.max_steps}), got {self.warmup_steps}",
            ),
        )


@dataclass(frozen=True, kw_only=True)
class BatchRecipe:
    """How clips are put together for one step."""

    batch_size: int = 8
    """Clips a forward pass, on each device."""

    grad_accumulation: int = 1
    """Forward passes an optimizer step."""

    tail_s: float = 2.5
    """Seconds of silence that training sees after the end of a clip plus the text lag, in which the heads learn the end of a turn."""

    max_clip_s: float | None = 60.0
    """Clips longer than this many seconds are refused by id; none takes them all. 60 s is 750 frames, the context of the 1b model."""

    gradient_checkpointing: bool = False
    """Recompute each layer's activations in the backward pass: slower, in less memory."""

    def __post_init__(self) -> None:
        _refuse(
            (self.batch_size <= 0, f"batch_size must be positive, got {self.batch_size}"),
            (self.grad_accumulation <= 0, f"grad_accumulation must be positive, got {self.grad_accumulation}"),
            (self.tail_s < 0, f"tail_s must not be negative, got {self.tail_s}"),
            (self.max_clip_s is not None and self.max_clip_s <= 0, f"max_clip_s must be positive or none, got {self.max_clip_s}"),
        )


@dataclass(frozen=True, kw_only=True)
class AugmentRecipe:
    """Variety made from stored codes, new in every epoch, so that a few dozen recordings go further."""

    pause_prob: float = 0.0
    """Chance that a gap between two words of a number is lengthened by the clip's own silence, 0 to 1: speakers hesitate inside numbers."""

    max_pause_s: float = 1.5
    """Longest silence put in a gap, in seconds; the shortest is one frame."""

    crop_prob: float = 0.0
    """Chance that a clip ends after a word inside its number, 0 to 1, so that the length of a number cannot be learned by heart."""

    join_prob: float = 0.0
    """Chance that another clip of the batch's split follows in the same stream, 0 to 1, as turns follow each other on a server."""

    code_dropout: float = 0.0
    """Share of codes that are not heard while training, 0 to 1."""

    def __post_init__(self) -> None:
        shares = {name: getattr(self, name) for name in ("pause_prob", "crop_prob", "join_prob", "code_dropout")}
        _refuse(
            *((not 0 <= share <= 1, f"{name} must be 0 to 1, got {share}") for name, share in shares.items()),
            (self.max_pause_s <= 0, f"max_pause_s must be positive, got {self.max_pause_s}"),
        )


@dataclass(frozen=True, kw_only=True)
class EvalRecipe:
    """Validation on the dev split while training."""

    every_steps: int = 50
    """Optimizer steps between validations; 0 for none."""

    listen: bool = True
    """Also listen to the dev clips frame by frame, with merged weights: word error rate, digit strings, cut-offs."""

    best_metric: Literal["loss", "text_loss", "pause_loss", "word_error_rate", "cut_offs"] = "loss"
    """Which dev figure, the lower the better, picks the best checkpoint."""

    patience: int | None = None
    """Stop after this many validations without a better figure; none trains to `max_steps`."""

    def __post_init__(self) -> None:
        _refuse(
            (self.every_steps < 0, f"every_steps must not be negative, got {self.every_steps}"),
            (self.patience is not None and self.patience <= 0, f"patience must be positive or none, got {self.patience}"),
            (
                self.best_metric in ("word_error_rate", "cut_offs") and not self.listen,
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
        _refuse(
            (self.every_steps < 0, f"every_steps must not be negative, got {self.every_steps}"),
            (self.keep is not None and self.keep <= 0, f"keep must be positive or none, got {self.keep}"),
        )


@dataclass(frozen=True, kw_only=True)
class AnnotateRecipe:
    """Options of `annotate` in a `run`."""

    aligner: Literal["whisper", "sphinx"] = "whisper"
    """Who finds the times of words: Whisper hears them, sphinx aligns the script that was read (English)."""

    model: str = "large-v3"
    """Whisper model."""

    language: str = "en"
    """Language of the recordings."""


@dataclass(frozen=True, kw_only=True)
class ConvertRecipe:
    """Options of `convert` in a `run`."""

    language: str = "en"
    """Language whose number words are written."""

    style: Literal["digits", "auto"] = "digits"
    """Numbers as single digits, or as a reader would say them."""


@dataclass(frozen=True, kw_only=True)
class MergeRecipe:
    """Options of `merge` in a `run`."""

    out: str | None = None
    """Model directory to write; `RUN_DIR/merged` when none."""

    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Type of the merged weights; the production engine reads bfloat16."""


@dataclass(frozen=True, kw_only=True)
class EvaluateRecipe:
    """Options of `evaluate` in a `run`."""

    out: str | None = None
    """Evaluation directory to write; `RUN_DIR/evaluation` when none."""

    split: Literal["train", "dev", "heldout"] = "heldout"
    """Which split is heard."""


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

    precision: Literal["bfloat16", "float32"] = "bfloat16"
    """Type of the frozen weights and of activations; trained weights are kept in float32."""

    lora: LoraRecipe = LoraRecipe()
    loss: LossRecipe = LossRecipe()
    optim: OptimRecipe = OptimRecipe()
    schedule: ScheduleRecipe = ScheduleRecipe()
    batch: BatchRecipe = BatchRecipe()
    augment: AugmentRecipe = AugmentRecipe()
    evaluation: EvalRecipe = EvalRecipe()
    checkpoint: CheckpointRecipe = CheckpointRecipe()

    annotate: AnnotateRecipe = AnnotateRecipe()
    convert: ConvertRecipe = ConvertRecipe()
    merge: MergeRecipe = MergeRecipe()
    evaluate: EvaluateRecipe = EvaluateRecipe()

    def __post_init__(self) -> None:
        _refuse(
            (not self.dataset, "dataset must name a directory, got nothing"),
            (not self.run_dir, "run_dir must name a directory, got nothing"),
            (not self.base, "base must name a model, got nothing"),
            (self.threads is not None and self.threads <= 0, f"threads must be positive or none, got {self.threads}"),
        )
