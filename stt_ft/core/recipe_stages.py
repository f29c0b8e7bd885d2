"""What of a recipe is for the other stages of a `run`: `annotate`, `convert`, `merge`, `evaluate`."""

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
