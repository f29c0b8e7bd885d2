from itertools import pairwise

import pytest

from stt_ft.evaluation.figures import MIN_CLIPS, build_groups
from stt_ft.evaluation.scores import ClipScore
from stt_ft.metrics.endpointing import EndpointRule


@pytest.fixture
def scores(frames):
    return {model: [ClipScore(frames=one, rule=EndpointRule()) for one in frames if one.model == model] for model in ("base", "tuned")}


def test_halves_by_speed_are_half_the_clips_each_and_really_slower_and_faster(scores):
    halves = {group.part: group for group in build_groups(scores) if (group.slice, group.by) == ("numbers", "speed")}
    assert {part: group.num_clips for part, group in halves.items()} == {"slower half": 6, "faster half": 6}


def test_a_parts_figure_is_that_of_its_clips_alone(scores):
    for group in build_groups(scores):
        assert group.num_clips >= MIN_CLIPS
        if group.by == "length":
            num_digits = int(group.part.split()[0])
            members = [score for score in scores["base"] if score.frames.kind == "number" and len(score.digits.reference) == num_digits]
            assert len(members) == group.num_clips
            expected = sum(score.turn.is_cut_off for score in members) / len(members)
            assert group.figures["base"]["false_cut_offs"].value == pytest.approx(expected)


def test_pauses_inside_a_number_are_told_apart(scores):
    parts = {group.part: group.num_clips for group in build_groups(scores) if group.by == "pause inside"}
    gaps_s = []
    for score in scores["base"]:
        digits = score.frames.reference[2:]
        if score.frames.kind == "number":
            gaps_s.append(max(after.start_s - before.end_s for before, after in pairwise(digits)))
    paused = sum(gap_s >= 0.25 for gap_s in gaps_s)
    assert parts == {part: count for part, count in (("none", 12 - paused), ("0.25 s or more", paused)) if count >= MIN_CLIPS}


def test_one_speaker_alone_is_no_part(frames, scores):
    for one in frames:
        object.__setattr__(one, "speaker", "the only one")
    assert not any(group.by == "speaker" for group in build_groups(scores))


def test_calibration_and_drift_stand_in_the_report(frames, report):
    brier = {model: slices["numbers"].brier.value for model, slices in report.calibration.items()}
    assert 0 < brier["tuned"] < brier["base"] < 0.5
    assert report.drift_nats["numbers"].value > report.drift_nats["ordinary"].value > 0
    bins = report.calibration["tuned"]["all"].bins
    assert sum(one.num_rows for one in bins) == sum(len(one.pause) - 12 for one in frames if one.model == "tuned")
