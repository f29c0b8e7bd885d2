"""Long calls: their plan, their figures beside the clips alone, and a gate that a decaying model fails."""

import math
from dataclasses import replace

import numpy as np
import pytest
from sample_frames import placed_in_calls

from stt_ft.core.timing import num_samples
from stt_ft.dataset.sidecar import Word
from stt_ft.evaluation.build import build_calls, build_report
from stt_ft.evaluation.frames import read_frames, write_frames
from stt_ft.evaluation.gate import GateConfig, check_report
from stt_ft.evaluation.scores import Scores
from stt_ft.simulation.calls import MIN_CALLS, WORD_MARGIN_S, Call, plan_calls, room, there_and_back

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


def noise(seconds, rms, seed=0):
    return np.random.default_rng(seed).normal(0, rms, num_samples(seconds)).astype(np.float32)


def test_a_calls_sound_has_each_clip_where_the_plan_says():
    call = plan_calls([2, 2], 50, min_silence=3, seed=0)[0]
    sound = call.sound(lambda clip: (np.ones(3000, np.float32), np.zeros(0, np.float32)))
    for start in call.starts:
        assert sound[start * 1920 : start * 1920 + 3000].all()
    assert sound.sum() == 3000 * len(call.clips)


def test_the_room_goes_on_between_clips_and_fades_into_the_next():
    sounds = [noise(2.0, rms, seed) for seed, rms in enumerate((1e-4, 5e-3, 2e-3))]
    call = Call(clips=(0, 1, 2), starts=(0, 63, 126), num_frames=151)
    whole = call.sound(lambda clip: (sounds[clip], sounds[clip][: num_samples(0.3)]))
    for start, sound in zip(call.starts, sounds, strict=True):
        np.testing.assert_array_equal(whole[start * 1920 : start * 1920 + len(sound)], sound)
    levels_db = 10 * np.log10(np.mean(np.square(whole.reshape(-1, 1920), dtype=np.float64), axis=1))
    assert levels_db.min() > -82  # no digital silence anywhere
    assert np.abs(np.diff(levels_db))[:62].max() < 18  # from -80 to -46 dB within a gap: never at once
    assert np.abs(np.diff(levels_db))[[61, 62, 87, 124, 125]].max() < 2  # at the joints, where a jump would be heard as a hiss


def test_a_room_is_the_longest_quiet_away_from_words():
    words = [Word(text="one", start_s=0.5, end_s=0.8), Word(text="two", start_s=2.0, end_s=2.4)]
    sound = noise(3.0, 1e-3)
    np.testing.assert_array_equal(room(sound, words), sound[num_samples(0.8 + WORD_MARGIN_S) : num_samples(2.0 - WORD_MARGIN_S)])
    assert len(room(sound, [])) == len(sound)


def test_a_clip_that_is_all_words_has_no_room():
    words = [Word(text="one", start_s=0.1, end_s=0.5), Word(text="two", start_s=0.6, end_s=0.9)]
    assert len(room(noise(1.0, 1e-3), words)) == 0
    assert not there_and_back(np.zeros(0, np.float32), 5).any()


def test_a_room_is_played_there_and_back():
    np.testing.assert_array_equal(there_and_back(np.array([1, 2, 3], np.float32), 8), [1, 2, 3, 3, 2, 1, 1, 2])


def in_calls(frames, *, decays=False):
    """The same frames as if heard in a call of ten minutes; with `decays`, nothing is written from the second minute on."""
    placed = placed_in_calls(list(frames) * 3, 600)
    return [replace(one, words=()) if decays and one.call_s > 60 else one for one in placed]


@pytest.mark.parametrize(("decays", "outcome"), [(False, "passed"), (True, "failed")])
def test_the_gate_stops_a_model_that_decays(frames, decays, outcome):
    scores = Scores.of([one for one in frames if one.model == "tuned"])
    calls = build_calls(scores, in_calls([one.frames for one in scores.scores], decays=decays), 600)
    report = build_report(scores, model="tuned", calls=calls)
    assert {result.outcome for result in check_report(report, GATE)} == {outcome}
    part = calls.parts["tuned"]["ordinary"]["second half"]
    assert part.in_calls["word_error_rate"].value == pytest.approx(1.0 if decays else part.alone["word_error_rate"].value)


def test_barge_ins_are_read_from_the_rows_of_whole_calls(tmp_path, frames):
    """The head of every clip falls at the first row 0.3 s after its onset, so between 0.3 and 0.38 s; the room between clips is quiet."""
    late = []
    for one in (one for one in frames if one.model == "tuned"):
        pause = one.pause.copy()
        pause[: math.ceil((one.turn.first_word_start_s + 0.3) * 12.5) - 1] = 0.9
        late.append(replace(one, pause=pause))
    write_frames(tmp_path / "frames.jsonl", in_calls(late))
    calls = read_frames(tmp_path / "frames.jsonl")
    found = build_calls(Scores.of(late), calls, 600).barge_ins["tuned"]
    assert found.num_spoken_over == found.num_turns == len(calls) - sum(one.call_s == 0 for one in calls)
    assert 0.3 <= found.delay_p50_s <= found.delay_p90_s < 0.38
    assert (found.never_rate, found.false_per_minute) == (0, 0)
    holes = [replace(one, silence=None if one.silence is None else 0 * one.silence) for one in calls]
    noisy = build_calls(Scores.of(late), holes, 600).barge_ins["tuned"]
    assert noisy.num_spoken_over == noisy.num_turns  # the head rises again before the next turn
    assert noisy.false_per_minute * noisy.silence_s / 60 == pytest.approx(sum(one.silence is not None for one in calls))


def test_a_clip_alone_is_heard_in_the_first_draw(frames):
    tuned = [one for one in frames if one.model == "tuned"]
    scores = Scores.of([*tuned, *(replace(one, draw=1, words=()) for one in tuned)])
    part = build_calls(scores, in_calls(tuned), 600).parts["tuned"]["ordinary"]["whole call"]
    assert part.alone["word_error_rate"].value == part.in_calls["word_error_rate"].value < 0.5


def test_without_calls_the_gate_skips_them(frames):
    scores = Scores.of([one for one in frames if one.model == "tuned"])
    assert {result.outcome for result in check_report(build_report(scores, model="tuned"), GATE)} == {"skipped"}
