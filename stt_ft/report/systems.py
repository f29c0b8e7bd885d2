"""More ways to end the turn, for the same table: a model at the setting that is best for it, and silence alone.

A model's best threshold and hold are chosen on the dev split and only measured on the clips of the report: chosen on those, they would
flatter it. Silero VAD is taken with the timers that agents ship.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from stt_ft.metrics.endpointing import EndpointRule, OperatingPoint, best_point, judge_turn, sweep
from stt_ft.metrics.intervals import Resampling
from stt_ft.metrics.silence import SILENCE_RULES_S
from stt_ft.report.figures import FIGURES, figures_of, finite, sliced
from stt_ft.report.frames import ClipFrames
from stt_ft.report.scores import ClipScore
from stt_ft.report.silero import SILERO

CUT_OFF_BUDGET = 0.05
"""The rate of cut-offs within which the fastest setting is chosen."""

TURN_FIGURES = ("false_cut_offs", "cut_offs_inside_last_word", "missed_ends", "latency_p50_s", "latency_p90_s", "latency_p95_s")
"""Figures that a system has which writes nothing."""


@dataclass(frozen=True, kw_only=True)
class System:
    """A way to end the turn: whose frames, and by which rule. `chosen_on` says where the rule comes from, None for one that is fixed."""

    name: str
    label: str
    model: str
    rule: EndpointRule
    chosen_on: dict[str, Any] | None = None


def tuned_systems(dev_frames: Sequence[ClipFrames], rule: EndpointRule, split: str) -> list[System]:
    """Return for each model of `dev_frames` the system with the best threshold and hold on those clips."""
    systems = []
    for model in dict.fromkeys(one.model for one in dev_frames):
        turns = [one.turn for one in dev_frames if one.model == model]
        try:
            point = best_point(sweep(turns, rule), CUT_OFF_BUDGET)
        except ValueError:  # this model ends no turns at any setting: there is no best one
            continue
        best = dataclasses.replace(rule, threshold=point.threshold, hold_frames=point.hold_frames)
        systems.append(
            System(
                name=f"{model}_set_on_{split}",
                label=f"{model}, above {best.threshold:g} for {frames_text(best.hold_frames)} (set on {split})",
                model=model,
                rule=best,
                chosen_on={"split": split, "num_clips": len(turns), **_shares(point)},
            )
        )
    return systems


def silence_systems() -> list[System]:
    """Return Silero VAD with each of its timers; head k of its frames is timer k."""
    return [
        System(
            name=f"silero_{rule_s:g}s",
            label=f"Silero VAD, {rule_s:g} s of silence",
            model=SILERO,
            rule=EndpointRule(head=head, threshold=0.5, hold_frames=1, ignore_frames=0),
        )
        for head, rule_s in enumerate(SILENCE_RULES_S)
    ]


def describe(system: System) -> dict[str, Any]:
    """Return what report.json says of a system beside its figures."""
    return {"label": system.label, "model": system.model, "rule": asdict(system.rule), "chosen_on": system.chosen_on}


def system_figures(system: System, scores: Sequence[ClipScore], drawn: Mapping[str, Resampling]) -> dict[str, dict[str, Any]]:
    """Return slice -> figures of `system`, from the scores of its model's frames and the draws of each slice's clips."""
    judged = [dataclasses.replace(score, turn=judge_turn(score.frames.turn, system.rule)) for score in scores]
    return {
        slice_name: figures_of(members, [name for name in TURN_FIGURES if slice_name in FIGURES[name].slices], drawn[slice_name])
        for slice_name, members in sliced(judged).items()
    }


def _shares(point: OperatingPoint) -> dict[str, Any]:
    kept = ("cut_off_rate", "missed_rate", "latency_p50_s")
    return finite({name: value for name, value in asdict(point).items() if name in kept})


def frames_text(count: int) -> str:
    """Return "1 frame", "2 frames" …"""
    return f"{count} frame{'' if count == 1 else 's'}"


def rule_label(rule: dict[str, Any]) -> str:
    """Say the rule in use in full: its name, where it has one, head, threshold, and what else it asks for."""
    one = EndpointRule(**rule)
    name = "" if one.name is None else f"{one.name}: "
    smoothing = f", averaged with a half-life of {one.half_life_s:g} s" if one.half_life_s else ""
    text = " once a word is written" if one.after_text else ""
    return f"{name}head {one.head}{smoothing} above {one.threshold:g} for {frames_text(one.hold_frames)}{text}"
