"""Two versions of a text: where they agree, and that what one of them lacks is found in one piece."""

from __future__ import annotations

import random

import pytest

from stt_ft.align.agreement import Difference, agreeing, differences


@pytest.mark.parametrize("seed", range(5))
def test_a_stretch_of_digits_that_one_side_lacks_is_found_in_one_piece(seed: int) -> None:
    rng = random.Random(seed)
    one = [rng.choice("0123456789") for _ in range(200)]
    other = [*one[:60], "a", *one[61:90], *one[100:]]
    found = differences(agreeing(one, other), len(one), len(other))
    assert found[0] == Difference(start=60, stop=61, other_start=60, other_stop=61)
    assert len(found) == 2
    assert found[1].stop - found[1].start == 10
    assert found[1].other_stop == found[1].other_start
    assert [*one[: found[1].start], *one[found[1].stop :]] == [*one[:90], *one[100:]]  # a digit beside the gap may belong to either side


def test_words_that_agree_by_chance_do_not_count() -> None:
    assert agreeing("a b c d e".split(), "x b y d z".split()) == []  # noqa: SIM905
    assert differences([], 5, 4) == [Difference(start=0, stop=5, other_start=0, other_stop=4)]


@pytest.mark.parametrize(("one", "other"), [([], []), (["a"], []), ([], ["a", "b"])])
def test_an_empty_side_agrees_nowhere(one: list[str], other: list[str]) -> None:
    assert agreeing(one, other) == []
    assert len(differences([], len(one), len(other))) == (1 if one or other else 0)
