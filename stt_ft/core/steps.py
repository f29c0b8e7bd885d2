"""A chain of stages that skips what is up to date, as make does.

A step is up to date when its last run had the same options and the same input files (by size and time of change), came after the same run
of the step before, and its outputs are still there. Each step has a small JSON file that records its last run.

Stages rewrite their own inputs (`annotate` and `convert` their sidecars). Each step that runs therefore records anew the inputs of itself
and of all steps before it, as they are once it is done: only changes that somebody else makes later count as changes.
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stt_ft.core.atomic import write_json
from stt_ft.core.progress import say


@dataclass(frozen=True, kw_only=True)
class Step:
    """One stage of a chain.

    Attributes:
        name: unique in the chain.
        action: does the work.
        options: everything that changes the result and is no file; must be JSON.
        inputs: lists, when called, the files that the result depends on, beside those that earlier steps made.
        outputs: paths that must exist afterwards.
    """

    name: str
    action: Callable[[], None]
    options: dict[str, Any] = field(default_factory=dict)
    inputs: Callable[[], Iterable[Path]] = tuple
    outputs: Sequence[Path] = ()


def run_steps(steps: Iterable[Step], records: Path) -> None:
    """Run `steps` in order, one line each to stderr, skipping those that are up to date; keep the records in directory `records`."""
    finished: dict[Path, tuple[Step, dict[str, Any]]] = {}
    previous = ""
    for step in steps:
        path = records / f"{step.name}.json"
        record = _read(path)
        state = {"options": json.loads(json.dumps(step.options)), "after": previous, "inputs": _signature(step)}
        if all(record.get(key) == value for key, value in state.items()) and all(output.exists() for output in step.outputs):
            say(f"{step.name}: up to date")
            finished[path] = step, record
        else:
            say(f"{step.name} …")
            begin_s = time.monotonic()
            step.action()
            record = {**state, "run": uuid.uuid4().hex, "seconds": round(time.monotonic() - begin_s, 1)}
            finished[path] = step, record
            for place, (done, known) in finished.items():
                known["inputs"] = _signature(done)
                write_json(place, known)
            say(f"{step.name}: done in {record['seconds']:.1f} s")
        previous = record["run"]


def _signature(step: Step) -> str:
    """Return a digest of the names, sizes and times of change of a step's inputs; a file that is not there counts as such."""
    digest = hashlib.sha256()
    for path in step.inputs():
        try:
            stat = path.stat()
            digest.update(f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
        except FileNotFoundError:
            digest.update(f"{path}\0\n".encode())
    return digest.hexdigest()


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
