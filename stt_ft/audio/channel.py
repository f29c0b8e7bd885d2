"""Channels between a speaker and the model: a telephone line, or noise. Recordings pass through them on their way to the model.

    phone   8 kHz, 300 to 3400 Hz (ITU-T G.712's pass band), eight-bit mu-law (ITU-T G.711), and back to the rate it came at
    noise   pink noise (equal power in every octave, as in rooms and streets), a number of decibels below the power of the speech

The output is as long as the input and not a sample late, so that word times stay true.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stt_ft.audio.files import resample
from stt_ft.audio.levels import level_steps_db
from stt_ft.core.recipe import NOISE_CHANNEL
from stt_ft.core.timing import SAMPLE_RATE_HZ

PHONE_RATE_HZ = 8_000
PHONE_BAND_HZ = (300.0, 3400.0)

_FILTER_TAPS = 257  # 32 ms at 8 kHz: 40 dB down within 60 Hz of the band's edges
_MU_LAW_BIAS = 33  # G.711, table 2a: in units of a 14-bit sample
_MU_LAW_LIMIT = 8158
_ACTIVE_RANGE_DB = 30.0  # 10 ms steps this far below the loudest still are speech
_LOWEST_NOISE_HZ = 50.0


@dataclass(frozen=True, kw_only=True)
class Channel:
    """A channel by name; either of its parts may be left out. Speech takes on the noise before the line carries it."""

    name: str
    phone: bool = False
    snr_db: float | None = None

    @property
    def flag(self) -> str:
        """Its name for `channels_named`: phone, 20dB."""
        return self.name if self.snr_db is None else f"{self.snr_db:g}dB"

    def carry(self, samples: np.ndarray, key: str) -> np.ndarray:
        """Return `samples` at 24 kHz after the channel; `key` (a clip's name) decides the noise."""
        if self.snr_db is not None:
            samples = add_pink_noise(samples, self.snr_db, seed=int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big"))
        return phone_line(samples) if self.phone else samples


def channels_named(names: Sequence[str]) -> list[Channel]:
    """Return the channels called "phone" or "20dB" (noise 20 dB below the speech); raises `ValueError` with all that are neither."""
    channels, mistakes = [], []
    for name in dict.fromkeys(names):
        ratio = NOISE_CHANNEL.fullmatch(name.strip())
        if ratio:
            channels.append(Channel(name=f"noise {float(ratio[1]):g} dB", snr_db=float(ratio[1])))
        elif name.strip() == "phone":
            channels.append(Channel(name="phone", phone=True))
        else:
            mistakes.append(f"{name!r} is no channel; give phone, or noise as 20dB")
    if mistakes:
        raise ValueError(*mistakes)
    return channels


def phone_line(samples: np.ndarray) -> np.ndarray:
    """Return mono `samples` at 24 kHz as a telephone line hands them on, as long as they were."""
    narrow = resample(samples, SAMPLE_RATE_HZ, PHONE_RATE_HZ)
    narrow = np.convolve(narrow, _band_pass())[_FILTER_TAPS // 2 :][: len(narrow)] if len(narrow) else narrow
    heard = resample(from_mu_law(to_mu_law(narrow)), PHONE_RATE_HZ, SAMPLE_RATE_HZ)[: len(samples)]
    return np.pad(heard, (0, len(samples) - len(heard))).astype(np.float32)


def to_mu_law(samples: np.ndarray) -> np.ndarray:
    """Return the G.711 mu-law code of every sample in [-1, 1]: uint8."""
    level = np.minimum(np.abs(np.round(np.asarray(samples, np.float64) * 8192)), _MU_LAW_LIMIT).astype(np.int64) + _MU_LAW_BIAS
    segment = np.floor(np.log2(level)).astype(np.int64) - 5  # level is at least 33: segment 0 to 7
    step = (level >> (segment + 1)) & 0x0F
    sign = np.where(np.asarray(samples) < 0, 0x80, 0)
    return (~(sign | (segment << 4) | step) & 0xFF).astype(np.uint8)


def from_mu_law(codes: np.ndarray) -> np.ndarray:
    """Return the samples that G.711 mu-law `codes` stand for: float32 in (-1, 1)."""
    plain = ~np.asarray(codes, np.uint8) & 0xFF
    segment, step = (plain >> 4) & 0x07, (plain & 0x0F).astype(np.int64)
    level = ((2 * step + _MU_LAW_BIAS) << segment) - _MU_LAW_BIAS
    return (np.where(plain & 0x80, -level, level) / 8192).astype(np.float32)


def add_pink_noise(samples: np.ndarray, snr_db: float, *, seed: int) -> np.ndarray:
    """Return `samples` at 24 kHz with pink noise `snr_db` below their `speech_power`; silence stays as it is."""
    samples = np.asarray(samples, np.float32)
    power = speech_power(samples)
    if power == 0:
        return samples
    noise = _pink_noise(len(samples), np.random.default_rng(seed))
    return (samples + noise * math.sqrt(power / 10 ** (snr_db / 10))).astype(np.float32)


def speech_power(samples: np.ndarray) -> float:
    """Return the mean power of the 10 ms steps in which someone speaks: those within 30 dB of the loudest. 24 kHz; 0 in silence."""
    levels_db = level_steps_db(samples, SAMPLE_RATE_HZ)
    if len(levels_db) == 0 or not np.any(samples):
        return float(np.mean(np.square(samples, dtype=np.float64))) if len(samples) else 0.0
    return float(np.mean(10 ** (levels_db[levels_db >= levels_db.max() - _ACTIVE_RANGE_DB] / 10)))


def _band_pass() -> np.ndarray:
    """Return a linear-phase band-pass of `PHONE_BAND_HZ` at 8 kHz: the difference of two sinc low-passes under a Blackman window."""
    time = np.arange(_FILTER_TAPS) - _FILTER_TAPS // 2
    low, high = (2 * edge / PHONE_RATE_HZ for edge in PHONE_BAND_HZ)
    return (high * np.sinc(high * time) - low * np.sinc(low * time)) * np.blackman(_FILTER_TAPS)


def _pink_noise(count: int, rng: np.random.Generator) -> np.ndarray:
    """Return noise of mean power 1 whose power falls as 1/f above 50 Hz, with nothing below."""
    spectrum = np.fft.rfft(rng.normal(size=count))
    frequency = np.fft.rfftfreq(count, 1 / SAMPLE_RATE_HZ)
    shape = np.where(frequency >= _LOWEST_NOISE_HZ, 1 / np.sqrt(np.maximum(frequency, _LOWEST_NOISE_HZ)), 0.0)
    noise = np.fft.irfft(spectrum * shape, count)
    return noise / max(math.sqrt(float(np.mean(noise**2))), 1e-12)
