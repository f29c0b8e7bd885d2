"""The recipe of a fine-tuning: the dataclasses that `configs/*.yaml` are read into by `train` and `run`.

Each field documents its unit and the source of its default; its annotation has its limits, which pydantic checks when a file is read
(core/config.py). `annotate` and `convert` are options of these stages in a `run`; all else is for `train`. Paths are relative to the
working directory. The shipped recipes `inherit` their common keys from configs/digits_common.yaml.

    python -m stt_ft.core.recipe > configs/recipe.schema.json        what editors complete recipes with
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from stt_ft.core.config import Config, Limits, load_config, schema_text
from stt_ft.core.serving import SERVINGS

DEFAULT_BASE = "kyutai/stt-1b-en_fr-candle"
"""The model fine-tuned by default: the hub repo of the 1b model that holds the extra heads (the plain repo lacks them)."""

NOISE_CHANNEL = re.compile(r"(-?\d+(?:\.\d+)?) ?dB", re.IGNORECASE)
"""Name of a channel of noise: its decibels below the power of the speech ("20dB"). The other channel is "phone"."""

FEWER_CODEBOOKS = tuple(name for name, serving in SERVINGS.items() if serving.codebooks is not None)
"""Servings whose servers hear less than the recording."""

Count = Annotated[int, Limits(gt=0)]
Share = Annotated[float, Limits(ge=0, le=1)]
ShareBelowOne = Annotated[float, Limits(ge=0, lt=1)]
LARGEST_FLOAT32 = 3.4e38
Weight = Annotated[float, Limits(ge=0, le=LARGEST_FLOAT32)]
Positive = Annotated[float, Limits(gt=0, le=LARGEST_FLOAT32)]
Name = Annotated[str, Limits(min_length=1)]


@dataclass(frozen=True, kw_only=True)
class LoraRecipe:
    """Which weights are trained: low-rank additions `W + 2 * B @ A` to all linear layers in moshi's own names, and the pause heads."""

    rank: Count | None = 128
    """Columns of A and rows of B; moshi-finetune's default for 7b and 1b. The tiny model needs 16. None trains no adapter but every weight
    of the model, which takes several times the memory."""

    dropout: ShareBelowOne = 0.0
    """Share of the adapter's inputs zeroed while training, 0 to 1."""

    heads: Literal["full", "lora", "frozen", "new"] = "full"
    """The pause heads: trained in full (49 thousand weights in 1b), through an adapter like all other layers, or left alone. new gives a
    model without any (2.6b) four of them, of the shape and meaning of those of 1b, trained in full from zeros."""

    start_from: Name | None = None
    """Adapter to begin with: a run (its best checkpoint), a checkpoint, or a directory with lora.safetensors, by stt-ft or moshi-finetune,
    of the same base and rank. It is read when the run begins; steps, schedule and optimizer begin anew. None begins as the base is."""

    @property
    def enable(self) -> bool:
        """Whether an adapter is trained, not every weight."""
        return self.rank is not None

    @property
    def learns_whole_heads(self) -> bool:
        """Whether the weights of the pause heads themselves are trained."""
        return self.heads in ("full", "new")


@dataclass(frozen=True, kw_only=True)
class LossRecipe:
    """The loss: cross-entropy of the text stream, weighted by kind of token, and of the pause heads."""

    pad_weight: Weight = 0.5
    """Weight of a frame that carries padding, beside 1 for a piece of a word; moshi-finetune's `text_padding_weight`."""

    pause_targets: Literal["binary", "count", "off"] = "binary"
    """What the pause heads learn: whether a word comes within the horizon (class 0 against the rest, all that Kyutai documents by use), the
    number of words coming (0 to 5, as the tiny model's heads were made), or nothing."""

    pause_weight: Weight = 1.0
    """Weight of the pause heads' loss, a weighted mean over frames and heads, beside the text loss."""

    cut_off_cost: Positive = 1.0
    """How much worse it is to end a turn too soon than too late: frames with a word to come weigh this much in the pause heads' loss, a
    weighted mean, so that `pause_weight` alone says how much the heads count beside the text."""

    text_noise: ShareBelowOne = 0.0
    """Share of input text tokens replaced by padding while training, 0 to 1, so that the model leans on the sound."""


@dataclass(frozen=True, kw_only=True)
class OptimRecipe:
    """AdamW, with moshi-finetune's betas (0.9, 0.95) and the gradient scaled down to norm 1."""

    lr: Positive = 2e-5
    """Highest learning rate, per step. 2e-5 moved the 1b model on 50 clips; the tiny model takes 1e-3."""

    weight_decay: Weight = 0.1
    """AdamW's decoupled decay; moshi-finetune's default."""

    skip_above: Annotated[float, Limits(gt=1)] | None = None
    """Steps whose loss is more than this many times its running mean are left out and counted, as are those that are not a number."""


