import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stt_ft.metrics.endpointing import EndpointRule, Turn, judge_turn, silent_for_s, turn_rows
from stt_ft.metrics.operating_points import (
    AREA_MAX_CUT_OFFS,
    AREA_WAIT_S,
    SWEEP_HOLDS,
    SWEEP_THRESHOLDS,
    area_under,
    best_point,
    frontier,
    latency_within,
    sweep,
)


def turn_of(levels, *, start_s, end_s, first_s=0.4, head=2, text_s=None):
    probs = np.zeros((len(levels), 4))
    probs[:, head] = levels
    written = () if text_s is None else (("so", text_s),)
    return Turn(pause_probs=probs, first_word_start_s=first_s, last_word_start_s=start_s, last_word_end_s=end_s, written=written)


def judged_by_hand(turn, rule):
    """The definitions of docs/evaluate.md, read out row by row in float64: (cut-off, is inside the last word, end, latency)."""
    cut_off_s = ended_s = None
    run, average, is_old = 0, 1.0, False
    for row, prob in enumerate(turn.pause_probs[:, rule.head].tolist()):
        known_s = round((row + 1) * 0.08, 6)
        if rule.half_life_s and row >= rule.ignore_frames:
            stays = 2 ** (-0.08 / rule.half_life_s)
            average = average * stays + prob * (1 - stays)
        first_text_s = min((appeared_s for _, appeared_s in turn.written), default=math.inf)
        is_written = known_s > first_text_s - 1e-6
        is_first_text = is_written and known_s - 0.08 <= first_text_s - 1e-6
        if rule.after_text and is_first_text:
            average = 0.0
        level = average if rule.half_life_s else prob
        counts = row >= rule.ignore_frames and (not rule.after_text or (is_written and not is_first_text))
        run = run + 1 if counts and level > rule.threshold else 0
        passes = run >= rule.hold_frames
        if known_s < turn.first_word_start_s - 1e-6:  # the turn has not begun
            is_old = passes
            continue
        is_old = is_old and passes and known_s < turn.first_word_start_s + 0.5 - 1e-6
        if not passes or is_old:
            continue
        if known_s < turn.last_word_end_s - 0.1 - 1e-6:
            cut_off_s = known_s if cut_off_s is None else cut_off_s
        elif ended_s is None:
            ended_s = known_s
    inside = cut_off_s is not None and cut_off_s >= turn.last_word_start_s - 1e-6
    return cut_off_s, inside, ended_s, math.inf if ended_s is None else max(0.0, ended_s - turn.last_word_end_s)


def test_clean_turn_has_the_latency_of_the_row_that_passes():
    levels = [0.1] * 40 + [0.9] * 10
    verdict = judge_turn(turn_of(levels, start_s=2.4, end_s=3.0), EndpointRule())
    assert not verdict.is_cut_off
    assert verdict.ended_s == pytest.approx(41 * 0.08)
    assert verdict.latency_s == pytest.approx(41 * 0.08 - 3.0)
    assert not verdict.is_missed


def test_passing_before_the_last_word_is_a_cut_off_and_the_turn_still_has_an_end():
    levels = [0.1] * 20 + [0.7] + [0.1] * 19 + [0.9] * 10
    verdict = judge_turn(turn_of(levels, start_s=2.4, end_s=3.0), EndpointRule())
    assert verdict.cut_off_s == pytest.approx(21 * 0.08)
    assert not verdict.is_inside_last_word
    assert verdict.ended_s == pytest.approx(41 * 0.08)


def test_passing_inside_the_last_word_is_a_cut_off_and_no_low_latency():
    levels = [0.0] * 26 + [0.9] * 2 + [0.0] * 12 + [0.9] * 9
    verdict = judge_turn(turn_of(levels, start_s=2.0, end_s=2.5), EndpointRule())  # passes at 2.16 s
    assert verdict.cut_off_s == pytest.approx(27 * 0.08)
    assert verdict.is_inside_last_word
    assert verdict.latency_s == pytest.approx(41 * 0.08 - 2.5)


