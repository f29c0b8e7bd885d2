"""More drawings of the report as SVG: whether probabilities come true, and the course of the training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from stt_ft.report.charts import show_tick, svg, ticks

WIDTH, HEIGHT = 440, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 12, 40


class _Axes:
    """Where values stand on the drawing, and the grid and words around it."""

    def __init__(self, max_x: float, low_y: float, high_y: float) -> None:
        self.max_x, self.low_y, self.high_y = max_x, low_y, high_y

    def x(self, value: float) -> float:
        return round(_LEFT + (WIDTH - _LEFT - _RIGHT) * value / self.max_x, 1)

    def y(self, value: float) -> float:
        return round(_TOP + (HEIGHT - _TOP - _BOTTOM) * (self.high_y - value) / (self.high_y - self.low_y), 1)

    def points(self, line: Sequence[tuple[float, float]]) -> str:
        return " ".join(f"{self.x(a)},{self.y(b)}" for a, b in line)

    def grid(self, title_x: str, title_y: str) -> list[str]:
        parts = []
        for tick in ticks(self.low_y, self.high_y):
            parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{self.y(tick)}" y2="{self.y(tick)}"/>')
            parts.append(f'<text class="tick" x="{_LEFT - 8}" y="{self.y(tick) + 4}" text-anchor="end">{show_tick(tick)}</text>')
        for tick in ticks(0.0, self.max_x):
            parts.append(f'<text class="tick" x="{self.x(tick)}" y="{HEIGHT - _BOTTOM + 18}" text-anchor="middle">{show_tick(tick)}</text>')
        middle_x, middle_y = (_LEFT + WIDTH - _RIGHT) / 2, (_TOP + HEIGHT - _BOTTOM) / 2
        parts.append(f'<text class="title" x="{middle_x}" y="{HEIGHT - 4}" text-anchor="middle">{title_x}</text>')
        parts.append(f'<text class="title" transform="translate(11 {middle_y}) rotate(-90)" text-anchor="middle">{title_y}</text>')
        return parts


def reliability_diagram(bins: dict[str, list[dict[str, Any]]], *, roles: dict[str, str]) -> Markup:
    """Draw for each model how often a pause followed, against the probability it gave; dots grow with the rows in their bin."""
    axes = _Axes(1.0, 0.0, 1.0)
    parts = axes.grid("probability of a pause that the head gave", "share that came true")
    parts.append(f'<line class="zero" x1="{axes.x(0)}" y1="{axes.y(0)}" x2="{axes.x(1)}" y2="{axes.y(1)}"/>')
    for model, ones in bins.items():
        line = [(one["mean_prob"], one["share_true"]) for one in ones]
        parts.append(f'<polyline class="curve {roles[model]}" points="{axes.points(line)}"/>')
        total = sum(one["num_rows"] for one in ones)
        for (prob, share), one in zip(line, ones, strict=True):
            radius = round(3 + 6 * (one["num_rows"] / total) ** 0.5, 1)
            parts.append(f'<circle class="dot {roles[model]}" cx="{axes.x(prob)}" cy="{axes.y(share)}" r="{radius}"/>')
    return svg(WIDTH, HEIGHT, parts, label="How often a pause followed, against the probability that the head gave")


def training_diagram(course: dict[str, Any], loss: str, title: str) -> Markup | None:
    """Draw one loss of a run over its steps, training as a line and dev as dots; None where the run has no such loss."""
    train = [(row["step"], row[loss]) for row in course["train"] if row.get(loss) is not None]
    dev = [(row["step"], row[loss]) for row in course["dev"] if row.get(loss) is not None]
    if not train:
        return None
    axes = _Axes(max(step for step, _ in train), 0.0, max(value for _, value in [*_after_start(train), *dev]) * 1.05)
    parts = axes.grid("optimizer step", title)
    parts.append(f'<polyline class="curve train" points="{axes.points([(step, min(value, axes.high_y)) for step, value in train])}"/>')
    if dev:
        parts.append(f'<polyline class="curve dev" points="{axes.points(dev)}"/>')
    parts += [f'<circle class="dot dev" cx="{axes.x(step)}" cy="{axes.y(value)}" r="4"/>' for step, value in dev]
    return svg(WIDTH, HEIGHT, parts, label=f"{title} over optimizer steps")


def _after_start(line: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    """Return the line without its first twentieth, whose height would flatten all that follows."""
    return line[len(line) // 20 :]
