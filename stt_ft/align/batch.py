"""Align many clips: over the processes of this machine, and over machines started by `torchrun` or SLURM."""

from __future__ import annotations

import functools
import multiprocessing
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from stt_ft.align.aligned_word import Aligner, LeftOut
from stt_ft.align.script import ScriptWord, align_script
from stt_ft.align.sphinx_aligner import SphinxAligner, sphinx_provenance
from stt_ft.audio.files import read_audio
from stt_ft.core.errors import AlignmentError, ConfigError, SttFtError

_CHUNK_CLIPS = 12
_LEAST_CLIPS_FOR_PROCESSES = 16

Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class AlignmentJob:
    """One clip to align with its script, or to transcribe where it has none."""

    clip_id: str
    audio_path: Path
    script: str | None
    language: str


@dataclass(frozen=True, kw_only=True)
class AlignmentResult:
    """The words of one clip, or why there are none; `mismatch` says what was heard where that is not the script.

    Stretches in `left_out` do not fit the script at all: neither its words there nor what is said instead are among `words`.
    """

    clip_id: str
    words: tuple[ScriptWord, ...] = ()
    fault: str = ""
    mismatch: dict[str, Any] | None = None
    left_out: tuple[LeftOut, ...] = ()


class Work(Protocol):
    """A way to align or transcribe many clips."""

    @property
    def provenance(self) -> dict[str, Any]:
        """What makes the words and times: aligner, versions, model and options."""
        ...

    def results(self, jobs: Sequence[AlignmentJob]) -> Iterator[AlignmentResult]:
        """Yield one result a job, in any order, as they come."""
        ...


class SphinxWork:
    """pocketsphinx in one process a core."""

    def __init__(self, num_processes: int | None = None) -> None:
        self._num_processes = num_processes or _num_cores()
        self.provenance = sphinx_provenance()

    @functools.cached_property
    def _aligner(self) -> SphinxAligner:
        return SphinxAligner()

    def results(self, jobs: Sequence[AlignmentJob]) -> Iterator[AlignmentResult]:
        if self._num_processes == 1 or len(jobs) < _LEAST_CLIPS_FOR_PROCESSES:
            yield from (_align(self._aligner, job) for job in jobs)
            return
        chunks = [jobs[first : first + _CHUNK_CLIPS] for first in range(0, len(jobs), _CHUNK_CLIPS)]
        with ProcessPoolExecutor(min(self._num_processes, len(chunks)), mp_context=multiprocessing.get_context("spawn")) as pool:
            futures = [pool.submit(_align_chunk, chunk) for chunk in chunks]
            try:
                for future in as_completed(futures):
                    yield from future.result()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)


def work_named(name: str, *, model: str, language: str, device: str, batch_size: int) -> Work:
    """Return the aligner `whisper` or `sphinx` at work on recordings in `language`; `sphinx` has no use for the other options.

    Raises:
        ConfigError: options that cannot be, or a language that the aligner does not know.
    """
    if batch_size <= 0:
        raise ConfigError(f"--batch_size must be positive, got {batch_size}")
    if name == "whisper":
        from stt_ft.align.whisper_aligner import WhisperWork

        return WhisperWork(model, language=language, device=device, batch_size=batch_size)
    if language != "en":
        raise ConfigError(f"--aligner sphinx knows English only, these recordings are in {language!r}; use --aligner whisper alone")
    return SphinxWork()


def shard_of(items: Sequence[Item], environment: Mapping[str, str]) -> Sequence[Item]:
    """Return the share of `items` that falls to this process under `torchrun` (RANK, WORLD_SIZE) or SLURM; all of them outside both."""
    for rank_name, size_name in (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS")):
        if rank_name in environment and size_name in environment:
            return items[int(environment[rank_name]) :: int(environment[size_name])]
    return items


def own_device(device: str, environment: Mapping[str, str], num_gpus: int) -> str:
    """Return the device of this process: of `auto`, under `torchrun` or SLURM on a machine with GPUs, one GPU after another."""
    local = environment.get("LOCAL_RANK", environment.get("SLURM_LOCALID", ""))
    return f"cuda:{int(local) % num_gpus}" if device == "auto" and num_gpus and local.isdecimal() else device


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _align_chunk(jobs: Sequence[AlignmentJob]) -> list[AlignmentResult]:
    aligner = SphinxAligner()
    return [_align(aligner, job) for job in jobs]


def _align(aligner: Aligner, job: AlignmentJob) -> AlignmentResult:
    try:
        if job.script is None:
            raise AlignmentError("no script to align; give it one, or transcribe it with --aligner whisper")
        words = align_script(aligner, read_audio(job.audio_path), job.script, language=job.language)
        return AlignmentResult(clip_id=job.clip_id, words=tuple(words))
    except SttFtError as error:
        return AlignmentResult(clip_id=job.clip_id, fault=str(error))
