"""95 % intervals by clip: percentile bootstrap, paired between two models, and Wilson's where the bootstrap has nothing to vary.

A *statistic* takes clip indices [R, N], each row one resampling of the N clips, and returns R figures. Two models that are measured on
the same clips take the same rows, so the interval of their difference is a paired one.

Sources: Efron & Tibshirani, An Introduction to the Bootstrap (1993), chapters 13 and 16; Wilson, JASA 22 (1927), 209-212.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

Statistic = Callable[[np.ndarray], np.ndarray]
"""Clip indices [R, N] -> figures [R]."""

NUM_RESAMPLES = 2000
"""Resamplings of the clips: the ends of a 95 % interval then rest on 50 figures each."""

_Z95 = 1.959963984540054
"""Normal quantile at 0.975."""

_ROWS_AT_A_TIME = 250
"""Resamplings computed together, so that 2000 of 10,000 clips need no gigabyte."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure and its 95 % interval, in the figure's own unit; infinite where more clips missed than the figure can bear."""

    value: float
    low: float
    high: float
    num_clips: int


def ratio(numerators: Sequence[float], denominators: Sequence[float] | None = None) -> Statistic:
    """Return the statistic sum(numerators) / sum(denominators), one of each a clip; without denominators it is the mean. NaN for 0 / 0."""
    tops = np.asarray(numerators, dtype=np.float64)
    bottoms = np.ones_like(tops) if denominators is None else np.asarray(denominators, dtype=np.float64)

    def statistic(indices: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return tops[indices].sum(axis=1) / bottoms[indices].sum(axis=1)

    return statistic


def quantile(values: Sequence[float], q: float) -> Statistic:
    """Return the statistic "quantile `q` of one value a clip", linear between neighbours; values may be +inf (an event that never came)."""
    array = np.asarray(values, dtype=np.float64)

    def statistic(indices: np.ndarray) -> np.ndarray:
        return sorted_quantile(np.sort(array[indices], axis=1), q)

    return statistic


def pooled_quantile(values_by_clip: Sequence[Sequence[float]], q: float) -> Statistic:
    """Return the statistic "quantile `q` of the values of all clips together", linear between neighbours; NaN where no clip has any.

    A clip that is drawn twice brings its values twice, so words of one clip stay together and the interval is one by clip.
    """
    num_clips, lengths = len(values_by_clip), [len(values) for values in values_by_clip]
    values = np.fromiter((value for values in values_by_clip for value in values), dtype=np.float64)
    order = np.argsort(values, kind="stable")
    values, clip_of_value = values[order], np.repeat(np.arange(num_clips), lengths)[order]

    def statistic(indices: np.ndarray) -> np.ndarray:
        draws = (np.bincount(row, minlength=num_clips) for row in indices)
        return np.array([_quantile_of_draw(values, times[clip_of_value], q) for times in draws])

    return statistic


def _quantile_of_draw(ordered: np.ndarray, times: np.ndarray, q: float) -> float:
    """Return quantile `q` of `ordered` [N], each value drawn so many `times` [N]; NaN where none was."""
    last_places = np.cumsum(times) - 1  # of each value's copies, among all that were drawn
    if len(ordered) == 0 or last_places[-1] < 0:
        return math.nan
    position = q * last_places[-1]
    below = math.floor(position)
    low, high = ordered[np.searchsorted(last_places, (below, min(below + 1, last_places[-1])))]
    return float(low + (position - below) * (high - low))


def sorted_quantile(ordered: np.ndarray, q: float) -> np.ndarray:
    """Return quantile `q` along the last axis of `ordered` [..., N], as `np.quantile` does, but without NaN beside infinity."""
    position = q * (ordered.shape[-1] - 1)
    below = math.floor(position)
    share = position - below
    low, high = ordered[..., below], ordered[..., min(below + 1, ordered.shape[-1] - 1)]
    with np.errstate(invalid="ignore"):
        between = low + share * (high - low)
    return np.where((share == 0) | (low == high), low, between)


def estimate(statistic: Statistic, num_clips: int, *, seed: int = 0, is_share: bool = False) -> Estimate:
    """Return `statistic` over all clips and its 95 % percentile-bootstrap interval.

    `is_share` says that the figure is a share, or like one is 0 when no clip errs. Where all clips are alike at 0 or 1 the resamplings
    would give an interval of no width; Wilson's for none (or all) of `num_clips` takes its place.
    """
    if num_clips == 0:
        raise ValueError("an estimate needs at least one clip, got 0")
    value = float(statistic(np.arange(num_clips)[None])[0])
    low, high = _percentile_interval(_resampled(statistic, num_clips, seed))
    if is_share and low == high == value and value in (0.0, 1.0):
        low, high = wilson(round(value * num_clips), num_clips)
    return Estimate(value=value, low=low, high=high, num_clips=num_clips)


def paired_difference(ours: Statistic, theirs: Statistic, num_clips: int, *, seed: int = 0) -> Estimate:
    """Return `ours` minus `theirs`, both over the same clips in the same order, with its 95 % paired-bootstrap interval."""
    if num_clips == 0:
        raise ValueError("a difference needs at least one clip, got 0")

    def difference(indices: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return ours(indices) - theirs(indices)

    value = float(difference(np.arange(num_clips)[None])[0])
    low, high = _percentile_interval(_resampled(difference, num_clips, seed))
    return Estimate(value=value, low=low, high=high, num_clips=num_clips)


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Return Wilson's 95 % score interval for a share of `successes` in `trials`."""
    share, z2 = successes / trials, _Z95**2
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = _Z95 / (1 + z2 / trials) * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    return (0.0 if successes == 0 else centre - half, 1.0 if successes == trials else centre + half)


def _resampled(statistic: Statistic, num_clips: int, seed: int) -> np.ndarray:
    return np.concatenate([statistic(indices) for indices in _resamplings(num_clips, seed)])


def _resamplings(num_clips: int, seed: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(seed)
    for start in range(0, NUM_RESAMPLES, _ROWS_AT_A_TIME):
        yield rng.integers(0, num_clips, size=(min(_ROWS_AT_A_TIME, NUM_RESAMPLES - start), num_clips))


def _percentile_interval(figures: np.ndarray) -> tuple[float, float]:
    """Return the 2.5 % and 97.5 % quantiles of the figures that are numbers; NaN when none is."""
    ordered = np.sort(figures[~np.isnan(figures)])
    if len(ordered) == 0:
        return math.nan, math.nan
    return float(sorted_quantile(ordered, 0.025)), float(sorted_quantile(ordered, 0.975))
