"""A model listens to the clips of a dataset as the server would: codes from the token store, or from the codec where they are not there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch

from stt_ft.audio.channel import Channel
from stt_ft.audio.files import read_audio
from stt_ft.core.errors import DatasetError
from stt_ft.core.manifest import Clip, Dataset
from stt_ft.core.progress import track
from stt_ft.core.timing import frame_start_s
from stt_ft.metrics.digit_strings import number_runs
from stt_ft.model.checkpoint_dir import ModelDir
from stt_ft.model.device import inference_dtype
from stt_ft.model.mimi_codec import MimiCodec, codec_hash
from stt_ft.model.streaming import ClipStream, stream_codes
from stt_ft.model.stt_lm import load_lm
from stt_ft.model.token_store import TokenStore, audio_key
from stt_ft.model.words import words_from_tokens
from stt_ft.report.frames import MANNERS, VOICES, ClipFrames, HeardWord, SpokenWord, kind_of

Item = TypeVar("Item")


def references_of(data: Dataset, clips: Sequence[Clip]) -> list[tuple[SpokenWord, ...]]:
    """Return what was said in each clip, word by word with times.

    Raises:
        DatasetError: by clip, when its `manner` or `voices` is none that a report knows, nothing was said, a stretch has no words since the
            script does not fit it, or a number is still one long word, inside which no cut-off could be seen.
    """
    references = []
    for clip in clips:
        for key, known in (("manner", MANNERS), ("voices", VOICES)):
            if clip.extra.get(key) not in (None, *known):
                raise DatasetError(f"{data.directory}: clip {clip.path}: {key} must be {' or '.join(known)}, got {clip.extra[key]!r}")
        read, sidecar = data.read_sidecar(clip), data.sidecar_path(clip)
        words = read.alignments
        if not words:
            raise DatasetError(f"{sidecar}: clip {clip.path} has no words; run `stt-ft annotate {data.directory}` or drop the clip")
        for start_s, end_s in read.left_out_s()[:1]:
            raise DatasetError(
                f"{sidecar}: clip {clip.path} has no words at {start_s:.1f}-{end_s:.1f} s, where its script does not fit the sound: "
                "what is heard there would count as an error; cut it, or correct the script"
            )
        written = next((word.text for word in words if number_runs([word.text])), None)
        if written is not None:
            raise DatasetError(
                f"{sidecar}: clip {clip.path} has the number {written!r} as one word, so cut-offs inside it cannot be seen; "
                f"run `stt-ft convert {data.directory}`"
            )
        references.append(tuple(SpokenWord(text=word.text, start_s=word.start_s, end_s=word.end_s) for word in words))
    return references


def listen(
    name: str,
    model: ModelDir,
    clips: Sequence[Clip],
    references: Sequence[tuple[SpokenWord, ...]],
    codes: Sequence[np.ndarray],
    *,
    channels: Sequence[Channel | None] = (None,),
    all_classes: bool = False,
    batch_size: int,
    device: torch.device,
) -> list[ClipFrames]:
    """Return what `model` writes and expects of every clip, the silence prefix left out.

    Args:
        name: what the report calls the model.
        references: what was said in each clip.
        codes: of every clip through every channel, as `codes_through` returns them.
        channels: what the clips come through, one after the other; None is the recording itself.
        all_classes: keep the heads' other classes too.
        batch_size: clips listened to side by side.
    """
    lm, hearing = load_lm(model, device=device, dtype=inference_dtype(device)), _Hearing(name, model, all_classes)
    streams = stream_codes(lm, codes, batch_size=batch_size, progress=lambda steps: track(steps, f"{name} listens"))
    heard = [(channel, clip, reference) for channel in channels for clip, reference in zip(clips, references, strict=True)]
    return [hearing.frames(*one, stream) for one, stream in zip(heard, streams, strict=True)]


def codes_through(
    channels: Sequence[Channel | None], model: ModelDir, data: Dataset, clips: Sequence[Clip], *, batch_size: int, device: torch.device
) -> list[np.ndarray]:
    """Return the codes of every clip [n_q, T] through every channel, one channel after the other; None is the recording itself."""
    codes = []
    for channel in channels:
        if channel is None:
            codes += codes_of(model, data, clips, batch_size=batch_size, device=device)
        else:
            codes += twin_codes(model, data, clips, channel, batch_size=batch_size, device=device)
    return codes


class _Hearing:
    """Makes lines of frames.jsonl of what a model streamed."""

    def __init__(self, name: str, model: ModelDir, all_classes: bool) -> None:
        self._name, self._model, self._all_classes = name, model, all_classes
        self._tokenizer = model.load_tokenizer()

    def frames(self, channel: Channel | None, clip: Clip, reference: tuple[SpokenWord, ...], stream: ClipStream) -> ClipFrames:
        model, first_row = self._model, self._model.num_prefix_frames
        words = words_from_tokens(
            stream.text_tokens,
            self._tokenizer,
            text_lag_s=model.text_lag_s,
            prefix_s=frame_start_s(first_row),
            padding_id=model.padding_id,
            end_padding_id=model.end_padding_id,
        )
        return ClipFrames(
            model=self._name,
            clip=clip.path,
            kind=kind_of([word.text for word in reference], clip.extra.get("kind")),
            text_tokens=tuple(int(token) for token in stream.text_tokens[first_row:]),
            words=tuple(HeardWord(text=w.text, start_s=w.start_s, end_s=w.end_s, appeared_s=w.appeared_s) for w in words),
            pause=stream.pause_probs[first_row:],
            reference=reference,
            duration_s=clip.duration_s,
            speaker=None if clip.extra.get("speaker") is None else str(clip.extra["speaker"]),
            manner=clip.extra.get("manner"),
            voices=clip.extra.get("voices"),
            channel=None if channel is None else channel.name,
            text_lag_s=model.text_lag_s,
            classes=stream.head_probs[first_row:, :, 1:] if self._all_classes else None,
        )


def codes_of(model: ModelDir, data: Dataset, clips: Sequence[Clip], *, batch_size: int, device: torch.device) -> list[np.ndarray]:
    """Return the codes of every clip [n_q, T]: those that `encode` kept, and the others from the codec now, like lengths together."""
    store = TokenStore.open(data.directory, codec_hash(model))
    keys = [audio_key(data.audio_path(clip)) for clip in clips]
    clip_of_key = dict(zip(keys, clips, strict=True))
    missing = sorted(store.missing(keys), key=lambda key: clip_of_key[key].duration_s)
    codes = {key: store.get(key) for key in keys if key not in set(missing)}
    if missing:
        codec = MimiCodec.load(model, device)
        for batch in track(_batches(missing, batch_size), "encoding"):
            codes |= zip(batch, codec.encode([read_audio(data.audio_path(clip_of_key[key])) for key in batch]), strict=True)
    return [codes[key] for key in keys]


def twin_codes(
    model: ModelDir, data: Dataset, clips: Sequence[Clip], channel: Channel, *, batch_size: int, device: torch.device
) -> list[np.ndarray]:
    """Return the codes of every clip's twin through `channel` [n_q, T], made now and kept nowhere."""
    codec, codes = MimiCodec.load(model, device), {}
    order = sorted(range(len(clips)), key=lambda index: clips[index].duration_s)
    for batch in track(_batches(order, batch_size), f"encoding, {channel.name}"):
        sounds = [channel.carry(read_audio(data.audio_path(clips[index])), clips[index].path) for index in batch]
        codes |= zip(batch, codec.encode(sounds), strict=True)
    return [codes[index] for index in range(len(clips))]


def _batches(items: Sequence[Item], batch_size: int) -> list[Sequence[Item]]:
    return [items[first : first + batch_size] for first in range(0, len(items), batch_size)]
