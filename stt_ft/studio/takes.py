"""Takes on their way: sound that comes in piece by piece, kept on disk until the speaker keeps or drops it.

    DATASET/.studio/takes/anna.json    {"take": "1f0c…", "prompt": "order_01", "rate_hz": 48000}
    DATASET/.studio/takes/anna.pcm     its samples so far: 16 bits, little-endian, mono

A speaker has one such take at most. A piece is on disk before it is acknowledged, so a server that is killed finds all that it has
acknowledged, and the browser sends the rest again.
"""

from __future__ import annotations

import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stt_ft.audio.files import resample
from stt_ft.core.atomic import told_of, write_json
from stt_ft.core.errors import AudioError
from stt_ft.core.json_yaml import parse_json

MIN_RATE_HZ, MAX_RATE_HZ = 8_000, 192_000
"""Rates at which browsers record."""

MAX_TAKE_S = 600.0
"""Longest take."""

_SAMPLE_BYTES = 2


@dataclass(frozen=True, kw_only=True)
class OpenTake:
    """A take that is neither kept nor dropped. `directory` is that of all open takes, `speaker` the speaker's part of file names."""

    directory: Path
    speaker: str
    take_id: str
    prompt_id: str
    rate_hz: int

    @classmethod
    def begin(cls, directory: Path, speaker: str, *, prompt_id: str, rate_hz: int) -> OpenTake:
        """Begin a take; an open one of this speaker is dropped.

        Raises:
            AudioError: no microphone has such a rate.
            DiskError: nothing can be written there.
        """
        if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
            raise AudioError(f"sound at {rate_hz} Hz: expected {MIN_RATE_HZ} to {MAX_RATE_HZ}")
        take = cls(directory=directory, speaker=speaker, take_id=secrets.token_hex(8), prompt_id=prompt_id, rate_hz=rate_hz)
        take.drop()
        write_json(take._facts_path, {"take": take.take_id, "prompt": prompt_id, "rate_hz": rate_hz})
        return take

    @classmethod
    def find(cls, directory: Path, speaker: str) -> OpenTake | None:
        """Return the speaker's open take, also after a restart; None where there is none, or not enough of it to know what it is."""
        try:
            facts = parse_json((directory / f"{speaker}.json").read_bytes())
            take_id, prompt_id, rate_hz = facts["take"], facts["prompt"], facts["rate_hz"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if not re.fullmatch("[0-9a-f]{16}", str(take_id)) or not isinstance(prompt_id, str) or not isinstance(rate_hz, int):
            return None
        return cls(directory=directory, speaker=speaker, take_id=take_id, prompt_id=prompt_id, rate_hz=rate_hz)

    @property
    def num_samples(self) -> int:
        """How many samples are on disk."""
        try:
            return self._sound_path.stat().st_size // _SAMPLE_BYTES
        except FileNotFoundError:
            return 0

    @property
    def duration_s(self) -> float:
        return self.num_samples / self.rate_hz

    def add(self, begin: int, pcm: bytes) -> bool:
        """Write a piece that begins at sample `begin`; what is there already is passed over. Return False where sound before it is missing.

        Raises:
            AudioError: the take is too long.
            DiskError: the disk refuses.
        """
        there = self.num_samples
        if begin > there:
            return False
        piece = pcm[(there - begin) * _SAMPLE_BYTES : len(pcm) // _SAMPLE_BYTES * _SAMPLE_BYTES]
        if there + len(piece) // _SAMPLE_BYTES > MAX_TAKE_S * self.rate_hz:
            raise AudioError(f"a take lasts {MAX_TAKE_S:g} s at most")
        with told_of(self._sound_path):
            descriptor = os.open(self._sound_path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            try:
                written = 0
                while written < len(piece):
                    written += os.pwrite(descriptor, piece[written:], there * _SAMPLE_BYTES + written)
            finally:
                os.close(descriptor)
        return True

    def samples(self, rate_hz: int) -> np.ndarray:
        """Return the sound so far, float32 in [-1, 1] at `rate_hz`; nothing is cut off or made louder."""
        content = self._sound_path.read_bytes() if self._sound_path.exists() else b""
        pcm = np.frombuffer(content[: len(content) // _SAMPLE_BYTES * _SAMPLE_BYTES], dtype="<i2")
        return resample(pcm.astype(np.float32) / 32768, self.rate_hz, rate_hz)

    def drop(self) -> None:
        """Remove it."""
        self._facts_path.unlink(missing_ok=True)
        self._sound_path.unlink(missing_ok=True)

    @property
    def _facts_path(self) -> Path:
        return self.directory / f"{self.speaker}.json"

    @property
    def _sound_path(self) -> Path:
        return self.directory / f"{self.speaker}.pcm"
