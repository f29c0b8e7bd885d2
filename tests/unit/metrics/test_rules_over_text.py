"""Rules over several heads and over the text: against their definitions read row by row, and the plain rule as it was before them."""

import dataclasses
import math

import numpy as np
import pytest

from stt_ft.core.config import dump_config, load_config
from stt_ft.core.errors import ConfigError
from stt_ft.core.timing import frame_heard_s
from stt_ft.metrics.agent_waits import Fallback, Tail, first_row_known_at
from stt_ft.metrics.endpointing import NOTICED_WITHIN_S, RULES, EndpointRule, Turn, judge_turn
from stt_ft.metrics.operating_points import sweep

WORDS = ("seven", "seven,", "and", "Thanks.", "three?", "orders;", "AND,")


def random_turns(num_turns, seed):
    rng = np.random.default_rng(seed)
    for _ in range(num_turns):
        first_s = rng.uniform(0.0, 2.0)
        last_s = first_s + rng.uniform(0.0, 2.0)
        probs = np.repeat(rng.uniform(0, 1, size=(40, 4)) ** 0.5, rng.integers(1, 7, size=40), axis=0)[:90]
        times_s = np.sort(rng.uniform(first_s, last_s + 1.0, size=rng.integers(0, 6)))
        yield Turn(
            pause_probs=probs,
            first_word_start_s=first_s,
            last_word_start_s=last_s,
            last_word_end_s=last_s + rng.uniform(0.05, 0.7),
            written=tuple((str(rng.choice(WORDS)), float(time_s)) for time_s in times_s),
        )


def verdict_before(turn, rule):
    """`judge_turn` as it was when a rule had one head and one way, operation by operation: (cut-off, inside, end)."""
    level = np.asarray(turn.pause_probs, dtype=np.float64)[:, rule.head].copy()
    first_text_s = min((appeared_s for _, appeared_s in turn.written), default=None)
    text_row = None if first_text_s is None else first_row_known_at(first_text_s)
    if rule.half_life_s > 0:
        stays, value = 0.5 ** (0.08 / rule.half_life_s), 1.0
        for row, prob in enumerate(level.copy()):
            if row >= rule.ignore_frames:
                value = stays * value + (1 - stays) * prob
            if rule.after_text and row == text_row:
                value = 0.0
            level[row] = value
    first = rule.ignore_frames
    if rule.after_text:
        first = max(first, len(level) if text_row is None else text_row + 1)
    level[:first] = -np.inf
    held = np.array([level[t - rule.hold_frames + 1 : t + 1].min() if t + 1 >= rule.hold_frames else -np.inf for t in range(len(level))])
    lowest, start = np.full(len(held), -np.inf), first_row_known_at(turn.first_word_start_s)
    noticed = min(first_row_known_at(turn.first_word_start_s + NOTICED_WITHIN_S), len(held))
    if 0 < start < noticed:
        lowest[start:noticed] = np.minimum.accumulate(held[start - 1 : noticed - 1])
    passing = np.flatnonzero((held > rule.threshold) & (lowest <= rule.threshold))
    speaking = turn.speaking_rows
    cut_offs, ends = passing[(passing >= speaking.start) & (passing < speaking.stop)], passing[passing >= speaking.stop]
    return (
        frame_heard_s(int(cut_offs[0])) if len(cut_offs) else None,
        len(cut_offs) > 0 and int(cut_offs[0]) >= first_row_known_at(turn.last_word_start_s),
        frame_heard_s(int(ends[0])) if len(ends) else None,
    )


@pytest.mark.parametrize("name", ["kyutai", "unmute"])
@pytest.mark.parametrize("hold", [1, 3])
def test_a_rule_of_one_head_judges_to_the_last_bit_as_before(name, hold):
    rule, ended = dataclasses.replace(RULES[name], hold_frames=hold), 0
    for turn in random_turns(300, seed=3):
        verdict = judge_turn(turn, rule)
        assert (verdict.cut_off_s, verdict.is_inside_last_word, verdict.ended_s) == verdict_before(turn, rule)
        ended += not verdict.is_missed
    assert ended > 50


def passes_by_hand(turn, rule, row):
    """Whether any way of a rule `since_last_word` passes at `row`, words and rows counted one by one."""
    shown = [(word, first_row_known_at(appeared_s)) for word, appeared_s in turn.written]
    said = [word for word, at in shown if at < row]
    extra = 0
    for tail in reversed(rule.tails):
        for text in tail.ends_with:
            ends = said and (said[-1].endswith(text) if not text.isalpha() else said[-1].strip(".,;?").lower() == text)
            extra = tail.extra_frames if ends else extra
    rows_since = row - max((at for _, at in shown if at <= row), default=math.inf)
    for threshold, hold in [(rule.threshold, rule.hold_frames), *((one.threshold, one.hold_frames) for one in rule.fallbacks)]:
        needed = max(hold + extra, 1)
        rows = range(row - needed + 1, row + 1)
        counted = rows_since >= needed and rows[0] >= rule.ignore_frames
        if counted and (threshold is None or all(turn.pause_probs[t, h] > threshold for t in rows for h in rule.heads)):
            return True
    return False


