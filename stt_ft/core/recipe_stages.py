"""What of a recipe is for the other stages of a `run`: `annotate`, `convert`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class AnnotateRecipe:
    """Options of `annotate` in a `run`."""

    aligner: Literal["whisper", "sphinx"] = "whisper"
    """Who finds the times of words: Whisper hears them, sphinx aligns the script that was read (English)."""

    model: str = "large-v3"
    """Whisper model."""


@dataclass(frozen=True, kw_only=True)
class ConvertRecipe:
    """Options of `convert` in a `run`."""

    style: Literal["digits", "auto"] = "digits"
    """Numbers as single digits, or as a reader would say them."""
