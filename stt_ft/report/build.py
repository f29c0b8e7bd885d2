"""report.json from frames: figures by model and slice, differences, curves, parts, calibration. `frames.jsonl` is all it needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from stt_ft.metrics.calibration import calibration_error, drift_nats, reliability, squared_errors
from stt_ft.metrics.endpointing import EndpointRule
from stt_ft.metrics.intervals import Resampling, estimate, paired_difference, ratio
from stt_ft.report.curves import curves_by_slice, heads_by_slice
from stt_ft.report.figures import FIGURES, NUMBER_SLICES, SLICES, figures_of, resampling_of, sliced, to_json
from stt_ft.report.frames import ClipFrames
from stt_ft.report.groups import build_channels, build_groups
from stt_ft.report.hypotheses import label_hypotheses
from stt_ft.report.scores import ClipScore, counted_probs, counted_truth, score_clip
from stt_ft.report.systems import System, describe, system_figures

SCHEMA_VERSION = 3
"""Of report.json. It grows when a figure changes its meaning or its place, not when one is added.
2: the word delay counts digits written in glyphs too.
3: a turn begins with its first word, and what passes inside the last one is a cut-off; `numbers` are those that are neither hesitant nor
in people's voices; parts and digit errors are told by slice; intervals resample speakers."""