@dataclass(frozen=True, kw_only=True)
class ScheduleRecipe:
    """The learning rate: up over the first twentieth of the steps, then down a cosine to nothing."""

    max_steps: Count = 500
    """Optimizer steps in all. A run that has ended, or was interrupted, goes on to more with a higher number, its learning rate by the
    cosine of the new length."""


@dataclass(frozen=True, kw_only=True)
class BatchRecipe:
    """How clips are put together for one step."""

    batch_size: Count = 8
    """Clips a forward pass. Several processes share the clips of a step, so that a recipe means the same on any number of devices."""

    max_frames_per_batch: Count | None = None
    """Most frames of 80 ms a forward pass, padding counted, beside `batch_size`: what memory follows. None for no limit."""

    grad_accumulation: Count = 1
    """Forward passes an optimizer step; a multiple of the number of processes gives each whole passes."""

    tail_s: Weight = 2.5
    """Seconds of silence that training sees after the end of a clip plus the text lag, in which the heads learn the end of a turn."""

    max_clip_s: Positive | None = 60.0
    """Clips longer than this many seconds are refused by id; none takes them all. 60 s is 750 frames, the context of the 1b model."""

    long_clips: Literal["refuse", "cut"] = "refuse"
    """What happens to clips longer than `max_clip_s` or the model's context: refused by id, or cut between words into pieces that fit."""

    gradient_checkpointing: bool = False
    """Recompute each layer's activations in the backward pass: slower, in less memory."""


@dataclass(frozen=True, kw_only=True)
class LabelsRecipe:
    """How the words of recordings are written where they are learned."""

    style: Literal["plain", "base"] = "plain"
    """plain: as `convert` left them. base: each clip in the form (plain words, capital first, full stop; or as it is) that the base
    itself finds likeliest when it reads it, so that it need not unlearn how it writes; dictated numbers bear no commas and full stops."""


@dataclass(frozen=True, kw_only=True)
class Version:
    """One version of a training clip: at a speed, through a channel, or as a server hears it (`Serving`); else the recording itself."""

    speed: float = 1.0
    channel: str | None = None
    serving: str | None = None

    @property
    def name(self) -> str:
        """The name of the version's sound, different for every sound of a clip; empty for the recording itself, which servers hear too."""
        return self.channel or ("" if self.speed == 1.0 else f"{self.speed:g}")


@dataclass(frozen=True, kw_only=True)
class AugmentRecipe:
    """Variety made from stored codes, new in every epoch, so that a few dozen recordings go further."""

    pause_prob: Share = 0.0
    """Chance that a gap between two words of a number is lengthened by the clip's own silence, up to 1.5 s: speakers hesitate inside
    numbers. 0 to 1."""

    join_prob: Share = 0.0
    """Chance that another clip of the batch's split follows in the same stream, 0 to 1, as turns follow each other on a server."""

    renumber_prob: Share = 0.0
    """Chance that a clip dictates another number, 0 to 1: its own words drawn anew but for the last, up to three more or fewer."""

    speeds: tuple[Annotated[float, Limits(ge=0.5, le=2)], ...] = (1.0,)
    """Versions of every training clip, played this many times as fast, pitch and formants included; `encode --speeds` makes their codes.
    1.0 is the clip as it was recorded."""

    channels: tuple[str, ...] = ()
    """Versions of every training clip through a telephone line (phone) or in noise so far below the speech (20dB), beside those of
    `speeds`; `encode --channels` makes their codes. With unmute, a clip is also learned as Unmute's server hears it, which reads the first
    20 of 32 codebooks; that needs no codes of its own."""

    code_dropout: Share = 0.0
    """Share of input codes left out while training, 0 to 1."""

    @property
    def changes_lengths(self) -> bool:
        """Whether a take may be longer or shorter than its clip."""
        return self.pause_prob > 0 or self.join_prob > 0 or self.renumber_prob > 0

    @property
    def versions(self) -> tuple[Version, ...]:
        """Every version in which a training clip is learned."""
        served = [Version(serving=name) if name in FEWER_CODEBOOKS else Version(channel=name) for name in self.channels]
        return (*(Version(speed=speed) for speed in self.speeds), *served)

    def __post_init__(self) -> None:
        known = ("phone", *FEWER_CODEBOOKS)
        unknown = [name for name in self.channels if name.strip() not in known and not NOISE_CHANNEL.fullmatch(name.strip())]
        mistakes = [f"channels: {name!r} is no channel; give phone, noise as 20dB, or {', '.join(FEWER_CODEBOOKS)}" for name in unknown]
        mistakes += [] if self.speeds else ["speeds must hold at least one; 1.0 is the clip as it was recorded"]
        if mistakes:
            raise ValueError(*mistakes)


