"""Pause probabilities measured: whether they come true, how far they moved from another model's, and which labels they were taught.

**Calibration and drift.** The truth is in *audio time*: at row t, with horizon h, a pause is coming when no word of the reference begins in
the h seconds after that row is known. Which truth the published heads were trained on is not documented; a score against this one compares
models, it does not accuse them.

**Label hypotheses.** Each hypothesis of docs/vad.md is a labelling of every row by the words that begin within a head's horizon. It differs
from the others in its *clock*, which says where a word begins:

- `sound`: where it is spoken;
- `text`: a text lag later, where it would stand on the text stream;
- `written`: where the model itself began to write it, late words and lumps included;

and in its *classes*: `binary` says only that class 0 is a pause, `count` that class k is k words, the last class that many or more.

A hypothesis is measured by the share of the labels' uncertainty that the head explains: 1 - (mean log loss) / (entropy of the labels),
McFadden's R². 1 is certainty, 0 what a constant guess achieves, below 0 worse than that. For `count` it is taken over the rows in which
words do come, among the classes 1 to 5 alone, so that it says what those classes add to class 0.

Sources: Brier, Monthly Weather Review 78 (1950), 1-3, for one event; Guo et al., On Calibration of Modern Neural Networks (2017), for the
bins; McFadden, Conditional Logit Analysis of Qualitative Choice Behavior (1974), for R².
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stt_ft.core.timing import frame_heard_s
from stt_ft.targets.pause_targets import HORIZONS_S, words_ahead

CLOCKS = ("sound", "text", "written")

_SMALLEST_PROB = 1e-5
"""Probabilities are kept this far from 0 and 1 in logarithms: frames.jsonl keeps five decimals."""

_LEAST_EXPLAINED = 0.05
"""Share explained from which heads are taken to keep to a clock, and the classes 1 to 5 to count words."""


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
    """Rows whose probability lies in one bin: their number, their mean probability, and how often a pause followed."""

    num_rows: int
    mean_prob: float
    share_true: float


def reliability(probs: np.ndarray, truth: np.ndarray) -> list[ReliabilityBin]:
    """Return those of ten bins of equal width that hold any rows, from low to high."""
    indices = np.minimum((np.asarray(probs) * 10).astype(int), 9)
    return [
        ReliabilityBin(num_rows=int(inside.sum()), mean_prob=float(np.mean(probs[inside])), share_true=float(np.mean(truth[inside])))
        for index in range(10)
        if (inside := indices == index).any()
    ]


def calibration_error(bins: Sequence[ReliabilityBin]) -> float:
    """Return the mean distance between mean probability and share true of the bins, weighted by rows (expected calibration error)."""
    total = sum(one.num_rows for one in bins)
    return sum(one.num_rows * abs(one.mean_prob - one.share_true) for one in bins) / total


def drift_nats(base_probs: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """Return [T], the Kullback-Leibler divergence of "pause or not" from the base's to the other's probabilities, in nats."""
    p = np.clip(np.asarray(base_probs, dtype=np.float64), _SMALLEST_PROB, 1 - _SMALLEST_PROB)
    q = np.clip(np.asarray(probs, dtype=np.float64), _SMALLEST_PROB, 1 - _SMALLEST_PROB)
    return p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))


@dataclass(frozen=True, kw_only=True)
class HeadEvidence:
    """One clip under one model: what its heads said, and where words began by each clock.

    Attributes:
        pause: probability of class 0 [T, H].
        word_classes: probabilities of the classes 1 and up [T, H, C - 1]; None where they were not kept.
        onset_frames: clock -> frames in which words begin, ascending.
    """

    pause: np.ndarray
    word_classes: np.ndarray | None
    onset_frames: Mapping[str, Sequence[int]]


@dataclass(frozen=True, kw_only=True)
class HypothesisFit:
    """How well one head keeps to one clock. `count_explained` is NaN where the classes were not kept or no words come."""

    clock: str
    head: int
    binary_explained: float
    count_explained: float


def fit_hypotheses(clips: Sequence[HeadEvidence]) -> list[HypothesisFit]:
    """Return a fit for every clock and head."""
    num_heads = min(clips[0].pause.shape[1], len(HORIZONS_S))
    return [_fit(clips, clock, head) for clock in CLOCKS for head in range(num_heads)]


def _fit(clips: Sequence[HeadEvidence], clock: str, head: int) -> HypothesisFit:
    ahead = np.concatenate(
        [words_ahead(np.asarray(clip.onset_frames[clock], np.int64), len(clip.pause), HORIZONS_S[head]) for clip in clips]
    )
    pause = np.concatenate([clip.pause[:, head] for clip in clips])
    word_classes = [clip.word_classes[:, head] for clip in clips if clip.word_classes is not None]
    return HypothesisFit(
        clock=clock,
        head=head,
        binary_explained=explained(np.stack([pause, 1 - pause], axis=1), (ahead > 0).astype(int)),
        count_explained=_count_explained(np.concatenate(word_classes), ahead) if len(word_classes) == len(clips) else float("nan"),
    )


def _count_explained(word_classes: np.ndarray, ahead: np.ndarray) -> float:
    """Return the share of the uncertainty about the number of coming words that the classes 1 and up explain, in rows where words come."""
    probs, counts = word_classes[ahead > 0], np.minimum(ahead[ahead > 0], word_classes.shape[1]) - 1
    total = probs.sum(axis=1, keepdims=True)
    return explained(probs / np.maximum(total, _SMALLEST_PROB), counts)


def explained(probs: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of the uncertainty of `labels` [N] that `probs` [N, C] explain; NaN when all labels are alike."""
    shares = np.bincount(labels, minlength=probs.shape[1]) / max(len(labels), 1)
    entropy = -sum(share * np.log(share) for share in shares if share > 0)
    if entropy <= 0:
        return float("nan")
    loss = -np.log(np.clip(probs[np.arange(len(labels)), labels], _SMALLEST_PROB, 1)).mean()
    return float(1 - loss / entropy)


def best_hypothesis(fits: Sequence[HypothesisFit]) -> tuple[str | None, str | None]:
    """Return the clock that class 0 keeps to best over all heads, and the meaning of the other classes: "count" or "binary".

    Without a clock that explains anything both are None; without the other classes' probabilities the second is.
    """
    explained_by = {clock: _mean(fit.binary_explained for fit in fits if fit.clock == clock) for clock in CLOCKS}
    clock = max(CLOCKS, key=lambda clock: explained_by[clock])
    if not explained_by[clock] >= _LEAST_EXPLAINED:
        return None, None
    count = _mean(fit.count_explained for fit in fits if fit.clock == clock)
    return clock, None if np.isnan(count) else "count" if count >= _LEAST_EXPLAINED else "binary"


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
