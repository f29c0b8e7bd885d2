"""The figures of a report, each a statistic over a slice of clips with its 95 % interval; and the figures of parts of a slice.

Parts are small: they have fewer figures, and a part of fewer than `MIN_CLIPS` clips has none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from stt_ft.evaluation.frames import ClipFrames
from stt_ft.evaluation.report import Group, Measurement, Measurements
from stt_ft.evaluation.scores import ClipScore
from stt_ft.metrics.digit_strings import DigitEdits
from stt_ft.metrics.endpointing import TurnVerdict
from stt_ft.metrics.intervals import Estimate, Resampling, Sampled, Statistic, pooled_quantile, quantile, ratio
from stt_ft.metrics.transcripts import CharacterErrors, EditCounts

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
"""Slices that a dataset may lack: a gate then skips its limits on them."""

NUMBER_SLICES = ("numbers", "hesitant", "people")
"""Slices of dictated numbers; all have the same figures."""


@dataclass(frozen=True)
class Figure:
    """How a figure is computed and read.

    Attributes:
        unit: "share" (of clips), "rate" (errors per unit of reference), "s" or "score" (a number without unit).
        of: the scores of a slice -> its statistic over clip indices.
        slices: the slices that have it.
        better: "lower" or "higher".
        needs_heads: whether it is one of the pause heads, which a model may lack.
        needs_reply: whether it asks what the agent has in hand when it answers, which is known of one that flushes.
    """

    label: str
    unit: str
    of: Callable[[Sequence[ClipScore]], Statistic]
    slices: tuple[str, ...] = tuple(SLICES)
    better: str = "lower"
    needs_heads: bool = False
    needs_reply: bool = False


def _share(label: str, test: Callable[[ClipScore], bool], slices: tuple[str, ...] = tuple(SLICES), *, better: str = "lower") -> Figure:
    return Figure(label, "share", lambda scores: ratio([float(test(score)) for score in scores]), slices, better)


def _turn_share(label: str, test: Callable[[TurnVerdict], bool]) -> Figure:
    return replace(_share(label, lambda score: test(score.turn)), needs_heads=True)


def _error_rate(
    label: str, edits: Callable[[ClipScore], EditCounts | CharacterErrors | DigitEdits], slices: tuple[str, ...] = tuple(SLICES)
) -> Figure:
    return Figure(
        label, "rate", lambda scores: ratio([edits(s).num_errors for s in scores], [edits(s).num_reference for s in scores]), slices
    )


def _latency(label: str, q: float) -> Figure:
    return Figure(label, "s", lambda scores: quantile([score.turn.latency_s for score in scores], q), needs_heads=True)


def _reply(label: str, q: float) -> Figure:
    return Figure(label, "s", lambda scores: quantile([score.reply_s for score in scores], q), needs_reply=True)


def _word_delay(label: str, q: float) -> Figure:
    return Figure(label, "s", lambda scores: pooled_quantile([score.word_delays_s for score in scores], q))


FIGURES: dict[str, Figure] = {
    "false_cut_offs": _turn_share("False cut-offs", lambda turn: turn.is_cut_off),
    "cut_offs_inside_last_word": _turn_share("Of them inside the last word", lambda turn: turn.is_inside_last_word),
    "missed_ends": _turn_share("Missed ends", lambda turn: turn.is_missed),
    "latency_p50_s": _latency("End-of-turn latency p50", 0.5),
    "latency_p90_s": _latency("End-of-turn latency p90", 0.9),
    "latency_p95_s": _latency("End-of-turn latency p95", 0.95),
    "reply_p50_s": _reply("Time to the reply p50", 0.5),
    "reply_p95_s": _reply("Time to the reply p95", 0.95),
    "numbers_right_at_reply": replace(
        _share("Numbers right at reply", lambda s: s.is_right_at_reply, NUMBER_SLICES, better="higher"), needs_reply=True
    ),
    "words_lost": replace(
        _error_rate("Words lost at the flush", lambda s: s.lost_words if s.is_ended_well else EditCounts(deletions=0, insertions=0)),
        needs_reply=True,
    ),
    "digit_strings_exact": _share("Digit strings exact", lambda s: s.digits.is_exact, NUMBER_SLICES, better="higher"),
    "digit_error_rate": _error_rate("Digit error rate", lambda s: s.digits.edits, NUMBER_SLICES),
    "written_as_words": _share("Written as words", lambda s: s.digits.form == "words", NUMBER_SLICES, better="higher"),
    "written_as_digits": _share("Written in glyphs", lambda s: s.digits.form == "digits", NUMBER_SLICES),
    "written_mixed": _share("Written both ways", lambda s: s.digits.form == "mixed", NUMBER_SLICES),
    "word_error_rate": _error_rate("Word error rate", lambda s: s.words),
    "word_error_rate_raw": _error_rate("Word error rate, as written", lambda s: s.raw_words),
    "character_error_rate": _error_rate("Character error rate", lambda s: s.characters),
    "sentence_style": _share("Written as a sentence", lambda s: s.is_sentence, better="higher"),
    "early_full_stops": _share("Full stops before the end", lambda s: s.num_early_stops > 0),
    "comma_inside": _share("A comma while the number goes on", lambda s: s.has_comma_inside, NUMBER_SLICES, better="higher"),
    "stop_at_end": _share("A full stop at the number's end", lambda s: s.has_stop_at_end, NUMBER_SLICES, better="higher"),
    "word_delay_mean_s": Figure(
        "Word delay, mean", "s", lambda scores: ratio([sum(s.word_delays_s) for s in scores], [len(s.word_delays_s) for s in scores])
    ),
    "word_delay_p50_s": _word_delay("Word delay p50", 0.5),
    "word_delay_p90_s": _word_delay("Word delay p90", 0.9),
    "word_delay_p95_s": _word_delay("Word delay p95", 0.95),
    "brier": Figure(
        "Brier score of the pause head",
        "score",
        lambda scores: ratio([s.squared_errors.sum() for s in scores], [len(s.probs) for s in scores]),
        needs_heads=True,
    ),
}


@dataclass(frozen=True, kw_only=True)
class Headline:
    """A row of the first table of a report; `label` names the figure together with its slice."""

    slice_name: str
    figure: str
    label: str


HEADLINES = (
    Headline(slice_name="numbers", figure="false_cut_offs", label="False cut-offs inside numbers"),
    Headline(slice_name="numbers", figure="digit_strings_exact", label="Digit strings exact"),
    Headline(slice_name="numbers", figure="written_as_words", label="Numbers written as words"),
    Headline(slice_name="numbers", figure="latency_p50_s", label="End-of-turn latency after numbers, p50"),
    Headline(slice_name="numbers", figure="latency_p95_s", label="End-of-turn latency after numbers, p95"),
    Headline(slice_name="numbers", figure="reply_p50_s", label="Time to the reply after numbers, p50"),
    Headline(slice_name="numbers", figure="numbers_right_at_reply", label="Numbers right at the reply"),
    Headline(slice_name="numbers", figure="words_lost", label="Words lost at the flush, numbers"),
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

CALL_FIGURES = {
    **dict.fromkeys(NUMBER_SLICES, ("false_cut_offs", "missed_ends", "latency_p50_s", "digit_strings_exact", "word_error_rate")),
    "ordinary": ("false_cut_offs", "missed_ends", "latency_p50_s", "word_error_rate"),
}
"""Slice -> its figures in long calls."""

DRAW_FIGURES = ("false_cut_offs", "digit_strings_exact", "numbers_right_at_reply", "word_error_rate")
"""Figures whose spread between draws of the text tokens is told."""

WHOLE_CALL, SECOND_HALF = "whole call", "second half"
"""Parts of a call beside its minutes; the gate asks about the second half, in which whatever decays has decayed."""


def sliced(scores: Sequence[ClipScore]) -> dict[str, list[ClipScore]]:
    """Return the scores of every slice that has clips."""
    return {name: [scores[place] for place in places] for name, places in places_by_slice(scores).items()}


def places_by_slice(scores: Sequence[ClipScore]) -> dict[str, list[int]]:
    """Return where the scores of every slice that has clips stand in `scores`."""
    kept = {name: [place for place, score in enumerate(scores) if keep(score.frames)] for name, keep in SLICES.items()}
    return {name: places for name, places in kept.items() if places}


def resampling_of(scores: Sequence[ClipScore]) -> Resampling:
    """Draw the clips of `scores` by their speakers."""
    return Resampling.of([score.frames.speaker for score in scores])


def figures_of(scores: Sequence[ClipScore], names: Iterable[str], resampling: Resampling | None = None) -> Measurements:
    """Return those of the figures `names` that `scores` have, by the `resampling` of these clips where it was drawn before."""
    return measured(samples_of(scores, names, resampling or resampling_of(scores)))


def samples_of(scores: Sequence[ClipScore], names: Iterable[str], resampling: Resampling) -> dict[str, Sampled]:
    """Return those of the figures `names` that `scores` have, drawn by `resampling`."""
    return {name: resampling.sample(FIGURES[name].of(scores)) for name in names if have(scores, name)}


def have(scores: Sequence[ClipScore], name: str) -> bool:
    """Return whether figure `name` can be told of `scores`: those of a model without pause heads have none of turns, nor of replies."""
    figure = FIGURES[name]
    return all((score.has_heads or not figure.needs_heads) and (score.has_reply or not figure.needs_reply) for score in scores)


SamplesBySlice = dict[str, dict[str, Sampled]]
"""Slice -> figure -> what was drawn of it."""


def samples_by_slice(scores: Sequence[ClipScore], names: Iterable[str], drawn: Mapping[str, Resampling]) -> SamplesBySlice:
    """Return slice -> those of the figures `names` that it has; `drawn` holds the resampling of each slice."""
    return {
        slice_name: samples_of(members, [name for name in names if slice_name in FIGURES[name].slices], drawn[slice_name])
        for slice_name, members in sliced(scores).items()
    }


def measured(samples: Mapping[str, Sampled]) -> Measurements:
    """Return figures as they stand in report.json."""
    return told({name: one.estimate(is_share=FIGURES[name].unit in ("share", "rate")) for name, one in samples.items()})


def told(estimates: Mapping[str, Estimate]) -> Measurements:
    """Return estimates as they stand in report.json, those of nothing (NaN) left out."""
    return {name: Measurement.model_validate(one) for name, one in estimates.items() if not math.isnan(one.value)}


MIN_CLIPS = 5
"""Fewest clips of a part that has figures."""

MIN_PAUSE_S = 0.25
"""Silence between two words of a number from which it counts as a pause."""

GROUP_FIGURES = {
    **dict.fromkeys(NUMBER_SLICES, ("false_cut_offs", "digit_strings_exact", "written_as_words", "latency_p50_s", "latency_p95_s")),
    "ordinary": ("false_cut_offs", "word_error_rate", "latency_p50_s", "latency_p95_s"),
}
"""Slice -> the figures of its parts."""


def build_groups(scores: dict[str, list[ClipScore]]) -> list[Group]:
    """Return the parts of slices by length of the number, speaker, speed, and pauses inside the number.

    `scores` are model -> its clips, all in the same order.
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
                    ones = {model: [members[p] for p in parts[part]] for model, members in scores.items()}
                    by_model = _of_all(ones, figures)
                    groups.append(Group(slice=slice_name, by=title, part=part, num_clips=len(parts[part]), figures=by_model))
    return groups


