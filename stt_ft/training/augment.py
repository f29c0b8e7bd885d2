"""New takes from old codes: pauses inside numbers, numbers that end sooner, clips in one stream.

A few dozen recordings teach the pause heads the length of every number by heart. What is changed here is exactly what they must not
rely on: how long a number is, how evenly it is spoken, and what came before. Silence is the clip's own: same room, same microphone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from stt_ft.core import timing
from stt_ft.core.recipe import AugmentRecipe
from stt_ft.targets.interleave import TokenWord
from stt_ft.training.clips import SpokenClip

SPEECH_MARGIN_S = 0.12
"""Silence is looked for no nearer to a word than this, in seconds: aligners are off by about that much."""

MIN_SILENCE_FRAMES = 3
"""Where a clip has less silence of its own than this, the silence after it is taken too."""


def augment(
    clip: SpokenClip, others: Sequence[SpokenClip], recipe: AugmentRecipe, *, max_frames: int, rng: np.random.Generator
) -> SpokenClip:
    """Return one new take of `clip`, at most `max_frames` long where it was no longer before.

    Args:
        clip: what was recorded.
        others: clips of which one may follow in the same stream.
        recipe: how likely each change is.
        max_frames: length that joining must not exceed: the context of the model.
        rng: decides; the same generator makes the same take.
    """
    take = _vary(clip, recipe, rng)
    if others and rng.random() < recipe.join_prob:
        joined = join(take, _vary(others[int(rng.integers(len(others)))], recipe, rng))
        if joined.num_frames <= max_frames:
            take = joined
    if recipe.code_dropout > 0:
        dropped = rng.random(take.codes.shape) < recipe.code_dropout
        take = dataclasses.replace(take, codes=np.where(dropped, np.int16(-1), take.codes))
    return take


def _vary(clip: SpokenClip, recipe: AugmentRecipe, rng: np.random.Generator) -> SpokenClip:
    if rng.random() < recipe.crop_prob:
        clip = crop_number(clip, rng)
    if recipe.pause_prob > 0:
        clip = insert_pauses(clip, prob=recipe.pause_prob, max_pause_s=recipe.max_pause_s, rng=rng)
    return clip


def insert_pauses(clip: SpokenClip, *, prob: float, max_pause_s: float, rng: np.random.Generator) -> SpokenClip:
    """Lengthen gaps between neighbouring words of a number by silence; later words move by as much."""
    max_pause_frames = max(1, timing.num_frames_covering(max_pause_s))
    pieces: list[np.ndarray] = []
    words: list[TokenWord] = list(clip.words[:1])
    taken, inserted = 0, 0  # frames of the clip copied so far, frames of silence put in
    for index in range(1, len(clip.words)):
        if clip.in_number[index - 1] and clip.in_number[index] and rng.random() < prob:
            cut = max(gap_frame(clip, index), taken)
            pause = silence(clip, int(rng.integers(1, max_pause_frames + 1)), rng)
            pieces += [clip.codes[:, taken:cut], pause]
            taken, inserted = cut, inserted + pause.shape[1]
        words.append(_moved(clip.words[index], inserted))
    pieces.append(clip.codes[:, taken:])
    codes = np.concatenate(pieces, axis=1)
    return dataclasses.replace(clip, codes=codes, words=tuple(words), num_recorded_frames=clip.num_recorded_frames + inserted)


def crop_number(clip: SpokenClip, rng: np.random.Generator) -> SpokenClip:
    """End the clip after a word inside its number, with as much silence behind as it had; a clip without a number stays as it is."""
    inside = [index for index in range(1, len(clip.words)) if clip.in_number[index - 1] and clip.in_number[index]]
    if not inside:
        return clip
    first_gone = inside[rng.integers(len(inside))]
    cut = gap_frame(clip, first_gone)
    tail = clip.codes[:, clip.num_recorded_frames :]
    room = silence(clip, int(rng.integers(1, timing.num_frames_covering(0.5) + 1)), rng)
    return dataclasses.replace(
        clip,
        codes=np.concatenate([clip.codes[:, :cut], room, tail], axis=1),
        words=clip.words[:first_gone],
        in_number=clip.in_number[:first_gone],
        num_recorded_frames=cut + room.shape[1],
    )


def join(first: SpokenClip, second: SpokenClip) -> SpokenClip:
    """Return one stream in which `second` begins when `first` has ended, silence and all."""
    moved = tuple(_moved(word, first.num_frames) for word in second.words)
    return SpokenClip(
        clip_id=f"{first.clip_id} + {second.clip_id}",
        codes=np.concatenate([first.codes, second.codes], axis=1),
        words=first.words + moved,
        in_number=first.in_number + second.in_number,
        num_recorded_frames=first.num_frames + second.num_recorded_frames,
    )


def silence(clip: SpokenClip, num_frames: int, rng: np.random.Generator) -> npt.NDArray[np.int16]:
    """Return `num_frames` frames of codes [n_q, num_frames] from the clip's own silence, in runs as long as they come."""
    runs = silent_runs(clip)
    lengths = np.array([stop - first for first, stop in runs])
    pieces: list[np.ndarray] = []
    needed = num_frames
    while needed > 0:
        first, stop = runs[rng.choice(len(runs), p=lengths / lengths.sum())]
        begin = int(rng.integers(first, stop))
        piece = clip.codes[:, begin : min(stop, begin + needed)]
        pieces.append(piece)
        needed -= piece.shape[1]
    return np.concatenate(pieces, axis=1)


def silent_runs(clip: SpokenClip) -> list[tuple[int, int]]:
    """Return the runs of frames (first, stop) in which nothing is said: recorded ones, and the tail where these are too few."""
    recorded_s = timing.frame_start_s(clip.num_recorded_frames)
    ends_s = [0.0, *(word.end_s + SPEECH_MARGIN_S for word in clip.words)]
    starts_s = [*(word.start_s - SPEECH_MARGIN_S for word in clip.words), recorded_s]
    runs = []
    for end_s, start_s in zip(ends_s, starts_s, strict=True):
        first, stop = timing.num_frames_covering(max(end_s, 0.0)), timing.frame_at(min(start_s, recorded_s))
        if stop > first:
            runs.append((first, stop))
    if sum(stop - first for first, stop in runs) < MIN_SILENCE_FRAMES and clip.num_frames > clip.num_recorded_frames:
        runs.append((clip.num_recorded_frames, clip.num_frames))
    return runs or [(clip.num_frames - 1, clip.num_frames)]


def gap_frame(clip: SpokenClip, index: int) -> int:
    """Return the frame before which the gap between words `index - 1` and `index` is best cut: its middle, rounded to a frame's edge."""
    before, after = clip.words[index - 1], clip.words[index]
    middle_s = (min(before.end_s, after.start_s) + after.start_s) / 2
    return min(max(round(middle_s * timing.FRAME_RATE_HZ), timing.frame_at(before.start_s) + 1), clip.num_recorded_frames)


def _moved(word: TokenWord, num_frames: int) -> TokenWord:
    shift_s = timing.frame_start_s(num_frames)
    return dataclasses.replace(word, start_s=word.start_s + shift_s, end_s=word.end_s + shift_s)
