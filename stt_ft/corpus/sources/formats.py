"""The formats of other corpora: how a clip is described in each, which format a corpus is in, and the readers of all of them.

Here are sound with files beside it, LJSpeech, Mozilla Common Voice and Kaldi, and in JSON lines moshi-finetune's manifests and NeMo's;
Lhotse and the archives have files of their own. An entry that cannot be used is a clip with a fault, which `ingest` leaves out by name; a
file that is not in its format ends the reading, and a damaged archive costs what lies behind the fault.
"""

from __future__ import annotations

import csv
import functools
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from stt_ft.audio.files import AUDIO_SUFFIXES
from stt_ft.core.errors import DatasetError
from stt_ft.core.json_yaml import parse_json
from stt_ft.core.storage import Piece, answered, kind_of, place
from stt_ft.corpus.sources.huggingface import METADATA, read_huggingface
from stt_ft.corpus.sources.lhotse import CUTS, read_lhotse, read_shar
from stt_ft.corpus.sources.shards import TARS, read_webdataset, shards, split_named
from stt_ft.corpus.sources.source_clip import (
    INDEX,
    HeldPiece,
    SourceClip,
    as_text,
    files_beside,
    json_lines,
    or_fault,
    seconds,
    text_or_none,
)
from stt_ft.dataset.manifest import INSIDE, SPLITS, Dataset, speaker_name

_WINDOW = 256
"""Lines of a manifest whose packed sidecars are looked up together."""

_SPLIT_TABLES = ("train.tsv", "dev.tsv", "test.tsv")


def read_folder(source: Path) -> Iterator[SourceClip]:
    """Yield every sound file under `source`. `NAME.txt` (or `.lab`) beside it is its script, `NAME.json` a sidecar, an object with `text`,
    or what Whisper and its kin write; words and times may stand in `NAME.TextGrid` or `NAME.ctm` too."""
    if not source.is_dir():
        raise DatasetError(f"{source}: not a folder")
    for audio in sorted(path for path in source.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES and kind_of(path) == "file"):
        clip_id = str(audio.relative_to(source))
        if not any(part.startswith(".") for part in Path(clip_id).parts):
            yield SourceClip(clip_id=clip_id, audio=audio).told_by(files_beside(audio), str(audio.with_suffix("")))


def read_ljspeech(source: Path) -> Iterator[SourceClip]:
    """Yield the clips of `metadata.csv` as LJSpeech and piper have it: `id|text`, `id|text|text in words` or `id|speaker|text`.

    The last column is the script. The middle one of three is a speaker where none of its values holds a space.
    """
    table = source / "metadata.csv" if source.is_dir() else source
    lines = [line for line in table.read_text(encoding="utf-8-sig", errors="replace").splitlines() if line.strip()]
    rows = [line.split("|") for line in lines]
    has_speakers = all(len(row) == 3 and row[1].strip() and " " not in row[1].strip() for row in rows)
    folders = [table.parent / name for name in ("wavs", "wav") if (table.parent / name).is_dir()] or [table.parent]
    for number, row in enumerate(rows, start=1):
        name = row[0].strip()
        audio = folders[0] / (name if Path(name).suffix.lower() in AUDIO_SUFFIXES else f"{name}.wav")
        fault = "" if name and len(row) > 1 else f"{table}, line {number}: expected id|text, got {lines[number - 1][:60]!r}"
        extra = {"speaker": row[1].strip()} if has_speakers else {}
        yield SourceClip(clip_id=name or f"line {number}", audio=audio, script=as_text(row[-1]), extra=extra, fault=fault)


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
    with table.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
        rows = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        missing = {"path", "sentence"} - set(rows.fieldnames or ())
        if missing:
            raise DatasetError(f"{table}: no column {' and '.join(sorted(missing))}; is it a Common Voice table?")
        for row in rows:
            name = row["path"] or ""
            speaker = (row.get("client_id") or "")[:16]
            yield SourceClip(
                clip_id=name or f"line {rows.line_num}",
                fault="" if name else f"{table}, line {rows.line_num}: no path",
                audio=table.parent / "clips" / (name if Path(name).suffix else f"{name}.mp3"),
                script=row["sentence"] or None,
                split=split_named(table.stem),
                extra={"speaker": speaker} if speaker else {},
            )


def read_kaldi(source: Path) -> Iterator[SourceClip]:
    """Yield the utterances of a Kaldi directory. Sound behind a command ("sph2pipe … |") is not run, and is reported instead."""
    tables = {name: _kaldi_table(source / name, optional=name != "wav.scp") for name in ("wav.scp", "segments", "text", "utt2spk")}
    for utterance in tables["segments"] or tables["wav.scp"]:
        yield or_fault(utterance, source, _kaldi_utterance, utterance, source, tables)


