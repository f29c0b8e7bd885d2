"""What a running server told, as frames to be judged like any model's; and how far it agrees with our own engine, which is made to listen
as the server does.

In two things the server differs from `model.streaming`. It begins a stream with a codec cleared to zeros (`MimiCodec.begin_cleared`), so
its codes of the first 80 ms are others. And a word is to it what stands between two paddings, its start the last end of padding before it
(`State::step_tokens` in `asr.rs` of the crate moshi).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rapidfuzz.distance import Postfix, Prefix

from stt_ft.audio.sounds import Sound
from stt_ft.core.engine import batched
from stt_ft.core.errors import ServerError
from stt_ft.core.timing import FRAME_RATE_HZ, FRAME_S, SAMPLES_PER_FRAME, frame_at, frame_heard_s, frame_start_s
from stt_ft.dataset.manifest import Dataset
from stt_ft.evaluation.frames import ClipFrames
from stt_ft.evaluation.report import Lateness, Parting, Served
from stt_ft.evaluation.scores import Scores
from stt_ft.evaluation.server import AsrServer, ToldWord
from stt_ft.export.agreement import PAUSE_TOLERANCE
from stt_ft.export.candle import delay_in_tokens
from stt_ft.model.checkpoint_dir import ModelDir
from stt_ft.model.codes import MimiCodec
from stt_ft.model.device import inference_dtype
from stt_ft.model.streaming import stream_codes
from stt_ft.model.stt_lm import load_lm
from stt_ft.model.words import HeardWord, probable_end_s

SERVER, EXPECTED = "server", "expected"
"""Names in frames.jsonl: of what the server told, and of what our engine, listening as the server does, says it would tell."""

LATE_S = 2 * FRAME_S
"""A frame that waits for the step in progress and then for its own is told of so late by a server that just keeps up."""

KEPT_NAME = "server.kept.jsonl"


def served_frames(
    server: AsrServer,
    model: ModelDir,
    data: Dataset,
    sounds: Sequence[Sound],
    ours: Sequence[ClipFrames],
    directory: Path,
    device: torch.device,
) -> list[ClipFrames]:
    """Stream `sounds` to `server`, and return the frames of what it told and of what was expected.

    Args:
        model: the model that the server is to run.
        ours: its frames under our engine, in the order of `sounds`.
        directory: where clips are kept until all are told of.

    Raises:
        ServerError: as `AsrServer.listen` does; or another model answers.
    """
    codec = MimiCodec.load(model, device)
    codec.begin_cleared()
    names = [f"{sound.key} {sound.clip.path}" for sound in sounds]
    loads = {name: lambda sound=sound: _with_silence(sound.samples(data), model) for name, sound in zip(names, sounds, strict=True)}
    told = server.listen(loads, directory / KEPT_NAME, {"model": model.sha256(model.lm_weights)})
    lm = load_lm(model, device=device, dtype=inference_dtype(device))
    codes = [one for some in batched(sounds, codec.at_once) for one in codec.encode([sound.samples(data) for sound in some])]
    streams = stream_codes(lm, codes)
    theirs, expected, first_row = [], [], model.num_prefix_frames
    for name, one, stream in zip(names, ours, streams, strict=True):
        heard = told[name]
        if heard.pauses.shape != stream.pause_probs.shape:
            raise ServerError(
                f"{server.url}: another model answers: {heard.pauses.shape[1]} pause heads, {model.name} has {model.num_heads}"
            )
        late_s = tuple(heard.late_s[first_row:].round(4).tolist())
        theirs.append(_frames(SERVER, one, heard.words, heard.pauses, model, late_s=late_s))
        expected.append(_frames(EXPECTED, one, expected_words(model, stream.text_tokens), stream.pause_probs, model))
    return theirs + expected


def _with_silence(samples: npt.NDArray[np.float32], model: ModelDir) -> npt.NDArray[np.float32]:
    """Return a clip with the silence around it that `MimiCodec.encode` gives it."""
    num_frames = model.num_prefix_frames - (-len(samples) // SAMPLES_PER_FRAME) + model.num_tail_frames()
    sound = np.zeros(num_frames * SAMPLES_PER_FRAME, dtype=np.float32)
    start = model.num_prefix_frames * SAMPLES_PER_FRAME
    sound[start : start + len(samples)] = samples
    return sound


def expected_words(model: ModelDir, tokens: npt.NDArray[np.int32]) -> tuple[ToldWord, ...]:
    """Return the words that the server makes of text tokens [T]. Nothing written before the text lag is over becomes a word."""
    delay = delay_in_tokens(model.text_lag_s)
    words: list[ToldWord] = []
    pieces: list[int] = []
    start_s = 0.0
    for row, token in enumerate(tokens.tolist()):
        if row + 1 < delay:
            continue
        if token not in (0, 3):
            pieces.append(token)
        elif pieces:
            words.append(ToldWord(text=str(model.tokenizer.decode(pieces)), start_s=start_s, row=row))
            pieces = []
        if token == 0:
            start_s = (row + 1 - delay) / FRAME_RATE_HZ
    return tuple(words)


def _frames(name: str, one: ClipFrames, told: Sequence[ToldWord], pauses: np.ndarray, model: ModelDir, **more: Any) -> ClipFrames:
    """Return the frames of `name` for the clip of `one`; what is told between two paddings may be several words, all with one start."""
    prefix_s, first_row = frame_start_s(model.num_prefix_frames), model.num_prefix_frames
    words: list[HeardWord] = []
    for word, following in itertools.zip_longest(told, told[1:]):
        start_s = max(0.0, word.start_s - prefix_s)
        next_start_s = np.inf if following is None else max(start_s, following.start_s - prefix_s)
        appeared_s = max(0.0, frame_heard_s(word.row) - prefix_s)
        for text in word.text.split():
            words.append(HeardWord(text=text, start_s=start_s, end_s=probable_end_s(text, start_s, next_start_s), appeared_s=appeared_s))
    return replace(one, model=name, text_tokens=(), words=tuple(words), pause=pauses[first_row:], classes=None, **more)


def served_of(scores: Scores, server: AsrServer) -> Served:
    """Return the server's speed, and its agreement with our engine, from the frames of `SERVER` and `EXPECTED`."""
    by_name = {name: [one.frames for one in scores.scores if one.frames.model == name] for name in (SERVER, EXPECTED)}
    partings, same_words, largest = [], 0, 0.0
    for theirs, expected in zip(by_name[SERVER], by_name[EXPECTED], strict=True):
        differences = np.abs(theirs.pause - expected.pause).max(axis=1, initial=0.0)
        has_same_words = theirs.words == expected.words
        same_words += has_same_words
        largest = max(largest, float(differences.max(initial=0.0)))
        if (differences > PAUSE_TOLERANCE).any() or not has_same_words:
            row = int(np.argmax(differences > PAUSE_TOLERANCE)) if (differences > PAUSE_TOLERANCE).any() else None
            told, lacking = _apart(theirs.word_texts, expected.word_texts)
            partings.append(
                Parting(
                    clip=theirs.clip,
                    channel=theirs.channel,
                    first_frame=row,
                    max_pause_difference=float(differences.max(initial=0.0)),
                    told=None if has_same_words else told,
                    expected=None if has_same_words else lacking,
                )
            )
    late = [np.array(one.late_s) for one in by_name[SERVER]]
    of_words = [rows[frame_at(word.appeared_s) - 1] for one, rows in zip(by_name[SERVER], late, strict=True) for word in one.words]
    frames = np.concatenate(late)
    return Served(
        url=server.url,
        streams=server.num_streams,
        real_time=server.real_time,
        num_clips=len(late),
        num_frames=len(frames),
        pauses_late=_lateness(frames),
        words_late=_lateness(np.array(of_words)) if of_words else None,
        late_frames=float(np.mean(frames > LATE_S)),
        same_words=same_words,
        max_pause_difference=largest,
        partings=partings,
    )


def _apart(told: Sequence[str], expected: Sequence[str]) -> tuple[str, str]:
    """Return what stands in two texts between the words with which both begin and those with which both end."""
    begin = Prefix.similarity(told, expected)
    told, expected = told[begin:], expected[begin:]
    end = Postfix.similarity(told, expected)
    return " ".join(told[: len(told) - end]), " ".join(expected[: len(expected) - end])


def _lateness(seconds: np.ndarray) -> Lateness:
    p50_s, p95_s, max_s = (round(float(np.quantile(seconds, q)), 4) for q in (0.5, 0.95, 1.0))
    return Lateness(p50_s=p50_s, p95_s=p95_s, max_s=max_s)
