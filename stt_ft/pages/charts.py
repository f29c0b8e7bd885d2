"""Drawings of the report as SVG. Colours come from the style sheet, so that they follow the page from light to dark."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

from markupsafe import Markup, escape

from stt_ft.evaluation.report import Curve, Measurement, Measurements, TrainingCourse
from stt_ft.metrics.pause_heads import ReliabilityBin

BAR_WIDTH, BAR_HEIGHT = 120, 26
WIDTH, CURVE_HEIGHT, DIAGRAM_HEIGHT = 440, 400, 340

HIGHEST_LOSS = 1e300
"""Upper end of the axes of a training that went astray."""


def interval_bars(figures: Mapping[str, Measurement], *, unit: str, roles: Mapping[str, str]) -> Markup:
    """Draw one bar a model from low to high with a dot at the value, all on one axis: 0 to 100 % for shares, else up to the greatest."""
    ends = [end for one in figures.values() for end in (one.low, one.high, one.value) if end is not None]
    low, high = (0.0, 1.0) if unit == "share" else (min([0.0, *ends]), max([0.05 if unit == "rate" else 0.5, *ends]))

    def x(value: float | None) -> float:
        return round(6 + (BAR_WIDTH - 12) * ((high if value is None else value) - low) / (high - low), 1)

    parts = [f'<line class="axis" x1="6" x2="{BAR_WIDTH - 6}" y1="{BAR_HEIGHT / 2}" y2="{BAR_HEIGHT / 2}"/>']
    if low < 0:
        parts.append(f'<line class="zero" x1="{x(0)}" x2="{x(0)}" y1="3" y2="{BAR_HEIGHT - 3}"/>')
    gap = BAR_HEIGHT / (len(figures) + 1)
    for number, (model, one) in enumerate(figures.items(), start=1):
        y = round(number * gap, 1)
        parts.append(f'<line class="bar {roles[model]}" x1="{x(one.low)}" x2="{x(one.high)}" y1="{y}" y2="{y}"/>')
        parts.append(f'<circle class="dot {roles[model]}" cx="{x(one.value)}" cy="{y}" r="3.6"/>')
    return _svg(BAR_WIDTH, BAR_HEIGHT, parts, hidden=True)


class _Axes:
    """The axes of a drawing, which place values, and the grid and words around it; x begins at 0."""

    _LEFT, _RIGHT, _TOP, _BOTTOM = 56, 14, 13, 41

    def __init__(self, height: int, max_x: float, low_y: float, high_y: float) -> None:
        self.height, self.max_x, self.low_y, self.high_y = height, max_x, low_y, high_y

    def x(self, value: float) -> float:
        return round(self._LEFT + (WIDTH - self._LEFT - self._RIGHT) * value / self.max_x, 1)

    def y(self, value: float) -> float:
        return round(self._TOP + (self.height - self._TOP - self._BOTTOM) * (self.high_y - value) / (self.high_y - self.low_y), 1)

    def line(self, marks: str, points: Sequence[tuple[float, float]]) -> str:
        return f'<polyline class="curve {marks}" points="{" ".join(f"{self.x(a)},{self.y(b)}" for a, b in points)}"/>'

    def dot(self, marks: str, point: tuple[float, float], radius: float) -> str:
        return f'<circle class="{marks}" cx="{self.x(point[0])}" cy="{self.y(point[1])}" r="{radius}"/>'

    def words(self, marks: str, point: tuple[float, float], text: str, *, aside: int, up: int) -> str:
        """Write `text` beside a point, on the side where there is more room; distances in pixels."""
        side, anchor = (-aside, "end") if point[0] > self.max_x / 2 else (aside, "start")
        place = f'x="{self.x(point[0]) + side}" y="{self.y(point[1]) - up}" text-anchor="{anchor}"'
        return f'<text class="{marks}" {place}>{escape(text)}</text>'

    def grid(self, title_x: str, title_y: str, *, show_x: Callable[[float], str] | None = None) -> list[str]:
        left, right, bottom = self._LEFT, WIDTH - self._RIGHT, self.height - self._BOTTOM
        parts = []
        for tick in ticks(self.low_y, self.high_y):
            parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{self.y(tick)}" y2="{self.y(tick)}"/>')
            parts.append(f'<text class="tick" x="{left - 8}" y="{self.y(tick) + 4}" text-anchor="end">{show_tick(tick)}</text>')
        for tick in ticks(0.0, self.max_x):
            text = (show_x or show_tick)(tick)
            parts.append(f'<text class="tick" x="{self.x(tick)}" y="{bottom + 18}" text-anchor="middle">{text}</text>')
        middle_x, middle_y = (left + right) / 2, (self._TOP + bottom) / 2
        parts.append(f'<text class="title" x="{middle_x}" y="{self.height - 4}" text-anchor="middle">{title_x}</text>')
        parts.append(f'<text class="title" transform="translate(11 {middle_y}) rotate(-90)" text-anchor="middle">{title_y}</text>')
        return parts


def latency_curve(
    curves: Mapping[str, Curve], *, figures: Mapping[str, Measurements], roles: Mapping[str, str], timers: Mapping[str, Measurements]
) -> Markup:
    """Draw for each detector the best median latency at each rate of cut-offs, and a ring where the rule in use puts it.

    `curves` and `figures` are those of one slice by detector, `roles` the classes of their marks, and `timers` label -> the figures of a
    system that only waits for silence, drawn as a diamond.
    """
    frontiers = {
        model: [point for one in curve.frontier if (point := _known(one.cut_off_rate, one.latency_p50_s))]
        for model, curve in curves.items()
    }
    rings, diamonds = (
        {name: point for name, one in ones.items() if (point := _known(one["false_cut_offs"].value, one["latency_p50_s"].value))}
        for ones in (figures, timers)
    )
    points = [*(point for line in frontiers.values() for point in line), *rings.values(), *diamonds.values()]
    max_rate = min(1.0, max([0.1, *(rate for rate, _ in points)]) * 1.04)
    axes = _Axes(CURVE_HEIGHT, max_rate, min([0.0, *(s for _, s in points)]), max([0.5, *(s for _, s in points)]) * 1.08)
    parts = axes.grid("false cut-offs", "median latency, s", show_x=lambda rate: f"{100 * rate:.0f} %")
    parts += [axes.line(roles[model], _stairs(line, max_rate)) for model, line in frontiers.items()]
    for name, point in diamonds.items():
        parts.append(f'<path class="diamond" d="M{axes.x(point[0])} {axes.y(point[1]) - 6}l6 6l-6 6l-6 -6z"/>')
        parts.append(axes.words("tick", point, name, aside=10, up=-4))
    for model, point in rings.items():
        parts.append(axes.dot(f"ring {roles[model]}", point, 6))
        parts.append(axes.words(f"name {roles[model]}", point, model.replace("_", " "), aside=12, up=9))
    return _svg(WIDTH, CURVE_HEIGHT, parts, label="Median end-of-turn latency against the rate of false cut-offs")


def _known(rate: float | None, latency_s: float | None) -> tuple[float, float] | None:
    return None if rate is None or latency_s is None else (rate, latency_s)


def _stairs(line: Sequence[tuple[float, float]], max_rate: float) -> list[tuple[float, float]]:
    """Return the corners of the best latency by rate: a latency holds from its own rate up to that of the next faster point."""
    corners: list[tuple[float, float]] = []
    right_end = max_rate
    for rate, latency_s in line:  # from most cut-offs, and fastest, to fewest
        corners += [(right_end, latency_s), (rate, latency_s)]
        right_end = rate
    return corners


def reliability_diagram(bins: Mapping[str, Sequence[ReliabilityBin]], *, roles: Mapping[str, str]) -> Markup:
    """Draw for each model how often a pause followed, against the probability it gave; dots grow with the rows in their bin."""
    axes = _Axes(DIAGRAM_HEIGHT, 1.0, 0.0, 1.0)
    parts = axes.grid("probability of a pause that the head gave", "share that came true")
    parts.append(f'<line class="zero" x1="{axes.x(0)}" y1="{axes.y(0)}" x2="{axes.x(1)}" y2="{axes.y(1)}"/>')
    for model, ones in bins.items():
        parts.append(axes.line(roles[model], [(one.mean_prob, one.share_true) for one in ones]))
        total = sum(one.num_rows for one in ones)
        for one in ones:
            radius = round(3 + 6 * (one.num_rows / total) ** 0.5, 1)
            parts.append(axes.dot(f"dot {roles[model]}", (one.mean_prob, one.share_true), radius))
    return _svg(WIDTH, DIAGRAM_HEIGHT, parts, label="How often a pause followed, against the probability that the head gave")


def training_diagram(course: TrainingCourse, loss: str, title: str) -> Markup | None:
    """Draw one loss of a run over its steps, training as a line and dev as dots; None where the run has no such loss."""
    train, dev = (
        [(row["step"] or 0, value) for row in rows if (value := row.get(loss)) is not None] for rows in (course.train, course.dev)
    )
    if not any(value for _, value in train):  # the loss of pause heads that are not trained is 0
        return None
    after_start = train[len(train) // 20 :]  # the height of the first twentieth would flatten all that follows
    highest = min(max(value for _, value in [*after_start, *dev]) * 1.05, HIGHEST_LOSS)
    axes = _Axes(DIAGRAM_HEIGHT, min(max(step for step, _ in train), HIGHEST_LOSS), 0.0, highest)
    parts = axes.grid("optimizer step", title)
    parts.append(axes.line("train", [(step, min(value, axes.high_y)) for step, value in train]))
    parts += [axes.line("dev", dev)] if dev else []
    parts += [axes.dot("dot dev", point, 4) for point in dev]
    return _svg(WIDTH, DIAGRAM_HEIGHT, parts, label=f"{title} over optimizer steps")


def ticks(low: float, high: float) -> list[float]:
    """Return round values from `low` to `high`, four to eight of them."""
    large = (factor * 10.0**power for power in range(1, 300) for factor in (1, 2, 5))
    step = next(step for step in itertools.chain((0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5, 1.0, 2.0, 5.0), large) if (high - low) / step <= 7)
    first = int(low / step) - 1
    return [round(number * step, 6) for number in range(first, first + 12) if low - 1e-9 <= number * step <= high + 1e-9]


def show_tick(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".").replace("-", "−")


def _svg(width: int, height: int, parts: Sequence[str], *, label: str = "", hidden: bool = False) -> Markup:
    described = 'aria-hidden="true"' if hidden else f'role="img" aria-label="{label}"'
    return Markup(f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" {described}>{"".join(parts)}</svg>')
