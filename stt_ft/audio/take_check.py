"""Whether a take is worth keeping: what a careful sound engineer would say about it at once. Pure."""

from __future__ import annotations

import numpy as np

from stt_ft.audio.levels import SILENT_PEAK, clipped_share, cut_in_edges, peak, speech_span_s

QUIET_PEAK = 0.05
"""A take whose loudest sample stays below this (-26 dB) was spoken too far from the microphone."""

FASTEST_WORDS_PER_S, SLOWEST_WORDS_PER_S = 6.0, 0.6
"""How fast and how slowly prompts are read, hesitations included."""


def take_warnings(samples: np.ndarray, sample_rate_hz: int, *, num_words: int) -> list[str]:
    """Return what is wrong with a take of a prompt of `num_words` spoken words; empty when nothing is."""
    if peak(samples) < SILENT_PEAK:
        return ["no sound: is the microphone muted, or is another device meant (--list_devices)?"]
    warnings = []
    if clipped_share(samples) > 0:
        warnings.append("clipped: too loud, turn the input down or move away")
    if peak(samples) < QUIET_PEAK:
        warnings.append("too quiet: turn the input up or come nearer")
    starts_inside, ends_inside = cut_in_edges(samples, sample_rate_hz)
    if starts_inside:
        warnings.append("the beginning is cut off: wait a moment after pressing Enter")
    if ends_inside:
        warnings.append("the end is cut off: wait a moment before pressing Enter")
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
