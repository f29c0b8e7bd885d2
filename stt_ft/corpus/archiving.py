"""A dataset as sharded archives that other programs read: Lhotse's Shar, WebDataset, Parquet as Hugging Face's `datasets` has it.

    OUT/train/cuts.000000.jsonl.gz, OUT/train/recording.000000.tar     shar
    OUT/train-000000.tar                                               webdataset
    OUT/data/train-00000-of-00012.parquet, OUT/README.md               huggingface
    OUT/shards.json                                                    what each shard was made of, by which the next run goes on

The bytes of each sound are those of the dataset. Text, speaker and words stand where the format has them; under `stt_ft` a clip's line and
sidecar stand whole, so that `stt-ft ingest` gives the same dataset back. The same clips make the same bytes.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from stt_ft.audio.files import AudioInfo, probe
from stt_ft.core.atomic import atomic_path, write_json, write_text
from stt_ft.core.errors import AudioError, ConfigError, DatasetError
from stt_ft.core.json_yaml import dump_yaml, parse_json
from stt_ft.core.storage import Piece, pyarrow_parquet
from stt_ft.core.timing import num_samples
from stt_ft.corpus.sources.source_clip import INDEX, RECORD, HeldPiece, record_of
from stt_ft.dataset.manifest import Clip, Dataset
from stt_ft.dataset.sidecar import Sidecar, Word

_GROUP_ROWS = 64
"""Rows of a Parquet file that are written, and read, together: all of a clip's group is read for its sound."""


@dataclass(frozen=True, kw_only=True)
class Archived:
    """The result for a clip: it is in its shard, which was there before (`is_old`), or was left out because of `fault`."""

    clip: Clip
    is_old: bool = False
    fault: str = ""


@dataclass(frozen=True, kw_only=True)
class _Shard:
    """Clips that come into the same files, with the names that they have there."""

    split: str
    number: int
    clips: Sequence[Clip]
    keys: Sequence[str]
    files: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class _Item:
    """One clip on its way into a shard."""

    key: str
    clip: Clip
    sidecar: Sidecar | None
    content: bytes
    info: AudioInfo

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.clip.path).suffix

    @property
    def words(self) -> Sequence[Word]:
        return () if self.sidecar is None else self.sidecar.main_words

    @property
    def text(self) -> str:
        """What is said: the words, or the script where no words are known yet."""
        script = self.clip.extra.get("script") if self.sidecar is None else self.sidecar.script
        return " ".join(word.text for word in self.words) or (script if isinstance(script, str) else "")

    @property
    def speaker(self) -> str | None:
        speaker = self.clip.extra.get("speaker")
        return speaker if isinstance(speaker, str) else None

    @property
    def record(self) -> dict[str, Any]:
        return record_of(self.clip, self.sidecar)


_Add = Callable[[_Item], None]


def archive_clips(data: Dataset, out: Path, corpus_format: str, shard_size: int) -> Iterator[Archived]:
    """Write the clips of `data` into shards in `out` and yield them as they are there; shards that are there whole are not written again.

    Raises:
        ConfigError: `out` holds something else than an archive of this format.
    """
    files_of, writer = FORMATS[corpus_format]
    index = _open_index(out, corpus_format)
    known, index["shards"], index["language"] = index["shards"], {}, data.language()
    shards = list(_shards(data, shard_size, files_of))
    for shard in shards:
        texts = [text for _, text in data.sidecar_texts(shard.clips)]
        made_of = _made_of(data, shard, texts)
        there = known.get(shard.files[-1])
        if there is not None and there["made_of"] == made_of and all((out / name).is_file() for name in shard.files):
            index["shards"][shard.files[-1]] = there
            yield from (Archived(clip=clip, is_old=True) for clip in shard.clips)
            continue
        num_clips = 0
        with writer([out / name for name in shard.files]) as add:
            for key, clip, text in zip(shard.keys, shard.clips, texts, strict=True):
                try:
                    add(_item(data, key, clip, text))
                    num_clips += 1
                except (AudioError, DatasetError) as error:
                    yield Archived(clip=clip, fault=str(error))
                else:
                    yield Archived(clip=clip)
        is_whole = num_clips == len(shard.clips)  # else the next run tries again
        index["shards"][shard.files[-1]] = {"files": [*shard.files], "clips": num_clips, "made_of": made_of if is_whole else ""}
        _write_index(out, {**index, "shards": {**known, **index["shards"]}})
    wanted = {name for shard in shards for name in shard.files}
    for name in {name for entry in known.values() for name in entry["files"]} - wanted:
        (out / name).unlink(missing_ok=True)
    if corpus_format == "huggingface":
        write_text(out / "README.md", _card(data))
    _write_index(out, index)


