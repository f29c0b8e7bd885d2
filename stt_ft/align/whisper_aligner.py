"""Words and their times by Whisper: a script is aligned with one encoder and one decoder pass; without a script, Whisper writes one first.

Numbers are aligned in spoken form, so that each of their words has its own time. Where a number can be said in several ways ("zero", "oh"),
and where a digit may have been misread, the decoder's own expectation at that place decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stt_ft.align.aligned_word import AlignedWord
from stt_ft.align.batch import AlignmentJob, AlignmentResult
from stt_ft.align.retime import Timed, fit_into_span
from stt_ft.align.script import script_tokens, script_words
from stt_ft.align.silence import trim_silence
from stt_ft.audio.files import read_audio
from stt_ft.core.errors import AlignmentError, SttFtError
from stt_ft.core.timing import samples_to_s
from stt_ft.text.digit_words import digits_of_words
from stt_ft.text.spoken_forms import LANGUAGES, SpokenToken, language_named

_MISREAD_CONFIDENCE = 0.9
"""A digit counts as misread when another is expected at its place with this share of the probability that digits have."""

_MAX_COMPRESSION, _MIN_LOG_PROB, _MAX_NO_SPEECH = 2.4, -1.0, 0.6
"""Whisper's own limits (`whisper.transcribe`) beyond which a transcript is not to be trusted."""


@dataclass(kw_only=True)
class _Hearing:
    """A clip on its way: its sound, its tokens, and the words chosen for each token."""

    job: AlignmentJob
    samples: np.ndarray
    tokens: list[SpokenToken]
    said: list[tuple[str, ...]]
    has_script: bool

    def words(self) -> list[tuple[int, str]]:
        """Return (index of the token, word) in order."""
        return [(index, word) for index, words in enumerate(self.said) for word in words]


