"""The work of `annotate` and `convert` on many clips, as workers of an engine (`core/engine.py`).

A worker reads the sound and the sidecar of each clip of its batch and returns the sidecar as it should be, or why there is none; it writes
nothing. One faulty clip never hides another.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import stt_ft
from stt_ft.align import work_named
from stt_ft.align.aligner import AlignmentJob, AlignmentResult
from stt_ft.align.sidecars import CORRECTED, annotated, known_sidecar, provenance_of, spoken_sidecar, verified
from stt_ft.align.sphinx_aligner import SphinxAligner
from stt_ft.audio.files import read_audio
from stt_ft.core.errors import AudioError, DatasetError, MissingExtra, SttFtError
from stt_ft.core.storage import fetched
from stt_ft.dataset.doubts import spoken_words_of
from stt_ft.dataset.manifest import Clip, Dataset
from stt_ft.dataset.sidecar import Sidecar

State = Literal["changed", "done", "kept", "faulty"]
"""What becomes of a clip: its sidecar changes; it was done before; somebody's words are kept as they are; it has a fault."""


@dataclass(frozen=True, kw_only=True)
class ClipWords:
    """What a worker found for one clip.

    Attributes:
        sidecar: as it should be, where it changes.
        fault: why nothing was found.
        result: what the aligner found, of `annotate`.
        timed_by: how many numbers were timed by which source, of `convert`.
    """

    state: State
    sidecar: Sidecar | None = None
    fault: str = ""
    result: AlignmentResult | None = None
    timed_by: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, kw_only=True)
class AlignerOptions:
    """Which aligner finds the words: `whisper` or `sphinx`, and what `whisper` needs beside its name."""

    name: str
    model: str
    language: str
    device: str
    batch_size: int


class Annotator:
    """Finds the words of clips and when each is said.

    Clips done before with the same sound, script and options are left alone, and without `replace` those whose words come from another
    tool or were corrected by hand. With `verifies` it times the words that another aligner found, instead.
    """

    def __init__(self, dataset: Dataset, aligner: AlignerOptions, *, replace: bool = False, verifies: bool = False) -> None:
        self._data = dataset
        self._language = aligner.language
        self._replace = replace
        self._verifies = verifies
        self._work = work_named(
            aligner.name, model=aligner.model, language=aligner.language, device=aligner.device, batch_size=aligner.batch_size
        )

    def __call__(self, clips: Sequence[Clip]) -> list[ClipWords]:
        found: dict[str, ClipWords] = {}
        known: dict[str, tuple[Sidecar, dict[str, object]]] = {}
        jobs: list[AlignmentJob] = []
        for clip, sidecar in self._data.sidecars(clips):
            try:
                job = self._job(clip, sidecar, known)
            except (AudioError, DatasetError) as error:
                found[clip.path] = ClipWords(state="faulty", fault=str(error))
            else:
                if isinstance(job, AlignmentJob):
                    jobs.append(job)
                else:
                    found[clip.path] = ClipWords(state=job)
        for result in self._work.results(jobs):
            if result.fault:
                found[result.clip_id] = ClipWords(state="faulty", fault=result.fault)
                continue
            sidecar, record = known[result.clip_id]
            if self._verifies:
                changed = verified(sidecar, result, str(self._work.provenance["aligner"]), record)
            else:
                changed = annotated(sidecar, result, record)
            found[result.clip_id] = ClipWords(state="changed", sidecar=changed, result=result)
        return [found[clip.path] for clip in clips]

    def _job(self, clip: Clip, found: Sidecar | DatasetError, known: dict[str, tuple[Sidecar, dict[str, object]]]) -> AlignmentJob | State:
        """Return what the aligner has to do for `clip`, or why it has nothing to do; note the sidecar and its new record in `known`."""
        if self._verifies and isinstance(found, DatasetError):
            raise found
        sidecar = found if self._verifies and isinstance(found, Sidecar) else known_sidecar(self._data, clip, found)
        self._data.check_writable(clip)  # refuses a link that leads out before any sound is listened to
        if not self._verifies and not self._replace and (sidecar.words_by or CORRECTED in sidecar.provenance):
            if not self._data.has_sound(clip):
                raise AudioError(f"{self._data.sound(clip)}: no such audio file")
            return "kept"
        sound = fetched(self._data.sound(clip))
        script = " ".join(word.text for word in spoken_words_of(sidecar)) if self._verifies else sidecar.script
        record = provenance_of(sound, script, self._work.provenance)
        if sidecar.provenance.get("verify" if self._verifies else "annotate") == record:
            return "done"
        known[clip.path] = sidecar, record
        return AlignmentJob(clip_id=clip.path, audio_path=sound, script=script, language=self._language)


class Converter:
    """Turns the written numbers of clips into the words that were said, each with its own time."""

    def __init__(self, dataset: Dataset, *, language: str, style: str, realign: bool) -> None:
        self._data = dataset
        self._language = language
        self._style = style
        try:
            self._aligner = SphinxAligner(language) if realign else None
        except MissingExtra:
            self._aligner = None  # the stage has said so

    def __call__(self, clips: Sequence[Clip]) -> list[ClipWords]:
        return [self._converted(clip, sidecar) for clip, sidecar in self._data.sidecars(clips)]

    def _converted(self, clip: Clip, sidecar: Sidecar | DatasetError) -> ClipWords:
        try:
            if isinstance(sidecar, DatasetError):
                raise sidecar
            if _is_corrected(sidecar):
                return ClipWords(state="kept")
            if not (sidecar.written or sidecar.alignments):
                way_out = f"run `stt-ft annotate {self._data.directory}`"
                raise DatasetError(f"{self._data.sidecar_path(clip)}: no words yet; {way_out}")
            result = spoken_sidecar(
                sidecar,
                language=self._language,
                style=self._style,
                duration_s=clip.duration_s,
                sound=lambda: read_audio(self._data.sound(clip)),
                aligner=self._aligner,
            )
        except SttFtError as error:
            return ClipWords(state="faulty", fault=str(error))
        made = {"timed_by": dict(sorted(result.sources.items())), "words_sha256": _words_sha256(result.sidecar)}
        record = {"stt_ft": stt_ft.__version__, "language": self._language, "style": self._style, **made}
        converted = result.sidecar.with_provenance("convert", record)
        if converted == sidecar:
            return ClipWords(state="done", timed_by=result.sources)
        return ClipWords(state="changed", sidecar=converted, timed_by=result.sources)


def _words_sha256(sidecar: Sidecar) -> str:
    """Return the beginning of a hash of the words that training reads, with their times."""
    words = json.dumps([word.to_json() for word in sidecar.alignments], ensure_ascii=False)
    return hashlib.sha256(words.encode()).hexdigest()[:16]


def _is_corrected(sidecar: Sidecar) -> bool:
    """Return whether somebody changed the words that an earlier `convert` made; it keeps a hash of them."""
    made = sidecar.provenance.get("convert")
    known = made.get("words_sha256") if isinstance(made, dict) else None
    return sidecar.written is not None and known is not None and known != _words_sha256(sidecar)