def _open_index(out: Path, corpus_format: str) -> dict[str, Any]:
    """Return what shards.json says, which is begun where there is none."""
    path = out / INDEX
    if not path.exists():
        if any(not one.name.startswith(".") for one in (out.iterdir() if out.is_dir() else ())):
            raise ConfigError(f"--out {out}: holds other files, and no {INDEX} of an archive; give a new directory")
        _write_index(out, {"format": corpus_format, "shards": {}})
    try:
        index = parse_json(path.read_bytes())
        known = index["format"]
        shards = {name: {**entry, "made_of": str(entry["made_of"]), "files": [*entry["files"]]} for name, entry in index["shards"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ConfigError(f"{path}: damaged; give a new --out, or remove what is there") from None
    if known != corpus_format:
        raise ConfigError(f"--out {out}: holds an archive in the format {known}, not {corpus_format}; give another directory")
    return {"format": corpus_format, "shards": shards}


def _write_index(out: Path, index: dict[str, Any]) -> None:
    write_json(out / INDEX, index, is_swept=True)


def _shards(data: Dataset, shard_size: int, files_of: Callable[[str, int, int], Sequence[str]]) -> Iterator[_Shard]:
    taken: Counter[str] = Counter()
    for split in data.splits():
        clips = data.clips(split)
        count = -(-len(clips) // shard_size)
        for number in range(count):
            some = clips[number * shard_size : (number + 1) * shard_size]
            keys = [_key(clip, taken) for clip in some]
            yield _Shard(split=split, number=number, clips=some, keys=keys, files=files_of(split, number, count))


def _key(clip: Clip, taken: Counter[str]) -> str:
    """Return a name for a clip in its archive, its path without folder `audio`, suffix and dots, which end the key of a WebDataset."""
    path = PurePosixPath(clip.path.removeprefix("audio/"))
    base = str(path.with_name(path.stem.replace(".", "_") or "clip"))
    taken[base] += 1
    return base if taken[base] == 1 else _key(Clip(path=f"{base}_{taken[base]}.wav", duration_s=0.0), taken)


def _made_of(data: Dataset, shard: _Shard, texts: Sequence[bytes | str | DatasetError | None]) -> str:
    """Return a digest of all that a shard is made of; sound counts by its size and time of change."""
    digest = hashlib.sha256(json.dumps([*shard.files]).encode())
    for key, clip, text in zip(shard.keys, shard.clips, texts, strict=True):
        sound = data.sound(clip)
        file = sound.archive if isinstance(sound, Piece) else sound
        with contextlib.suppress(OSError):
            stat = file.stat()
            digest.update(f"{stat.st_size} {stat.st_mtime}".encode())
        digest.update(f"\0{key}\0{json.dumps(clip.to_json())}\0".encode())
        digest.update(text if isinstance(text, bytes) else str(text).encode())
    return digest.hexdigest()[:32]


def _item(data: Dataset, key: str, clip: Clip, text: bytes | str | DatasetError | None) -> _Item:
    sidecar = None if text is None else data.sidecar_of(clip, text)
    sound = data.sound(clip)
    try:
        content = sound.read_bytes()
    except OSError as error:
        raise AudioError(f"{sound}: {error.strerror or error}") from None
    info = probe(HeldPiece(archive=data.directory, name=clip.path, content=content))
    return _Item(key=key, clip=clip, sidecar=sidecar, content=content, info=info)


# --- The formats ----------------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _tar(path: Path) -> Iterator[Callable[[str, bytes], None]]:
    """Write a tar, whole or not at all; yields what adds a file to it. Owner and time are those of nobody."""
    with atomic_path(path) as temporary, tarfile.open(temporary, mode="w", format=tarfile.PAX_FORMAT) as tar:

        def add(name: str, content: bytes) -> None:
            header = tarfile.TarInfo(name)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))

        yield add


@contextlib.contextmanager
def _webdataset(paths: Sequence[Path]) -> Iterator[_Add]:
    """KEY.wav as it is, KEY.txt with what is said, KEY.json with speaker, duration and the record."""
    with _tar(paths[0]) as put:

        def add(item: _Item) -> None:
            told = {"text": item.text, "speaker": item.speaker, "duration": item.clip.duration_s, RECORD: item.record}
            put(f"{item.key}{item.suffix}", item.content)
            put(f"{item.key}.json", _json(told))
            put(f"{item.key}.txt", item.text.encode())

        yield add


@contextlib.contextmanager
def _shar(paths: Sequence[Path]) -> Iterator[_Add]:
    """A cut of one supervision with its words (lhotse 1.33, `MonoCut`), and its recording as `SharWriter` puts it into the tar."""
    cuts, tar = paths
    with contextlib.ExitStack() as opened:
        put = opened.enter_context(_tar(tar))
        file = opened.enter_context(opened.enter_context(atomic_path(cuts)).open("wb"))
        lines = opened.enter_context(gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0))

        def add(item: _Item) -> None:
            rate_hz = item.info.sample_rate_hz
            count = num_samples(item.info.duration_s, rate_hz)
            channels = [*range(item.info.channels)]
            recording = {
                "id": item.key, "sources": [{"type": "shar", "channels": channels, "source": ""}], "sampling_rate": rate_hz,
                "num_samples": count, "duration": count / rate_hz, "channel_ids": channels,
            }  # fmt: skip
            cut = {
                "id": item.key, "start": 0.0, "duration": recording["duration"], "channel": 0 if len(channels) == 1 else channels,
                "supervisions": [_supervision(item, recording["duration"])], "recording": recording, "custom": {RECORD: item.record},
                "type": "MonoCut" if len(channels) == 1 else "MultiCut",
            }  # fmt: skip
            put(f"{item.key}{item.suffix}", item.content)
            put(f"{item.key}.json", _json(recording))
            lines.write(_json(cut) + b"\n")

        yield add


