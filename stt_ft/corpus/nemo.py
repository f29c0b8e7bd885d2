"""NeMo manifests: JSON lines of `audio_filepath`, `duration`, `text`, and optionally `offset` and `speaker`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from stt_ft.core.errors import DatasetError
from stt_ft.corpus.source import SourceClip, json_lines, seconds, split_named, text_or_none


def read_manifest(source: Path) -> Iterator[SourceClip]:
    """Yield the clips of a NeMo manifest; paths are relative to it, or absolute."""
    if source.is_dir():
        raise DatasetError(f"{source}: a NeMo manifest is a file of JSON lines")
    for number, entry in json_lines(source):
        where = f"{source}, line {number}"
        path = entry.get("audio_filepath")
        if not isinstance(path, str) or not path:
            raise DatasetError(f"{where}: no audio_filepath")
        offset_s = seconds(entry.get("offset") or 0, what="offset", where=where)
        is_part = offset_s > 0
        speaker = text_or_none(entry.get("speaker"), what="speaker", where=where)
        yield SourceClip(
            clip_id=f"{path}_{number:06d}" if is_part else path,
            audio=source.parent / path,
            start_s=offset_s,
            duration_s=seconds(entry.get("duration"), what="duration", where=where) if is_part else None,
            script=text_or_none(entry.get("text"), what="text", where=where),
            split=split_named(source.name.split(".")[0].split("_")[0]),
            extra={"speaker": speaker} if speaker else {},
        )
