"""Look through a dataset on disk and collect every problem; one faulty clip never hides another."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Sequence

from stt_ft.audio.files import read_audio
from stt_ft.core.errors import AlignmentError, AudioError, DatasetError
from stt_ft.core.manifest import MAIN_SPEAKER, Clip, Dataset, Sidecar
from stt_ft.core.timing import SAMPLE_RATE_HZ, frame_start_s, num_frames_covering
from stt_ft.corpus.problems import Problem, set_problems, sound_problems, word_problems
from stt_ft.model.checkpoint_dir import TAIL_S, ModelDir


def inspect(
    data: Dataset, *, model: ModelDir | None, track: Callable[[Sequence[Clip]], Iterable[Clip]], tail_s: float = TAIL_S
) -> list[Problem]:
    """Return the problems of all clips of `data`.

    Args:
        data: the dataset.
        model: on whose text stream the words of every clip must find room; None where no base is known.
        track: shows progress over the clips.
        tail_s: silence after a clip and the text lag, in seconds.
    """
    clips_by_split = {split: data.clips(split) for split in data.splits()}
    found: list[Problem] = []
    hashes: dict[str, str] = {}
    sidecars: dict[str, Sidecar] = {}
    for clip in track([clip for clips in clips_by_split.values() for clip in clips]):
        try:
            samples = read_audio(data.audio_path(clip))
            hashes[clip.path] = hashlib.sha256(data.audio_path(clip).read_bytes()).hexdigest()
            found += sound_problems(clip, samples, SAMPLE_RATE_HZ)
        except (AudioError, OSError) as error:
            found.append(Problem(clip_id=clip.path, kind="audio", message=str(error)))
        try:
            sidecar = data.read_sidecar(clip)
        except DatasetError as error:
            found.append(Problem(clip_id=clip.path, kind="sidecar", message=str(error)))
            continue
        sidecars[clip.path] = sidecar
        found += word_problems(clip, sidecar)
        if model is not None:
            found += _stream_problems(clip, sidecar, model, tail_s)
    splits = data.info().get("splits")
    split_by = str(splits.get("by", "both")) if isinstance(splits, dict) else "both"
    return found + set_problems(clips_by_split, hashes, sidecars, split_by=split_by)


def _stream_problems(clip: Clip, sidecar: Sidecar, model: ModelDir, tail_s: float) -> list[Problem]:
    prefix_s = frame_start_s(model.num_prefix_frames)
    words = [
        dataclasses.replace(word.moved(prefix_s), tokens=tuple(model.tokenizer.encode(word.text.strip())))
        for word in sidecar.alignments
        if word.speaker == MAIN_SPEAKER
    ]
    num_frames = model.num_prefix_frames + num_frames_covering(clip.duration_s) + model.num_tail_frames(tail_s)
    try:
        model.text_stream(words, num_frames)
    except AlignmentError as error:
        return [Problem(clip_id=clip.path, kind="no_room", message=str(error))]
    return []