@dataclass(frozen=True, kw_only=True)
class ReplayRecipe:
    """Replay against forgetting: ordinary speech learned beside the numbers, on which the tuned model is held to the outputs of the base.

    The base is the same weights with the adapters switched off, so there is no second model in memory; where the pause heads are trained
    in full, a copy of what they were is kept.
    """

    dataset: str | None = None
    """Dataset directory of ordinary speech, encoded with the same base: its train split is replayed. None takes what `kinds` names."""

    kinds: tuple[str, ...] = ()
    """Clips of the training dataset whose manifest says one of these as `kind` are replay too."""

    text_weight: Weight = 0.0
    """Weight of KL(base || tuned) of the text, a mean over the frames of replay clips, beside the text loss; 0.1 to 1."""

    @property
    def holds(self) -> bool:
        """Whether the tuned model is held to the base."""
        return self.text_weight > 0

    def __post_init__(self) -> None:
        if self.holds and self.dataset is None and not self.kinds:
            raise ValueError("dataset or kinds must say which clips are replay, or text_weight be 0")


@dataclass(frozen=True, kw_only=True)
class SyntheticRecipe:
    """Numbers spoken by a synthesiser, learned beside the recordings: more voices than fifty takes have (`stt-ft synthesize`)."""

    dataset: str | None = None
    """Dataset directory of synthetic clips, encoded with the same base: its train split is learned too. None for those alone that the
    training dataset holds."""

    share: ShareBelowOne = 0.5
    """Largest share of the clips learned in an epoch that is synthetic, replay not counted, 0 to below 1. Where there are more of them they
    come round by turns; where there are fewer, each comes once. 0 leaves them out."""


@dataclass(frozen=True, kw_only=True)
class ValidationRecipe:
    """Validation on the dev split while training. Each validation leaves a checkpoint, from which an interrupted run goes on."""

    every_steps: Annotated[int, Limits(ge=0)] = 50
    """Optimizer steps between validations; 0 for none, and one checkpoint at the end."""

    listen: bool = True
    """Also listen to the dev clips frame by frame, with merged weights: word error rate, digit strings, cut-offs."""

    best_metric: Literal["loss", "text_loss", "pause_loss", "word_error_rate", "cut_offs", "turn_area_s", "combined"] = "loss"
    """Which dev figure, the lower the better, picks the best checkpoint.

    turn_area_s is the latency over all thresholds at the cut-offs they cost; combined adds the shares of wrong digit strings, words and
    cut-offs (in ordinary speech too) and half of each second that turns end later than 0.5 s.
    """

    def __post_init__(self) -> None:
        if self.best_metric not in ("loss", "text_loss", "pause_loss") and not self.listen:
            raise ValueError(f"best_metric {self.best_metric} needs listen: true")


@dataclass(frozen=True, kw_only=True)
class CheckpointRecipe:
    """Checkpoints kept on disk."""

    keep: Count | None = None
    """Newest checkpoints kept, the best always among them; none keeps all."""


@dataclass(frozen=True, kw_only=True)
class CalibrationRecipe:
    """Calibration of the pause heads after training, on the dev split; the text does not change. See `calibrated/calibration.json`."""

    method: Literal["off", "likelihood"] = "off"
    """likelihood: scale and bias of class 0 of each head, such that pauses come as often as they are foreseen, folded into the heads'
    weights in RUN_DIR/calibrated, which `merge` then takes. (The heads have no bias, so it is carried by a direction that hardly changes
    from frame to frame.)"""


@dataclass(frozen=True, kw_only=True)
class AnnotateRecipe:
    """Options of `annotate` in a `run`; the language is that of dataset.yaml."""

    aligner: Literal["whisper", "sphinx"] = "whisper"
    """Program that finds the times of words: Whisper from the sound, sphinx along the script that was read (English)."""

    model: str = "large-v3"
    """Whisper model."""


@dataclass(frozen=True, kw_only=True)
class ConvertRecipe:
    """Options of `convert` in a `run`; the language is that of dataset.yaml."""

    style: Literal["digits", "auto"] = "digits"
    """Numbers as single digits, or as a reader would say them."""


