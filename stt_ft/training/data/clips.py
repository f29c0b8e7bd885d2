"""A clip as training sees it: words as text tokens on the time of the stream, and codes, which lie in the store until a batch needs them.

Clips longer than the model's context are cut between words, where the recipe says so: every word is kept once, at its true time. A piece
ends with the clip's own closing silence, in which its last words are written. Nobody stopped speaking there, so what the pause heads should
say of the time after the cut is left open (`TrainingClip.goes_on`).
"""

from __future__ import annotations

import bisect
import dataclasses
import hashlib
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar, overload

import numpy as np
import numpy.typing as npt

from stt_ft.core import timing
from stt_ft.core.errors import DatasetError
from stt_ft.core.serving import SERVINGS
from stt_ft.dataset.sidecar import Word
from stt_ft.model.checkpoint_dir import ModelDir
from stt_ft.model.codes import TokenStore
from stt_ft.targets.interleave import TextStream
from stt_ft.text.written_style import WrittenStyle

SEARCHED_SHARE = 0.5
"""A clip is cut at the widest gap between words in this last share of the room that a piece has."""

Pool = Literal["recorded", "synthetic", "replayed"]
"""Why a clip is there: to be learned, to be learned beside the recordings, or to keep what the base knew."""

Item_co = TypeVar("Item_co", covariant=True)

Spans = tuple[tuple[int, int], ...]
"""Frames (first, stop) of a stream, one span after the other."""


@dataclass(frozen=True, kw_only=True)
class StoredCodes:
    """Where the codes of a clip lie: an entry of a store, as a server hears it (`Serving`), and the spans of its frames that count."""

    store: TokenStore
    entry: int
    serving: str | None
    spans: Spans

    def read(self, name: str) -> npt.NDArray[np.int16]:
        """Return the codes [n_q, T]; raises `CheckpointError` where they are damaged, naming the clip by `name`."""
        codes = self.store.read(self.entry, name)
        return _of_spans(codes if self.serving is None else SERVINGS[self.serving].heard(codes), self.spans)

    @property
    def identity(self) -> tuple[str, int, str | None, Spans]:
        """What says which codes these are, wherever the store lies: its codec, the key, and what is heard of it."""
        return self.store.directory.name, self.store.key_hash(self.entry), self.serving, self.spans


def _of_spans(codes: npt.NDArray[np.int16], spans: Spans) -> npt.NDArray[np.int16]:
    pieces = [codes[:, first:stop] for first, stop in spans]
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=1)


@dataclass(frozen=True, kw_only=True)
class TrainingClip:
    """A clip as a stream. Times are in seconds of the stream, which begins with the model's silence prefix.

    Attributes:
        codes: codec codes [n_q, T]: prefix, recording, and the silence in which the last words are written and the turn ends. As long as
            they lie in the store (`with_codes`), [0, T], which every change of a take serves as well: none depends on what a code is.
        words: words with their text tokens and times, in order.
        in_number: for each word, whether it belongs to a dictated number.
        num_recorded_frames: frames until the recording ends, prefix counted; what follows is silence.
        is_replay: whether it is ordinary speech that is replayed to keep what the base knew.
        is_synthetic: whether a synthesiser spoke it, to be learned beside the recordings.
        goes_on: whether the speaker went on where it was cut, so that its end is no end of a turn.
        style: how its words are still to be written, once it is known which are there (`LabelWriter`); None leaves them as they are.
        stored: where its codes lie, if they do.
    """

    clip_id: str
    codes: npt.NDArray[np.int16]
    words: tuple[Word, ...]
    in_number: tuple[bool, ...]
    num_recorded_frames: int
    is_replay: bool = False
    is_synthetic: bool = False
    goes_on: bool = False
    style: WrittenStyle | None = None
    stored: StoredCodes | None = None

    @property
    def num_frames(self) -> int:
        return self.codes.shape[1]

    @property
    def pool(self) -> Pool:
        """Why the clip is there; a synthetic one whose kind is replayed counts as synthetic."""
        return "synthetic" if self.is_synthetic else "replayed" if self.is_replay else "recorded"

    def with_codes(self) -> TrainingClip:
        """Return the clip with its codes, read where they lie in the store; raises as `StoredCodes.read` does."""
        if self.stored is None:
            return self
        codes = self.stored.read(self.clip_id)
        assert codes.shape[1] == self.num_frames, f"{self.clip_id}: changed before its codes were read"
        return dataclasses.replace(self, codes=codes, stored=None)

    def of_spans(self, *spans: tuple[int, int]) -> TrainingClip:
        """Return the clip with the codes of these spans of its frames only."""
        assert self.stored is None or len(self.stored.spans) == 1, f"{self.clip_id}: cut before"
        stored = self.stored and dataclasses.replace(self.stored, spans=spans)
        return dataclasses.replace(self, codes=_of_spans(self.codes, spans), stored=stored)

    def texts(self, model: ModelDir) -> list[str]:
        """Return the words as their tokens write them."""
        return [model.tokenizer.decode(list(word.tokens)) for word in self.words]

    def text_stream(self, model: ModelDir) -> TextStream:
        """Place the words on the text stream; raises `AlignmentError` when one has no room."""
        return model.text_stream(self.words, self.num_frames)

    def pause_stream(self, model: ModelDir) -> TextStream:
        """Place the words where the pause heads should know of them: on the text stream, or before it where that comes too late for an
        agent (`ModelDir.pause_lag_s`)."""
        return model.text_stream(self.words, self.num_frames, lag_s=model.pause_lag_s)