def _kaldi_utterance(utterance: str, source: Path, tables: Mapping[str, Mapping[str, str | None]]) -> SourceClip:
    twice = [name for name, table in tables.items() if table.get(utterance, "") is None]
    if twice:
        raise DatasetError(f"{source / twice[0]}: {utterance} stands here twice")
    segment = tables["segments"].get(utterance)
    recording, *span = utterance.split() if segment is None else segment.split() or [""]
    location = tables["wav.scp"].get(recording)
    where = f"{source / 'segments'}, utterance {utterance}"
    if not location or (segment is not None and len(span) not in (2, 3)):
        raise DatasetError(f"{where}: expected a recording of wav.scp, its start and its end, got {segment!r}")
    if location.endswith("|"):
        raise DatasetError(f"its sound is the output of a command ({location[:60]}); convert it to files first")
    start_s = seconds(span[0], what="a segment's time", where=where) if span else 0.0
    is_to_the_end = not span or span[1] in ("-1", "-1.0")  # so Kaldi's extract-segments reads -1
    end_s = None if is_to_the_end else seconds(span[1], what="a segment's time", where=where)
    speaker = tables["utt2spk"].get(utterance)
    return SourceClip(
        clip_id=utterance,
        audio=source / location,
        start_s=start_s,
        duration_s=None if end_s is None else max(0.0, end_s - start_s),
        channel=int(span[2]) if span[2:] and span[2].isdecimal() else None,
        script=tables["text"].get(utterance),
        extra={"speaker": speaker} if speaker else {},
    )


def _kaldi_table(path: Path, *, optional: bool = False) -> dict[str, str | None]:
    """Read "key value…" lines; a missing optional table is empty, and a key that stands there twice has None."""
    if not path.exists():
        if optional:
            return {}
        raise DatasetError(f"{path}: no such file; a Kaldi directory has one")
    table: dict[str, str | None] = {}
    for line in path.read_text(encoding="utf-8-sig", errors="replace").splitlines():
        if line.strip():
            key, *rest = line.split(maxsplit=1)
            table[key] = None if key in table else (rest[0].strip() if rest else "")
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
        data = Dataset(manifest.parent)
        lines = json_lines(manifest)
        while some := list(itertools.islice(lines, _WINDOW)):
            names = [str(entry.get("path")) for _, entry in some]
            packed = data.packed.get([f"{name.removesuffix(PurePosixPath(name).suffix)}.json" for name in names])
            for (number, entry), text in zip(some, packed, strict=True):
                where = f"{manifest}, line {number}"
                yield or_fault(str(entry.get("path") or f"line {number}"), manifest, _jsonl_entry, entry, text, manifest, where)


def _jsonl_entry(entry: dict[str, Any], packed: str | None, manifest: Path, where: str) -> SourceClip:
    """Return one clip; `packed` is its sidecar where the dataset keeps sidecars packed."""
    path, place_inside = entry.pop("path", None), entry.pop(INSIDE, None)
    if not isinstance(path, str) or not path:
        raise DatasetError(f'{where}: expected {{"path": "audio/NAME.wav", "duration": SECONDS}}')
    entry.pop("duration", None)
    if "speaker" in entry:
        entry["speaker"] = speaker_name(entry["speaker"])
    file = manifest.parent / path
    audio = file if place_inside is None else HeldPiece.of(Piece.from_json(place_inside, name=path, directory=manifest.parent))
    beside = files_beside(file) | ({} if packed is None else {".json": packed.encode()})
    clip = SourceClip(clip_id=path.removeprefix("audio/"), audio=audio, extra=entry, split=split_named(manifest.stem))
    return clip.told_by(beside, str(file.with_suffix("")))


def read_nemo(source: Path) -> Iterator[SourceClip]:
    """Yield the clips of a NeMo manifest; `duration` seconds from `offset` are the clip; paths are relative to the manifest or absolute."""
    if source.is_dir():
        raise DatasetError(f"{source}: a NeMo manifest is a file of JSON lines")
    seen: set[str] = set()
    for number, entry in json_lines(source):
        path = as_text(entry.get("audio_filepath"))
        yield or_fault(path or f"line {number}", source, _nemo_entry, entry, source, number, path in seen)
        seen |= {path} if path else set()


def _nemo_entry(entry: Mapping[str, Any], source: Path, number: int, is_known: bool) -> SourceClip:
    where = f"{source}, line {number}"
    path = entry.get("audio_filepath")
    if not isinstance(path, str) or not path:
        raise DatasetError(f"{where}: no audio_filepath")
    offset_s = seconds(entry.get("offset") or 0, what="offset", where=where)
    duration = entry.get("duration")
    speaker = text_or_none(speaker_name(entry.get("speaker")), what="speaker", where=where)  # NeMo's speech synthesis numbers its speakers
    is_part = offset_s > 0 or is_known
    return SourceClip(
        clip_id=f"{path}_{number:06d}" if is_part else path,
        audio=source.parent / path,
        start_s=offset_s,
        duration_s=None if duration is None and not is_part else seconds(duration, what="duration", where=where),
        script=text_or_none(entry.get("text"), what="text", where=where),
        split=split_named(source.name.split(".")[0].split("_")[0]),
        extra={"speaker": speaker} if speaker else {},
    )