@pytest.mark.parametrize("name", ["two_heads", "text_tail"])
def test_a_rule_since_the_last_word_is_its_definition_read_row_by_row(name):
    rule, seen = RULES[name], {"cut_off": 0, "ended": 0}
    for turn in random_turns(300, seed=4):
        verdict, speaking = judge_turn(turn, rule), turn.speaking_rows
        rows = [row for row in range(speaking.start, len(turn.pause_probs)) if passes_by_hand(turn, rule, row)]
        if any(appeared_s < turn.first_word_start_s + 0.08 for _, appeared_s in turn.written):
            continue  # written with the first word's beginning: what passed before it is another rule's test
        cut_offs, ends = [row for row in rows if row < speaking.stop], [row for row in rows if row >= speaking.stop]
        assert verdict.cut_off_s == (frame_heard_s(cut_offs[0]) if cut_offs else None)
        assert verdict.ended_s == (frame_heard_s(ends[0]) if ends else None)
        seen["cut_off"] += verdict.is_cut_off
        seen["ended"] += not verdict.is_missed
    assert min(seen.values()) > 20


@pytest.mark.parametrize("name", ["two_heads", "text_tail"])
def test_a_sweep_over_such_a_rule_is_judging_every_turn_at_every_setting(name):
    turns, rule = list(random_turns(101, seed=5)), RULES[name]
    for point in sweep(turns, rule, thresholds=(0.3, 0.6, 0.9), holds=(1, 4, 8)):
        at_point = dataclasses.replace(rule, threshold=point.threshold, hold_frames=point.hold_frames)
        verdicts = [judge_turn(turn, at_point) for turn in turns]
        assert point.cut_off_rate == np.mean([one.is_cut_off for one in verdicts])
        assert point.missed_rate == np.mean([one.is_missed for one in verdicts])
        assert point.latency_p50_s == pytest.approx(sorted(one.latency_s for one in verdicts)[50])


def test_two_heads_are_as_high_as_the_lower_one():
    turn = next(random_turns(1, seed=6))
    turn = dataclasses.replace(turn, pause_probs=np.tile([0.5, 0.9, 0.9, 0.9], (90, 1)))
    assert judge_turn(turn, EndpointRule(and_heads=(0,))).is_missed
    assert not judge_turn(turn, EndpointRule(and_heads=(1, 3))).is_missed
    with pytest.raises(ValueError, match="have no head 4"):
        judge_turn(turn, EndpointRule(and_heads=(4,)))


@pytest.mark.parametrize(
    ("text", "word", "ends"),
    [
        (",", "seven,", True),
        (",", 'seven,"', True),
        (",", "seven", False),
        ("and", "And,", True),
        ("and", "hand", False),
        ("et", "et", True),
    ],
)
def test_a_tail_is_a_mark_behind_the_word_or_the_whole_word(text, word, ends):
    assert Tail(ends_with=(text,), extra_frames=1).ends(word) == ends


def test_a_comma_waits_longer_and_a_stop_less_long():
    rule = EndpointRule(hold_frames=6, since_last_word=True, tails=RULES["text_tail"].tails)
    for word, rows in (("seven", 6), ("seven,", 16), ("and", 16), ("seven.", 2)):
        turn = Turn(
            pause_probs=np.full((60, 4), 0.9),
            first_word_start_s=0.4,
            last_word_start_s=0.4,
            last_word_end_s=0.7,
            written=((word, 2.0),),  # known with row 24
        )
        assert judge_turn(turn, rule).ended_s == pytest.approx(frame_heard_s(24 + rows))


def test_a_rule_written_to_a_file_is_read_back(tmp_path):
    for rule in RULES.values():
        (tmp_path / "rule.yaml").write_text(dump_config(rule))
        assert load_config(EndpointRule, tmp_path / "rule.yaml") == rule


@pytest.mark.parametrize(
    ("text", "mistakes"),
    [
        ("treshold: 0.5\n", ["treshold: no such key; did you mean threshold?"]),
        ("threshold: 6\nhold_frames: 0\n", ["threshold must lie between 0 and 1, got 6", "hold_frames must be 1 or more, got 0"]),
        ("and_heads: two\n", ["and_heads: must be a list"]),
        (
            "tails:\n- {ends_with: [','], extra_frame: 3}\n",
            ["tails.extra_frame: no such key; did you mean tails.extra_frames?", "tails.extra_frames: missing"],
        ),
        ("fallbacks:\n- {hold_frames: 0}\n", ["fallbacks.hold_frames must be 1 or more, got 0"]),
        ("tails:\n- {ends_with: [''], extra_frames: 3}\n", ["tails.ends_with must have one or more words or marks"]),
    ],
)
def test_every_mistake_in_a_rules_file_is_named_by_file_and_key(tmp_path, text, mistakes):
    path = tmp_path / "rule.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        load_config(EndpointRule, path)
    assert str(path) in str(error.value)
    assert all(mistake in str(error.value) for mistake in mistakes)


def test_a_timer_asks_no_head():
    assert Fallback(hold_frames=3).bound == -math.inf
