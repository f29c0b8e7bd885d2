"""The ways in which one written token may be said, as a small graph: "500" is five zero zero, five oh oh, five double zero …

Nodes are numbered from 0 to `last`; an arc from one node to a later one says some words (or none). A path from 0 to `last` is one way of
saying the token. An aligner that hears the sound picks the path that fits best; without sound, `words` is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

UNLIKELY = 1e-10
"""Prior of a way that is seldom said."""

_OTHER = -1  # in `without`: something else was said


@dataclass(frozen=True)
class Arc:
    """Words said between two nodes of a lattice; `prior` says how likely this way is against the plainest, 1.0."""

    start: int
    stop: int
    words: tuple[str, ...]
    prior: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Lattice:
    """Ways of saying one thing.

    Attributes:
        words: the way that is taken without sound.
        arcs: all the ways; the first path that can be built from them is `words`.
        last: the final node.
    """

    words: tuple[str, ...]
    arcs: tuple[Arc, ...]
    last: int

    @property
    def is_open(self) -> bool:
        """Whether there is more than one way."""
        return len(self.arcs) > self.last

    def accepts(self, words: Sequence[str]) -> bool:
        """Return whether `words` is one of the ways."""
        return self.path_of(words) is not None

    def path_of(self, words: Sequence[str]) -> list[Arc] | None:
        """Return the arcs, in order, of a path that says `words`; None where no path does."""
        leaving: dict[int, list[Arc]] = {}
        for arc in self.arcs:
            leaving.setdefault(arc.start, []).append(arc)
        came_by: dict[tuple[int, int], Arc | None] = {(0, 0): None}  # node, number of words said up to it
        frontier = [(0, 0)]
        while frontier:
            node, taken = frontier.pop()
            for arc in leaving.get(node, []):
                step = (arc.stop, taken + len(arc.words))
                if step not in came_by and tuple(words[taken : step[1]]) == arc.words:
                    came_by[step] = arc
                    frontier.append(step)
        state, path = (self.last, len(words)), []
        if state not in came_by:
            return None
        while (arc := came_by[state]) is not None:
            path.append(arc)
            state = (arc.start, state[1] - len(arc.words))
        return path[::-1]

    def paths(self) -> Iterator[tuple[str, ...]]:
        """Yield the ways of saying it, the plainest first; a way that can be built twice comes twice."""
        stack: list[tuple[int, tuple[str, ...]]] = [(0, ())]
        while stack:
            node, said = stack.pop()
            if node == self.last:
                yield said
                continue
            stack += [(arc.stop, said + arc.words) for arc in reversed(self.arcs) if arc.start == node]


def fixed(words: Iterable[str]) -> Lattice:
    """Return the lattice of one way only."""
    words = tuple(words)
    return Lattice(words=words, arcs=(Arc(0, 1, words),), last=1)


def either(ways: Sequence[Sequence[str]]) -> Lattice:
    """Return the lattice of several whole ways, the first being the likeliest."""
    distinct = list(dict.fromkeys(tuple(way) for way in ways))
    return Lattice(words=distinct[0], arcs=tuple(Arc(0, 1, way) for way in distinct), last=1)


def chain(parts: Sequence[Lattice]) -> Lattice:
    """Return the lattice that says `parts` one after the other."""
    words: tuple[str, ...] = ()
    arcs: list[Arc] = []
    offset = 0
    for part in parts:
        words += part.words
        arcs += [Arc(arc.start + offset, arc.stop + offset, arc.words, arc.prior) for arc in part.arcs]
        offset += part.last
    return Lattice(words=words, arcs=tuple(arcs), last=offset)


def also(lattice: Lattice, ways: Iterable[Sequence[str]]) -> Lattice:
    """Return `lattice` with further, less likely ways of saying the whole of it."""
    more = tuple(Arc(0, lattice.last, tuple(way), UNLIKELY) for way in dict.fromkeys(map(tuple, ways)) if not lattice.accepts(way))
    return Lattice(words=lattice.words, arcs=lattice.arcs + more, last=lattice.last)


def maybe(ways: Sequence[Sequence[str]]) -> Lattice:
    """Return the lattice that says nothing or, less likely, one of `ways`."""
    return Lattice(words=(), arcs=(Arc(0, 1, ()), *(Arc(0, 1, tuple(way), UNLIKELY) for way in ways)), last=1)


def or_else(likely: Lattice, otherwise: Lattice | None, *, prior: float = UNLIKELY) -> Lattice:
    """Return the lattice of the ways of `likely` and, by `prior` less likely, of those of `otherwise`."""
    if otherwise is None:
        return likely
    if not otherwise.is_open and likely.accepts(otherwise.words):
        return likely
    last = likely.last + otherwise.last - 1

    def moved(node: int, base: int, end: int) -> int:
        return 0 if node == 0 else last if node == end else base + node

    arcs = [Arc(moved(arc.start, 0, likely.last), moved(arc.stop, 0, likely.last), arc.words, arc.prior) for arc in likely.arcs]
    for arc in otherwise.arcs:
        start, stop = (moved(node, likely.last - 1, otherwise.last) for node in (arc.start, arc.stop))
        arcs.append(Arc(start, stop, arc.words, arc.prior * (1.0 if start else prior)))
    return Lattice(words=likely.words, arcs=tuple(arcs), last=last)


def last_changed(lattice: Lattice, change: Callable[[str], str]) -> Lattice:
    """Return the lattice whose every way ends in another word: `change` of its last."""
    arcs = tuple(
        Arc(arc.start, arc.stop, (*arc.words[:-1], change(arc.words[-1])), arc.prior) if arc.stop == lattice.last and arc.words else arc
        for arc in lattice.arcs
    )
    return Lattice(words=(*lattice.words[:-1], change(lattice.words[-1])), arcs=arcs, last=lattice.last)


def without(lattice: Lattice, words: Sequence[str]) -> Lattice | None:
    """Return the lattice of all the ways but `words`, node by node in order; None where there is no other way.

    A state is a node and how much of `words` was said on the way to it, or that something else was said.
    """
    words = tuple(words)
    states: dict[tuple[int, int], None] = {(0, 0): None}
    links: list[tuple[tuple[int, int], tuple[int, int], Arc]] = []
    for node in range(lattice.last):
        for state in [state for state in states if state[0] == node]:
            for arc in (arc for arc in lattice.arcs if arc.start == node):
                taken = state[1]
                follows = taken >= 0 and words[taken : taken + len(arc.words)] == arc.words
                after = (arc.stop, taken + len(arc.words) if follows else _OTHER)
                if after != (lattice.last, len(words)):
                    states[after] = None
                    links.append((state, after, arc))
    useful = {state for state in states if state[0] == lattice.last}
    for start, stop, _ in sorted(links, key=lambda link: -link[0][0]):
        if stop in useful:
            useful.add(start)
    if (0, 0) not in useful:
        return None
    inner = sorted(state for state in useful if state[0] != lattice.last)
    number = {state: index for index, state in enumerate(inner)} | {state: len(inner) for state in useful if state[0] == lattice.last}
    arcs = tuple(Arc(number[start], number[stop], arc.words, arc.prior) for start, stop, arc in links if start in number and stop in number)
    left = Lattice(words=(), arcs=arcs, last=len(inner))
    return Lattice(words=next(left.paths()), arcs=arcs, last=len(inner))
