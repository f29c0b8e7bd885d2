"""Our forward pass against upstream's `LMModel.forward`, and streaming against both."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from moshi.utils.compile import no_compile
from random_models import make_random_base, random_codes
from upstream import generate, open_upstream

from stt_ft.model.streaming import stream_codes
from stt_ft.model.stt_lm import forward, load_lm


def _codes(model, num_frames: int, batch: int = 2) -> torch.Tensor:
    rng = np.random.default_rng(0)
    text = rng.integers(0, model.config["text_card"], (batch, 1, num_frames))
    audio = np.stack([random_codes(model, num_frames, seed) for seed in range(batch)])
    return torch.from_numpy(np.concatenate([text, audio], axis=1)).long()


@torch.no_grad()
def test_text_logits_equal_upstreams_on_a_model_that_speaks(speaking_base):
    lm = load_lm(speaking_base)
    codes = _codes(speaking_base, 40)
    codes[0, 2:, 30:] = -1
    with no_compile():
        theirs = lm(codes)
    ours = forward(lm, codes)
    assert torch.equal(ours.text_logits, theirs.text_logits[:, 0])


@torch.no_grad()
def test_delayed_codebooks_are_realigned_as_upstream_does(speaking_base):
    lm = load_lm(speaking_base)
    lm.delays = [0, 0, 1, 2, 0]
    codes = _codes(speaking_base, 20)
    with no_compile():
        theirs = lm(codes)
    ours = forward(lm, codes)
    assert torch.equal(ours.text_logits, theirs.text_logits[:, 0])


@torch.no_grad()
@pytest.mark.parametrize("num_frames", [60, 300])  # 300 is past the context of 250
def test_streaming_equals_offline_under_teacher_forcing(random_base, num_frames):
    lm = load_lm(random_base)
    codes = random_codes(random_base, num_frames)
    stream = stream_codes(lm, [codes])[0]
    offline = forward(lm, torch.from_numpy(np.concatenate([stream.text_tokens[None], codes])).long()[None])
    np.testing.assert_allclose(offline.head_logits.softmax(-1)[0, :, :, 0].numpy(), stream.pause_probs, atol=1e-4)
    assert np.array_equal(offline.text_logits.argmax(-1)[0].numpy(), stream.text_tokens)


def test_batched_streaming_writes_what_lmgen_writes_clip_by_clip(random_base):
    clips = [random_codes(random_base, length, seed) for seed, length in enumerate((70, 33, 51))]
    streams = stream_codes(load_lm(random_base), clips)
    theirs = open_upstream(random_base.directory, random_base.config).get_moshi(dtype=torch.float32)
    for clip, stream in zip(clips, streams, strict=True):
        tokens, probs = generate(theirs, clip)
        assert np.array_equal(stream.text_tokens, tokens)
        np.testing.assert_allclose(stream.pause_probs, probs, atol=1e-5)


def test_feeding_the_first_frame_once_as_lmgen_asks_would_lose_it(random_base):
    """The reason for the doubled frame: fed once, LMGen's step 1 hears frame 1 and frame 0 is never heard."""
    theirs = open_upstream(random_base.directory, random_base.config).get_moshi(dtype=torch.float32)
    codes = random_codes(random_base, 12)
    other = codes.copy()
    other[:, 0] = (other[:, 0] + 1) % random_base.config["card"]
    undoubled = [generate(theirs, np.concatenate([clip[:, 1:2], clip[:, 1:]], axis=1))[1] for clip in (codes, other)]
    assert np.array_equal(*undoubled)
    assert not np.array_equal(generate(theirs, codes)[1], generate(theirs, other)[1])


@torch.no_grad()
def test_a_model_without_heads_has_no_head_logits(tmp_path):
    model = make_random_base(tmp_path / "plain", extra_heads=False)
    assert forward(load_lm(model), _codes(model, 5)).head_logits.shape[2] == 0
    assert stream_codes(load_lm(model), [random_codes(model, 5)])[0].pause_probs.shape == (5, 0)
