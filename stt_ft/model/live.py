"""Listening to sound as it comes, one frame of 80 ms at a time: what the server does for one caller.

Row `t` is what is known when frame `t` has been heard, as in `model.streaming`; the same sound gives the same rows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType

import numpy as np
import numpy.typing as npt
import torch
from moshi.models.lm import LMModel
from sentencepiece import SentencePieceProcessor

from stt_ft.core import timing
from stt_ft.model.checkpoint_dir import ModelDir
from stt_ft.model.device import compile_only_on_gpu
from stt_ft.model.mimi_codec import MimiCodec
from stt_ft.model.stt_lm import head_logits
from stt_ft.model.words import HeardWord, words_from_tokens


@dataclass(frozen=True, kw_only=True)
class LiveFrame:
    """What the model says once a frame has been heard.

    Attributes:
        heard_s: when that is, in seconds from the start of the sound.
        pause_probs: probability of a pause of every head [H].
        words: words that became whole with this frame.
    """

    heard_s: float
    text_token: int
    pause_probs: npt.NDArray[np.float32]
    words: tuple[HeardWord, ...]


class LiveListener:
    """One caller. Use it as a context: the silence prefix is heard on entering."""

    def __init__(self, model: ModelDir, codec: MimiCodec, lm: LMModel, tokenizer: SentencePieceProcessor) -> None:
        self._model, self._codec, self._lm, self._tokenizer = model, codec, lm, tokenizer
        self._stack = contextlib.ExitStack()
        self._inputs = lm._get_initial_token().clone()  # [1, 1 + n_q, 1]
        self._row = -model.num_prefix_frames
        self._unfinished: list[int] = []  # tokens since the last whole word

    def __enter__(self) -> LiveListener:
        self._stack.enter_context(self._lm.streaming(1))
        self._encode = self._stack.enter_context(self._codec.streaming())
        for _ in range(self._model.num_prefix_frames):
            self.hear(np.zeros(timing.SAMPLES_PER_FRAME, np.float32))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    @torch.inference_mode()
    def hear(self, samples: npt.NDArray[np.float32]) -> LiveFrame:
        """Hear one frame of mono sound at 24 kHz [1920]."""
        codes = self._encode(samples)
        with compile_only_on_gpu(self._lm.device):
            hidden, text_logits = self._lm.forward_text(self._inputs)
        token = int(text_logits[0, 0, 0].float().argmax())
        self._inputs[0, 0, 0] = token
        self._inputs[0, 1:, 0] = torch.from_numpy(codes.astype(np.int64))
        probs = head_logits(self._lm, hidden)[0, 0].float().softmax(dim=-1)[:, 0].cpu().numpy()
        frame = LiveFrame(heard_s=timing.frame_heard_s(self._row), text_token=token, pause_probs=probs, words=self._take(token))
        self._row += 1
        return frame

    def finish(self) -> Iterator[LiveFrame]:
        """Hear the silence in which the last words get written."""
        for _ in range(self._codec.num_suffix_frames):
            yield self.hear(np.zeros(timing.SAMPLES_PER_FRAME, np.float32))

    def _take(self, token: int) -> tuple[HeardWord, ...]:
        """Keep `token`, and return the words that it shows to be whole: a padding after text."""
        self._unfinished.append(token)
        silent = (self._model.padding_id, self._model.end_padding_id)
        if token not in silent:
            return ()
        first_row = self._row + 1 - len(self._unfinished)
        words = words_from_tokens(
            self._unfinished,
            self._tokenizer,
            text_lag_s=self._model.text_lag_s,
            prefix_s=-timing.frame_start_s(first_row),  # the tokens begin so far into the sound
            padding_id=self._model.padding_id,
            end_padding_id=self._model.end_padding_id,
        )
        self._unfinished.clear()
        return tuple(words)
