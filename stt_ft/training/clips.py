"""The clips of a split, ready to learn from: stored codes, and words as text tokens on the time of the stream."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stt_ft.core import timing
from stt_ft.core.errors import AlignmentError, DatasetError
from stt_ft.core.manifest import MAIN_SPEAKER, Clip, Dataset, Sidecar, Word
from stt_ft.core.recipe import BatchRecipe, Copy
from stt_ft.metrics.digit_strings import number_runs
from stt_ft.model.checkpoint_dir import ModelDir
from stt_ft.model.codes import TokenStore, sounds_of
from stt_ft.targets.interleave import TextStream, TokenWord, build_text_stream
from stt_ft.text.written_style import WrittenStyle

MAX_FAULTS_SHOWN = 5
"""Faulty clips named in one error."""


@dataclass(frozen=True, kw_only=True)
class SpokenClip:
    """A clip as a stream. Times are in seconds of the stream, which begins with the model's silence prefix.

    Attributes:
        codes: codec codes [n_q, T]: prefix, recording, and the silence in which the last words are written and the turn ends.
        words: text tokens and times, in order.
        in_number: for each word, whether it belongs to a dictated number.
        num_recorded_frames: frames until the recording ends, prefix counted; what follows is silence.
        is_replay: whether it is ordinary speech that is replayed to keep what the base knew.
        is_synthetic: whether a synthesiser spoke it, to be learned beside the recordings.
        goes_on: whether the speaker went on where it was cut, so that its end is no end of a turn.
        style: how its words are still to be written, once it is known which are there (`LabelWriter`); None leaves them as they are.
    """

    clip_id: str
    codes: npt.NDArray[np.int16]
    words: tuple[TokenWord, ...]
    in_number: tuple[bool, ...]
    num_recorded_frames: int
    is_replay: bool = False
    is_synthetic: bool = False
    goes_on: bool = False
    style: WrittenStyle | None = None

    @property
    def num_frames(self) -> int:
        return self.codes.shape[1]

    def text_stream(self, model: ModelDir) -> TextStream:
        """Place the words on the text stream; raises `AlignmentError` when one has no room."""
        return build_text_stream(
            self.words,
            num_frames=self.num_frames,
            text_lag_s=model.text_lag_s,
            padding_id=model.padding_id,
            end_padding_id=model.end_padding_id,
        )


def load_clips(
    data: Dataset, split: str, model: ModelDir, recipe: BatchRecipe, *, replay_kinds: Sequence[str] = (), copies: Sequence[Copy] = (Copy(),)
) -> list[SpokenClip]:
    """Load a split for training, every clip in each of `copies`; clips whose `kind` in the manifest is one of `replay_kinds` are replay.

    Raises:
        DatasetError: the split is empty, is dev and holds a synthetic clip, or clips have no codes, no words, words that do not fit, or are
            too long; named by id.
    """
    clips = data.measured_clips(split)
    store = TokenStore.of(data, model)
    sounds = sounds_of(data, clips, copies)
    missing = store.missing(sounds)
    if missing:
        first, which = missing[0].clip.path, f" at {missing[0].copy.name}" if missing[0].copy.name else ""
        raise DatasetError(
            f"{data.directory}: {len(missing)} clips of {split} have no codes for this base (first: {first}{which}); "
            f"run `stt-ft encode {data.directory} --base {model.name}{_copy_flags(copies)}`"
        )
    tokenizer = model.tokenizer
    loaded, faults = [], []
    for sound in sounds:
        clip, copy = sound.clip, sound.copy
        try:
            sidecar = data.read_sidecar(clip)
            _require_all_words(sidecar)
            words = [_faster(word, copy.speed) for word in sidecar.alignments if word.speaker == MAIN_SPEAKER]
            tokens = [tuple(tokenizer.encode(word.text.strip())) for word in words]
            played = dataclasses.replace(clip, duration_s=clip.duration_s / copy.speed)
            spoken = _load_clip(played, store.get(sound.key), words, tokens, model, recipe)
            is_replay = clip.extra.get("kind") in replay_kinds
            loaded.append(dataclasses.replace(spoken, is_replay=is_replay, is_synthetic=clip.is_synthetic))
        except (AlignmentError, DatasetError) as error:
            faults.append(f"clip {clip.path}: {error}")
    if faults:
        more = f"; and {len(faults) - MAX_FAULTS_SHOWN} more" if len(faults) > MAX_FAULTS_SHOWN else ""
        shown = "; ".join(faults[:MAX_FAULTS_SHOWN]) + more
        raise DatasetError(
            f"{data.directory}: {len(faults)} clips of {split} cannot be trained on: {shown}; see `stt-ft check {data.directory}`"
        )
    if not loaded:
        raise DatasetError(f"{data.manifest_path(split)}: no clips to train on")
    return loaded


def _require_all_words(sidecar: Sidecar) -> None:
    """Raise `DatasetError` for a clip in which `annotate` left a stretch out: its speech would be taught as silence."""
    spans_s = sidecar.left_out_s()
    if spans_s:
        first = f"{spans_s[0][0]:.1f}-{spans_s[0][1]:.1f} s"
        more = f" and {len(spans_s) - 1} more" if len(spans_s) > 1 else ""
        raise DatasetError(f"its script does not fit the sound at {first}{more}, so no words are there; cut it, or correct the script")


def _copy_flags(copies: Sequence[Copy]) -> str:
    """Return the flags of `encode` that make the codes of these copies."""
    speeds = [f"{copy.speed:g}" for copy in copies if copy.channel is None]
    channels = [copy.channel for copy in copies if copy.channel is not None]
    return (f" --speeds {','.join(speeds)}" if speeds != ["1"] else "") + (f" --channels {','.join(channels)}" if channels else "")


def _faster(word: Word, speed: float) -> Word:
    return word if speed == 1.0 else dataclasses.replace(word, start_s=word.start_s / speed, end_s=word.end_s / speed)


def _load_clip(
    clip: Clip, codes: np.ndarray, words: Sequence[Word], tokens: Sequence[tuple[int, ...]], model: ModelDir, recipe: BatchRecipe
) -> SpokenClip:
    """Put one clip together and make sure that its words fit."""
    if recipe.long_clips == "refuse" and recipe.max_clip_s is not None and clip.duration_s > recipe.max_clip_s:
        raise DatasetError(
            f"{clip.duration_s:.1f} s long, more than batch.max_clip_s {recipe.max_clip_s} (set batch.long_clips: cut, or raise the limit)"
        )
    prefix_s = timing.frame_start_s(model.num_prefix_frames)
    num_recorded = model.num_prefix_frames + timing.num_frames_covering(clip.duration_s)
    num_frames = min(codes.shape[1], num_recorded + model.num_tail_frames(recipe.tail_s))
    order = sorted(range(len(words)), key=lambda index: words[index].start_s)
    runs = number_runs([words[index].text for index in order])
    spoken = SpokenClip(
        clip_id=clip.path,
        codes=codes[:, :num_frames],
        words=tuple(
            TokenWord(tokens=tokens[index], start_s=words[index].start_s + prefix_s, end_s=words[index].end_s + prefix_s) for index in order
        ),
        in_number=tuple(any(start <= position < stop for start, stop in runs) for position in range(len(order))),
        num_recorded_frames=min(num_recorded, num_frames),
    )
    spoken.text_stream(model)
    return spoken


def fingerprint(clips: Sequence[SpokenClip]) -> str:
    """Return a hash of everything that training reads of `clips`, by which a resumed run knows its data again."""
    digest = hashlib.sha256()
    for clip in clips:
        digest.update(clip.codes.tobytes())
        marks = (*(("replay",) if clip.is_replay else ()), *(("synthetic",) if clip.is_synthetic else ()))
        digest.update(repr((clip.clip_id, clip.words, clip.in_number, clip.num_recorded_frames, *marks)).encode())
    return digest.hexdigest()
