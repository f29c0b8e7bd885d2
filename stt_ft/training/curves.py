"""`loss.png`: the course of a run in one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stt_ft.core.atomic import atomic_path


def draw_curves(path: Path, train_rows: Sequence[dict[str, Any]], eval_rows: Sequence[dict[str, Any]]) -> None:
    """Draw text and pause loss over steps, training as lines and dev as dots."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name, label, color in (("text_loss", "text", "tab:blue"), ("pause_loss", "pause heads", "tab:orange")):
        for rows, split, style in ((train_rows, "train", "-"), (eval_rows, "dev", "o--")):
            shown = [row for row in rows if row.get(name)]
            steps, losses = [row["step"] for row in shown], [row[name] for row in shown]
            axes.plot(steps, losses, style, color=color, linewidth=1, markersize=4, alpha=0.8, label=f"{label}, {split}")
    if train_rows:
        axes.set_yscale("log")
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("loss")
    axes.grid(alpha=0.3)
    axes.legend()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)
