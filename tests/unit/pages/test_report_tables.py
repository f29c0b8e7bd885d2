"""What the page tells beside the headline: every text is the report's."""

import re

import numpy as np
import pytest
from sample_frames import report_on, told_otherwise

from stt_ft.evaluation.detectors import TIMERS_S, silence_systems
from stt_ft.evaluation.figures import FIGURES
from stt_ft.evaluation.frames import ClipFrames
from stt_ft.evaluation.scores import Scores
from stt_ft.evaluation.systems import tuned_systems
from stt_ft.evaluation.verdict import resampled, show_value
from stt_ft.metrics.endpointing import EndpointRule
from stt_ft.pages.report_page import write_report_page


def with_silence(frames):
    """Return the frames of the models and those of a detector that knows when speech ends."""
    silence = []
    for one in (one for one in frames if one.model == "tuned"):
        known_s = (np.arange(len(one.pause)) + 1) * 0.08
        rows = np.stack([known_s >= one.speech_end_s + rule_s for rule_s in TIMERS_S], axis=1).astype(float)
        silence.append(ClipFrames.from_json({**one.to_json(), "model": "silero", "words": [], "text_tokens": [], "pause": rows.tolist()}))
    return [*frames, *silence]


@pytest.fixture
def report(frames):
    for one in frames:
        object.__setattr__(one, "text_lag_s", 0.5)
    return report_on(with_silence(frames), systems={**tuned_systems(frames, EndpointRule(), "dev"), **silence_systems()})


def test_ways_to_end_the_turn_are_drawn_as_the_report_has_them(tmp_path, frames, dataset, report):
    write_report_page(tmp_path / "report.html", report, Scores.of(frames), dataset=dataset.directory)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    drawn = dict(re.findall(r'data-turn="([^"]+)"[^>]*>([^<]+)<', html))
    assert {name.rsplit(".", 2)[0] for name in drawn} == set(report.figures) == {"base", "tuned", *report.systems}
    for name, text in drawn.items():
        system, slice_name, figure = name.rsplit(".", 2)
        assert text == show_value(report.figures[system][slice_name][figure].value, FIGURES[figure].unit)
    assert html.count('class="diamond"') == len(TIMERS_S)


def test_silence_of_half_a_second_ends_the_turn_half_a_second_late(report):
    assert 0.5 <= report.figures["silero_0.5s"]["all"]["latency_p50_s"].value < 0.58
    assert report.figures["silero_0.5s"]["all"]["false_cut_offs"].value == 0


def test_a_rule_for_the_last_head_leaves_the_timers_of_silence_as_they_are(frames, report):
    """They are seven, and the models' heads four: timers are judged by rules of their own."""
    last = report_on(with_silence(frames), rule=EndpointRule(head=3), systems=silence_systems())
    assert {name: last.figures[name] for name in silence_systems()} == {name: report.figures[name] for name in silence_systems()}
    assert last.figures["base"] != report.figures["base"]


def rows_of(html, table):
    """Return the texts of the cells, row by row, of each table of a class."""
    bodies = re.findall(rf'<table class="figures compact {table}">.*?<tbody>(.*?)</tbody>', html, re.DOTALL)
    return [[re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)] for body in bodies]


def test_heads_digits_and_hypotheses_are_told_for_both_models(tmp_path, frames, dataset, report):
    write_report_page(tmp_path / "report.html", report, Scores.of(frames), dataset=dataset.directory)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    (heads,) = rows_of(html, "heads")
    assert [len(row) for row in heads] == [8] * 4
    assert heads[2][0] == show_value(report.heads["base"]["numbers"][2].at_rule.cut_off_rate, "share")
    (digits,) = rows_of(html, "digits")
    assert digits[4][0].startswith(f"{report.digit_errors['base']['numbers'].swapped} (")
    assert sum(int(row[0]) for row in digits[-5:]) == sum(report.digit_errors["base"]["numbers"].errors_by_tenth_of_number)
    assert [[len(row) for row in table] for table in rows_of(html, "hypotheses")] == [[4] * 3] * 2
    assert html.count('<th scope="row"><strong>') == 2


def test_what_intervals_resample_is_said_slice_by_slice(report):
    assert resampled(report) == "Intervals resample clips: fewer than 5 speakers known"
    report = told_otherwise(report, {"intervals.numbers": {"by": "speaker", "num_speakers": 6}})
    assert resampled(report) == (
        "Intervals resample 6 speakers, then their clips (dictated numbers); "
        "clips: fewer than 5 speakers known (ordinary sentences, all clips)"
    )
