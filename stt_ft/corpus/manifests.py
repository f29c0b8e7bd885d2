"""Readers of corpora that are described in JSON lines: moshi-finetune's manifests, NeMo's, and Lhotse's cuts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stt_ft.core.errors import DatasetError
from stt_ft.core.manifest import SPLITS, Sidecar, Word
from stt_ft.corpus.source import SourceClip, json_lines, seconds, split_named, text_or_none
from stt_ft.corpus.tables import clip_beside


def read_jsonl(source: Path) -> Iterator[SourceClip]:
    """Yield the clips of a moshi-finetune manifest, or of the manifests in a directory; paths are relative to the manifest."""
    if source.is_dir():
        manifests = [source / f"{split}.jsonl" for split in SPLITS if (source / f"{split}.jsonl").exists()]
        if not manifests:
            raise DatasetError(f"{source}: no manifest here (expected one of {', '.join(f'{split}.jsonl' for split in SPLITS)})")
    else:
        manifests = [source]
    for manifest in manifests:
        for number, entry in json_lines(manifest):
            path = entry.pop("path", None)
            if not isinstance(path, str) or not path:
                raise DatasetError(f'{manifest}, line {number}: expected {{"path": "audio/NAME.wav", "duration": SECONDS}}')
            entry.pop("duration", None)
            yield clip_beside(manifest.parent / path, path.removeprefix("audio/"), extra=entry, split=split_named(manifest.stem))


def read_nemo(source: Path) -> Iterator[SourceClip]:
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


def read_lhotse(source: Path) -> Iterator[SourceClip]:
    """Yield the single-track cuts of a cut set (`cuts.jsonl`, `cuts.jsonl.gz`) whose recordings are files; others are reported by id.

    They are read as the JSON they are; lhotse itself is not needed.
    """
    if source.is_dir():
        raise DatasetError(f"{source}: a Lhotse cut set is a file such as cuts.jsonl.gz")
    for number, cut in json_lines(source):
        where = f"{source}, line {number}"
        cut_id = str(cut.get("id") or f"cut_{number:06d}")
        recording = cut.get("recording")
        recording = recording if isinstance(recording, dict) else {}
        files = [entry for entry in recording.get("sources") or [] if isinstance(entry, dict) and entry.get("type") == "file"]
        if not files:
            yield SourceClip(clip_id=cut_id, audio=source, fault=f"{where}: its recording is not one file; save the cuts' audio first")
            continue
        start_s = seconds(cut.get("start", 0), what="start", where=where)
        duration_s = seconds(cut.get("duration"), what="duration", where=where)
        whole_s = seconds(recording.get("duration", duration_s), what="recording.duration", where=where)
        is_whole = start_s == 0 and abs(whole_s - duration_s) < 0.01
        said = [entry for entry in cut.get("supervisions") or [] if isinstance(entry, dict)]
        texts = [str(entry["text"]) for entry in said if entry.get("text")]
        speakers = {str(entry["speaker"]) for entry in said if entry.get("speaker")}
        yield SourceClip(
            clip_id=cut_id,
            audio=source.parent / str(files[0].get("source")),
            start_s=start_s,
            duration_s=None if is_whole else duration_s,
            channel=_channel(cut, recording),
            script=" ".join(texts) or None,
            sidecar=Sidecar(alignments=_words(said, where)),
            split=split_named(source.name.split(".")[0].removeprefix("cuts_")),
            extra={"speaker": speakers.pop()} if len(speakers) == 1 else {},
        )


def _channel(cut: dict[str, Any], recording: dict[str, Any]) -> int | None:
    channel = cut.get("channel")
    channels = recording.get("channel_ids") or [0]
    return channel if isinstance(channel, int) and not isinstance(channel, bool) and len(channels) > 1 else None


def _words(said: list[dict[str, Any]], where: str) -> tuple[Word, ...]:
    """Return the word alignments of all supervisions, which count from the supervision's recording; empty where any has none."""
    words = []
    for entry in said:
        items = (entry.get("alignment") or {}).get("word") or []
        for item in items:
            try:
                text, begin_s, length_s = item[:3] if isinstance(item, list) else (item["symbol"], item["start"], item["duration"])
            except (KeyError, TypeError, ValueError):
                raise DatasetError(f"{where}: {str(item)[:60]} is no word alignment") from None
            start_s = seconds(begin_s, what="a word's start", where=where)
            words.append(Word(text=str(text), start_s=start_s, end_s=start_s + seconds(length_s, what="a word's duration", where=where)))
        if not items:
            return ()
    return tuple(words)
