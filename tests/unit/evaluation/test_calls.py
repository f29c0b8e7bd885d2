"""Long calls: their plan, their figures beside the clips alone, and a gate that a decaying model fails."""

from dataclasses import replace

import numpy as np
import pytest

from stt_ft.evaluation.build import build_calls, build_report
from stt_ft.evaluation.gate import GateConfig, check_report
from stt_ft.evaluation.scores import Scores
from stt_ft.simulation.calls import MIN_CALLS, plan_calls

GATE = GateConfig(
    checks={"numbers.digit_strings_exact": {"max_drop_in_calls": 0.05}, "ordinary.word_error_rate": {"max_rise_in_calls": 0.05}}
)


def test_calls_hold_every_clip_and_keep_their_length():
    lengths = [40 + index for index in range(30)]
    calls = plan_calls(lengths, 1000, min_silence=38, seed=0)
    assert calls == plan_calls(lengths, 1000, min_silence=38, seed=0)
    assert len(calls) >= MIN_CALLS
    assert {index for call in calls for index in call.clips} == set(range(30))
    for call in calls:
        assert call.num_frames <= 1000
        ends = [start + lengths[index] for start, index in zip(call.starts, call.clips, strict=True)]
        assert all(38 <= start - end <= 76 for start, end in zip(call.starts[1:], ends, strict=False))


def test_a_clip_longer_than_a_call_is_a_call():
    assert all(call.clips == (0,) for call in plan_calls([500], 100, min_silence=38, seed=0))


def test_a_calls_sound_has_each_clip_where_the_plan_says():
    call = plan_calls([2, 2], 50, min_silence=3, seed=0)[0]
    sound = call.sound([np.ones(3000, np.float32)] * len(call.clips))
    for start in call.starts:
        assert sound[start * 1920 : start * 1920 + 3000].all()
    assert sound.sum() == 3000 * len(call.clips)


def in_calls(frames, *, decays):
    """The same frames as if heard in a call of ten minutes; with `decays`, nothing is written from the second minute on."""
    placed = [replace(one, call_s=float(index * 47 % 600)) for index, one in enumerate(list(frames) * 3)]
    return [replace(one, words=()) if decays and one.call_s > 60 else one for one in placed]


@pytest.mark.parametrize(("decays", "outcome"), [(False, "passed"), (True, "failed")])
def test_the_gate_stops_a_model_that_decays(frames, decays, outcome):
    scores = Scores.of([one for one in frames if one.model == "tuned"])
    calls = build_calls(scores, in_calls([one.frames for one in scores.scores], decays=decays), 600)
    report = build_report(scores, model="tuned", calls=calls)
    assert {result.outcome for result in check_report(report, GATE)} == {outcome}
    part = calls.parts["tuned"]["ordinary"]["second half"]
    assert part.in_calls["word_error_rate"].value == pytest.approx(1.0 if decays else part.alone["word_error_rate"].value)


def test_without_calls_the_gate_skips_them(frames):
    scores = Scores.of([one for one in frames if one.model == "tuned"])
    assert {result.outcome for result in check_report(build_report(scores, model="tuned"), GATE)} == {"skipped"}
