"""Where files lie: in a directory of this machine (or a file system that machines share), in an object store, or inside an archive.

    place("datasets/orders")       a `pathlib.Path`
    place("s3://calls/orders")     universal_pathlib's `UPath`: the methods of a Path, and fsspec behind it (S3, Google Cloud Storage …)
    Piece(archive=…, name=…)       the sound of one clip, inside a tar or Parquet archive

A store has no links, no directories of its own and no locks of the operating system. An object appears there whole or not at all. Keys and
addresses come from where the store's own tools have them (`AWS_PROFILE`, `AWS_ENDPOINT_URL`, `~/.aws`, …); requests that fail are tried
again by its library. Nothing that it has listed is kept, so each read sees what is there.

What a file of a dataset or a model names (a manifest's path, a name in config.json) is found by `inside`, and so lies in that directory by
its name; `check_lies_inside` looks where links lead. Only what the user named may be elsewhere. docs/data_format.md has the rule.
"""

from __future__ import annotations

import bisect
import contextlib
import functools
import itertools
import logging
import os
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, cast

from stt_ft.core.errors import AudioError, DiskError, MissingExtra, SttFtError

_STORE_PACKAGES = ("botocore", "aiobotocore", "aiohttp", "s3fs", "gcsfs", "google", "adlfs", "azure", "fsspec", "upath")
"""Packages whose errors tell what a store refuses; most are no `OSError`."""

_STORES = ("s3", "gs", "gcs", "az", "abfs", "abfss")
"""Stores in which an archive may stay: the beginnings of their addresses."""


# --- Local or in a store --------------------------------------------------------------------------------------------------------------


def place(name: str | Path) -> Path:
    """Return where `name` lies: a path of this machine, or for a URL (`s3://BUCKET/DIRECTORY`) one with the same methods.

    Raises:
        MissingExtra: a URL is given, and what its store needs is not installed.
        DiskError: no store is known by such a URL, or its package is none of the extra's.
    """
    if not is_url(name):
        return Path(name) if isinstance(name, str) else name
    _silence_stores()
    try:
        from upath import UPath

        found = UPath(str(name), use_listings_cache=False)
        _ = found.fs  # the store's own package is imported now
    except ImportError as error:
        missing = str(error).partition("nstall ")[2].partition(" ")[0] or "universal_pathlib"
        if missing in ("universal_pathlib", "s3fs", "gcsfs"):
            raise MissingExtra(missing, "cloud", f"{name}") from None
        raise DiskError(f"{name} needs {missing}: pip install {missing}") from None
    except ValueError as error:
        raise DiskError(f"{name}: no such kind of store ({error}); a local file has a name without ://") from None
    return Path(found.path) if found.protocol in ("file", "local", "") else cast(Path, found)


@functools.cache
def _silence_stores() -> None:
    """Keep what the stores' packages log, tracebacks of every try among it, off the terminal; who has set up logging still gets it."""
    for package in _STORE_PACKAGES:
        logging.getLogger(package).addHandler(logging.NullHandler())


def is_url(name: object) -> bool:
    return isinstance(name, str) and "://" in name


def is_local(path: Path) -> bool:
    """Whether `path` is one of this machine's, with links, locks and a rename; a place in a store is not."""
    return isinstance(path, Path)


@contextlib.contextmanager
def answered(path: object) -> Iterator[None]:
    """Turn what a store refuses (no right, no key, no answer) into a `DiskError` that names `path`; other errors pass, as that of a file
    that is not there."""
    try:
        yield
    except Exception as error:
        reason = refusal(error)
        if reason is None:
            raise
        raise DiskError(f"{path}: {reason}") from None


def refusal(error: BaseException) -> str | None:
    """Return what a store means by `error`, and the way out; None for an error that is no store's."""
    package = type(error).__module__.partition(".")[0]
    if isinstance(error, (SttFtError, FileNotFoundError)) or (package not in _STORE_PACKAGES and not _comes_from_a_store(error)):
        return None
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    name = type(error).__name__
    if "Credentials" in name or "Token" in name or isinstance(error, PermissionError):
        return f"the store refuses: {reason}; give its keys as for its own tools (AWS_PROFILE, AWS_ACCESS_KEY_ID …)"
    return f"the store cannot be asked: {reason}; the same command takes up the work again"


def _comes_from_a_store(error: BaseException) -> bool:
    """Whether a built-in error, as s3fs raises them, was raised while a store was asked."""
    seen = error.__traceback__
    while seen is not None:
        if seen.tb_frame.f_globals.get("__name__", "").partition(".")[0] in _STORE_PACKAGES:
            return True
        seen = seen.tb_next
    return False


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
    return directory.joinpath(*parts)


def check_lies_inside(path: Path, directory: Path) -> None:
    """Raise `ValueError` where `path`, its links followed, lies outside `directory`, whose own links count as the user's."""
    if not is_local(path):
        return  # a store has no links
    target = Path(os.path.realpath(path))
    if not target.is_relative_to(os.path.realpath(directory)):
        raise ValueError(f"{path} is a link that leads out of the directory, to {target}")


