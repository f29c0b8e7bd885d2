"""A model listens to the clips of a dataset as the server would: codes from the token store, or from the codec where they are not there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from stt_ft.audio.channel import Channel
from stt_ft.core.errors import DatasetError
from stt_ft.core.manifest import Clip, Dataset
from stt_ft.core.progress import track
from stt_ft.core.recipe import Copy
from stt_ft.metrics.digit_strings import number_runs
from stt_ft.model.checkpoint_dir import ModelDir
from stt_ft.model.codes import codes_of
from stt_ft.model.device import inference_dtype
from stt_ft.model.streaming import ClipStream, stream_codes
from stt_ft.model.stt_lm import load_lm
from stt_ft.report.frames import MANNERS, VOICES, ClipFrames, HeardWord, SpokenWord, kind_of


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
    versions = [Copy(channel=None if channel is None else channel.flag) for channel in channels]
    return [codes for one in versions for codes in codes_of(model, data, clips, one, batch_size=batch_size, device=device)]


class _Hearing:
    """Makes lines of frames.jsonl of what a model streamed."""

    def __init__(self, name: str, model: ModelDir, all_classes: bool) -> None:
        self._name, self._model, self._all_classes = name, model, all_classes

    def frames(self, channel: Channel | None, clip: Clip, reference: tuple[SpokenWord, ...], stream: ClipStream) -> ClipFrames:
        model, first_row = self._model, self._model.num_prefix_frames
        words = model.words_of(stream.text_tokens)
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