def test_what_the_aligner_may_be_off_is_no_cut_off_and_waits_for_nothing():
    levels = [0.0] * 24 + [0.9] * 30  # row 24 is known at 2.0 s
    at_the_edge = judge_turn(turn_of(levels, start_s=1.8, end_s=2.1), EndpointRule())
    assert (at_the_edge.is_cut_off, at_the_edge.ended_s, at_the_edge.latency_s) == (False, pytest.approx(2.0), 0.0)
    assert judge_turn(turn_of(levels, start_s=1.8, end_s=2.101), EndpointRule()).is_cut_off


def test_nobody_is_cut_off_before_the_first_word():
    levels = [0.9] * 50 + [0.0] * 30 + [0.9] * 10  # four seconds of silence, and the head calls them a pause
    verdict = judge_turn(turn_of(levels, first_s=4.0, start_s=6.0, end_s=6.3), EndpointRule())
    assert not verdict.is_cut_off
    assert verdict.ended_s == pytest.approx(81 * 0.08)
    assert judge_turn(turn_of(levels, first_s=3.9, start_s=6.0, end_s=6.3), EndpointRule()).cut_off_s is None  # it falls soon enough


def test_a_head_that_stays_high_into_the_first_words_cuts_them_off_in_the_end():
    levels = [0.9] * 80
    verdict = judge_turn(turn_of(levels, first_s=4.0, start_s=5.5, end_s=6.0), EndpointRule())
    assert verdict.cut_off_s == pytest.approx(4.56)  # the first row known half a second after the word began
    fresh = judge_turn(turn_of([0.0] * 50 + [0.9] * 30, first_s=4.0, start_s=5.5, end_s=6.0), EndpointRule())
    assert fresh.cut_off_s == pytest.approx(4.08)  # what begins to pass after the first word has begun counts at once


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


def test_unmute_asks_for_no_pause_before_a_word_is_written_nor_with_it():
    rule = EndpointRule.named("unmute")
    levels = [0.9] * 40
    assert judge_turn(turn_of(levels, start_s=2.0, end_s=2.5, text_s=None), rule).is_missed
    assert judge_turn(turn_of(levels, start_s=2.0, end_s=2.5, text_s=1.6), rule).cut_off_s == pytest.approx(1.68)


def test_unmutes_average_lags_a_hair_behind_the_head():
    """With a half-life of an eighth of a frame, 255 of 256 parts are new: from 0, 0.6023 is not enough to pass 0.6, 0.6024 is."""
    for high, is_cut_off in ((0.6023, False), (0.6024, True)):
        levels = [0.0] * 30 + [high] + [0.0] * 20
        verdict = judge_turn(turn_of(levels, start_s=3.0, end_s=3.4, text_s=1.0), EndpointRule.named("unmute"))
        assert verdict.is_cut_off == is_cut_off
    assert judge_turn(turn_of([0.0] * 30 + [0.6023] + [0.0] * 20, start_s=3.0, end_s=3.4), EndpointRule.named("kyutai")).is_cut_off


def test_rules_have_names():
    assert EndpointRule.named("kyutai") == EndpointRule(head=2, threshold=0.6, hold_frames=1, ignore_frames=12)
    assert [EndpointRule.named(name).name for name in ("kyutai", "unmute")] == ["kyutai", "unmute"]
    assert EndpointRule(threshold=0.5).name is None
    with pytest.raises(ValueError, match=r"rule must be one of kyutai, unmute, two_heads, text_tail, or a file \(NAME.yaml\), got 'moshi'"):
        EndpointRule.named("moshi")


PROBS = st.lists(st.sampled_from([0.0, 0.2, 0.5, 0.59, 0.61, 0.8, 1.0]), min_size=0, max_size=60)


