"""A gate: limits on the figures of a report, absolute and against the baseline. In CI it guards the pause heads."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from stt_ft.core.config import Config, load_config, nearest
from stt_ft.core.errors import CheckFailed
from stt_ft.evaluation.figures import CALL_FIGURES, FIGURES, OPTIONAL_SLICES, SECOND_HALF, SLICES
from stt_ft.evaluation.report import Measurement, Report
from stt_ft.evaluation.verdict import show_interval, show_value

DEFAULT_GATE = Path(str(resources.files("stt_ft.evaluation") / "gate.yaml"))

_SLACK = 1e-9


@dataclass(frozen=True, kw_only=True)
class _Limit:
    """A kind of limit: its bound, given the figure that is compared with and the number in the gate, and the side of the bound that holds.

    That figure is the baseline's, or, `in_calls`, the model's own on the same clips alone, where what is held is the second half of calls.
    """

    bound: Callable[[float, float], float]
    sign: str
    needs_baseline: bool = False
    in_calls: bool = False

    def holds(self, value: float, bound: float) -> bool:
        return value <= bound + _SLACK if self.sign == "<=" else value >= bound - _SLACK


_LIMITS = {
    "max": _Limit(bound=lambda _, limit: limit, sign="<="),
    "min": _Limit(bound=lambda _, limit: limit, sign=">="),
    "max_rise": _Limit(bound=lambda theirs, limit: theirs + limit, sign="<=", needs_baseline=True),
    "max_drop": _Limit(bound=lambda theirs, limit: theirs - limit, sign=">=", needs_baseline=True),
    "max_ratio": _Limit(bound=lambda theirs, limit: theirs * limit, sign="<=", needs_baseline=True),
    "max_rise_in_calls": _Limit(bound=lambda alone, limit: alone + limit, sign="<=", in_calls=True),
    "max_drop_in_calls": _Limit(bound=lambda alone, limit: alone - limit, sign=">=", in_calls=True),
}


@dataclass(frozen=True, kw_only=True)
class GateConfig(Config):
    """The limits on a report."""

    checks: dict[str, dict[str, float]]
    """SLICE.FIGURE -> limits, of those in `_LIMITS`."""

    def __post_init__(self) -> None:
        mistakes = []
        for name, limits in self.checks.items():
            slice_name, _, figure = name.partition(".")
            if slice_name not in SLICES or figure not in FIGURES or slice_name not in FIGURES[figure].slices:
                known = [f"{one}.{name}" for name, spec in FIGURES.items() for one in spec.slices]
                mistakes.append(f"checks.{name}: no such figure{nearest(name, known)}")
            mistakes += [f"checks.{name}.{limit}: no such limit{nearest(limit, _LIMITS)}" for limit in limits if limit not in _LIMITS]
            if figure not in CALL_FIGURES.get(slice_name, ()):
                mistakes += [
                    f"checks.{name}.{limit}: no such figure in calls" for limit in limits if limit in _LIMITS and _LIMITS[limit].in_calls
                ]
            if not limits:
                mistakes.append(f"checks.{name}: no limit; give one or more of {', '.join(_LIMITS)}")
        if mistakes:
            raise ValueError(*mistakes)


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """One limit on one figure, and the sentence on it.

    Attributes:
        outcome: "passed", "failed" or "skipped": an optional slice without clips, a limit on pause heads where no model has any, or
            one on calls where none were measured.
    """

    name: str
    outcome: str
    line: str

    @property
    def failed(self) -> bool:
        return self.outcome == "failed"


def load_gate(path: str | Path | None = None) -> GateConfig:
    """Read a gate's file (the shipped one, when none is named); raises `ConfigError` with all its mistakes."""
    return load_config(GateConfig, DEFAULT_GATE if path is None else path)


def check_report(report: Report, gate: GateConfig, *, strict: bool = False) -> list[CheckResult]:
    """Check `report` against every limit of `gate`, in order; raises `CheckFailed` when a limit needs a baseline that the report lacks.

    `strict` asks that the bad end of the 95 % interval keeps the limit too: of the figure's own interval or, for a limit against the
    baseline, of the paired interval of the difference, put on top of the baseline's figure.
    """
    return [
        _check(report, name, limit_name, limit, strict=strict)
        for name, limits in gate.checks.items()
        for limit_name, limit in limits.items()
    ]


