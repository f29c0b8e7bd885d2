"""`stt-ft annotate`: what was said in every clip, and when each word begins and ends.

    stt-ft annotate datasets/orders --aligner sphinx         English, known scripts, no download
    stt-ft annotate datasets/orders --model large-v3         Whisper: any script, or none
    stt-ft annotate datasets/orders --verify                 both, for `check` to list the words on which they disagree

What is written is the written form, as transcribers write it ("1296803"); `convert` makes spoken form of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from stt_ft.core.manifest import Dataset

if TYPE_CHECKING:
    from stt_ft.align.batch import AlignmentResult, Work
    from stt_ft.core.manifest import Clip


def annotate(
    dataset: str | Path,
    *,
    aligner: Literal["whisper", "sphinx"] = "whisper",
    model: str = "large-v3",
    language: str | None = None,
    device: str = "auto",
    batch_size: int = 8,
    verify: bool = False,
) -> Dataset:
    """Find the words of every clip and when each is said. Clips done before with the same sound, script and options are left alone,
    and so are synthetic ones (`synthesize`), which come with their words.

    Under torchrun or SLURM every process takes its share of the clips.

    Args:
        dataset: dataset directory.
        aligner: whisper transcribes, or aligns the script where there is one; sphinx aligns known English scripts without any download.
        model: Whisper model: a name such as large-v3, or a local .pt file.
        language: language of the recordings; by default that of dataset.yaml.
        device: cpu, cuda, cuda:1 …; auto takes a GPU where there is one (whisper).
        batch_size: clips heard side by side (whisper).
        verify: let the other aligner time the same words too (English); `stt-ft check` lists those that they put over 0.2 s apart.

    Returns:
        The dataset.
    """
    import os

    from stt_ft.align.batch import shard_of, work_named
    from stt_ft.core.errors import CheckFailed
    from stt_ft.core.progress import say
    from stt_ft.corpus.dataset_language import language_of

    data = Dataset.open_for_writing(dataset)
    language = language_of(data, language)
    clips = {clip.path: clip for clip in shard_of(data.clips(), os.environ) if not clip.is_synthetic}

    other = "sphinx" if aligner == "whisper" else "whisper"
    works = [
        work_named(name, model=model, language=language, device=device, batch_size=batch_size)
        for name in ((aligner, other) if verify else (aligner,))
    ]
    faults, results = _align(data, clips, works[0], language)
    for path, fault in sorted(faults.items()):
        say(f"{path}: {fault}")
    counts = f"{len(results)} clips annotated by {aligner}, {len(clips) - len(faults) - len(results)} were done"
    num_differing, num_with_gaps = sum(bool(one.mismatch) for one in results), sum(bool(one.left_out) for one in results)
    say(f"{data.directory}: {counts}, {num_differing} differ from their script, {num_with_gaps} have stretches left out")
    for second in works[1:]:
        _verify(data, {path: clip for path, clip in clips.items() if path not in faults}, second, language)
    if faults:
        many = f"{len(faults)} of {len(clips)} clips could not be annotated"
        raise CheckFailed(f"{data.directory}: {many}, the first is {min(faults)}; the reasons are above")
    return data


def _align(data: Dataset, clips: dict[str, Clip], work: Work, language: str) -> tuple[dict[str, str], list[AlignmentResult]]:
    """Annotate the clips that need it; return the faults by clip, and what was found in those that were annotated now."""
    from stt_ft.align.annotation import annotated, known_sidecar, provenance_of
    from stt_ft.align.batch import AlignmentJob
    from stt_ft.core.errors import DatasetError
    from stt_ft.core.progress import say, track

    faults: dict[str, str] = {}
    annotated_now: list[AlignmentResult] = []
    records, jobs = {}, []
    for path, clip in clips.items():
        if not data.audio_path(clip).is_file():
            faults[path] = f"{data.audio_path(clip)}: no such audio file"
            continue
        try:
            sidecar = known_sidecar(data, clip)
        except DatasetError as error:
            faults[path] = str(error)
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
    return faults, annotated_now


def _verify(data: Dataset, clips: dict[str, Clip], work: Work, language: str) -> None:
    """Let a second aligner time the spoken words of `clips`, keep its times in their sidecars, and count the words in dispute."""
    from stt_ft.align.annotation import provenance_of, verified
    from stt_ft.align.batch import AlignmentJob
    from stt_ft.core.doubts import disputes_of, spoken_words_of
    from stt_ft.core.progress import say, track

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