@given(
    levels=PROBS,
    first_s=st.floats(0, 3),
    later_s=st.floats(0, 2),
    length_s=st.floats(0.05, 1),
    text_s=st.none() | st.floats(0.01, 4),  # no word is written before a frame has been heard
    hold=st.integers(1, 5),
    ignore=st.integers(0, 15),
    half_life_s=st.sampled_from([0.0, 0.01, 0.1]),
    after_text=st.booleans(),
)
@settings(deadline=None, max_examples=400)
def test_verdict_is_the_definition_read_row_by_row(levels, first_s, later_s, length_s, text_s, hold, ignore, half_life_s, after_text):
    rule = EndpointRule(hold_frames=hold, ignore_frames=ignore, half_life_s=half_life_s, after_text=after_text)
    start_s = first_s + later_s
    turn = turn_of(levels, first_s=first_s, start_s=start_s, end_s=start_s + length_s, text_s=text_s)
    verdict = judge_turn(turn, rule)
    cut_off_s, inside, ended_s, latency_s = judged_by_hand(turn, rule)
    assert verdict.cut_off_s == (None if cut_off_s is None else pytest.approx(cut_off_s))
    assert verdict.is_inside_last_word == inside
    assert verdict.ended_s == (None if ended_s is None else pytest.approx(ended_s))
    assert verdict.latency_s == pytest.approx(latency_s, abs=1e-6)


def random_turns(num_turns, seed):
    rng = np.random.default_rng(seed)
    for _ in range(num_turns):
        first_s = rng.uniform(0.0, 2.0)
        start_s = first_s + rng.uniform(0.0, 2.0)
        levels = np.repeat(rng.uniform(0, 1, size=30), rng.integers(1, 5, size=30))[:60] ** 2  # some rows alike, as heads are
        levels = np.append(levels, np.linspace(0, 1, 12) if rng.uniform() < 0.8 else [])
        yield turn_of(
            levels, first_s=first_s, start_s=start_s, end_s=start_s + rng.uniform(0.05, 0.7), text_s=first_s + rng.uniform(0.2, 1)
        )


@pytest.mark.parametrize("half_life_s", [0.0, 0.01, 0.1])
@pytest.mark.parametrize("after_text", [False, True])
def test_verdicts_of_long_turns_are_those_of_the_plain_loop(half_life_s, after_text):
    rng, differing = np.random.default_rng(17), 0
    for turn in random_turns(300, seed=18):
        rule = EndpointRule(
            threshold=float(rng.choice([0.2, 0.4, 0.6])),
            hold_frames=int(rng.integers(1, 4)),
            ignore_frames=int(rng.integers(0, 13)),
            half_life_s=half_life_s,
            after_text=after_text,
        )
        verdict = judge_turn(turn, rule)
        cut_off_s, inside, ended_s, latency_s = judged_by_hand(turn, rule)
        assert (verdict.cut_off_s is None, verdict.is_inside_last_word, verdict.ended_s is None) == (
            cut_off_s is None,
            inside,
            ended_s is None,
        )
        assert verdict.cut_off_s is None or verdict.cut_off_s == pytest.approx(cut_off_s)
        assert verdict.latency_s == pytest.approx(latency_s, abs=1e-6)
        differing += verdict != judge_turn(turn, EndpointRule())
    assert differing > 50


@pytest.mark.parametrize("name", ["kyutai", "unmute"])
def test_sweep_is_judging_every_turn_at_every_rule(name):
    rule = dataclasses.replace(EndpointRule.named(name), ignore_frames=4)
    turns = list(random_turns(151, seed=5))
    for point in sweep(turns, rule, thresholds=(0.1, 0.3, 0.5, 0.9), holds=(1, 2, 3, 6)):
        at_point = dataclasses.replace(rule, threshold=point.threshold, hold_frames=point.hold_frames)
        by_hand = [judged_by_hand(turn, at_point) for turn in turns]
        assert [judge_turn(turn, at_point).cut_off_s is None for turn in turns] == [cut_off_s is None for cut_off_s, *_ in by_hand]
        assert point.cut_off_rate == pytest.approx(np.mean([cut_off_s is not None for cut_off_s, *_ in by_hand]))
        assert point.missed_rate == pytest.approx(np.mean([ended_s is None for _, _, ended_s, _ in by_hand]))
        latencies = sorted(latency_s for *_, latency_s in by_hand)
        assert point.latency_p50_s == pytest.approx(latencies[75], abs=1e-6)
        assert point.latency_p90_s == pytest.approx(latencies[135], abs=1e-6)


