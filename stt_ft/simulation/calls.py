"""Long calls: clips put one after the other with silences between, as an agent hears a caller who stays on the line.

A fine-tuned model may hear single clips well and nothing more once its context is full. Only one long stream shows that.

A caller's line stays open while the agent speaks, so the room goes on sounding between the clips. Digital silence there would end with the
first sample of the next clip, and a room that sets in at once is a hiss: the tuned tiny model wrote "six" of it, before a quarter of turns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from stt_ft.core.timing import SAMPLES_PER_FRAME, num_samples, samples_to_s
from stt_ft.dataset.sidecar import Word

MIN_CALLS = 8
"""Fewest calls of a plan: each minute of a call is then heard with some fifty short clips."""

MAX_MORE_SILENCE = 38
"""Frames (3 s) by which a silence may be longer than the shortest: an agent's answers differ in length."""

WORD_MARGIN_S = 0.15
"""A room is listened to no nearer to a word than this, in seconds: aligners are off by about that much, and voices die away."""

SHORTEST_ROOM_S = 0.05
"""Less quiet than this between words tells nothing of a room, in seconds."""


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

    def sound(self, sound_and_room: Callable[[int], tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
        """Return the call's sound, mono at 24 kHz [N], made of the sound of each of its clips and the `room` in it, by the clip's index.

        Between two clips the room of the first fades into that of the second, at equal power.
        """
        joined = np.zeros(self.num_frames * SAMPLES_PER_FRAME, np.float32)
        room_before, stop = np.zeros(0, np.float32), 0
        for clip, start in zip(self.clips, self.starts, strict=True):
            first = start * SAMPLES_PER_FRAME
            fade_in = np.linspace(0, 1, first - stop, dtype=np.float32)
            sound, own_room = sound_and_room(clip)
            joined[stop:first] = there_and_back(room_before, first - stop) * np.sqrt(1 - fade_in)
            joined[stop:first] += there_and_back(own_room, first - stop) * np.sqrt(fade_in)
            room_before, stop = own_room, first + len(sound)
            joined[first:stop] = sound
        return joined


def room(sound: np.ndarray, words: Sequence[Word]) -> np.ndarray:
    """Return the longest stretch of a clip's `sound`, mono at 24 kHz, in which none of its `words` is near; nothing where all are short.

    A clip without any goes into a call with digital silence beside it.
    """
    ends_s = [0.0, *(word.end_s + WORD_MARGIN_S for word in words)]
    starts_s = [*(word.start_s - WORD_MARGIN_S for word in words), samples_to_s(len(sound))]
    length_s, first_s = max((start_s - end_s, end_s) for end_s, start_s in zip(ends_s, starts_s, strict=True))
    if length_s < SHORTEST_ROOM_S:
        return sound[:0]
    return sound[num_samples(first_s) : num_samples(first_s + length_s)]


def there_and_back(sound: np.ndarray, length: int) -> np.ndarray:
    """Return `length` samples of `sound`, played forwards and backwards by turns, so that no end is heard; zeros where there is none."""
    return np.resize(np.concatenate([sound, sound[::-1]]), length) if len(sound) else np.zeros(length, np.float32)


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
