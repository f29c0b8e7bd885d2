"""What an agent has in hand when it answers: the words that are written by the time its flush is over.

Unmute does not wait for the last words. When its rule ends the turn, it feeds half a second of silence as fast as the server takes it and
answers with what was written by then; the caller's next sound comes after that silence. So each clip is heard once more, as far as the
frame at which the turn was ended, with the silence behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from moshi.models.lm import LMModel

from stt_ft.audio.sounds import Sound
from stt_ft.core.manifest import Dataset
from stt_ft.core.progress import track
from stt_ft.core.serving import Serving
from stt_ft.core.timing import SAMPLES_PER_FRAME, num_frames_covering
from stt_ft.evaluation.frames import ClipFrames, Reply
from stt_ft.metrics.endpointing import EndpointRule, judge_turn
from stt_ft.model.checkpoint_dir import ModelDir
from stt_ft.model.codes import MimiCodec
from stt_ft.model.streaming import stream_codes
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


def with_replies(
    frames: Sequence[ClipFrames],
    sounds: Sequence[Sound],
    agent: Agent,
    *,
    lm: LMModel,
    model: ModelDir,
    data: Dataset,
    batch_size: int,
) -> list[ClipFrames]:
    """Return the frames of `model` with what `agent` has in hand when it answers.

    `frames` are those of `sounds`, one each and in this order, by which tokens are drawn: the same ones up to the end of the turn.
    """
    rows, serving, codec = [agent.answer_row(one) for one in frames], agent.serving, MimiCodec.load(model, lm.device)
    pairs, codes = list(zip(sounds, rows, strict=True)), []
    batches = [pairs[first : first + batch_size] for first in range(0, len(pairs), batch_size)]
    for batch in track(batches, f"{frames[0].model}: encoding until the answers"):
        encoded = codec.encode([_until_answered(sound.samples(data), row, serving) for sound, row in batch])
        lengths = [0 if row is None else model.num_prefix_frames + row + 1 + serving.num_flush_frames for _, row in batch]
        codes += [serving.heard(one[:, :length]) for one, length in zip(encoded, lengths, strict=True)]
    streams = stream_codes(
        lm,
        codes,
        temperature=serving.temperature,
        batch_size=batch_size,
        progress=lambda steps: track(steps, f"{frames[0].model} answers"),
    )
    return [
        replace(one, reply=Reply(words=tuple(sent_words(model, stream.text_tokens)), wait_s=serving.flush_wait_s))
        for one, stream in zip(frames, streams, strict=True)
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
