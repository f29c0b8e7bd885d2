"""report.html: the figures of an evaluation, and clips to listen to and look at (`report_clips`). All texts on it come from the report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from markupsafe import Markup

from stt_ft.core.atomic import write_text
from stt_ft.core.timing import frame_heard_s
from stt_ft.evaluation.figures import (
    CALL_FIGURES,
    DRAW_FIGURES,
    FIGURES,
    GROUP_FIGURES,
    NUMBER_SLICES,
    SECOND_HALF,
    SLICE_TITLES,
    SLICES,
    WHOLE_CALL,
)
from stt_ft.evaluation.report import CLOCK_TITLES, LOSSES, Measurement, Measurements, Report
from stt_ft.evaluation.scores import Scores
from stt_ft.evaluation.systems import frames_text, rule_text
from stt_ft.evaluation.verdict import (
    MIN_CLIPS,
    TOO_FEW,
    barge_in_lines,
    change_in,
    headline_rows,
    resampled,
    show_change,
    show_interval,
    show_spread,
    show_value,
    spread_between_draws,
    text_cues,
    verdict_of,
)
from stt_ft.metrics.barge_ins import BARGE_IN_BELOW
from stt_ft.metrics.eot_bench import CUT_OFF_BUDGETS, LATENCY_BUDGETS_S
from stt_ft.pages.charts import interval_bars, latency_curve, reliability_diagram, training_diagram
from stt_ft.pages.offline_page import render_page
from stt_ft.pages.report_clips import RULE_OF_CARDS, clip_cards

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
    """Write report.html to `path` from the report and its scores; the clips' paths start from the directory `dataset`.

    Raises `AudioError`: a clip's sound is missing or unreadable.
    """
    by_model = scores.by_model(report.models)
    cards = clip_cards(by_model, baseline=report.baseline, dataset=dataset, page_dir=path.parent)
    roles = {model: "theirs" if model == report.baseline else "ours" for model in report.models}
    number_slices = [name for name in NUMBER_SLICES if report.num_clips[name]]
    curve_slices = (number_slices or ["all"]) if all(map(report.has_heads, report.models)) else []
    rule = asdict(report.rule)
    bins = {model: slices["all"].bins for model, slices in report.calibration.items() if "all" in slices}
    made = {"rule": rule, **({} if report.provenance is None else {"provenance": report.provenance})}
    html = render_page(
        "report.html.j2",
        scripts=("timeline.js", "report.js"),
        data={"roles": roles, "rule": rule, "clips": cards.payloads, "totals": cards.totals},
        audio=cards.sounds,
        num_cards=len(cards.payloads),
        rule_of_cards=RULE_OF_CARDS,
        report=report,
        verdict=verdict_of(report),
        roles=roles,
        groups=_headline_groups(report, roles),
        curves=[_curve(report, name, roles) for name in curve_slices],
        resampled=resampled(report),
        spread=spread_between_draws(report),
        min_clips=MIN_CLIPS,
        rule=rule_text(report.rule),
        turn=_turn_table(report, roles),
        text_cues=text_cues(report),
        settings=[system for system in report.systems.values() if system.settings is not None],
        eot=_eot_table(report, roles),
        calls=_call_tables(report),
        barge_ins=barge_in_lines(report),
        barge_in_below=BARGE_IN_BELOW,
        draws=_draws_table(report),
        heard_s=frame_heard_s,
        heads={name: list(zip(*(report.heads[model][name] for model in report.models), strict=False)) for name in curve_slices},
        reliability=reliability_diagram(bins, roles=roles) if bins else None,
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
    labels = {system.model: (name, system.label) for name, system in report.systems.items()}
    others = {name: labels[name][0] for name in curves if name not in report.models}
    drawing = latency_curve(
        curves,
        figures={model: report.figures[others.get(model, model)][slice_name] for model in curves},
        roles={**dict.fromkeys(others, "other"), **roles},
        timers=_timer_figures(report, slice_name),
    )
    within = [curves[model].latency_within for model in report.models]
    budgets = [
        {
            "budget": f"{100 * float(budget):g} %",
            "cells": ["never" if (point := points[budget]) is None else show_value(point.latency_p50_s, "s") for points in within],
        }
        for budget in within[0]
    ]
    return {"title": SLICE_TITLES[slice_name], "drawing": drawing, "budgets": budgets}


def _timer_figures(report: Report, slice_name: str) -> dict[str, Measurements]:
    """Return the figures of the systems that only wait for silence, under the timer that stands beside their marks."""
    return {
        system.label.removeprefix("Silero VAD, ").removesuffix(" of silence"): report.figures[name][slice_name]
        for name, system in report.systems.items()
        if system.model not in report.curves and slice_name in report.figures[name]
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


def _eot_table(report: Report, roles: Roles) -> dict[str, Any]:
    """Return eot-bench's measures, a row a detector and a group of columns a slice; texts as they are drawn."""
    slices = [name for name in (*NUMBER_SLICES, "ordinary") if all(name in found for found in report.eot_bench.values())]
    labels = {system.model: system.label for system in report.systems.values()} | {name: name for name in roles}
    rows = []
    for detector, found in report.eot_bench.items() if slices else ():
        points = [
            (value, unit)
            for one in (found[name] for name in slices)
            for values, unit in ((one.cut_offs_within_s, "share"), (one.latency_within_s, "s"))
            for value in values.values()
        ]
        cells = ["–" if value is None else show_value(value, unit) for value, unit in points]
        rows.append({"label": labels.get(detector, "a timer alone"), "role": roles.get(detector, ""), "cells": cells})
    columns = [f"cut-offs at {budget_s:g} s" for budget_s in LATENCY_BUDGETS_S]
    columns += [f"latency at {100 * rate:g} %" for rate in CUT_OFF_BUDGETS]
    groups = [(SLICE_TITLES[name], report.eot_bench[report.model][name].num_holds) for name in slices]
    return {"groups": groups, "columns": columns, "rows": rows}


