"""Clips longer than the model's context, cut between words into pieces that fit; every word is kept once, at its true time.

A piece ends with the clip's own closing silence, in which its last words are written. Nobody stopped speaking there, so what the pause
heads should say of the time after the cut is left open (`SpokenClip.goes_on`).
"""

from __future__ import annotations

import dataclasses

import numpy as np

from stt_ft.core import timing
from stt_ft.core.errors import DatasetError
from stt_ft.training.augment import moved
from stt_ft.training.clips import SpokenClip

SEARCHED_SHARE = 0.5
"""The widest gap is looked for in this last share of the room that a piece has."""


def cut_to_fit(clip: SpokenClip, *, max_frames: int, num_prefix_frames: int = 0) -> list[SpokenClip]:
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
    tail = clip.codes[:, clip.num_recorded_frames :]
    pieces, first_word, start = [], 0, num_prefix_frames
    while start < clip.num_recorded_frames:
        room = max_frames - num_prefix_frames - tail.shape[1]
        next_word, stop = _cut(clip, first_word, start, room)
        shift = num_prefix_frames - start
        pieces.append(
            dataclasses.replace(
                clip,
                clip_id=f"{clip.clip_id} from {timing.frame_start_s(start - num_prefix_frames):.1f} s",
                codes=np.concatenate([clip.codes[:, :num_prefix_frames], clip.codes[:, start:stop], tail], axis=1),
                words=tuple(moved(word, shift) for word in clip.words[first_word:next_word]),
                in_number=clip.in_number[first_word:next_word],
                num_recorded_frames=num_prefix_frames + stop - start,
                goes_on=stop < clip.num_recorded_frames,
            )
        )
        first_word, start = next_word, stop
    return [piece for piece in pieces if piece.words]


def _cut(clip: SpokenClip, first_word: int, start: int, room: int) -> tuple[int, int]:
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
