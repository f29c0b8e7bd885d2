"""Messages for the person at the terminal (stderr) and results for programs (stdout).

On a terminal `track` draws a bar with the time left; elsewhere (a log, CI) it writes one line when the work is done.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import Any, TypeVar

Item = TypeVar("Item")


def say(message: str) -> None:
    """Write one line to stderr."""
    print(message, file=sys.stderr, flush=True)


def emit_json(value: Any) -> None:
    """Write `value` to stdout as one line of JSON, in ASCII where stdout takes no more; NaN and infinity, which JSON lacks, are refused."""
    has_letters = (sys.stdout.encoding or "").lower().startswith("utf")
    print(json.dumps(value, ensure_ascii=not has_letters, allow_nan=False), flush=True)


def track(iterable: Iterable[Item], description: str, total: int | None = None) -> Iterator[Item]:
    """Yield the items of `iterable` and show the progress of `description` ("aligning clips") on stderr.

    `total` is the number of items, where `iterable` has no length.
    """
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True), redirect_stdout=sys.stdout.isatty()) as progress:
            yield from progress.track(iterable, total=total, description=description)
        return
    begin_s, count = time.monotonic(), 0
    try:
        for item in iterable:
            yield item
            count += 1
    finally:
        out_of = f"/{total}" if total is not None and total != count else ""
        say(f"{description}: {count}{out_of} in {time.monotonic() - begin_s:.1f} s")
