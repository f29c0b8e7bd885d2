"""Datasets as Hugging Face's `datasets` writes and reads them: Parquet files with the sound in a column, or an audio folder with metadata.

    data/train-00000-of-00012.parquet          a row a clip: audio {bytes, path}, text (or transcription, sentence …), more columns
    README.md                                  which files are of which split, where their names do not tell
    train/metadata.csv, train/0001.wav         `file_name` and the same columns in metadata.csv, metadata.jsonl or metadata.parquet

Sound that can be used as it is stays in its Parquet file: a clip then says in which column and row it lies.
"""

from __future__ import annotations

import csv
import fnmatch
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from stt_ft.audio.files import AUDIO_SUFFIXES
from stt_ft.core.errors import DatasetError
from stt_ft.core.json_yaml import parse_json, parse_yaml
from stt_ft.core.storage import answered, pyarrow_parquet
from stt_ft.corpus.sources.shards import shards, split_in, split_named
from stt_ft.corpus.sources.source_clip import RECORD, HeldPiece, SourceClip, as_text, json_lines, kept, or_fault
from stt_ft.corpus.sources.word_times import is_transcript, transcript_words
from stt_ft.dataset.manifest import speaker_name
from stt_ft.dataset.sidecar import Sidecar

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
"""The names under which `datasets` looks for what is told of the files of an audio folder."""

TEXTS = ("text", "transcription", "transcript", "sentence", "normalized_text")
SPEAKERS = ("speaker", "speaker_id", "client_id")

_CARD = re.compile(r"---\r?\n(.*?)\r?\n---", re.DOTALL)

_ROWS = 16
"""Rows of a Parquet file whose sound is in memory at once."""

_BEGINNINGS = {
    b"RIFF": ".wav", b"RF64": ".wav", b"fLaC": ".flac", b"OggS": ".ogg", b"ID3": ".mp3", b"\xff\xfb": ".mp3", b"\xff\xf3": ".mp3",
    b"\xff\xf2": ".mp3", b"FORM": ".aiff", b".snd": ".au",
}  # fmt: skip


def read_huggingface(source: Path) -> Iterator[SourceClip]:
    """Yield the rows of Parquet files, or of the metadata of an audio folder; raises `MissingExtra` without pyarrow."""
    tables = shards(source, METADATA)
    told = _card_splits(source)
    for table, name in tables or shards(source, (".parquet",)):
        if table.name in METADATA:
            yield from _folder(table, name.rpartition("/")[0])
        else:
            split = next((split for pattern, split in told if fnmatch.fnmatch(name, pattern)), split_in(name))
            yield from _parquet(table, name, split)


def _card_splits(source: Path) -> list[tuple[str, str | None]]:
    """Return the patterns of files, each with its split, that the README of a dataset on the hub tells; none where it tells none."""
    match = (
        _CARD.match((source / "README.md").read_text(encoding="utf-8-sig", errors="replace")) if (source / "README.md").is_file() else None
    )
    found: list[tuple[str, str | None]] = []
    configs = parse_yaml(match[1], str(source / "README.md")).get("configs") if match else None
    for config in configs if isinstance(configs, list) else ():
        files = config.get("data_files") if isinstance(config, dict) else None
        for entry in files if isinstance(files, list) else ():
            if isinstance(entry, dict):
                paths = entry.get("path")
                found += [(str(path), split_named(str(entry.get("split")))) for path in (paths if isinstance(paths, list) else [paths])]
    return found


def _folder(table: Path, folder: str) -> Iterator[SourceClip]:
    for number, row in _rows(table):
        file = as_text(row.pop("file_name", None)) or as_text(row.pop("audio_file_name", None))
        name = f"{folder}/{file}".lstrip("/")
        if file is None:
            yield SourceClip(clip_id=f"line {number}", audio=table, fault=f"{table}, row {number}: no file_name")
        else:
            yield or_fault(name, table, _told, row, SourceClip(clip_id=name, audio=table.parent / file, split=split_in(name)))


