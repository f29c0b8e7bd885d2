"""Latency against cut-offs: every threshold and hold, for the head in use and for each of the others."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from stt_ft.metrics.endpointing import EndpointRule, OperatingPoint, Turn, area_under, frontier, latency_within, sweep
from stt_ft.report.figures import finite, sliced
from stt_ft.report.scores import ClipScore
from stt_ft.targets.pause_targets import HORIZONS_S

CUT_OFF_BUDGETS = (0.01, 0.05, 0.10)
"""Cut-off rates at which the best latency is told."""


def curves_by_slice(scores: Sequence[ClipScore], rule: EndpointRule) -> dict[str, Any]:
    """Return slice -> the curve of the head in use: its best points, each threshold, latency within budgets, the area under it."""
    curves = {}
    for slice_name, members in sliced(scores).items():
        points = sweep([score.frames.turn for score in members], rule)
        curves[slice_name] = {
            "frontier": [_point(point) for point in frontier(points)],
            "thresholds": [_point(point) for point in points if point.hold_frames == rule.hold_frames],
            **_summary(points),
        }
    return curves


def heads_by_slice(scores: Sequence[ClipScore], rule: EndpointRule) -> dict[str, Any]:
    """Return slice -> a line a head: what the rule gives with that head in place of its own, latency within budgets, area."""
    return {slice_name: _heads([score.frames.turn for score in members], rule) for slice_name, members in sliced(scores).items()}


def _heads(turns: Sequence[Turn], rule: EndpointRule) -> list[dict[str, Any]]:
    lines = []
    for head in range(turns[0].pause_probs.shape[1]):
        one = dataclasses.replace(rule, head=head)
        at_rule = sweep(turns, one, thresholds=(one.threshold,), holds=(one.hold_frames,))[0]
        points = sweep(turns, one)
        horizon_s = HORIZONS_S[head] if head < len(HORIZONS_S) else None
        lines.append({"head": head, "horizon_s": horizon_s, "at_rule": _point(at_rule), **_summary(points)})
    return lines


def _summary(points: Sequence[OperatingPoint]) -> dict[str, Any]:
    within = {f"{budget:g}": _point(latency_within(points, budget)) for budget in CUT_OFF_BUDGETS}
    return {"latency_within": within, "area_s": area_under(points)}


def _point(point: OperatingPoint | None) -> dict[str, Any] | None:
    return None if point is None else finite(asdict(point))
