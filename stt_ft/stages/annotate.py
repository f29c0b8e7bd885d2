"""`stt-ft annotate`: what was said in every clip, and when each word begins and ends.

    stt-ft annotate datasets/orders --aligner sphinx         English, known scripts, no download
    stt-ft annotate datasets/orders --model large-v3         Whisper: any script, or none

What is written is the written form, as transcribers write it ("1296803"); `convert` makes spoken form of it.
"""

from __future__ import annotations

from typing import Literal


def annotate(
    dataset: str,
    *,
    aligner: Literal["whisper", "sphinx"] = "whisper",
    model: str = "large-v3",
    language: str | None = None,
    device: str = "auto",
    batch_size: int = 8,
) -> None:
    """Find the words of every clip and when each is said. Clips done before with the same sound, script and options are left alone.

    Under torchrun or SLURM every process takes its share of the clips.

    Args:
        dataset: dataset directory.
        aligner: whisper transcribes, or aligns the script where there is one; sphinx aligns known English scripts without any download.
        model: Whisper model: a name such as large-v3, or a local .pt file.
        language: language of the recordings; by default that of dataset.yaml.
        device: cpu, cuda, cuda:1 …; auto takes a GPU where there is one (whisper).
        batch_size: clips heard side by side (whisper).
    """
    import os

    from stt_ft.align.annotation import annotated, known_sidecar, provenance_of
    from stt_ft.align.batch import AlignmentJob, shard_of
    from stt_ft.core.errors import CheckFailed, DatasetError
    from stt_ft.core.manifest import Dataset
    from stt_ft.core.progress import say, track
    from stt_ft.corpus.dataset_language import language_of

    data = Dataset.open_for_writing(dataset)
    language = language_of(data, language)
    clips = {clip.path: clip for clip in shard_of(data.clips(), os.environ)}
    work = _aligner(aligner, model=model, language=language, device=device, batch_size=batch_size)
    faults: dict[str, str] = {}
    mismatched: list[str] = []
    num_with_gaps = 0
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
        clip = clips[result.clip_id]
        data.write_sidecar(clip, annotated(known_sidecar(data, clip), result, records[result.clip_id]))
        if result.mismatch:
            mismatched.append(result.clip_id)
            heard = f"heard {result.mismatch['heard']!r} (confidence {result.mismatch['confidence']})"
            say(f"{result.clip_id}: the script says {result.mismatch['script']!r}, {heard}; retake it or correct the script")
        num_with_gaps += bool(result.left_out)
        for one in result.left_out:
            texts = f"the script has {one.script!r}, heard was {one.heard!r}"
            say(f"{result.clip_id}: {one.start_s:.1f}-{one.end_s:.1f} s left out: {texts}; cut it out of the clip, or correct the script")
    for path, fault in sorted(faults.items()):
        say(f"{path}: {fault}")
    counts = f"{len(jobs) - sum(path in records for path in faults)} clips annotated by {aligner}, {len(records) - len(jobs)} were done"
    say(f"{data.directory}: {counts}, {len(mismatched)} differ from their script, {num_with_gaps} have stretches left out")
    if faults:
        many = f"{len(faults)} of {len(clips)} clips could not be annotated"
        raise CheckFailed(f"{data.directory}: {many}, the first is {min(faults)}; the reasons are above")


def _aligner(name: str, *, model: str, language: str, device: str, batch_size: int):
    """Return how clips are aligned: what it is made by, and a function from jobs to results."""
    from stt_ft.align.batch import SphinxWork
    from stt_ft.core.errors import ConfigError

    if batch_size <= 0:
        raise ConfigError(f"--batch_size must be positive, got {batch_size}")
    if name == "whisper":
        from stt_ft.align.whisper_aligner import WhisperWork

        return WhisperWork(model, language=language, device=device, batch_size=batch_size)
    if language != "en":
        raise ConfigError(f"--aligner sphinx knows English only, these recordings are in {language!r}; use --aligner whisper")
    return SphinxWork()
