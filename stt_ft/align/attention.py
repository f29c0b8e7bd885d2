"""How much each frame of sound belongs to each token of a known text, read from a Whisper decoder's attention.

Each head follows the sound in its own way: some look at the word being expected, some tenths of a second behind it, some at the word
before. So several heads, each at several lags, are added up with weights that are fitted once a checkpoint on speech with known word times
(`calibration`). OpenAI's own way of reading attention (`whisper.timing.find_alignment`: the mean of hand-picked heads, no lag) is the
starting point for a checkpoint that cannot be measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

LAGS = tuple(range(-4, 17, 2))
"""Encoder frames (20 ms) by which attention may run behind the sound it belongs to; negative ones run ahead of it."""

KNOWN_LAG_FRAMES = 5
"""How far OpenAI's alignment heads run behind on average: 100 ms, measured on tiny.en."""

_MEDIAN_WIDTH = 7  # frames, as in Whisper
_LEAST, _MOST = -3.0, 6.0  # standard deviations; one frame's peak does not outweigh the others
_LEAST_LOG_SHARE = -4.0
_SHRINKAGE = 3e-3
_FIT_ITERATIONS = 60


@dataclass(frozen=True, kw_only=True)
class AttentionWeights:
    """Which heads are read and how they are added up.

    Attributes:
        heads: (layer, head) of the decoder's cross-attention, H of them.
        weights: one a lag and head, float32 [len(LAGS), H].
    """

    heads: tuple[tuple[int, int], ...]
    weights: np.ndarray

    @classmethod
    def untuned(cls, heads: Sequence[tuple[int, int]]) -> AttentionWeights:
        """Return the mean of `heads` at the lag that is usual: all that can be done without speech of known times."""
        nearest = [abs(lag - KNOWN_LAG_FRAMES) == min(abs(other - KNOWN_LAG_FRAMES) for other in LAGS) for lag in LAGS]
        share = np.array(nearest, dtype=np.float32) / (sum(nearest) * len(heads))
        return cls(heads=tuple(heads), weights=np.repeat(share[:, None], len(heads), axis=1))

    def log_shares(self, scores: torch.Tensor, num_frames: int) -> np.ndarray:
        """Return the log of each token's share in each frame, at least `_LEAST_LOG_SHARE`: float64 [L, num_frames].

        Args:
            scores: raw attention scores (before softmax) of `heads` while each of L tokens is expected [H, L, frames].
            num_frames: frames that hold sound; those behind are padding and are left out.
        """
        lagged = lagged_attention(scores, num_frames)
        logits = torch.einsum("kh,khlf->lf", torch.from_numpy(self.weights).to(lagged), lagged)
        return logits.log_softmax(dim=0).clamp(min=_LEAST_LOG_SHARE).double().cpu().numpy()


def lagged_attention(scores: torch.Tensor, num_frames: int) -> torch.Tensor:
    """Return attention comparable over tokens, once for each of `LAGS`, moved back by it: [len(LAGS), H, L, num_frames].

    The normalising and the median over frames are Whisper's (`whisper.timing.find_alignment`).
    """
    attention = scores[:, :, :num_frames].float().softmax(dim=-1)
    std, mean = torch.std_mean(attention, dim=-2, keepdim=True, unbiased=False)
    salience = _median_filter((attention - mean) / std.clamp(min=1e-8)).clamp(_LEAST, _MOST)
    ahead, behind = -min(LAGS), max(LAGS)
    padded = F.pad(salience, (ahead, behind))
    return torch.stack([padded[..., ahead + lag : ahead + lag + num_frames] for lag in LAGS])


def best_heads(examples: Sequence[tuple[torch.Tensor, np.ndarray]], count: int) -> list[int]:
    """Return the `count` heads that keep most of their attention, at their own best lag, on the frames of the token being expected.

    Args:
        examples: raw attention scores of all heads [H, L, F], and the token in each frame or -1 [F].
        count: how many to return, as places in H.
    """
    kept = torch.zeros(len(LAGS), examples[0][0].shape[0])
    for scores, token_of_frame in examples:
        attention = scores[:, :, : len(token_of_frame)].float().softmax(dim=-1)
        frames = np.flatnonzero(token_of_frame >= 0)
        for row, lag in enumerate(LAGS):
            seen = frames[(frames + lag >= 0) & (frames + lag < attention.shape[-1])]
            kept[row] += attention[:, token_of_frame[seen], seen + lag].sum(dim=-1)
    return kept.max(dim=0).values.argsort(descending=True, stable=True)[:count].tolist()


def fit_weights(examples: Sequence[tuple[torch.Tensor, np.ndarray]]) -> np.ndarray:
    """Return the weights under which the shares tell best which token each frame belongs to: float32 [len(LAGS), H].

    Multinomial logistic regression over tokens with weights that all tokens share, shrunk towards zero.

    Args:
        examples: raw attention scores of the chosen heads [H, L, F], and the token in each frame or -1 where none is spoken [F].
    """
    rows = []
    for scores, token_of_frame in examples:
        spoken = torch.from_numpy(np.flatnonzero(token_of_frame >= 0))
        rows.append((lagged_attention(scores, len(token_of_frame))[..., spoken], torch.from_numpy(token_of_frame)[spoken]))
    num_frames = sum(len(tokens) for _, tokens in rows)
    weights = torch.zeros(rows[0][0].shape[:2], requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=_FIT_ITERATIONS)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        surprise = sum(F.cross_entropy(torch.einsum("kh,khlf->fl", weights, lagged), tokens, reduction="sum") for lagged, tokens in rows)
        total = surprise / num_frames + _SHRINKAGE * weights.square().sum()
        total.backward()
        return total

    with torch.enable_grad():
        optimizer.step(loss)  # pyright: ignore[reportArgumentType]
    return weights.detach().numpy()


def _median_filter(attention: torch.Tensor) -> torch.Tensor:
    """Return the running median over frames [..., F], edges reflected; too short an axis is left as it is."""
    half = _MEDIAN_WIDTH // 2
    if attention.shape[-1] <= half:
        return attention
    padded = F.pad(attention, (half, half), mode="reflect")
    return padded.unfold(-1, _MEDIAN_WIDTH, 1).median(dim=-1).values
