"""Every word gets its own time: inside the span, in order, never of zero length, whatever comes in."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stt_ft.align.sidecars import LEAST_WORD_S, divide_by_syllables, fit_into_span, num_syllables, widen
from stt_ft.core.errors import AlignmentError
from stt_ft.dataset.sidecar import Word

WORDS = st.lists(st.sampled_from(["one", "seven", "zero", "oh", "double", "quatre", "x"]), min_size=1, max_size=12)
TIMES = st.floats(-5, 60, allow_nan=False)


def assert_in_order(timed: list[Word], start_s: float, end_s: float) -> None:
    edges = [start_s] + [edge for word in timed for edge in (word.start_s, word.end_s)] + [end_s]
    assert all(before <= after + 1e-9 for before, after in itertools.pairwise(edges))
    assert all(word.end_s - word.start_s >= LEAST_WORD_S - 1e-9 for word in timed)


@settings(deadline=None, max_examples=100)
@given(WORDS, st.floats(0, 50), st.floats(0.15, 10))
def test_division_fills_the_span_in_order(words: list[str], start_s: float, length_s: float) -> None:
    timed = divide_by_syllables(words, start_s, start_s + length_s)
    assert_in_order(timed, start_s, start_s + length_s)
    assert [word.text for word in timed] == words
    assert timed[0].start_s == start_s
    assert timed[-1].end_s == start_s + length_s


def test_division_gives_longer_words_more_time() -> None:
    one, seven = divide_by_syllables(["one", "seven"], 0.0, 3.0)
    assert seven.end_s - seven.start_s == pytest.approx(2 * (one.end_s - one.start_s), rel=0.05)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(TIMES, TIMES), min_size=1, max_size=12), st.floats(0, 50), st.floats(0.15, 10))
def test_any_times_are_fitted_into_the_span(times: list[tuple[float, float]], start_s: float, length_s: float) -> None:
    fitted = fit_into_span(
        [Word(text=str(index), start_s=begin_s, end_s=stop_s) for index, (begin_s, stop_s) in enumerate(times)], start_s, start_s + length_s
    )
    assert_in_order(fitted, start_s, start_s + length_s)


def test_times_that_fit_are_left_as_they_are() -> None:
    words = [Word(text="a", start_s=1.0, end_s=1.2), Word(text="b", start_s=1.3, end_s=1.5)]
    assert fit_into_span(words, 0.9, 2.0) == words


def test_a_span_without_room_is_refused() -> None:
    with pytest.raises(AlignmentError, match="3 words do not fit"):
        divide_by_syllables(["one", "two", "three"], 1.0, 1.02)


@settings(deadline=None, max_examples=100)
@given(st.floats(0, 20), st.floats(0, 2), st.integers(1, 10), st.floats(0, 2), st.floats(0, 2))
def test_widening_makes_room_within_the_neighbours_or_refuses(
    start_s: float, length_s: float, num_words: int, before: float, after: float
) -> None:
    after_s, before_s = max(0.0, start_s - before), start_s + length_s + after
    try:
        new_start_s, new_end_s = widen(start_s, start_s + length_s, num_words=num_words, after_s=after_s, before_s=before_s)
    except AlignmentError:
        assert before_s - after_s < num_words * LEAST_WORD_S * 1.02
        return
    assert after_s - 1e-9 <= new_start_s <= new_end_s <= before_s + 1e-9
    assert new_end_s - new_start_s >= num_words * LEAST_WORD_S - 1e-9


@pytest.mark.parametrize(("word", "count"), [("one", 1), ("seven", 2), ("zero", 2), ("double", 2), ("é", 1), ("mm", 1), ("hundred", 2)])
def test_syllables(word: str, count: int) -> None:
    assert num_syllables(word) == count