class Lazy(Sequence[Item_co]):
    """A sequence whose items are made anew whenever they are asked for: a million clips take no more room than what they are made of."""

    def __init__(self, size: int, make: Callable[[int], Item_co]) -> None:
        """Be of `size` items, of which `make` returns the one of a number."""
        self._size = size
        self._make = make

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, index: int) -> Item_co: ...
    @overload
    def __getitem__(self, index: slice) -> Lazy[Item_co]: ...
    def __getitem__(self, index: int | slice) -> Item_co | Lazy[Item_co]:
        if isinstance(index, slice):
            return picked(self, range(self._size)[index])
        return self._make(range(self._size)[index])


def changed(clips: Sequence[TrainingClip], change: Callable[[TrainingClip], TrainingClip]) -> Lazy[TrainingClip]:
    """Return `clips`, each changed when it is asked for."""
    return Lazy(len(clips), lambda index: change(clips[index]))


def picked(items: Sequence[Item_co], indices: Sequence[int] | npt.NDArray[np.int64]) -> Lazy[Item_co]:
    """Return those of `items` that have these indices."""
    return Lazy(len(indices), lambda number: items[int(indices[number])])


def chained(parts: Sequence[Sequence[TrainingClip]]) -> Lazy[TrainingClip]:
    """Return the clips of all `parts`, one after the other."""
    ends = list(itertools.accumulate(map(len, parts)))

    def make(index: int) -> TrainingClip:
        part = bisect.bisect_right(ends, index)
        return parts[part][index - ends[part]]

    return Lazy(ends[-1], make)


FINGERPRINT = "sounds-"
"""What a fingerprint begins with; those of earlier versions, which took every code, were 64 digits and no more."""


def fingerprint(clips: Iterable[TrainingClip]) -> str:
    """Return a hash of everything that training reads of `clips`, by which a resumed run knows its data again.

    Stored codes are known by the key of their sound and the codec, and not read.
    """
    digest = hashlib.sha256()
    for clip in clips:
        digest.update(repr(clip.stored.identity).encode() if clip.stored else clip.codes.tobytes())
        marks = (*(("replay",) if clip.is_replay else ()), *(("synthetic",) if clip.is_synthetic else ()))
        digest.update(repr((clip.clip_id, clip.words, clip.in_number, clip.num_recorded_frames, *marks)).encode())
    return FINGERPRINT + digest.hexdigest()


def cut_to_fit(clip: TrainingClip, *, max_frames: int, num_prefix_frames: int = 0) -> list[TrainingClip]:
    """Return `clip` in pieces of at most `max_frames` frames, itself when it is short enough.

    Args:
        clip: what was recorded.
        max_frames: the model's context, or less.
        num_prefix_frames: frames of silence that the model wants to hear first; every piece begins with those of the clip.

    Raises:
        DatasetError: words so close that no gap lies within the room of a piece.
    """
    if clip.num_frames <= max_frames:
        return [clip]
    pieces, first_word, start = [], 0, num_prefix_frames
    while start < clip.num_recorded_frames:
        room = max_frames - num_prefix_frames - (clip.num_frames - clip.num_recorded_frames)
        next_word, stop = _cut(clip, first_word, start, room)
        shift = num_prefix_frames - start
        pieces.append(
            dataclasses.replace(
                clip.of_spans((0, num_prefix_frames), (start, stop), (clip.num_recorded_frames, clip.num_frames)),
                clip_id=f"{clip.clip_id} from {timing.frame_start_s(start - num_prefix_frames):.1f} s",
                words=tuple(word.moved(timing.frame_start_s(shift)) for word in clip.words[first_word:next_word]),
                in_number=clip.in_number[first_word:next_word],
                num_recorded_frames=num_prefix_frames + stop - start,
                goes_on=stop < clip.num_recorded_frames,
            )
        )
        first_word, start = next_word, stop
    return [piece for piece in pieces if piece.words]


def _cut(clip: TrainingClip, first_word: int, start: int, room: int) -> tuple[int, int]:
    """Return the first word after the piece that begins at frame `start`, and the frame before which that piece ends."""
    if clip.num_recorded_frames - start <= room:
        return len(clip.words), clip.num_recorded_frames
    found = []  # width of the silence in seconds, next word, frame of the cut
    for index in range(first_word, len(clip.words) + 1):
        quiet_from_s = clip.words[index - 1].end_s if index > first_word else timing.frame_start_s(start)
        quiet_to_s = clip.words[index].start_s if index < len(clip.words) else timing.frame_start_s(clip.num_recorded_frames)
        frame = min(round((quiet_from_s + max(quiet_from_s, quiet_to_s)) / 2 * timing.FRAME_RATE_HZ), start + room)
        is_clear = timing.num_frames_covering(quiet_from_s) <= frame and (
            index > first_word or quiet_to_s > timing.frame_start_s(start + room)
        )
        if is_clear and frame > start:
            found.append((quiet_to_s - quiet_from_s, index, frame))
    if not found:
        at_s, room_s = timing.frame_start_s(start), timing.frame_start_s(room)
        raise DatasetError(f"clip {clip.clip_id}: no gap between words in the {room_s:.1f} s from {at_s:.1f} s on, where it must be cut")
    late = [cut for cut in found if cut[2] > start + room * (1 - SEARCHED_SHARE)] or found
    _, next_word, frame = max(late)
    return next_word, frame
