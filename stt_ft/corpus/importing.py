"""Take clips of another corpus into a dataset: checked, mono, and without copying sound that can be used as it is."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import shutil
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from stt_ft.audio.files import probe, read_audio, write_wav
from stt_ft.audio.levels import SILENT_PEAK, peak
from stt_ft.core.atomic import atomic_path
from stt_ft.core.errors import AudioError, DatasetError
from stt_ft.core.manifest import Clip, Dataset, Sidecar
from stt_ft.core.provenance import file_sha256
from stt_ft.core.timing import num_samples, samples_to_s
from stt_ft.corpus.source import SourceClip


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What became of a clip: it is in the dataset as `clip`, or was left out because of `fault`."""

    source: SourceClip
    clip: Clip | None = None
    fault: str = ""


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """How clips are taken over.

    Attributes:
        copy: copy sound files; otherwise they are linked where they can be used as they are.
        channel: channel to take of every file; None averages, unless the corpus names one.
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
            yield Imported(source=source, clip=_import(data, source, options, names, seen))
        except (AudioError, DatasetError, OSError) as error:
            yield Imported(source=source, fault=str(error))


def _import(data: Dataset, source: SourceClip, options: ImportOptions, names: dict[str, str], seen: dict[str, str]) -> Clip:
    if source.fault:
        raise DatasetError(source.fault)
    if options.channel is not None:
        source = dataclasses.replace(source, channel=options.channel)
    info = probe(source.audio)
    duration_s = info.duration_s - source.start_s if source.duration_s is None else source.duration_s
    if duration_s > options.max_duration_s:
        raise AudioError(
            f"{source.audio}: {duration_s:.0f} s long, more than {options.max_duration_s:.0f} s (cut it, or raise --max_duration)"
        )
    samples = _cut(read_audio(source.audio, info.sample_rate_hz, source.channel), source, info.sample_rate_hz)
    if peak(samples) < SILENT_PEAK:
        raise AudioError(f"{source.audio}: silent (its loudest sample is {peak(samples):.5f} of full scale)")
    digest = hashlib.sha256(samples.tobytes()).hexdigest()
    if digest in seen:
        raise DatasetError(f"{source.audio}: the same sound as {seen[digest]}")
    usable = source.is_whole_file and info.channels == 1 and _libsndfile_reads(source.audio)
    path = f"audio/{_name(source.clip_id, names)}{source.audio.suffix.lower() if usable else '.wav'}"
    clip = Clip(path=path, duration_s=samples_to_s(len(samples), info.sample_rate_hz), extra=_manifest_keys(source))
    if usable:
        _link(source.audio, data.audio_path(clip), copy=options.copy)
    else:
        write_wav(data.audio_path(clip), samples, info.sample_rate_hz)
    _write_sidecar(data, clip, source)
    seen[digest] = source.clip_id
    return clip


def _cut(samples: np.ndarray, source: SourceClip, rate_hz: int) -> np.ndarray:
    first = num_samples(source.start_s, rate_hz)
    last = len(samples) if source.duration_s is None else first + num_samples(source.duration_s, rate_hz)
    cut = samples[first:last]
    if len(cut) == 0:
        raise AudioError(f"{source.audio}: holds no sound from {source.start_s:.2f} s on")
    return cut


def _libsndfile_reads(path: Path) -> bool:
    try:
        soundfile.info(str(path))
    except soundfile.LibsndfileError:
        return False
    return True


def _name(clip_id: str, names: dict[str, str]) -> str:
    """Return a file name for a clip: its id without directory marks, suffix and anything that a file system may dislike; unique."""
    stem = str(Path(clip_id).with_suffix("")) if Path(clip_id).suffix.lower() != "" and "." in Path(clip_id).name else clip_id
    plain = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode()
    base = re.sub(r"[^A-Za-z0-9_-]+", "_", plain).strip("_")[:100] or "clip"
    name, count = base, 1
    while names.get(name.lower(), clip_id) != clip_id:
        count += 1
        name = f"{base}_{count}"
    names[name.lower()] = clip_id
    return name


def _manifest_keys(source: SourceClip) -> dict[str, object]:
    return {**source.extra, **({"script": source.script} if source.script else {})}


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
            temporary.symlink_to(audio)


def _write_sidecar(data: Dataset, clip: Clip, source: SourceClip) -> None:
    """Write the sidecar, unless the one there was made from the same clip: what later stages added to it is kept."""
    facts = {"clip_id": source.clip_id, "audio_sha256": file_sha256(data.audio_path(clip))[:16]}
    facts |= {"start_s": source.start_s} if source.start_s else {}
    facts |= {"script_sha256": hashlib.sha256(source.script.encode()).hexdigest()[:16]} if source.script else {}
    known = source.sidecar or Sidecar()
    words = tuple(dataclasses.replace(word, text=word.text.strip()) for word in known.alignments if word.text.strip())
    sidecar = dataclasses.replace(known, alignments=words, script=source.script).with_provenance("ingest", facts)
    if data.sidecar_path(clip).exists():
        try:
            if data.read_sidecar(clip).provenance.get("ingest") == facts:
                return
        except DatasetError:
            pass  # a malformed sidecar is replaced
    data.write_sidecar(clip, sidecar)
