"""report.html: the figures of an evaluation, and every clip to listen to and look at."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stt_ft.core.atomic import write_text
from stt_ft.metrics.endpointing import EndpointRule
from stt_ft.report.charts import interval_bars, latency_curve
from stt_ft.report.figures import FIGURES, NUMBER_SLICES, SLICE_TITLES, models_of
from stt_ft.report.frames import ClipFrames
from stt_ft.report.groups import GROUP_FIGURES
from stt_ft.report.page_clips import page_clips
from stt_ft.report.page_parts import render_page
from stt_ft.report.page_tables import (
    digit_tables,
    head_rows,
    hypothesis_tables,
    reliability,
    substitution_lists,
    timer_figures,
    training,
    turn_table,
)
from stt_ft.report.scores import score_clip
from stt_ft.report.systems import rule_label
from stt_ft.report.table import headline_rows, resampled, show_interval
from stt_ft.report.verdict import MIN_CLIPS, TOO_FEW, change_in, show_change, show_value, verdict_of


def write_page(path: Path, report: dict[str, Any], frames: Sequence[ClipFrames], *, dataset: Path) -> None:
    """Write report.html to `path` from report.json's value and the frames that it was computed from.

    Args:
        dataset: directory that the clips' paths start from.

    Raises:
        AudioError: a clip's sound is missing or unreadable.
    """
    rule, models = EndpointRule(**report["rule"]), models_of(report)
    scores = {model: [score_clip(clip, rule) for clip in frames if clip.model == model and clip.channel is None] for model in models}
    clips = page_clips(scores, model=report["model"], baseline=report["baseline"], rule=rule, dataset=dataset, page_dir=path.parent)
    roles = {model: "theirs" if model == report["baseline"] else "ours" for model in models}
    curve_slices = [name for name in NUMBER_SLICES if report["num_clips"][name]] or ["all"]
    html = render_page(
        "page.html.j2",
        scripts=("timeline.js", "page.js"),
        data={"roles": roles, "rule": report["rule"], "clips": [clip.payload for clip in clips]},
        audio=[clip.audio for clip in clips],
        report=report,
        verdict=verdict_of(report),
        roles=roles,
        groups=_headline_groups(report, roles),
        all_figures=_all_figures(report),
        curves=[_curve(report, name, roles) for name in curve_slices],
        resampled=resampled(report),
        min_clips=MIN_CLIPS,
        rule=rule_label(report["rule"]),
        groups_by=_groups_by(report),
        calibration=_calibration(report),
        turn=turn_table(report, roles),
        digits=digit_tables(report),
        substitutions=substitution_lists(report),
        heads=[{"title": SLICE_TITLES[name], "rows": head_rows(report, name)} for name in curve_slices],
        hypotheses=hypothesis_tables(report),
        reliability=reliability(report, "all", roles),
        training=training(report),
        provenance=json.dumps({key: report[key] for key in ("rule", "provenance") if key in report}, indent=2, ensure_ascii=False),
    )
    write_text(path, html)


def _headline_groups(report: dict[str, Any], roles: dict[str, str]) -> list[dict[str, Any]]:
    """Return the headline table: a group a slice, and in it a row a figure, each text as it is drawn."""
    groups: list[dict[str, Any]] = []
    for row, estimates, difference in headline_rows(report):
        if not groups or groups[-1]["slice"] != row.slice_name:
            num_clips = report["num_clips"][row.slice_name]
            groups.append({"slice": row.slice_name, "title": SLICE_TITLES[row.slice_name], "num_clips": num_clips, "rows": []})
        change = change_in(report, row.slice_name, row.figure)
        groups[-1]["rows"].append(_row(row.figure, estimates, difference, change, roles))
    return groups


def _row(name: str, estimates: dict[str, Any], difference: dict[str, Any] | None, change: str, roles: dict[str, str]) -> dict[str, Any]:
    figure = FIGURES[name]
    return {
        "name": name,
        "label": figure.label,
        "cells": {model: (show_value(one["value"], figure.unit), show_interval(one, figure.unit)) for model, one in estimates.items()},
        "change": "too few" if change == TOO_FEW else None if difference is None else show_change(difference["value"], figure.unit),
        "verdict": change.replace(" ", "-"),
        "bars": interval_bars(estimates, unit=figure.unit, roles=roles),
    }


def _all_figures(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Return every figure of every slice as text: the table behind the fold."""
    tables = []
    for slice_name, title in SLICE_TITLES.items():
        by_model = {model: report["figures"][model].get(slice_name, {}) for model in models_of(report)}
        rows = []
        for name, figure in FIGURES.items():
            if all(name in figures for figures in by_model.values()):
                ones = [figures[name] for figures in by_model.values()]
                cells = [(show_value(one["value"], figure.unit), show_interval(one, figure.unit)) for one in ones]
                rows.append({"label": figure.label, "cells": cells})
        if rows:
            tables.append({"title": title, "num_clips": report["num_clips"][slice_name], "rows": rows})
    return tables


def _curve(report: dict[str, Any], slice_name: str, roles: dict[str, str]) -> dict[str, Any]:
    """Return latency against cut-offs in a slice: the drawing, and the best latency within each budget as text."""
    drawing = latency_curve(
        {model: curves[slice_name] for model, curves in report["curves"].items()},
        figures={model: report["figures"][model][slice_name] for model in models_of(report)},
        roles=roles,
        timers=timer_figures(report, slice_name),
    )
    return {"title": SLICE_TITLES[slice_name], "drawing": drawing, "budgets": _budgets(report, slice_name)}


def _budgets(report: dict[str, Any], slice_name: str) -> list[dict[str, Any]]:
    """Return the best median latency of each model within each budget of cut-offs, as text."""
    by_model = {model: curves[slice_name]["latency_within"] for model, curves in report["curves"].items()}
    budgets = next(iter(by_model.values()))
    return [
        {
            "budget": f"{100 * float(budget):g} %",
            "cells": [show_value(points[budget]["latency_p50_s"], "s") if points[budget] else "never" for points in by_model.values()],
        }
        for budget in budgets
    ]


def _groups_by(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a table a slice: a row a part, and in it each model's figures as text."""
    tables = []
    for slice_name, names in GROUP_FIGURES.items():
        rows = [
            {
                "by": group["by"],
                "part": group["part"],
                "num_clips": group["num_clips"],
                "cells": [
                    [
                        show_value(figures[name]["value"], FIGURES[name].unit) if name in figures else "–"
                        for figures in group["figures"].values()
                    ]
                    for name in names
                ],
            }
            for group in report["groups"]
            if group["slice"] == slice_name
        ]
        if rows:
            tables.append({"title": SLICE_TITLES[slice_name], "labels": [FIGURES[name].label for name in names], "rows": rows})
    return tables


def _calibration(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row a slice: each model's Brier score and calibration error, and the drift from the baseline, as text."""
    rows = []
    for slice_name, title in SLICE_TITLES.items():
        by_model = [slices[slice_name] for slices in report["calibration"].values() if slice_name in slices]
        if len(by_model) == len(report["calibration"]):
            cells = [(f"{one['brier']['value']:.3f}", f"{one['calibration_error']:.3f}") for one in by_model]
            drift = report["drift_nats"].get(slice_name)
            rows.append({"title": title, "cells": cells, "drift": None if drift is None else f"{drift['value']:.3f}"})
    return rows
