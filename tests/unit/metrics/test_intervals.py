import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stt_ft.metrics.intervals import estimate, paired_difference, pooled_quantile, quantile, ratio, sorted_quantile, wilson


def test_bootstrap_interval_of_a_mean_is_the_normal_one():
    values = np.random.default_rng(1).normal(3.0, 2.0, size=400)
    got = estimate(ratio(values), 400)
    half = 1.959964 * values.std() / math.sqrt(400)
    assert got.value == pytest.approx(values.mean())
    assert got.low == pytest.approx(values.mean() - half, abs=0.03)
    assert got.high == pytest.approx(values.mean() + half, abs=0.03)


def test_bootstrap_of_a_ratio_resamples_clips_and_not_words():
    errors, words = [0, 0, 10], [1, 1, 10]
    got = estimate(ratio(errors, words), 3)
    assert got.value == pytest.approx(10 / 12)
    assert got.low == 0.0  # one resampling in 3.4 lacks the long clip altogether


@pytest.mark.parametrize(("successes", "trials", "low", "high"), [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634)])
def test_wilson_gives_the_published_values(successes, trials, low, high):
    assert wilson(successes, trials) == pytest.approx((low, high), abs=5e-5)


@given(trials=st.integers(1, 400), data=st.data())
@settings(deadline=None, max_examples=50)
def test_wilson_ends_are_where_the_score_test_turns(trials, data):
    successes = data.draw(st.integers(0, trials))
    for end in wilson(successes, trials):
        if 0 < end < 1:
            assert abs(successes / trials - end) == pytest.approx(1.959964 * math.sqrt(end * (1 - end) / trials), rel=1e-4, abs=1e-9)


def test_a_share_of_zero_has_an_interval_of_some_width():
    got = estimate(ratio([0] * 60), 60, is_share=True)
    assert (got.value, got.low) == (0.0, 0.0)
    assert got.high == pytest.approx(wilson(0, 60)[1])


def test_a_latency_that_is_the_same_in_every_clip_keeps_its_width_of_zero():
    got = estimate(quantile([0.0, 0.0, 0.0], 0.5), 3)
    assert (got.low, got.high) == (0.0, 0.0)


@given(values=st.lists(st.floats(-5, 5), min_size=1, max_size=30), q=st.floats(0, 1))
@settings(deadline=None, max_examples=100)
def test_sorted_quantile_is_numpys(values, q):
    assert sorted_quantile(np.sort(values), q) == pytest.approx(np.quantile(values, q), abs=1e-9)


def test_quantile_beside_infinity_is_infinite_and_never_nan():
    ordered = np.array([1.0, 2.0, math.inf, math.inf])
    assert sorted_quantile(ordered, 1 / 3) == 2.0
    assert sorted_quantile(ordered, 0.5) == math.inf
    assert sorted_quantile(ordered, 1.0) == math.inf


@given(
    values=st.lists(st.lists(st.sampled_from([-0.5, 0.0, 0.1, 0.1, 2.0, 7.0]), max_size=5), min_size=1, max_size=6),
    q=st.floats(0, 1),
    data=st.data(),
)
@settings(deadline=None, max_examples=100)
def test_pooled_quantile_is_numpys_of_the_words_of_the_clips_drawn(values, q, data):
    row = data.draw(st.lists(st.integers(0, len(values) - 1), min_size=len(values), max_size=len(values)))
    words = [value for clip in row for value in values[clip]]
    (got,) = pooled_quantile(values, q)(np.array([row]))
    assert got == pytest.approx(np.quantile(words, q), abs=1e-9) if words else math.isnan(got)


def test_a_pooled_quantile_resamples_clips_and_not_words():
    """Ten clips that are each all early or all late: as uncertain as ten values, however many words they have."""
    clips = [[float(index >= 5)] * 50 for index in range(10)]
    got = estimate(pooled_quantile(clips, 0.5), 10)
    assert (got.low, got.high) == (0.0, 1.0)
    words = estimate(quantile([value for clip in clips[:6] for value in clip], 0.5), 300)
    assert (words.low, words.high) == (0.0, 0.0)


def test_paired_difference_is_tighter_than_the_two_apart():
    rng = np.random.default_rng(2)
    theirs = rng.normal(0, 5, size=100)
    ours = theirs + 1 + rng.normal(0, 0.1, size=100)
    got = paired_difference(ratio(ours), ratio(theirs), 100)
    assert got.value == pytest.approx(1.0, abs=0.05)
    assert got.high - got.low < 0.1
    assert 0.9 < got.low < got.high < 1.1


def test_same_seed_same_interval():
    values = np.random.default_rng(3).normal(size=50)
    assert estimate(ratio(values), 50, seed=4) == estimate(ratio(values), 50, seed=4)


def test_no_clips_is_refused():
    with pytest.raises(ValueError, match="at least one clip, got 0"):
        estimate(ratio([]), 0)
