"""Lhotse's cuts, with their sound in files (`cuts.jsonl.gz`) or in tars beside them (Shar). They are read as the JSON they are.

    cuts.000000.jsonl.gz     the cuts of one shard of a Shar, one a line
    recording.000000.tar     CUT.flac (or .wav, .mp3, .opus), and behind it CUT.json, its recording; CUT.nodata where there is no sound

A Shar keeps the sound of each cut alone, while the times of its word alignments still count from the start of the recording that the cut
was taken from, which nobody knows any more (lhotse 1.33, `SharWriter.write`). So words that do not fit their supervision are not taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from stt_ft.core.errors import DatasetError
from stt_ft.core.json_yaml import parse_json
from stt_ft.core.storage import kind_of
from stt_ft.corpus.sources.shards import TARS, members, shards, split_in, split_named
from stt_ft.corpus.sources.source_clip import RECORD, HeldPiece, SourceClip, json_lines, kept, or_fault, seconds
from stt_ft.corpus.sources.word_times import lhotse_words
from stt_ft.dataset.sidecar import Word

CUTS = (".jsonl", ".jsonl.gz")

_PARTLY_S = 0.1
"""A supervision that lies farther than this outside its cut says what is not heard in it; a word, outside its supervision."""


def read_lhotse(source: Path) -> Iterator[SourceClip]:
    """Yield the single-track cuts of a cut set (`cuts.jsonl`, `cuts.jsonl.gz`) whose recordings are files; others are reported by id."""
    if source.is_dir():
        raise DatasetError(f"{source}: a Lhotse cut set is a file such as cuts.jsonl.gz")
    for number, cut in json_lines(source):
        cut_id = _id(cut, number)
        split = split_named(source.name.split(".")[0].removeprefix("cuts_"))
        yield or_fault(cut_id, source, _cut, cut, cut_id, f"{source}, line {number}", source.parent, split)


def read_shar(source: Path) -> Iterator[SourceClip]:
    """Yield the cuts of a Shar, each with its sound in the tar beside them; a shard that is damaged costs what lies behind the fault."""
    for cuts, name in shards(source, CUTS):
        if cuts.name.partition(".")[0] == "cuts":
            yield from _shard(cuts, split_in(name))


def _shard(cuts: Path, split: str | None) -> Iterator[SourceClip]:
    """Yield the clips of one shard. Cuts and sounds come in one order; where they do not, a cut waits for its sound."""
    waiting: dict[str, tuple[dict[str, Any], str]] = {}
    rest = json_lines(cuts)
    stem = cuts.name.removeprefix("cuts").removesuffix(".gz").removesuffix(".jsonl")
    tars = [path for suffix in TARS if kind_of(path := cuts.with_name(f"recording{stem}{suffix}")) == "file"]
    try:
        for sound, recording in _recordings(tars[0]) if tars else ():
            cut_id = sound.name[: len(sound.name) - len(PurePosixPath(sound.name).suffix)]
            for number, cut in () if cut_id in waiting else rest:
                waiting[_id(cut, number)] = (cut, f"{cuts}, line {number}")
                if cut_id in waiting:
                    break
            if cut_id in waiting:
                cut, where = waiting.pop(cut_id)
                yield or_fault(cut_id, sound, _sharded, cut, cut_id, where, sound, recording, split)
            else:
                yield SourceClip(clip_id=cut_id, audio=sound, fault=f"{sound}: no cut of this id in {cuts}")
        waiting |= {_id(cut, number): (cut, f"{cuts}, line {number}") for number, cut in rest}
    except DatasetError as error:
        yield SourceClip(clip_id=cuts.name, audio=cuts, fault=str(error))
    for cut_id, (_, where) in waiting.items():
        fault = f"{where}: its sound is not in {tars[0].name}" if tars else f"{where}: there is no recording{stem}.tar beside"
        yield SourceClip(clip_id=cut_id, audio=cuts, fault=fault)


def _recordings(archive: Path) -> Iterator[tuple[HeldPiece, bytes]]:
    """Yield each sound of a Shar's tar with the JSON of its recording, which stands behind it."""
    sound: HeldPiece | None = None
    for file in members(archive):
        suffix = PurePosixPath(file.name).suffix
        if suffix not in (".json", ".nometa"):
            sound = file.piece(archive)
        elif sound is not None and sound.name.removesuffix(sound.suffix) == file.name.removesuffix(suffix):
            yield sound, file.content
            sound = None


def _sharded(cut: dict[str, Any], cut_id: str, where: str, sound: HeldPiece, recording: bytes, split: str | None) -> SourceClip:
    if sound.suffix == ".nodata":
        raise DatasetError(f"{where}: it has no sound")
    clip = _cut({**cut, "recording": parse_json(recording)}, cut_id, where, sound, split)
    custom = cut.get("custom")
    return clip.recorded(custom[RECORD]) if isinstance(custom, dict) and RECORD in custom else clip


