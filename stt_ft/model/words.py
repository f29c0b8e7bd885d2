"""From the text stream back to words with times."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from stt_ft.core import timing
from stt_ft.dataset.sidecar import Word

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

WORD_BOUNDARY = "▁"
"""Sentencepiece's mark on a piece that begins a word."""

SHORTEST_WORD_S, LETTER_S = 0.14, 0.065
"""Assumed length of a word's sound: the first, and the second for each of its characters (fitted to the tuning cast)."""

MARKS = ".,;:?!"
"""Characters after a word that have no sound."""


@dataclass(frozen=True, kw_only=True)
class HeardWord(Word):
    """A word that the model wrote. Times are in seconds of the clip (without the silence prefix).

    Attributes:
        start_s: where its sound begins: the middle of the frame of its first token, less the text lag. Its onset fell somewhere in that
            frame, so this is at most half a frame (40 ms) off where the word was written in time.
        end_s: where its sound probably ends, by its length; at the latest where the next word begins, where one is known. The stream does
            not say where a word's sound ends.
        appeared_s: when it was known whole: the server sends a word with the first padding after it.
    """

    appeared_s: float

    def timed(self) -> list[str | float]:
        """Return [text, start, end, appeared], times in seconds."""
        return [self.text, *(round(time_s, 3) for time_s in (self.start_s, self.end_s, self.appeared_s))]


def words_from_tokens(
    tokens: Sequence[int] | np.ndarray,
    tokenizer: SentencePieceProcessor,
    *,
    text_lag_s: float,
    prefix_s: float = 0.0,
    padding_id: int,
    end_padding_id: int,
) -> list[HeardWord]:
    """Return the words of a text stream `tokens` [T].

    A word begins with a piece that bears sentencepiece's mark and takes in all pieces up to the next, so its texts joined by spaces are the
    tokenizer's text of all tokens. A comma or full stop therefore belongs to the word before it, which appears only when the mark does;
    before the first word it is a word by itself.
    """
    silent = {padding_id, end_padding_id}
    frames_of_words: list[list[int]] = []
    for frame, token in enumerate(int(token) for token in tokens):
        if token in silent or tokenizer.is_control(token):
            continue
        if not frames_of_words or tokenizer.id_to_piece(token).startswith(WORD_BOUNDARY):
            frames_of_words.append([])
        frames_of_words[-1].append(frame)
    offset_s = text_lag_s + prefix_s
    words: list[HeardWord] = []
    for frames in reversed(frames_of_words):
        text = tokenizer.decode([int(tokens[frame]) for frame in frames]).strip()
        if not text:
            continue
        start_s = max(0.0, timing.frame_start_s(frames[0]) + timing.FRAME_S / 2 - offset_s)
        next_start_s = words[-1].start_s if words else math.inf
        words.append(
            HeardWord(
                text=text,
                start_s=start_s,
                end_s=probable_end_s(text, start_s, next_start_s),
                appeared_s=max(0.0, timing.frame_heard_s(_first_silent(tokens, frames[-1], silent)) - prefix_s),
            )
        )
    return words[::-1]


def probable_end_s(text: str, start_s: float, next_start_s: float) -> float:
    """Return where the sound of a word probably ends, by its length; at the latest where the next word begins."""
    return min(start_s + SHORTEST_WORD_S + LETTER_S * len(text.rstrip(MARKS)), next_start_s)


def _first_silent(tokens: Sequence[int] | np.ndarray, frame: int, silent: Iterable[int]) -> int:
    """Return the first frame after `frame` whose token is silent, or the last frame of the stream."""
    return next((later for later in range(frame + 1, len(tokens)) if int(tokens[later]) in silent), len(tokens) - 1)