def _supervision(item: _Item, duration_s: float) -> dict[str, Any]:
    said: dict[str, Any] = {"id": item.key, "recording_id": item.key, "start": 0.0, "duration": duration_s, "channel": 0, "text": item.text}
    said |= {"speaker": item.speaker} if item.speaker else {}
    spans = [[word.text, round(word.start_s, 4), round(word.end_s - word.start_s, 4), None] for word in item.words]
    return {**said, "alignment": {"word": spans}} if spans else said


@contextlib.contextmanager
def _huggingface(paths: Sequence[Path]) -> Iterator[_Add]:
    """Rows with a column of the kind `datasets.Audio`, told by the schema's metadata."""
    parquet = pyarrow_parquet("an archive for Hugging Face")
    import pyarrow as pa

    text, number = pa.string(), pa.float64()
    word = [("word", text), ("start", number), ("end", number)]
    columns = {
        "audio": pa.struct([("bytes", pa.binary()), ("path", text)]), "text": text, "speaker": text, "duration": number,
        "words": pa.list_(pa.struct(word)), RECORD: text,
    }  # fmt: skip
    kinds = {text: {"dtype": "string", "_type": "Value"}, number: {"dtype": "float64", "_type": "Value"}}
    features = {name: kinds.get(kind) for name, kind in columns.items()}
    features |= {"audio": {"_type": "Audio"}, "words": [{name: kinds[kind] for name, kind in word}]}
    schema = pa.schema([*columns.items()], metadata={"huggingface": json.dumps({"info": {"features": features}})})
    rows: list[dict[str, Any]] = []
    with contextlib.ExitStack() as opened:
        temporary = opened.enter_context(atomic_path(paths[0]))
        table = opened.enter_context(parquet.ParquetWriter(temporary, schema, compression="zstd", use_dictionary=["speaker"]))

        def write() -> None:
            table.write_table(pa.Table.from_pylist(rows, schema=schema))
            rows.clear()

        def add(item: _Item) -> None:
            words = [
                {"word": one.text, "start": one.start_s, "end": one.end_s} for one in (item.sidecar.main_words if item.sidecar else ())
            ]
            rows.append(
                {
                    "audio": {"bytes": item.content, "path": f"{item.key}{item.suffix}"}, "text": item.text, "speaker": item.speaker,
                    "duration": item.clip.duration_s, "words": words, RECORD: _json(item.record).decode(),
                }
            )  # fmt: skip
            if len(rows) == _GROUP_ROWS:
                write()

        yield add
        if rows:
            write()


def _card(data: Dataset) -> str:
    """Return the README that tells the hub and `datasets` which files are of which split."""
    files = [{"split": split, "path": f"data/{split}-*.parquet"} for split in data.splits()]
    about = {"language": [data.language()], "configs": [{"config_name": "default", "data_files": files}]}
    made = "Made by `stt-ft archive`; `stt-ft ingest` makes the dataset of it again, from the column `stt_ft`."
    return f"---\n{dump_yaml(about)}---\n\n# {data.directory.name}\n\n{made}\n"


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


FORMATS: dict[str, tuple[Callable[[str, int, int], Sequence[str]], Callable[[Sequence[Path]], AbstractContextManager[_Add]]]] = {
    "shar": (lambda split, number, _: (f"{split}/cuts.{number:06d}.jsonl.gz", f"{split}/recording.{number:06d}.tar"), _shar),
    "webdataset": (lambda split, number, _: (f"{split}-{number:06d}.tar",), _webdataset),
    "huggingface": (lambda split, number, count: (f"data/{split}-{number:05d}-of-{count:05d}.parquet",), _huggingface),
}
"""Format -> the files of shard `number` of `count` of a split, and what opens them for writing."""
