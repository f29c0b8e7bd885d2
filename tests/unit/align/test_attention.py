"""The path through the attention map: a planted one is found, and it agrees with a brute-force search."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from stt_ft.align.attention import attention_map, monotonic_path


def planted(onsets: list[int], num_frames: int, noise: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    affinity = rng.standard_normal((len(onsets), num_frames)) * noise
    for token, (begin, end) in enumerate(zip(onsets, [*onsets[1:], num_frames], strict=True)):
        affinity[token, begin:end] += 1.0
    return affinity


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3])
def test_a_planted_path_is_found(noise: float) -> None:
    onsets = [0, 4, 5, 11, 30, 44]
    found = monotonic_path(planted(onsets, 50, noise))
    assert np.abs(found - onsets).max() <= (1 if noise else 0)


@pytest.mark.parametrize("seed", range(5))
def test_the_path_is_the_best_of_all(seed: int) -> None:
    num_tokens, num_frames = 3, 6
    affinity = np.random.default_rng(seed).standard_normal((num_tokens, num_frames))

    def walks(token: int, frame: int) -> list[list[tuple[int, int]]]:
        if (token, frame) == (num_tokens - 1, num_frames - 1):
            return [[(token, frame)]]
        steps = [(token + 1, frame + 1), (token + 1, frame), (token, frame + 1)]
        return [[(token, frame), *rest] for t, f in steps if t < num_tokens and f < num_frames for rest in walks(t, f)]

    best = max(walks(0, 0), key=lambda walk: sum(affinity[cell] for cell in walk))
    assert monotonic_path(affinity).tolist() == [min(f for t, f in best if t == token) for token in range(num_tokens)]


def test_the_path_agrees_with_whispers_own() -> None:
    whisper_timing = pytest.importorskip("whisper.timing")
    affinity = planted([0, 3, 9, 20], 40, 0.5)
    text, time = whisper_timing.dtw(torch.from_numpy(-affinity))
    theirs = [int(min(time[text == token])) for token in range(4)]
    assert monotonic_path(affinity).tolist() == theirs


def test_the_map_leaves_out_padding_and_agrees_with_whispers_filter() -> None:
    whisper_timing = pytest.importorskip("whisper.timing")
    scores = torch.randn(3, 5, 40, generator=torch.Generator().manual_seed(0))
    ours = attention_map(scores, 30)
    weights = scores[:, :, :30].softmax(dim=-1)
    std, mean = torch.std_mean(weights, dim=-2, keepdim=True, unbiased=False)
    theirs = whisper_timing.median_filter((weights - mean) / std, 7).mean(dim=0)
    assert ours.shape == (5, 30)
    np.testing.assert_allclose(ours, theirs.double().numpy(), atol=1e-5)


@pytest.mark.parametrize(("num_tokens", "num_frames"), list(itertools.product([1, 4], [1, 2, 9])))
def test_onsets_never_go_back_even_with_more_tokens_than_frames(num_tokens: int, num_frames: int) -> None:
    onsets = monotonic_path(np.random.default_rng(0).standard_normal((num_tokens, num_frames)))
    assert onsets[0] == 0
    assert (np.diff(onsets) >= 0).all()
    assert onsets[-1] < num_frames