def build_channels(scores: dict[str, list[ClipScore]], channels: Mapping[str, dict[str, list[ClipScore]]]) -> list[Group]:
    """Return the clips as recorded and through every channel, as `build_groups` returns parts; nothing without channels.

    `scores` are model -> its clips as recorded, `channels` channel -> model -> the same clips in the same order.
    """
    groups = []
    for slice_name, figures in GROUP_FIGURES.items() if channels else ():
        for channel, heard in {"as recorded": scores, **channels}.items():
            members = {model: [one for one in ones if SLICES[slice_name](one.frames)] for model, ones in heard.items()}
            num_clips = len(next(iter(members.values())))
            if num_clips:
                by_model = _of_all(members, figures)
                groups.append(Group(slice=slice_name, by="channel", part=channel, num_clips=num_clips, figures=by_model))
    return groups


def _of_all(scores: Mapping[str, Sequence[ClipScore]], names: Iterable[str]) -> dict[str, Measurements]:
    """Return model -> figures, of models on the same clips."""
    drawn = resampling_of(next(iter(scores.values())))
    return {model: figures_of(ones, names, drawn) for model, ones in scores.items()}


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
            "length": lambda clip: f"{sum(stop - start for start, stop in clip.number_runs)} words",
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
        for start, stop in clip.number_runs
        for before, after in zip(clip.reference[start : stop - 1], clip.reference[start + 1 : stop], strict=True)
    ]
    return max(gaps_s, default=0.0)