def store_of(path: Path) -> tuple[Any, str]:
    """Return the fsspec file system of a place in a store, and the place's name there."""
    there = cast(Any, path)
    return there.fs, there.path


def kind_of(path: Path) -> str | None:
    """Return "file", "directory" or "other", None for nothing; raises `DiskError` where a store refuses, whose own `is_file` says no."""
    if is_local(path):
        return "file" if path.is_file() else "directory" if path.is_dir() else "other" if path.exists() else None
    with answered(path), contextlib.suppress(FileNotFoundError):
        store, name = store_of(path)
        return store.info(name)["type"]
    return None


@contextlib.contextmanager
def uploaded(path: Path) -> Iterator[Path]:
    """Yield an empty local file; when the block ends well, put it into the store at `path`, whole."""
    with tempfile.TemporaryDirectory(prefix="stt-ft-") as directory:
        temporary = Path(directory) / f"upload{path.suffix}"
        temporary.touch()
        yield temporary
        with _put(path) as (store, name):
            store.put_file(str(temporary), name)


def claim(path: Path, owner: str) -> str | None:
    """Put `owner` into the object `path` unless it is there; return None, or what is there.

    Stores put it in one step (S3, Google's, Azure's). One that does not know how still tells of a writer that came a moment before.
    """
    with _put(path) as (store, name), contextlib.suppress(FileExistsError):
        if not store.exists(name):
            store.pipe_file(name, owner.encode(errors="replace"), mode="create")
            return None
    with contextlib.suppress(FileNotFoundError):
        return read_bytes(path).decode(errors="replace")
    return "another process"


@contextlib.contextmanager
def _put(path: Path) -> Iterator[tuple[Any, str]]:
    """Yield a store and a name in it to write to; raises `DiskError` where it refuses, or has no such bucket."""
    with answered(path):
        try:
            yield store_of(path)
        except FileNotFoundError:
            raise DiskError(f"{path}: cannot be written to: the store has no such bucket") from None


@functools.lru_cache(maxsize=4096)
def _in_store(address: str) -> Path:
    """Return an archive that stays in an object store; raises `ValueError` for an address of any other kind, which nobody named."""
    if address.partition("://")[0] not in _STORES:
        raise ValueError(f"an archive elsewhere lies in an object store ({', '.join(_STORES)})")
    return place(address)


# --- Pieces of archives ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Piece:
    """The sound of one clip inside an archive, which is read where it lies.

    Attributes:
        archive: the tar or Parquet file.
        name: the clip's path, by which messages name it.
        offset, size: bytes of a tar's member.
        column, row: place in a Parquet file, counted over all its row groups; the column holds bytes, or a struct with `bytes`.
    """

    archive: Path
    name: str
    offset: int | None = None
    size: int | None = None
    column: str | None = None
    row: int | None = None

    @classmethod
    def from_json(cls, value: Any, *, name: str, directory: Path) -> Piece:
        """Read what a manifest's line says of the archive of `directory` in which its sound lies; raises `ValueError` with the fault."""
        is_row = isinstance(value, dict) and "column" in value
        kinds = {"archive": str, **({"column": str, "row": int} if is_row else {"offset": int, "size": int})}
        if not isinstance(value, dict) or any(type(value.get(key)) is not kind for key, kind in kinds.items()):
            raise ValueError("expected archive, offset and size, or archive, column and row")
        if min(value.get("offset", 0), value.get("size", 0), value.get("row", 0)) < 0:
            raise ValueError("a place in an archive is not negative")
        name_of_archive = value["archive"]
        archive = _in_store(name_of_archive) if is_url(name_of_archive) else inside(directory, name_of_archive)
        return cls(archive=archive, name=name, **{key: value[key] for key in kinds if key != "archive"})

    def __str__(self) -> str:
        return f"{self.archive}: {self.name}"

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.name).suffix

    def read_bytes(self) -> bytes:
        """Return the sound's bytes; raises `AudioError` where the archive is gone, cut short, or holds something else there."""
        try:
            with answered(self.archive):
                return self._from_parquet() if self.column is not None else self._from_tar()
        except OSError as error:
            raise AudioError(f"{self}: the archive cannot be read: {error.strerror or error}") from None

    def _from_tar(self) -> bytes:
        assert self.offset is not None
        assert self.size is not None
        begin, end = self.offset - tarfile.BLOCKSIZE, self.offset + self.size  # a member's header, then its content
        if is_local(self.archive):
            with self.archive.open("rb") as file:
                file.seek(max(0, begin))
                found = file.read(end - max(0, begin))
        else:
            store, name = store_of(self.archive)
            found = store.cat_file(name, start=max(0, begin), end=end)
        head, content = found[: tarfile.BLOCKSIZE], found[tarfile.BLOCKSIZE :]
        again = "the archive is another than when this clip was taken in: ingest it again"
        if begin < 0 or head[257:262] != b"ustar" or head[124:136].strip(b"\0 ") != b"%011o" % self.size:
            raise AudioError(f"{self}: no member of {self.size} bytes begins at byte {self.offset}; {again}")
        if len(content) < self.size:
            raise AudioError(f"{self}: the archive is cut short: {self.size} bytes from byte {self.offset} on, {len(content)} are there")
        return content

    def _from_parquet(self) -> bytes:
        assert self.column is not None
        pyarrow_parquet(str(self.archive))
        import pyarrow

        stat = self.archive.stat()
        try:
            rows = _Rows.of(self.archive, stat.st_size, stat.st_mtime)
            value = rows.value(self.column, -1 if self.row is None else self.row)
        except (pyarrow.ArrowException, LookupError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise AudioError(f"{self}: column {self.column!r}, row {self.row} cannot be read: {reason}") from None
        value = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(value, bytes):
            raise AudioError(f"{self}: column {self.column!r}, row {self.row} holds no bytes")
        return value


class _Rows:
    """The rows of a Parquet file, one row group in memory at a time: clips that lie side by side are read side by side."""

    def __init__(self, archive: Path) -> None:
        self._file = pyarrow_parquet(str(archive)).ParquetFile(archive.open("rb"))
        metadata = self._file.metadata
        self._ends = list(itertools.accumulate(metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)))
        self._held: tuple[str, int, Any] = ("", -1, None)

    @staticmethod
    @functools.lru_cache(maxsize=2)
    def of(archive: Path, size: int, changed: float) -> _Rows:
        """Open a file as it is now, by its size and time of change; the last two stay open."""
        return _Rows(archive)

    def value(self, column: str, row: int) -> Any:
        """Return what stands in a row; raises `LookupError` where there is no such row."""
        group = bisect.bisect_right(self._ends, row)
        if row < 0 or group == len(self._ends):
            raise LookupError(f"it has the rows 0 to {max(0, *self._ends) - 1}")
        if self._held[:2] != (column, group):
            self._held = (column, group, self._file.read_row_group(group, columns=[column]).column(column))
        return self._held[2][row - self._ends[group]].as_py()


