"""Take clips of another corpus into a dataset: checked, mono, and without copying sound that can be used as it is."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import os
import re
import shutil
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from stt_ft.audio.files import probe, read_audio, write_wav
from stt_ft.audio.levels import SILENT_PEAK, peak
from stt_ft.core.atomic import atomic_path
from stt_ft.core.errors import AudioError, DatasetError
from stt_ft.core.provenance import file_sha256
from stt_ft.core.storage import Source, check_lies_inside, is_local
from stt_ft.core.timing import num_samples, samples_to_s
from stt_ft.corpus.sources.source_clip import HeldPiece, SourceClip
from stt_ft.dataset.manifest import INSIDE, Clip, Dataset
from stt_ft.dataset.sidecar import Sidecar

_WHOLE_TOLERANCE_S = 0.1
"""A manifest's duration this near to the file's, or beyond it, means the whole file; a word may end so far behind its clip."""

_LEAST_CLIP_S = 0.1
"""The shortest word that people say; a shorter clip holds none."""

_NAME_BYTES = 100

_HELD, _WRITTEN = 32, 1024
"""Clips whose sidecars are read together, while those of an archive are in memory, and sidecars that are written together."""


@dataclass(frozen=True, kw_only=True)
class Imported:
    """The result for a clip: it is in the dataset as `clip`, or was left out because of `fault`.

    `sidecar` is what was written beside it; None where it is neither new nor another than it was.
    """

    source: SourceClip
    clip: Clip | None = None
    sidecar: Sidecar | None = None
    fault: str = ""


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """How clips are taken over.

    Attributes:
        copy: copy sound; otherwise files that can be used as they are are linked, and what can be of an archive stays there.
        channel: channel to take of every file; None takes that which the corpus names, else averages channels that hold one voice.
        max_duration_s: longer clips are left out.
        packed: keep the sidecars in a few files (`Dataset.write_sidecars`).
    """

    copy: bool = False
    packed: bool = False
    channel: int | None = None
    max_duration_s: float = 120.0


def import_clips(
    data: Dataset, sources: Iterable[SourceClip], options: ImportOptions, known: Callable[[str], Clip | None]
) -> Iterator[Imported]:
    """Take `sources` into `data` as they come, writing sound and sidecars; the caller writes the manifests.

    `known` returns the clip that stands in the manifests under a stem (a path without suffix), None where there is none.
    """
    importer = _Importer(data=data, options=options, known=known)
    stream = iter(sources)
    pairs: list[tuple[Clip, Sidecar]] = []
    while some := list(itertools.islice(stream, _HELD)):
        importer.look_up(some)
        for source in some:
            imported = importer.take(source)
            if imported.clip is not None and imported.sidecar is not None:
                pairs.append((imported.clip, imported.sidecar))
            yield imported
        if len(pairs) >= _WRITTEN:
            data.write_sidecars(pairs, packed=options.packed)
            pairs.clear()
    data.write_sidecars(pairs, packed=options.packed)


@dataclass(kw_only=True)
class _Importer:
    """What is known while clips are taken: names and sounds of this run; sidecars, archives and sound files of the dataset.

    A clip's stem is its path without suffix.
    """

    data: Dataset
    options: ImportOptions
    known: Callable[[str], Clip | None]
    names: dict[str, str] = field(default_factory=dict)
    seen: dict[bytes, str] = field(default_factory=dict)
    archives: dict[Path, str | None] = field(default_factory=dict)
    sidecars: dict[str, Sidecar | None] = field(default_factory=dict)
    sounds: dict[Path, dict[str, set[str]]] = field(default_factory=dict)

    def look_up(self, sources: Sequence[SourceClip]) -> None:
        """Read the sidecars that stand where those of `sources` will probably stand, all at once."""
        self.sidecars.clear()
        clips = [Clip(path=f"{stem}.wav", duration_s=0.0) for stem in dict.fromkeys(map(_stem_of, sources))]
        for clip, sidecar in self.data.sidecars(clips):
            self.sidecars[clip.path.removesuffix(".wav")] = sidecar if isinstance(sidecar, Sidecar) else None

    def sidecar(self, stem: str) -> Sidecar | None:
        """Return the sidecar that stands in the dataset, None where there is none, or a malformed one, which is replaced."""
        if stem not in self.sidecars:
            try:
                self.sidecars[stem] = self.data.read_sidecar(Clip(path=f"{stem}.wav", duration_s=0.0))
            except DatasetError:
                self.sidecars[stem] = None
        return self.sidecars[stem]

    def take(self, source: SourceClip) -> Imported:
        """Return the clip as it now is in the dataset, with its sidecar where that is to be written, or why it is left out."""
        try:
            return self._take(source)
        except (AudioError, DatasetError, OSError) as error:
            return Imported(source=source, fault=str(error))

    def _take(self, source: SourceClip) -> Imported:
        if source.fault:
            raise DatasetError(source.fault)
        options = self.options
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
        digest = hashlib.sha256(samples.tobytes()).digest()
        if digest in self.seen:
            raise DatasetError(f"{source.audio}: the same sound as {self.seen[digest]}")
        is_usable = source.is_whole_file and info.channels == 1 and info.is_plain
        stem = self._stem(source, samples)
        extra = dict(source.extra) if source.path else {**source.extra, **({"script": source.script} if source.script else {})}
        clip = Clip(
            path=f"{stem}{source.audio.suffix.lower() if is_usable else '.wav'}",
            duration_s=samples_to_s(len(samples), info.sample_rate_hz),
            extra=extra,
        )
        target = self.data.audio_path(clip, to_write=True)
        archive = self._archive(source.audio) if is_usable and not options.copy else None
        if archive is not None:
            extra[INSIDE] = archive
        elif is_usable:
            _put(source.audio, target, copy=options.copy)
        else:
            write_wav(target, samples, info.sample_rate_hz)
        self._keep_one_sound(stem, target if archive is None else None)
        self.seen[digest] = source.clip_id
        audio_sha256 = file_sha256(target if archive is None else source.audio)
        sidecar = _sidecar(source, audio_sha256, self.sidecar(stem))
        return Imported(source=source, clip=clip, sidecar=sidecar)

    def _stem(self, source: SourceClip, samples: np.ndarray) -> str:
        """Return a unique stem for a clip. One that was ingested before keeps its own, one that shares it with another gets a new one."""
        base = stem = _stem_of(source)
        count = 1
        while self.names.get(stem.lower(), source.clip_id) != source.clip_id or self._is_anothers(stem, source, samples):
            count += 1
            stem = f"{base}_{count}"
        if stem.lower() in self.names:
            raise DatasetError(f"{source.origin}: the id {source.clip_id} stands here twice")
        self.names[stem.lower()] = source.clip_id
        return stem

    def _is_anothers(self, stem: str, source: SourceClip, samples: np.ndarray) -> bool:
        """Whether `stem` stands in the dataset for a clip of another corpus, or for a recording made here."""
        sidecar = self.sidecar(stem)
        if sidecar is None:
            return False
        made = sidecar.provenance.get("ingest")
        if isinstance(made, dict):
            if made.get("clip_id") != source.clip_id:
                return True
            if made.get("source", source.origin) == source.origin:
                return False
        clip = self.known(stem)
        sounds: list[Source] = [self.data.sound(clip)] if clip is not None and INSIDE in clip.extra else [*self._sounds_named(stem)]
        for sound in sounds:
            try:
                held = read_audio(sound, probe(sound).sample_rate_hz)
            except AudioError:
                continue  # a link to where the corpus no longer is
            return not (len(held) == len(samples) and np.allclose(held, samples, atol=1 / 16384))  # the same: the corpus has moved
        return False

    def _sounds_named(self, stem: str) -> list[Path]:
        """Return the sound files of this stem; a directory is listed once, since looking through it for each clip takes long."""
        path = self.data.audio_path(Clip(path=f"{stem}.wav", duration_s=0.0))
        if path.parent not in self.sounds:
            there: dict[str, set[str]] = {}
            for other in path.parent.iterdir() if path.parent.is_dir() else ():
                if other.suffix != ".json":
                    there.setdefault(other.stem, set()).add(other.name)
            self.sounds[path.parent] = there
        return [path.parent / name for name in sorted(self.sounds[path.parent].get(path.stem, ()))]

    def _keep_one_sound(self, stem: str, kept: Path | None) -> None:
        """Remove what an earlier run took under another suffix, or as a file where the sound now stays in its archive."""
        there = self._sounds_named(stem)
        for sound in there:
            if sound != kept:
                sound.unlink(missing_ok=True)
        if kept is not None or there:
            path = self.data.audio_path(Clip(path=f"{stem}.wav", duration_s=0.0))
            self.sounds[path.parent][path.stem] = set() if kept is None else {kept.name}

    def _archive(self, audio: Path | HeldPiece) -> dict[str, Any] | None:
        """Return what a manifest's line says of a sound that stays in its archive, None for one that cannot."""
        if not isinstance(audio, HeldPiece) or not audio.stays:
            return None
        if audio.archive not in self.archives:
            self.archives[audio.archive] = self._linked(audio.archive)
        name = self.archives[audio.archive]
        place = {"offset": audio.offset, "size": audio.size} if audio.column is None else {"column": audio.column, "row": audio.row}
        return None if name is None else {"archive": name, **place}

    def _linked(self, archive: Path) -> str | None:
        """Return the name under which the dataset has `archive`, which is linked; one in a store has its address. None without links."""
        if not is_local(archive):
            return str(archive)
        if not is_local(self.data.directory):
            return None
        folder = self.data.directory / "archives"
        try:
            check_lies_inside(folder, self.data.directory)
        except ValueError as error:
            raise DatasetError(f"{folder}: {error}; nothing is written there") from None
        archive, count = archive.resolve(), 1
        name = archive.name.partition(".")[0]
        while True:
            target = folder / f"{name}{f'_{count}' if count > 1 else ''}{archive.name[len(name) :]}"
            if not target.is_symlink() and not target.exists():
                _put(archive, target, copy=False)
            if target.resolve() == archive:
                return f"archives/{target.name}"
            count += 1


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


