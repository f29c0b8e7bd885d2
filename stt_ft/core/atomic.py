"""Writes that either happen whole or not at all, so that a killed run leaves no half file behind.

What is being written stands beside its place under a hidden name that says who writes it: `.take.HOST-PID-RANDOM.tmp.wav`. A killed process
leaves it there; `remove_leftovers` takes away those whose process is gone.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import platform
import re
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ABANDONED_S = 24 * 3600.0
"""Age at which a temporary file of another machine counts as left behind: whether its process lives cannot be asked from here."""

ASIDE = ".tmp.old"
"""End of the name of a directory that stood in the way of a new one; `recover` puts it back when the new one never came."""

_TEMPORARY = re.compile(r"^\..+\.(?P<host>[0-9a-f]{6})-(?P<pid>\d+)-[0-9a-f]{8}\.tmp(\.[^.]*)?$")


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, of the same suffix; flush it to disk and rename it to `path` when the block ends well.

    The parent directory is made if need be. When the block raises, the temporary file is removed and `path` is left as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{_writer()}.tmp{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_directory(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary directory beside `path`; rename it to `path` when the block ends well.

    With `replace`, what stands at `path` gives way to it; without, `path` must not exist.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{_writer()}.tmp")
    aside = temporary.with_name(temporary.name.removesuffix(".tmp") + ASIDE)
    temporary.mkdir()
    try:
        yield temporary
        if replace and path.exists():
            path.rename(aside)
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if aside.exists() and not path.exists():
            aside.rename(path)
        shutil.rmtree(aside, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` as indented JSON, whole or not at all. NaN and infinity are refused: JSON has no word for them."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n")


def remove_leftovers(directory: Path) -> int:
    """Remove what killed processes left half written anywhere under `directory`, and return how many pieces that were.

    What a living process of this machine writes is left alone, and so is what another machine began less than `ABANDONED_S` ago.
    """
    leftovers = _abandoned(directory.rglob(".*.tmp*"))
    for path in leftovers:
        _remove(path)
    return len(leftovers)


def recover(path: Path) -> None:
    """Take away what killed processes left of writing `path` itself, and put back what one of them had moved aside."""
    for leftover in _abandoned(path.parent.glob(f".{glob.escape(path.name)}.*.tmp*")):
        if leftover.name.endswith(ASIDE) and not path.exists():
            leftover.rename(path)
        else:
            _remove(leftover)


def _abandoned(paths: Iterable[Path]) -> list[Path]:
    """Return those of `paths` that are temporary and whose writer is gone."""
    found = [(path, _TEMPORARY.match(path.name)) for path in sorted(paths)]
    return [path for path, match in found if match is not None and _is_abandoned(path, match["host"], int(match["pid"]))]


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _writer() -> str:
    return f"{_host()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def _host() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:6]


def _is_abandoned(path: Path, host: str, pid: int) -> bool:
    if host != _host():
        try:
            return time.time() - path.lstat().st_mtime > ABANDONED_S
        except FileNotFoundError:
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return False
