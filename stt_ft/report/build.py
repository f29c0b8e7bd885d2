"""report.json from frames: figures by model and slice, differences, curves, parts, calibration. `frames.jsonl` is all it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from stt_ft.metrics.calibration import calibration_error, drift_nats, pause_is_coming, reliability, squared_errors
from stt_ft.metrics.endpointing import EndpointRule, OperatingPoint, frontier, latency_within, sweep
from stt_ft.metrics.intervals import estimate, paired_difference, ratio
from stt_ft.report.figures import FIGURES, SLICES, figures_of, finite, sliced, to_json
from stt_ft.report.frames import ClipFrames
from stt_ft.report.groups import build_groups
from stt_ft.report.scores import ClipScore, score_clip
from stt_ft.targets.pause_targets import HORIZONS_S

SCHEMA_VERSION = 1
"""Of report.json. It grows when a figure changes its meaning or its place, not when one is added."""

CUT_OFF_BUDGETS = (0.01, 0.05, 0.10)
"""Cut-off rates at which the best latency is told."""


def build_report(
    frames: Sequence[ClipFrames], *, model: str, baseline: str | None = None, rule: EndpointRule, about: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return report.json's value from the frames of one or two models.

    Args:
        frames: lines of frames.jsonl, the same clips for every model.
        model: name of the model that is judged.
        baseline: name of the model that it is compared with.
        rule: when an agent ends a turn.
        about: what else the report should say: dataset, split, provenance.

    Raises:
        ValueError: the models were not measured on the same clips.
    """
    names = [model] if baseline is None else [baseline, model]
    scores = {name: [score_clip(clip, rule) for clip in frames if clip.model == name] for name in names}
    clips = [score.frames.clip for score in scores[model]]
    for name in names:
        if [score.frames.clip for score in scores[name]] != clips or not clips:
            raise ValueError(f"{name} was not measured on the same clips as {model}")
    return {
        "schema_version": SCHEMA_VERSION,
        "model": model,
        "baseline": baseline,
        "rule": asdict(rule),
        "num_clips": {name: sum(keep(score.frames) for score in scores[model]) for name, keep in SLICES.items()},
        "figures": {name: _figures_by_slice(scores[name]) for name in names},
        "differences": {} if baseline is None else _differences_by_slice(scores[model], scores[baseline]),
        "curves": {name: _curves_by_slice(scores[name], rule) for name in names},
        "groups": build_groups(scores),
        "calibration": {name: _calibration_by_slice(scores[name], rule) for name in names},
        "drift_nats": {} if baseline is None else _drift_by_slice(scores[model], scores[baseline], rule),
        "digit_errors": {name: _digit_errors(scores[name]) for name in names},
        "substitutions": {name: _substitutions(scores[name]) for name in names},
        **(about or {}),
    }


def _figures_by_slice(scores: Sequence[ClipScore]) -> dict[str, dict[str, Any]]:
    return {
        slice_name: figures_of(members, [name for name, figure in FIGURES.items() if slice_name in figure.slices])
        for slice_name, members in sliced(scores).items()
    }


def _differences_by_slice(ours: Sequence[ClipScore], theirs: Sequence[ClipScore]) -> dict[str, dict[str, Any]]:
    slices = sliced(theirs)
    return {
        slice_name: to_json(
            {
                name: paired_difference(figure.of(members), figure.of(slices[slice_name]), len(members))
                for name, figure in FIGURES.items()
                if slice_name in figure.slices
            }
        )
        for slice_name, members in sliced(ours).items()
    }


def _curves_by_slice(scores: Sequence[ClipScore], rule: EndpointRule) -> dict[str, Any]:
    curves = {}
    for slice_name, members in sliced(scores).items():
        points = sweep([score.frames.turn for score in members], head=rule.head, ignore_frames=rule.ignore_frames)
        curves[slice_name] = {
            "frontier": [_point(point) for point in frontier(points)],
            "thresholds": [_point(point) for point in points if point.hold_frames == rule.hold_frames],
            "latency_within": {f"{budget:g}": _point(latency_within(points, budget)) for budget in CUT_OFF_BUDGETS},
        }
    return curves


def _point(point: OperatingPoint | None) -> dict[str, Any] | None:
    return None if point is None else finite(asdict(point))


def _calibration_by_slice(scores: Sequence[ClipScore], rule: EndpointRule) -> dict[str, Any]:
    """Return for the rule's head: Brier score, calibration error, and the bins of a reliability curve."""
    calibration = {}
    for slice_name, members in sliced(scores).items():
        probs = [_counted_probs(score.frames, rule) for score in members]
        truth = [_counted_truth(score.frames, rule) for score in members]
        if not sum(map(len, probs)):
            continue
        errors = [squared_errors(p, t) for p, t in zip(probs, truth, strict=True)]
        bins = reliability(np.concatenate(probs), np.concatenate(truth))
        brier = estimate(ratio([one.sum() for one in errors], [len(one) for one in errors]), len(members))
        calibration[slice_name] = {
            **to_json({"brier": brier}),
            "calibration_error": calibration_error(bins),
            "bins": [asdict(one) for one in bins],
        }
    return calibration


def _drift_by_slice(ours: Sequence[ClipScore], theirs: Sequence[ClipScore], rule: EndpointRule) -> dict[str, Any]:
    """Return how far the rule's head moved from the baseline's, in nats a frame."""
    base, drift = sliced(theirs), {}
    for slice_name, members in sliced(ours).items():
        pairs = [(_counted_probs(b.frames, rule), _counted_probs(a.frames, rule)) for a, b in zip(members, base[slice_name], strict=True)]
        nats = [drift_nats(before[: len(after)], after[: len(before)]) for before, after in pairs]
        drift |= to_json({slice_name: estimate(ratio([one.sum() for one in nats], [len(one) for one in nats]), len(members))})
    return drift


def _counted_probs(frames: ClipFrames, rule: EndpointRule) -> np.ndarray:
    return frames.pause[rule.ignore_frames :, rule.head]


def _counted_truth(frames: ClipFrames, rule: EndpointRule) -> np.ndarray:
    starts_s = [word.start_s for word in frames.reference]
    return pause_is_coming(starts_s, len(frames.pause), HORIZONS_S[rule.head])[rule.ignore_frames :]


def _digit_errors(scores: Sequence[ClipScore]) -> dict[str, Any]:
    """Return what became of the digits of all numbers: counts by operation, fate of leading zeros, and where in the number errors fall."""
    digits = [score.digits for score in scores if score.frames.kind == "number"]
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
