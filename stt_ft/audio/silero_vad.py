"""Silero VAD: the probability of speech every 32 ms. The voice activity detector that most agents run without asking a model for more.

The weights come in the wheel of the optional package `silero-vad` (`pip install 'stt-ft[vad]'`). They are loaded without importing the
package, which would set torch's number of threads.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stt_ft.audio.files import resample
from stt_ft.core.errors import MissingExtra
from stt_ft.core.timing import SAMPLE_RATE_HZ

VAD_RATE_HZ = 16_000
CHUNK_SAMPLES = 512
CHUNK_S = CHUNK_SAMPLES / VAD_RATE_HZ
"""Seconds of one step: 0.032."""

PACKAGE = "silero-vad"


def is_installed() -> bool:
    return importlib.util.find_spec("silero_vad") is not None


class SileroVad:
    """The detector, loaded."""

    def __init__(self, model: Any) -> None:
        self._model = model

    @classmethod
    def load(cls) -> SileroVad:
        """Load the weights of the installed wheel; raises `MissingExtra` when there is none."""
        import torch

        spec = importlib.util.find_spec("silero_vad")
        if spec is None or spec.origin is None:
            raise MissingExtra(PACKAGE, "vad", "the baseline of Silero VAD")
        return cls(torch.jit.load(str(Path(spec.origin).parent / "data" / "silero_vad.jit"), map_location="cpu").eval())

    def speech_probs(self, clips: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return for each clip of mono sound at 24 kHz the probability of speech in every chunk; the last is filled up."""
        import torch

        sounds = [resample(clip, SAMPLE_RATE_HZ, VAD_RATE_HZ) for clip in clips]
        num_chunks = [-(-len(sound) // CHUNK_SAMPLES) for sound in sounds]
        heard = torch.zeros(len(sounds), max(num_chunks, default=0), CHUNK_SAMPLES)
        for row, sound in enumerate(sounds):
            heard[row].view(-1)[: len(sound)] = torch.from_numpy(sound)
        self._model.reset_states()
        with torch.inference_mode():
            probs = [self._model(heard[:, step], VAD_RATE_HZ)[:, 0] for step in range(heard.shape[1])]
        together = torch.stack(probs, dim=1).numpy() if probs else np.zeros((len(sounds), 0), np.float32)
        return [together[row, :count] for row, count in enumerate(num_chunks)]
