"""A model listens to the clips of a dataset as the server would: codes from the token store, or from the codec where they are not there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from stt_ft.audio.files import read_audio
from stt_ft.core.errors import DatasetError
from stt_ft.core.manifest import Clip, Dataset
from stt_ft.core.progress import track
from stt_ft.core.timing import frame_start_s
from stt_ft.metrics.digit_strings import number_runs
from stt_ft.model.checkpoint_dir import ModelDir
from stt_ft.model.device import inference_dtype
from stt_ft.model.mimi_codec import MimiCodec, codec_hash
from stt_ft.model.streaming import stream_codes
from stt_ft.model.stt_lm import load_lm
from stt_ft.model.token_store import TokenStore, audio_key
from stt_ft.model.words import words_from_tokens
from stt_ft.report.frames import ClipFrames, HeardWord, SpokenWord, kind_of


def references_of(data: Dataset, clips: Sequence[Clip]) -> list[tuple[SpokenWord, ...]]:
    """Return what was said in each clip, word by word with times.

    Raises:
        DatasetError: by clip, when nothing was said, or a number is still one long word, inside which no cut-off could be seen.
    """
    references = []
    for clip in clips:
        words, sidecar = data.read_sidecar(clip).alignments, data.sidecar_path(clip)
        if not words:
            raise DatasetError(f"{sidecar}: clip {clip.path} has no words; run `stt-ft annotate {data.directory}` or drop the clip")
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
    data: Dataset,
    clips: Sequence[Clip],
    references: Sequence[tuple[SpokenWord, ...]],
    *,
    batch_size: int,
    device: torch.device,
) -> list[ClipFrames]:
    """Return what `model` writes and expects of every clip, the silence prefix left out.

    Args:
        name: what the report calls the model.
        references: what was said in each clip.
        batch_size: clips listened to side by side.
    """
    codes = codes_of(model, data, clips, batch_size=batch_size, device=device)
    lm, tokenizer = load_lm(model, device=device, dtype=inference_dtype(device)), model.load_tokenizer()
    streams = stream_codes(lm, codes, batch_size=batch_size, progress=lambda batches: track(batches, f"{name} listens"))
    first_row, frames = model.num_prefix_frames, []
    for clip, reference, stream in zip(clips, references, streams, strict=True):
        words = words_from_tokens(
            stream.text_tokens,
            tokenizer,
            text_lag_s=model.text_lag_s,
            prefix_s=frame_start_s(first_row),
            padding_id=model.padding_id,
            end_padding_id=model.end_padding_id,
        )
        frames.append(
            ClipFrames(
                model=name,
                clip=clip.path,
                kind=kind_of([word.text for word in reference], clip.extra.get("kind")),
                text_tokens=tuple(int(token) for token in stream.text_tokens[first_row:]),
                words=tuple(HeardWord(text=w.text, start_s=w.start_s, end_s=w.end_s, appeared_s=w.appeared_s) for w in words),
                pause=stream.pause_probs[first_row:],
                reference=reference,
                duration_s=clip.duration_s,
                speaker=None if clip.extra.get("speaker") is None else str(clip.extra["speaker"]),
            )
        )
    return frames


def codes_of(model: ModelDir, data: Dataset, clips: Sequence[Clip], *, batch_size: int, device: torch.device) -> list[np.ndarray]:
    """Return the codes of every clip [n_q, T]: those that `encode` kept, and the others from the codec now, like lengths together."""
    store = TokenStore.open(data.directory, codec_hash(model))
    keys = [audio_key(data.audio_path(clip)) for clip in clips]
    clip_of_key = dict(zip(keys, clips, strict=True))
    missing = sorted(store.missing(keys), key=lambda key: clip_of_key[key].duration_s)
    codes = {key: store.get(key) for key in keys if key not in set(missing)}
    if missing:
        codec = MimiCodec.load(model, device)
        batches = [missing[first : first + batch_size] for first in range(0, len(missing), batch_size)]
        for batch in track(batches, "encoding"):
            codes |= zip(batch, codec.encode([read_audio(data.audio_path(clip_of_key[key])) for key in batch]), strict=True)
    return [codes[key] for key in keys]
