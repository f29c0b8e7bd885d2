"""Sidecars in bulk: many of them in a few Parquet files, instead of a small file beside each sound.

    NAME/sidecars/00000-HASH.parquet    columns `path` (where the sidecar would lie, "audio/take_001.json") and `sidecar` (its JSON text)

Files are only ever added; of two that hold the same sidecar, the later one counts. So a killed writer loses what it has not added yet, and
nothing else. When small files have become many (`_MANY`), they are put together: the new file comes first, then the old ones go. A file
never changes, so what has been read of it stays true.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stt_ft.core.atomic import atomic_path
from stt_ft.core.errors import DatasetError
from stt_ft.core.storage import answered, is_local, kind_of, pyarrow_parquet, remove_many

if TYPE_CHECKING:
    import numpy as np

WINDOW = 16_384
"""Sidecars that are looked up together, and held as texts meanwhile: about 40 MB."""

_GROUP_ROWS = 4096
_FULL_ROWS = 65_536
_TOGETHER, _SOON_S = 1024, 30.0
_MANY = 64
"""Small files from which on they are put together, and with them those of which half is outdated."""


@dataclass(frozen=True)
class PackedSidecars:
    """The packed sidecars of a dataset, in its directory `sidecars`; empty where there are none."""

    directory: Path

    def are_there(self) -> bool:
        """Whether the dataset keeps its sidecars so: new ones are packed, too."""
        return kind_of(self.directory) == "directory"

    def files(self) -> tuple[Path, ...]:
        """Return the files as they are now, the oldest first."""
        if not self.are_there():
            return ()
        with answered(self.directory):
            found = (path for path in self.directory.glob("*-*.parquet") if path.name.partition("-")[0].isdigit())
            return tuple(sorted(found, key=lambda path: (_number(path), path.name)))

    def get(self, names: Sequence[str]) -> list[str | None]:
        """Return the JSON texts of up to `WINDOW` sidecars, None for each that is not packed; raises `DatasetError` by file."""
        for is_last_try in (False, False, True):
            try:
                return _Index.of(self.files()).texts(names)
            except FileNotFoundError as error:  # put together with others, since the files were listed
                if is_last_try:
                    raise _damaged(self.directory, error) from None
        raise AssertionError

    def has(self, name: str) -> bool:
        """Whether a sidecar is packed."""
        return self.get([name])[0] is not None

    def items(self) -> Iterator[tuple[str, str]]:
        """Yield name and JSON text of every packed sidecar, the oldest first."""
        index = _Index.of(self.files())
        for file in range(len(index.files)):
            for table in _groups(index.files[file]):
                for name, text, counts in zip(*table, index.counting(file, table[0]), strict=True):
                    if counts:
                        yield name, text

    def add(self, texts: Mapping[str, str]) -> None:
        """Write one more file, which counts before all others; where small ones have become many, put them together."""
        if texts:
            self._write(list(texts), list(texts.values()))
            files = self.files()
            if sum(not _is_full(path) for path in files) > _MANY:
                self._put_together(files)

    def remove(self, files: Sequence[Path]) -> None:
        """Remove these files, and the directory if no other is left: sidecars are then loose."""
        remove_many(files)
        if is_local(self.directory):
            with contextlib.suppress(OSError):
                self.directory.rmdir()

    def add_all(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Add the sidecars of many clips as they come, `_TOGETHER` at a time or those of `_SOON_S`; what came before an error is kept."""
        texts: dict[str, str] = {}
        begin_s = time.monotonic()
        try:
            for name, text in pairs:
                texts[name] = text
                if len(texts) >= _TOGETHER or time.monotonic() - begin_s > _SOON_S:
                    full, texts = texts, {}
                    self.add(full)
                    begin_s = time.monotonic()
        finally:
            self.add(texts)

    def _write(self, names: list[str], texts: list[str]) -> Path:
        parquet = pyarrow_parquet(str(self.directory))
        import pyarrow

        number = _number(files[-1]) + 1 if (files := self.files()) else 0
        digest = hashlib.sha256("\0".join(itertools.chain(names, texts)).encode()).hexdigest()[:16]
        path = self.directory / f"{number:05d}-{digest}.parquet"
        table = pyarrow.table({"path": pyarrow.array(names, pyarrow.string()), "sidecar": pyarrow.array(texts, pyarrow.string())})
        with atomic_path(path) as temporary:
            parquet.write_table(table, temporary, compression="zstd", row_group_size=_GROUP_ROWS)
        return path

    def _put_together(self, files: tuple[Path, ...]) -> None:
        """Make few files of those that are small, or mostly outdated, where there are many of them."""
        index = _Index.of(files)
        old = [file for file, (held, counting) in enumerate(index.sizes()) if not _is_full(files[file]) or counting < held / 2]
        names: list[str] = []
        texts: list[str] = []
        for file in old:
            for table in _groups(files[file]):
                for name, text, counts in zip(*table, index.counting(file, table[0]), strict=True):
                    if counts:
                        names.append(name)
                        texts.append(text)
                if len(names) >= _FULL_ROWS:
                    self._write(names, texts)
                    names, texts = [], []
        if names:
            self._write(names, texts)
        remove_many([files[file] for file in old])


