"""Take clips of another corpus into a dataset: checked, mono, and without copying sound that can be used as it is."""

from __future__ import annotations

import dataclasses
import glob
import hashlib
import json
import os
import re
import shutil
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stt_ft.audio.files import probe, read_audio, write_wav
from stt_ft.audio.levels import SILENT_PEAK, peak
from stt_ft.core.atomic import atomic_path
from stt_ft.core.errors import AudioError, DatasetError
from stt_ft.core.manifest import Clip, Dataset, Sidecar
from stt_ft.core.provenance import file_sha256
from stt_ft.core.timing import num_samples, samples_to_s
from stt_ft.corpus.source_clip import SourceClip

_WHOLE_TOLERANCE_S = 0.1
"""A manifest's duration this near to the file's, or beyond it, means the whole file; a word may end so far behind its clip."""

_LEAST_CLIP_S = 0.1
"""The shortest word that people say; a shorter clip holds none."""

_NAME_BYTES = 100


@dataclass(frozen=True, kw_only=True)
class Imported:
    """The result for a clip: it is in the dataset as `clip`, new or changed (`is_new`), or was left out because of `fault`."""

    source: SourceClip
    clip: Clip | None = None
    is_new: bool = True
    fault: str = ""


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """How clips are taken over.

    Attributes:
        copy: copy sound files; otherwise they are linked where they can be used as they are.
        channel: channel to take of every file; None takes that which the corpus names, else averages channels that hold one voice.
        max_duration_s: longer clips are left out.
    """

    copy: bool = False
    channel: int | None = None
    max_duration_s: float = 120.0


def import_clips(data: Dataset, sources: Iterable[SourceClip], options: ImportOptions) -> Iterator[Imported]:
    """Take `sources` into `data` one by one, writing sound and sidecar; the caller writes the manifest."""
    names: dict[str, str] = {}
    seen: dict[str, str] = {}
    for source in sources:
        try:
            clip, is_new = _import(data, source, options, names, seen)
            yield Imported(source=source, clip=clip, is_new=is_new)
        except (AudioError, DatasetError, OSError) as error:
            yield Imported(source=source, fault=str(error))


def _import(data: Dataset, source: SourceClip, options: ImportOptions, names: dict[str, str], seen: dict[str, str]) -> tuple[Clip, bool]:
    """Return the clip as it now is in `data`, and whether it is new there or another than it was."""
    if source.fault:
        raise DatasetError(source.fault)
    info = probe(source.audio)
    source = dataclasses.replace(source, channel=_channel(source, options) if info.channels > 1 else None)
    if source.start_s == 0 and source.duration_s is not None and source.duration_s > info.duration_s - _WHOLE_TOLERANCE_S:
        source = dataclasses.replace(source, duration_s=None)
    duration_s = info.duration_s - source.start_s if source.duration_s is None else source.duration_s
    if duration_s > options.max_duration_s:
        raise AudioError(
            f"{source.audio}: {duration_s:.0f} s long, more than {options.max_duration_s:.0f} s (cut it, or raise --max_duration)"
        )
    samples = _cut(read_audio(source.audio, info.sample_rate_hz, source.channel), source, info.sample_rate_hz)
    source = _with_words_inside(source, samples_to_s(len(samples), info.sample_rate_hz))
    if peak(samples) < SILENT_PEAK:
        raise AudioError(f"{source.audio}: silent (its loudest sample is {peak(samples):.5f} of full scale)")
    digest = hashlib.sha256(samples.tobytes()).hexdigest()
    if digest in seen:
        raise DatasetError(f"{source.audio}: the same sound as {seen[digest]}")
    usable = source.is_whole_file and info.channels == 1 and info.is_plain
    path = f"audio/{_name(data, source, samples, names)}{source.audio.suffix.lower() if usable else '.wav'}"
    extra = {**source.extra, **({"script": source.script} if source.script else {})}
    clip = Clip(path=path, duration_s=samples_to_s(len(samples), info.sample_rate_hz), extra=extra)
    target = data.audio_path(clip, to_write=True)
    if usable:
        _link(source.audio, target, copy=options.copy)
    else:
        write_wav(target, samples, info.sample_rate_hz)
    for sound in _sounds_named(target):
        if sound != target:  # taken by an earlier run under another suffix: linked then and converted now, or the reverse
            sound.unlink()
    seen[digest] = source.clip_id
    return clip, _write_sidecar(data, clip, source)


def _channel(source: SourceClip, options: ImportOptions) -> int | None:
    """Return the channel to take: the one asked for, the one that the corpus names, or, of moshi-finetune's sidecars, the left one."""
    if options.channel is not None:
        return options.channel
    are_the_left_ones = source.sidecar is not None and bool(source.sidecar.alignments) and not source.words_by
    return 0 if source.channel is None and are_the_left_ones else source.channel


def _with_words_inside(source: SourceClip, duration_s: float) -> SourceClip:
    """Return the clip with the words that another tool timed ending where it ends.

    Raises:
        DatasetError: a word lies outside the clip by more than a rounding: it belongs to another sound.
    """
    if source.sidecar is None or not source.words_by:
        return source
    words = []
    for word in source.sidecar.alignments:
        start_s, end_s = max(0.0, word.start_s), min(word.end_s, duration_s)
        if max(start_s - word.start_s, word.end_s - end_s) > _WHOLE_TOLERANCE_S or start_s >= end_s:
            where = f"{word.text!r} at {word.start_s:.2f}-{word.end_s:.2f} s"
            raise DatasetError(f"{source.audio}: by {source.words_by}, {where} lies outside the clip of {duration_s:.2f} s")
        words.append(dataclasses.replace(word, start_s=start_s, end_s=end_s))
    return dataclasses.replace(source, sidecar=dataclasses.replace(source.sidecar, alignments=tuple(words)))


