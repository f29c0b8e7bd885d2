"""Pause targets against the definition, counted the slow way."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from stt_ft.targets.pause_targets import HORIZONS_S, pause_targets


def brute_force(onsets: list[int], ends: list[int], num_frames: int, cap: int) -> np.ndarray:
    """Count onsets in (t, t + horizon] with exact fractions of a frame; one at least while a word that has begun has not ended."""
    targets = np.zeros((num_frames, len(HORIZONS_S)), dtype=np.int64)
    for frame in range(num_frames):
        for head, horizon_s in enumerate(HORIZONS_S):
            horizon_frames = Fraction(horizon_s) * Fraction(25, 2)
            ahead = sum(frame < onset <= frame + horizon_frames for onset in onsets)
            sounds = any(onset <= frame < end for onset, end in zip(onsets, ends, strict=True))
            targets[frame, head] = min(cap, max(ahead, int(sounds)))
    return targets


@pytest.mark.parametrize(("kind", "cap"), [("binary", 1), ("count", 5)])
def test_equals_the_definition(kind: str, cap: int) -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        num_frames = int(rng.integers(1, 120))
        onsets = np.sort(rng.integers(0, num_frames + 30, size=rng.integers(0, 15)))
        ends = onsets + rng.integers(-8, 9, size=len(onsets))
        expected = brute_force(onsets.tolist(), ends.tolist(), num_frames, cap)
        np.testing.assert_array_equal(pause_targets(onsets, ends, num_frames, kind=kind), expected)


def test_silence_is_a_pause_for_every_head() -> None:
    nothing = np.array([], dtype=np.int64)
    assert not pause_targets(nothing, nothing, 10).any()


def test_a_frame_on_which_a_word_begins_looks_past_it() -> None:
    targets = pause_targets(np.array([10]), np.array([7]), 12)
    assert targets[9].tolist() == [1, 1, 1, 1]
    assert targets[10].tolist() == [0, 0, 0, 0]


def test_no_turn_ends_inside_a_long_word_whose_text_has_begun() -> None:
    """A word of 0.7 s from frame 3 on, with a lag of 0.5 s: its text stands in frame 9, its sound ends in frame 12."""
    targets = pause_targets(np.array([9]), np.array([12]), 15)
    assert targets[:, 2].tolist() == [1] * 12 + [0] * 3
