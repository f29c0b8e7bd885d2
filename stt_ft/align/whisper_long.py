"""Align a text with a clip longer than Whisper hears at once: window by window, each beginning where the one before has no more words.

How far the text reaches into a window is asked of the decoder: of all beginnings of the rest of the text, the likeliest to be the whole
transcript of the window, its end included. The last token of a window may be cut through, and is heard again at the beginning of the next.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from stt_ft.align.aligned_word import AlignedWord
from stt_ft.align.whisper_hearing import Heard, Hearing, listen
from stt_ft.align.whisper_model import WINDOW_S, WhisperModel
from stt_ft.core.errors import AlignmentError
from stt_ft.core.timing import num_samples, samples_to_s
from stt_ft.text.spoken_forms import SpokenToken

_LEAD_S = 0.2
"""Sound before the first word of a window."""

_LEAST_STEP_S = 1.0


def listen_long(model: WhisperModel, samples: np.ndarray, tokens: Sequence[SpokenToken], *, language: str) -> Heard:
    """Return what is heard of `tokens` in a clip of any length.

    Raises:
        AlignmentError: the text does not fit the sound, by the window in which it goes wrong.
    """
    timed, expected, rivals = [], [], []
    begin_s, duration_s = 0.0, samples_to_s(len(samples))
    while len(timed) < len(tokens):
        rest = tokens[len(timed) :]
        window = samples[num_samples(begin_s) : num_samples(begin_s + WINDOW_S)]
        is_last = begin_s + WINDOW_S >= duration_s
        with torch.inference_mode():
            features = model.encode([window])
        here = rest if is_last else rest[: _num_said(model, features, rest)]
        is_last = is_last or len(here) == len(rest)
        (heard,) = listen(model, features, [Hearing.of(window, here)], language=language)
        if isinstance(heard, AlignmentError):
            raise AlignmentError(f"from {begin_s:.1f} s on: {heard}")
        kept = len(here) if is_last else len(here) - 1
        next_s = duration_s if is_last else begin_s + _start_s(heard, kept) - _LEAD_S
        if kept == 0 or (not is_last and next_s < begin_s + _LEAST_STEP_S):
            raise AlignmentError(f"from {begin_s:.1f} s on the script does not fit the sound: cut the clip, or correct its script")
        timed += [_moved(words, begin_s) for words in heard.timed[:kept]]
        expected += heard.expected[:kept]
        rivals += heard.rivals[:kept]
        begin_s = next_s
    return Heard(timed=timed, expected=expected, rivals=rivals)


def _num_said(model: WhisperModel, features: torch.Tensor, tokens: Sequence[SpokenToken]) -> int:
    """Return how many of `tokens` are said in a window: the beginning of the text that is likeliest to be all of it."""
    text: list[int] = []
    ends: list[int] = []
    for token in tokens:
        pieces = [piece for word in token.lattice.words for piece in model.tokens_of(word)]
        if len(text) + len(pieces) > model.max_text_tokens:
            break
        text += pieces
        ends.append(len(text))
    if not ends:
        raise AlignmentError(f"the script's {' '.join(tokens[0].written)[:40]!r} is longer than Whisper can read")
    (reading,) = model.read(features, [text])
    own = reading.log_probs[torch.arange(len(text)), torch.tensor(text)].double().cumsum(0)
    scores = [float(own[end - 1] + reading.log_probs[end, model.tokenizer.eot]) for end in ends]
    return int(np.argmax(scores)) + 1


def _start_s(heard: Heard, index: int) -> float:
    """Return when token `index` begins; of a mark, which has no sound, when the next word does."""
    return next((words[0].start_s for words in heard.timed[index:] if words), WINDOW_S)


def _moved(words: Sequence[AlignedWord], by_s: float) -> list[AlignedWord]:
    return [dataclasses.replace(word, start_s=round(word.start_s + by_s, 4), end_s=round(word.end_s + by_s, 4)) for word in words]
