"""Which clips make an epoch, and which of them stand side by side: decided by the seed and the epoch alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from stt_ft.training.clips import SpokenClip

LENGTH_JITTER = 0.1
"""Lengths are shuffled by this share before clips are put together, so that batches differ from epoch to epoch."""


def epoch_clips(clips: Sequence[SpokenClip], epoch: int, *, replay_share: float | None, seed: int) -> list[int]:
    """Return the indices of the clips of an epoch: all of them, or each tuning clip once and of the replayed ones as many as asked for.

    Replayed clips come round in shuffled rounds, going on in an epoch where the one before left off.
    """
    if replay_share is None:
        return list(range(len(clips)))
    learned = [index for index, clip in enumerate(clips) if not clip.is_replay]
    replayed = [index for index, clip in enumerate(clips) if clip.is_replay]
    num_replayed = round(len(learned) * replay_share / (1 - replay_share))
    first = epoch * num_replayed
    rounds = range(first // len(replayed), -(-(first + num_replayed) // len(replayed)))
    shuffled = [replayed[at] for number in rounds for at in np.random.default_rng([seed, number, 2]).permutation(len(replayed))]
    skipped = first - rounds.start * len(replayed)
    return learned + shuffled[skipped : skipped + num_replayed]


def group_by_length(
    lengths: Sequence[int], *, batch_size: int, max_frames: int | None, rng: np.random.Generator
) -> list[npt.NDArray[np.int64]]:
    """Return groups of positions of `lengths`: neighbours in length, the groups in random order.

    Args:
        lengths: frames of each clip.
        batch_size: most clips in a group.
        max_frames: most frames in a group, padding counted; a clip that is longer alone stands alone. None for no limit.
        rng: decides who stands beside whom among clips of about the same length, and the order of the groups.
    """
    jittered = np.array(lengths) * rng.uniform(1 - LENGTH_JITTER, 1 + LENGTH_JITTER, len(lengths))
    order = np.argsort(jittered, kind="stable")
    groups = [np.array(group) for group in filled_groups(order.tolist(), lengths, batch_size=batch_size, max_frames=max_frames)]
    return [groups[number] for number in rng.permutation(len(groups))]


def filled_groups(order: Sequence[int], lengths: Sequence[int], *, batch_size: int, max_frames: int | None) -> list[list[int]]:
    """Return the positions in `order` in groups, each filled as far as the limits of `group_by_length` allow."""
    groups: list[list[int]] = []
    longest = 0
    for index in order:
        longest = max(longest, lengths[index]) if groups else lengths[index]
        if groups and len(groups[-1]) < batch_size and (max_frames is None or longest * (len(groups[-1]) + 1) <= max_frames):
            groups[-1].append(index)
        else:
            groups.append([index])
            longest = lengths[index]
    return groups
