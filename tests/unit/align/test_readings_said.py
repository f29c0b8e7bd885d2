"""Readings that a neural voice said are told apart by both aligners: Whisper with its real weights, and pocketsphinx."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import real

from stt_ft.align.aligner import AlignmentJob, Work
from stt_ft.align.sidecars import annotated, spoken_sidecar
from stt_ft.align.sphinx_aligner import SphinxWork
from stt_ft.align.whisper_aligner import WhisperWork
from stt_ft.audio.files import write_wav
from stt_ft.dataset.sidecar import Sidecar

SAID = (
    ("order number 4477", "order number double four double seven"),
    ("room 1204", "room twelve oh four"),
    ("flight 815", "flight eight fifteen"),
    ("it costs $3.50", "it costs three fifty"),
    ("extension 2300", "extension two three hundred"),
    ("order number 1296803", "order number twelve ninety six eight hundred three"),
    ("room 1204", "room one two zero four"),
)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[AlignmentJob, str]]:
    folder = tmp_path_factory.mktemp("said")
    jobs = []
    for index, (script, said) in enumerate(SAID):
        path = folder / f"{index}.wav"
        write_wav(path, np.asarray(real.say_in_heart(said)))
        jobs.append((AlignmentJob(clip_id=str(index), audio_path=path, script=script, language="en"), said))
    return jobs


def whisper(checkpoint: Path) -> Work:
    return WhisperWork(str(checkpoint), language="en", device="cpu", batch_size=4)


@pytest.mark.parametrize("make", [whisper, lambda _: SphinxWork()], ids=["whisper", "sphinx"])
def test_what_was_said_is_what_convert_writes(make: Callable[[Path], Work], tiny_en: Path, clips: list[tuple[AlignmentJob, str]]) -> None:
    results = {result.clip_id: result for result in make(tiny_en).results([job for job, _ in clips])}
    written = []
    for job, _ in clips:
        sidecar = annotated(Sidecar(script=job.script), results[job.clip_id], {})
        converted = spoken_sidecar(sidecar, language="en", style="auto", duration_s=60.0).sidecar
        written.append(" ".join(word.text for word in converted.alignments))
    assert written == [said for _, said in clips]
