"""From scores to the report: figures by model and slice, differences, curves, parts, calibration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from stt_ft.evaluation.detectors import SILERO
from stt_ft.evaluation.figures import (
    CALL_FIGURES,
    DRAW_FIGURES,
    FIGURES,
    MIN_CLIPS,
    NUMBER_SLICES,
    SECOND_HALF,
    SLICES,
    WHOLE_CALL,
    build_channels,
    build_groups,
    have,
    measured,
    resampling_of,
    samples_by_slice,
    samples_of,
    sliced,
    told,
)
from stt_ft.evaluation.frames import ClipFrames
from stt_ft.evaluation.report import (
    BargeIns,
    Calibration,
    Calls,
    DigitErrors,
    Draws,
    EotBench,
    InCalls,
    LabelFit,
    LabelHypotheses,
    MeasuredSplit,
    Measurement,
    Measurements,
    Report,
    Resampled,
    Served,
    Spread,
    System,
    TrainingCourse,
)
from stt_ft.evaluation.scores import ClipScore, Scores, read_digits
from stt_ft.evaluation.systems import TURN_FIGURES, curves_by_slice, heads_by_slice
from stt_ft.metrics.barge_ins import HeadInCall, barge_in_figures
from stt_ft.metrics.endpointing import EndpointRule
from stt_ft.metrics.eot_bench import EotTally
from stt_ft.metrics.intervals import MIN_SPEAKERS, Resampling, Sampled, estimate, ratio
from stt_ft.metrics.pause_heads import best_hypothesis, calibration_error, drift_nats, fit_hypotheses, reliability


def build_report(
    scores: Scores,
    *,
    model: str,
    baseline: str | None = None,
    systems: Mapping[str, System] | None = None,
    dataset: MeasuredSplit | None = None,
    provenance: dict[str, Any] | None = None,
    training: TrainingCourse | None = None,
    calls: Calls | None = None,
    served: Served | None = None,
) -> Report:
    """Return the report on one or two models.

    Args:
        scores: of the same clips for every model (else `ValueError`), perhaps also through channels, of further draws, and of other
            systems' frames.
        model: name of the model that is judged.
        baseline: name of the model that it is compared with.
        systems: other ways to end the turn, by name; their figures stand beside the models'.
        dataset: the split that was measured.
        provenance: how the evaluation was made.
        training: the losses of the run that the model came from.
        calls: what became of the models in long calls (`build_calls`).
        served: speed and agreement of the running server that is judged.
    """
    rule, systems = scores.rule, systems or {}
    names = [model] if baseline is None else [baseline, model]
    clips = scores.by_model([*names, *(system.model for system in systems.values())])
    models = {name: clips[name] for name in names}
    ours, theirs = clips[model], None if baseline is None else clips[baseline]
    read_digits(models.values())
    drawn = {slice_name: resampling_of(members) for slice_name, members in sliced(ours).items()}
    system_scores = {name: [replace(score, rule=system.rule) for score in clips[system.model]] for name, system in systems.items()}
    detectors = {
        system.model: [replace(score, rule=system.rule) for score in clips[system.model]]
        for system in systems.values()
        if system.model not in (*models, SILERO)
    }
    samples = {name: samples_by_slice(members, FIGURES, drawn) for name, members in models.items()}
    by_system = samples | {name: samples_by_slice(members, TURN_FIGURES, drawn) for name, members in system_scores.items()}
    by_head = {name: heads_by_slice(members, rule) for name, members in models.items()}
    return Report(
        model=model,
        baseline=baseline,
        rule=rule,
        num_clips={name: sum(keep(score.frames) for score in ours) for name, keep in SLICES.items()},
        intervals={
            slice_name: Resampled(by="clip" if one.num_speakers is None else "speaker", num_speakers=one.num_speakers)
            for slice_name, one in drawn.items()
        },
        figures={name: {slice_name: measured(one) for slice_name, one in slices.items()} for name, slices in by_system.items()},
        systems=dict(systems),
        differences={} if baseline is None else _differences_by_slice(samples[model], samples[baseline]),
        curves={
            **{name: curves_by_slice(members, rule, by_head[name][1]) for name, members in models.items()},
            **{name: curves_by_slice(members, members[0].rule) for name, members in detectors.items()},
        },
        heads={name: lines for name, (lines, _) in by_head.items()},
        eot_bench=_eot_bench({**models, **detectors}, ours),
        groups=[*build_groups(models), *build_channels(models, {one: scores.by_model(names, one) for one in scores.channels})],
        calibration={name: _calibration_by_slice(members, drawn) for name, members in models.items()},
        drift_nats={} if theirs is None else _drift_by_slice(ours, theirs, drawn),
        label_hypotheses={name: _label_hypotheses(members) for name, members in models.items()},
        digit_errors={
            name: {slice_name: _digit_errors(part) for slice_name, part in sliced(members).items() if slice_name in NUMBER_SLICES}
            for name, members in models.items()
        },
        substitutions={name: _substitutions(members) for name, members in models.items()},
        calls=calls,
        draws=_draws(names, scores, drawn),
        served=served,
        dataset=dataset,
        provenance=provenance,
        training=training,
    )


def build_calls(scores: Scores, frames: Sequence[ClipFrames], seconds: float) -> Calls:
    """Return the figures of `frames`, clips heard in calls of `seconds`, beside the `scores` of the same clips heard alone.

    The first rows of a clip are ignored by the rule only where the call begins with it. Intervals draw speakers, or clips where fewer than
    five speakers are known: a clip that comes again is no new clip.
    """
    recordings = [one for one in scores.scores if one.frames.channel is None and one.frames.draw is None]
    alone = {(one.frames.model, one.frames.clip): one for one in recordings}
    on_the_line = replace(scores.rule, ignore_frames=0)
    pairs = [(ClipScore(frames=one, rule=on_the_line if one.call_s else scores.rule), alone[one.model, one.clip]) for one in frames]
    parts: dict[str, dict[str, dict[str, InCalls]]] = {}
    for model in dict.fromkeys(one.model for one in frames):
        of_model = [pair for pair in pairs if pair[0].frames.model == model]
        parts[model] = {}
        for slice_name, names in CALL_FIGURES.items():
            members: dict[str, list[tuple[ClipScore, ClipScore]]] = {WHOLE_CALL: [], SECOND_HALF: []}
            for pair in of_model:
                call_s = pair[0].frames.call_s or 0.0
                if SLICES[slice_name](pair[0].frames):
                    members[WHOLE_CALL].append(pair)
                    members[SECOND_HALF] += [pair] if call_s >= seconds / 2 else []
                    members.setdefault(f"minute {int(call_s // 60) + 1}", []).append(pair)
            ordered = sorted(members, key=lambda part: int(part.rpartition(" ")[2]) if part.startswith("minute") else 0)
            told = {part: _in_calls(members[part], names) for part in ordered if len(members[part]) >= MIN_CLIPS}
            parts[model] |= {slice_name: told} if told else {}
    calls = [one for one in frames if one.call_s == 0 and one.model == frames[0].model]
    return Calls(
        seconds=seconds,
        num_calls=len(calls),
        num_clips=sum(one.model == frames[0].model for one in frames),
        parts=parts,
        barge_ins=_barge_ins(frames, scores.rule),
    )


def _barge_ins(frames: Sequence[ClipFrames], rule: EndpointRule) -> dict[str, BargeIns]:
    """Return model -> whether barge-ins are heard by the rule's head, of the models that have it; `frames` are calls, clip after clip."""
    by_model: dict[str, list[list[ClipFrames]]] = {}
    for one in frames:
        if one.pause.shape[1] > rule.head:
            calls = by_model.setdefault(one.model, [])
            calls += [[]] if one.call_s == 0 else []
            calls[-1].append(one)
    return {
        model: BargeIns.model_validate(barge_in_figures([_head_in_call(call, rule.head) for call in calls], rule.threshold))
        for model, calls in by_model.items()
    }


