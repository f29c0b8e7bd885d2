"""Seconds, samples and frames: the one place where they are converted.

A *frame* is one step of the Mimi codec: 80 ms, 12.5 a second, 1920 samples at 24 kHz. Frame `t` covers the half-open
interval `[t, t + 1) * FRAME_S`, and the model's output at step `t` is known when frame `t` has ended, at `(t + 1) * FRAME_S`.
"""

from __future__ import annotations

import math

SAMPLE_RATE_HZ = 24_000
"""Samples a second that Mimi takes (upstream `moshi.models.loaders.SAMPLE_RATE`)."""

FRAME_RATE_HZ = 12.5
"""Codec frames a second (upstream `moshi.models.loaders.FRAME_RATE`)."""

FRAME_S = 1 / FRAME_RATE_HZ
"""Seconds in a frame: 0.08."""

SAMPLES_PER_FRAME = 1920
"""Samples in a frame: SAMPLE_RATE_HZ / FRAME_RATE_HZ."""

_TICK = 1e-6
"""Frames closer than this to a boundary belong to it: times read from JSON carry rounding error, never a millionth of a frame of sense."""


def frame_at(time_s: float) -> int:
    """Return the index of the frame that contains `time_s`."""
    return math.floor(time_s * FRAME_RATE_HZ + _TICK)


def num_frames_covering(duration_s: float) -> int:
    """Return the number of whole frames needed to hold `duration_s` seconds."""
    return math.ceil(duration_s * FRAME_RATE_HZ - _TICK)


def frame_start_s(frame: int) -> float:
    """Return the time in seconds at which `frame` begins."""
    return frame / FRAME_RATE_HZ


def frame_heard_s(frame: int) -> float:
    """Return the time in seconds at which `frame` ends, the earliest at which a streaming model has an output for it."""
    return (frame + 1) / FRAME_RATE_HZ


def num_samples(duration_s: float, sample_rate_hz: int = SAMPLE_RATE_HZ) -> int:
    """Return the number of samples nearest to `duration_s` seconds."""
    return round(duration_s * sample_rate_hz)


def samples_to_s(count: int, sample_rate_hz: int = SAMPLE_RATE_HZ) -> float:
    """Return the duration in seconds of `count` samples."""
    return count / sample_rate_hz
