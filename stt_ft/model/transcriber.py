"""A model loaded once, codec and language model, to transcribe whole sounds or live sound.

Live sound is taken one frame of 80 ms at a time, as the server does for one caller. Row `t` is the output after frame `t`, as in
`model.streaming`; the same sound gives the same rows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from moshi.models.lm import LMModel

from stt_ft.core import timing
from stt_ft.core.errors import CheckpointError
from stt_ft.core.serving import KYUTAI, Serving
from stt_ft.model.checkpoint_dir import ModelDir, open_model
from stt_ft.model.codes import MimiCodec, codec_hash
from stt_ft.model.device import compile_only_on_gpu, inference_dtype, pick_device
from stt_ft.model.streaming import chances_of, stream_codes, written_tokens
from stt_ft.model.stt_lm import head_logits, load_lm
from stt_ft.model.words import HeardWord


@dataclass(frozen=True, kw_only=True)
class LiveFrame:
    """The outputs of the model after one frame.

    Attributes:
        heard_s: end of the frame, in seconds from the start of the sound.
        pause_probs: probability of a pause of every head [H].
        words: words that became whole with this frame.
    """

    heard_s: float
    text_token: int
    pause_probs: npt.NDArray[np.float32]
    words: tuple[HeardWord, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "heard_s": round(self.heard_s, 3),
            "words": [word.timed() for word in self.words],
            "pause": self.pause_probs.astype(float).round(4).tolist(),
        }


class _LiveModel:
    """One model on the codes of one stream of sound, frame by frame; a context manager."""

    def __init__(self, model: ModelDir, lm: LMModel, serving: Serving) -> None:
        self._model, self._lm, self._serving = model, lm, serving
        self._stack = contextlib.ExitStack()
        self._inputs = lm._get_initial_token().clone()  # [1, 1 + n_q, 1]
        self._inputs[0, 1 + self._serving.num_codebooks(model.n_q) :] = lm.zero_token_id
        self._chances = chances_of(0, lm.text_linear.out_features)
        self._row = -model.num_prefix_frames
        self._unfinished: list[int] = []  # tokens since the last whole word

    def __enter__(self) -> _LiveModel:
        self._stack.enter_context(self._lm.streaming(1))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    @torch.inference_mode()
    def hear(self, codes: npt.NDArray[np.int16]) -> LiveFrame:
        """Run the model on the codes of one frame [n_q]."""
        with compile_only_on_gpu(self._lm.device):
            hidden, text_logits = self._lm.forward_text(self._inputs)
        temperature = self._serving.temperature
        chance = None if temperature == 0 else torch.from_numpy(next(self._chances))[None].to(self._lm.device)
        token = int(written_tokens(text_logits[:, 0, 0].float(), temperature, chance))
        self._inputs[0, 0, 0] = token
        self._inputs[0, 1:, 0] = torch.from_numpy(self._serving.heard(codes).astype(np.int64))
        probs = head_logits(self._lm, hidden)[0, 0].float().softmax(dim=-1)[:, 0].cpu().numpy()
        frame = LiveFrame(heard_s=timing.frame_heard_s(self._row), text_token=token, pause_probs=probs, words=self._take(token))
        self._row += 1
        return frame

    def _take(self, token: int) -> tuple[HeardWord, ...]:
        """Keep `token`, and return the words that it shows to be whole: a padding after text."""
        self._unfinished.append(token)
        if token not in (self._model.padding_id, self._model.end_padding_id):
            return ()
        words = self._model.words_of(self._unfinished, num_before=len(self._unfinished) - 1 - self._row)
        self._unfinished.clear()
        return tuple(words)


class LiveListener:
    """One caller, as a context manager, heard by one model or by several through one codec; they run on the silence prefix on entering."""

    def __init__(self, codec: MimiCodec, model: ModelDir, live: Sequence[_LiveModel]) -> None:
        self._codec, self._model, self._live = codec, model, live
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> LiveListener:
        for one in self._live:
            self._stack.enter_context(one)
        self._encode = self._stack.enter_context(self._codec.streaming())
        for _ in range(self._model.num_prefix_frames):
            self.hear(np.zeros(timing.SAMPLES_PER_FRAME, np.float32))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def hear(self, samples: npt.NDArray[np.float32]) -> LiveFrame:
        """Run the first model, and those beside it, on one frame of mono sound at 24 kHz [1920]; returns the frame of the first."""
        return self.hear_all(samples)[0]

    def hear_all(self, samples: npt.NDArray[np.float32]) -> tuple[LiveFrame, ...]:
        """Run every model on one frame of mono sound at 24 kHz [1920], which is encoded once."""
        codes = self._encode(samples)
        return tuple(one.hear(codes) for one in self._live)

    def finish(self) -> Iterator[LiveFrame]:
        """Run on the silence in which the last words get written; yields the frames of the first model."""
        return (frames[0] for frames in self.finish_all())

    def finish_all(self) -> Iterator[tuple[LiveFrame, ...]]:
        """Run every model on the silence in which the last words get written."""
        for _ in range(self._model.num_tail_frames()):
            yield self.hear_all(np.zeros(timing.SAMPLES_PER_FRAME, np.float32))


@dataclass(frozen=True, kw_only=True)
class Transcript:
    """The words of one sound, and the heads' pause probabilities [T, H], row t known after frame t."""

    words: tuple[HeardWord, ...]
    pause_probs: npt.NDArray[np.float32]

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)


