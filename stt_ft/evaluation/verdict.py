"""The verdict on a report (better, worse, or neither, by the paired differences alone), and the table of its headline figures, for a
terminal and as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stt_ft.evaluation.figures import FIGURES, HEADLINES, NUMBER_SLICES, SLICE_TITLES, Headline
from stt_ft.evaluation.report import Measurement, Report, Spread
from stt_ft.metrics.intervals import MIN_SPEAKERS

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

TOLERANCES = {"share": 0.02, "rate": 0.01, "s": 0.1, "score": 0.02}
"""Unit -> how much worse a figure may get beyond chance and still be called slightly worse."""

MIN_CLIPS = 8
"""Fewest clips of a difference that is called better or worse, whatever its interval."""

PRICE = "a price"
"""A longer latency that buys something: fewer turns are cut off, and the curve of latency against cut-offs lies lower."""

LEAST_GAIN_S = 0.1
"""How much lower the curve's mean latency (`endpointing.area_under`) must be for a longer wait to count as its price."""

TOO_FEW, TOO_FEW_TO_SAY = "too few", "too few to say"

_STYLES = {"better": "green", "worse": "red"}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """`word` is "better", "worse", "mixed", "no clear change", "too few to say" or "measured"; `claim` names the figures, `detail` is the
    line below."""

    word: str
    claim: str
    detail: str

    @property
    def sentence(self) -> str:
        return f"{self.word.capitalize()}: {_lower_first(self.claim)}"


def verdict_of(report: Report) -> Verdict:
    """Return the verdict on the headline figures.

    "Better" needs a figure that is better beyond chance, none that is worse, and a first figure that did not move the wrong way by more
    than its tolerance, chance or not. A head that fires in the middle of turns has short latencies at their ends for that very reason, so a
    longer latency counts as a price, not as a loss, where cut-offs fell and the whole curve of latency against cut-offs lies lower.
    """
    if report.baseline is None:
        first = next(row for row in HEADLINES if report.figure(report.model, row.slice_name, row.figure) is not None)
        claim = f"{first.label} {_value(report, report.model, first)}."
        return Verdict(word="measured", claim=claim, detail="No baseline was given, so nothing is said of better or worse.")
    rows = [row for row in HEADLINES if report.difference(row.slice_name, row.figure) is not None]
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


def _claim(report: Report, main: Headline, by_change: dict[str, list[Headline]], doubtful: list[Headline]) -> str:
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


def _moved(report: Report, row: Headline) -> str:
    """Return the sentence on a figure's change: "LABEL fell from 20.0 % to 5.0 %"."""
    before, after = (report.figures[model][row.slice_name][row.figure].value for model in report.models)
    verb = "went"
    if _change(report, row) in ("better", "worse"):
        verb = "rose" if before is not None and (after is None or after > before) else "fell"
    return f"{row.label} {verb} from {_value(report, report.models[0], row)} to {_value(report, report.model, row)}"


def _may_be_worse(report: Report, row: Headline) -> bool:
    """Return whether a figure moved the wrong way by more than its tolerance, whatever room its interval leaves for chance."""
    moved, figure = report.differences[row.slice_name][row.figure].value, FIGURES[row.figure]
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


def change_in(report: Report, slice_name: str, figure: str) -> str:
    """Return how a figure of the model differs from the baseline's.

    "better" or "worse" when the whole 95 % interval of the difference lies on that side of zero, or when a latency exists for one of the
    two only; `TOO_FEW` of fewer than `MIN_CLIPS` clips; else "same".
    """
    difference = report.difference(slice_name, figure)
    if difference is None:
        return "same"
    if difference.num_clips < MIN_CLIPS:
        return TOO_FEW
    if difference.value is None:  # latencies alone are infinite, and lower is better
        return "worse" if report.figures[report.model][slice_name][figure].value is None else "better"
    lower_is_better = FIGURES[figure].better == "lower"
    low, high = difference.low, difference.high
    if high is not None and high < 0:
        return "better" if lower_is_better else "worse"
    if low is not None and low > 0:
        return "worse" if lower_is_better else "better"
    return "same"


def _change(report: Report, row: Headline) -> str:
    """Return the change of a headline figure as `change_in` does, or "slightly worse" (within the tolerance of its unit), or `PRICE`."""
    change, moved = change_in(report, row.slice_name, row.figure), report.differences[row.slice_name][row.figure].value
    if change != "worse":
        return change
    if moved is not None and abs(moved) <= TOLERANCES[FIGURES[row.figure].unit]:
        return "slightly worse"
    if not row.figure.startswith(("latency_", "reply_")) or change_in(report, row.slice_name, "false_cut_offs") != "better":
        return change
    theirs_s, ours_s = (report.curves[model][row.slice_name].area_s for model in report.models)
    return PRICE if ours_s <= theirs_s - LEAST_GAIN_S else change


