"""Look through a dataset on disk and collect every problem; one faulty clip never hides another."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from stt_ft.audio.files import read_audio
from stt_ft.core.errors import AlignmentError, AudioError, DatasetError
from stt_ft.core.manifest import MAIN_SPEAKER, Clip, Dataset, Sidecar
from stt_ft.core.timing import SAMPLE_RATE_HZ, num_frames_covering
from stt_ft.corpus.problems import Problem, set_problems, sound_problems, word_problems
from stt_ft.targets.interleave import build_text_stream


@dataclass(frozen=True, kw_only=True)
class Stream:
    """The text stream of a base, on which the words of every clip must find room.

    Attributes:
        encode: a word's text -> its tokens.
        text_lag_s: how far text runs behind sound.
        prefix_s: silence before the clip.
        suffix_s: silence after the clip.
    """

    encode: Callable[[str], Sequence[int]]
    text_lag_s: float
    prefix_s: float
    suffix_s: float


def inspect(data: Dataset, *, stream: Stream | None, track: Callable[[Sequence[Clip]], Iterable[Clip]]) -> list[Problem]:
    """Return the problems of all clips of `data`; `stream` is None where no base is known. `track` shows progress over the clips."""
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
        if stream is not None:
            found += _stream_problems(clip, sidecar, stream)
    splits = data.info().get("splits")
    split_by = str(splits.get("by", "both")) if isinstance(splits, dict) else "both"
    return found + set_problems(clips_by_split, hashes, sidecars, split_by=split_by)


def _stream_problems(clip: Clip, sidecar: Sidecar, stream: Stream) -> list[Problem]:
    words = [
        dataclasses.replace(word.moved(stream.prefix_s), tokens=tuple(stream.encode(word.text.strip())))
        for word in sidecar.alignments
        if word.speaker == MAIN_SPEAKER
    ]
    num_frames = num_frames_covering(stream.prefix_s) + num_frames_covering(clip.duration_s) + num_frames_covering(stream.suffix_s)
    try:
        build_text_stream(words, num_frames=num_frames, text_lag_s=stream.text_lag_s)
    except AlignmentError as error:
        return [Problem(clip_id=clip.path, kind="no_room", message=str(error))]
    return []
