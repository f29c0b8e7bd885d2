"""What of a recipe says what a step is made of: `batch`, `labels`, `augment`, `replay`, `synthetic`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stt_ft.core.recipe_checks import refuse


@dataclass(frozen=True, kw_only=True)
class BatchRecipe:
    """How clips are put together for one step."""

    batch_size: int = 8
    """Clips a forward pass. Several processes share the clips of a step, so that a recipe means the same on any number of devices."""

    max_frames_per_batch: int | None = None
    """Most frames of 80 ms a forward pass, padding counted, beside `batch_size`: what memory follows. None for no limit."""

    grad_accumulation: int = 1
    """Forward passes an optimizer step; a multiple of the number of processes gives each whole passes."""

    tail_s: float = 2.5
    """Seconds of silence that training sees after the end of a clip plus the text lag, in which the heads learn the end of a turn."""

    max_clip_s: float | None = 60.0
    """Clips longer than this many seconds are refused by id; none takes them all. 60 s is 750 frames, the context of the 1b model."""

    long_clips: Literal["refuse", "cut"] = "refuse"
    """What happens to clips longer than `max_clip_s` or the model's context: refused by id, or cut between words into pieces that fit."""

    gradient_checkpointing: bool = False
    """Recompute each layer's activations in the backward pass: slower, in less memory."""

    def __post_init__(self) -> None:
        refuse(
            (self.batch_size <= 0, f"batch_size must be positive, got {self.batch_size}"),
            (
                self.max_frames_per_batch is not None and self.max_frames_per_batch <= 0,
                f"max_frames_per_batch must be positive or none, got {self.max_frames_per_batch}",
            ),
            (self.grad_accumulation <= 0, f"grad_accumulation must be positive, got {self.grad_accumulation}"),
            (self.tail_s < 0, f"tail_s must not be negative, got {self.tail_s}"),
            (self.max_clip_s is not None and self.max_clip_s <= 0, f"max_clip_s must be positive or none, got {self.max_clip_s}"),
        )


@dataclass(frozen=True, kw_only=True)
class LabelsRecipe:
    """How the words of recordings are written where they are learned."""

    style: Literal["plain", "base"] = "plain"
    """plain: as `convert` left them. base: each clip in the form (plain words, capital first, full stop; or as it is) that the base
    itself finds likeliest when it reads it, so that it need not unlearn how it writes; dictated numbers bear no commas and full stops."""


@dataclass(frozen=True, kw_only=True)
class Copy:
    """How a training clip is heard one more time: faster or slower, or through a channel; as it was recorded, where neither is said."""

    speed: float = 1.0
    channel: str | None = None

    @property
    def name(self) -> str:
        """What tells the copy from others of its clip; nothing for the recording itself."""
        return self.channel or ("" if self.speed == 1.0 else f"{self.speed:g}")


@dataclass(frozen=True, kw_only=True)
class AugmentRecipe:
    """Variety made from stored codes, new in every epoch, so that a few dozen recordings go further."""

    pause_prob: float = 0.0
    """Chance that a gap between two words of a number is lengthened by the clip's own silence, 0 to 1: speakers hesitate inside numbers."""

    join_prob: float = 0.0
    """Chance that another clip of the batch's split follows in the same stream, 0 to 1, as turns follow each other on a server."""

    renumber_prob: float = 0.0
    """Chance that a clip dictates another number, 0 to 1: its own words drawn anew but for the last, up to three more or fewer."""

    speeds: tuple[float, ...] = (1.0,)
    """Copies of every training clip, played this many times as fast, pitch and formants included; `encode --speeds` makes their codes."""

    channels: tuple[str, ...] = ()
    """Copies of every training clip through a telephone line (phone) or in noise so far below the speech (20dB), beside those of `speeds`;
    `encode --channels` makes their codes."""

    code_dropout: float = 0.0
    """Share of codes that are not heard while training, 0 to 1."""

    @property
    def copies(self) -> tuple[Copy, ...]:
        """Every way in which a training clip is heard."""
        return (*(Copy(speed=speed) for speed in self.speeds), *(Copy(channel=channel) for channel in self.channels))

    def __post_init__(self) -> None:
        shares = {name: getattr(self, name) for name in ("pause_prob", "join_prob", "renumber_prob", "code_dropout")}
        refuse(
            *((not 0 <= share <= 1, f"{name} must be 0 to 1, got {share}") for name, share in shares.items()),
            (not self.speeds, "speeds must hold at least one; 1.0 is the clip as it was recorded"),
            *((not 0.5 <= speed <= 2, f"speeds must be 0.5 to 2, got {speed}") for speed in self.speeds),
        )


@dataclass(frozen=True, kw_only=True)
class ReplayRecipe:
    """Keeping what the base knew: ordinary speech is learned beside the numbers, and there the model is held to what the base writes.

    The base is the same weights with the adapters switched off, so there is no second model in memory; what is trained in full (pause
    heads, embeddings) is kept aside as it was.
    """

    dataset: str | None = None
    """Dataset directory of ordinary speech, encoded with the same base: its train split is replayed. None takes what `kinds` names."""

    kinds: tuple[str, ...] = ()
    """Clips of the training dataset whose manifest says one of these as `kind` are replay too."""

    text_weight: float = 0.0
    """Weight of KL(base || tuned) of the text, a mean over the frames of replay clips, beside the text loss; 0.1 to 1."""

    @property
    def holds(self) -> bool:
        """Whether the base is asked at all."""
        return self.text_weight > 0

    def __post_init__(self) -> None:
        there = self.dataset is not None or bool(self.kinds)
        refuse(
            (self.text_weight < 0, f"text_weight must not be negative, got {self.text_weight}"),
            (self.holds and not there, "dataset or kinds must say which clips are replay, or text_weight be 0"),
        )


@dataclass(frozen=True, kw_only=True)
class SyntheticRecipe:
    """Numbers spoken by a synthesiser, learned beside the recordings: more voices than fifty takes have (`stt-ft synthesize`)."""

    dataset: str | None = None
    """Dataset directory of synthetic clips, encoded with the same base: its train split is learned too. None for those alone that the
    training dataset holds."""

    share: float = 0.5
    """Largest share of the clips learned in an epoch that is synthetic, replay not counted, 0 to below 1. Where there are more of them they
    come round by turns; where there are fewer, each comes once. 0 leaves them out."""

    def __post_init__(self) -> None:
        refuse((not 0 <= self.share < 1, f"share must be 0 or more and below 1, got {self.share}"))
