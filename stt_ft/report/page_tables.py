"""Tables of report.html beside the headline's: every way to end the turn, every head, and what the heads seem to have been taught."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from stt_ft.metrics.endpointing import EndpointRule
from stt_ft.report.diagrams import reliability_diagram, training_diagram
from stt_ft.report.figures import FIGURES, NUMBER_SLICES, SLICE_TITLES, models_of
from stt_ft.report.hypotheses import CLOCK_TITLES, taught
from stt_ft.report.systems import frames_text
from stt_ft.report.table import show_interval
from stt_ft.report.training_course import LOSSES
from stt_ft.report.verdict import show_value

TURN_COLUMNS = tuple(
    (slice_name, figure, short)
    for slice_name in (*NUMBER_SLICES, "ordinary")
    for figure, short in (("false_cut_offs", "cut-offs"), ("missed_ends", "missed"), ("latency_p50_s", "p50"), ("latency_p95_s", "p95"))
)
"""Slice, figure and its short name, of the table of ways to end the turn."""

LOSS_TITLES = dict(zip(LOSSES, ("text loss", "pause-head loss"), strict=True))


def turn_table(report: dict[str, Any], roles: dict[str, str]) -> dict[str, Any]:
    """Return the ways to end the turn, a row each: the models by the rule in use, then the other systems; texts as they are drawn."""
    columns = [column for column in TURN_COLUMNS if report["num_clips"][column[0]]]
    groups = [(SLICE_TITLES[name], sum(column[0] == name for column in columns)) for name in dict.fromkeys(column[0] for column in columns)]
    rule = report["rule"]
    name = EndpointRule(**rule).name
    in_use = f"above {rule['threshold']:g} for {frames_text(rule['hold_frames'])}" if name is None else f"{name}'s rule"
    labels = {name: f"{name}, {in_use}" for name in models_of(report)} | {name: one["label"] for name, one in report["systems"].items()}
    rows = []
    for name, label in labels.items():
        cells = []
        for slice_name, figure, _ in columns:
            one = report["figures"][name].get(slice_name, {}).get(figure)
            key = f"{name}.{slice_name}.{figure}"
            cells.append(
                None if one is None else (key, show_value(one["value"], FIGURES[figure].unit), show_interval(one, FIGURES[figure].unit))
            )
        rows.append({"label": label, "role": roles.get(name, ""), "cells": cells})
    return {"groups": groups, "labels": [column[2] for column in columns], "rows": rows}


def timer_figures(report: dict[str, Any], slice_name: str) -> dict[str, dict[str, Any]]:
    """Return the figures of the systems that only wait for silence, under the words that stand beside their marks."""
    return {
        one["label"].replace(" of silence", ""): report["figures"][name][slice_name]
        for name, one in report["systems"].items()
        if one["model"] not in models_of(report) and slice_name in report["figures"][name]
    }


def head_rows(report: dict[str, Any], slice_name: str) -> list[dict[str, Any]]:
    """Return a row a head: for each model its cut-offs and latency at the rule in use, latency within 5 % cut-offs, and the area."""
    by_model = [report["heads"][model][slice_name] for model in models_of(report)]
    rows = []
    for lines in zip(*by_model, strict=False):
        cells = []
        for line in lines:
            within, at_rule = line["latency_within"]["0.05"], line["at_rule"]
            cells += [
                show_value(at_rule["cut_off_rate"], "share"),
                show_value(at_rule["latency_p50_s"], "s"),
                show_value(within["latency_p50_s"], "s") if within else "never",
                show_value(line["area_s"], "s"),
            ]
        horizon = "" if lines[0]["horizon_s"] is None else f"within {lines[0]['horizon_s']:g} s"
        rows.append({"head": lines[0]["head"], "horizon": horizon, "cells": cells})
    return rows


def hypothesis_tables(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a table a model: a row a clock, in it what each head explains, pause or not and the number of words."""
    tables = []
    for model, found in report["label_hypotheses"].items():
        if found is None:
            continue
        clocks = dict.fromkeys(fit["clock"] for fit in found["fits"])
        has_classes = any(fit["count_explained"] is not None for fit in found["fits"])
        keys = ("binary_explained", "count_explained") if has_classes else ("binary_explained",)
        rows = []
        for clock in clocks:
            fits = [fit for fit in found["fits"] if fit["clock"] == clock]
            cells = [_explained(fit[key]) for key in keys for fit in fits]
            rows.append({"clock": CLOCK_TITLES[clock], "is_best": clock == found["clock"], "cells": cells})
        num_heads = len(rows[0]["cells"]) // len(keys)
        tables.append({"model": model, "taught": taught(found), "heads": num_heads, "has_classes": has_classes, "rows": rows})
    return tables


def digit_tables(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a table a slice of numbers: what became of the digits, an outcome a row, and where in the number errors fall."""
    slices = [name for name in NUMBER_SLICES if report["num_clips"][name]]
    return [_digit_table(SLICE_TITLES[name], [report["digit_errors"][model][name] for model in models_of(report)]) for name in slices]


def _digit_table(title: str, errors: list[dict[str, Any]]) -> dict[str, Any]:
    rows = [
        (label, [f"{one[key]} ({_share_of(one[key], one['num_digits'])})" for one in errors])
        for key, label in (
            ("substituted", "taken for another"),
            ("dropped", "dropped"),
            ("doubled", "doubled"),
            ("inserted", "added"),
            ("swapped", "swapped with a neighbour"),
        )
    ]
    rows.append(("leading zeros kept", [f"{one['leading_zeros_kept']} of {one['numbers_with_leading_zeros']}" for one in errors]))
    fifths = [[sum(one["errors_by_tenth_of_number"][at : at + 2]) for at in range(0, 10, 2)] for one in errors]
    places = ("first", "second", "middle", "fourth", "last")
    rows += [(f"errors in its {place} fifth", [str(fifth[at]) for fifth in fifths]) for at, place in enumerate(places)]
    return {"title": title, "num_digits": errors[0]["num_digits"], "rows": rows}


def substitution_lists(report: dict[str, Any], count: int = 10) -> dict[str, list[list[Any]]]:
    """Return model -> [reference, transcript, times] of the words most often taken for others."""
    return {model: ones[:count] for model, ones in report["substitutions"].items() if ones}


def reliability(report: dict[str, Any], slice_name: str, roles: dict[str, str]) -> Markup | None:
    """Return the drawing of whether probabilities came true, None where no rows count."""
    bins = {model: slices[slice_name]["bins"] for model, slices in report["calibration"].items() if slice_name in slices}
    return reliability_diagram(bins, roles=roles) if bins else None


def training(report: dict[str, Any]) -> list[Markup]:
    """Return the drawings of the losses of the run, none where the report knows of no run."""
    course = report.get("training")
    drawings = [training_diagram(course, loss, title) for loss, title in LOSS_TITLES.items()] if course else []
    return [drawing for drawing in drawings if drawing is not None]


def _explained(share: float | None) -> str:
    return "–" if share is None else show_value(share, "share")


def _share_of(count: int, total: int) -> str:
    return show_value(count / total, "share") if total else "–"
