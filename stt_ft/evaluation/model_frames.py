"""What a model hears of sounds, as a worker of an engine, and its outputs as the frames of clips: heard alone, or in a call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from stt_ft.audio.channel import Channel
from stt_ft.core.progress import track
from stt_ft.core.serving import Serving
from stt_ft.core.timing import frame_start_s
from stt_ft.dataset.manifest import Clip
from stt_ft.dataset.sidecar import Word
from stt_ft.evaluation.frames import ClipFrames, kind_of
from stt_ft.model.checkpoint_dir import ModelDir, open_model
from stt_ft.model.device import inference_dtype, pick_device
from stt_ft.model.streaming import ClipStream, stream_codes
from stt_ft.model.stt_lm import load_lm
from stt_ft.model.words import HeardWord
from stt_ft.simulation.calls import Call

EARLY_WORD_S = 0.3
"""A word of a call that seems to begin so much before a clip belongs to it: a word's time is known to some frames."""


@dataclass(frozen=True, kw_only=True)
class Heard:
    """A sound to be heard: its codes [n_q, T], and the number by which its tokens are drawn."""

    codes: np.ndarray
    key: int


class Listener:
    """A worker (`core/engine.py`) that hears sounds with a model, as a server does."""

    def __init__(self, name: str, base: str, serving: Serving, batch_size: int, device: str, *, shows_progress: bool) -> None:
        where = pick_device(device)
        self._name, self._serving, self._batch_size = name, serving, batch_size
        self._lm = load_lm(open_model(base, require_extra_heads=False), device=where, dtype=inference_dtype(where))
        self._shows_progress = shows_progress

    def __call__(self, sounds: Sequence[Heard]) -> list[ClipStream]:
        return stream_codes(
            self._lm,
            [self._serving.heard(sound.codes) for sound in sounds],
            keys=[sound.key for sound in sounds],
            temperature=self._serving.temperature,
            batch_size=self._batch_size,
            progress=(lambda steps: track(steps, f"{self._name} listens")) if self._shows_progress else iter,
        )


def model_frames(
    name: str,
    model: ModelDir,
    hear: Callable[[Sequence[np.ndarray]], Sequence[ClipStream]],
    clips: Sequence[Clip],
    references: Sequence[tuple[Word, ...]],
    codes: Sequence[np.ndarray],
    *,
    channels: Sequence[Channel | None] = (None,),
    draws: int = 1,
    all_classes: bool = False,
) -> list[ClipFrames]:
    """Return the outputs of `model`, called `name`, for every clip and channel, then for the recordings again in each further draw, the
    silence prefix left out.

    Args:
        hear: returns the outputs of the model for sounds by their codes.
        references: the words of each clip.
        codes: of every clip through every channel [n_q, T], one channel after the other.
        channels: None, the recording itself, comes first.
        draws: how often the recordings are heard.
        all_classes: keep the other classes of the heads too.
    """
    codes = [*codes, *list(codes[: len(clips)]) * (draws - 1)]  # further rows of the same batches
    streams = hear(codes)
    ways = [*((channel, None) for channel in channels), *((None, draw) for draw in range(1, draws))]
    heard = [(way, clip, reference) for way in ways for clip, reference in zip(clips, references, strict=True)]
    first_row = model.num_prefix_frames
    return [
        _frames_of(
            name,
            model,
            clip,
            reference,
            stream,
            slice(first_row, None),
            model.words_of(stream.text_tokens),
            channel=None if channel is None else channel.name,
            draw=draw,
            classes=stream.head_probs[first_row:, :, 1:] if all_classes else None,
        )
        for ((channel, draw), clip, reference), stream in zip(heard, streams, strict=True)
    ]


def _frames_of(
    name: str,
    model: ModelDir,
    clip: Clip,
    reference: tuple[Word, ...],
    stream: ClipStream,
    rows: slice,
    words: Sequence[HeardWord],
    **told: Any,
) -> ClipFrames:
    """Return the frames of a clip: `rows` of a stream, and the words that were heard in it with times in seconds of the clip."""
    return ClipFrames(
        model=name,
        clip=clip.path,
        kind=kind_of([word.text for word in reference], clip.extra.get("kind")),
        text_tokens=tuple(int(token) for token in stream.text_tokens[rows]),
        words=tuple(words),
        pause=stream.pause_probs[rows],
        reference=reference,
        duration_s=clip.duration_s,
        speaker=None if clip.extra.get("speaker") is None else str(clip.extra["speaker"]),
        manner=clip.extra.get("manner"),
        voices=clip.extra.get("voices"),
        text_lag_s=model.text_lag_s,
        **told,
    )


def frames_in_call(
    name: str,
    model: ModelDir,
    call: Call,
    stream: ClipStream,
    clips: Sequence[Clip],
    references: Sequence[tuple[Word, ...]],
    lengths: Sequence[int],
) -> list[ClipFrames]:
    """Return the frames of each clip of `call`, which hold all rows of it. A word belongs to the clip in which its sound began, or that was
    the last before it."""
    starts_s = np.array([frame_start_s(start) for start in call.starts])
    owners: list[list[HeardWord]] = [[] for _ in call.clips]
    for word in model.words_of(stream.text_tokens):
        at = max(int(np.searchsorted(starts_s - EARLY_WORD_S, word.start_s, side="right")) - 1, 0)
        times_s = {field: getattr(word, field) - starts_s[at] for field in ("start_s", "end_s", "appeared_s")}
        owners[at].append(replace(word, **{field: max(0.0, float(time_s)) for field, time_s in times_s.items()}))
    frames, stop = [], model.num_prefix_frames
    for index, start, words in zip(call.clips, call.starts, owners, strict=True):
        first = model.num_prefix_frames + start
        told = {"call_s": frame_start_s(start), "silence": stream.pause_probs[stop:first] if first > stop else None}
        stop = first + lengths[index] + model.num_tail_frames()
        frames.append(_frames_of(name, model, clips[index], references[index], stream, slice(first, stop), words, **told))
    return frames
