"""The table of a report on a terminal: base | tuned with 95 % intervals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stt_ft.metrics.intervals import MIN_SPEAKERS
from stt_ft.report.figures import FIGURES, HEADLINES, NUMBER_SLICES, SLICE_TITLES, Headline, models_of
from stt_ft.report.hypotheses import taught
from stt_ft.report.verdict import TOO_FEW, change_in, show_change, show_value, verdict_of

_STYLES = {"better": "green", "worse": "red"}


def print_report(report: dict[str, Any], console: Console | None = None) -> None:
    """Print the table of `report` and below it what it says, to stdout unless told otherwise. It fits in 80 columns."""
    console = console or Console()
    verdict = verdict_of(report)
    console.print(_table(report))
    console.print(Text(f"{resampled(report)}.", style="dim"), highlight=False)
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


def resampled(report: dict[str, Any]) -> str:
    """Say what the intervals resample, slices that differ apart."""
    by_way: dict[str, list[str]] = {}
    for slice_name, one in report["intervals"].items():
        speakers = f"{one['num_speakers']} speakers, then their clips"
        way = speakers if one["by"] == "speaker" else f"clips: fewer than {MIN_SPEAKERS} speakers known"
        by_way.setdefault(way, []).append(SLICE_TITLES[slice_name].lower())
    ways = [way if len(by_way) == 1 else f"{way} ({', '.join(titles)})" for way, titles in by_way.items()]
    return f"Intervals resample {'; '.join(ways)}"


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
            change = change_in(report, row.slice_name, row.figure)
            moved = TOO_FEW if change == TOO_FEW else show_change(None if difference is None else difference["value"], figure.unit)
            cells.append(Text(moved, style=_STYLES.get(change, "")))
        table.add_row(f"  {figure.label}", *cells)
    return table


def _systems_table(report: dict[str, Any]) -> Table:
    """Return the other ways to end the turn, a row each: cut-offs and median latency in every slice but "all"."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("other ways to end the turn")
    slices = [name for name in (*NUMBER_SLICES, "ordinary") if report["num_clips"][name]]
    for slice_name in slices:
        table.add_column(f"{slice_name}\ncut-offs, p50", justify="right", no_wrap=True)
    for name, system in report["systems"].items():
        by_slice = [report["figures"][name][slice_name] for slice_name in slices]
        pairs = [
            [show_value(one[figure]["value"], FIGURES[figure].unit) for figure in ("false_cut_offs", "latency_p50_s")] for one in by_slice
        ]
        table.add_row(system["label"], *(", ".join(pair) for pair in pairs))
    return table
