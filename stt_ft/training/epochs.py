"""Which clips make an epoch, and which of them stand side by side: decided by the seed and the epoch alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from stt_ft.training.clips import SpokenClip

LENGTH_JITTER = 0.1
"""Lengths are shuffled by this share before clips are put together, so that batches differ from epoch to epoch."""


Pool = Literal["recorded", "synthetic", "replayed"]
"""Why a clip is there: to be learned, to be learned beside the recordings, or to keep what the base knew."""


def epoch_clips(
    clips: Sequence[SpokenClip], epoch: int, *, replay_share: float | None, seed: int, synthetic_share: float = 0.0
) -> list[int]:
    """Return the indices of the clips of an epoch: each recording once, beside them synthetic and replayed clips.

    Of the synthetic ones as many as keep within `synthetic_share` of what is learned, of the replayed ones as many as make up
    `replay_share` of the epoch (None: each once). Both come round in shuffled rounds, going on in an epoch where the one before left off.
    """
    pools = pools_of(clips)
    recorded, synthetic, replayed = pools["recorded"], pools["synthetic"], pools["replayed"]
    most = math.floor(len(recorded) * synthetic_share / (1 - synthetic_share) + 1e-9)
    if most < len(synthetic):
        synthetic = _by_turns(synthetic, most, epoch, [seed, 3])
    learned = sorted([*recorded, *synthetic])
    if replay_share is None:
        return sorted([*learned, *replayed])
    return learned + _by_turns(replayed, round(len(learned) * replay_share / (1 - replay_share)), epoch, [seed, 2])


def pool_of(clip: SpokenClip) -> Pool:
    """Return why a clip is there; a synthetic one whose kind is replayed counts as synthetic."""
    return "synthetic" if clip.is_synthetic else "replayed" if clip.is_replay else "recorded"


def pools_of(clips: Sequence[SpokenClip]) -> dict[Pool, list[int]]:
    """Return the indices of the clips of each pool, in order."""
    pools: dict[Pool, list[int]] = {"recorded": [], "synthetic": [], "replayed": []}
    for index, clip in enumerate(clips):
        pools[pool_of(clip)].append(index)
    return pools


def _by_turns(indices: Sequence[int], count: int, epoch: int, seed: list[int]) -> list[int]:
    """Return `count` of `indices` in an epoch, from rounds that are shuffled anew each time, where the epoch before left off."""
    if count == 0:
        return []
    first = epoch * count
    rounds = range(first // len(indices), -(-(first + count) // len(indices)))
    shuffled = [indices[at] for number in rounds for at in np.random.default_rng([seed[0], number, seed[1]]).permutation(len(indices))]
    skipped = first - rounds.start * len(indices)
    return shuffled[skipped : skipped + count]


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