def _head_in_call(call: Sequence[ClipFrames], head: int) -> HeadInCall:
    rows = [part[:, head] for one in call for part in (one.silence, one.pause) if part is not None]
    turns = [(one.turn.first_word_start_s, one.speech_end_s, one.call_s or 0.0) for one in call]
    return HeadInCall(level=np.concatenate(rows), turns=[(call_s + onset_s, call_s + end_s) for onset_s, end_s, call_s in turns])


def _draws(models: Sequence[str], scores: Scores, drawn: Mapping[str, Resampling]) -> Draws | None:
    """Return the spread between draws of the tokens, None where there was but one."""
    if not scores.draws:
        return None
    spreads: dict[str, dict[str, dict[str, Spread]]] = {}
    for model in models:
        draws = [sliced(scores.by_model([model], draw=draw)[model]) for draw in (None, *scores.draws)]
        spreads[model] = {}
        for slice_name, first in draws[0].items():
            names = [name for name in DRAW_FIGURES if slice_name in FIGURES[name].slices and have(first, name)]
            values = {name: [drawn[slice_name].value(FIGURES[name].of(one[slice_name])) for one in draws] for name in names}
            spreads[model][slice_name] = {name: Spread(lowest=min(ones), highest=max(ones)) for name, ones in values.items()}
    return Draws(num=1 + len(scores.draws), spreads=spreads)


def _in_calls(pairs: Sequence[tuple[ClipScore, ClipScore]], names: Sequence[str]) -> InCalls:
    heard, alone = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    by_speaker = [score.frames.speaker or score.frames.clip for score in heard]
    drawn = Resampling.of(by_speaker if len(set(by_speaker)) >= MIN_SPEAKERS else [score.frames.clip for score in heard])
    in_calls, by_themselves = samples_of(heard, names, drawn), samples_of(alone, names, drawn)
    return InCalls(
        num_clips=len(pairs),
        in_calls=measured(in_calls),
        alone=measured(by_themselves),
        differences=told({name: one.less(by_themselves[name]) for name, one in in_calls.items()}),
    )