@dataclass(frozen=True, kw_only=True)
class Transcriber:
    """A loaded model, as a server runs it."""

    model: ModelDir
    codec: MimiCodec
    lm: LMModel
    serving: Serving = KYUTAI

    @classmethod
    def open(cls, model_dir: str, *, device: str = "auto", require_extra_heads: bool = False, serving: Serving = KYUTAI) -> Transcriber:
        """Load `model_dir`; raises `CheckpointError` or `ConfigError` by name."""
        model, target = open_model(model_dir, require_extra_heads=require_extra_heads), pick_device(device)
        serving.num_codebooks(model.n_q)  # refuses a server of more codebooks than the model has
        lm = load_lm(model, device=target, dtype=inference_dtype(target))
        return cls(model=model, codec=MimiCodec.load(model, target), lm=lm, serving=serving)

    def transcribe(self, sounds: Sequence[npt.NDArray[np.float32]]) -> list[Transcript]:
        """Transcribe sounds of mono samples at 24 kHz, side by side in one batch."""
        return self.transcribe_codes(self.codec.encode(sounds))

    def transcribe_codes(self, codes: Sequence[npt.NDArray[np.int16]]) -> list[Transcript]:
        """Transcribe sounds that the codec has encoded [n_q, T], side by side in one batch."""
        heard = [self.serving.heard(clip) for clip in codes]
        streams = stream_codes(self.lm, heard, temperature=self.serving.temperature, batch_size=max(len(heard), 1))
        return [
            Transcript(words=tuple(self.model.words_of(stream.text_tokens)), pause_probs=stream.pause_probs[self.model.num_prefix_frames :])
            for stream in streams
        ]

    def beside(self, other: str) -> Transcriber:
        """Load another model that hears the same codes, on the same device and served alike; the codec is shared.

        Raises `CheckpointError` where it hears others: of another codec, more or fewer codebooks, another text lag or silence prefix.
        """
        model = open_model(other, require_extra_heads=False)
        if codec_hash(model) != codec_hash(self.model):
            raise CheckpointError(
                f"{other}: does not hear the codes that {self.model.name} hears: its {_unlike(self.model, model)} is another, "
                "so the two cannot be heard side by side; `stt-ft evaluate --baseline` compares any two"
            )
        device = self.lm.device
        return replace(self, model=model, lm=load_lm(model, device=device, dtype=inference_dtype(device)))

    def live(self, *others: Transcriber) -> LiveListener:
        """Return a listener for one stream of sound, heard by `others` too, which are `beside` this one."""
        return LiveListener(self.codec, self.model, [_LiveModel(one.model, one.lm, one.serving) for one in (self, *others)])


def _unlike(first: ModelDir, second: ModelDir) -> str:
    """Name the first thing in which two models that hear other codes differ."""
    facts = {
        "number of codebooks": (first.n_q, second.n_q),
        "text lag": (first.text_lag_s, second.text_lag_s),
        "silence prefix": (first.silence_prefix_s, second.silence_prefix_s),
    }
    return next((name for name, (one, other) in facts.items() if one != other), "codec")
