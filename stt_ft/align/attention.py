"""Times of text tokens from a decoder's attention to sound: the path of most attention through the [tokens, frames] map.

Source: `whisper.timing.find_alignment` (openai/whisper), whose filtering is kept; the path here is found for a known text, so that every
token gets a frame, in order.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

_MEDIAN_WIDTH = 7  # frames, as in Whisper


def attention_map(scores: torch.Tensor, num_frames: int) -> np.ndarray:
    """Return how much each token attends to each frame, comparable over tokens.

    Args:
        scores: raw attention scores (before softmax) of the alignment heads, [H, L, F].
        num_frames: frames that hold sound; those behind are padding and are left out.

    Returns:
        float64 [L, num_frames].
    """
    weights = scores[:, :, :num_frames].float().softmax(dim=-1)
    std, mean = torch.std_mean(weights, dim=-2, keepdim=True, unbiased=False)
    weights = (weights - mean) / std.clamp(min=1e-8)
    return _median_filter(weights).mean(dim=0).double().cpu().numpy()


def monotonic_path(affinity: np.ndarray) -> np.ndarray:
    """Return for each token the frame at which it begins: int64 [L], never decreasing, the first 0.

    Dynamic time warping over `affinity` [L, F]: every step moves on by one frame, one token, or both, and the summed affinity is largest.
    """
    num_tokens, num_frames = affinity.shape
    total = np.full((num_tokens + 1, num_frames + 1), -np.inf)
    total[0, 0] = 0.0
    came = np.zeros((num_tokens + 1, num_frames + 1), dtype=np.int8)  # 0 both, 1 token, 2 frame
    for token in range(1, num_tokens + 1):
        enter = np.maximum(total[token - 1, :-1], total[token - 1, 1:])
        by_token = total[token - 1, 1:] > total[token - 1, :-1]
        row, before = total[token], -np.inf
        for frame in range(1, num_frames + 1):
            stay = before > enter[frame - 1]
            before = (before if stay else enter[frame - 1]) + affinity[token - 1, frame - 1]
            row[frame] = before
            came[token, frame] = 2 if stay else 1 if by_token[frame - 1] else 0
    onsets = np.zeros(num_tokens, dtype=np.int64)
    token, frame = num_tokens, num_frames
    while token > 0 and frame > 0:
        onsets[token - 1] = frame - 1
        step = came[token, frame]
        token, frame = token - (step != 2), frame - (step != 1)
    return onsets


def _median_filter(weights: torch.Tensor) -> torch.Tensor:
    """Return the running median over frames [..., F], edges reflected; too short an axis is left as it is."""
    half = _MEDIAN_WIDTH // 2
    if weights.shape[-1] <= half:
        return weights
    padded = F.pad(weights, (half, half), mode="reflect")
    return padded.unfold(-1, _MEDIAN_WIDTH, 1).median(dim=-1).values
