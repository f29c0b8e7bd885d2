"""Whether pause probabilities mean what they say: calibration against what was spoken, and drift from another model.

The truth here is in *audio time*: at row t, with horizon h, a pause is coming when no word of the reference begins in the h seconds after
that row is known. Which truth the published heads were trained on is not documented; a score against this one compares models, it does
not accuse them.

Sources: Brier, Monthly Weather Review 78 (1950), 1-3, for one event; Guo et al., On Calibration of Modern Neural Networks (2017), for the
bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stt_ft.core.timing import frame_heard_s

_SMALLEST_PROB = 1e-5
"""Probabilities are kept this far from 0 and 1 in logarithms: frames.jsonl keeps five decimals."""


def pause_is_coming(word_starts_s: Sequence[float], num_rows: int, horizon_s: float) -> np.ndarray:
    """Return [num_rows] of bool: no word begins within `horizon_s` after the row is known."""
    known_s = np.array([frame_heard_s(row) for row in range(num_rows)])[:, None]
    starts_s = np.asarray(word_starts_s, dtype=np.float64)[None]
    word_comes = (starts_s > known_s + 1e-9) & (starts_s <= known_s + horizon_s + 1e-9)  # [rows, words]
    return np.logical_not(word_comes.any(axis=1))


def squared_errors(probs: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return [T], the terms of the Brier score: 0 is certain and right, 1 certain and wrong, 0.25 says nothing."""
    return (np.asarray(probs, dtype=np.float64) - truth) ** 2


@dataclass(frozen=True, kw_only=True)
class ReliabilityBin:
    """Rows whose probability lies in one bin: how many, what they said on average, and how often it came true."""

    num_rows: int
    mean_prob: float
    share_true: float


def reliability(probs: np.ndarray, truth: np.ndarray, num_bins: int = 10) -> list[ReliabilityBin]:
    """Return the bins of equal width that hold any rows, from low to high."""
    indices = np.minimum((np.asarray(probs) * num_bins).astype(int), num_bins - 1)
    return [
        ReliabilityBin(num_rows=int(inside.sum()), mean_prob=float(np.mean(probs[inside])), share_true=float(np.mean(truth[inside])))
        for index in range(num_bins)
        if (inside := indices == index).any()
    ]


def calibration_error(bins: Sequence[ReliabilityBin]) -> float:
    """Return the mean distance between what the bins said and what came true, weighted by rows."""
    total = sum(one.num_rows for one in bins)
    return sum(one.num_rows * abs(one.mean_prob - one.share_true) for one in bins) / total


def drift_nats(base_probs: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """Return [T], the Kullback-Leibler divergence of "pause or not" from the base's to the other's probabilities, in nats."""
    p = np.clip(np.asarray(base_probs, dtype=np.float64), _SMALLEST_PROB, 1 - _SMALLEST_PROB)
    q = np.clip(np.asarray(probs, dtype=np.float64), _SMALLEST_PROB, 1 - _SMALLEST_PROB)
    return p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