class WhisperWork:
    """Annotates clips with a Whisper model, `batch_size` at a time."""

    def __init__(self, model: str, *, language: str, device: str, batch_size: int) -> None:
        from stt_ft.align.whisper_model import WhisperModel
        from stt_ft.model.device import pick_device

        self._model = WhisperModel(model, language=language, device=pick_device(device))
        self._batch_size = batch_size
        self._language = language
        self.provenance: dict[str, Any] = self._model.provenance

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
                    raise AlignmentError(
                        f"{samples_to_s(len(samples)):.1f} s long; Whisper hears at most {WINDOW_S:.0f} s at once: cut the clip"
                    )
                sounds.append((job, samples))
            except SttFtError as error:
                results[job.clip_id] = AlignmentResult(clip_id=job.clip_id, fault=str(error))
        if sounds:
            for result in self._hear(sounds):
                results[result.clip_id] = result
        return [results[job.clip_id] for job in jobs]

    def _hear(self, sounds: Sequence[tuple[AlignmentJob, np.ndarray]]) -> list[AlignmentResult]:
        features = self._model.encode([samples for _, samples in sounds])
        scripts: list[str | SttFtError] = [job.script if job.script is not None else "" for job, _ in sounds]
        unscripted = [row for row, (job, _) in enumerate(sounds) if job.script is None]
        if unscripted:
            for row, heard in zip(unscripted, self._model.transcribe(features[unscripted]), strict=True):
                scripts[row] = _trusted(heard)
        done: list[AlignmentResult] = []
        hearings: list[tuple[int, _Hearing]] = []
        for row, (job, samples) in enumerate(sounds):
            try:
                script = scripts[row]
                if isinstance(script, SttFtError):
                    raise script
                tokens = script_tokens(script, language=self._language)
                said = [token.lattice.words for token in tokens]
                hearings.append((row, _Hearing(job=job, samples=samples, tokens=tokens, said=said, has_script=job.script is not None)))
            except SttFtError as error:
                done.append(AlignmentResult(clip_id=job.clip_id, fault=str(error)))
        if hearings:
            done += self._align(features[[row for row, _ in hearings]], [hearing for _, hearing in hearings])
        return done

    def _align(self, features: Any, hearings: list[_Hearing]) -> list[AlignmentResult]:
        """Align every hearing in one decoder pass; a second one for those whose numbers were said in another way than first assumed."""
        readings = self._model.read(features, [self._encode(hearing) for hearing in hearings])
        reworded = [row for row, (hearing, reading) in enumerate(zip(hearings, readings, strict=True)) if self._reword(hearing, reading)]
        if reworded:
            again = self._model.read(features[reworded], [self._encode(hearings[row]) for row in reworded])
            for row, reading in zip(reworded, again, strict=True):
                readings[row] = reading
        results = []
        for hearing, reading in zip(hearings, readings, strict=True):
            try:
                words = script_words(hearing.tokens, self._timed(hearing, reading))
            except AlignmentError as error:
                results.append(AlignmentResult(clip_id=hearing.job.clip_id, fault=str(error)))
                continue
            mismatch = self._mismatch(hearing, reading) if hearing.has_script else None
            results.append(AlignmentResult(clip_id=hearing.job.clip_id, words=tuple(words), mismatch=mismatch))
        return results

    def _encode(self, hearing: _Hearing) -> list[int]:
        return [token for _, word in hearing.words() for token in self._tokens_of(word)]

    def _tokens_of(self, word: str) -> list[int]:
        return self._model.tokenizer.encode(f" {word}")

    def _reword(self, hearing: _Hearing, reading: Any) -> bool:
        """Take "oh" for "zero", "double" for a digit said twice, where the decoder expects it; return whether anything changed."""
        changed = False
        place = 0
        for index, token in enumerate(hearing.tokens):
            words = hearing.said[index]
            if token.lattice.is_open:
                expected = self._expected_path(token, reading, place)
                changed, hearing.said[index] = changed or expected != words, expected
            place += sum(len(self._tokens_of(word)) for word in words)
        return changed

    def _expected_path(self, token: SpokenToken, reading: Any, place: int) -> tuple[str, ...]:
        """Follow the token's lattice from `place` of the text, at each node along the arc whose first token is likeliest."""
        lattice = token.lattice
        place_of_node = {0: place}
        for arc in lattice.arcs:  # the first arc out of a node is the plain way, along which the text was read
            if arc.start in place_of_node and arc.stop not in place_of_node:
                place_of_node[arc.stop] = place_of_node[arc.start] + sum(len(self._tokens_of(word)) for word in arc.words)
        node, said = 0, ()
        while node != lattice.last:
            arcs = [arc for arc in lattice.arcs if arc.start == node and arc.words]
            if not arcs:
                return lattice.words
            at = reading.log_probs[min(place_of_node[node], len(reading.log_probs) - 1)]
            arc = max(arcs, key=lambda arc: float(at[self._tokens_of(arc.words[0])[0]]) + float(np.log(arc.prior)) / 10)
            said, node = said + arc.words, arc.stop
        return said

    def _timed(self, hearing: _Hearing, reading: Any) -> list[list[AlignedWord]]:
        """Return the words of each token with times from the decoder's attention and the mean probability of their tokens."""
        from stt_ft.align.attention import attention_map, monotonic_path
        from stt_ft.align.whisper_model import FRAMES_PER_S

        if not bool(reading.log_probs.isfinite().all()):
            raise AlignmentError("the Whisper model's output is not finite: a broken checkpoint, or numbers too large for float16")
        duration_s = samples_to_s(len(hearing.samples))
        num_frames = max(1, min(reading.scores.shape[-1], int(np.ceil(duration_s * FRAMES_PER_S))))
        onsets = monotonic_path(attention_map(reading.scores, num_frames))
        text = self._encode(hearing)
        probs = [float(reading.log_probs[place, token].exp()) for place, token in enumerate(text)]
        words, owners, confidences = [], [], []
        place = 0
        for index, word in hearing.words():
            stop = place + len(self._tokens_of(word))
            if any(glyph.isalnum() for glyph in word):
                words.append(Timed(word, onsets[place] / FRAMES_PER_S, onsets[stop] / FRAMES_PER_S))
                owners.append(index)
                confidences.append(float(np.mean(probs[place:stop])))
            place = stop
        timed: list[list[AlignedWord]] = [[] for _ in hearing.tokens]
        for index, word, confidence in zip(owners, fit_into_span(words, 0.0, duration_s), confidences, strict=True):
            timed[index].append(AlignedWord(text=word.text, start_s=word.start_s, end_s=word.end_s, confidence=confidence))
        return trim_silence(timed, hearing.samples)

    def _mismatch(self, hearing: _Hearing, reading: Any) -> dict[str, Any] | None:
        """Return what was heard where a digit of the script was read as another, or None."""
        if self._language not in LANGUAGES:
            return None
        digits = language_named(self._language).digits
        firsts = [self._tokens_of(word)[0] for word in digits]
        heard, misread, place = [], [], 0
        for _, word in hearing.words():
            value = digits_of_words([word])
            if len(value) == 1 and word in digits:
                probs = reading.log_probs[place, firsts].exp()
                share = float(probs.max() / probs.sum().clamp(min=1e-12))
                if int(probs.argmax()) != int(value) and share > _MISREAD_CONFIDENCE:
                    misread.append(share)
                    heard.append(digits[int(probs.argmax())])
                    place += len(self._tokens_of(word))
                    continue
            heard.append(word)
            place += len(self._tokens_of(word))
        if not misread:
            return None
        return {"script": hearing.job.script, "heard": " ".join(heard), "confidence": round(min(misread), 3)}


def _trusted(heard: Any) -> str | AlignmentError:
    """Return the transcript of a decoding result, or why it is not to be trusted."""
    text = heard.text.strip()
    if not text or (heard.no_speech_prob > _MAX_NO_SPEECH and heard.avg_logprob < _MIN_LOG_PROB):
        return AlignmentError(f"no speech was heard in it (probability of no speech {heard.no_speech_prob:.2f})")
    if heard.compression_ratio > _MAX_COMPRESSION:
        return AlignmentError(f"Whisper repeats itself: {text[:60]!r}; give the clip a script")
    return text
