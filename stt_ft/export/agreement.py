"""How far two engines agree on the same codes: in the text tokens, and in the pause probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stt_ft.core.errors import CheckFailed

PAUSE_TOLERANCE = 1e-3
"""How far a pause probability may lie from ours where both compute in float32."""


@dataclass(frozen=True, kw_only=True)
class Heard:
    """The outputs of an engine for one clip, one row a frame."""

    text_tokens: npt.NDArray[np.int32]  # [T]
    pause_probs: npt.NDArray[np.float32]  # [T, H]; H is 0 for an engine without pause heads


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How an engine compares with ours, over all frames of all clips.

    Attributes:
        same_tokens: share of frames on which both wrote the same text token.
        max_pause_difference: largest difference of a pause probability, infinite for NaN; None for an engine without pause heads.
        first_difference: clip and frame where the tokens first part.
    """

    num_clips: int
    num_frames: int
    same_tokens: float
    max_pause_difference: float | None
    first_difference: tuple[str, int] | None

    def require(self, engine: str, *, same_tokens: float = 1.0, pause_tolerance: float = PAUSE_TOLERANCE) -> None:
        """Raise `CheckFailed`, with the first frame that differs, where the agreement is less than required."""
        if self.same_tokens < same_tokens:
            clip, frame = self.first_difference or ("?", 0)
            raise CheckFailed(
                f"{engine} writes the same token as PyTorch on {self.same_tokens:.2%} of {self.num_frames} frames, "
                f"{same_tokens:.0%} are asked for; they part at frame {frame} of {clip}"
            )
        if self.max_pause_difference is not None and not self.max_pause_difference <= pause_tolerance:
            raise CheckFailed(
                f"{engine}'s pause probabilities differ from PyTorch's by up to {self.max_pause_difference:.2g}, "
                f"{pause_tolerance:g} is allowed"
            )

    def to_json(self) -> dict[str, float | int | None]:
        """Return the figures for programs."""
        difference = self.max_pause_difference
        return {
            "clips": self.num_clips,
            "frames": self.num_frames,
            "same_tokens": round(self.same_tokens, 6),
            "max_pause_difference": None if difference is None else float(f"{difference:.3g}"),
        }

    def __str__(self) -> str:
        pauses = "no pause heads" if self.max_pause_difference is None else f"pause probabilities within {self.max_pause_difference:.1g}"
        return f"{self.num_clips} clips, {self.num_frames} frames, {self.same_tokens:.2%} the same token, {pauses}"


def compare(ours: Mapping[str, Heard], theirs: Mapping[str, Heard]) -> Agreement:
    """Compare two engines clip by clip; raises `CheckFailed` naming a clip on which `theirs` lacks frames."""
    num_frames, num_same, differences, first = 0, 0, [], None
    for clip, our in ours.items():
        their = theirs.get(clip)
        if their is None or len(their.text_tokens) != len(our.text_tokens):
            heard = 0 if their is None else len(their.text_tokens)
            raise CheckFailed(f"{clip}: the engine told of {heard} frames, {len(our.text_tokens)} were played to it")
        same = our.text_tokens == their.text_tokens
        num_frames, num_same = num_frames + len(same), num_same + int(same.sum())
        if first is None and not same.all():
            first = (clip, int(np.argmin(same)))
        if their.pause_probs.shape[1]:
            difference = np.nan_to_num(np.abs(our.pause_probs - their.pause_probs), nan=np.inf)
            differences.append(float(difference.max(initial=0.0)))
    return Agreement(
        num_clips=len(ours),
        num_frames=num_frames,
        same_tokens=num_same / max(num_frames, 1),
        max_pause_difference=max(differences, default=None),
        first_difference=first,
    )
