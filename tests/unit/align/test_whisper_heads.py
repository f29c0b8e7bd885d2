"""Heads that follow the sound are found among others, their lags are taken off, and the shares tell which token is spoken when."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from stt_ft.align.whisper_heads import best_heads, fit_weights
from stt_ft.align.whisper_model import LAGS, AttentionWeights, lagged_attention

NUM_FRAMES = 120


def planted(lags: list[int | None], seed: int = 0) -> tuple[torch.Tensor, np.ndarray]:
    """Return scores of heads that look `lag` frames behind the token being expected (None: nowhere), and the token in each frame."""
    rng = np.random.default_rng(seed)
    edges = np.sort(rng.choice(np.arange(5, NUM_FRAMES - 5, 4), 9, replace=False))
    tokens = np.full(NUM_FRAMES, -1)
    for token, (begin, end) in enumerate(itertools.pairwise(edges)):
        tokens[begin:end] = token
    scores = torch.from_numpy(rng.standard_normal((len(lags), 8, NUM_FRAMES)))
    for head, lag in enumerate(lags):
        if lag is not None:
            seen = np.flatnonzero(tokens >= 0)
            seen = seen[(seen + lag >= 0) & (seen + lag < NUM_FRAMES)]
            scores[head, tokens[seen], seen + lag] += 4.0
    return scores, tokens


def test_the_heads_that_follow_the_sound_are_found() -> None:
    examples = [planted([None, 4, None, 12, -2, None], seed) for seed in range(4)]
    assert set(best_heads(examples, 3)) == {1, 3, 4}


@pytest.mark.parametrize("lag", [-4, 0, 6, 14])
def test_the_lag_of_attention_is_taken_off(lag: int) -> None:
    examples = [planted([None, lag], seed) for seed in range(6)]
    weights = AttentionWeights(heads=((0, 0), (0, 1)), weights=fit_weights(examples))
    scores, tokens = planted([None, lag], seed=99)
    told = weights.log_shares(scores, NUM_FRAMES).argmax(axis=0)
    inner = (tokens >= 0) & (np.arange(NUM_FRAMES) < NUM_FRAMES - 20)
    assert (told == tokens)[inner].mean() > 0.9
    shifted = AttentionWeights(heads=weights.heads, weights=np.roll(weights.weights, 5, axis=0)).log_shares(scores, NUM_FRAMES)
    assert (shifted.argmax(axis=0) == tokens)[inner].mean() < 0.7


def test_untuned_weights_read_known_heads_100_ms_back() -> None:
    untuned = AttentionWeights.untuned([(3, 1), (2, 5)])
    assert untuned.weights.shape == (len(LAGS), 2)
    assert untuned.weights.sum() == pytest.approx(1.0)
    assert np.average(LAGS, weights=untuned.weights[:, 0]) == 5
    scores, tokens = planted([5, 5], seed=3)
    assert (untuned.log_shares(scores, NUM_FRAMES).argmax(axis=0) == tokens)[tokens >= 0].mean() > 0.8


def test_padding_is_left_out_and_the_filter_is_whispers() -> None:
    whisper_timing = pytest.importorskip("whisper.timing")
    scores = torch.randn(3, 5, 40, generator=torch.Generator().manual_seed(0))
    attention = scores[:, :, :30].softmax(dim=-1)
    std, mean = torch.std_mean(attention, dim=-2, keepdim=True, unbiased=False)
    theirs = whisper_timing.median_filter((attention - mean) / std, 7).clamp(-3, 6)
    ours = lagged_attention(scores, 30)
    assert ours.shape == (len(LAGS), 3, 5, 30)
    torch.testing.assert_close(ours[LAGS.index(0)], theirs, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(ours[LAGS.index(2), ..., :-2], theirs[..., 2:])


def test_shares_are_shares() -> None:
    scores, _ = planted([2])
    shares = np.exp(AttentionWeights.untuned([(0, 0)]).log_shares(scores, NUM_FRAMES))
    assert shares.shape == (8, NUM_FRAMES)
    assert (shares.sum(axis=0) < 1.2).all()
    np.testing.assert_array_less(0.9, shares.sum(axis=0))