READERS: dict[str, Callable[[Path], Iterator[SourceClip]]] = {
    "folder": read_folder,
    "ljspeech": read_ljspeech,
    "jsonl": read_jsonl,
    "nemo": read_nemo,
    "kaldi": read_kaldi,
    "commonvoice": read_common_voice,
    "lhotse": read_lhotse,
    "shar": read_shar,
    "webdataset": read_webdataset,
    "huggingface": read_huggingface,
}

ARCHIVES = ("shar", "webdataset", "huggingface")
"""Formats in which the sound of many clips is in one file, and which are therefore read once."""


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """The clips of a corpus, read as they are asked for.

    Attributes:
        clips: yields them; those of an archive once.
        num_clips: how many they are, None of an archive.
        language: of an archive that `stt-ft archive` wrote.
    """

    clips: Callable[[], Iterator[SourceClip]]
    num_clips: int | None
    language: str | None


def read_source(source: str | Path, corpus_format: str) -> Corpus:
    """Return the corpus at `source`, a path or an address in a store; raises `DatasetError` when it is not there or not in that format.

    All of it is read, so that a manifest with a line that cannot be read is refused before anything is taken; of an archive only the
    beginning.
    """
    if corpus_format != "auto" and corpus_format not in READERS:
        raise DatasetError(f"no corpus format {corpus_format!r}; formats are auto, {', '.join(READERS)}")
    path = place(source)
    faults: list[SourceClip] = []
    num_clips, first = 0, None
    with answered(source):
        corpus_format = detect_format(path) if corpus_format == "auto" else corpus_format
        stream = READERS[corpus_format](path)
        for clip in stream:
            num_clips += 1
            if not clip.fault:
                first = first or clip
                if corpus_format in ARCHIVES:
                    begun = itertools.chain(faults, [clip], stream)
                    return Corpus(clips=functools.partial(iter, begun), num_clips=None, language=_language(path))
            elif first is None:
                faults.append(clip)
    if num_clips == 0:
        raise DatasetError(f"{source}: no clips here")
    if first is None:
        more = f" (and so on: none of {num_clips} clips can be read)" if num_clips > 1 else ""
        raise DatasetError(faults[0].fault + more)
    return Corpus(clips=lambda: READERS[corpus_format](path), num_clips=num_clips, language=None)


def _language(archive: Path) -> str | None:
    try:
        return str(parse_json((archive / INDEX).read_bytes())["language"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def detect_format(source: Path) -> str:
    """Return the format that `source` looks like; raises `DatasetError` when it looks like none."""
    if source.is_dir():
        return _format_of_folder(source)
    if source.name.endswith(TARS):
        return "webdataset"
    if source.suffix == ".parquet" or source.name in METADATA:
        return "huggingface" if source.suffix != ".csv" or _has_file_names(source) else "ljspeech"
    if source.suffix in (".tsv", ".csv"):
        return "commonvoice" if source.suffix == ".tsv" else "ljspeech"
    if not source.exists() or source.suffix == ".txt":  # a pattern, or a list
        found = shards(source, ())
        return detect_format(found[0][0]) if found else "webdataset"
    first = next((entry for _, entry in json_lines(source)), {})
    if "audio_filepath" in first:
        return "nemo"
    if "recording" in first or "supervisions" in first:
        return "shar" if '"type": "shar"' in json.dumps(first.get("recording")) else "lhotse"
    if "path" in first:
        return "jsonl"
    raise DatasetError(f"{source}: not a corpus in a known format; say which with --format {'|'.join(READERS)}")


def _format_of_folder(source: Path) -> str:
    if (source / "wav.scp").exists():
        return "kaldi"
    if any((source / f"{split}.jsonl").exists() for split in SPLITS):
        return "jsonl"
    if (source / "metadata.csv").exists() and not _has_file_names(source / "metadata.csv"):
        return "ljspeech"
    if (source / "clips").is_dir() and any(source.glob("*.tsv")):
        return "commonvoice"
    kinds: set[str] = set()
    for path in source.rglob("*"):
        if path.name in METADATA:
            return "huggingface"
        kinds |= {kind for kind, suffixes in _KINDS.items() if path.name.lower().endswith(suffixes)}
        kinds |= {"cuts"} if path.name.startswith("cuts.") and path.name.endswith(CUTS) else set()
    if "folder" in kinds or not kinds:
        return "folder"
    if kinds == {"tar", "cuts"}:
        return "shar"
    return "huggingface" if "parquet" in kinds else "webdataset" if "tar" in kinds else "folder"


_KINDS = {"folder": tuple(AUDIO_SUFFIXES), "tar": TARS, "parquet": (".parquet",)}


def _has_file_names(table: Path) -> bool:
    """Whether a metadata.csv is one of an audio folder: it has names of columns, and `file_name` is one."""
    with table.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
        return any("file_name" in name for name in next(csv.reader(lines), ()))