def _eot_bench(detectors: Mapping[str, Sequence[ClipScore]], ours: Sequence[ClipScore]) -> dict[str, dict[str, EotBench]]:
    """Return detector -> slice -> eot-bench's measures of it, and those of a timer alone."""
    by_name: dict[str, dict[str, EotBench]] = {}
    for name, members, measure in [
        *((name, members, EotTally.figures) for name, members in detectors.items()),
        ("timer", ours, EotTally.timer),
    ]:
        tallies: dict[str, EotTally] = {}
        for score in members if all(score.has_heads for score in members) else ():
            rows = score.looks
            for slice_name in (slice_name for slice_name, keep in SLICES.items() if keep(score.frames)):
                tallies.setdefault(slice_name, EotTally()).add(rows)
        found = {slice_name: measure(tallies[slice_name]) for slice_name in SLICES if slice_name in tallies}
        by_name[name] = {slice_name: EotBench.model_validate(one) for slice_name, one in found.items() if one is not None}
    return by_name


def _differences_by_slice(
    ours: Mapping[str, Mapping[str, Sampled]], theirs: Mapping[str, Mapping[str, Sampled]]
) -> dict[str, Measurements]:
    return {
        slice_name: told({name: one.less(theirs[slice_name][name]) for name, one in samples.items() if name in theirs[slice_name]})
        for slice_name, samples in ours.items()
    }


def _calibration_by_slice(scores: Sequence[ClipScore], drawn: Mapping[str, Resampling]) -> dict[str, Calibration]:
    calibration = {}
    for slice_name, members in sliced(scores).items():
        if not have(members, "brier"):
            continue
        errors = [score.squared_errors for score in members]
        if not sum(map(len, errors)):
            continue
        bins = reliability(np.concatenate([score.probs for score in members]), np.concatenate([score.truth for score in members]))
        brier = estimate(ratio([one.sum() for one in errors], [len(one) for one in errors]), drawn[slice_name])
        calibration[slice_name] = Calibration(brier=Measurement.model_validate(brier), calibration_error=calibration_error(bins), bins=bins)
    return calibration


def _drift_by_slice(ours: Sequence[ClipScore], theirs: Sequence[ClipScore], drawn: Mapping[str, Resampling]) -> Measurements:
    """Return slice -> how far the rule's head moved from the baseline's, in nats a frame."""
    base, drift = sliced(theirs), {}
    for slice_name, members in sliced(ours).items():
        if not (have(members, "brier") and have(base[slice_name], "brier")):
            continue
        pairs = [(before.probs, after.probs) for after, before in zip(members, base[slice_name], strict=True)]
        nats = [drift_nats(before[: len(after)], after[: len(before)]) for before, after in pairs]
        drift[slice_name] = estimate(ratio([one.sum() for one in nats], [len(one) for one in nats]), drawn[slice_name])
    return told(drift)


def _label_hypotheses(scores: Sequence[ClipScore]) -> LabelHypotheses | None:
    """Return the fit of every clock and head, and the best; None for frames that do not know their text lag, or have no heads."""
    evidence = [one for score in scores if (one := score.evidence) is not None]
    if not evidence or evidence[0].pause.shape[1] == 0:
        return None
    fits = fit_hypotheses(evidence)
    clock, classes = best_hypothesis(fits)
    return LabelHypotheses.model_validate({"clock": clock, "classes": classes, "fits": [LabelFit.model_validate(fit) for fit in fits]})


def _digit_errors(scores: Sequence[ClipScore]) -> DigitErrors:
    digits = [score.digits for score in scores]
    operations = ("substituted", "dropped", "inserted", "doubled", "swapped")
    tenths = [min(10 * at // one.edits.num_reference, 9) for one in digits for at in one.edits.error_positions if one.edits.num_reference]
    leading = [one.keeps_leading_zeros for one in digits if one.reference.startswith("0")]
    return DigitErrors(
        num_digits=sum(one.edits.num_reference for one in digits),
        **{name: sum(getattr(one.edits, name) for one in digits) for name in operations},
        numbers_with_leading_zeros=len(leading),
        leading_zeros_kept=sum(leading),
        errors_by_tenth_of_number=[tenths.count(tenth) for tenth in range(10)],
    )


def _substitutions(scores: Sequence[ClipScore]) -> list[tuple[str, str, int]]:
    """Return (reference, transcript, times) of the twenty words most often taken for others."""
    times = Counter(pair for score in scores for pair in score.words.replaced)
    ranked = sorted(times.items(), key=lambda item: (-item[1], item[0]))
    return [(said, heard, count) for (said, heard), count in ranked[:20]]
