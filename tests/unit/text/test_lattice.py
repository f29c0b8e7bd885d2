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


def test_the_path_of_a_way_holds_its_arcs_in_order() -> None:
    lattice = chain([fixed(["order"]), either([("five", "five"), ("double", "five")]), either([(), ("please",)])])
    path = lattice.path_of(["order", "double", "five"])
    assert path is not None
    assert [(arc.start, arc.stop, arc.words) for arc in path] == [(0, 1, ("order",)), (1, 2, ("double", "five")), (2, 3, ())]
    assert lattice.path_of(["order", "double"]) is None


def test_paths_come_the_plain_way_first_and_each_once() -> None:
    lattice = chain([either([("zero",), ("oh",)])] * 3)
    assert next(lattice.paths()) == ("zero", "zero", "zero")
    assert len(list(lattice.paths())) == len(set(lattice.paths())) == 8


def test_also_adds_only_what_is_new_and_makes_it_less_likely() -> None:
    lattice = also(fixed(["ten"]), [("ten",), ("one", "zero")])
    assert lattice.accepts(["one", "zero"])
    assert [arc.prior for arc in lattice.arcs] == [1.0, 1e-10]
    assert lattice.is_open
    assert not fixed(["ten"]).is_open


def test_or_else_takes_the_ways_of_both_and_makes_the_second_less_likely() -> None:
    lattice = or_else(chain([either([("five",), ("a", "five")]), fixed(["k"])]), chain([fixed(["fifty"]), either([("k",), ("kilo",)])]))
    assert lattice.words == ("five", "k")
    assert set(lattice.paths()) == {("five", "k"), ("a", "five", "k"), ("fifty", "k"), ("fifty", "kilo")}
    assert sorted({arc.prior for arc in lattice.arcs}) == [1e-10, 1.0]


@pytest.mark.parametrize("said", [("zero", "zero"), ("zero", "oh"), ("double", "zero"), ("nought",)])
def test_without_leaves_every_way_but_one_even_where_it_can_be_built_twice(said: tuple[str, ...]) -> None:
    zeros = chain([either([("zero",), ("oh",)])] * 2)
    lattice = also(also(zeros, [("double", "zero"), ("nought",)]), [])
    lattice = Lattice(words=lattice.words, arcs=(*lattice.arcs, Arc(0, 2, ("zero", "oh"))), last=2)
    left = without(lattice, said)
    assert left is not None
    assert set(left.paths()) == set(lattice.paths()) - {said}
    assert not left.accepts(said)
    assert left.accepts(left.words)


def test_without_the_only_way_nothing_is_left() -> None:
    assert without(fixed(["ten", "four"]), ("ten", "four")) is None
