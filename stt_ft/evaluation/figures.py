"""The figures of a report, each a statistic over a slice of clips with its 95 % interval; and those of parts of a slice.

Parts are small: they are told in fewer figures, and no part of fewer than `MIN_CLIPS` clips is told.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from stt_ft.evaluation.frames import ClipFrames
from stt_ft.evaluation.report import Group, Measurement, Measurements
from stt_ft.evaluation.scores import ClipScore
from stt_ft.metrics.digit_strings import number_runs
from stt_ft.metrics.intervals import Estimate, Resampling, Statistic, estimate, pooled_quantile, quantile, ratio

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
        of=lambda scores: ratio([s.squared_errors.sum() for s in scores], [len(s.probs) for s in scores]),
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


def sliced(scores: Sequence[ClipScore]) -> dict[str, list[ClipScore]]:
    """Return the scores of every slice that has clips."""
    kept = {name: [score for score in scores if keep(score.frames)] for name, keep in SLICES.items()}
    return {name: members for name, members in kept.items() if members}


def resampling_of(scores: Sequence[ClipScore]) -> Resampling:
    """Draw the clips of `scores` by their speakers."""
    return Resampling.of([score.frames.speaker for score in scores])


def figures_of(scores: Sequence[ClipScore], names: Iterable[str], resampling: Resampling | None = None) -> Measurements:
    """Return the figures called `names` over `scores`. `resampling` is that of the clips, where it was drawn before."""
    drawn = resampling or resampling_of(scores)
    statistics = {name: FIGURES[name].of(scores) for name in names}
    return measured({name: estimate(one, drawn, is_share=FIGURES[name].unit in ("share", "rate")) for name, one in statistics.items()})


def figures_by_slice(scores: Sequence[ClipScore], names: Iterable[str], drawn: Mapping[str, Resampling]) -> dict[str, Measurements]:
    """Return slice -> those of the figures called `names` that make sense there; `drawn` holds the resampling of each slice."""
    return {
        slice_name: figures_of(members, [name for name in names if slice_name in FIGURES[name].slices], drawn[slice_name])
        for slice_name, members in sliced(scores).items()
    }


def measured(estimates: Mapping[str, Estimate]) -> Measurements:
    """Return the estimates as they stand in report.json, those of nothing (NaN) left out."""
    return {name: Measurement.model_validate(one) for name, one in estimates.items() if not math.isnan(one.value)}


MIN_CLIPS = 5
"""Clips below which a part is not told."""

MIN_PAUSE_S = 0.25
"""Silence between two words of a number from which it counts as a pause."""

GROUP_FIGURES = {
    **dict.fromkeys(NUMBER_SLICES, ("false_cut_offs", "digit_strings_exact", "written_as_words", "latency_p50_s", "latency_p95_s")),
    "ordinary": ("false_cut_offs", "word_error_rate", "latency_p50_s", "latency_p95_s"),
}
"""Slice -> figures that its parts are told in."""


def build_groups(scores: dict[str, list[ClipScore]]) -> list[Group]:
    """Return the parts of slices: by length of the number, speaker, speed, and whether the speaker paused inside the number.

    Args:
        scores: model -> its clips, all in the same order.
    """
    groups = []
    clips = [score.frames for score in next(iter(scores.values()))]
    for slice_name, figures in GROUP_FIGURES.items():
        positions = [position for position, clip in enumerate(clips) if SLICES[slice_name](clip)]
        for title, part_of in _divisions(slice_name, [clips[position] for position in positions]).items():
            parts: dict[str, list[int]] = {}
            for position in positions:
                parts.setdefault(part_of(clips[position]), []).append(position)
            for part in sorted(parts, key=lambda part: (len(part), part)):
                if len(parts) > 1 and len(parts[part]) >= MIN_CLIPS:
                    by_model = {model: figures_of([members[p] for p in parts[part]], figures) for model, members in scores.items()}
                    groups.append(Group(slice=slice_name, by=title, part=part, num_clips=len(parts[part]), figures=by_model))
    return groups


def build_channels(scores: dict[str, list[ClipScore]], channels: Mapping[str, dict[str, list[ClipScore]]]) -> list[Group]:
    """Return the clips as recorded and as they came through every channel, in the form of `build_groups`; nothing without channels.

    Args:
        scores: model -> its clips as recorded.
        channels: channel -> model -> the same clips through that channel, in the same order.
    """
    groups = []
    for slice_name, figures in GROUP_FIGURES.items() if channels else ():
        for channel, by_model in {"as recorded": scores, **channels}.items():
            members = {model: [one for one in ones if SLICES[slice_name](one.frames)] for model, ones in by_model.items()}
            num_clips = len(next(iter(members.values())))
            if num_clips:
                told = {model: figures_of(ones, figures) for model, ones in members.items()}
                groups.append(Group(slice=slice_name, by="channel", part=channel, num_clips=num_clips, figures=told))
    return groups


def _divisions(slice_name: str, clips: Sequence[ClipFrames]) -> dict[str, Callable[[ClipFrames], str]]:
    """Return the ways to divide the clips of a slice: title -> the part that a clip belongs to."""
    if not clips:
        return {}
    usual_rate = median(_words_per_s(clip) for clip in clips)
    divisions: dict[str, Callable[[ClipFrames], str]] = {
        "speed": lambda clip: "slower half" if _words_per_s(clip) < usual_rate else "faster half",
        "speaker": lambda clip: clip.speaker or "unknown",
    }
    if slice_name in NUMBER_SLICES:
        divisions = {
            "length": lambda clip: f"{sum(stop - start for start, stop in number_runs(clip.reference_texts))} words",
            "pause inside": lambda clip: f"{MIN_PAUSE_S} s or more" if _longest_pause_s(clip) >= MIN_PAUSE_S else "none",
            **divisions,
        }
    return divisions


def _words_per_s(clip: ClipFrames) -> float:
    return len(clip.reference) / max(clip.speech_end_s - clip.reference[0].start_s, 0.08)


def _longest_pause_s(clip: ClipFrames) -> float:
    """Return the longest silence between two words of a number, in seconds."""
    gaps_s = [
        after.start_s - before.end_s
        for start, stop in number_runs(clip.reference_texts)
        for before, after in zip(clip.reference[start : stop - 1], clip.reference[start + 1 : stop], strict=True)
    ]
    return max(gaps_s, default=0.0)