def build_report(
    frames: Sequence[ClipFrames],
    *,
    model: str,
    baseline: str | None = None,
    rule: EndpointRule,
    systems: Sequence[System] = (),
    about: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return report.json's value from the frames of one or two models.

    Args:
        frames: lines of frames.jsonl, the same clips for every model; twins of the clips and other systems' lines may be among them.
        model: name of the model that is judged.
        baseline: name of the model that it is compared with.
        rule: when an agent ends a turn.
        systems: other ways to end the turn; their figures stand beside the models'.
        about: what else the report should say: dataset, split, provenance, training.

    Raises:
        ValueError: the models were not measured on the same clips.
    """
    names = [model] if baseline is None else [baseline, model]
    channels = list(dict.fromkeys(one.channel for one in frames if one.channel is not None))
    scores = _scores(frames, [*names, *(system.model for system in systems)], None, rule)
    twins = {channel: _scores(frames, names, channel, rule) for channel in channels}
    models = {name: scores[name] for name in names}
    drawn = {slice_name: resampling_of(members) for slice_name, members in sliced(scores[model]).items()}
    figures = {name: _figures_by_slice(members, drawn) for name, members in models.items()}
    return {
        "schema_version": SCHEMA_VERSION,
        "model": model,
        "baseline": baseline,
        "rule": asdict(rule),
        "num_clips": {name: sum(keep(score.frames) for score in scores[model]) for name, keep in SLICES.items()},
        "intervals": {slice_name: _drawn_by(one) for slice_name, one in drawn.items()},
        "figures": {**figures, **{system.name: system_figures(system, scores[system.model], drawn) for system in systems}},
        "systems": {system.name: describe(system) for system in systems},
        "differences": {} if baseline is None else _differences_by_slice(scores[model], scores[baseline], drawn),
        "curves": {name: curves_by_slice(members, rule) for name, members in models.items()},
        "heads": {name: heads_by_slice(members, rule) for name, members in models.items()},
        "groups": [*build_groups(models), *build_channels(models, twins)],
        "calibration": {name: _calibration_by_slice(members, rule, drawn) for name, members in models.items()},
        "drift_nats": {} if baseline is None else _drift_by_slice(scores[model], scores[baseline], rule, drawn),
        "label_hypotheses": {name: label_hypotheses([score.frames for score in members]) for name, members in models.items()},
        "digit_errors": {name: _digit_errors_by_slice(members) for name, members in models.items()},
        "substitutions": {name: _substitutions(members) for name, members in models.items()},
        **(about or {}),
    }


def _scores(frames: Sequence[ClipFrames], names: Sequence[str], channel: str | None, rule: EndpointRule) -> dict[str, list[ClipScore]]:
    """Return name -> the scores of its clips as they came through `channel`; all have the same clips in the same order."""
    members = {name: [one for one in frames if one.model == name and one.channel == channel] for name in names}
    clips = [one.clip for one in members[names[0]]]
    for name, ones in members.items():
        if [one.clip for one in ones] != clips or not clips:
            raise ValueError(f"{name} was not measured on the same clips as {names[0]}")
    return {name: [score_clip(one, rule) for one in ones] for name, ones in members.items()}


def _drawn_by(resampling: Resampling) -> dict[str, Any]:
    """Return what the intervals of a slice resample: speakers and then their clips, or clips where fewer than five speakers are known."""
    return {"by": "clip" if resampling.num_speakers is None else "speaker", "num_speakers": resampling.num_speakers}


def _figures_by_slice(scores: Sequence[ClipScore], drawn: Mapping[str, Resampling]) -> dict[str, dict[str, Any]]:
    return {
        slice_name: figures_of(members, [name for name, figure in FIGURES.items() if slice_name in figure.slices], drawn[slice_name])
        for slice_name, members in sliced(scores).items()
    }


def _differences_by_slice(
    ours: Sequence[ClipScore], theirs: Sequence[ClipScore], drawn: Mapping[str, Resampling]
) -> dict[str, dict[str, Any]]:
    slices = sliced(theirs)
    return {
        slice_name: to_json(
            {
                name: paired_difference(figure.of(members), figure.of(slices[slice_name]), drawn[slice_name])
                for name, figure in FIGURES.items()
                if slice_name in figure.slices
            }
        )
        for slice_name, members in sliced(ours).items()
    }


def _calibration_by_slice(scores: Sequence[ClipScore], rule: EndpointRule, drawn: Mapping[str, Resampling]) -> dict[str, Any]:
    """Return for the rule's head: Brier score, calibration error, and the bins of a reliability curve."""
    calibration = {}
    for slice_name, members in sliced(scores).items():
        probs = [counted_probs(score.frames, rule) for score in members]
        truth = [counted_truth(score.frames, rule) for score in members]
        if not sum(map(len, probs)):
            continue
        errors = [squared_errors(p, t) for p, t in zip(probs, truth, strict=True)]
        bins = reliability(np.concatenate(probs), np.concatenate(truth))
        brier = estimate(ratio([one.sum() for one in errors], [len(one) for one in errors]), drawn[slice_name])
        calibration[slice_name] = {
            **to_json({"brier": brier}),
            "calibration_error": calibration_error(bins),
            "bins": [asdict(one) for one in bins],
        }
    return calibration


def _drift_by_slice(
    ours: Sequence[ClipScore], theirs: Sequence[ClipScore], rule: EndpointRule, drawn: Mapping[str, Resampling]
) -> dict[str, Any]:
    """Return how far the rule's head moved from the baseline's, in nats a frame."""
    base, drift = sliced(theirs), {}
    for slice_name, members in sliced(ours).items():
        pairs = [(counted_probs(b.frames, rule), counted_probs(a.frames, rule)) for a, b in zip(members, base[slice_name], strict=True)]
        nats = [drift_nats(before[: len(after)], after[: len(before)]) for before, after in pairs]
        drift |= to_json({slice_name: estimate(ratio([one.sum() for one in nats], [len(one) for one in nats]), drawn[slice_name])})
    return drift


def _digit_errors_by_slice(scores: Sequence[ClipScore]) -> dict[str, Any]:
    return {name: _digit_errors(members) for name, members in sliced(scores).items() if name in NUMBER_SLICES}


def _digit_errors(scores: Sequence[ClipScore]) -> dict[str, Any]:
    """Return what became of the digits of the numbers: counts by operation, fate of leading zeros, and where in the number errors fall."""
    digits = [score.digits for score in scores]
    operations = ("substituted", "dropped", "inserted", "doubled", "swapped")
    tenths = [min(10 * at // one.edits.num_reference, 9) for one in digits for at in one.edits.error_positions if one.edits.num_reference]
    leading = [one.keeps_leading_zeros for one in digits if one.reference.startswith("0")]
    return {
        "num_digits": sum(one.edits.num_reference for one in digits),
        **{name: sum(getattr(one.edits, name) for one in digits) for name in operations},
        "numbers_with_leading_zeros": len(leading),
        "leading_zeros_kept": sum(leading),
        "errors_by_tenth_of_number": [tenths.count(tenth) for tenth in range(10)],
    }


def _substitutions(scores: Sequence[ClipScore]) -> list[list[Any]]:
    """Return [reference, transcript, times] of the words most often taken for others."""
    times: dict[tuple[str, str], int] = {}
    for score in scores:
        for pair in score.words.replaced:
            times[pair] = times.get(pair, 0) + 1
    ranked = sorted(times.items(), key=lambda item: (-item[1], item[0]))
    return [[said, heard, count] for (said, heard), count in ranked[:20]]
