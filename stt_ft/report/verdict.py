"""The report in a sentence: better, worse, or neither, told from the paired differences and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stt_ft.report.figures import FIGURES, HEADLINES, Headline

TOLERANCES = {"share": 0.02, "rate": 0.01, "s": 0.1, "score": 0.02}
"""By unit: how much worse a figure may get, its interval leaving no doubt that it did, and still be called slightly worse."""

MIN_CLIPS = 8
"""Clips below which a difference is too few to say, whatever its interval."""

PRICE = "a price"
"""A latency that is longer where fewer turns are cut off, and whose curve lies lower: a wait that buys something."""

LEAST_GAIN_S = 0.1
"""How much lower the curve's mean latency (`endpointing.area_under`) must be for a longer wait to count as its price."""

TOO_FEW, TOO_FEW_TO_SAY = "too few", "too few to say"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """`word` is "better", "worse", "mixed", "no clear change", "too few to say" or "measured"; `claim` says of
    what, `detail` is the line below it."""

    word: str
    claim: str
    detail: str

    @property
    def sentence(self) -> str:
        """The headline: word and claim."""
        return f"{self.word.capitalize()}: {_lower_first(self.claim)}"


def verdict_of(report: dict[str, Any]) -> Verdict:
    """Return what the report says of its headline figures.

    "Better" needs a figure that is better beyond chance, none that is worse, and that the first one's point did not move the wrong way by
    more than its tolerance, chance or not. A head that fires in the middle of turns has short latencies at their ends for that very reason,
    so a longer latency is told as the price, not as a loss, where cut-offs fell and the whole curve of latency against cut-offs lies lower.
    """
    if report["baseline"] is None:
        return Verdict(word="measured", claim=_measured(report), detail="No baseline was given, so nothing is said of better or worse.")
    rows = [row for row in HEADLINES if row.figure in report["differences"].get(row.slice_name, {})]
    by_change: dict[str, list[Headline]] = {"better": [], "worse": [], "slightly worse": [], "same": [], PRICE: [], TOO_FEW: []}
    for row in rows:
        by_change[_change(report, row)].append(row)
    better, worse = by_change["better"], by_change["worse"]
    doubtful = [rows[0]] if rows[0] not in (*better, *worse) and _may_be_worse(report, rows[0]) else []
    if better:
        word = "mixed" if worse or doubtful else "better"
    else:
        word = "worse" if worse else TOO_FEW_TO_SAY if len(by_change[TOO_FEW]) == len(rows) else "no clear change"
    counts = [f"{len(better)} of {len(rows)} headline figures are better beyond chance"]
    counts += [f"{len(by_change[change])} {change}" for change in ("worse", "slightly worse") if by_change[change]] or ["none is worse"]
    counts += [f"{len(by_change[PRICE])} the price of fewer cut-offs"] if by_change[PRICE] else []
    counts += [f"{len(by_change[TOO_FEW])} of fewer than {MIN_CLIPS} clips, {TOO_FEW_TO_SAY}"] if by_change[TOO_FEW] else []
    detail = f"{', '.join(counts)} (95 % paired bootstrap intervals)."
    unsure = [row for row in (*by_change["same"], *by_change[TOO_FEW]) if _may_be_worse(report, row)]
    if word == "better" and unsure:
        detail += f" With so few clips it stays open for {_listed(unsure)}."
    return Verdict(word=word, claim=_claim(report, rows[0], by_change, doubtful), detail=detail)


def _claim(report: dict[str, Any], main: Headline, by_change: dict[str, list[Headline]], doubtful: list[Headline]) -> str:
    """Say what got better and by how much, the first headline before others; else what got worse; else how the first one moved."""
    better, worse = by_change["better"], by_change["worse"]
    told = next(iter(better or worse), main)
    claim = _moved(report, told)
    main_moved_wrong = main in (*worse, *doubtful)
    if better and main_moved_wrong:
        claim += f", but {_lower_first(_moved(report, main))}{', which may be chance' if doubtful else ''}"
    if by_change[PRICE] and told in better:
        claim += f", at the price of {_listed(by_change[PRICE])}"
    others = [row for row in worse if row is not told and row is not main]
    if others:
        claim += f", {'but' if better and not main_moved_wrong else 'and'} worse {'too ' if told in worse else ''}in {_listed(others)}"
    if told in better and not worse and not doubtful:
        claim += f", and nothing else got {'much ' if by_change['slightly worse'] else ''}worse"
    return f"{claim}."


def _moved(report: dict[str, Any], row: Headline) -> str:
    """Say from what to what a figure went."""
    before, after = (report["figures"][model][row.slice_name][row.figure]["value"] for model in (report["baseline"], report["model"]))
    verb = "went"
    if _change(report, row) in ("better", "worse"):
        verb = "rose" if before is not None and (after is None or after > before) else "fell"
    return f"{row.label} {verb} from {_value(report, report['baseline'], row)} to {_value(report, report['model'], row)}"


def _may_be_worse(report: dict[str, Any], row: Headline) -> bool:
    """Return whether a figure moved the wrong way by more than its tolerance, whatever room its interval leaves for chance."""
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


def change_in(report: dict[str, Any], slice_name: str, figure: str) -> str:
    """Return how a figure of the model differs from the baseline's.

    "better" or "worse" when the whole 95 % interval of the difference lies on that side of zero, or when a latency exists for one of the
    two only; `TOO_FEW` of fewer than `MIN_CLIPS` clips; else "same".
    """
    difference = report["differences"].get(slice_name, {}).get(figure)
    if difference is None:
        return "same"
    if difference["num_clips"] < MIN_CLIPS:
        return TOO_FEW
    if difference["value"] is None:  # latencies alone are infinite, and lower is better
        return "worse" if report["figures"][report["model"]][slice_name][figure]["value"] is None else "better"
    lower_is_better = FIGURES[figure].better == "lower"
    low, high = difference["low"], difference["high"]
    if high is not None and high < 0:
        return "better" if lower_is_better else "worse"
    if low is not None and low > 0:
        return "worse" if lower_is_better else "better"
    return "same"


def _change(report: dict[str, Any], row: Headline) -> str:
    """Return the change of a headline figure as `change_in` does, or "slightly worse" (within the tolerance of its unit), or `PRICE`."""
    change, moved = change_in(report, row.slice_name, row.figure), report["differences"][row.slice_name][row.figure]["value"]
    slight = moved is not None and abs(moved) <= TOLERANCES[FIGURES[row.figure].unit]
    if change != "worse":
        return change
    return "slightly worse" if slight else PRICE if _is_price(report, row) else change


def _is_price(report: dict[str, Any], row: Headline) -> bool:
    """Return whether a latency that got longer is paid for by fewer cut-offs, as the curves of both models tell."""
    if not row.figure.startswith("latency_") or change_in(report, row.slice_name, "false_cut_offs") != "better":
        return False
    ours_s, theirs_s = (report["curves"][model][row.slice_name]["area_s"] for model in (report["model"], report["baseline"]))
    return ours_s <= theirs_s - LEAST_GAIN_S


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
