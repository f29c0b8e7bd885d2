"""The figures of a report, each a statistic over a slice of clips, with its 95 % interval.

    report["figures"]["tuned"]["numbers"]["false_cut_offs"] == {"value": 0.033, "low": 0.0, "high": 0.083, "num_clips": 60}

Shares and rates are between 0 and 1, latencies in seconds. A latency is null where it is infinite: more turns were missed than the quantile
can bear. A figure that a slice does not have (no clips, no digits) is left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from stt_ft.metrics.intervals import Estimate, Resampling, Statistic, estimate, pooled_quantile, quantile, ratio
from stt_ft.report.frames import ClipFrames
from stt_ft.report.scores import ClipScore

SLICES: dict[str, Callable[[ClipFrames], bool]] = {
    "numbers": lambda frames: frames.kind == "number" and frames.manner != "hesitant" and frames.voices != "people",
    "hesitant": lambda frames: frames.kind == "number" and frames.manner == "hesitant" and frames.voices != "people",
    "people": lambda frames: frames.kind == "number" and frames.voices == "people",
    "ordinary": lambda frames: frames.kind == "ordinary",
    "all": lambda frames: True,
}
"""Slice -> whether a clip is in it. A clip is in "all" and, as a rule, in one other."""

SLICE_TITLES = {
    "numbers": "Dictated numbers",
    "hesitant": "Hesitant numbers",
    "people": "Numbers in people's voices",
    "ordinary": "Ordinary sentences",
    "all": "All clips",
}

OPTIONAL_SLICES = ("hesitant", "people")
"""Slices that a dataset need not have: a gate passes over what it asks of them where there are no such clips."""

NUMBER_SLICES = ("numbers", "hesitant", "people")
"""Slices of dictated numbers: whatever is told of one is told of each."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """How a figure is computed and read.

    Attributes:
        unit: "share" (of clips), "rate" (errors per unit of reference), "s" or "score" (a number without unit).
        better: "lower" or "higher".
        of: the scores of a slice -> its statistic over clip indices.
        slices: where it makes sense.
    """

    label: str
    unit: str
    better: str
    of: Callable[[Sequence[ClipScore]], Statistic]
    slices: tuple[str, ...] = tuple(SLICES)


def _share(test: Callable[[ClipScore], bool]) -> Callable[[Sequence[ClipScore]], Statistic]:
    return lambda scores: ratio([float(test(score)) for score in scores])


def _rate(errors: Callable[[ClipScore], int], units: Callable[[ClipScore], int]) -> Callable[[Sequence[ClipScore]], Statistic]:
    return lambda scores: ratio([errors(score) for score in scores], [units(score) for score in scores])


def _latency(q: float) -> Callable[[Sequence[ClipScore]], Statistic]:
    return lambda scores: quantile([score.turn.latency_s for score in scores], q)


def _word_delay(q: float) -> Callable[[Sequence[ClipScore]], Statistic]:
    return lambda scores: pooled_quantile([score.word_delays_s for score in scores], q)


FIGURES: dict[str, Figure] = {
    "false_cut_offs": Figure(label="False cut-offs", unit="share", better="lower", of=_share(lambda s: s.turn.is_cut_off)),
    "cut_offs_inside_last_word": Figure(
        label="Of them inside the last word", unit="share", better="lower", of=_share(lambda s: s.turn.is_inside_last_word)
    ),
    "missed_ends": Figure(label="Missed ends", unit="share", better="lower", of=_share(lambda s: s.turn.is_missed)),
    "latency_p50_s": Figure(label="End-of-turn latency p50", unit="s", better="lower", of=_latency(0.5)),
    "latency_p90_s": Figure(label="End-of-turn latency p90", unit="s", better="lower", of=_latency(0.9)),
    "latency_p95_s": Figure(label="End-of-turn latency p95", unit="s", better="lower", of=_latency(0.95)),
    "digit_strings_exact": Figure(
        label="Digit strings exact", unit="share", better="higher", of=_share(lambda s: s.digits.is_exact), slices=NUMBER_SLICES
    ),
    "digit_error_rate": Figure(
        label="Digit error rate",
        unit="rate",
        better="lower",
        of=_rate(lambda s: s.digits.edits.num_errors, lambda s: s.digits.edits.num_reference),
        slices=NUMBER_SLICES,
    ),
    "written_as_words": Figure(
        label="Written as words", unit="share", better="higher", of=_share(lambda s: s.digits.form == "words"), slices=NUMBER_SLICES
    ),
    "written_as_digits": Figure(
        label="Written in glyphs", unit="share", better="lower", of=_share(lambda s: s.digits.form == "digits"), slices=NUMBER_SLICES
    ),
    "written_mixed": Figure(
        label="Written both ways", unit="share", better="lower", of=_share(lambda s: s.digits.form == "mixed"), slices=NUMBER_SLICES
    ),
    "word_error_rate": Figure(
        label="Word error rate", unit="rate", better="lower", of=_rate(lambda s: s.words.num_errors, lambda s: s.words.num_reference)
    ),
    "word_error_rate_raw": Figure(
        label="Word error rate, as written",
        unit="rate",
        better="lower",
        of=_rate(lambda s: s.raw_words.num_errors, lambda s: s.raw_words.num_reference),
    ),
    "character_error_rate": Figure(
        label="Character error rate",
        unit="rate",
        better="lower",
        of=_rate(lambda s: s.characters.num_errors, lambda s: s.characters.num_reference),
    ),
    "sentence_style": Figure(label="Written as a sentence", unit="share", better="higher", of=_share(lambda s: s.is_sentence)),
    "early_full_stops": Figure(label="Full stops before the end", unit="share", better="lower", of=_share(lambda s: s.num_early_stops > 0)),
    "word_delay_mean_s": Figure(
        label="Word delay, mean",
        unit="s",
        better="lower",
        of=lambda scores: ratio([sum(s.word_delays_s) for s in scores], [len(s.word_delays_s) for s in scores]),
    ),
    "word_delay_p50_s": Figure(label="Word delay p50", unit="s", better="lower", of=_word_delay(0.5)),
    "word_delay_p90_s": Figure(label="Word delay p90", unit="s", better="lower", of=_word_delay(0.9)),
    "word_delay_p95_s": Figure(label="Word delay p95", unit="s", better="lower", of=_word_delay(0.95)),
    "brier": Figure(
        label="Brier score of the pause head",
        unit="score",
        better="lower",
        of=lambda scores: ratio([s.squared_error for s in scores], [s.num_rows for s in scores]),
    ),
}


@dataclass(frozen=True, kw_only=True)
class Headline:
    """A row of the table that people see first; `label` says it in full, where its slice is not in sight."""

    slice_name: str
    figure: str
    label: str


HEADLINES = (
    Headline(slice_name="numbers", figure="false_cut_offs", label="False cut-offs inside numbers"),
    Headline(slice_name="numbers", figure="digit_strings_exact", label="Digit strings exact"),
    Headline(slice_name="numbers", figure="written_as_words", label="Numbers written as words"),
    Headline(slice_name="numbers", figure="latency_p50_s", label="End-of-turn latency after numbers, p50"),
    Headline(slice_name="numbers", figure="latency_p95_s", label="End-of-turn latency after numbers, p95"),
    Headline(slice_name="hesitant", figure="false_cut_offs", label="False cut-offs inside hesitant numbers"),
    Headline(slice_name="hesitant", figure="latency_p50_s", label="End-of-turn latency after hesitant numbers, p50"),
    Headline(slice_name="people", figure="false_cut_offs", label="False cut-offs inside numbers in people's voices"),
    Headline(slice_name="people", figure="digit_strings_exact", label="Digit strings exact in people's voices"),
    Headline(slice_name="people", figure="latency_p50_s", label="End-of-turn latency after numbers in people's voices, p50"),
    Headline(slice_name="ordinary", figure="latency_p50_s", label="End-of-turn latency after sentences, p50"),
    Headline(slice_name="ordinary", figure="latency_p95_s", label="End-of-turn latency after sentences, p95"),
    Headline(slice_name="ordinary", figure="word_error_rate", label="Word error rate on ordinary sentences"),
    Headline(slice_name="ordinary", figure="false_cut_offs", label="False cut-offs in ordinary sentences"),
)


def models_of(report: dict[str, Any]) -> list[str]:
    """Return the models of a report, baseline first; `report["figures"]` holds other systems beside them."""
    return [name for name in (report["baseline"], report["model"]) if name is not None]


def sliced(scores: Sequence[ClipScore]) -> dict[str, list[ClipScore]]:
    """Return the scores of every slice that has clips."""
    kept = {name: [score for score in scores if keep(score.frames)] for name, keep in SLICES.items()}
    return {name: members for name, members in kept.items() if members}


def resampling_of(scores: Sequence[ClipScore]) -> Resampling:
    """Draw the clips of `scores` by their speakers."""
    return Resampling.of([score.frames.speaker for score in scores])


def figures_of(scores: Sequence[ClipScore], names: Iterable[str], resampling: Resampling | None = None) -> dict[str, Any]:
    """Return the figures called `names` over `scores`, each with its interval, as they stand in report.json.

    `resampling` is that of the clips, where it was drawn before.
    """
    drawn = resampling or resampling_of(scores)
    statistics = {name: FIGURES[name].of(scores) for name in names}
    return to_json({name: estimate(one, drawn, is_share=FIGURES[name].unit in ("share", "rate")) for name, one in statistics.items()})


def to_json(estimates: dict[str, Estimate]) -> dict[str, Any]:
    """Return the estimates that exist, as they stand in report.json: infinities as null, those of nothing (NaN) left out."""
    return {name: finite(asdict(one)) for name, one in estimates.items() if not math.isnan(one.value)}


def finite(values: dict[str, float]) -> dict[str, float | None]:
    """Return `values` with null for what is infinite."""
    return {key: value if math.isfinite(value) else None for key, value in values.items()}
