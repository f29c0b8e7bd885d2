"""Kaldi data directories: `wav.scp`, and where they exist `segments`, `text`, `utt2spk`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from stt_ft.core.errors import DatasetError
from stt_ft.corpus.source import SourceClip, seconds


def read_directory(source: Path) -> Iterator[SourceClip]:
    """Yield the utterances of a Kaldi directory. Sound behind a command ("sph2pipe … |") is not run, and is reported instead."""
    recordings = _table(source / "wav.scp")
    texts, speakers = _table(source / "text", optional=True), _table(source / "utt2spk", optional=True)
    segments = _table(source / "segments", optional=True)
    for utterance in segments or recordings:
        recording, start_s, end_s = utterance, 0.0, None
        if segments:
            fields = segments[utterance].split()
            where = f"{source / 'segments'}, utterance {utterance}"
            if len(fields) != 3 or fields[0] not in recordings:
                raise DatasetError(f"{where}: expected a recording of wav.scp, its start and its end, got {segments[utterance]!r}")
            recording = fields[0]
            start_s, end_s = (seconds(field, what="a segment's time", where=where) for field in fields[1:])
        location = recordings[recording]
        fault = f"its sound is the output of a command ({location[:60]}); convert it to files first" if location.endswith("|") else ""
        speaker = speakers.get(utterance)
        yield SourceClip(
            clip_id=utterance,
            audio=source / location,
            start_s=start_s,
            duration_s=None if end_s is None else max(0.0, end_s - start_s),
            script=texts.get(utterance),
            extra={"speaker": speaker} if speaker else {},
            fault=fault,
        )


def _table(path: Path, *, optional: bool = False) -> dict[str, str]:
    """Read "key value…" lines; a missing optional table is empty."""
    if not path.exists():
        if optional:
            return {}
        raise DatasetError(f"{path}: no such file; a Kaldi directory has one")
    table = {}
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        key, *rest = line.split(maxsplit=1)
        value = rest[0] if rest else ""
        if key in table:
            raise DatasetError(f"{path}, line {number}: {key} stands here twice")
        table[key] = value.strip()
    return table
