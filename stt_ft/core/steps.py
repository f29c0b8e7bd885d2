"""A chain of stages that skips what is up to date, as make does.

A step is up to date when the last run of it had the same options, the same input files (by size and time of change) and came after the same
run of the step before, and its outputs are still there. What was done is recorded in one small JSON file a step.
"""

from __future__ import annotations

import hashlib
import json
import time
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
        inputs: files (or directories, with all in them) that come from outside the chain.
        outputs: paths that must exist afterwards.
    """

    name: str
    action: Callable[[], None]
    options: dict[str, Any] = field(default_factory=dict)
    inputs: Sequence[Path] = ()
    outputs: Sequence[Path] = ()


def run_steps(steps: Iterable[Step], records: Path) -> None:
    """Run `steps` in order, one line each to stderr, skipping those that are up to date; keep the records in directory `records`."""
    previous = ""
    for step in steps:
        record_path = records / f"{step.name}.json"
        state = {"options": step.options, "inputs": _signatures(step.inputs), "after": previous}
        done = _read(record_path)
        if done.get("state") == json.loads(json.dumps(state)) and all(path.exists() for path in step.outputs):
            say(f"{step.name}: up to date")
        else:
            say(f"{step.name} …")
            begin_s = time.monotonic()
            step.action()
            done = {"state": state, "seconds": round(time.monotonic() - begin_s, 1)}
            write_json(record_path, done)
            say(f"{step.name}: done in {done['seconds']:.1f} s")
        previous = hashlib.sha256(json.dumps(done, sort_keys=True).encode()).hexdigest()


def _signatures(paths: Iterable[Path]) -> list[list[Any]]:
    files = [file for path in paths for file in (sorted(path.rglob("*")) if path.is_dir() else [path]) if file.is_file()]
    return [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
