from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from stt_ft.core.errors import CheckpointError
from stt_ft.core.timing import SAMPLES_PER_FRAME
from stt_ft.model.mimi_codec import MimiCodec, codec_hash


def _sound(num_samples: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    loudness = np.abs(np.sin(np.arange(num_samples) / 3000))
    return (rng.standard_normal(num_samples) * loudness * 0.2).astype(np.float32)


@pytest.fixture(scope="module")
def codec(random_base):
    return MimiCodec.load(random_base)


def _assert_same(one: np.ndarray, other: np.ndarray) -> None:
    assert one.shape == other.shape
    assert np.array_equal(one, other)


def test_clips_encoded_together_have_the_codes_of_each_alone(codec):
    clips = [_sound(length, seed) for seed, length in enumerate((24_000, 51_234, 7, 70_000))]
    for together, clip in zip(codec.encode(clips), clips, strict=True):
        _assert_same(together, codec.encode([clip])[0])


def test_the_tiny_models_codec_gives_a_clip_the_same_codes_in_any_company(tiny_model):
    tiny_codec = MimiCodec.load(tiny_model)
    clips = [_sound(length, seed) for seed, length in enumerate((24_000, 51_234, 70_000))]
    for together, clip in zip(tiny_codec.encode(clips), clips, strict=True):
        _assert_same(together, tiny_codec.encode([clip])[0])


def test_what_is_padded_behind_a_clip_changes_none_of_its_codes(codec):
    clip = _sound(40_000, 5)
    longer = np.concatenate([clip, np.zeros(-len(clip) % SAMPLES_PER_FRAME, np.float32), _sound(60_000, 6)])
    alone, together = codec.encode([clip])[0], codec.encode([longer])[0]
    num_frames = -(-len(clip) // SAMPLES_PER_FRAME)
    assert (alone[:, :num_frames] != together[:, :num_frames]).mean() < 0.01  # kernels round by shape; near ties fall either way


def test_codes_are_those_of_upstreams_codec_fed_frame_by_frame(codec, random_base):
    import torch
    from moshi.models import loaders

    clip = _sound(20 * SAMPLES_PER_FRAME, 3)
    mimi = loaders.get_mimi(random_base.mimi_weights, random_base.mimi_config, num_codebooks=random_base.n_q)
    with torch.no_grad(), mimi.streaming(1):
        frames = [mimi.encode(torch.from_numpy(part)[None, None]) for part in clip.reshape(20, SAMPLES_PER_FRAME)]
    streamed = torch.cat(frames, dim=-1)[0].numpy()
    _assert_same(codec.encode([clip])[0][:, :20], streamed.astype(np.int16))


def test_a_clip_is_filled_to_whole_frames_and_followed_by_the_lag_and_two_and_a_half_seconds(codec):
    codes = codec.encode([_sound(SAMPLES_PER_FRAME * 10 + 1, 0)])[0]
    assert codes.dtype == np.int16
    assert codes.shape == (4, 11 + 38)  # 0.5 s + 2.5 s are 37.5 frames


def test_a_silence_prefix_shifts_a_clip_by_whole_frames(random_base, codec):
    stt_config = {"audio_delay_seconds": 0.5, "audio_silence_prefix_seconds": 1.0}
    prefixed = dataclasses.replace(random_base, config={**random_base.config, "stt_config": stt_config})
    late = MimiCodec.load(prefixed)
    assert late.num_prefix_frames == 13
    clip = _sound(30_000, 1)
    silence_first = np.concatenate([np.zeros(13 * SAMPLES_PER_FRAME, np.float32), clip])
    _assert_same(late.encode([clip])[0], codec.encode([silence_first])[0])
    assert codec_hash(prefixed) != codec_hash(random_base)


def test_a_codec_of_another_size_than_the_model_takes_is_refused(random_base):
    with pytest.raises(CheckpointError, match="64 codes"):
        MimiCodec.load(dataclasses.replace(random_base, config={**random_base.config, "card": 63}))


def test_weights_that_are_not_the_codecs_are_refused(random_base):
    with pytest.raises(CheckpointError, match="cannot be used"):
        MimiCodec.load(dataclasses.replace(random_base, mimi_weights=random_base.lm_weights))
