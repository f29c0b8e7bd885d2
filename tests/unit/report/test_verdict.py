import numpy as np
import pytest

from stt_ft.metrics.endpointing import EndpointRule
from stt_ft.report.build import build_report
from stt_ft.report.verdict import change_of, show_change, show_value, verdict_of


def swapped(frames):
    """The same frames with the models' names exchanged: what was better is now worse."""
    other = {"base": "tuned", "tuned": "base"}
    renamed = [type(one).from_json({**one.to_json(), "model": other[one.model]}) for one in frames]
    return sorted(renamed, key=lambda one: one.model)


def verdict(frames, baseline="base"):
    return verdict_of(build_report(frames, model="tuned", baseline=baseline, rule=EndpointRule()))


def test_better_is_said_with_its_figures(frames):
    got = verdict(frames)
    assert got.word == "better"
    assert got.sentence == "Better: false cut-offs inside numbers fell from 83.3 % to 0.0 %, and nothing else got worse."


def test_worse_is_said_when_the_models_change_places(frames):
    got = verdict(swapped(frames))
    assert got.word == "worse"
    assert got.sentence.startswith("Worse: false cut-offs inside numbers rose from 0.0 % to 83.3 %")


def test_calm_heads_bought_with_ordinary_words_are_mixed(frames):
    for one in frames:
        if one.model == "tuned" and one.kind == "ordinary":
            object.__setattr__(one, "words", one.words[:-1])
    got = verdict(frames)
    assert got.word == "mixed"
    assert "but worse in word error rate on ordinary sentences" in got.sentence


def test_a_latency_that_got_worse_at_two_quantiles_is_named_once(frames):
    for one in frames:
        if one.model == "tuned" and one.kind == "number":
            one.pause[:] = np.concatenate([np.zeros((20, 4)), one.pause[:-20]])  # every answer 1.6 s later
    assert "but worse in end-of-turn latency after numbers (p50 and p95)." in verdict(frames).sentence


def test_a_little_worse_is_not_hidden(frames):
    base = {one.clip: one.pause for one in frames if one.model == "base"}
    for one in frames:
        if one.model == "tuned" and one.kind == "ordinary":
            one.pause[1:] = base[one.clip][:-1]  # every answer a frame later than the base's: 0.08 s
    got = verdict(frames)
    assert got.word == "better"
    assert got.sentence.endswith(", and nothing else got much worse.")
    assert "slightly worse" in got.detail


def test_what_few_clips_cannot_settle_is_said(frames):
    """One clip in many that loses a word moves the rate past its tolerance, and its interval reaches back to none."""
    lossy = next(one for one in frames if one.model == "tuned" and one.kind == "ordinary")
    object.__setattr__(lossy, "words", lossy.words[:1])
    got = verdict(frames)
    assert got.word == "better"
    assert got.sentence.endswith("beyond chance; with so few clips it stays open for word error rate on ordinary sentences.")


def test_the_same_model_twice_is_no_clear_change(frames):
    base = [one for one in frames if one.model == "base"]
    got = verdict([*base, *(type(one).from_json({**one.to_json(), "model": "tuned"}) for one in base)])
    assert got.word == "no clear change"


def test_without_a_baseline_nothing_is_compared(frames):
    assert verdict(frames, baseline=None).word == "measured"


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(0.0333, "share", "3.3 %"), (1.2345, "s", "1.23 s"), (-0.1, "s", "−0.10 s"), (None, "s", "missed"), (-0.0001, "rate", "0.0 %")],
)
def test_values_read_as_people_read_them(value, unit, text):
    assert show_value(value, unit) == text


def test_changes_carry_their_sign():
    assert [show_change(value, "share") for value in (0.5, -0.5, 0.0, None)] == ["+50.0 pt", "−50.0 pt", "0.0 pt", "–"]
    assert show_change(0.04, "s") == "+0.04 s"


def test_a_change_counts_only_when_its_interval_excludes_none():
    assert change_of("false_cut_offs", {"value": -0.1, "low": -0.2, "high": -0.01}) == "better"
    assert change_of("false_cut_offs", {"value": -0.1, "low": -0.2, "high": 0.01}) == "same"
    assert change_of("digit_strings_exact", {"value": -0.1, "low": -0.2, "high": -0.01}) == "worse"
    assert change_of("false_cut_offs", None) == "same"
