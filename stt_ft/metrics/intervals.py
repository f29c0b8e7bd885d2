"""95 % intervals of figures over clips: the bootstrap by speaker, paired between two models, and Wilson's where it has nothing to vary.

Clips of one speaker are alike, so speakers are drawn, and then clips of those that were drawn; where fewer than `MIN_SPEAKERS` are
known, clips alone. A *statistic* takes how many times each clip was drawn [R, N], a row a resampling of the N clips, and returns R
figures. Two models that are measured on the same clips take the same rows, so the interval of their difference is a paired one.

A percentile interval of few draws is too narrow: by the spread of n values about their own mean, and by the normal law where Student's
holds. It is therefore read at wider percentiles, as if it were a t interval ("expanded percentile interval"). The coverage that this
gives is in docs/decisions.md and in the tests.

Sources: Efron & Tibshirani, An Introduction to the Bootstrap (1993), chapters 13 and 16; Davison & Hinkley, Bootstrap Methods and their
Application (1997), section 3.8 (both stages); Hesterberg, What Teachers Should Know About the Bootstrap, The American Statistician 69
(2015), 371-386 (the percentiles); Wilson, JASA 22 (1927), 209-212.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

Statistic = Callable[[np.ndarray], np.ndarray]
"""How many times each clip was drawn [R, N] -> figures [R]."""

NUM_RESAMPLES = 2000
"""Resamplings of the clips: the ends of a 95 % interval of many draws then rest on 50 figures each."""

MIN_SPEAKERS = 5
"""Fewest known speakers from which speakers are drawn; fewer do not show how speakers differ, so clips are drawn."""

_Z95 = 1.959963984540054
"""Normal quantile at 0.975."""

_CELLS_AT_A_TIME = 2_000_000
"""Numbers held in memory at once, so that 2000 resamplings of 10,000 clips need no gigabyte."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure and its 95 % interval, in the figure's own unit; infinite where more clips missed than the figure can bear."""

    value: float
    low: float
    high: float
    num_clips: int


