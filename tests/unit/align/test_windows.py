"""Windows of a long sound: whole, in order, ended by silences where there are any."""

from __future__ import annotations

import itertools

import numpy as np

from stt_ft.align.placing import LONGEST_S, windows_of
from stt_ft.core.timing import SAMPLE_RATE_HZ


def sound(*spans_s: tuple[float, float], duration_s: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    samples = rng.standard_normal(round(duration_s * SAMPLE_RATE_HZ)) * 1e-4
    for start_s, end_s in spans_s:
        first, last = round(start_s * SAMPLE_RATE_HZ), round(end_s * SAMPLE_RATE_HZ)
        samples[first:last] += rng.standard_normal(last - first) * 0.1
    return samples.astype(np.float32)


def test_windows_end_in_silences_and_hold_all_that_is_said() -> None:
    spans = [(begin + 0.3, begin + 3.5) for begin in np.arange(0, 60, 4.0)]
    windows = windows_of(sound(*spans, duration_s=61))
    assert all(not window.cuts_speech for window in windows)
    assert all(window.end_s - window.start_s <= LONGEST_S for window in windows)
    for start_s, end_s in spans:
        assert sum(window.start_s <= start_s and end_s <= window.end_s for window in windows) == 1


def test_a_long_silence_is_in_no_window() -> None:
    windows = windows_of(sound((0.5, 3.0), (50.0, 53.0), duration_s=90))
    assert [(round(window.start_s), round(window.end_s)) for window in windows] == [(0, 3), (50, 53)]


def test_speech_without_a_pause_is_cut_and_says_so() -> None:
    windows = windows_of(sound((1.0, 59.0), duration_s=60))
    assert all(window.cuts_speech for window in windows[:-1])
    assert len(windows) > 58 / LONGEST_S
    assert all(one.end_s == other.start_s for one, other in itertools.pairwise(windows))


def test_a_short_noise_makes_no_window() -> None:
    windows = windows_of(sound((0.5, 3.0), (20.0, 20.04), (50.0, 53.0), duration_s=60))
    assert [(round(window.start_s), round(window.end_s)) for window in windows] == [(0, 3), (50, 53)]
