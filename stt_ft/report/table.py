"""The table of a report on a terminal: base | tuned with 95 % intervals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stt_ft.report.figures import FIGURES, HEADLINES, SLICE_TITLES, Headline, models_of
from stt_ft.report.hypotheses import taught
from stt_ft.report.verdict import change_of, show_change, show_value, verdict_of

_STYLES = {"better": "green", "worse": "red", "same": ""}


def print_report(report: dict[str, Any], console: Console | None = None) -> None:
    """Print the table of `report` and below it what it says, to stdout unless told otherwise. It fits in 80 columns."""
    console = console or Console()
    verdict = verdict_of(report)
    console.print(_table(report))
    if report["systems"]:
        console.print(_systems_table(report))
    for model, found in report["label_hypotheses"].items():
        if found is not None and any(fit["count_explained"] is not None for fit in found["fits"]):  # asked for with --all_classes
            console.print(Text(f"What the heads of {model} seem to have been taught: {taught(found)}."), highlight=False)
    console.print(Text(verdict.sentence, style="bold"), highlight=False)


def headline_rows(report: dict[str, Any]) -> Iterator[tuple[Headline, dict[str, dict[str, Any]], dict[str, Any] | None]]:
    """Yield the rows of the table that the report has: headline, model -> estimate, and difference from the baseline."""
    for row in HEADLINES:
        estimates = {model: report["figures"][model].get(row.slice_name, {}).get(row.figure) for model in models_of(report)}
        if all(estimates.values()):
            yield row, estimates, report["differences"].get(row.slice_name, {}).get(row.figure)


def show_interval(estimate: dict[str, Any], unit: str) -> str:
    """Return "[low…high]" in the figure's unit, the unit itself left out; "∞" for a latency without end."""
    low, high = ("∞" if end is None else show_value(end, unit).split()[0] for end in (estimate["low"], estimate["high"]))
    return f"[{low}…{high}]"


def _table(report: dict[str, Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("")
    models = models_of(report)
    for model in models:
        table.add_column(model, justify="right", no_wrap=True)
    if report["baseline"] is not None:
        table.add_column("change", justify="right", no_wrap=True)
    slice_name = None
    for row, estimates, difference in headline_rows(report):
        if row.slice_name != slice_name:
            slice_name = row.slice_name
            table.add_row(Text(SLICE_TITLES[slice_name], style="bold"), Text(f"{report['num_clips'][slice_name]} clips", style="dim"))
        figure = FIGURES[row.figure]
        cells = [Text(f"{show_value(estimates[m]['value'], figure.unit)} {show_interval(estimates[m], figure.unit)}") for m in models]
        if report["baseline"] is not None:
            style = _STYLES[change_of(row.figure, difference)]
            cells.append(Text(show_change(None if difference is None else difference["value"], figure.unit), style=style))
        table.add_row(f"  {figure.label}", *cells)
    return table


def _systems_table(report: dict[str, Any]) -> Table:
    """Return the other ways to end the turn, a row each: cut-offs and median latency in numbers and in sentences."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("other ways to end the turn")
    columns = [
        (slice_name, figure)
        for slice_name in ("numbers", "ordinary")
        if report["num_clips"][slice_name]
        for figure in ("false_cut_offs", "latency_p50_s")
    ]
    for slice_name, figure in columns:
        title = f"{slice_name}\n{'cut-offs' if figure == 'false_cut_offs' else 'p50'}"
        table.add_column(title, justify="right", no_wrap=True)
    for name, system in report["systems"].items():
        cells = [report["figures"][name].get(slice_name, {}).get(figure) for slice_name, figure in columns]
        shown = ["–" if one is None else show_value(one["value"], FIGURES[columns[at][1]].unit) for at, one in enumerate(cells)]
        table.add_row(system["label"], *shown)
    return table
