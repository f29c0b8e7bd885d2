"""Files: nothing leaves the directory it belongs to, and a write happens whole or not at all, so that a killed run leaves no half file.

What a file of a dataset or a model names (a manifest's path, a name in config.json) is found by `inside`, and so lies in that directory by
its name; `check_lies_inside` looks where links lead. Only what the user named may be elsewhere. docs/data_format.md has the rule.

A file that is being written has a hidden name beside its place, `.take.1f0c9a2b.tmp.wav`, and its process holds a lock on it. A killed
process leaves the file there, unlocked; `remove_leftovers` removes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

_TEMPORARY = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{8}\.tmp(\.[^.]*)?")
_ASIDE = "aside"
"""Name under which a directory that gives way to a new one lies in the temporary one until the new one is in place."""

MAX_NAME_BYTES, MAX_PATH_BYTES = 255, 1024
"""Longest name of one file, and longest path below a directory, that every file system takes."""


def inside(directory: Path, name: str) -> Path:
    """Return `directory / name` for a relative path that a file gives; raises `ValueError` that says why it cannot be one.

    It looks at the name alone: what is a link is still followed.
    """
    parts = PurePosixPath(name).parts
    if "\0" in name:
        raise ValueError("the name holds a NUL")
    if PurePosixPath(name).is_absolute() or ".." in parts:
        raise ValueError("the name leads out of the directory")
    if not parts:
        raise ValueError("the name is that of no file")
    if len(os.fsencode(name)) > MAX_PATH_BYTES or any(len(os.fsencode(part)) > MAX_NAME_BYTES for part in parts):
        raise ValueError("the name is too long")
    return directory / name


def check_lies_inside(path: Path, directory: Path) -> None:
    """Raise `ValueError` where `path`, its links followed, lies outside `directory`, whose own links count as the user's."""
    target = Path(os.path.realpath(path))
    if not target.is_relative_to(os.path.realpath(directory)):
        raise ValueError(f"{path} is a link that leads out of the directory, to {target}")


@contextlib.contextmanager
def _locked(path: Path, flags: int = os.O_RDONLY) -> Iterator[bool]:
    """Yield whether this process holds the lock of `path`: not where another does, nor where the file system has no locks."""
    descriptor, holds = os.open(path, flags, 0o666), False
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            holds = True
        yield holds
    finally:
        os.close(descriptor)


def _temporary_name(path: Path, suffix: str = "") -> Path:
    """Return a new name beside `path`, whose parent directory is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{path.name.removesuffix(suffix)}.{uuid.uuid4().hex[:8]}.tmp{suffix}")


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield an empty temporary file beside `path`, of the same suffix; flush it to disk and rename it to `path` when the block ends well.

    The parent directory is made if need be. When the block raises, the temporary file is removed and `path` is left as it was.
    """
    temporary = _temporary_name(path, path.suffix)
    try:
        with _locked(temporary, os.O_CREAT | os.O_RDWR):
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_directory(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield an empty directory beside `path`; rename it to `path` when the block ends well.

    With `replace`, what stands at `path` gives way to it; without, `path` must not exist.
    """
    temporary = _temporary_name(path)
    new, aside = temporary / path.name, temporary / _ASIDE
    new.mkdir(parents=True)
    try:
        with _locked(temporary):
            yield new
            if replace and path.exists():
                path.rename(aside)
            new.rename(path)
    finally:
        _remove(temporary)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` as indented JSON, whole or not at all. NaN and infinity, which JSON lacks, are refused."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n")


def remove_leftovers(directory: Path) -> int:
    """Remove what killed processes left half written anywhere under `directory`, and return the number of pieces.

    Files of a running process are left alone, on whatever machine it runs, and so are all files on a file system without locks.
    """
    return sum(map(_remove_if_left, sorted(directory.rglob(".*.tmp*"))))


def recover(path: Path) -> None:
    """Remove what killed processes left of writing directory `path` itself, and put back what one of them had moved aside."""
    for leftover in sorted(path.parent.glob(f".{glob.escape(path.name)}.*.tmp")):
        _remove_if_left(leftover)


def _remove_if_left(path: Path) -> bool:
    if not _TEMPORARY.fullmatch(path.name):
        return False
    with contextlib.suppress(FileNotFoundError), _locked(path) as is_left:
        if is_left:
            _remove(path)
        return is_left
    return False


def _remove(temporary: Path) -> None:
    """Remove a temporary file or directory; a directory that it holds aside goes back where nothing came in its place."""
    if temporary.is_symlink() or not temporary.is_dir():
        temporary.unlink(missing_ok=True)
        return
    match = _TEMPORARY.fullmatch(temporary.name)
    place = temporary.with_name(match["name"]) if match else temporary
    if (temporary / _ASIDE).exists() and not place.exists():
        (temporary / _ASIDE).rename(place)
    shutil.rmtree(temporary, ignore_errors=True)