def test_frontier_leaves_no_point_that_another_beats():
    points = sweep(list(random_turns(30, seed=6)), EndpointRule())
    best = frontier(points)
    assert [p.cut_off_rate for p in best] == sorted((p.cut_off_rate for p in best), reverse=True)
    for point in best:
        assert not any(
            (p.cut_off_rate <= point.cut_off_rate and p.latency_p50_s < point.latency_p50_s)
            or (p.cut_off_rate < point.cut_off_rate and p.latency_p50_s <= point.latency_p50_s)
            for p in points
        )


def test_latency_within_a_budget_is_the_fastest_point_that_keeps_it():
    points = sweep(list(random_turns(30, seed=7)), EndpointRule())
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
            judged = [judged_by_hand(turn, rule) for turn in turns]
            latencies_s = [latency_s for *_, latency_s in judged]
            median_s = sorted(latencies_s)[len(turns) // 2]  # an odd number of turns
            points.append((sum(cut_off_s is not None for cut_off_s, *_ in judged) / len(turns), median_s))
    return points


def test_latency_at_budgets_and_area_are_what_the_slow_way_finds():
    """The shared fixture computed two ways: by sweep and frontier, and by judging every setting by hand and integrating on a fine grid."""
    turns = list(random_turns(21, seed=8))
    points, by_hand = sweep(turns, EndpointRule()), points_the_slow_way(turns, SWEEP_THRESHOLDS, SWEEP_HOLDS)

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
    assert area_under(sweep([turn_of([0.0] * 60, start_s=2.0, end_s=2.5)], EndpointRule())) == AREA_WAIT_S


def test_best_point_keeps_the_budget_or_comes_nearest_to_it():
    points = sweep(list(random_turns(30, seed=9)), EndpointRule())
    fewest = min(p.cut_off_rate for p in points if math.isfinite(p.latency_p50_s))
    assert best_point(points, 1.0) == latency_within(points, 1.0)
    assert best_point(points, fewest / 2 - 0.01).cut_off_rate == fewest
    with pytest.raises(ValueError, match="no threshold and hold end half of the turns"):
        best_point(sweep([turn_of([0.0] * 60, start_s=2.0, end_s=2.5)], EndpointRule()), 0.05)


def test_silence_counts_from_the_first_quiet_step_after_speech():
    probs = [0.0, 0.1, 0.9, 0.9, 0.1, 0.1, 0.1, 0.9, 0.2]
    assert silent_for_s(probs, 1.0).tolist() == [0, 0, 0, 0, 0, 1, 2, 0, 0]


def test_a_step_between_the_two_thresholds_neither_begins_nor_ends_a_silence():
    assert silent_for_s([0.9, 0.4, 0.4, 0.1, 0.4, 0.1], 1.0).tolist() == [0, 0, 0, 0, 1, 2]


def test_nobody_speaking_is_no_turn_to_end():
    assert not silent_for_s([0.1] * 50, 0.032).any()
    assert not turn_rows(silent_for_s([0.1] * 50, 0.032), 0.032, 20, (0.2,)).any()


def test_a_row_knows_the_steps_that_ended_before_it_did():
    silent_s = np.arange(30) * 0.04
    rows = turn_rows(silent_s, 0.04, 10, (0.2,))[:, 0]
    by_hand = [silent_s[round((row + 1) * 0.08 / 0.04) - 1] >= 0.2 - 1e-9 for row in range(10)]
    assert rows.tolist() == [float(passed) for passed in by_hand]


def test_rows_past_the_sound_keep_its_last_word():
    assert turn_rows(np.array([0.0, 0.6]), 0.032, 5, (0.5,))[:, 0].tolist() == [1.0] * 5
    assert turn_rows(np.zeros(0), 0.032, 3, (0.5, 1.0, 2.0)).tolist() == [[0, 0, 0]] * 3
