"""Words and their times by Whisper: a script is aligned with one encoder and one decoder pass; without a script, Whisper writes one first.

How a text is aligned is in `whisper_hearing`, a text longer than Whisper's window in `whisper_long`; here clips become batches of them.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from stt_ft.align.batch import AlignmentJob, AlignmentResult, own_device
from stt_ft.align.script import script_tokens, script_words
from stt_ft.audio.files import read_audio
from stt_ft.core.errors import AlignmentError, SttFtError
from stt_ft.core.timing import samples_to_s
from stt_ft.text.spoken_forms import SpokenToken

if TYPE_CHECKING:
    from stt_ft.align.whisper_writing import Written

_MAX_COMPRESSION, _MIN_LOG_PROB, _MAX_NO_SPEECH = 2.4, -1.0, 0.6
"""Whisper's own limits (`whisper.transcribe`) beyond which a transcript is not to be trusted."""


class WhisperWork:
    """Annotates clips with a Whisper model, `batch_size` at a time.

    A clip with a script is heard in no longer a window than it needs (`short_window_s`), several times faster on a CPU than in the 30 s
    that Whisper was trained on and with equal times. Short windows now and then hear another digit than the script has; what they report
    is told only when the whole window hears it too.
    """

    def __init__(self, model: str, *, language: str, device: str, batch_size: int) -> None:
        import torch

        from stt_ft.align.calibration import attention_weights
        from stt_ft.align.whisper_model import WhisperModel
        from stt_ft.model.device import pick_device

        self._model = WhisperModel(model, language=language, device=pick_device(own_device(device, os.environ, torch.cuda.device_count())))
        self._batch_size = batch_size
        self._language = language
        self._model.attention, read_by = attention_weights(self._model)
        self.provenance: dict[str, Any] = {
            **self._model.provenance,
            **self._model.writer.provenance,
            "attention": read_by,
            "readings": "whole",
        }

    def results(self, jobs: Sequence[AlignmentJob]) -> Iterator[AlignmentResult]:
        for first in range(0, len(jobs), self._batch_size):
            yield from self._batch(jobs[first : first + self._batch_size])

    def _batch(self, jobs: Sequence[AlignmentJob]) -> list[AlignmentResult]:
        from stt_ft.align.whisper_model import WINDOW_S

        results: dict[str, AlignmentResult] = {}
        sounds: list[tuple[AlignmentJob, np.ndarray]] = []
        for job in jobs:
            try:
                samples = read_audio(job.audio_path)
                if samples_to_s(len(samples)) > WINDOW_S:
                    results[job.clip_id] = self._hear_long(job, samples)
                else:
                    sounds.append((job, samples))
            except SttFtError as error:
                results[job.clip_id] = AlignmentResult(clip_id=job.clip_id, fault=str(error))
        for window_s in sorted({self._window_s(job, samples) for job, samples in sounds}):
            together = [(job, samples) for job, samples in sounds if self._window_s(job, samples) == window_s]
            results |= {result.clip_id: result for result in self._hear(together, window_s)}
        return [results[job.clip_id] for job in jobs]

    def _window_s(self, job: AlignmentJob, samples: np.ndarray) -> float:
        from stt_ft.align.whisper_model import WINDOW_S, short_window_s

        return WINDOW_S if job.script is None else short_window_s(samples_to_s(len(samples)))

    def _hear(self, sounds: Sequence[tuple[AlignmentJob, np.ndarray]], window_s: float) -> list[AlignmentResult]:
        """Align clips that fit into a window, all at once."""
        import torch

        from stt_ft.align.whisper_hearing import Hearing, listen
        from stt_ft.align.whisper_model import WINDOW_S

        with torch.inference_mode():
            features = self._model.encode([samples for _, samples in sounds], window_s)
        scripts: list[str | SttFtError] = [job.script if job.script is not None else "" for job, _ in sounds]
        unscripted = [row for row, (job, _) in enumerate(sounds) if job.script is None]
        if unscripted:
            durations_s = [samples_to_s(len(sounds[row][1])) for row in unscripted]
            for row, written in zip(unscripted, self._model.writer.write(features[unscripted], durations_s), strict=True):
                scripts[row] = trusted(written)
        done: list[AlignmentResult] = []
        texts: dict[int, list[SpokenToken]] = {}
        for row, ((job, _), script) in enumerate(zip(sounds, scripts, strict=True)):
            try:
                if isinstance(script, SttFtError):
                    raise script
                texts[row] = script_tokens(script, language=self._language)
            except SttFtError as error:
                done.append(AlignmentResult(clip_id=job.clip_id, fault=str(error)))
        hearings = [Hearing.of(sounds[row][1], tokens) for row, tokens in texts.items()]
        for row, heard in zip(texts, listen(self._model, features[list(texts)], hearings, language=self._language), strict=True):
            result = _result(sounds[row][0], texts[row], heard)
            if result.mismatch and window_s < WINDOW_S:
                (whole,) = self._hear([sounds[row]], WINDOW_S)
                result = dataclasses.replace(result, mismatch=whole.mismatch)
            done.append(result)
        return done

    def _hear_long(self, job: AlignmentJob, samples: np.ndarray) -> AlignmentResult:
        """Align a clip longer than Whisper's window."""
        from stt_ft.align.whisper_long import listen_long

        script = job.script
        if script is None:
            script = self._model.transcribe_long(samples)
            _require_sense(script)
        tokens = script_tokens(script, language=self._language)
        return _result(job, tokens, listen_long(self._model, samples, tokens, language=self._language))


def _result(job: AlignmentJob, tokens: Sequence[SpokenToken], heard: Any) -> AlignmentResult:
    from stt_ft.align.whisper_hearing import mismatch_of

    if isinstance(heard, AlignmentError):
        return AlignmentResult(clip_id=job.clip_id, fault=str(heard))
    mismatch = None if job.script is None else mismatch_of(job.script, heard.expected)
    words = tuple(script_words(tokens, heard.timed, heard.rivals))
    return AlignmentResult(clip_id=job.clip_id, words=words, mismatch=mismatch, left_out=heard.left_out)


def trusted(written: Written) -> str | AlignmentError:
    """Return the transcript of a clip, or why it is not to be trusted."""
    if not written.text or (written.no_speech_prob > _MAX_NO_SPEECH and written.mean_log_prob < _MIN_LOG_PROB):
        return AlignmentError(f"no speech was heard in it (probability of no speech {written.no_speech_prob:.2f})")
    if not written.is_ended:
        return AlignmentError(f"Whisper comes to no end: {written.text[:60]!r}; give the clip a script")
    try:
        _require_sense(written.text)
    except AlignmentError as error:
        return error
    return written.text


def _require_sense(text: str) -> None:
    """Raise `AlignmentError` for a transcript that is empty or the same again and again."""
    from whisper.utils import compression_ratio

    if not text:
        raise AlignmentError("no speech was heard in it")
    if compression_ratio(text) > _MAX_COMPRESSION:
        raise AlignmentError(f"Whisper repeats itself: {text[:60]!r}; give the clip a script")