Source = Path | Piece  # what sound is read from, as `Dataset.sound` returns it


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """The sound of a file in a store or of a piece of an archive, with its bytes: for a clip that is read more than once."""

    source: Source
    content: bytes

    def __str__(self) -> str:
        return str(self.source)

    @property
    def suffix(self) -> str:
        return self.source.suffix

    def read_bytes(self) -> bytes:
        return self.content


Readable = Source | Fetched
"""What `read_audio`, `probe` and `file_sha256` take."""


def fetched(source: Readable) -> Path | Fetched:
    """Return a file of this machine as it is, and of any other source what it holds now; raises `AudioError` where there is none."""
    if isinstance(source, Path):
        if not os.path.isfile(source):  # false, where `Path.is_file` raises: of a name that is too long
            raise AudioError(f"{source}: no such audio file")
        return source
    try:
        return source if isinstance(source, Fetched) else Fetched(source=source, content=read_bytes(source))
    except FileNotFoundError:
        raise AudioError(f"{source}: no such audio file") from None


def read_bytes(source: Readable) -> bytes:
    """Return the bytes of a file or of a piece; raises as `Path.read_bytes` does, `DiskError` where a store refuses, or `AudioError`."""
    if isinstance(source, (Path, Piece, Fetched)):
        return source.read_bytes()
    with answered(source):
        store, name = store_of(source)
        return store.cat_file(name)  # one request, where its own `read_bytes` asks for the size first


def read_many(paths: Sequence[Path]) -> Iterator[bytes | None]:
    """Yield the bytes of each of `paths`, None where there is no such file; in a store, a thousand are asked for at once."""
    if not paths or is_local(paths[0]):
        for path in paths:
            try:
                yield path.read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                yield None
        return
    for first in range(0, len(paths), 1024):
        places = [store_of(path) for path in paths[first : first + 1024]]
        with answered(paths[first]):
            found = places[0][0].cat([name for _, name in places], on_error="return")
            for _, name in places:
                value = found[name]
                if isinstance(value, Exception) and not isinstance(value, FileNotFoundError):
                    raise value
        yield from (value if isinstance(value := found[name], bytes) else None for _, name in places)


def remove_many(paths: Sequence[Path]) -> None:
    """Remove files, those that are gone already too; in a store, many in one request."""
    if paths and not is_local(paths[0]):
        with answered(paths[0]), contextlib.suppress(FileNotFoundError):
            store_of(paths[0])[0].rm([store_of(path)[1] for path in paths])
        return
    for path in paths:
        path.unlink(missing_ok=True)


def pyarrow_parquet(needed_for: str) -> Any:
    """Return the module `pyarrow.parquet`; raises `MissingExtra` where it is not installed."""
    try:
        import pyarrow.parquet
    except ImportError:
        raise MissingExtra("pyarrow", "packed", needed_for) from None
    return pyarrow.parquet
