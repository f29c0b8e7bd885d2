"""Drawings of the report as SVG: interval bars for the table, and latency against cut-offs. Colours come from the style sheet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup, escape

BAR_WIDTH, BAR_HEIGHT = 120, 26
CURVE_WIDTH, CURVE_HEIGHT = 440, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 14, 42


def interval_bars(estimates: dict[str, dict[str, Any]], *, unit: str, roles: dict[str, str]) -> Markup:
    """Draw one bar a model from low to high with a dot at the value, all on one axis: 0 to 100 % for shares, else up to the greatest."""
    ends = [one[key] for one in estimates.values() for key in ("low", "high", "value") if one[key] is not None]
    low, high = (0.0, 1.0) if unit == "share" else (min([0.0, *ends]), max([0.05 if unit == "rate" else 0.5, *ends]))

    def x(value: float | None) -> float:
        return round(6 + (BAR_WIDTH - 12) * ((high if value is None else value) - low) / (high - low), 1)

    parts = [f'<line class="axis" x1="6" x2="{BAR_WIDTH - 6}" y1="{BAR_HEIGHT / 2}" y2="{BAR_HEIGHT / 2}"/>']
    if low < 0:
        parts.append(f'<line class="zero" x1="{x(0)}" x2="{x(0)}" y1="3" y2="{BAR_HEIGHT - 3}"/>')
    gap = BAR_HEIGHT / (len(estimates) + 1)
    for number, (model, one) in enumerate(estimates.items(), start=1):
        y = round(number * gap, 1)
        parts.append(f'<line class="bar {roles[model]}" x1="{x(one["low"])}" x2="{x(one["high"])}" y1="{y}" y2="{y}"/>')
        parts.append(f'<circle class="dot {roles[model]}" cx="{x(one["value"])}" cy="{y}" r="3.6"/>')
    return svg(BAR_WIDTH, BAR_HEIGHT, parts, hidden=True)


def latency_curve(
    curves: dict[str, dict[str, Any]], *, figures: dict[str, dict[str, Any]], roles: dict[str, str], timers: dict[str, dict[str, Any]]
) -> Markup:
    """Draw for each model the best median latency at each rate of cut-offs, and a ring where the rule in use puts it.

    Args:
        curves: model -> the curves of a slice.
        figures: model -> the figures of the same slice.
        roles: model -> class of its marks.
        timers: what is written beside it -> the figures of a system that only waits for silence, drawn as a diamond.
    """
    diamonds = {name: (one["false_cut_offs"]["value"], one["latency_p50_s"]["value"]) for name, one in timers.items()}
    diamonds = {name: (rate, latency_s) for name, (rate, latency_s) in diamonds.items() if latency_s is not None}
    frontiers = {model: [(p["cut_off_rate"], p["latency_p50_s"]) for p in curve["frontier"]] for model, curve in curves.items()}
    rings = {model: (one["false_cut_offs"]["value"], one["latency_p50_s"]["value"]) for model, one in figures.items()}
    points = [point for line in frontiers.values() for point in line] + [ring for ring in rings.values() if ring[1] is not None]
    points += diamonds.values()
    max_rate = min(1.0, max([0.1, *(rate for rate, _ in points)]) * 1.04)
    low_s, high_s = min([0.0, *(s for _, s in points)]), max([0.5, *(s for _, s in points)]) * 1.08

    def x(rate: float) -> float:
        return round(_LEFT + (CURVE_WIDTH - _LEFT - _RIGHT) * rate / max_rate, 1)

    def y(latency_s: float) -> float:
        return round(_TOP + (CURVE_HEIGHT - _TOP - _BOTTOM) * (high_s - latency_s) / (high_s - low_s), 1)

    parts = []
    for tick in ticks(low_s, high_s):
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{CURVE_WIDTH - _RIGHT}" y1="{y(tick)}" y2="{y(tick)}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 8}" y="{y(tick) + 4}" text-anchor="end">{show_tick(tick)}</text>')
    for tick in ticks(0.0, max_rate):
        parts.append(f'<text class="tick" x="{x(tick)}" y="{CURVE_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{100 * tick:.0f} %</text>')
    for model, line in frontiers.items():
        corners = " ".join(f"{x(rate)},{y(latency_s)}" for rate, latency_s in _stairs(line, max_rate))
        parts.append(f'<polyline class="curve {roles[model]}" points="{corners}"/>')
    for name, (rate, latency_s) in diamonds.items():
        at_x, at_y = x(rate), y(latency_s)
        parts.append(f'<path class="diamond" d="M{at_x} {at_y - 6}l6 6l-6 6l-6 -6z"/>')
        side, anchor = (-10, "end") if rate > max_rate / 2 else (10, "start")
        parts.append(f'<text class="tick" x="{at_x + side}" y="{at_y + 4}" text-anchor="{anchor}">{escape(name)}</text>')
    for model, (rate, latency_s) in rings.items():
        if latency_s is not None:
            parts.append(f'<circle class="ring {roles[model]}" cx="{x(rate)}" cy="{y(latency_s)}" r="6"/>')
            side, anchor = (-12, "end") if rate > max_rate / 2 else (12, "start")
            place = f'x="{x(rate) + side}" y="{y(latency_s) - 9}" text-anchor="{anchor}"'
            parts.append(f'<text class="name {roles[model]}" {place}>{escape(model)}</text>')
    middle_x, middle_y = (_LEFT + CURVE_WIDTH - _RIGHT) / 2, (_TOP + CURVE_HEIGHT - _BOTTOM) / 2
    parts.append(f'<text class="title" x="{middle_x}" y="{CURVE_HEIGHT - 4}" text-anchor="middle">false cut-offs</text>')
    parts.append(f'<text class="title" transform="translate(11 {middle_y}) rotate(-90)" text-anchor="middle">median latency, s</text>')
    return svg(CURVE_WIDTH, CURVE_HEIGHT, parts, label="Median end-of-turn latency against the rate of false cut-offs")


def _stairs(line: Sequence[tuple[float, float]], max_rate: float) -> list[tuple[float, float]]:
    """Return the corners of what can be had at each rate: a latency holds from its own rate up to that of the next faster point."""
    corners: list[tuple[float, float]] = []
    right_end = max_rate
    for rate, latency_s in line:  # from most cut-offs, and fastest, to fewest
        corners += [(right_end, latency_s), (rate, latency_s)]
        right_end = rate
    return corners


def ticks(low: float, high: float) -> list[float]:
    """Return round values from `low` to `high`, four to eight of them."""
    step = next(step for step in (0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5, 1.0, 2.0, 5.0, 1e9) if (high - low) / step <= 7)
    first = int(low / step) - 1
    return [round(number * step, 6) for number in range(first, first + 12) if low - 1e-9 <= number * step <= high + 1e-9]


def show_tick(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".").replace("-", "−")


def svg(width: int, height: int, parts: Sequence[str], *, label: str = "", hidden: bool = False) -> Markup:
    described = 'aria-hidden="true"' if hidden else f'role="img" aria-label="{label}"'
    return Markup(f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" {described}>{"".join(parts)}</svg>')
