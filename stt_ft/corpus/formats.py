"""The formats of other corpora: how a clip is described in each, which format a corpus is in, and the readers of all of them.

Sound with files beside it, Mozilla Common Voice, Kaldi; and in JSON lines moshi-finetune's manifests, NeMo's, and Lhotse's cuts.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stt_ft.audio.files import AUDIO_SUFFIXES
from stt_ft.core.errors import DatasetError
from stt_ft.core.json_yaml import parse_json
from stt_ft.core.manifest import SPLITS, SYNTHETIC, Sidecar, Word


@dataclass(frozen=True, kw_only=True)
class SourceClip:
    """One clip as its corpus describes it; nothing of it has been read or checked.

    Attributes:
        clip_id: unique in the corpus.
        audio: the sound file it is, or is a part of.
        start_s: where it begins in the file.
        duration_s: how long it lasts; None to the end of the file.
        channel: channel of the file; None averages them.
        script: its text, where the corpus has one.
        sidecar: its words and times, where the corpus has them, kept as they are.
        split: where the corpus puts it, None where it does not say.
        extra: keys for the manifest: speaker, prompt_id …
        fault: why it cannot be taken, where the corpus itself already shows that.
    """

    clip_id: str
    audio: Path
    start_s: float = 0.0
    duration_s: float | None = None
    channel: int | None = None
    script: str | None = None
    sidecar: Sidecar | None = None
    split: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    fault: str = ""

    @property
    def is_whole_file(self) -> bool:
        return self.start_s == 0 and self.duration_s is None and self.channel is None


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
    """Put a clip together from a sound file and the files beside it; a malformed file among them is the clip's fault."""
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
        files = [entry for entry in _list(recording.get("sources")) if isinstance(entry, dict) and entry.get("type") == "file"]
        if not files:
            yield SourceClip(clip_id=cut_id, audio=source, fault=f"{where}: its recording is not one file; save the cuts' audio first")
            continue
        start_s = seconds(cut.get("start", 0), what="start", where=where)
        duration_s = seconds(cut.get("duration"), what="duration", where=where)
        whole_s = seconds(recording.get("duration", duration_s), what="recording.duration", where=where)
        is_whole = start_s == 0 and abs(whole_s - duration_s) < 0.01
        said = [entry for entry in _list(cut.get("supervisions")) if isinstance(entry, dict)]
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


def _list(value: Any) -> list[Any]:
    """Return `value` if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def _channel(cut: dict[str, Any], recording: dict[str, Any]) -> int | None:
    channel = cut.get("channel")
    channels = _list(recording.get("channel_ids")) or [0]
    return channel if isinstance(channel, int) and not isinstance(channel, bool) and len(channels) > 1 else None


def _words(said: list[dict[str, Any]], where: str) -> tuple[Word, ...]:
    """Return the word alignments of all supervisions, which count from the supervision's recording; empty where any has none."""
    words = []
    for entry in said:
        alignment = entry.get("alignment")
        items = _list(alignment.get("word") if isinstance(alignment, dict) else None)
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


def json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, object) of a JSON-lines file, gzipped or not; raises `DatasetError` by line for anything else."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{path}: cannot be read ({error})") from None
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            entry = parse_json(line)
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
            raise DatasetError(f"{path}, line {number}: not JSON") from None
        except ValueError as error:
            raise DatasetError(f"{path}, line {number}: {error}") from None
        if not isinstance(entry, dict):
            raise DatasetError(f"{path}, line {number}: expected an object, got {type(entry).__name__}")
        yield number, entry


def split_named(name: str) -> str | None:
    """Return this program's name for the split that a corpus calls `name`; None for anything that is no split."""
    return {"train": "train", "dev": "dev", "valid": "dev", "validation": "dev", "test": "heldout", "heldout": "heldout"}.get(name.lower())


def seconds(value: Any, *, what: str, where: str) -> float:
    """Return `value` as seconds, not negative; raises `DatasetError` saying `where` for anything else."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = -1.0
    if not 0 <= number < 1e7:
        raise DatasetError(f"{where}: {what} must be seconds, got {value!r}")
    return number


def text_or_none(value: Any, *, what: str, where: str) -> str | None:
    """Return a text as it is, None for none; raises `DatasetError` saying `where` for anything else."""
    if value is None or isinstance(value, str):
        return value
    raise DatasetError(f"{where}: {what} must be a text, got {value!r}")
