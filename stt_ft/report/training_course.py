"""The course of a training run, for the report: losses over steps, and what the dev split said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stt_ft.core.errors import CheckpointError

TRAIN_NAME, DEV_NAME = "metrics.train.jsonl", "metrics.eval.jsonl"
LOSSES = ("text_loss", "pause_loss")

_MAX_POINTS = 240
"""Points of a curve: more than the page has pixels for."""


def training_course(run_dir: Path) -> dict[str, Any]:
    """Return the losses of a run, thinned to the mean of equal parts, and every validation; raises `CheckpointError` by file."""
    return {"run": str(run_dir), "train": _thinned(_rows(run_dir / TRAIN_NAME)), "dev": _rows(run_dir / DEV_NAME, required=False)}


def _rows(path: Path, *, required: bool = True) -> list[dict[str, Any]]:
    if not path.is_file():
        if required:
            raise CheckpointError(f"{path}: no such file; --run_dir takes the directory that `stt-ft train` wrote")
        return []
    try:
        return [json.loads(line) for line in path.read_bytes().splitlines() if line.strip()]
    except ValueError as error:
        raise CheckpointError(f"{path}: not lines of JSON: {error}") from None


def _thinned(rows: list[dict[str, Any]]) -> list[dict[str, float]]:
    """Return the step and the mean losses of each of at most `_MAX_POINTS` runs of rows; a loss that was not finite is passed over."""
    size = -(-len(rows) // _MAX_POINTS) or 1
    thinned = []
    for first in range(0, len(rows), size):
        part = rows[first : first + size]
        means = {name: [row[name] for row in part if row.get(name) is not None] for name in LOSSES}
        thinned.append({"step": part[-1]["step"], **{name: sum(values) / len(values) for name, values in means.items() if values}})
    return thinned
