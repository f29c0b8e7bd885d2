"""New takes from old codes: pauses inside numbers, other numbers, clips in one stream.

A few dozen recordings teach the pause heads the length of every number by heart. What is changed here is exactly what they must not
rely on: how long a number is, how evenly it is spoken, and what came before. Silence is the clip's own: same room, same microphone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from stt_ft.core import timing
from stt_ft.core.recipe import AugmentRecipe
from stt_ft.dataset.sidecar import Word
from stt_ft.training.data.clips import TrainingClip

SPEECH_MARGIN_S = 0.12
"""Silence is looked for no nearer to a word than this, in seconds: aligners are off by about that much."""

MAX_PAUSE_S = 1.5
"""Longest silence put in a gap, in seconds; the shortest is one frame."""

MAX_WORDS_MORE = 3
"""How many words a number gains or loses at most when it is said anew."""

MIN_SILENCE_FRAMES = 3
"""Where a clip has less silence of its own than this, the silence after it is taken too."""


def augment(
    clip: TrainingClip,
    others: Sequence[TrainingClip],
    recipe: AugmentRecipe,
    *,
    max_frames: int,
    rng: np.random.Generator,
    write: Callable[[TrainingClip], TrainingClip] = lambda clip: clip,
) -> TrainingClip:
    """Return one new take of `clip`, never longer than `max_frames`, or than the clip where that is longer already.

    Args:
        clip: what was recorded.
        others: clips of which one may follow in the same stream.
        recipe: how likely each change is.
        max_frames: the context of the model.
        rng: decides; the same generator makes the same take.
        write: puts the words of a take in their style (`LabelWriter.write`), when it is settled which there are and before another joins.
    """

    def varied(clip: TrainingClip) -> TrainingClip:
        return write(_vary(clip, recipe, max(max_frames, clip.num_frames), rng))

    take = varied(clip)
    # What was cut off went on, and nobody knows how: another clip in the same stream would teach that the turn was over there.
    if others and rng.random() < recipe.join_prob and not take.goes_on:
        joined = join(take, varied(others[int(rng.integers(len(others)))]))
        if joined.num_frames <= max_frames:
            take = joined
    if recipe.code_dropout > 0:
        dropped = rng.random(take.codes.shape) < recipe.code_dropout
        take = dataclasses.replace(take, codes=np.where(dropped, np.int16(-1), take.codes))
    return take


def _vary(clip: TrainingClip, recipe: AugmentRecipe, max_frames: int, rng: np.random.Generator) -> TrainingClip:
    if recipe.renumber_prob > 0 and rng.random() < recipe.renumber_prob:
        renumbered = renumber(clip, rng)
        clip = renumbered if renumbered.num_frames <= max_frames else clip
    if recipe.pause_prob > 0:
        clip = insert_pauses(clip, prob=recipe.pause_prob, max_frames=max_frames, rng=rng)
    return clip


def insert_pauses(clip: TrainingClip, *, prob: float, max_frames: int, rng: np.random.Generator) -> TrainingClip:
    """Lengthen gaps between neighbouring words of a number by silence, as far as `max_frames` allow; later words move by as much."""
    max_pause_frames = timing.num_frames_covering(MAX_PAUSE_S)
    pieces: list[np.ndarray] = []
    words: list[Word] = list(clip.words[:1])
    taken, inserted = 0, 0  # frames of the clip copied so far, frames of silence put in
    for index in range(1, len(clip.words)):
        if clip.in_number[index - 1] and clip.in_number[index] and rng.random() < prob:
            cut = max(gap_frame(clip, index), taken)
            num_frames = min(int(rng.integers(1, max_pause_frames + 1)), max_frames - clip.num_frames - inserted)
            if num_frames <= 0:
                words.append(clip.words[index].moved(timing.frame_start_s(inserted)))
                continue
            pause = silence(clip, num_frames, rng)
            pieces += [clip.codes[:, taken:cut], pause]
            taken, inserted = cut, inserted + pause.shape[1]
        words.append(clip.words[index].moved(timing.frame_start_s(inserted)))
    pieces.append(clip.codes[:, taken:])
    codes = np.concatenate(pieces, axis=1)
    return dataclasses.replace(clip, codes=codes, words=tuple(words), num_recorded_frames=clip.num_recorded_frames + inserted)


def renumber(clip: TrainingClip, rng: np.random.Generator) -> TrainingClip:
    """Return a take that dictates another number: its words but the last drawn anew from the clip's own, up to three more or fewer.

    The last word stays, and with it the melody by which a listener knows that the number has ended. A clip whose first number has fewer
    than three words stays as it is.
    """
    span = _first_number(clip)
    if span is None:
        return clip
    first, last = span
    edges = [gap_frame(clip, index) if index else timing.frame_at(clip.words[0].start_s) for index in range(first, last + 1)]
    num_words = max(1, last - first + int(rng.integers(-MAX_WORDS_MORE, MAX_WORDS_MORE + 1)))
    pieces, words, position = [clip.codes[:, : edges[0]]], list(clip.words[:first]), edges[0]
    for index in rng.integers(last - first, size=num_words):
        start, stop = edges[index], edges[index + 1]
        pieces.append(clip.codes[:, start:stop])
        words.append(clip.words[first + index].moved(timing.frame_start_s(position - start)))
        position += stop - start
    shift = position - edges[-1]
    pieces.append(clip.codes[:, edges[-1] :])
    return dataclasses.replace(
        clip,
        codes=np.concatenate(pieces, axis=1),
        words=(*words, *(word.moved(timing.frame_start_s(shift)) for word in clip.words[last:])),
        in_number=clip.in_number[:first] + (True,) * num_words + clip.in_number[last:],
        num_recorded_frames=clip.num_recorded_frames + shift,
    )


def _first_number(clip: TrainingClip) -> tuple[int, int] | None:
    """Return the first and the last word of the clip's first number, or None where it has fewer than three words."""
    inside = [index for index, is_in in enumerate(clip.in_number) if is_in]
    if not inside:
        return None
    first = inside[0]
    last = next(index for index in range(first, len(clip.words)) if index + 1 == len(clip.words) or not clip.in_number[index + 1])
    return (first, last) if last - first >= 2 else None


