"""Part clips into train, dev and held-out so that no voice, or no dictated number, is on two sides. Pure and seeded.

Clips that share a speaker (or a number) form a group, and a group is never parted. Groups are dealt out kind by kind, so that each split
holds each kind of clip in about its share.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

from stt_ft.dataset.manifest import SPLITS, Clip

Item = TypeVar("Item")


def groups_of(clips: Sequence[Clip], keys: Iterable[Sequence[Hashable]]) -> list[list[Clip]]:
    """Return `clips` in groups that share a key, directly or through others; a clip without keys is a group of its own. Order is kept.

    `keys` are those of each clip, in the order of the clips.
    """
    parent = list(range(len(clips)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    owner: dict[Hashable, int] = {}
    for index, own in enumerate(keys):
        for key in own:
            other = root(owner.setdefault(key, index))
            parent[max(other, root(index))] = min(other, root(index))
    groups: dict[int, list[Clip]] = defaultdict(list)
    for index, clip in enumerate(clips):
        groups[root(index)].append(clip)
    return list(groups.values())


def assign(groups: Sequence[Sequence[Clip]], shares: Mapping[str, float], *, kind_of: Callable[[Clip], str], seed: int) -> list[str]:
    """Return the split of every group.

    Large groups are placed first, each where its kinds of clip are furthest below their share; among equals a seeded shuffle decides. No
    wanted split stays empty while another has several groups: of five speakers with equally many clips, dev gets one, though its share is
    less.

    Args:
        groups: clips that stay together.
        shares: split -> share of the clips, adding up to 1.
        kind_of: a clip's kind, by which splits are balanced.
    """
    totals = Counter(kind_of(clip) for group in groups for clip in group)
    order = list(range(len(groups)))
    random.Random(seed).shuffle(order)
    order.sort(key=lambda index: -len(groups[index]))
    wanted = {(split, kind): share * totals[kind] for split, share in shares.items() for kind in totals}
    chosen = [""] * len(groups)
    for index in order:
        kinds = Counter(kind_of(clip) for clip in groups[index])

        def gain(split: str, kinds: Counter[str] = kinds) -> float:
            """How much nearer to its wanted counts the split comes by taking the group (negative: how much further away)."""
            nearer = {kind: abs(wanted[split, kind]) - abs(wanted[split, kind] - count) for kind, count in kinds.items()}
            return sum(nearer[kind] / max(1.0, totals[kind]) for kind in kinds)

        split = max((split for split in SPLITS if shares.get(split, 0) > 0), key=gain)
        for kind, count in kinds.items():
            wanted[split, kind] -= count
        chosen[index] = split
    _fill_empty(chosen, order, [len(group) for group in groups], shares)
    return chosen


def _fill_empty(chosen: list[str], order: Sequence[int], sizes: Sequence[int], shares: Mapping[str, float]) -> None:
    """Move one group to each wanted split that has none, from a split that has several: the one that leaves both nearest to their share."""
    for split in SPLITS:
        counts = Counter(chosen)
        spare = [index for index in order if counts[chosen[index]] > 1]
        if shares.get(split, 0) > 0 and split not in counts and spare:
            held = Counter({name: sum(size for size, one in zip(sizes, chosen, strict=True) if one == name) for name in SPLITS})
            off = {name: held[name] - shares.get(name, 0) * sum(sizes) for name in SPLITS}
            far = {index: abs(off[split] + sizes[index]) + abs(off[chosen[index]] - sizes[index]) for index in spare}
            chosen[min(spare, key=far.__getitem__)] = split