def _call_tables(report: Report) -> list[dict[str, Any]]:
    """Return the judged model's figures in long calls, texts as they are drawn: a table of the whole call and its second half and, of calls
    longer than a minute, one of the minutes; in each a group a slice, in it a row a part of the call, None where a slice lacks a figure."""
    slices = {} if report.calls is None else report.calls.parts[report.model]
    labels = list(dict.fromkeys(name for slice_name in slices for name in CALL_FIGURES[slice_name]))
    minutes = list(dict.fromkeys(title for parts in slices.values() for title in parts if title not in (WHOLE_CALL, SECOND_HALF)))
    tables = []
    for titles in ((WHOLE_CALL, SECOND_HALF), minutes if len(minutes) > 1 else ()):
        groups = []
        for slice_name, parts in slices.items():
            rows = []
            for title in (title for title in titles if title in parts):
                part, cells = parts[title], []
                for name in labels:
                    told = name in CALL_FIGURES[slice_name] and name in part.in_calls
                    heard = (show_value(part.in_calls[name].value, FIGURES[name].unit), _cell(name, part.alone[name])[0]) if told else None
                    cells.append(heard)
                rows.append({"title": title, "num_clips": part.num_clips, "cells": cells})
            groups.append({"title": SLICE_TITLES[slice_name], "rows": rows})
        if titles and groups:
            tables.append({"labels": [FIGURES[name].label for name in labels], "groups": groups})
    return tables


def _draws_table(report: Report) -> dict[str, Any]:
    """Return the spread of figures between draws of the tokens, a row a slice and model; texts as they are drawn."""
    rows = [
        {
            "title": SLICE_TITLES[slice_name],
            "model": model,
            "cells": [show_spread(found[name], FIGURES[name].unit) if name in found else "–" for name in DRAW_FIGURES],
        }
        for slice_name in SLICES
        for model, slices in ({} if report.draws is None else report.draws.spreads).items()
        if (found := slices.get(slice_name))
    ]
    return {"labels": [FIGURES[name].label for name in DRAW_FIGURES], "rows": rows}


def _training(report: Report) -> list[Markup]:
    """Return the drawings of the losses of the run, none where the report knows of no run."""
    course = report.training
    drawings = [] if course is None else [training_diagram(course, loss, title) for loss, title in LOSS_TITLES.items()]
    return [drawing for drawing in drawings if drawing is not None]