def _check(report: Report, checked: str, limit_name: str, limit: float, *, strict: bool) -> CheckResult:
    kind, name = _LIMITS[limit_name], f"{checked} {limit_name}"
    slice_name, _, figure = checked.partition(".")
    if slice_name in OPTIONAL_SLICES and not report.num_clips.get(slice_name):
        return CheckResult(name=name, outcome="skipped", line=f"{name}: no {slice_name} clips")
    headless = [model for model in report.models if FIGURES[figure].needs_heads and not report.has_heads(model)]
    if report.model in headless or (headless and kind.needs_baseline):
        outcome = "failed" if report.model in headless and headless != report.models else "skipped"
        return CheckResult(name=name, outcome=outcome, line=f"{name}: no pause heads in {' and '.join(headless)}")
    if kind.needs_baseline and report.baseline is None:
        raise CheckFailed(f"{name}: the report has no baseline; evaluate with --baseline, or take this limit out of the gate")
    if kind.in_calls:
        if report.calls is None:
            return CheckResult(name=name, outcome="skipped", line=f"{name}: no long calls were measured (evaluate --calls 600)")
        part = report.calls.parts[report.model].get(slice_name, {}).get(SECOND_HALF)
        found = [] if part is None else [part.alone.get(figure), part.in_calls.get(figure)]
        difference, other = None if part is None else part.differences.get(figure), "the same clips alone"
    else:
        found = [report.figure(model, slice_name, figure) for model in (report.models if kind.needs_baseline else [report.model])]
        difference, other = report.difference(slice_name, figure) if kind.needs_baseline else None, "baseline"
    figures = [one for one in found if one is not None]
    if not figures or len(figures) < len(found):
        where = "too few clips in calls" if kind.in_calls else "no clips"
        return CheckResult(name=name, outcome="failed", line=f"{name}: the report has no such figure ({slice_name}: {where})")
    is_compared = len(found) > 1
    ours, theirs = figures[-1], figures[0].value if is_compared else 0.0
    if ours.value is None or theirs is None:
        return CheckResult(name=name, outcome="failed", line=f"{name}: too many turns never end for this figure to exist")
    unit, bound = FIGURES[figure].unit, kind.bound(theirs, limit)
    beside = f" ({other} {show_value(theirs, unit)})" if is_compared else ""
    held = kind.holds(ours.value, bound)
    shown = f"{slice_name}.{figure}{' late in calls' if kind.in_calls else ''}: {show_value(ours.value, unit)} {show_interval(ours, unit)}"
    line = f"{shown} {kind.sign if held else f'is not {kind.sign}'} {show_value(bound, unit)}{beside}"
    if held and strict:
        end = _bad_end(kind, ours, difference, theirs)
        held = end is not None and kind.holds(end, bound)
        if not held:
            reach = "has no end" if end is None else f"reaches {show_value(end, unit)}"
            line += f", but its interval {reach} (--strict)"
    return CheckResult(name=name, outcome="passed" if held else "failed", line=line)


def _bad_end(kind: _Limit, ours: Measurement, difference: Measurement | None, theirs: float) -> float | None:
    """Return the end of the interval that is nearest to breaking the limit, or beyond it; None where it is infinite.

    Against the baseline it is the interval of the difference, put on top of `theirs`, the baseline's figure.
    """
    low, high = (ours.low, ours.high) if difference is None else (difference.low, difference.high)
    end = high if kind.sign == "<=" else low
    return end if difference is None or end is None else theirs + end


def junit_xml(results: list[CheckResult]) -> str:
    """Return the results as a JUnit test suite, one case a limit."""
    counts = {outcome: str(sum(result.outcome == outcome for result in results)) for outcome in ("failed", "skipped")}
    suite = ET.Element("testsuite", name="stt-ft gate", tests=str(len(results)), failures=counts["failed"], skipped=counts["skipped"])
    for result in results:
        case = ET.SubElement(suite, "testcase", classname="stt-ft.gate", name=result.name)
        if result.failed:
            ET.SubElement(case, "failure", message=result.line).text = result.line
        elif result.outcome == "skipped":
            ET.SubElement(case, "skipped", message=result.line)
        else:
            ET.SubElement(case, "system-out").text = result.line
    ET.indent(suite)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(suite, encoding="unicode") + "\n"