@dataclass(frozen=True, kw_only=True)
class Recipe(Config):
    """A whole recipe file."""

    dataset: Name
    """Dataset directory to train on."""

    run_dir: Name
    """Directory of the run: checkpoints, metrics, resolved recipe. A run that was interrupted there is taken up again."""

    base: Name = DEFAULT_BASE
    """Model to start from: a hub repo, a model directory, or `tiny`."""

    seed: Annotated[int, Limits(ge=0, lt=2**32)] = 0
    """Seed of weights, batches and noise; equal seeds on equal machines give equal runs."""

    device: str = "auto"
    """`cpu`, `cuda`, `cuda:1` …; auto takes a GPU where there is one."""

    threads: Annotated[int, Limits(gt=0, le=4096)] | None = None
    """CPU threads; none takes one a core, or what OMP_NUM_THREADS says."""

    parallel: Literal["auto", "ddp", "fsdp"] = "auto"
    """Under torchrun: whole weights on every device (ddp), or shards of them (fsdp); auto shards when every weight learns."""

    precision: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Type of the frozen weights and of activations; trained weights are kept in float32. auto: that with which the run began, in a new one
    bfloat16 where the device multiplies it fast (`stt-ft doctor` tells), else float32. float16 scales the loss: for older GPUs."""

    log: tuple[Literal["tensorboard", "wandb"], ...] = ()
    """Where figures go beside metrics.train.jsonl, metrics.eval.jsonl and loss.png: TensorBoard event files in RUN_DIR/tensorboard, the
    Weights & Biases project that is named as the run's directory. Each needs the extra of its name."""

    lora: LoraRecipe = field(default_factory=LoraRecipe)
    loss: LossRecipe = field(default_factory=LossRecipe)
    optim: OptimRecipe = field(default_factory=OptimRecipe)
    schedule: ScheduleRecipe = field(default_factory=ScheduleRecipe)
    batch: BatchRecipe = field(default_factory=BatchRecipe)
    labels: LabelsRecipe = field(default_factory=LabelsRecipe)
    augment: AugmentRecipe = field(default_factory=AugmentRecipe)
    replay: ReplayRecipe = field(default_factory=ReplayRecipe)
    synthetic: SyntheticRecipe = field(default_factory=SyntheticRecipe)
    validation: ValidationRecipe = field(default_factory=ValidationRecipe)
    checkpoint: CheckpointRecipe = field(default_factory=CheckpointRecipe)
    calibration: CalibrationRecipe = field(default_factory=CalibrationRecipe)
    annotate: AnnotateRecipe = field(default_factory=AnnotateRecipe)
    convert: ConvertRecipe = field(default_factory=ConvertRecipe)

    formerly: ClassVar[dict[str, str]] = {
        "evaluation": "the section is called validation now",
        "evaluation.patience": "gone: a run trains to schedule.max_steps, and the best checkpoint is kept",
        "checkpoint.every_steps": "gone: every validation leaves a checkpoint (validation.every_steps)",
        "lora.enable": "gone: lora.rank none trains every weight",
        "lora.scaling": "always 2, which moshi's loader takes from the adapter's config.json",
        "lora.targets": "gone: all linear layers get an adapter",
        "lora.ft_embed": "gone: embeddings stay as they are",
        "lora.base_dtype": "gone: frozen weights have the type that precision names",
        "loss.word_weight": "always 1; the other weights are relative to it",
        "loss.end_padding_weight": "always 0.5",
        "loss.audio_weight": "gone: models that speak are not fine-tuned",
        "loss.first_codebook_weight": "gone: models that speak are not fine-tuned",
        "loss.label_smoothing": "gone: always 0",
        "optim.betas": "always 0.9 and 0.95",
        "optim.max_grad_norm": "always 1",
        "schedule.kind": "always a cosine",
        "schedule.warmup_steps": "always a twentieth of schedule.max_steps",
        "augment.join_s": "gone: a join adds one clip (augment.join_prob)",
        "augment.max_pause_s": "always 1.5",
        "augment.crop_prob": "gone: a number cut short lacks the melody of its end",
        "replay.share": "gone: each replay clip comes once an epoch",
        "replay.learn": "gone: replay clips are learned too",
        "replay.pause_weight": "gone: replay holds the text alone (replay.text_weight)",
        "calibration.bias": "gone: a bias is always fitted",
        "calibration.max_cut_offs": "gone with the method cut_offs: a few dozen dev turns settle no bound",
        "annotate.language": "gone: dataset.yaml says the language",
        "convert.language": "gone: dataset.yaml says the language",
        "merge": "gone: run writes RUN_DIR/merged in bfloat16; `stt-ft merge` has the flags",
        "evaluate": "gone: run evaluates the heldout split into RUN_DIR/evaluation; `stt-ft evaluate` has the flags",
        "log.tensorboard": "now a list: log: [tensorboard]",
        "log.wandb": "now a list: log: [wandb]; the project is named as the run's directory",
    }
    """Keys of earlier versions, and what became of them."""


def load_recipe(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe file, after setting the dotted keys of `overrides` ("optim.lr": 1e-4).

    Raises `ConfigError` with all its mistakes.
    """
    return load_config(Recipe, path, overrides)


if __name__ == "__main__":
    print(schema_text(Recipe), end="")
