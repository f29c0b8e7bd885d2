from __future__ import annotations

import numpy as np
import pytest
from random_models import random_codes

from stt_ft.model.streaming import stream_codes
from stt_ft.model.stt_lm import load_lm


@pytest.fixture(scope="module")
def lm(random_base):
    return load_lm(random_base)


@pytest.fixture(scope="module")
def clips(random_base):
    return [random_codes(random_base, length, seed) for seed, length in enumerate((30, 7, 45, 1, 30))]


def test_streams_come_in_the_order_of_the_clips_and_as_long(lm, clips):
    streams = stream_codes(lm, clips, batch_size=2)
    assert [stream.text_tokens.shape for stream in streams] == [(clip.shape[1],) for clip in clips]
    assert all(stream.pause_probs.shape == (clip.shape[1], 4) for stream, clip in zip(streams, clips, strict=True))


def test_company_changes_nothing(lm, clips):
    for together, clip in zip(stream_codes(lm, clips, batch_size=8), clips, strict=True):
        alone = stream_codes(lm, [clip])[0]
        assert np.array_equal(together.text_tokens, alone.text_tokens)
        np.testing.assert_allclose(together.pause_probs, alone.pause_probs, atol=1e-5)


def test_the_last_frame_of_a_clip_is_not_heard_before_its_row(lm, clips):
    changed = clips[0].copy()
    changed[:, 20] = (changed[:, 20] + 1) % 64
    before, after = stream_codes(lm, [clips[0]])[0], stream_codes(lm, [changed])[0]
    assert np.array_equal(before.pause_probs[:21], after.pause_probs[:21])
    assert not np.array_equal(before.pause_probs[21], after.pause_probs[21])


def test_a_temperature_draws_by_seed(lm, clips):
    def draw(seed: int) -> np.ndarray:
        return stream_codes(lm, clips[:1], temperature=1.0, seed=seed)[0].text_tokens

    assert np.array_equal(draw(1), draw(1))
    assert not np.array_equal(draw(1), draw(2))


def test_no_clips_give_no_streams(lm):
    assert stream_codes(lm, []) == []
