"""A model with all it needs to listen: codec, language model and tokenizer, loaded once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from moshi.models.lm import LMModel
from sentencepiece import SentencePieceProcessor

from stt_ft.core.timing import frame_start_s
from stt_ft.model.checkpoint_dir import ModelDir, open_model
from stt_ft.model.device import inference_dtype, pick_device
from stt_ft.model.live import LiveListener
from stt_ft.model.mimi_codec import MimiCodec
from stt_ft.model.streaming import stream_codes
from stt_ft.model.stt_lm import load_lm
from stt_ft.model.words import HeardWord, words_from_tokens


@dataclass(frozen=True, kw_only=True)
class Transcript:
    """What was heard in one sound: words, and the heads' pause probabilities [T, H], row t known when frame t has been heard."""

    words: tuple[HeardWord, ...]
    pause_probs: npt.NDArray[np.float32]

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)


@dataclass(frozen=True, kw_only=True)
class Transcriber:
    """A loaded model."""

    model: ModelDir
    codec: MimiCodec
    lm: LMModel
    tokenizer: SentencePieceProcessor

    @classmethod
    def open(cls, model_dir: str, *, device: str = "auto", require_extra_heads: bool = False) -> Transcriber:
        """Load `model_dir`; raises `CheckpointError` or `ConfigError` by name."""
        model, target = open_model(model_dir, require_extra_heads=require_extra_heads), pick_device(device)
        return cls(
            model=model,
            codec=MimiCodec.load(model, target),
            lm=load_lm(model, device=target, dtype=inference_dtype(target)),
            tokenizer=model.load_tokenizer(),
        )

    def transcribe(self, sounds: Sequence[npt.NDArray[np.float32]]) -> list[Transcript]:
        """Return what is said in sounds of mono samples at 24 kHz, heard side by side."""
        first_row, transcripts = self.codec.num_prefix_frames, []
        for stream in stream_codes(self.lm, self.codec.encode(sounds), batch_size=max(len(sounds), 1)):
            words = words_from_tokens(
                stream.text_tokens,
                self.tokenizer,
                text_lag_s=self.model.text_lag_s,
                prefix_s=frame_start_s(first_row),
                padding_id=self.model.padding_id,
                end_padding_id=self.model.end_padding_id,
            )
            transcripts.append(Transcript(words=tuple(words), pause_probs=stream.pause_probs[first_row:]))
        return transcripts

    def live(self) -> LiveListener:
        """Return a listener for one stream of sound."""
        return LiveListener(self.model, self.codec, self.lm, self.tokenizer)
