import io

import numpy as np
import pytest
from rich.console import Console
from sample_frames import report_on, told_otherwise

from stt_ft.evaluation.report import Measurement, Report
from stt_ft.evaluation.verdict import change_in, markdown_table, print_report, show_change, show_value, verdict_of


def swapped(frames):
    """The same frames with the models' names exchanged: what was better is now worse."""
    other = {"base": "tuned", "tuned": "base"}
    renamed = [type(one).from_json({**one.to_json(), "model": other[one.model]}) for one in frames]
    return sorted(renamed, key=lambda one: one.model)


def verdict(frames, baseline="base"):
    return verdict_of(report_on(frames, baseline))


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


def later(frames, kind, num_frames):
    for one in frames:
        if one.model == "tuned" and one.kind == kind:
            one.pause[:] = np.concatenate([np.zeros((num_frames, 4)), one.pause[:-num_frames]])


def test_a_longer_wait_where_cut_offs_fell_is_told_as_their_price(frames):
    later(frames, "number", 8)
    got = verdict(frames)
    assert got.word == "better"
    assert ", at the price of end-of-turn latency after numbers (p50 and p95), and nothing else got worse." in got.sentence
    assert "2 the price of fewer cut-offs" in got.detail


def test_a_longer_wait_where_cut_offs_are_as_they_were_is_worse(frames):
    later(frames, "ordinary", 10)
    got = verdict(frames)
    assert got.word == "mixed"
    assert "but worse in end-of-turn latency after sentences (p50 and p95)." in got.sentence


def test_no_price_is_right_where_the_curve_lies_no_lower(frames):
    report = report_on(frames)
    later(frames, "number", 20)
    slow = report_on(frames)
    got = verdict_of(told_otherwise(slow, {"curves.tuned.numbers.area_s": report.curves["base"]["numbers"].area_s}))
    assert got.word == "mixed"
    assert "but worse in end-of-turn latency after numbers (p50 and p95)." in got.sentence


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
    assert got.detail.endswith(" With so few clips it stays open for word error rate on ordinary sentences.")


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


def of_differences(figures):
    """A report of two models, as far as a verdict looks at it: (slice, figure) -> before, after, low and high of the difference, clips."""
    by_model, differences = {"base": {}, "tuned": {}}, {}
    for (slice_name, figure), (before, after, low, high, num_clips) in figures.items():
        for model, value in (("base", before), ("tuned", after)):
            by_model[model].setdefault(slice_name, {})[figure] = Measurement(value=value, low=None, high=None, num_clips=num_clips)
        moved = None if None in (before, after) else after - before
        differences.setdefault(slice_name, {})[figure] = Measurement(value=moved, low=low, high=high, num_clips=num_clips)
    return Report.model_construct(baseline="base", model="tuned", figures=by_model, differences=differences)


def change(low, high, *, figure="false_cut_offs", num_clips=20, before=0.2, after=0.1):
    return change_in(of_differences({("numbers", figure): (before, after, low, high, num_clips)}), "numbers", figure)


def test_a_change_counts_only_when_its_interval_excludes_none():
    assert change(-0.2, -0.01) == "better"
    assert change(-0.2, 0.01) == "same"
    assert change(-0.2, -0.01, figure="digit_strings_exact") == "worse"
    assert change_in(of_differences({}), "numbers", "false_cut_offs") == "same"


def test_fewer_than_eight_clips_are_too_few_to_say():
    assert change(-1.0, -0.9, num_clips=7) == "too few"
    assert change(-1.0, -0.9, num_clips=8) == "better"
    got = verdict_of(of_differences({("numbers", "false_cut_offs"): (1.0, 0.0, -1.0, -1.0, 7)}))
    assert got.sentence == "Too few to say: false cut-offs inside numbers went from 100.0 % to 0.0 %."
    assert "1 of fewer than 8 clips, too few to say" in got.detail


def test_a_latency_that_no_longer_exists_is_worse():
    assert change(None, None, figure="latency_p50_s", before=0.4, after=None) == "worse"
    assert change(None, None, figure="latency_p50_s", before=None, after=0.4) == "better"


DIGITS_BETTER = {("numbers", "digit_strings_exact"): (0.40, 0.82, 0.30, 0.54, 50)}


def test_digits_that_got_better_are_not_told_as_cut_offs_that_rose():
    """Issue 13: "Better: false cut-offs went from 62.0 % to 74.0 %" was printed for this pair."""
    got = verdict_of(of_differences({("numbers", "false_cut_offs"): (0.62, 0.74, -0.06, 0.30, 50), **DIGITS_BETTER}))
    assert got.word == "mixed"
    assert got.sentence == (
        "Mixed: digit strings exact rose from 40.0 % to 82.0 %, "
        "but false cut-offs inside numbers went from 62.0 % to 74.0 %, which may be chance."
    )


def test_better_names_what_got_better():
    got = verdict_of(of_differences({("numbers", "false_cut_offs"): (0.62, 0.63, -0.06, 0.08, 50), **DIGITS_BETTER}))
    assert got.sentence == "Better: digit strings exact rose from 40.0 % to 82.0 %, and nothing else got worse."


def test_cut_offs_that_rose_beyond_chance_are_told_with_their_size():
    ordinary_worse = {("ordinary", "word_error_rate"): (0.03, 0.10, 0.05, 0.09, 50)}
    got = verdict_of(of_differences({("numbers", "false_cut_offs"): (0.62, 0.74, 0.05, 0.20, 50), **DIGITS_BETTER, **ordinary_worse}))
    assert got.sentence == (
        "Mixed: digit strings exact rose from 40.0 % to 82.0 %, but false cut-offs inside numbers rose from 62.0 % to 74.0 %, "
        "and worse in word error rate on ordinary sentences."
    )


def test_heads_that_never_fire_are_not_better(frames):
    for one in frames:
        if one.model == "tuned":
            one.pause[:] = 0.0
    got = verdict(frames)
    assert got.word == "mixed"
    assert "but worse in end-of-turn latency after numbers (p50 and p95) and end-of-turn latency after sentences (p50 and p95)" in got.claim


def test_table_fits_eighty_columns_and_holds_both_models(report):
    out = io.StringIO()
    print_report(report, Console(file=out, width=80, color_system=None))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    row = next(line for line in lines if "Written as words" in line)
    assert "0.0 % [0.0…24.2]" in row
    assert "100.0 % [75.8…100.0]" in row
    assert "+100.0 pt" in row
    assert "Better: false cut-offs inside numbers fell" in " ".join(lines)
    assert not any("…" in line and "[" not in line for line in lines)  # nothing was cut short


def test_table_of_one_model_has_no_change(frames):
    out = io.StringIO()
    print_report(report_on(frames, baseline=None), Console(file=out, width=80, color_system=None))
    assert "change" not in out.getvalue()


def test_every_headline_stands_in_the_markdown_of_a_model_card(report):
    card = markdown_table(report)
    assert card.startswith("Better: false cut-offs inside numbers fell")
    assert "| | base | tuned |" in card
    assert "| **Dictated numbers** (12 clips) | | |\n| False cut-offs | 83.3 % [" in card
    assert card.count("\n| False cut-offs |") == 2
    assert card.endswith("Intervals resample clips: fewer than 5 speakers known.")