def _stem_of(source: SourceClip) -> str:
    """Return the path for a clip, without suffix: its id without directory marks and anything that a file system may dislike.

    Letters, marks and digits of every script stay; those that are a plain letter with an accent lose the accent. A clip of a dataset of
    ours has its path.
    """
    if source.path:
        return source.path.removesuffix(PurePosixPath(source.path).suffix)
    suffix = Path(source.clip_id).suffix
    if isinstance(source.audio, HeldPiece) and suffix != source.audio.suffix:
        suffix = ""  # an id in an archive is no file's name, and may hold dots
    stem = str(Path(source.clip_id).with_suffix("")) if suffix else source.clip_id
    plain = re.sub(r"[/]+", "_", "".join(_plain(letter) for letter in unicodedata.normalize("NFC", stem)))
    return f"audio/{plain.strip('_').encode()[:_NAME_BYTES].decode(errors='ignore') or 'clip'}"


def _plain(letter: str) -> str:
    """Return a character as it may stand in a file name: in ASCII where it has such a form, else a letter; "/" for one that may not."""
    ascii_form = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
    if ascii_form:
        return re.sub(r"[^A-Za-z0-9_-]", "/", ascii_form)
    return letter if unicodedata.category(letter)[0] in "LMN" else ""


def _put(audio: Path | HeldPiece, target: Path, *, copy: bool) -> None:
    """Put a sound at `target`, as a link to its file where there can be one, or as a copy; a link that is right already stays."""
    if not isinstance(audio, HeldPiece):
        copy = copy or not is_local(audio) or not is_local(target)
        audio = audio.resolve() if is_local(audio) else audio
        if not copy and target.is_symlink() and Path(os.readlink(target)) == audio:
            return
        if target.exists() and target.resolve() == audio and not target.is_symlink():
            raise DatasetError(f"{audio}: lies in the dataset itself")
    with atomic_path(target) as temporary:
        if isinstance(audio, HeldPiece):
            temporary.write_bytes(audio.content)
        elif copy:
            with audio.open("rb") as there, temporary.open("wb") as here:
                shutil.copyfileobj(there, here, 1 << 20)
        else:
            temporary.unlink()
            temporary.symlink_to(audio)


def _sidecar(source: SourceClip, audio_sha256: str, there: Sidecar | None) -> Sidecar | None:
    """Return the sidecar to write, None where the one that is there was made from the same clip: what later stages added to it is kept."""
    facts = {"clip_id": source.clip_id, "audio_sha256": audio_sha256[:16], "source": source.origin}
    facts |= {"start_s": source.start_s} if source.start_s else {}
    facts |= {"script_sha256": _sha256(source.script)} if source.script else {}
    known = source.sidecar or Sidecar()
    words = tuple(dataclasses.replace(word, text=word.text.strip()) for word in known.alignments if word.text.strip())
    if words and source.words_by:
        facts |= {"words_by": source.words_by, "words_sha256": _sha256([word.to_json() for word in words])}
    facts |= {"record_sha256": _sha256(known.to_json())} if source.path else {}
    if there is not None:
        made = there.provenance.get("ingest")
        if not isinstance(made, dict) or {**made, "source": facts["source"]} == facts:
            return None  # without a record another program wrote it for this sound
    return dataclasses.replace(known, alignments=words, script=source.script).with_provenance("ingest", facts)


def _sha256(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
