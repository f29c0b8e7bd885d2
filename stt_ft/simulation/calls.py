"""Long calls: clips put one after the other with silences between, as an agent hears a caller who stays on the line.

A fine-tuned model may hear single clips well and nothing more once its context is full. Only one long stream shows that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stt_ft.core.timing import SAMPLES_PER_FRAME

MIN_CALLS = 8
"""Fewest calls of a plan: each minute of a call is then heard with some fifty short clips."""

MAX_MORE_SILENCE = 38
"""Frames (3 s) by which a silence may be longer than the shortest: an agent's answers differ in length."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call.

    Attributes:
        clips: the index of each clip, in order.
        starts: the frame of the call with which each clip begins; the first begins with frame 0.
        num_frames: frames up to the end of the last clip.
    """

    clips: tuple[int, ...]
    starts: tuple[int, ...]
    num_frames: int

    def sound(self, sounds: Sequence[np.ndarray]) -> np.ndarray:
        """Return the call's sound from those of its clips in order, mono at 24 kHz [N]; there is digital silence between them."""
        joined = np.zeros(self.num_frames * SAMPLES_PER_FRAME, np.float32)
        for start, sound in zip(self.starts, sounds, strict=True):
            first = start * SAMPLES_PER_FRAME
            joined[first : first + len(sound)] = sound
        return joined


def plan_calls(lengths: Sequence[int], max_frames: int, *, min_silence: int, seed: int) -> list[Call]:
    """Return calls of at most `max_frames` frames (more only for one clip that is longer) over clips of `lengths` frames.

    All clips come in an order drawn anew each time they have all been heard. There are calls until every clip has been in one, and at least
    `MIN_CALLS`. A silence has from `min_silence` to `MAX_MORE_SILENCE` frames more. The same arguments give the same calls.
    """
    rng, calls, waiting = np.random.default_rng(seed), [], []
    clips, starts, stop, unheard = [], [], 0, set(range(len(lengths)))
    while True:
        if not waiting:
            waiting = [int(index) for index in rng.permutation(len(lengths))]
        start = stop + int(rng.integers(min_silence, min_silence + MAX_MORE_SILENCE + 1)) if clips else 0
        if clips and start + lengths[waiting[0]] > max_frames:
            calls.append(Call(clips=tuple(clips), starts=tuple(starts), num_frames=stop))
            unheard -= set(clips)
            if not unheard and len(calls) >= MIN_CALLS:
                return calls
            clips, starts, start = [], [], 0
        clips.append(waiting.pop(0))
        starts.append(start)
        stop = start + lengths[clips[-1]]
