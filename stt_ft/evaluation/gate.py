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

    def result(outcome: str, reason: str) -> CheckResult:
        return CheckResult(name=name, outcome=outcome, line=f"{name}: {reason}")

    if slice_name in OPTIONAL_SLICES and not report.num_clips.get(slice_name):
        return result("skipped", f"no {slice_name} clips")
    headless = [model for model in report.models if FIGURES[figure].needs_heads and not report.has_heads(model)]
    if report.model in headless or (headless and kind.needs_baseline):
        outcome = "failed" if report.model in headless and headless != report.models else "skipped"
        return result(outcome, f"no pause heads in {' and '.join(headless)}")
    if kind.needs_baseline and report.baseline is None:
        raise CheckFailed(f"{name}: the report has no baseline; evaluate with --baseline, or take this limit out of the gate")
    if kind.in_calls and report.calls is None:
        return result("skipped", "no long calls were measured (evaluate --calls 600)")
    compared = _compared(report, kind, slice_name, figure)
    if compared is None:
        return result(
            "failed", f"the report has no such figure ({slice_name}: {'too few clips in calls' if kind.in_calls else 'no clips'})"
        )
    if compared.ours.value is None or compared.theirs is None:
        return result("failed", "too many turns never end for this figure to exist")
    unit, bound = FIGURES[figure].unit, kind.bound(compared.theirs, limit)
    is_held = kind.holds(compared.ours.value, bound)
    where = f"{slice_name}.{figure}{' late in calls' if kind.in_calls else ''}"
    line = f"{where}: {show_value(compared.ours.value, unit)} {show_interval(compared.ours, unit)}"
    line += f" {kind.sign if is_held else f'is not {kind.sign}'} {show_value(bound, unit)}"
    if compared.name:
        line += f" ({compared.name} {show_value(compared.theirs, unit)})"
    if is_held and strict:
        end = compared.bad_end(kind)
        is_held = end is not None and kind.holds(end, bound)
        if not is_held:
            reach = "has no end" if end is None else f"reaches {show_value(end, unit)}"
            line += f", but its interval {reach} (--strict)"
    return CheckResult(name=name, outcome="passed" if is_held else "failed", line=line)


@dataclass(frozen=True, kw_only=True)
class _Compared:
    """A figure of the model, and the one that a limit compares it with: of what is called `name`, 0.0 where it stands alone."""

    ours: Measurement
    theirs: float | None = 0.0
    difference: Measurement | None = None
    name: str = ""

    def bad_end(self, kind: _Limit) -> float | None:
        """Return the end of the interval that is nearest to breaking the limit, or beyond it; None where it is infinite.

        Of a comparison it is the interval of the difference, put on top of the other figure.
        """
        interval = self.ours if self.difference is None else self.difference
        end = interval.high if kind.sign == "<=" else interval.low
        return end if self.difference is None or end is None else (self.theirs or 0.0) + end


def _compared(report: Report, kind: _Limit, slice_name: str, figure: str) -> _Compared | None:
    """Return the figures that a limit compares, None where the report lacks one of them."""
    if kind.in_calls:
        part = report.calls.parts[report.model].get(slice_name, {}).get(SECOND_HALF) if report.calls else None
        if part is None:
            return None
        ours, theirs, difference, name = (
            part.in_calls.get(figure),
            part.alone.get(figure),
            part.differences.get(figure),
            "the same clips alone",
        )
    elif kind.needs_baseline and report.baseline is not None:
        ours, theirs = report.figure(report.model, slice_name, figure), report.figure(report.baseline, slice_name, figure)
        difference, name = report.difference(slice_name, figure), "baseline"
    else:
        ours = report.figure(report.model, slice_name, figure)
        return None if ours is None else _Compared(ours=ours)
    if ours is None or theirs is None:
        return None
    return _Compared(ours=ours, theirs=theirs.value, difference=difference, name=name)


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
