"""The words of many clips in little room: a manifest is read piece by piece, by processes side by side, into arrays.

What comes back is some 130 bytes a clip, where a `Clip` and its `Sidecar` are several thousand: a million clips are held at once.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stt_ft.audio.sounds import SoundKeys
from stt_ft.core.engine import Engine, SetAside, num_cores
from stt_ft.core.errors import DatasetError
from stt_ft.core.progress import track
from stt_ft.corpus.problems import faultless_sidecars
from stt_ft.dataset.manifest import Clip, Dataset
from stt_ft.dataset.sidecar import Sidecar, Word
from stt_ft.text.inverse.said_digits import number_runs

PIECE_LINES = 1024
"""Lines of a manifest that are read together."""

_LEAST_PIECES = 16
"""Pieces from which on processes are started: a dozen seconds of work."""

TICKS_PER_S = 10_000
"""Times of a sidecar are whole ten-thousandths of a second (`Word.to_json`), and 32 bits hold them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PackedClips:
    """Neighbours in a manifest, N of them with W words in all.

    Attributes:
        paths: their paths in UTF-8 [N].
        durations_s: as the manifest has them [N].
        is_replay: whether the kind of each is replayed [N].
        is_synthetic: [N].
        keys: of their sounds [N]; none once their codes have been found.
        first_words: where the words of each begin, and where the last ones end [N + 1].
        texts: every text of a word once.
        words: the place of each word in `texts` [W].
        times: where each word begins and ends [2, W], in ticks, or in seconds where a time is no whole number of ticks.
        in_number: whether each word belongs to a dictated number [W].
        faults: place of a clip -> what is wrong with its words, of which it then has none.
        found_keys: what `SoundKeys.tell` is to be told.
    """

    paths: npt.NDArray[np.bytes_]
    durations_s: npt.NDArray[np.float64]
    is_replay: npt.NDArray[np.bool_]
    is_synthetic: npt.NDArray[np.bool_]
    keys: Sequence[str]
    first_words: npt.NDArray[np.int32]
    texts: Sequence[str]
    words: npt.NDArray[np.int32]
    times: npt.NDArray[np.int32] | npt.NDArray[np.float64]
    in_number: npt.NDArray[np.bool_]
    faults: dict[int, str]
    found_keys: dict[int, int]

    def path(self, at: int) -> str:
        """Return the path of the clip at a place."""
        return self.paths[at].decode(errors="surrogatepass")

    def words_of(self, at: int) -> tuple[list[int], npt.NDArray[np.float64], list[bool]]:
        """Return the words of the clip at a place: which they are, their times [2, W] in seconds, and which belong to a number."""
        first, stop = self.first_words[at : at + 2].tolist()
        times = self.times[:, first:stop]
        times_s = times / TICKS_PER_S if times.dtype == np.int32 else times.astype(np.float64)
        return self.words[first:stop].tolist(), times_s, self.in_number[first:stop].tolist()

    def clips_with(self, word: int) -> list[int]:
        """Return the places of the clips that have a word."""
        at = np.searchsorted(self.first_words, np.flatnonzero(self.words == word), side="right") - 1
        return np.unique(at).tolist()


class PieceReader:
    """A worker (`core/engine.py`) that reads pieces of a split's manifest (`Dataset.manifest_pieces`)."""

    def __init__(self, data: Dataset, split: str, replay_kinds: Sequence[str]) -> None:
        self._data = data
        self._split = split
        self._replay_kinds = replay_kinds
        self._keys = SoundKeys(data)

    def __call__(self, pieces: Sequence[tuple[int, int, int]]) -> list[PackedClips]:
        return [self._read(self._data.clips_of_piece(self._split, piece)) for piece in pieces]

    def _read(self, clips: Sequence[Clip]) -> PackedClips:
        keys = self._keys.of(clips)
        sidecars, faults = faultless_sidecars(self._data, clips)
        places: dict[str, int] = {}
        words: list[tuple[int, float, float, bool]] = []
        first_words = [0]
        for clip in clips:
            words += _packed(sidecars.get(clip.path, Sidecar()).main_words, places)
            first_words.append(len(words))
        found, *times, in_number = zip(*words, strict=True) if words else ((), (), (), ())
        return PackedClips(
            paths=np.array([clip.path.encode(errors="surrogatepass") for clip in clips]),
            durations_s=np.array([clip.duration_s for clip in clips]),
            is_replay=np.array([clip.extra.get("kind") in self._replay_kinds for clip in clips]),
            is_synthetic=np.array([clip.is_synthetic for clip in clips]),
            keys=keys,
            first_words=np.array(first_words, dtype=np.int32),
            texts=list(places),
            words=np.array(found, dtype=np.int32),
            times=_in_ticks(np.array(times, dtype=np.float64)),
            in_number=np.array(in_number, dtype=bool),
            faults={at: faults[clip.path] for at, clip in enumerate(clips) if clip.path in faults},
            found_keys=self._keys.found(),
        )


def _packed(words: Sequence[Word], places: dict[str, int]) -> list[tuple[int, float, float, bool]]:
    runs = number_runs([word.text for word in words])
    is_in = (any(start <= at < stop for start, stop in runs) for at in range(len(words)))
    return [(places.setdefault(word.text, len(places)), word.start_s, word.end_s, next(is_in)) for word in words]


def _in_ticks(times_s: npt.NDArray[np.float64]) -> npt.NDArray[np.int32] | npt.NDArray[np.float64]:
    """Return times in ticks, where each of them is a whole number of ticks and not a bit of it is lost."""
    ticks = np.rint(times_s * TICKS_PER_S)
    is_exact = (np.abs(ticks) < 2**31).all() and (ticks / TICKS_PER_S == times_s).all()
    return ticks.astype(np.int32) if is_exact else times_s


def packed_clips(data: Dataset, split: str, *, replay_kinds: Sequence[str] = ()) -> Iterator[PackedClips]:
    """Yield the clips of a split, piece by piece; the processes of a torchrun share the cores of their machine.

    Raises:
        DatasetError: the split is dev or heldout and holds a synthetic clip, or its manifest cannot be read.
        AudioError: a sound is not there.
    """
    pieces, keys = data.manifest_pieces(split, PIECE_LINES), SoundKeys(data)
    is_much = len(pieces) >= _LEAST_PIECES
    cores = max(1, num_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))) if is_much else 1
    reader = functools.partial(PieceReader, data, split, tuple(replay_kinds))
    found = Engine(workers=cores).results(reader, [[piece] for piece in pieces])
    for piece, packed in track(found, f"pieces of {split} read", total=len(pieces)) if is_much else found:
        if isinstance(packed, SetAside):
            raise DatasetError(f"{data.manifest_path(split)}: from line {piece[2]} on: {packed.fault}")
        if split != "train" and packed.is_synthetic.any():
            data.measured_clips(split)  # which names it
        keys.tell(packed.found_keys)
        yield dataclasses.replace(packed, found_keys={})
    keys.keep()
