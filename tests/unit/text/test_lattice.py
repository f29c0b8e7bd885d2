"""Lattices of readings: joining, accepting, listing."""

from __future__ import annotations

import pytest

from stt_ft.text.lattice import Arc, Lattice, also, chain, either, fixed, or_else, without


def test_chain_joins_ways_in_order() -> None:
    lattice = chain([fixed(["order"]), either([("five", "five"), ("double", "five")])])
    assert lattice.words == ("order", "five", "five")
    assert lattice.accepts(["order", "double", "five"])
    assert not lattice.accepts(["double", "five"])
    assert not lattice.accepts(["order", "five"])


def test_paths_list_the_plain_way_first_and_stop_at_the_limit() -> None:
    lattice = chain([either([("zero",), ("oh",)])] * 3)
    assert lattice.paths(1) == [("zero", "zero", "zero")]
    assert len(lattice.paths(100)) == 8


def test_also_adds_only_what_is_new_and_makes_it_less_likely() -> None:
    lattice = also(fixed(["ten"]), [("ten",), ("one", "zero")])
    assert lattice.accepts(["one", "zero"])
    assert [arc.prior for arc in lattice.arcs] == [1.0, 1e-10]
    assert lattice.is_open
    assert not fixed(["ten"]).is_open


def test_or_else_takes_the_ways_of_both_and_makes_the_second_less_likely() -> None:
    lattice = or_else(chain([either([("five",), ("a", "five")]), fixed(["k"])]), chain([fixed(["fifty"]), either([("k",), ("kilo",)])]))
    assert lattice.words == ("five", "k")
    assert set(lattice.paths(9)) == {("five", "k"), ("a", "five", "k"), ("fifty", "k"), ("fifty", "kilo")}
    assert sorted({arc.prior for arc in lattice.arcs}) == [1e-10, 1.0]


@pytest.mark.parametrize("said", [("zero", "zero"), ("zero", "oh"), ("double", "zero"), ("nought",)])
def test_without_leaves_every_way_but_one_even_where_it_can_be_built_twice(said: tuple[str, ...]) -> None:
    zeros = chain([either([("zero",), ("oh",)])] * 2)
    lattice = also(also(zeros, [("double", "zero"), ("nought",)]), [])
    lattice = Lattice(words=lattice.words, arcs=(*lattice.arcs, Arc(0, 2, ("zero", "oh"))), last=2)
    left = without(lattice, said)
    assert left is not None
    assert set(left.paths(20)) == set(lattice.paths(20)) - {said}
    assert not left.accepts(said)
    assert left.accepts(left.words)


def test_without_the_only_way_nothing_is_left() -> None:
    assert without(fixed(["ten", "four"]), ("ten", "four")) is None