@dataclass(frozen=True, kw_only=True)
class Resampling:
    """Draws of clips, made once and taken by every figure over these clips.

    Attributes:
        times: how many times each resampling drew each clip [R, N].
        num_draws: how many speakers, or clips where they alone were drawn, a resampling draws.
        num_speakers: known speakers, None where clips alone were drawn.
    """

    times: np.ndarray
    num_draws: int
    num_speakers: int | None = None

    @property
    def num_clips(self) -> int:
        return self.times.shape[1]

    @classmethod
    def of(cls, speakers: Sequence[str | None], *, seed: int = 0) -> Resampling:
        """Draw clips by the speaker of each, None where it is not known.

        Speakers are drawn with replacement, as many as there are, and then as many clips of each as it has, with replacement. A clip whose
        speaker is not known counts as a speaker. Raises `ValueError` without clips.
        """
        if not speakers:
            raise ValueError("an interval needs at least one clip, got 0")
        rng, known = np.random.default_rng(seed), {name for name in speakers if name is not None}
        if len(known) < MIN_SPEAKERS:
            return cls(times=_times_drawn([[index] for index in range(len(speakers))], rng), num_draws=len(speakers))
        clips_of: dict[str | int, list[int]] = {}
        for index, name in enumerate(speakers):
            clips_of.setdefault(index if name is None else name, []).append(index)
        return cls(times=_times_drawn(list(clips_of.values()), rng), num_draws=len(clips_of), num_speakers=len(known))

    @property
    def percentiles(self) -> tuple[float, float]:
        """The shares of the resampled figures below which the two ends of a 95 % interval lie."""
        if self.num_draws < 2:
            return 0.0, 1.0
        tail = NormalDist().cdf(-math.sqrt(self.num_draws / (self.num_draws - 1)) * _student95(self.num_draws - 1))
        return tail, 1 - tail

    def sample(self, statistic: Statistic) -> Sampled:
        """Return `statistic` over all clips and over every resampling."""
        rows = max(1, _CELLS_AT_A_TIME // self.num_clips)
        figures = np.concatenate([statistic(self.times[start : start + rows]) for start in range(0, len(self.times), rows)])
        return Sampled(value=self.value(statistic), figures=figures, resampling=self)

    def value(self, statistic: Statistic) -> float:
        """Return `statistic` over all clips, each once."""
        return float(statistic(np.ones((1, self.num_clips), dtype=self.times.dtype))[0])


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """A statistic over all clips, each once (`value`), and over every resampling (`figures` [R])."""

    value: float
    figures: np.ndarray
    resampling: Resampling

    def estimate(self, *, is_share: bool = False) -> Estimate:
        """Return the value and its 95 % bootstrap interval.

        `is_share`: the figure is a share, or like a share 0 when no clip errs. Where all clips are alike at 0 or 1, the bootstrap interval
        has no width; Wilson's interval for none (or all) of the clips, which ignores speakers, then takes its place.
        """
        value, (low, high), num_clips = self.value, self._interval(), self.resampling.num_clips
        if is_share and low == high == value and value in (0.0, 1.0):
            low, high = wilson(round(value * num_clips), num_clips)
        return Estimate(value=value, low=low, high=high, num_clips=num_clips)

    def less(self, other: Sampled) -> Estimate:
        """Return this minus `other`, drawn by the same resampling, with the 95 % paired-bootstrap interval.

        One clip shows no spread, so its difference may be chance, whatever its size: the interval is then without ends.
        """
        with np.errstate(invalid="ignore"):
            apart = Sampled(value=self.value - other.value, figures=self.figures - other.figures, resampling=self.resampling)
        low, high = apart._interval() if self.resampling.num_draws > 1 else (-math.inf, math.inf)
        return Estimate(value=apart.value, low=low, high=high, num_clips=self.resampling.num_clips)

    def _interval(self) -> tuple[float, float]:
        """Return the ends of the 95 % interval, of the figures that are numbers; NaN when none is."""
        ordered = np.sort(self.figures[~np.isnan(self.figures)])
        if len(ordered) == 0:
            return math.nan, math.nan
        low, high = self.resampling.percentiles
        return float(sorted_quantile(ordered, low)), float(sorted_quantile(ordered, high))


def _times_drawn(groups: Sequence[Sequence[int]], rng: np.random.Generator) -> np.ndarray:
    """Draw groups of clips, then clips of each drawn group, all with replacement; return how many times each clip came [R, N]."""
    clips, sizes = np.concatenate([np.asarray(group) for group in groups]), np.array([len(group) for group in groups])
    firsts, num_clips = np.cumsum(sizes) - sizes, len(clips)
    times = np.zeros((NUM_RESAMPLES, num_clips), dtype=np.uint16)
    rows_at_a_time = max(1, _CELLS_AT_A_TIME // num_clips)
    for start in range(0, NUM_RESAMPLES, rows_at_a_time):
        drawn = rng.integers(0, len(groups), size=(min(rows_at_a_time, NUM_RESAMPLES - start), len(groups)))
        if len(groups) < num_clips:
            of_draw = np.repeat(drawn.ravel(), sizes[drawn.ravel()])  # the group of each clip to be drawn
            places = clips[firsts[of_draw] + (rng.random(len(of_draw)) * sizes[of_draw]).astype(np.int64)]
            rows = np.repeat(np.arange(len(drawn)), sizes[drawn].sum(axis=1))
        else:
            places, rows = clips[drawn].ravel(), np.repeat(np.arange(len(drawn)), len(groups))
        times[start : start + len(drawn)] = np.bincount(rows * num_clips + places, minlength=len(drawn) * num_clips).reshape(len(drawn), -1)
    return times


def _student95(freedom: int) -> float:
    """Return the quantile of Student's t at 0.975, to 0.1 % from 3 degrees of freedom on (Abramowitz & Stegun 26.7.5)."""
    z = _Z95
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / freedom**power for power, term in enumerate(terms, start=1))


def ratio(numerators: Sequence[float], denominators: Sequence[float] | None = None) -> Statistic:
    """Return the statistic sum(numerators) / sum(denominators), one of each a clip; without denominators it is the mean. NaN for 0 / 0."""
    tops = np.asarray(numerators, dtype=np.float64)
    bottoms = np.ones_like(tops) if denominators is None else np.asarray(denominators, dtype=np.float64)
    both = np.stack([tops, bottoms], axis=1)

    def statistic(times: np.ndarray) -> np.ndarray:
        sums = times.astype(np.float64) @ both
        with np.errstate(invalid="ignore", divide="ignore"):
            return sums[:, 0] / sums[:, 1]

    return statistic


def quantile(values: Sequence[float], q: float) -> Statistic:
    """Return the statistic "quantile `q` of one value a clip", linear between neighbours; values may be +inf (an event that never came)."""
    return pooled_quantile([(value,) for value in values], q)


def pooled_quantile(values_by_clip: Sequence[Sequence[float]], q: float) -> Statistic:
    """Return the statistic "quantile `q` of the values of all clips together", linear between neighbours; NaN where no clip has any.

    A clip that is drawn twice brings its values twice, so words of one clip stay together.
    """
    num_clips, lengths = len(values_by_clip), [len(values) for values in values_by_clip]
    values = np.fromiter((value for values in values_by_clip for value in values), dtype=np.float64)
    order = np.argsort(values, kind="stable")
    values, clip_of_value = values[order], np.repeat(np.arange(num_clips), lengths)[order]
    rows = max(1, _CELLS_AT_A_TIME // max(len(values), 1))

    def statistic(times: np.ndarray) -> np.ndarray:
        parts = (np.take(times[start : start + rows], clip_of_value, axis=1) for start in range(0, len(times), rows))
        return np.concatenate([_quantiles_of_draws(values, part, q) for part in parts])

    return statistic


def _quantiles_of_draws(ordered: np.ndarray, times: np.ndarray, q: float) -> np.ndarray:
    """Return quantile `q` of `ordered` [N], each value drawn so many `times` [R, N]; NaN where none was [R]."""
    if len(ordered) == 0:
        return np.full(len(times), np.nan)
    ends = np.cumsum(times.ravel(), dtype=np.int64)  # of each value's copies, among all that were drawn, row after row
    totals = np.diff(ends[len(ordered) - 1 :: len(ordered)], prepend=0)
    firsts, last = np.cumsum(totals) - totals, np.maximum(totals - 1, 0)
    position = q * last
    below = np.floor(position).astype(np.int64)

    def value_at(place: np.ndarray) -> np.ndarray:
        found = np.searchsorted(ends, firsts + place, side="right") - np.arange(len(times)) * len(ordered)
        return ordered[np.minimum(found, len(ordered) - 1)]

    low, high = value_at(below), value_at(np.minimum(below + 1, last))
    with np.errstate(invalid="ignore"):
        between = low + (position - below) * (high - low)
    figures = np.where((position == below) | (low == high), low, between)
    return np.where(totals == 0, np.nan, figures)


def sorted_quantile(ordered: np.ndarray, q: float) -> np.ndarray:
    """Return quantile `q` along the last axis of `ordered` [..., N], as `np.quantile` does, but without NaN beside infinity."""
    position = q * (ordered.shape[-1] - 1)
    below = math.floor(position)
    share = position - below
    low, high = ordered[..., below], ordered[..., min(below + 1, ordered.shape[-1] - 1)]
    with np.errstate(invalid="ignore"):
        between = low + share * (high - low)
    return np.where((share == 0) | (low == high), low, between)


def estimate(statistic: Statistic, resampling: Resampling, *, is_share: bool = False) -> Estimate:
    """Return `statistic` over all clips and its 95 % bootstrap interval, as `Sampled.estimate` does."""
    return resampling.sample(statistic).estimate(is_share=is_share)


def paired_difference(ours: Statistic, theirs: Statistic, resampling: Resampling) -> Estimate:
    """Return `ours` minus `theirs`, both over the same clips in the same order, as `Sampled.less` does."""
    return resampling.sample(ours).less(resampling.sample(theirs))


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Return Wilson's 95 % score interval for a share of `successes` in `trials`."""
    share, z2 = successes / trials, _Z95**2
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = _Z95 / (1 + z2 / trials) * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    return (0.0 if successes == 0 else centre - half, 1.0 if successes == trials else centre + half)
