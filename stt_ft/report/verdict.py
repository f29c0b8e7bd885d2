"""The report in a sentence: better, worse, or neither, told from the paired differences and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stt_ft.report.figures import FIGURES, HEADLINES, Headline

TOLERANCES = {"share": 0.02, "rate": 0.01, "s": 0.1, "score": 0.02}
"""By unit: how much worse a figure may get, its interval leaving no doubt that it did, and still be called slightly worse."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """`word` is "better", "worse", "mixed", "no clear change" or "measured"; `claim` says of what, `detail` is the line below it."""

    word: str
    claim: str
    detail: str

    @property
    def sentence(self) -> str:
        """The headline: word and claim."""
        return f"{self.word.capitalize()}: {_lower_first(self.claim)}"


def verdict_of(report: dict[str, Any]) -> Verdict:
    """Return what the report says, first of the false cut-offs inside numbers and then of everything that must not get worse."""
    if report["baseline"] is None:
        return Verdict(word="measured", claim=_measured(report), detail="No baseline was given, so nothing is said of better or worse.")
    rows = [row for row in HEADLINES if row.figure in report["differences"].get(row.slice_name, {})]
    by_change: dict[str, list[Headline]] = {"better": [], "worse": [], "slightly worse": [], "same": []}
    for row in rows:
        by_change[_change(report, row)].append(row)
    better, worse = by_change["better"], by_change["worse"]
    word = ("mixed" if better else "worse") if worse else ("better" if better else "no clear change")
    counts = [f"{len(better)} of {len(rows)} headline figures are better beyond chance"]
    counts += [f"{len(by_change[change])} {change}" for change in ("worse", "slightly worse") if by_change[change]] or ["none is worse"]
    detail = f"{', '.join(counts)} (95 % paired bootstrap intervals by clip)."
    return Verdict(word=word, claim=_claim(report, rows[0], by_change), detail=detail)


def _claim(report: dict[str, Any], main: Headline, by_change: dict[str, list[Headline]]) -> str:
    """Say how the first headline moved, and what else got worse."""
    before, after = _value(report, report["baseline"], main), _value(report, report["model"], main)
    verb = "fell" if main in by_change["better"] else "rose" if main in by_change["worse"] else "went"
    claim = f"{main.label} {verb} from {before} to {after}"
    others = [row for row in by_change["worse"] if row is not main]
    if others:
        claim += f", {'and worse too' if main in by_change['worse'] else 'but worse'} in {_listed(others)}"
    elif main in by_change["better"]:
        claim += f", and nothing else got {'much ' if by_change['slightly worse'] else ''}worse"
        unsure = [row for row in by_change["same"] if _may_be_worse(report, row)]
        if unsure:
            claim += f" beyond chance; with so few clips it stays open for {_listed(unsure)}"
    return f"{claim}."


def _may_be_worse(report: dict[str, Any], row: Headline) -> bool:
    """Return whether a figure moved the wrong way by more than its tolerance, though its interval leaves room for chance."""
    moved, figure = report["differences"][row.slice_name][row.figure]["value"], FIGURES[row.figure]
    return moved is not None and (moved if figure.better == "lower" else -moved) > TOLERANCES[figure.unit]


def show_value(value: float | None, unit: str) -> str:
    """Return a figure as people read it: shares and rates in percent, latencies in seconds, "missed" for a latency without end."""
    if value is None:
        return "missed"
    if unit == "score":
        return _without_minus_zero(value, 3)
    if unit == "s":
        return f"{_without_minus_zero(value, 2)} s"
    return f"{_without_minus_zero(100 * value, 1)} %"


def show_change(value: float | None, unit: str) -> str:
    """Return a difference with its sign: percentage points or seconds."""
    if value is None:
        return "–"
    factor, places, suffix = {"s": (1, 2, " s"), "score": (1, 3, "")}.get(unit, (100, 1, " pt"))
    number = _without_minus_zero(factor * value, places)
    sign = "" if number.startswith("−") or float(number) == 0 else "+"
    return f"{sign}{number}{suffix}"


def change_of(figure: str, difference: dict[str, Any] | None) -> str:
    """Return "better" or "worse" when the whole 95 % interval of the difference lies on that side of zero, else "same"."""
    if difference is None or difference["value"] is None:
        return "same"
    lower_is_better = FIGURES[figure].better == "lower"
    low, high = difference["low"], difference["high"]
    if high is not None and high < 0:
        return "better" if lower_is_better else "worse"
    if low is not None and low > 0:
        return "worse" if lower_is_better else "better"
    return "same"


def _change(report: dict[str, Any], row: Headline) -> str:
    """Return the change of a headline figure: "better", "worse", "slightly worse" (within the tolerance of its unit) or "same"."""
    difference = report["differences"][row.slice_name][row.figure]
    change = change_of(row.figure, difference)
    slight = difference["value"] is not None and abs(difference["value"]) <= TOLERANCES[FIGURES[row.figure].unit]
    return "slightly worse" if change == "worse" and slight else change


def _value(report: dict[str, Any], model: str, row: Headline) -> str:
    return show_value(report["figures"][model][row.slice_name][row.figure]["value"], FIGURES[row.figure].unit)


def _measured(report: dict[str, Any]) -> str:
    """Say the first headline that the model has: false cut-offs inside numbers, unless there are no numbers."""
    row = next(row for row in HEADLINES if row.figure in report["figures"][report["model"]].get(row.slice_name, {}))
    return f"{row.label} {_value(report, report['model'], row)}."


def _listed(rows: list[Headline]) -> str:
    """Name the figures, those that differ in their quantile alone as one: "latency after numbers (p50 and p95)"."""
    quantiles: dict[str, list[str]] = {}
    for row in rows:
        name, _, quantile = _lower_first(row.label).partition(", ")
        quantiles.setdefault(name, []).append(quantile)
    return _joined([f"{name} ({_joined(ones)})" if any(ones) else name for name, ones in quantiles.items()])


def _joined(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _lower_first(label: str) -> str:
    return label[0].lower() + label[1:]


def _without_minus_zero(value: float, places: int) -> str:
    text = f"{abs(value):.{places}f}"
    return f"−{text}" if value < 0 and float(text) != 0 else text
