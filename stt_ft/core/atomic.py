"""Files: a write happens whole or not at all, so that a killed run leaves no half file, and two writers keep apart.

A file that is being written has a hidden name beside its place, `.take.1f0c9a2b.tmp.wav`, and its process holds a lock on it. A killed
process leaves the file there, unlocked; `remove_leftovers` removes it.

A stage that reads files, changes them and writes them again has the directory to itself meanwhile (`sole_writer`). Both locks are the
operating system's (`flock`): they end with their process, however it ends, and other machines see them where the file system is shared.

In an object store (`core/storage.py`) a file is put whole by the store itself, so nothing is ever left half written. The lock there is an
object that only one can create; after a kill it is told of, and removed by hand.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import hashlib
import json
import os
import re
import shutil
import socket
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stt_ft.core.errors import BusyError, DiskError, SttFtError
from stt_ft.core.storage import answered, claim, is_local, store_of, uploaded

LOCK_NAME = ".stt-ft.lock"
"""File in a directory that a process writes into: host, process and command of the writer, for others to be told."""

_TEMPORARY = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{8}\.tmp(\.[^.]*)?")
_ASIDE = "aside"
"""Name under which a directory that gives way to a new one lies in the temporary one until the new one is in place."""


@contextlib.contextmanager
def _locked(path: Path, flags: int = os.O_RDONLY) -> Iterator[bool]:
    """Yield whether this process holds the lock of `path`: not where another does, nor where the file system has no locks."""
    descriptor = os.open(path, flags, 0o666)
    try:
        yield _flock(descriptor, fcntl.LOCK_EX) is True
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

    Raises:
        DiskError: the disk or the store refuses; names `path`.
    """
    if not is_local(path):
        with told_of(path), uploaded(path) as temporary:
            yield temporary
        return
    with told_of(path):
        if path.exists() and not path.is_file():  # a device, which a file must not take the place of
            raise OSError(errno.EEXIST, "there is something else than a file", str(path))
        temporary = _temporary_name(path, path.suffix)
        try:
            with _locked(temporary, os.O_CREAT | os.O_RDWR):
                yield temporary
                with temporary.open("rb") as written:
                    os.fsync(written.fileno())
                temporary.replace(path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def local_copy(path: Path) -> Path:
    """Return a file of this machine with what lies at `path` and never changes: `path` itself, or of an object in a store a copy in the
    user's cache (`$XDG_CACHE_HOME/stt-ft`, `~/.cache/stt-ft`), fetched when it is not there yet."""
    if is_local(path):
        return path
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stt-ft"
    copy = cache / hashlib.sha256(str(path.parent).encode()).hexdigest()[:16] / path.name
    with answered(path):
        store, name = store_of(path)
        if not copy.is_file() or copy.stat().st_size != store.size(name):
            with atomic_path(copy) as temporary:
                store.get_file(name, str(temporary))
    return copy


def is_writable(directory: Path) -> bool:
    """Whether files can be written into `directory`; of a store, only a write can tell."""
    return not is_local(directory) or os.access(directory, os.W_OK)


@contextlib.contextmanager
def atomic_directory(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield an empty directory beside `path`; rename it to `path` when the block ends well.

    With `replace`, what stands at `path` gives way to it; without, `path` must not exist.

    Raises:
        DiskError: the disk refuses; names `path`.
    """
    with told_of(path):
        temporary = _temporary_name(path)
        new, aside = temporary / path.name, temporary / _ASIDE
        try:
            new.mkdir(parents=True)
            with _locked(temporary):
                yield new
                if replace and path.exists():
                    path.rename(aside)
                new.rename(path)
        finally:
            _remove(temporary)


_REFUSALS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
"""No room, none left for this user, none for so large a file, a disk that takes nothing: the fault of no file that is being read."""

_RUST_ERROR = re.compile(r"\(os error (\d+)\)")


@contextlib.contextmanager
def told_of(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses while `path` is written into a `DiskError` that names it.

    safetensors, which is written in Rust, tells of the same refusals by an error of its own.
    """
    try:
        yield
    except OSError as error:
        at = Path(error.filename) if isinstance(error.filename, str) and error.errno not in _REFUSALS else path
        at = path if path.name in at.name else at  # what it is called meanwhile
        if at == path or at in path.parents:
            raise DiskError(f"{at}: cannot be written to: {error.strerror or error}") from error
        raise DiskError(f"{at}: {error.strerror}; {path} is not written") from error
    except SttFtError:
        raise
    except Exception as error:
        found = _RUST_ERROR.search(str(error))
        if found is None:
            raise
        raise DiskError(f"{path}: cannot be written to: {os.strerror(int(found[1]))}") from error


@contextlib.contextmanager
def sole_writer(directory: Path) -> Iterator[None]:
    """Have `directory` to write into while the block lasts; it is made if need be, and taken away again if nothing came into it. What
    killed processes left half written there is removed first.

    A second writer is refused at once, since what it has read may change under it. A killed one leaves a file that locks nothing. On a file
    system without locks the file itself counts, and the message says how to go on after a kill.

    Raises:
        BusyError: another process writes there; says which, on which machine, and since when.
        DiskError: nothing can be written there.
    """
    path = directory / LOCK_NAME
    if not is_local(directory):
        with _claimed(path):
            yield
        return
    with told_of(directory):
        made = [each for each in (directory, *directory.parents) if not each.exists()]
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = _take(path)
    try:
        remove_leftovers(directory)
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(descriptor)
        for each in made:
            with contextlib.suppress(OSError):
                each.rmdir()


@contextlib.contextmanager
def _claimed(path: Path) -> Iterator[None]:
    """Hold the lock object `path` in a store while the block lasts; raises `BusyError` where it is there already."""
    mine = f"{_owner()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}\n"
    owner = claim(path, mine)
    if owner is not None:
        raise BusyError(f"{path.parent}: {' '.join(owner.split())} is writing here; if that process is gone, remove {path}")
    try:
        yield
    finally:
        with answered(path):
            path.unlink(missing_ok=True)


def _owner() -> str:
    return f"`{_command()}`, process {os.getpid()} on {socket.gethostname()}"


def _take(path: Path) -> int:
    """Return a descriptor of the lock file `path`, locked; raises `BusyError` where another process holds it."""
    while True:
        is_new, flags = True, os.O_RDWR | os.O_NOFOLLOW  # a link in a dataset of others must not lead out of it
        try:
            descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            is_new = False
            try:
                descriptor = os.open(path, flags)
            except FileNotFoundError:
                continue
        holds = _flock(descriptor, fcntl.LOCK_EX)
        owner = os.pread(descriptor, 1000, 0).decode(errors="replace")
        if holds is False or (holds is None and not is_new):
            age_s = time.time() - os.fstat(descriptor).st_mtime
            os.close(descriptor)
            way_out = "wait for it, or stop it" if holds is False else f"if that process is gone, remove {path}"
            raise BusyError(
                f"{path.parent}: {' '.join(owner.split()) or 'another process'} has been writing here for {age_s:.0f} s; {way_out}"
            )
        if _is_same_file(descriptor, path):
            with contextlib.suppress(OSError):  # a full disk has no room for the name; the lock holds
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"{_owner()}\n".encode(errors="replace"), 0)
            return descriptor
        os.close(descriptor)  # it was the file of a writer that has just ended and removed it


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _command() -> str:
    """Return what is running, as it was typed."""
    program, *words = sys.argv
    return " ".join(["stt-ft" if Path(program).name in ("__main__.py", "stt-ft") else Path(program).name, *words])[:200]


def _flock(descriptor: int, mode: int) -> bool | None:
    """Return whether this process holds the lock now: True, False where another does, None where the file system has no locks."""
    try:
        fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.EAGAIN) else None
    return True


