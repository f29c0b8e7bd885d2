"""Levels of a recording, and the faults that they show: too loud, too quiet, cut off, narrow. Pure; samples are mono, in [-1, 1]."""

from __future__ import annotations

import numpy as np

CLIPPED_LEVEL = 0.999
"""Samples at or above this are at the converter's end."""

SILENT_PEAK = 0.003
"""A recording whose loudest sample stays below this holds no speech (-50 dB of full scale)."""

QUIET_PEAK = 0.05
"""A take whose loudest sample stays below this (-26 dB) was spoken too far from the microphone."""

FASTEST_WORDS_PER_S, SLOWEST_WORDS_PER_S = 6.0, 0.6
"""How fast and how slowly prompts are read, hesitations included."""

_STEP_S = 0.01
_EDGE_S = 0.05
_QUIET_DB = -6.0  # an edge counts as cut into when it comes this near to the level of speech
_BAND_FLOOR_DB = -70.0
_FFT_SAMPLES = 1024


def peak(samples: np.ndarray) -> float:
    """Return the largest magnitude."""
    return float(np.abs(samples).max(initial=0.0))


def rms_db(samples: np.ndarray) -> float:
    """Return the mean power in decibels of full scale; silence is -120."""
    power = float(np.mean(np.square(samples, dtype=np.float64))) if len(samples) else 0.0
    return 10 * float(np.log10(max(power, 1e-12)))


def clipped_share(samples: np.ndarray) -> float:
    """Return the share of samples that belong to runs of three or more at full scale: a lone peak is no clipping."""
    full = np.abs(samples) >= CLIPPED_LEVEL
    if len(full) < 3:
        return 0.0
    inner = full[:-2] & full[1:-1] & full[2:]
    in_run = np.zeros(len(full), dtype=bool)
    for shift in range(3):
        in_run[shift : len(full) - 2 + shift] |= inner
    return float(in_run.mean())


def level_steps_db(samples: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Return the power of every 10 ms in decibels of full scale: float64 [T]; a last part of a step is left out."""
    step = round(_STEP_S * sample_rate_hz)
    num_steps = len(samples) // step
    frames = samples[: num_steps * step].reshape(num_steps, step).astype(np.float64)
    return 10 * np.log10(np.mean(frames**2, axis=1) + 1e-12)


def cut_in_edges(samples: np.ndarray, sample_rate_hz: int) -> tuple[bool, bool]:
    """Return whether the recording begins, and whether it ends, in the middle of speech."""
    levels_db = level_steps_db(samples, sample_rate_hz)
    num_edge = round(_EDGE_S / _STEP_S)
    if len(levels_db) < 4 * num_edge:
        return False, False
    speech_db = float(np.percentile(levels_db, 90))
    floor_db = float(np.percentile(levels_db, 5))
    threshold_db = max(speech_db + _QUIET_DB - 6.0, floor_db + 12.0)
    return bool(levels_db[:num_edge].max() > threshold_db), bool(levels_db[-num_edge:].max() > threshold_db)


def speech_span_s(samples: np.ndarray, sample_rate_hz: int) -> tuple[float, float]:
    """Return where sound louder than the middle between pauses and speech begins and ends, in seconds; (0, 0) in silence."""
    if peak(samples) < SILENT_PEAK:
        return 0.0, 0.0
    levels_db = level_steps_db(samples, sample_rate_hz)
    if len(levels_db) == 0:
        return 0.0, 0.0
    speech_db, floor_db = np.percentile(levels_db, [95, 5])
    loud = np.flatnonzero(levels_db >= max(speech_db - 30.0, (speech_db + floor_db) / 2))
    return float(loud[0] * _STEP_S), float((loud[-1] + 1) * _STEP_S)


def bandwidth_hz(samples: np.ndarray, sample_rate_hz: int) -> float:
    """Return the highest frequency at which the mean spectrum stands within 70 dB of its peak."""
    if len(samples) < _FFT_SAMPLES or peak(samples) == 0:
        return sample_rate_hz / 2
    num_frames = len(samples) // _FFT_SAMPLES
    frames = samples[: num_frames * _FFT_SAMPLES].reshape(num_frames, _FFT_SAMPLES) * np.hanning(_FFT_SAMPLES)
    power = np.mean(np.abs(np.fft.rfft(frames, axis=1)) ** 2, axis=0)
    smooth = np.convolve(power, np.ones(9) / 9, mode="same")
    level_db = 10 * np.log10(smooth / smooth.max() + 1e-15)
    return float(np.flatnonzero(level_db > _BAND_FLOOR_DB)[-1] * sample_rate_hz / _FFT_SAMPLES)


def take_warnings(samples: np.ndarray, sample_rate_hz: int, *, num_words: int) -> list[str]:
    """Return the faults of a take of a prompt of `num_words` spoken words."""
    if peak(samples) < SILENT_PEAK:
        return ["no sound: is the microphone muted, or is another one meant?"]
    warnings = []
    if clipped_share(samples) > 0:
        warnings.append("clipped: too loud, turn the input down or move away")
    if peak(samples) < QUIET_PEAK:
        warnings.append("too quiet: turn the input up or come nearer")
    starts_inside, ends_inside = cut_in_edges(samples, sample_rate_hz)
    if starts_inside:
        warnings.append("the beginning is cut off: wait a moment before you speak")
    if ends_inside:
        warnings.append("the end is cut off: wait a moment before you stop")
    begin_s, end_s = speech_span_s(samples, sample_rate_hz)
    spoken_s = end_s - begin_s
    if spoken_s < num_words / FASTEST_WORDS_PER_S:
        warnings.append(f"too short: {spoken_s:.1f} s of speech for {num_words} words")
    if spoken_s > 2.0 + num_words / SLOWEST_WORDS_PER_S:
        warnings.append(f"too long: {spoken_s:.1f} s of speech for {num_words} words")
    return warnings


def meter(level_db: float, width: int = 40) -> str:
    """Return a level as a bar: -60 dB is empty, full scale is full."""
    filled = round(width * min(1.0, max(0.0, (level_db + 60) / 60)))
    return "█" * filled + "·" * (width - filled)
