"""Seconds, samples and frames against exact fractions."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from stt_ft.core import timing

FRAME = Fraction(2, 25)
"""Seconds in a frame, exactly: 1920 / 24000."""

TEN_HOURS_OF_FRAMES = 450_000

frames = st.integers(min_value=0, max_value=TEN_HOURS_OF_FRAMES)
milliseconds = st.integers(min_value=0, max_value=36_000_000)


def test_the_constants_agree_with_each_other():
    assert Fraction(timing.SAMPLES_PER_FRAME, timing.SAMPLE_RATE_HZ) == FRAME
    assert Fraction(timing.FRAME_RATE_HZ) == 1 / FRAME
    assert float(FRAME) == timing.FRAME_S


@given(milliseconds)
@settings(max_examples=300, deadline=None)
def test_frame_at_is_the_exact_floor(time_ms: int):
    assert timing.frame_at(time_ms / 1000) == Fraction(time_ms, 1000) // FRAME


@given(milliseconds)
@settings(max_examples=300, deadline=None)
def test_num_frames_covering_is_the_exact_ceiling(duration_ms: int):
    assert timing.num_frames_covering(duration_ms / 1000) == -(-Fraction(duration_ms, 1000) // FRAME)


@given(frames)
@settings(max_examples=300, deadline=None)
def test_a_frame_begins_in_itself_and_is_heard_when_the_next_begins(frame: int):
    assert timing.frame_at(timing.frame_start_s(frame)) == frame
    assert timing.frame_heard_s(frame) == timing.frame_start_s(frame + 1)
    assert timing.num_frames_covering(timing.frame_start_s(frame)) == frame


@given(frames, st.integers(min_value=-3, max_value=3))
@settings(max_examples=200, deadline=None)
def test_a_boundary_that_went_through_json_with_rounding_error_stays_a_boundary(frame: int, ulps: int):
    boundary_s = float(frame * FRAME)
    blurred_s = boundary_s * (1 + ulps * 2**-52)
    assert timing.frame_at(blurred_s) == frame
    assert timing.num_frames_covering(blurred_s) == frame


@given(st.integers(min_value=0, max_value=10**9))
@settings(max_examples=200, deadline=None)
def test_samples_survive_the_way_through_seconds(count: int):
    assert timing.num_samples(timing.samples_to_s(count)) == count