def join(first: TrainingClip, second: TrainingClip) -> TrainingClip:
    """Return one stream in which `second` begins when `first`, which is the end of a turn, has ended, silence and all."""
    assert not first.goes_on, f"{first.clip_id} goes on, so nothing may follow it"
    later = tuple(word.moved(timing.frame_start_s(first.num_frames)) for word in second.words)
    return TrainingClip(
        clip_id=f"{first.clip_id} + {second.clip_id}",
        codes=np.concatenate([first.codes, second.codes], axis=1),
        words=first.words + later,
        in_number=first.in_number + second.in_number,
        num_recorded_frames=first.num_frames + second.num_recorded_frames,
        is_replay=first.is_replay and second.is_replay,
        is_synthetic=first.is_synthetic or second.is_synthetic,
        goes_on=second.goes_on,
    )


def silence(clip: TrainingClip, num_frames: int, rng: np.random.Generator) -> npt.NDArray[np.int16]:
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


def silent_runs(clip: TrainingClip) -> list[tuple[int, int]]:
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


def gap_frame(clip: TrainingClip, index: int) -> int:
    """Return the frame before which the gap between words `index - 1` and `index` is best cut: its middle, rounded to a frame's edge."""
    before, after = clip.words[index - 1], clip.words[index]
    middle_s = (min(before.end_s, after.start_s) + after.start_s) / 2
    return min(max(round(middle_s * timing.FRAME_RATE_HZ), timing.frame_at(before.start_s) + 1), clip.num_recorded_frames)
