"""The words of a dataset: `stt-ft annotate` finds what was said and when, `stt-ft convert` writes numbers as they are spoken.

    stt-ft annotate datasets/orders --aligner sphinx         English, known scripts, no download
    stt-ft annotate datasets/orders --model large-v3         Whisper: any script, or none
    stt-ft annotate datasets/orders --verify                 both, for `check` to list the words on which they disagree
    stt-ft convert datasets/orders --dry_run                 show what would change
    stt-ft convert datasets/orders

`annotate` leaves the written form ("1296803"); `convert` replaces it by the spoken form ("one two nine six eight zero three"), each word
with its own time. The written form stays in the sidecar under `written`, and every conversion starts from there: a second run changes
nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import stt_ft
from stt_ft.core.atomic import sole_writer
from stt_ft.core.doubts import disputes_of, spoken_words_of
from stt_ft.core.errors import CheckFailed, DatasetError, MissingExtra, SttFtError
from stt_ft.core.manifest import Clip, Dataset, Sidecar
from stt_ft.core.progress import say, track

if TYPE_CHECKING:
    from stt_ft.align.aligner import AlignmentResult, Work
    from stt_ft.align.sphinx_aligner import SphinxAligner


def annotate(
    dataset: str | Path,
    *,
    aligner: Literal["whisper", "sphinx"] = "whisper",
    model: str = "large-v3",
    language: str | None = None,
    device: str = "auto",
    batch_size: int = 8,
    verify: bool = False,
    replace: bool = False,
) -> Dataset:
    """Find the words of every clip and when each is said. Clips done before with the same sound, script and options are left alone,
    and so are synthetic ones (`synthesize`), which come with their words, and those whose words and times `ingest` took from another tool
    or somebody corrected in the studio, unless --replace says otherwise.

    Under torchrun or SLURM every process takes its share of the clips.

    Args:
        dataset: dataset directory.
        aligner: whisper transcribes, or aligns the script where there is one; sphinx aligns known English scripts without any download.
        model: Whisper model: a name such as large-v3, or a local .pt file.
        language: language of the recordings; by default that of dataset.yaml.
        device: cpu, cuda, cuda:1 …; auto takes a GPU where there is one (whisper).
        batch_size: clips in one batch (whisper).
        verify: let the other aligner time the same words too (English); `stt-ft check` lists those that they put over 0.2 s apart.
        replace: find anew also the words that `ingest` took, with their times, from another tool, and those corrected by hand.
    """
    from stt_ft.align import work_named
    from stt_ft.align.aligner import is_shared, shard_of

    data = Dataset.open(dataset)
    language = data.language(language)
    clips = {clip.path: clip for clip in shard_of(data.clips(), os.environ) if not clip.is_synthetic}

    other = "sphinx" if aligner == "whisper" else "whisper"
    works = [
        work_named(name, model=model, language=language, device=device, batch_size=batch_size)
        for name in ((aligner, other) if verify else (aligner,))
    ]
    with sole_writer(data.directory, shared=is_shared(os.environ)):
        faults, results, num_kept = _align(data, clips, works[0], language, replace=replace)
        for path, fault in sorted(faults.items()):
            say(f"{path}: {fault}")
        counts = f"{len(results)} clips annotated by {aligner}, {len(clips) - len(faults) - len(results) - num_kept} were done"
        counts += f", {num_kept} have the words and times of other tools or were corrected by hand" if num_kept else ""
        num_differing, num_with_gaps = sum(bool(one.mismatch) for one in results), sum(bool(one.left_out) for one in results)
        say(f"{data.directory}: {counts}, {num_differing} differ from their script, {num_with_gaps} have stretches left out")
        for second in works[1:]:
            _verify(data, {path: clip for path, clip in clips.items() if path not in faults}, second, language)
    if faults:
        many = f"{len(faults)} of {len(clips)} clips could not be annotated"
        raise CheckFailed(f"{data.directory}: {many}, the first is {min(faults)}; the reasons are above")
    return data


def _align(
    data: Dataset, clips: dict[str, Clip], work: Work, language: str, *, replace: bool
) -> tuple[dict[str, str], list[AlignmentResult], int]:
    """Annotate the clips that need it; return the faults by clip, what was found in those that were annotated now, and how many clips keep
    the words of another tool or of somebody who corrected them."""
    from stt_ft.align.aligner import AlignmentJob
    from stt_ft.align.sidecars import CORRECTED, annotated, known_sidecar, provenance_of

    faults: dict[str, str] = {}
    annotated_now: list[AlignmentResult] = []
    num_kept = 0
    records, jobs = {}, []
    for path, clip in clips.items():
        try:
            if not data.audio_path(clip).is_file():
                raise DatasetError(f"{data.audio_path(clip)}: no such audio file")
            sidecar = known_sidecar(data, clip)
        except DatasetError as error:
            faults[path] = str(error)
            continue
        data.sidecar_path(clip, to_write=True)  # refuses a link that leads out before any sound is listened to
        if (sidecar.words_by or CORRECTED in sidecar.provenance) and not replace:
            num_kept += 1
            continue
        records[path] = provenance_of(data, clip, sidecar.script, work.provenance)
        if sidecar.provenance.get("annotate") != records[path]:
            jobs.append(AlignmentJob(clip_id=path, audio_path=data.audio_path(clip), script=sidecar.script, language=language))
    for result in track(work.results(jobs), "aligning clips", total=len(jobs)):
        if result.fault:
            faults[result.clip_id] = result.fault
            continue
        annotated_now.append(result)
        clip = clips[result.clip_id]
        data.write_sidecar(clip, annotated(known_sidecar(data, clip), result, records[result.clip_id]))
        if result.mismatch:
            heard = f"heard {result.mismatch['heard']!r} (confidence {result.mismatch['confidence']})"
            say(f"{result.clip_id}: the script says {result.mismatch['script']!r}, {heard}; retake it or correct the script")
        for one in result.left_out:
            texts = f"the script has {one.script!r}, heard was {one.heard!r}"
            say(f"{result.clip_id}: {one.start_s:.1f}-{one.end_s:.1f} s left out: {texts}; cut it out of the clip, or correct the script")
    return faults, annotated_now, num_kept


def _verify(data: Dataset, clips: dict[str, Clip], work: Work, language: str) -> None:
    """Let a second aligner time the spoken words of `clips`, keep its times in their sidecars, and count the words in dispute."""
    from stt_ft.align.aligner import AlignmentJob
    from stt_ft.align.sidecars import provenance_of, verified

    records, jobs = {}, []
    for path, clip in clips.items():
        sidecar = data.read_sidecar(clip)
        script = " ".join(word.text for word in spoken_words_of(sidecar))
        records[path] = provenance_of(data, clip, script, work.provenance)
        if sidecar.provenance.get("verify") != records[path]:
            jobs.append(AlignmentJob(clip_id=path, audio_path=data.audio_path(clip), script=script, language=language))
    source = str(work.provenance["aligner"])
    failed = 0
    for result in track(work.results(jobs), f"timing the words by {source} too", total=len(jobs)):
        if result.fault:
            failed += 1
            say(f"{result.clip_id}: {source} cannot time it: {result.fault}")
            continue
        clip = clips[result.clip_id]
        data.write_sidecar(clip, verified(data.read_sidecar(clip), result, source, records[result.clip_id]))
    disputed = {path: len(disputes_of(data.read_sidecar(clip))) for path, clip in clips.items()}
    where = f"{sum(disputed.values())} words in {sum(map(bool, disputed.values()))} clips are timed otherwise by more than 0.2 s"
    say(f"{data.directory}: {len(jobs) - failed} clips verified by {source}; {where}; `stt-ft check` lists them")


def convert(
    dataset: str | Path,
    *,
    language: Literal["en", "fr", "fr-be", "fr-ch"] | None = None,
    style: Literal["digits", "auto"] = "digits",
    dry_run: bool = False,
    realign: bool = True,
) -> Dataset:
    """Turn written numbers into the words that were said, each with its own time. Clips whose words somebody corrected since they were
    converted are left alone until `annotate` finds their words anew.

    Args:
        dataset: dataset directory, annotated.
        language: language of the number words, by default that of dataset.yaml; fr-be and fr-ch say septante and nonante.
        style: digits reads every number digit by digit; auto reads codes so and quantities as amounts, years, times, by context and by ear.
        dry_run: show the changes and write nothing.
        realign: where `annotate` has not heard how a number was said, choose the reading and the times of its words by the sound;
            otherwise the likeliest reading, timed by syllables. French is aligned with an English model: right for nine of ten readings
            of synthetic voices, never tried on people.
    """
    from stt_ft.align.sidecars import spoken_sidecar
    from stt_ft.audio.files import read_audio
    from stt_ft.text.spoken_forms import LANGUAGES, language_named

    data = Dataset.open(dataset)
    speech = data.language(language, choices=LANGUAGES)
    language_named(speech)  # one that cannot be read aloud is refused here, once
    clips = data.clips()
    aligner = _span_aligner(speech) if realign else None
    faults: dict[str, str] = {}
    sources: Counter[str] = Counter()
    num_changed = num_corrected = 0
    with contextlib.nullcontext() if dry_run else sole_writer(data.directory):
        for clip in clips:
            try:
                sidecar = data.read_sidecar(clip)
                if _is_corrected(sidecar):
                    num_corrected += 1
                    continue
                if not (sidecar.written or sidecar.alignments):
                    raise DatasetError(f"{data.sidecar_path(clip)}: no words yet; run `stt-ft annotate {dataset}`")
                result = spoken_sidecar(
                    sidecar,
                    language=speech,
                    style=style,
                    duration_s=clip.duration_s,
                    sound=lambda clip=clip: read_audio(data.audio_path(clip)),
                    aligner=aligner,
                )
            except SttFtError as error:
                faults[clip.path] = str(error)
                continue
            sources += result.sources
            made = {"timed_by": dict(sorted(result.sources.items())), "words_sha256": _words_sha256(result.sidecar)}
            record = {"stt_ft": stt_ft.__version__, "language": speech, "style": style, **made}
            converted = result.sidecar.with_provenance("convert", record)
            if converted == sidecar:
                continue
            num_changed += 1
            if dry_run:
                _show(clip.path, converted)
            else:
                data.write_sidecar(clip, converted)
    for path, fault in faults.items():
        say(f"{path}: {fault}")
    if num_corrected:
        say(f"{data.directory}: the words of {num_corrected} clips were corrected since they were converted; they are left alone")
    numbers = ", ".join(f"{count} timed by {source}" for source, count in sorted(sources.items()))
    say(f"{data.directory}: {num_changed} of {len(clips)} clips {'would change' if dry_run else 'converted'}; numbers: {numbers or 'none'}")
    if faults:
        many = f"{len(faults)} of {len(clips)} clips could not be converted"
        raise CheckFailed(f"{data.directory}: {many}, the first is {next(iter(faults))}; the reasons are above")
    return data


def _span_aligner(language: str) -> SphinxAligner | None:
    """Return the aligner for spans that `annotate` has not timed, or None where pocketsphinx is not installed."""
    from stt_ft.align.sphinx_aligner import SphinxAligner

    try:
        return SphinxAligner(language)
    except MissingExtra as missing:
        say(f"new words are timed by syllables: {missing}")
        return None


def _words_sha256(sidecar: Sidecar) -> str:
    """Return the beginning of a hash of the words that training reads, with their times."""
    words = json.dumps([word.to_json() for word in sidecar.alignments], ensure_ascii=False)
    return hashlib.sha256(words.encode()).hexdigest()[:16]


def _is_corrected(sidecar: Sidecar) -> bool:
    """Return whether somebody changed the words that an earlier `convert` made; it keeps a hash of them."""
    made = sidecar.provenance.get("convert")
    known = made.get("words_sha256") if isinstance(made, dict) else None
    return sidecar.written is not None and known is not None and known != _words_sha256(sidecar)


def _show(path: str, converted: Sidecar) -> None:
    """Print the clip, its written form and its spoken form, where the two differ."""
    from rich.console import Console

    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    written, spoken = (" ".join(word.text for word in words or ()) for words in (converted.written, converted.alignments))
    if written != spoken:
        for line, style in ((path, "bold"), (f"- {written}", "red"), (f"+ {spoken}", "green")):
            console.print(line, style=style)
