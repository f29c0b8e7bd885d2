"""Words and their times by Whisper: a script is aligned with one encoder and one decoder pass; without a script, Whisper writes one first.

How a text is aligned is in `whisper_hearing`, a text longer than Whisper's window in `whisper_long`; here clips become batches of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from stt_ft.align.aligner import AlignmentJob, AlignmentResult, LeftOut, script_tokens, script_words
from stt_ft.align.whisper_heads import attention_weights
from stt_ft.align.whisper_hearing import AlignedToken, KnownText, align_texts, mismatch_of
from stt_ft.align.whisper_long import align_long
from stt_ft.align.whisper_model import WINDOW_S, WhisperModel, short_window_s
from stt_ft.align.whisper_writing import require_sense, trusted
from stt_ft.audio.files import read_audio
from stt_ft.core.errors import AlignmentError, SttFtError
from stt_ft.core.timing import samples_to_s
from stt_ft.model.device import pick_device
from stt_ft.text.spoken_forms import SpokenToken


class WhisperWork:
    """Annotates clips with a Whisper model, `batch_size` at a time.

    A clip with a script gets a window no longer than it needs (`short_window_s`), several times faster on a CPU than in the 30 s
    that Whisper was trained on and with equal times. In a short window the model now and then expects another digit than the script has;
    such a mismatch is reported only when the whole window shows it too.
    """

    def __init__(self, model: str, *, language: str, device: str, batch_size: int) -> None:
        self._model = WhisperModel(model, language=language, device=pick_device(device))
        self._batch_size = batch_size
        self._language = language
        self._model.attention, read_by = attention_weights(self._model)
        made_by = {"attention": read_by, "readings": "whole"}
        self.provenance: dict[str, Any] = {**self._model.provenance, **self._model.writer.provenance, **made_by}

    def results(self, jobs: Sequence[AlignmentJob]) -> Iterator[AlignmentResult]:
        for first in range(0, len(jobs), self._batch_size):
            yield from self._batch(jobs[first : first + self._batch_size])

    def _batch(self, jobs: Sequence[AlignmentJob]) -> list[AlignmentResult]:
        results: dict[str, AlignmentResult] = {}
        by_window: dict[float, list[tuple[AlignmentJob, np.ndarray]]] = {}
        for job in jobs:
            try:
                samples = read_audio(job.audio_path)
                duration_s = samples_to_s(len(samples))
                if duration_s > WINDOW_S:
                    results[job.clip_id] = self._long(job, samples)
                else:
                    window_s = WINDOW_S if job.script is None else short_window_s(duration_s)
                    by_window.setdefault(window_s, []).append((job, samples))
            except SttFtError as error:
                results[job.clip_id] = AlignmentResult(clip_id=job.clip_id, fault=str(error))
        for window_s in sorted(by_window):
            results |= {result.clip_id: result for result in self._short(by_window[window_s], window_s)}
        return [results[job.clip_id] for job in jobs]

    def _short(self, sounds: Sequence[tuple[AlignmentJob, np.ndarray]], window_s: float) -> list[AlignmentResult]:
        """Align clips that fit into a window, all at once."""
        with torch.inference_mode():
            features = self._model.encode([samples for _, samples in sounds], window_s)
        scripts: dict[int, str | AlignmentError] = {row: job.script for row, (job, _) in enumerate(sounds) if job.script is not None}
        unscripted = [row for row in range(len(sounds)) if row not in scripts]
        if unscripted:
            durations_s = [samples_to_s(len(sounds[row][1])) for row in unscripted]
            written = self._model.writer.write(features[unscripted], durations_s)
            scripts |= dict(zip(unscripted, map(trusted, written), strict=True))
        done: list[AlignmentResult] = []
        texts: dict[int, KnownText] = {}
        for row, (job, samples) in enumerate(sounds):
            script = scripts[row]
            try:
                if isinstance(script, AlignmentError):
                    raise script
                texts[row] = KnownText(samples=samples, tokens=script_tokens(script, language=self._language))
            except SttFtError as error:
                done.append(AlignmentResult(clip_id=job.clip_id, fault=str(error)))
        aligned = align_texts(self._model, features[list(texts)], list(texts.values()), language=self._language)
        for (row, text), found in zip(texts.items(), aligned, strict=True):
            result = _result(sounds[row][0], text.tokens, found)
            if result.mismatch and window_s < WINDOW_S:
                (whole,) = self._short([sounds[row]], WINDOW_S)
                result = dataclasses.replace(result, mismatch=whole.mismatch)
            done.append(result)
        return done

    def _long(self, job: AlignmentJob, samples: np.ndarray) -> AlignmentResult:
        """Align a clip longer than Whisper's window."""
        script = job.script
        if script is None:
            script = self._model.transcribe_long(samples)
            require_sense(script)
        tokens = script_tokens(script, language=self._language)
        aligned, left_out = align_long(self._model, samples, tokens, language=self._language)
        return _result(job, tokens, aligned, left_out)


def _result(
    job: AlignmentJob, tokens: Sequence[SpokenToken], aligned: list[AlignedToken] | AlignmentError, left_out: tuple[LeftOut, ...] = ()
) -> AlignmentResult:
    if isinstance(aligned, AlignmentError):
        return AlignmentResult(clip_id=job.clip_id, fault=str(aligned))
    mismatch = None if job.script is None else mismatch_of(job.script, aligned)
    words = script_words(tokens, [token.words for token in aligned], [token.rival for token in aligned])
    return AlignmentResult(clip_id=job.clip_id, words=words, mismatch=mismatch, left_out=left_out)
