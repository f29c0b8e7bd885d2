"""NeMo manifests: JSON lines of `audio_filepath`, `duration`, `text`, and optionally `offset` and `speaker`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from stt_ft.core.errors import DatasetError
from stt_ft.corpus.source import SourceClip, json_lines, seconds, split_named, text_or_none


def read_manifest(source: Path) -> Iterator[SourceClip]:
    """Yield the clips of a NeMo manifest; `duration` seconds from `offset` are the clip; paths are relative to the manifest or absolute."""
    if source.is_dir():
        raise DatasetError(f"{source}: a NeMo manifest is a file of JSON lines")
    seen: set[str] = set()
    for number, entry in json_lines(source):
        where = f"{source}, line {number}"
        path = entry.get("audio_filepath")
        if not isinstance(path, str) or not path:
            raise DatasetError(f"{where}: no audio_filepath")
        offset_s = seconds(entry.get("offset") or 0, what="offset", where=where)
        duration = entry.get("duration")
        speaker = entry.get("speaker")
        if isinstance(speaker, int) and not isinstance(speaker, bool):
            speaker = str(speaker)  # NeMo's speech synthesis numbers its speakers
        speaker = text_or_none(speaker, what="speaker", where=where)
        is_part = offset_s > 0 or path in seen
        seen.add(path)
        yield SourceClip(
            clip_id=f"{path}_{number:06d}" if is_part else path,
            audio=source.parent / path,
            start_s=offset_s,
            duration_s=None if duration is None and not is_part else seconds(duration, what="duration", where=where),
            script=text_or_none(entry.get("text"), what="text", where=where),
            split=split_named(source.name.split(".")[0].split("_")[0]),
            extra={"speaker": speaker} if speaker else {},
        )
