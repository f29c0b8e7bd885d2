"""Mozilla Common Voice: a directory with `clips/` and tables `train.tsv`, `dev.tsv`, `test.tsv`, or a single table."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from stt_ft.core.errors import DatasetError
from stt_ft.corpus.source import SourceClip, split_named

_SPLIT_TABLES = ("train.tsv", "dev.tsv", "test.tsv")


def read_tables(source: Path) -> Iterator[SourceClip]:
    """Yield the clips of a Common Voice release (its official splits, else `validated.tsv`), or of one table."""
    if source.is_dir():
        tables = [source / name for name in _SPLIT_TABLES if (source / name).exists()] or [source / "validated.tsv"]
    else:
        tables = [source]
    for table in tables:
        if not table.exists():
            raise DatasetError(f"{table}: no such table; a Common Voice directory has {', '.join(_SPLIT_TABLES)} or validated.tsv")
        yield from _read_table(table)


def _read_table(table: Path) -> Iterator[SourceClip]:
    with table.open(encoding="utf-8", errors="replace", newline="") as lines:
        rows = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        missing = {"path", "sentence"} - set(rows.fieldnames or ())
        if missing:
            raise DatasetError(f"{table}: no column {' and '.join(sorted(missing))}; is it a Common Voice table?")
        for row in rows:
            name = row["path"] or ""
            if not name:
                raise DatasetError(f"{table}, line {rows.line_num}: no path")
            speaker = (row.get("client_id") or "")[:16]
            yield SourceClip(
                clip_id=name,
                audio=table.parent / "clips" / (name if Path(name).suffix else f"{name}.mp3"),
                script=row["sentence"] or None,
                split=split_named(table.stem),
                extra={"speaker": speaker} if speaker else {},
            )
