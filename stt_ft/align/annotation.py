"""What annotating leaves in a sidecar, and how it is known that a clip needs no annotating again."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import stt_ft
from stt_ft.align.aligned_word import AlignedWord
from stt_ft.align.batch import AlignmentResult
from stt_ft.core.doubts import DOUBTFUL, RIVALS, SPOKEN, TIMES_BY, TRUTH, spoken_words_of, words_to_json
from stt_ft.core.errors import DatasetError
from stt_ft.core.manifest import LEFT_OUT, Clip, Dataset, Sidecar, Word
from stt_ft.core.provenance import file_sha256

CONFIDENCE, MISMATCH = "confidence", "mismatch"
"""Keys of a sidecar: a list parallel to the aligner's words, and what was heard where the script says something else.

`core.manifest.LEFT_OUT` is another: stretches that do not fit the script and are not among the words.
"""


def known_sidecar(data: Dataset, clip: Clip) -> Sidecar:
    """Return the sidecar of `clip` with the script it has, from the sidecar or from the manifest; an empty one where there is none."""
    sidecar = data.read_sidecar(clip) if data.sidecar_path(clip).exists() else Sidecar()
    script = sidecar.script if sidecar.script is not None else clip.extra.get("script")
    if script is not None and not isinstance(script, str):
        raise DatasetError(f"{data.directory}: clip {clip.path} has the script {script!r}; it must be a text")
    return dataclasses.replace(sidecar, script=script)


def provenance_of(data: Dataset, clip: Clip, script: str | None, made_by: dict[str, Any]) -> dict[str, Any]:
    """Return the record of annotating `clip`: the same record means the same result."""
    read_from = {} if script is None else {"script_sha256": hashlib.sha256(script.encode()).hexdigest()[:16]}
    return {**made_by, "stt_ft": stt_ft.__version__, "audio_sha256": file_sha256(data.audio_path(clip))[:16], **read_from}


def annotated(sidecar: Sidecar, result: AlignmentResult, provenance: dict[str, Any]) -> Sidecar:
    """Return `sidecar` with the words of `result` in written form; what an earlier `convert` made of it is dropped."""
    words = tuple(Word(text=word.written, start_s=word.start_s, end_s=word.end_s) for word in result.words)
    own = (CONFIDENCE, SPOKEN, MISMATCH, RIVALS, DOUBTFUL, LEFT_OUT)
    extra = {key: value for key, value in sidecar.extra.items() if key not in own}
    extra.pop(TIMES_BY, None)
    known = {source: times for source, times in _times_by(sidecar).items() if source == TRUTH}
    extra |= {TIMES_BY: known} if known else {}
    extra[CONFIDENCE] = [round(word.confidence, 3) for word in result.words]
    if any(word.spoken for word in result.words):
        extra[SPOKEN] = [spoken_to_json(word.spoken) for word in result.words]
    if any(word.rival for word in result.words):
        extra[RIVALS] = [None if word.rival is None else word.rival.to_json() for word in result.words]
    if result.mismatch:
        extra[MISMATCH] = result.mismatch
    if result.left_out:
        extra[LEFT_OUT] = [[[round(one.start_s, 3), round(one.end_s, 3)], one.script, one.heard] for one in result.left_out]
    stages = {stage: record for stage, record in sidecar.provenance.items() if stage not in ("convert", "verify")}
    return dataclasses.replace(sidecar, alignments=words, written=None, provenance={**stages, "annotate": provenance}, extra=extra)


def spoken_to_json(spoken: tuple[AlignedWord, ...] | None) -> list[Any] | None:
    """Return the sidecar's entry for what was said in place of a written token: `[[word, [start, end]], …]`, or None."""
    return None if spoken is None else [[word.text, [round(word.start_s, 4), round(word.end_s, 4)]] for word in spoken]


def verified(sidecar: Sidecar, result: AlignmentResult, source: str, provenance: dict[str, Any]) -> Sidecar:
    """Return `sidecar` with the times that a second aligner gives its spoken words."""
    words = spoken_words_of(annotated(sidecar, result, {}))
    times = {**_times_by(sidecar), source: words_to_json(words)}
    return dataclasses.replace(sidecar, provenance={**sidecar.provenance, "verify": provenance}, extra={**sidecar.extra, TIMES_BY: times})


def _times_by(sidecar: Sidecar) -> dict[str, Any]:
    """Return the times by other sources that `sidecar` holds; none where what stands there is not what is written here."""
    entry = sidecar.extra.get(TIMES_BY)
    return entry if isinstance(entry, dict) else {}
