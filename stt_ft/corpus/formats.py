"""The formats of other corpora, by name: which one a corpus is in, and its clips."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from stt_ft.core.errors import DatasetError
from stt_ft.core.manifest import SPLITS
from stt_ft.corpus.manifests import read_jsonl, read_lhotse, read_nemo
from stt_ft.corpus.source import SourceClip, json_lines
from stt_ft.corpus.tables import read_common_voice, read_folder, read_kaldi

READERS: dict[str, Callable[[Path], Iterator[SourceClip]]] = {
    "folder": read_folder,
    "jsonl": read_jsonl,
    "nemo": read_nemo,
    "kaldi": read_kaldi,
    "commonvoice": read_common_voice,
    "lhotse": read_lhotse,
}


def read_source(source: Path, corpus_format: str) -> list[SourceClip]:
    """Return the clips of the corpus at `source`; raises `DatasetError` when it is not there or not in that format."""
    if not source.exists():
        raise DatasetError(f"{source}: no such file or directory")
    if corpus_format != "auto" and corpus_format not in READERS:
        raise DatasetError(f"no corpus format {corpus_format!r}; formats are auto, {', '.join(READERS)}")
    clips = list(READERS[detect_format(source) if corpus_format == "auto" else corpus_format](source))
    if not clips:
        raise DatasetError(f"{source}: no clips here")
    return clips


def detect_format(source: Path) -> str:
    """Return the format that `source` looks like; raises `DatasetError` when it looks like none."""
    if source.is_dir():
        if (source / "wav.scp").exists():
            return "kaldi"
        if any((source / f"{split}.jsonl").exists() for split in SPLITS):
            return "jsonl"
        return "commonvoice" if (source / "clips").is_dir() and any(source.glob("*.tsv")) else "folder"
    if source.suffix == ".tsv":
        return "commonvoice"
    first = next((entry for _, entry in json_lines(source)), {})
    if "audio_filepath" in first:
        return "nemo"
    if "recording" in first or "supervisions" in first:
        return "lhotse"
    if "path" in first:
        return "jsonl"
    raise DatasetError(f"{source}: not a corpus in a known format; say which with --format {'|'.join(READERS)}")
