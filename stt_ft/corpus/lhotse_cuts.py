"""Lhotse cuts (`cuts.jsonl`, `cuts.jsonl.gz`), read as the JSON they are; lhotse itself is not needed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stt_ft.core.errors import DatasetError
from stt_ft.core.manifest import Sidecar, Word
from stt_ft.corpus.source import SourceClip, json_lines, seconds, split_named


def read_cuts(source: Path) -> Iterator[SourceClip]:
    """Yield the single-track cuts of a cut set whose recordings are files; others are reported by id."""
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