def _rows(table: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (number, row) of the metadata of an audio folder."""
    if table.suffix == ".jsonl":
        yield from json_lines(table)
    elif table.suffix == ".parquet":
        yield from ((number, row) for number, (_, row) in enumerate(_batches(table), start=1))
    else:
        with answered(table), table.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
            rows = csv.DictReader(lines)
            try:
                for row in rows:
                    yield rows.line_num, {key: value for key, value in row.items() if isinstance(key, str) and value}
            except csv.Error as error:
                raise DatasetError(f"{table}, line {rows.line_num}: {error}") from None


def _parquet(table: Path, name: str, split: str | None) -> Iterator[SourceClip]:
    stem = name.removesuffix(".parquet")
    try:
        for number, (column, row) in enumerate(_batches(table)):
            clip_id = f"{stem}/{number:06d}"
            yield or_fault(clip_id, table, _row, row, column, clip_id, table, number, split)
    except DatasetError as error:
        yield SourceClip(clip_id=name, audio=table, fault=str(error))


def _batches(table: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (column of the sound, row) of a Parquet file; raises `DatasetError` where what follows cannot be read."""
    parquet = pyarrow_parquet(str(table))
    import pyarrow

    try:
        with answered(table), table.open("rb") as file:
            opened = parquet.ParquetFile(file, pre_buffer=False)
            columns = [field.name for field in opened.schema_arrow if _holds_sound(field)]
            column = "audio" if "audio" in columns else "".join(columns[:1])
            for batch in opened.iter_batches(batch_size=_ROWS):
                yield from ((column, row) for row in batch.to_pylist())
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise DatasetError(f"{table}: damaged or cut short ({' '.join(str(error).split())[:200]}); it is left out from there on") from None


def _holds_sound(field: Any) -> bool:
    """Whether a column is one of `datasets.Audio`: a struct of bytes and path, or bytes called audio."""
    import pyarrow.types as types

    if types.is_struct(field.type):
        return {part.name for part in field.type} >= {"bytes", "path"}
    return field.name == "audio" and (types.is_binary(field.type) or types.is_large_binary(field.type))


def _row(row: dict[str, Any], column: str, clip_id: str, table: Path, number: int, split: str | None) -> SourceClip:
    value = row.pop(column, None)
    content, path = (value.get("bytes"), as_text(value.get("path"))) if isinstance(value, dict) else (value, None)
    if content is None and path is None:
        raise DatasetError(f"{table}, row {number}: no sound ({f'column {column}' if column else 'no column'} of bytes and path)")
    if content is None:
        return _told(row, SourceClip(clip_id=clip_id, audio=table.parent / str(path), split=split))
    suffix = PurePosixPath(path or "").suffix.lower()
    if suffix not in AUDIO_SUFFIXES:
        suffix = next((one for beginning, one in _BEGINNINGS.items() if content.startswith(beginning)), "")
    sound = HeldPiece(archive=table, name=f"{clip_id}{suffix}", column=column, row=number, content=content, stays=suffix != "")
    return _told(row, SourceClip(clip_id=clip_id, audio=sound, split=split))


def _told(row: Mapping[str, Any], clip: SourceClip) -> SourceClip:
    """Return the clip with what the columns of its row tell; raises `ValueError` for words that are malformed."""
    if isinstance(record := row.get(RECORD), str):
        return clip.recorded(parse_json(record))
    text = next((as_text(row[key]) for key in TEXTS if as_text(row.get(key))), None)
    speaker = next((speaker_name(row[key]) for key in SPEAKERS if row.get(key) not in (None, "")), None)
    told = {key: value for key, value in kept(row).items() if key not in (*TEXTS, *SPEAKERS)}
    told |= {"speaker": speaker} if isinstance(speaker, str) else {}
    clip = replace(clip, script=text, extra=told)
    if is_transcript(row):
        return clip.with_words(transcript_words(dict(row)))
    return replace(clip, sidecar=Sidecar.from_json({"alignments": row["alignments"]})) if isinstance(row.get("alignments"), list) else clip
