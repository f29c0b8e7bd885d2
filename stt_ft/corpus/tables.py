"""Readers of corpora that lie on disk as folders and tables: sound with files beside it, Mozilla Common Voice, Kaldi."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stt_ft.audio.files import AUDIO_SUFFIXES
from stt_ft.core.errors import DatasetError
from stt_ft.core.json_yaml import parse_json
from stt_ft.core.manifest import SYNTHETIC, Sidecar
from stt_ft.corpus.source import SourceClip, seconds, split_named

_SPLIT_TABLES = ("train.tsv", "dev.tsv", "test.tsv")


def read_folder(source: Path) -> Iterator[SourceClip]:
    """Yield every sound file under `source`. `NAME.txt` beside it is its script; `NAME.json` a sidecar, or an object with `text`."""
    if not source.is_dir():
        raise DatasetError(f"{source}: not a folder")
    for audio in sorted(path for path in source.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file()):
        clip_id = str(audio.relative_to(source))
        if not any(part.startswith(".") for part in Path(clip_id).parts):
            yield clip_beside(audio, clip_id, extra={})


def clip_beside(audio: Path, clip_id: str, *, extra: dict[str, Any], split: str | None = None) -> SourceClip:
    """Put a clip together from a sound file and what lies beside it; a malformed file beside it is the clip's fault."""
    script = extra.get("script")
    sidecar, fault = None, ""
    text_path, json_path = audio.with_suffix(".txt"), audio.with_suffix(".json")
    try:
        if json_path.is_file():
            sidecar, told = _read_json_beside(json_path)
            script = sidecar.script or told.pop("text", None) or script
            extra = {**extra, **told}
        elif text_path.is_file():
            script = text_path.read_text(encoding="utf-8").strip()
    except (ValueError, RecursionError) as error:
        fault = f"{json_path if json_path.is_file() else text_path}: {error}"
    script = script if isinstance(script, str) and script else None
    return SourceClip(clip_id=clip_id, audio=audio, script=script, sidecar=sidecar, extra=extra, split=split, fault=fault)


def _read_json_beside(path: Path) -> tuple[Sidecar, dict[str, Any]]:
    """Return the sidecar in `path` and its keys that are of use in a manifest; raises `ValueError` when it is malformed."""
    value = parse_json(path.read_bytes())
    if isinstance(value, dict) and isinstance(value.get("transcript"), str):
        value.setdefault("text", value["transcript"])
    sidecar = Sidecar.from_json(value)
    told: dict[str, Any] = {key: value[key] for key in ("text", "speaker", "kind", "prompt_id") if isinstance(value.get(key), str)}
    return sidecar, told | ({SYNTHETIC: True} if sidecar.extra.get(SYNTHETIC) is True else {})


def read_common_voice(source: Path) -> Iterator[SourceClip]:
    """Yield the clips of a Common Voice release (its official splits, else `validated.tsv`), or of one table."""
    if source.is_dir():
        tables = [source / name for name in _SPLIT_TABLES if (source / name).exists()] or [source / "validated.tsv"]
    else:
        tables = [source]
    for table in tables:
        if not table.exists():
            raise DatasetError(f"{table}: no such table; a Common Voice directory has {', '.join(_SPLIT_TABLES)} or validated.tsv")
        yield from _read_common_voice_table(table)


def _read_common_voice_table(table: Path) -> Iterator[SourceClip]:
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


def read_kaldi(source: Path) -> Iterator[SourceClip]:
    """Yield the utterances of a Kaldi directory. Sound behind a command ("sph2pipe … |") is not run, and is reported instead."""
    recordings = _kaldi_table(source / "wav.scp")
    texts, speakers = _kaldi_table(source / "text", optional=True), _kaldi_table(source / "utt2spk", optional=True)
    segments = _kaldi_table(source / "segments", optional=True)
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


def _kaldi_table(path: Path, *, optional: bool = False) -> dict[str, str]:
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
