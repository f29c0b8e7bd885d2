"""What an agent has in hand when it answers: the words that are written by the time its flush is over.

Unmute does not wait for the last words. When its rule ends the turn, it feeds half a second of silence as fast as the server takes it and
answers with what was written by then; the caller's next sound comes after that silence. So each clip is heard once more, as far as the
frame at which the turn was ended, with the silence behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from stt_ft.audio.sounds import Sound
from stt_ft.core.engine import Engine, SetAside, batched
from stt_ft.core.errors import AudioError
from stt_ft.core.progress import track
from stt_ft.core.serving import Serving
from stt_ft.core.timing import SAMPLES_PER_FRAME, num_frames_covering
from stt_ft.dataset.manifest import Dataset
from stt_ft.evaluation.frames import ClipFrames, Reply
from stt_ft.metrics.endpointing import EndpointRule, judge_turn
from stt_ft.model.checkpoint_dir import ModelDir, open_model
from stt_ft.model.codes import MimiCodec
from stt_ft.model.device import pick_device
from stt_ft.model.streaming import ClipStream
from stt_ft.model.words import HeardWord


@dataclass(frozen=True, kw_only=True)
class Agent:
    """An agent that ends turns by `rule` and then flushes as `serving` says."""

    serving: Serving
    rule: EndpointRule

    def answer_row(self, one: ClipFrames) -> int | None:
        """Return the row at which the agent ends the turn, for the first time and rightly or not; None when it never does."""
        verdict = judge_turn(one.turn, self.rule)
        ended_s = verdict.cut_off_s if verdict.cut_off_s is not None else verdict.ended_s
        return None if ended_s is None else num_frames_covering(ended_s) - 1


class AnsweredEncoder:
    """A worker (`core/engine.py`) that encodes what a server gets of a sound until the agent answers, in the row that is given with it."""

    def __init__(self, data: Dataset, base: str, serving: Serving, device: str) -> None:
        self._data, self._serving = data, serving
        self._model = open_model(base, require_extra_heads=False)
        self._codec = MimiCodec.load(self._model, pick_device(device))

    def __call__(self, answered: Sequence[tuple[Sound, int | None]]) -> list[npt.NDArray[np.int16]]:
        encoded = self._codec.encode([_until_answered(sound.samples(self._data), row, self._serving) for sound, row in answered])
        around = self._model.num_prefix_frames + 1 + self._serving.num_flush_frames
        return [codes[:, : 0 if row is None else row + around] for codes, (_, row) in zip(encoded, answered, strict=True)]


def with_replies(
    frames: Sequence[ClipFrames],
    sounds: Sequence[Sound],
    agent: Agent,
    *,
    model: ModelDir,
    hear: Callable[[Sequence[np.ndarray]], Sequence[ClipStream]],
    make_encoder: Callable[[], AnsweredEncoder],
    engine: Engine,
    batch_size: int,
) -> list[ClipFrames]:
    """Return the frames of `model` with what `agent` has in hand when it answers.

    Args:
        frames: of `sounds`, one each and in this order, by which tokens are drawn: the same ones up to the end of the turn.
        hear: returns the outputs of the model for sounds by their codes.
        make_encoder: where `engine` encodes, `batch_size` sounds at once.
    """
    pairs = [(sound, agent.answer_row(one)) for sound, one in zip(sounds, frames, strict=True)]
    codes = []
    results = engine.results(make_encoder, batched(pairs, batch_size))
    for (sound, _), one in track(results, f"{frames[0].model}: encoding until the answers", total=len(pairs)):
        if isinstance(one, SetAside):
            raise AudioError(f"{sound.clip.path}: {one.fault}")
        codes.append(one)
    return [
        replace(one, reply=Reply(words=tuple(sent_words(model, stream.text_tokens)), wait_s=agent.serving.flush_wait_s))
        for one, stream in zip(frames, hear(codes), strict=True)
    ]


def sent_words(model: ModelDir, tokens: np.ndarray) -> list[HeardWord]:
    """Return the words of a text stream that ends with the flush: the server has sent those that a padding follows."""
    silent = np.flatnonzero(np.isin(tokens, (model.padding_id, model.end_padding_id)))
    return model.words_of(tokens[: silent[-1] + 1]) if len(silent) else []


def _until_answered(samples: npt.NDArray[np.float32], row: int | None, serving: Serving) -> npt.NDArray[np.float32]:
    """Return the sound that the server gets until the agent answers: the caller's up to the end of the turn, then silence."""
    if row is None:
        return samples[:0]
    heard = samples[: (row + 1) * SAMPLES_PER_FRAME]
    return np.pad(heard, (0, (row + 1 + serving.num_flush_frames) * SAMPLES_PER_FRAME - len(heard)))