class _Index:
    """Which file, and which row of it, holds each sidecar: 16 bytes for each, found by a hash of its name."""

    def __init__(self, files: tuple[Path, ...]) -> None:
        import numpy as np

        self.files = files
        self._begins = np.cumsum([0, *(len(_hashes(path)) for path in files)])
        settled = max((file + 1 for file, path in enumerate(files) if _is_full(path)), default=0)
        # What comes behind the last full file changes with every file that is added, and is little; the rest is sorted once.
        self._parts = [(*_newest(files[:settled]), 0), (*_newest(files[settled:]), int(self._begins[settled]))]

    @staticmethod
    @functools.lru_cache(maxsize=2)
    def of(files: tuple[Path, ...]) -> _Index:
        return _Index(files)

    def places(self, names: Sequence[str]) -> np.ndarray:
        """Return the row of each sidecar, counted over all files; -1 for one that is in none."""
        import numpy as np

        wanted = np.fromiter(map(hash, names), np.int64, len(names))
        places = np.full(len(names), -1)
        for hashes, rows, begin in self._parts:
            if len(hashes):
                at = np.minimum(np.searchsorted(hashes, wanted), len(hashes) - 1)
                places = np.where(hashes[at] == wanted, rows[at] + begin, places)
        return places

    def counting(self, file: int, names: Sequence[str]) -> np.ndarray:
        """Return whether each of `names`, which `file` holds, counts there: no later file holds it."""
        return self.places(names) < self._begins[file + 1]

    def sizes(self) -> list[tuple[int, int]]:
        """Return for each file how many sidecars it holds, and how many of them count."""
        import numpy as np

        (old, old_rows, _), (new, new_rows, begin) = self._parts
        places = np.concatenate([old_rows[~np.isin(old, new)], new_rows + begin])
        num_rows = np.diff(self._begins)
        num_counting = np.bincount(np.searchsorted(self._begins, places, side="right") - 1, minlength=len(num_rows))
        return list(zip(num_rows.tolist(), num_counting.tolist(), strict=False))

    def texts(self, names: Sequence[str]) -> list[str | None]:
        """Return the JSON text of each, None for one that is in no file; each row group is read once."""
        import numpy as np

        found: list[str | None] = [None] * len(names)
        places = self.places(names)
        order = np.argsort(places, kind="stable")
        order = order[np.searchsorted(places[order], 0) :]
        files = np.searchsorted(self._begins, places[order], side="right") - 1
        groups = (places[order] - self._begins[files]) // _GROUP_ROWS
        cuts = np.flatnonzero((np.diff(files) != 0) | (np.diff(groups) != 0)) + 1
        for some in np.split(order, cuts) if len(order) else ():
            file = int(np.searchsorted(self._begins, places[some[0]], side="right") - 1)
            rows = places[some] - self._begins[file]
            held, texts = _group(self.files[file], int(rows[0]) // _GROUP_ROWS).columns
            for index, row in zip(some.tolist(), (rows % _GROUP_ROWS).tolist(), strict=True):
                if held[row].as_py() == names[index]:
                    found[index] = texts[row].as_py()
        return found


@functools.lru_cache(maxsize=4)
def _newest(files: tuple[Path, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the hashes of all names in `files`, sorted, and for each the last row that has it, counted over the files."""
    import numpy as np

    joined = np.concatenate([_hashes(path) for path in files]) if files else np.zeros(0, np.int64)
    order = np.argsort(joined, kind="stable")  # of two with one name, the later one comes last
    ordered = joined[order]
    is_last = np.append(ordered[1:] != ordered[:-1], True)[: len(ordered)]
    return ordered[is_last], order[is_last]


def _is_full(path: Path) -> bool:
    """Whether a file holds so many sidecars that it is put together with others only when most of them are outdated."""
    return len(_hashes(path)) >= _FULL_ROWS // 2


def _number(path: Path) -> int:
    return int(path.name.partition("-")[0])


@functools.lru_cache(maxsize=4096)
def _hashes(path: Path) -> np.ndarray:
    """Return a hash of the name of each sidecar in a file."""
    import numpy as np

    table = _open(path)
    names = (name for group in range(table.num_row_groups) for name in _read(path, table, group, ["path"]).column(0).to_pylist())
    return np.fromiter(map(hash, names), np.int64, table.metadata.num_rows)


@functools.lru_cache(maxsize=2)
def _group(path: Path, group: int) -> Any:
    """Return one row group, as a table of names and texts."""
    return _read(path, _open(path), group, ["path", "sidecar"])


def _groups(path: Path) -> Iterator[tuple[list[str], list[str]]]:
    table = _open(path)
    for group in range(table.num_row_groups):
        names, texts = _read(path, table, group, ["path", "sidecar"]).columns
        yield names.to_pylist(), texts.to_pylist()


def _open(path: Path) -> Any:
    parquet = pyarrow_parquet(f"{path.parent.parent}, whose sidecars are packed,")
    import pyarrow

    try:
        with answered(path):
            table = parquet.ParquetFile(path.open("rb"))
        kinds = [str(field.type) for field in table.schema_arrow]
        sizes = [table.metadata.row_group(group).num_rows for group in range(table.num_row_groups)]
        if table.schema_arrow.names != ["path", "sidecar"] or set(kinds) != {"string"} or any(size != _GROUP_ROWS for size in sizes[:-1]):
            raise ValueError("it was not written by stt-ft")
        return table
    except (pyarrow.ArrowException, ValueError) as error:
        raise _damaged(path, error) from None


def _read(path: Path, table: Any, group: int, columns: list[str]) -> Any:
    import pyarrow

    try:
        with answered(path):
            rows = table.read_row_group(group, columns=columns, use_threads=False)
    except pyarrow.ArrowException as error:
        raise _damaged(path, error) from None
    if any(column.null_count for column in rows.columns):
        raise _damaged(path, "a row lacks its path or its sidecar")
    return rows


def _damaged(path: Path, reason: object) -> DatasetError:
    why = " ".join(str(reason).split())[:200]
    return DatasetError(f"{path}: packed sidecars that cannot be read ({why}); put back a whole copy, or remove it and annotate anew")
