import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stt_ft.metrics.endpointing import (
    AREA_MAX_CUT_OFFS,
    AREA_WAIT_S,
    SWEEP_HOLDS,
    SWEEP_THRESHOLDS,
    EndpointRule,
    Turn,
    area_under,
    best_point,
    frontier,
    judge_turn,
    latency_within,
    sweep,
)


def turn_of(levels, *, start_s, end_s, head=2):
    probs = np.zeros((len(levels), 4))
    probs[:, head] = levels
    return Turn(pause_probs=probs, last_word_start_s=start_s, last_word_end_s=end_s)


def judged_by_hand(levels, start_s, end_s, rule):
    """The definitions of design.md section 3, read out row by row: (cut-off, end) in seconds, None where there is none."""
    cut_off_s = ended_s = None
    run = 0
    for row, level in enumerate(levels):
        known_s = round((row + 1) * 0.08, 6)
        run = run + 1 if row >= rule.ignore_frames and level > rule.threshold else 0
        if run >= rule.hold_frames:
            if known_s < start_s - 1e-6:
                cut_off_s = known_s if cut_off_s is None else cut_off_s
            elif ended_s is None:
                ended_s = known_s
    return cut_off_s, ended_s


def test_clean_turn_has_the_latency_of_the_row_that_passes():
    levels = [0.1] * 40 + [0.9] * 10
    verdict = judge_turn(turn_of(levels, start_s=2.4, end_s=3.0), EndpointRule())
    assert not verdict.is_cut_off
    assert verdict.ended_s == pytest.approx(41 * 0.08)
    assert verdict.latency_s == pytest.approx(41 * 0.08 - 3.0)
    assert not verdict.is_early_end
    assert not verdict.is_missed


def test_passing_before_the_last_word_is_a_cut_off_and_the_turn_still_has_an_end():
    levels = [0.1] * 20 + [0.7] + [0.1] * 19 + [0.9] * 10
    verdict = judge_turn(turn_of(levels, start_s=2.4, end_s=3.0), EndpointRule())
    assert verdict.cut_off_s == pytest.approx(21 * 0.08)
    assert verdict.ended_s == pytest.approx(41 * 0.08)


def test_a_row_known_just_when_the_word_begins_is_no_cut_off():
    levels = [0.0] * 24 + [0.9] + [0.0] * 30  # row 24 is known at 2.0 s
    assert not judge_turn(turn_of(levels, start_s=2.0, end_s=2.3), EndpointRule()).is_cut_off
    assert judge_turn(turn_of(levels, start_s=2.001, end_s=2.3), EndpointRule()).is_cut_off


def test_passing_within_the_last_word_is_an_early_end_of_negative_latency():
    levels = [0.0] * 26 + [0.9] * 20
    verdict = judge_turn(turn_of(levels, start_s=2.0, end_s=2.5), EndpointRule())
    assert verdict.is_early_end
    assert verdict.latency_s == pytest.approx(27 * 0.08 - 2.5)


def test_a_turn_that_never_passes_is_missed_and_infinitely_late():
    verdict = judge_turn(turn_of([0.6] * 50, start_s=2.0, end_s=2.5), EndpointRule())  # equal to the threshold is not above it
    assert verdict.is_missed
    assert verdict.latency_s == math.inf


def test_first_frames_are_ignored():
    levels = [0.9] * 12 + [0.0] * 40
    assert not judge_turn(turn_of(levels, start_s=2.0, end_s=2.5), EndpointRule()).is_cut_off
    assert judge_turn(turn_of(levels, start_s=2.0, end_s=2.5), EndpointRule(ignore_frames=11)).is_cut_off


def test_another_head_is_another_verdict():
    turn = turn_of([0.0] * 20 + [0.9] * 20, start_s=3.0, end_s=3.1, head=1)
    assert not judge_turn(turn, EndpointRule(head=2)).is_cut_off
    assert judge_turn(turn, EndpointRule(head=1)).is_cut_off
    with pytest.raises(ValueError, match="no head 4"):
        judge_turn(turn, EndpointRule(head=4))


LEVELS = st.lists(st.sampled_from([0.0, 0.2, 0.5, 0.59, 0.61, 0.8, 1.0]), min_size=0, max_size=60)


@given(levels=LEVELS, start_s=st.floats(0, 4), length_s=st.floats(0.05, 1), hold=st.integers(1, 5), ignore=st.integers(0, 15))
@settings(deadline=None, max_examples=150)
def test_verdict_is_the_definition_read_row_by_row(levels, start_s, length_s, hold, ignore):
    rule = EndpointRule(hold_frames=hold, ignore_frames=ignore)
    verdict = judge_turn(turn_of(levels, start_s=start_s, end_s=start_s + length_s), rule)
    cut_off_s, ended_s = judged_by_hand(levels, start_s, start_s + length_s, rule)
    assert verdict.cut_off_s == (None if cut_off_s is None else pytest.approx(cut_off_s))
    assert verdict.ended_s == (None if ended_s is None else pytest.approx(ended_s))


