"""Barge-ins on hand-made heads, against figures worked out by hand. Row t is known at (t + 1) * 0.08 s."""

import math

import numpy as np
import pytest

from stt_ft.metrics.barge_ins import HeadInCall, barge_in_figures


def head(num_rows, **spans):
    """A head at 0.9, with other values: low=[(first, stop, value), …]."""
    level = np.full(num_rows, 0.9)
    for first, stop, value in spans["low"]:
        level[first:stop] = value
    return level


def test_delays_and_false_barge_ins_are_those_worked_out_by_hand():
    """Turns from 0.4 to 1.2 s and from 4 to 5 s, 100 rows. Silence: rows 21 (known at 1.76 s, the first from 1.7 on) to 47, since row 48
    is the first from 3.9 on, and 68 to 99; 59 rows are 4.72 s. The head falls at rows 30 and 80 in silence, and at row 54 (4.4 s)."""
    level = head(100, low=[(0, 20, 0.1), (30, 31, 0.3), (35, 36, 0.5), (54, 66, 0.05), (80, 100, 0.39), (85, 88, 0.55), (90, 91, 0.2)])
    found = barge_in_figures([HeadInCall(level=level, turns=[(0.4, 1.2), (4.0, 5.0)])], 0.6)
    assert (found.num_turns, found.num_spoken_over, found.never_rate) == (1, 1, 0)
    assert found.delay_p50_s == found.delay_p90_s == pytest.approx(0.4)
    assert found.silence_s == pytest.approx(4.72)
    assert found.false_per_minute == pytest.approx(2 / 4.72 * 60)


def test_a_head_that_stays_high_never_hears_and_one_that_is_low_beforehand_is_no_barge_in():
    """Three turns follow the first: heard 0.16 s late (row 51, known at 4.16 s), never, and begun with a head that is low already."""
    level = head(210, low=[(0, 20, 0.1), (51, 60, 0.0), (150, 200, 0.0)])
    found = barge_in_figures([HeadInCall(level=level, turns=[(0.4, 1.2), (4.0, 5.0), (8.0, 9.0), (14.0, 15.0)])], 0.6)
    assert (found.num_turns, found.num_spoken_over, found.never_rate) == (3, 2, 0.5)
    assert found.delay_p50_s == math.inf
    assert found.false_per_minute * found.silence_s / 60 == pytest.approx(1)  # at row 150, 12.08 s, between the last two turns


@pytest.mark.parametrize(
    ("row", "delay_s", "num_false"),
    [
        (47, None, 1),  # known at 3.84 s, more than 0.1 s before the onset: in silence, and the agent is quiet when the turn begins
        (48, 0.0, 0),  # known at 3.92 s: the times of words are off by as much
        (50, 0.08, 0),
        (67, 1.44, 0),  # known at 5.44 s: a head learns of the last word half a second late
        (68, math.inf, 1),
    ],
)
def test_where_a_fall_belongs_to_the_turn_that_begins_at_four_seconds(row, delay_s, num_false):
    level = head(100, low=[(0, 20, 0.1), (row, 100, 0.2)])
    found = barge_in_figures([HeadInCall(level=level, turns=[(0.4, 1.2), (4.0, 5.0)])], 0.6)
    assert found.delay_p50_s == (delay_s if delay_s is None else pytest.approx(delay_s))
    assert found.false_per_minute * found.silence_s / 60 == pytest.approx(num_false)


def test_calls_are_taken_together_and_the_first_turn_of_each_is_none():
    level = head(100, low=[(0, 20, 0.1), (54, 66, 0.05)])
    one = HeadInCall(level=level, turns=[(0.4, 1.2), (4.0, 5.0)])
    alone, both = barge_in_figures([one], 0.6), barge_in_figures([one, one], 0.6)
    assert (both.num_turns, both.silence_s) == (2, pytest.approx(2 * alone.silence_s))
    single = barge_in_figures([HeadInCall(level=level[:15], turns=[(0.4, 1.2)])], 0.6)
    assert (single.num_turns, single.delay_p50_s, single.never_rate, single.false_per_minute) == (0, None, None, None)
