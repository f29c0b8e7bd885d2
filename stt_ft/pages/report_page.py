"""report.html: the figures of an evaluation, and every clip to listen to and look at. Every text on it is the report's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from markupsafe import Markup

from stt_ft.core.atomic import write_text
from stt_ft.evaluation.figures import FIGURES, GROUP_FIGURES, NUMBER_SLICES, SLICE_TITLES
from stt_ft.evaluation.report import CLOCK_TITLES, LOSSES, Measurement, Measurements, Report
from stt_ft.evaluation.scores import Scores
from stt_ft.evaluation.systems import frames_text, rule_text
from stt_ft.evaluation.verdict import (
    MIN_CLIPS,
    TOO_FEW,
    change_in,
    headline_rows,
    resampled,
    show_change,
    show_interval,
    show_value,
    verdict_of,
)
from stt_ft.pages.charts import interval_bars, latency_curve, reliability_diagram, training_diagram
from stt_ft.pages.offline_page import render_page
from stt_ft.pages.report_clips import page_clips

TURN_COLUMNS = tuple(
    (slice_name, figure, short)
    for slice_name in (*NUMBER_SLICES, "ordinary")
    for figure, short in (("false_cut_offs", "cut-offs"), ("missed_ends", "missed"), ("latency_p50_s", "p50"), ("latency_p95_s", "p95"))
)
"""Slice, figure and its short name, of the table of ways to end the turn."""

LOSS_TITLES = dict(zip(LOSSES, ("text loss", "pause-head loss"), strict=True))

Roles = Mapping[str, str]
"""Model -> the class of its marks and columns: "theirs" or "ours"."""


def write_report_page(path: Path, report: Report, scores: Scores, *, dataset: Path) -> None:
    """Write report.html to `path` from the report and the scores that it was computed from.

    Args:
        dataset: directory that the clips' paths start from.

    Raises:
        AudioError: a clip's sound is missing or unreadable.
    """
    by_model = scores.by_model(report.models)
    clips = page_clips(by_model, model=report.model, baseline=report.baseline, dataset=dataset, page_dir=path.parent)
    roles = {model: "theirs" if model == report.baseline else "ours" for model in report.models}
    number_slices = [name for name in NUMBER_SLICES if report.num_clips[name]]
    curve_slices = number_slices or ["all"]
    rule = asdict(report.rule)
    made = {"rule": rule, **({} if report.provenance is None else {"provenance": report.provenance})}
    html = render_page(
        "report.html.j2",
        scripts=("timeline.js", "report.js"),
        data={"roles": roles, "rule": rule, "clips": [clip.payload for clip in clips]},
        audio=[clip.audio for clip in clips],
        report=report,
        verdict=verdict_of(report),
        roles=roles,
        groups=_headline_groups(report, roles),
        curves=[_curve(report, name, roles) for name in curve_slices],
        resampled=resampled(report),
        min_clips=MIN_CLIPS,
        rule=rule_text(report.rule),
        turn=_turn_table(report, roles),
        heads={name: list(zip(*(report.heads[model][name] for model in report.models), strict=False)) for name in curve_slices},
        reliability=_reliability(report, "all", roles),
        training=_training(report),
        number_slices=number_slices,
        curve_slices=curve_slices,
        slice_titles=SLICE_TITLES,
        clock_titles=CLOCK_TITLES,
        all_figures=FIGURES,
        group_figures=GROUP_FIGURES,
        show_value=show_value,
        show_interval=show_interval,
        provenance=json.dumps(made, indent=2, ensure_ascii=False),
    )
    write_text(path, html)


def _cell(name: str, one: Measurement) -> tuple[str, str]:
    """Return a figure and its interval as texts."""
    return show_value(one.value, FIGURES[name].unit), show_interval(one, FIGURES[name].unit)


def _headline_groups(report: Report, roles: Roles) -> list[dict[str, Any]]:
    """Return the headline table: a group a slice, and in it a row a figure, each text as it is drawn."""
    groups: list[dict[str, Any]] = []
    for row, figures, difference in headline_rows(report):
        if not groups or groups[-1]["slice"] != row.slice_name:
            title, num_clips = SLICE_TITLES[row.slice_name], report.num_clips[row.slice_name]
            groups.append({"slice": row.slice_name, "title": title, "num_clips": num_clips, "rows": []})
        change, unit = change_in(report, row.slice_name, row.figure), FIGURES[row.figure].unit
        groups[-1]["rows"].append(
            {
                "name": row.figure,
                "label": FIGURES[row.figure].label,
                "cells": {model: _cell(row.figure, one) for model, one in figures.items()},
                "change": TOO_FEW if change == TOO_FEW else None if difference is None else show_change(difference.value, unit),
                "verdict": change.replace(" ", "-"),
                "bars": interval_bars(figures, unit=unit, roles=roles),
            }
        )
    return groups


def _curve(report: Report, slice_name: str, roles: Roles) -> dict[str, Any]:
    """Return latency against cut-offs in a slice: the drawing, and the best latency within each budget as text."""
    curves = {model: slices[slice_name] for model, slices in report.curves.items()}
    drawing = latency_curve(
        curves,
        figures={model: report.figures[model][slice_name] for model in report.models},
        roles=roles,
        timers=_timer_figures(report, slice_name),
    )
    within = [curve.latency_within for curve in curves.values()]
    budgets = [
        {
            "budget": f"{100 * float(budget):g} %",
            "cells": ["never" if (point := points[budget]) is None else show_value(point.latency_p50_s, "s") for points in within],
        }
        for budget in within[0]
    ]
    return {"title": SLICE_TITLES[slice_name], "drawing": drawing, "budgets": budgets}


def _timer_figures(report: Report, slice_name: str) -> dict[str, Measurements]:
    """Return the figures of the systems that only wait for silence, under the words that stand beside their marks."""
    return {
        system.label.replace(" of silence", ""): report.figures[name][slice_name]
        for name, system in report.systems.items()
        if system.model not in report.models and slice_name in report.figures[name]
    }


def _turn_table(report: Report, roles: Roles) -> dict[str, Any]:
    """Return the ways to end the turn, a row each: the models by the rule in use, then the other systems; texts as they are drawn."""
    columns = [column for column in TURN_COLUMNS if report.num_clips[column[0]]]
    groups = [(SLICE_TITLES[name], sum(column[0] == name for column in columns)) for name in dict.fromkeys(column[0] for column in columns)]
    rule = report.rule
    in_use = f"above {rule.threshold:g} for {frames_text(rule.hold_frames)}" if rule.name is None else f"{rule.name}'s rule"
    labels = {name: f"{name}, {in_use}" for name in report.models} | {name: system.label for name, system in report.systems.items()}
    rows = []
    for name, label in labels.items():
        found = [(slice_name, figure, report.figure(name, slice_name, figure)) for slice_name, figure, _ in columns]
        cells = [None if one is None else (f"{name}.{slice_name}.{figure}", *_cell(figure, one)) for slice_name, figure, one in found]
        rows.append({"label": label, "role": roles.get(name, ""), "cells": cells})
    return {"groups": groups, "labels": [column[2] for column in columns], "rows": rows}


def _reliability(report: Report, slice_name: str, roles: Roles) -> Markup | None:
    """Return the drawing of whether probabilities came true, None where no rows count."""
    bins = {model: slices[slice_name].bins for model, slices in report.calibration.items() if slice_name in slices}
    return reliability_diagram(bins, roles=roles) if bins else None


def _training(report: Report) -> list[Markup]:
    """Return the drawings of the losses of the run, none where the report knows of no run."""
    course = report.training
    drawings = [] if course is None else [training_diagram(course, loss, title) for loss, title in LOSS_TITLES.items()]
    return [drawing for drawing in drawings if drawing is not None]