def random_turns(num_turns, seed):
    rng = np.random.default_rng(seed)
    for _ in range(num_turns):
        start_s = rng.uniform(1.5, 3.0)
        yield turn_of(
            np.minimum.accumulate(rng.uniform(0, 1, size=60)[::-1])[::-1] ** 2, start_s=start_s, end_s=start_s + rng.uniform(0.1, 0.5)
        )


def test_sweep_is_judging_every_turn_at_every_rule():
    turns = list(random_turns(9, seed=5))
    for point in sweep(turns, thresholds=(0.1, 0.5, 0.9), holds=(1, 3)):
        verdicts = [judge_turn(turn, EndpointRule(threshold=point.threshold, hold_frames=point.hold_frames)) for turn in turns]
        assert point.cut_off_rate == pytest.approx(np.mean([v.is_cut_off for v in verdicts]))
        assert point.missed_rate == pytest.approx(np.mean([v.is_missed for v in verdicts]))
        latencies = sorted(v.latency_s for v in verdicts)
        assert point.latency_p50_s == pytest.approx(latencies[4])


def test_frontier_leaves_no_point_that_another_beats():
    points = sweep(list(random_turns(30, seed=6)))
    best = frontier(points)
    assert [p.cut_off_rate for p in best] == sorted((p.cut_off_rate for p in best), reverse=True)
    for point in best:
        assert not any(
            (p.cut_off_rate <= point.cut_off_rate and p.latency_p50_s < point.latency_p50_s)
            or (p.cut_off_rate < point.cut_off_rate and p.latency_p50_s <= point.latency_p50_s)
            for p in points
        )


def test_latency_within_a_budget_is_the_fastest_point_that_keeps_it():
    points = sweep(list(random_turns(30, seed=7)))
    best = latency_within(points, 0.1)
    assert best is not None
    assert best.latency_p50_s == min(p.latency_p50_s for p in points if p.cut_off_rate <= 0.1)
    assert latency_within([p for p in points if p.cut_off_rate > 0.5], 0.1) is None


def test_a_rule_that_cannot_be_followed_lists_all_that_is_wrong():
    with pytest.raises(ValueError, match="threshold must lie between 0 and 1, got 6") as error:
        EndpointRule(threshold=6, hold_frames=0)
    assert "hold_frames must be 1 or more, got 0" in str(error.value)


def points_the_slow_way(turns, thresholds, holds):
    """(cut-off rate, median latency) of every setting, turn by turn and row by row, by the definitions alone."""
    points = []
    for hold in holds:
        for threshold in thresholds:
            rule = EndpointRule(threshold=threshold, hold_frames=hold)
            judged = [judged_by_hand(turn.pause_probs[:, 2].tolist(), turn.last_word_start_s, turn.last_word_end_s, rule) for turn in turns]
            latencies_s = [
                math.inf if ended_s is None else ended_s - turn.last_word_end_s for turn, (_, ended_s) in zip(turns, judged, strict=True)
            ]
            median_s = sorted(latencies_s)[len(turns) // 2]  # an odd number of turns
            points.append((sum(cut_off_s is not None for cut_off_s, _ in judged) / len(turns), median_s))
    return points


def test_latency_at_budgets_and_area_are_what_the_slow_way_finds():
    """The shared fixture computed two ways: by sweep and frontier, and by judging every setting by hand and integrating on a fine grid."""
    turns = list(random_turns(21, seed=8))
    points, by_hand = sweep(turns), points_the_slow_way(turns, SWEEP_THRESHOLDS, SWEEP_HOLDS)

    def fastest_s(budget):
        return min([s for rate, s in by_hand if rate <= budget + 1e-9], default=math.inf)

    for budget in (0.01, 0.05, 0.10, 0.3):
        point = latency_within(points, budget)
        assert (math.inf if point is None else point.latency_p50_s) == pytest.approx(fastest_s(budget))
    num_steps = 20_000
    grid = [AREA_MAX_CUT_OFFS * (step + 0.5) / num_steps for step in range(num_steps)]
    rates = sorted({rate for rate, _ in by_hand})
    fastest_from = {rate: min(AREA_WAIT_S, fastest_s(rate)) for rate in rates}
    steps = np.searchsorted(rates, np.array(grid) + 1e-9, side="right") - 1
    area_s = np.mean([fastest_from[rates[step]] if step >= 0 else AREA_WAIT_S for step in steps])
    assert area_under(points) == pytest.approx(area_s, abs=1e-3)
    assert 0 < area_under(points) < AREA_WAIT_S


def test_area_of_heads_that_never_end_a_turn_is_the_wait():
    assert area_under(sweep([turn_of([0.0] * 60, start_s=2.0, end_s=2.5)])) == AREA_WAIT_S


def test_best_point_keeps_the_budget_or_comes_nearest_to_it():
    points = sweep(list(random_turns(30, seed=9)))
    fewest = min(p.cut_off_rate for p in points if math.isfinite(p.latency_p50_s))
    assert best_point(points, 1.0) == latency_within(points, 1.0)
    assert best_point(points, fewest / 2 - 0.01).cut_off_rate == fewest
    with pytest.raises(ValueError, match="no threshold and hold end half of the turns"):
        best_point(sweep([turn_of([0.0] * 60, start_s=2.0, end_s=2.5)]), 0.05)