def write_text(path: Path, text: str, *, is_swept: bool = False) -> None:
    """Write `text` to `path` as UTF-8, whole or not at all, and remove what a killed writer of `path` has left beside it.

    With `is_swept` that is left to the sole writer of the directory: to look through a directory for each of its files takes long.
    """
    if not is_swept:
        recover(path)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any, *, is_swept: bool = False) -> None:
    """Write `value` to `path` as `json_text`, as `write_text` does."""
    write_text(path, json_text(value), is_swept=is_swept)


def json_text(value: Any) -> str:
    """Return `value` as indented JSON. NaN and infinity, which JSON lacks, are refused."""
    return json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def remove_leftovers(directory: Path) -> int:
    """Remove what killed processes left half written anywhere under `directory`, and return the number of pieces.

    Files of a running process are left alone, on whatever machine it runs, and so are all files on a file system without locks.
    """
    if not is_local(directory):
        return 0
    return sum(map(_remove_if_left, sorted(directory.rglob(".*.tmp*"))))


def recover(path: Path) -> None:
    """Remove what killed processes left of writing `path`, a file or a directory, and put back what one of them had moved aside."""
    if not is_local(path):
        return
    whole, stem, suffix = map(glob.escape, (path.name, path.name.removesuffix(path.suffix), path.suffix))
    for name in {f".{whole}.*.tmp", f".{stem}.*.tmp{suffix}"}:  # as `atomic_directory` and `atomic_path` name them
        for leftover in sorted(path.parent.glob(name)):
            _remove_if_left(leftover)


def _remove_if_left(path: Path) -> bool:
    if not _TEMPORARY.fullmatch(path.name):
        return False
    with contextlib.suppress(OSError), _locked(path) as is_left:  # gone meanwhile, or on a disk that may only be read
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