def _id(cut: dict[str, Any], number: int) -> str:
    return str(cut.get("id") or f"cut_{number:06d}")


def _cut(cut: dict[str, Any], cut_id: str, where: str, place: Path | HeldPiece, split: str | None) -> SourceClip:
    """Return one cut, whose sound is `place`, or in a file below it."""
    channel = cut.get("channel")
    channel = channel if isinstance(channel, int) and not isinstance(channel, bool) else None
    recording = cut.get("recording")
    recording = recording if isinstance(recording, dict) else {}
    file = _file_of(recording, channel, "shar" if isinstance(place, HeldPiece) else "file", where)
    channels = _list(file.get("channels")) or [0]
    start_s = seconds(cut.get("start", 0), what="start", where=where)
    duration_s = seconds(cut.get("duration"), what="duration", where=where)
    whole_s = seconds(recording.get("duration", duration_s), what="recording.duration", where=where)
    is_whole = start_s == 0 and abs(whole_s - duration_s) < 0.01
    said, spans = _supervisions(cut, duration_s, where)
    texts = [str(entry["text"]) for entry in said if entry.get("text")]
    speakers = {str(entry["speaker"]) for entry in said if entry.get("speaker") not in (None, "")}
    clip = SourceClip(
        clip_id=cut_id,
        audio=place if isinstance(place, HeldPiece) else place / str(file.get("source")),
        start_s=start_s,
        duration_s=None if is_whole else duration_s,
        channel=channels.index(channel) if channel is not None and channel in channels and len(channels) > 1 else None,
        script=" ".join(texts) or None,
        split=split,
        extra={**_custom(cut, *said), **({"speaker": speakers.pop()} if len(speakers) == 1 else {})},
    )
    timed = lhotse_words(said, cut_start_s=start_s)
    if isinstance(place, HeldPiece) and not _fit(timed.words, spans):
        timed = replace(timed, words=(), notice="its words lie outside their supervision: they are timed in the recording it was cut from")
    return clip.with_words(timed)


def _file_of(recording: dict[str, Any], channel: int | None, kind: str, where: str) -> dict[str, Any]:
    """Return the source of `recording` that holds `channel`, of the kind "shar" or "file"; raises `DatasetError` where none is the sound as
    it is heard."""
    files = [entry for entry in _list(recording.get("sources")) if isinstance(entry, dict) and entry.get("type") == kind]
    file = next((one for one in files if channel in _list(one.get("channels"))), files[0] if len(files) == 1 else None)
    if file is None:
        raise DatasetError(f"{where}: its recording is not one file; save the cuts' audio first")
    transforms = [one.get("name") if isinstance(one, dict) else one for one in _list(recording.get("transforms"))]
    if any(name != "Resample" for name in transforms):  # which moves nothing in time
        names = ", ".join(map(str, transforms))
        raise DatasetError(f"{where}: its recording is transformed ({names}), its file is not; save the cuts' audio first")
    return file


def _supervisions(cut: dict[str, Any], duration_s: float, where: str) -> tuple[list[dict[str, Any]], list[tuple[float, float]]]:
    """Return what is said in a cut, and from when to when, in seconds of it; raises `DatasetError` for what reaches out of it."""
    said = [entry for entry in _list(cut.get("supervisions")) if isinstance(entry, dict)]
    spans = [_span(entry, duration_s, where) for entry in said]
    for entry, (begin_s, end_s) in zip(said, spans, strict=True):
        if begin_s < -_PARTLY_S or end_s > duration_s + _PARTLY_S:
            raise DatasetError(f"{where}: its supervision {entry.get('id')} lies only partly in the cut, at {begin_s:.2f}-{end_s:.2f} s")
    return said, spans


def _custom(*entries: dict[str, Any]) -> dict[str, Any]:
    """Return what is told of a cut and what was said in it beyond Lhotse's own fields, as far as a manifest's line can hold it."""
    found: dict[str, Any] = {}
    for custom in (entry.get("custom") for entry in entries):
        found |= kept(custom) if isinstance(custom, dict) else {}
    return found


def _fit(words: Sequence[Word], spans: Sequence[tuple[float, float]]) -> bool:
    """Whether each word lies in one of the supervisions."""
    return all(any(begin_s - _PARTLY_S <= one.start_s and one.end_s <= end_s + _PARTLY_S for begin_s, end_s in spans) for one in words)


def _span(entry: dict[str, Any], duration_s: float, where: str) -> tuple[float, float]:
    begin_s = _number(entry.get("start", 0), where)
    return begin_s, begin_s + _number(entry.get("duration", duration_s), where)


def _list(value: Any) -> list[Any]:
    """Return `value` if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def _number(value: Any, where: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise DatasetError(f"{where}: a supervision's time must be seconds, got {str(value)[:60]!r}") from None
