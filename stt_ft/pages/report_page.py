"""report.html: the figures of an evaluation, and every clip to listen to and look at. Every text on it is the report's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from markupsafe import Markup

from stt_ft.core.atomic import write_text
from stt_ft.evaluation.figures import FIGURES, GROUP_FIGURES, NUMBER_SLICES, SLICE_TITLES
from stt_ft.evaluation.report import CLOCK_TITLES, LOSSES, DigitErrors, Measurement, Measurements, Report
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

_MAX_SUBSTITUTIONS = 10

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
    curve_slices = [name for name in NUMBER_SLICES if report.num_clips[name]] or ["all"]
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
        all_figures=_all_figures(report),
        curves=[_curve(report, name, roles) for name in curve_slices],
        resampled=resampled(report),
        min_clips=MIN_CLIPS,
        rule=rule_text(report.rule),
        groups_by=_groups_by(report),
        calibration=_calibration(report),
        turn=_turn_table(report, roles),
        digits=digit_tables(report),
        substitutions={model: ones[:_MAX_SUBSTITUTIONS] for model, ones in report.substitutions.items() if ones},
        heads=[{"title": SLICE_TITLES[name], "rows": head_rows(report, name)} for name in curve_slices],
        hypotheses=hypothesis_tables(report),
        reliability=_reliability(report, "all", roles),
        training=_training(report),
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


def _all_figures(report: Report) -> list[dict[str, Any]]:
    """Return every figure of every slice as text: the table behind the fold."""
    tables = []
    for slice_name, title in SLICE_TITLES.items():
        by_model = [report.figures[model].get(slice_name, {}) for model in report.models]
        shared = [name for name in FIGURES if all(name in figures for figures in by_model)]
        rows = [{"label": FIGURES[name].label, "cells": [_cell(name, figures[name]) for figures in by_model]} for name in shared]
        if rows:
            tables.append({"title": title, "num_clips": report.num_clips[slice_name], "rows": rows})
    return tables


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


def _groups_by(report: Report) -> list[dict[str, Any]]:
    """Return a table a slice: a row a part, and in it each model's figures as text."""
    tables = []
    for slice_name, names in GROUP_FIGURES.items():
        rows = [
            {
                "by": group.by,
                "part": group.part,
                "num_clips": group.num_clips,
                "cells": [[_cell(name, one[name])[0] if name in one else "–" for one in group.figures.values()] for name in names],
            }
            for group in report.groups
            if group.slice == slice_name
        ]
        if rows:
            tables.append({"title": SLICE_TITLES[slice_name], "labels": [FIGURES[name].label for name in names], "rows": rows})
    return tables


def _calibration(report: Report) -> list[dict[str, Any]]:
    """Return a row a slice: each model's Brier score and calibration error, and the drift from the baseline, as text."""
    rows = []
    for slice_name, title in SLICE_TITLES.items():
        by_model = [slices[slice_name] for slices in report.calibration.values() if slice_name in slices]
        if len(by_model) == len(report.calibration):
            cells = [(f"{one.brier.value:.3f}", f"{one.calibration_error:.3f}") for one in by_model]
            drift = report.drift_nats.get(slice_name)
            rows.append({"title": title, "cells": cells, "drift": None if drift is None else f"{drift.value:.3f}"})
    return rows


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


def head_rows(report: Report, slice_name: str) -> list[dict[str, Any]]:
    """Return a row a head: for each model its cut-offs and latency at the rule in use, latency within 5 % cut-offs, and the area."""
    rows = []
    for lines in zip(*(report.heads[model][slice_name] for model in report.models), strict=False):
        cells = []
        for line in lines:
            within = line.latency_within["0.05"]
            cells += [
                show_value(line.at_rule.cut_off_rate, "share"),
                show_value(line.at_rule.latency_p50_s, "s"),
                "never" if within is None else show_value(within.latency_p50_s, "s"),
                show_value(line.area_s, "s"),
            ]
        horizon = "" if lines[0].horizon_s is None else f"within {lines[0].horizon_s:g} s"
        rows.append({"head": lines[0].head, "horizon": horizon, "cells": cells})
    return rows


def hypothesis_tables(report: Report) -> list[dict[str, Any]]:
    """Return a table a model: a row a clock, in it what each head explains, pause or not and the number of words."""
    tables = []
    for model, found in report.label_hypotheses.items():
        if found is None:
            continue
        rows = []
        for clock in dict.fromkeys(fit.clock for fit in found.fits):
            fits = [fit for fit in found.fits if fit.clock == clock]
            shares = [fit.binary_explained for fit in fits] + [fit.count_explained for fit in fits if found.has_classes]
            cells = ["–" if share is None else show_value(share, "share") for share in shares]
            rows.append({"clock": CLOCK_TITLES[clock], "is_best": clock == found.clock, "cells": cells})
        num_heads = len({fit.head for fit in found.fits})
        tables.append({"model": model, "taught": found.sentence, "heads": num_heads, "has_classes": found.has_classes, "rows": rows})
    return tables


def digit_tables(report: Report) -> list[dict[str, Any]]:
    """Return a table a slice of numbers: what became of the digits, an outcome a row, and where in the number errors fall."""
    slices = [name for name in NUMBER_SLICES if report.num_clips[name]]
    return [_digit_table(SLICE_TITLES[name], [report.digit_errors[model][name] for model in report.models]) for name in slices]


def _digit_table(title: str, errors: Sequence[DigitErrors]) -> dict[str, Any]:
    outcomes = {
        "taken for another": [one.substituted for one in errors],
        "dropped": [one.dropped for one in errors],
        "doubled": [one.doubled for one in errors],
        "added": [one.inserted for one in errors],
        "swapped with a neighbour": [one.swapped for one in errors],
    }
    rows = [
        (label, [f"{count} ({_share_of(count, one.num_digits)})" for count, one in zip(counts, errors, strict=True)])
        for label, counts in outcomes.items()
    ]
    rows.append(("leading zeros kept", [f"{one.leading_zeros_kept} of {one.numbers_with_leading_zeros}" for one in errors]))
    fifths = [[sum(one.errors_by_tenth_of_number[at : at + 2]) for at in range(0, 10, 2)] for one in errors]
    places = ("first", "second", "middle", "fourth", "last")
    rows += [(f"errors in its {place} fifth", [str(fifth[at]) for fifth in fifths]) for at, place in enumerate(places)]
    return {"title": title, "num_digits": errors[0].num_digits, "rows": rows}


def _share_of(count: int, total: int) -> str:
    return show_value(count / total, "share") if total else "–"


def _reliability(report: Report, slice_name: str, roles: Roles) -> Markup | None:
    """Return the drawing of whether probabilities came true, None where no rows count."""
    bins = {model: slices[slice_name].bins for model, slices in report.calibration.items() if slice_name in slices}
    return reliability_diagram(bins, roles=roles) if bins else None


def _training(report: Report) -> list[Markup]:
    """Return the drawings of the losses of the run, none where the report knows of no run."""
    course = report.training
    drawings = [] if course is None else [training_diagram(course, loss, title) for loss, title in LOSS_TITLES.items()]
    return [drawing for drawing in drawings if drawing is not None]