def _cut(samples: np.ndarray, source: SourceClip, rate_hz: int) -> np.ndarray:
    first = num_samples(source.start_s, rate_hz)
    last = len(samples) if source.duration_s is None else first + num_samples(source.duration_s, rate_hz)
    cut = samples[first:last]
    if len(cut) == 0:
        raise AudioError(f"{source.audio}: holds no sound from {source.start_s:.2f} s on")
    if len(cut) < num_samples(_LEAST_CLIP_S, rate_hz):
        raise AudioError(f"{source.audio}: {samples_to_s(len(cut), rate_hz):.4f} s long, too short for a word")
    return cut


def _name(data: Dataset, source: SourceClip, samples: np.ndarray, names: dict[str, str]) -> str:
    """Return a file name for a clip: its id without directory marks, suffix and anything that a file system may dislike; unique.

    Letters, marks and digits of every script stay; those that are a plain letter with an accent lose the accent. A clip that was ingested
    before keeps its name; one that only shares it with another of the dataset gets its own.
    """
    clip_id = source.clip_id
    stem = str(Path(clip_id).with_suffix("")) if Path(clip_id).suffix else clip_id
    plain = re.sub(r"[/]+", "_", "".join(_plain(letter) for letter in unicodedata.normalize("NFC", stem)))
    base = plain.strip("_").encode()[:_NAME_BYTES].decode(errors="ignore") or "clip"
    name, count = base, 1
    while names.get(name.lower(), clip_id) != clip_id or _is_anothers(data, name, source, samples):
        count += 1
        name = f"{base}_{count}"
    names[name.lower()] = clip_id
    return name


def _plain(letter: str) -> str:
    """Return a character as it may stand in a file name: in ASCII where it has such a form, else a letter; "/" for one that may not."""
    ascii_form = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
    if ascii_form:
        return re.sub(r"[^A-Za-z0-9_-]", "/", ascii_form)
    return letter if unicodedata.category(letter)[0] in "LMN" else ""


def _is_anothers(data: Dataset, name: str, source: SourceClip, samples: np.ndarray) -> bool:
    """Whether `name` stands in the dataset for a clip of another corpus, or for a recording made here."""
    clip = Clip(path=f"audio/{name}.wav", duration_s=0.0)
    try:
        sidecar = data.read_sidecar(clip)
    except DatasetError:
        return False  # none, or a malformed one, which is replaced
    made = sidecar.provenance.get("ingest")
    if isinstance(made, dict):
        if made.get("clip_id") != source.clip_id:
            return True
        if made.get("source", str(source.audio.resolve())) == str(source.audio.resolve()):
            return False
    for sound in _sounds_named(data.audio_path(clip)):
        try:
            known = read_audio(sound, probe(sound).sample_rate_hz)
        except AudioError:
            continue  # a link to where the corpus no longer is
        return not (len(known) == len(samples) and np.allclose(known, samples, atol=1 / 16384))  # the same: the corpus has moved
    return False


def _sounds_named(path: Path) -> list[Path]:
    """Return the sound files that differ from `path` in their suffix at most."""
    return [
        other for other in sorted(path.parent.glob(f"{glob.escape(path.stem)}.*")) if other.stem == path.stem and other.suffix != ".json"
    ]


def _link(audio: Path, target: Path, *, copy: bool) -> None:
    """Put the sound at `target`, as a link to `audio` or as a copy; a link that is right already stays."""
    audio = audio.resolve()
    if not copy and target.is_symlink() and Path(os.readlink(target)) == audio:
        return
    if target.exists() and target.resolve() == audio and not target.is_symlink():
        raise DatasetError(f"{audio}: lies in the dataset itself")
    with atomic_path(target) as temporary:
        if copy:
            shutil.copyfile(audio, temporary)
        else:
            temporary.unlink()
            temporary.symlink_to(audio)


def _write_sidecar(data: Dataset, clip: Clip, source: SourceClip) -> bool:
    """Write the sidecar and return True, unless the one there was made from the same clip: what later stages added to it is kept."""
    facts = {"clip_id": source.clip_id, "audio_sha256": file_sha256(data.sound(clip))[:16]}
    facts |= {"source": str(source.audio.resolve())}
    facts |= {"start_s": source.start_s} if source.start_s else {}
    facts |= {"script_sha256": hashlib.sha256(source.script.encode()).hexdigest()[:16]} if source.script else {}
    known = source.sidecar or Sidecar()
    words = tuple(dataclasses.replace(word, text=word.text.strip()) for word in known.alignments if word.text.strip())
    if words and source.words_by:
        written = json.dumps([word.to_json() for word in words], ensure_ascii=False)
        facts |= {"words_by": source.words_by, "words_sha256": hashlib.sha256(written.encode()).hexdigest()[:16]}
    sidecar = dataclasses.replace(known, alignments=words, script=source.script).with_provenance("ingest", facts)
    if data.has_sidecar(clip):
        try:
            made = data.read_sidecar(clip).provenance.get("ingest")
            if not isinstance(made, dict) or {**made, "source": facts["source"]} == facts:
                return False  # without a record another program wrote it for this sound
        except DatasetError:
            pass  # a malformed sidecar is replaced
    data.write_sidecar(clip, sidecar)
    return True