def _value(report: Report, model: str, row: Headline) -> str:
    return show_value(report.figures[model][row.slice_name][row.figure].value, FIGURES[row.figure].unit)


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


def print_report(report: Report, console: Console | None = None) -> None:
    """Print the table of `report` and its verdict on `console`, by default stdout. It fits in 80 columns."""
    console = console or Console()
    verdict = verdict_of(report)
    console.print(_table(report))
    console.print(Text(f"{resampled(report)}.", style="dim"), highlight=False)
    if report.systems:
        console.print(_systems_table(report))
        console.print(Text(text_cues(report) or "", style="dim"), highlight=False)
    if told := spread_between_draws(report):
        console.print(Text(told), highlight=False)
    for sentence in [] if report.served is None else report.served.sentences:
        console.print(Text(f"{sentence}."), highlight=False)
    for model, found in report.label_hypotheses.items():
        if found is not None and found.has_classes:
            console.print(Text(f"What the heads of {model} seem to have been taught: {found.sentence}."), highlight=False)
    console.print(Text(verdict.sentence, style="bold"), highlight=False)


def headline_rows(report: Report) -> Iterator[tuple[Headline, dict[str, Measurement], Measurement | None]]:
    """Yield the rows of the table that the report has: headline, model -> figure, and difference from the baseline."""
    for row in HEADLINES:
        found = {model: report.figure(model, row.slice_name, row.figure) for model in report.models}
        figures = {model: one for model, one in found.items() if one is not None}
        if len(figures) == len(found):
            yield row, figures, report.difference(row.slice_name, row.figure)


def show_interval(one: Measurement, unit: str) -> str:
    """Return "[low…high]" in the figure's unit, the unit itself left out; "∞" for a latency without end."""
    low, high = ("∞" if end is None else show_value(end, unit).split()[0] for end in (one.low, one.high))
    return f"[{low}…{high}]"


def resampled(report: Report) -> str:
    """Return the sentence on what the intervals resample, by slice where slices differ."""
    by_way: dict[str, list[str]] = {}
    for slice_name, one in report.intervals.items():
        speakers = f"{one.num_speakers} speakers, then their clips"
        way = speakers if one.by == "speaker" else f"clips: fewer than {MIN_SPEAKERS} speakers known"
        by_way.setdefault(way, []).append(SLICE_TITLES[slice_name].lower())
    ways = [way if len(by_way) == 1 else f"{way} ({', '.join(titles)})" for way, titles in by_way.items()]
    return f"Intervals resample {'; '.join(ways)}"


def _table(report: Report) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("")
    for model in report.models:
        table.add_column(model, justify="right", no_wrap=True)
    if report.baseline is not None:
        table.add_column("change", justify="right", no_wrap=True)
    slice_name = None
    for row, figures, difference in headline_rows(report):
        if row.slice_name != slice_name:
            slice_name = row.slice_name
            table.add_row(Text(SLICE_TITLES[slice_name], style="bold"), Text(f"{report.num_clips[slice_name]} clips", style="dim"))
        figure = FIGURES[row.figure]
        cells = [Text(_shown(one, figure.unit)) for one in figures.values()]
        if report.baseline is not None:
            change = change_in(report, row.slice_name, row.figure)
            moved = TOO_FEW if change == TOO_FEW else show_change(None if difference is None else difference.value, figure.unit)
            cells.append(Text(moved, style=_STYLES.get(change, "")))
        table.add_row(f"  {figure.label}", *cells)
    return table


