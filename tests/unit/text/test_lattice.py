"""Lattices of readings: joining, accepting, listing."""

from __future__ import annotations

from stt_ft.text.lattice import also, chain, either, fixed


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
