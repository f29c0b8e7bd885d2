"""Measurements of a recording, on sounds whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from stt_ft.audio.files import resample
from stt_ft.audio.levels import bandwidth_hz, clipped_share, cut_in_edges, meter, peak, rms_db, speech_span_s, take_warnings

RATE_HZ = 24_000


def speechlike(duration_s: float, *, lead_s: float = 0.3, tail_s: float = 0.3, level: float = 0.3) -> np.ndarray:
    """Noise bursts four times a second, with a quiet floor around."""
    rng = np.random.default_rng(1)
    time_s = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    speech = rng.standard_normal(len(time_s)) * level / 4 * (1.1 + np.sin(2 * np.pi * 4 * time_s))
    silence = [rng.standard_normal(round(seconds * RATE_HZ)) * 1e-4 for seconds in (lead_s, tail_s)]
    return np.concatenate([silence[0], speech, silence[1]]).astype(np.float32)


def test_rms_of_a_full_scale_sine_is_minus_three_db() -> None:
    assert rms_db(np.sin(np.linspace(0, 200 * np.pi, 48000))) == pytest.approx(-3.01, abs=0.01)
    assert rms_db(np.zeros(100)) == -120.0
    assert rms_db(np.zeros(0)) == -120.0


def test_clipping_needs_a_run_of_full_samples() -> None:
    sound = np.zeros(1000)
    sound[100] = 1.0
    assert clipped_share(sound) == 0.0
    sound[200:210] = -1.0
    assert clipped_share(sound) == pytest.approx(0.01)
    assert clipped_share(np.ones(2)) == 0.0


def test_cut_in_speech_is_found_at_the_right_edge() -> None:
    whole = speechlike(2.0)
    assert cut_in_edges(whole, RATE_HZ) == (False, False)
    assert cut_in_edges(whole[round(0.4 * RATE_HZ) :], RATE_HZ) == (True, False)
    assert cut_in_edges(whole[: -round(0.4 * RATE_HZ)], RATE_HZ) == (False, True)


def test_speech_span_leaves_out_silence() -> None:
    begin_s, end_s = speech_span_s(speechlike(2.0, lead_s=0.5, tail_s=0.7), RATE_HZ)
    assert begin_s == pytest.approx(0.5, abs=0.05)
    assert end_s == pytest.approx(2.5, abs=0.05)
    assert speech_span_s(np.zeros(RATE_HZ), RATE_HZ) == (0.0, 0.0)


def test_bandwidth_tells_telephone_speech_from_wide_band() -> None:
    wide = speechlike(2.0)
    narrow = resample(resample(wide, RATE_HZ, 8000), 8000, RATE_HZ)
    assert bandwidth_hz(wide, RATE_HZ) > 11_000
    assert 3500 < bandwidth_hz(narrow, RATE_HZ) < 4300


@pytest.mark.parametrize(
    ("sound", "warning"),
    [
        (np.zeros(RATE_HZ), "no sound"),
        (speechlike(3.0) * 40, "clipped"),
        (speechlike(3.0) * 0.05, "too quiet"),
        (speechlike(3.0, lead_s=0.0), "beginning is cut off"),
        (speechlike(3.0, tail_s=0.0), "end is cut off"),
        (speechlike(1.0), "too short: 1.0 s"),
        (speechlike(25.0), "too long: 25"),
    ],
)
def test_take_warnings_name_the_fault(sound: np.ndarray, warning: str) -> None:
    warnings = take_warnings(np.clip(sound, -1, 1).astype(np.float32), RATE_HZ, num_words=10)
    assert any(warning in said for said in warnings), warnings


def test_a_good_take_has_no_warnings() -> None:
    assert take_warnings(speechlike(4.0), RATE_HZ, num_words=10) == []
    assert peak(speechlike(4.0)) < 1


@pytest.mark.parametrize(("level_db", "filled"), [(-120, 0), (-60, 0), (-30, 5), (0, 10), (6, 10)])
def test_meter_is_full_at_full_scale(level_db: float, filled: int) -> None:
    assert meter(level_db, 10).count("█") == filled