def _systems_table(report: Report) -> Table:
    """Return the other ways to end the turn, a row each: cut-offs and median latency in every slice but "all"."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("other ways to end the turn")
    slices = [name for name in (*NUMBER_SLICES, "ordinary") if report.num_clips[name]]
    for slice_name in slices:
        table.add_column(f"{slice_name}\ncut-offs, p50", justify="right", no_wrap=True)
    for name, system in report.systems.items():
        by_slice = [report.figures[name][slice_name] for slice_name in slices]
        pairs = [
            [show_value(one[figure].value, FIGURES[figure].unit) for figure in ("false_cut_offs", "latency_p50_s")] for one in by_slice
        ]
        table.add_row(system.label, *(", ".join(pair) for pair in pairs))
    return table


def markdown_table(report: Report) -> str:
    """Return the verdict and the headline figures as Markdown, for a model card."""
    lines = [f"{verdict_of(report).sentence}\n", f"| | {' | '.join(report.models)} |", f"|---|{'---|' * len(report.models)}"]
    slice_name = None
    for row, figures, _ in headline_rows(report):
        if row.slice_name != slice_name:
            slice_name = row.slice_name
            lines.append(f"| **{SLICE_TITLES[slice_name]}** ({report.num_clips[slice_name]} clips) |{' |' * len(report.models)}")
        figure = FIGURES[row.figure]
        lines.append(f"| {figure.label} | {' | '.join(_shown(one, figure.unit) for one in figures.values())} |")
    told = f"In brackets: 95 % bootstrap intervals. {resampled(report)}. {spread_between_draws(report) or ''}"
    return "\n".join([*lines, f"\n{told.rstrip()}"])


def text_cues(report: Report) -> str | None:
    """Say what an agent that reads the end of the text finds in numbers, and what tuning took away; None without numbers."""
    slice_name, cues = next((name for name in NUMBER_SLICES if report.num_clips[name]), None), []
    if slice_name is None:
        return None
    for figure, found, lost in (("comma_inside", "a comma inside", "the comma"), ("stop_at_end", "a full stop at the end of", "the stop")):
        shares = [one.value or 0.0 for model in report.models if (one := report.figure(model, slice_name, figure)) is not None]
        told = " and ".join(f"{show_value(share, 'share')} ({model})" for model, share in zip(report.models, shares, strict=False))
        gone = len(shares) > 1 and shares[-1] < shares[0] - TOLERANCES["share"]
        cues.append(f"{found} {told}{f': tuning takes {lost} away' if gone else ''}")
    return f"A rule that reads the end of the text finds, of {SLICE_TITLES[slice_name].lower()}, {'; '.join(cues)}."


def show_spread(one: Spread, unit: str) -> str:
    """Return "88.0 to 92.0 %"."""
    low, high = (show_value(value, unit) for value in (one.lowest, one.highest))
    return low if low == high else f"{low.split()[0]} to {high}"


def spread_between_draws(report: Report) -> str | None:
    """Say between which values the judged model's headline figures lie over the draws of its tokens; None where there was but one."""
    if report.draws is None:
        return None
    slices = report.draws.spreads[report.model]
    found = [(row, slices.get(row.slice_name, {}).get(row.figure)) for row in HEADLINES]
    told = [f"{_lower_first(row.label)} {show_spread(one, FIGURES[row.figure].unit)}" for row, one in found if one is not None]
    first = f"The server draws its tokens, and these figures are of the first of {report.draws.num} draws"
    return f"{first}. Over all of them, {report.model}: {'; '.join(told)}."


def barge_in_lines(report: Report) -> list[str]:
    """Say, a line a model, whether an agent hears the caller barge in; nothing where no long calls were heard, or no head."""
    lines = []
    for model, one in {} if report.calls is None else report.calls.barge_ins.items():
        line = f"{model}: {one.num_spoken_over} of {one.num_turns} turns begin while the agent speaks"
        if one.never_rate is not None:
            p50, p90 = ("never" if delay_s is None else show_value(delay_s, "s") for delay_s in (one.delay_p50_s, one.delay_p90_s))
            line += f", and it stops after {p50} (p50), {p90} (p90), in {show_value(one.never_rate, 'share')} never"
        if one.false_per_minute is not None:
            line += f"; in {one.silence_s / 60:.0f} minutes of silence it stops {one.false_per_minute:.1f} times a minute"
        lines.append(line)
    return lines


def eval_results(report: Report) -> list[EvalResult]:
    """Return the headline figures of the judged model for the `model-index` of a model card, as the hub's own type.

    The slice is the dataset's config; the 95 % interval and the number of clips stand in the metric's arguments. Latencies that are
    infinite are left out. Of the dataset's path only the last part is told.
    """
    from huggingface_hub import EvalResult

    name = "held-out recordings" if report.dataset is None else Path(report.dataset.name).name
    found = [(row, report.figure(report.model, row.slice_name, row.figure)) for row in HEADLINES]
    return [
        EvalResult(
            task_type="automatic-speech-recognition",
            dataset_type=re.sub(r"\W+", "-", name),
            dataset_name=name,
            dataset_config=row.slice_name,
            dataset_split=None if report.dataset is None else report.dataset.split,
            metric_type="wer" if row.figure == "word_error_rate" else row.figure,
            metric_name=row.label,
            metric_value=round(one.value, 5),
            metric_args={
                "interval_95": [None if end is None else round(end, 5) for end in (one.low, one.high)],
                "num_clips": one.num_clips,
            },
        )
        for row, one in found
        if one is not None and one.value is not None
    ]


def _shown(one: Measurement, unit: str) -> str:
    return f"{show_value(one.value, unit)} {show_interval(one, unit)}"
