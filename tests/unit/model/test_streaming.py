from __future__ import annotations

import numpy as np
import pytest
import torch
from random_models import random_codes

from stt_ft.core.serving import SERVINGS
from stt_ft.model.streaming import CHANCE, chances_of, share_out, stream_codes, written_tokens
from stt_ft.model.stt_lm import forward, load_lm


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


def test_a_lane_forgets_the_clip_before(lm, clips):
    """One lane and two lanes: clips follow each other where another has just ended."""
    for num_lanes in (1, 2):
        for after_another, clip in zip(stream_codes(lm, clips, batch_size=num_lanes), clips, strict=True):
            alone = stream_codes(lm, [clip])[0]
            assert np.array_equal(after_another.text_tokens, alone.text_tokens)
            np.testing.assert_allclose(after_another.head_probs, alone.head_probs, atol=1e-5)


def test_probabilities_of_a_heads_classes_add_up_and_class_0_is_the_pause(lm, clips):
    stream = stream_codes(lm, clips[:1])[0]
    assert stream.head_probs.shape == (30, 4, 6)
    np.testing.assert_allclose(stream.head_probs.sum(axis=-1), 1, atol=1e-5)
    assert np.array_equal(stream.pause_probs, stream.head_probs[:, :, 0])


def test_lanes_hold_every_clip_once_and_are_nearly_as_long_as_each_other():
    lengths = np.random.default_rng(0).integers(20, 200, size=101).tolist()
    lanes = share_out(lengths, 8)
    assert sorted(index for lane in lanes for index in lane) == list(range(101))
    loads = [sum(lengths[index] for index in lane) for lane in lanes]
    assert max(loads) - min(loads) <= max(lengths)
    assert share_out([3, 1], 8) == [[0], [1]]


def test_a_clip_without_frames_gives_a_stream_without_rows(lm, clips):
    streams = stream_codes(lm, [clips[0][:, :0], clips[1]])
    assert streams[0].text_tokens.shape == (0,)
    assert streams[1].text_tokens.shape == (7,)


def test_the_last_frame_of_a_clip_is_not_heard_before_its_row(lm, clips):
    changed = clips[0].copy()
    changed[:, 20] = (changed[:, 20] + 1) % 64
    before, after = stream_codes(lm, [clips[0]])[0], stream_codes(lm, [changed])[0]
    assert np.array_equal(before.pause_probs[:21], after.pause_probs[:21])
    assert not np.array_equal(before.pause_probs[21], after.pause_probs[21])


def test_no_clips_give_no_streams(lm):
    assert stream_codes(lm, []) == []


def test_the_context_is_what_it_was_after_listening(lm, clips):
    def contexts():
        return [module.context for module in lm.transformer.modules() if hasattr(module, "context")]

    before = contexts()
    stream_codes(lm, clips)
    assert contexts() == before
    assert before[0] == 250 > max(clip.shape[1] for clip in clips)


def test_codebooks_that_are_left_out_are_those_of_a_smaller_model(random_base, clips):
    """A server of fewer codebooks builds a model without the others' embeddings: so does upstream, by its config."""
    smaller = load_lm(random_base)
    num_heard, full = SERVINGS["unmute"].num_codebooks(random_base.n_q), load_lm(random_base)
    del smaller.emb[num_heard:]
    smaller.n_q = num_heard
    assert 0 < num_heard < random_base.n_q
    heard = stream_codes(full, [SERVINGS["unmute"].heard(clip) for clip in clips])
    for ours, theirs in zip(heard, stream_codes(smaller, [clip[:num_heard] for clip in clips]), strict=True):
        assert np.array_equal(ours.text_tokens, theirs.text_tokens)
        np.testing.assert_allclose(ours.head_probs, theirs.head_probs, atol=1e-6)
    assert not np.allclose(heard[0].head_probs, stream_codes(full, clips)[0].head_probs, atol=1e-3)


def test_teacher_forcing_hears_as_little_as_streaming(random_base, lm, clips):
    heard = SERVINGS["unmute"].heard(clips[0])
    stream = stream_codes(lm, [heard])[0]
    told = torch.from_numpy(np.concatenate([stream.text_tokens[None], heard]).astype(np.int64))
    with torch.inference_mode():
        probs = forward(lm, told[None]).head_logits[0].softmax(dim=-1)
    np.testing.assert_allclose(probs.numpy(), stream.head_probs, atol=1e-5)


def test_tokens_are_drawn_as_the_engine_draws_them():
    """Shares of 20,000 draws against softmax(logits / temperature), and a token far behind is never drawn (candle's gumbel_softmax)."""
    logits, temperature, count = torch.tensor([0.0, -0.1, -0.4, -3.0]), 0.25, 20_000
    chances = chances_of(3, 4)
    chance = torch.from_numpy(np.stack([next(chances) for _ in range(count)]))
    shares = torch.bincount(written_tokens(logits.expand(count, -1), temperature, chance), minlength=4) / count
    np.testing.assert_allclose(shares, (logits / temperature).softmax(dim=0), atol=0.01)
    assert shares[3] == 0
    assert CHANCE[0] <= chance.min() <= chance.max() <= CHANCE[1]
    assert torch.equal(written_tokens(logits[None]), torch.tensor([0]))


def test_a_clip_is_drawn_alike_in_any_company(lm, clips):
    alone, together = (stream_codes(lm, clips, temperature=0.5, batch_size=size) for size in (1, 4))
    likeliest = stream_codes(lm, clips)
    assert all(np.array_equal(one.text_tokens, other.text_tokens) for one, other in zip(alone, together, strict=True))
    assert any(not np.array_equal(one.text_tokens, other.text_tokens) for one, other in zip(alone, likeliest, strict=True))
