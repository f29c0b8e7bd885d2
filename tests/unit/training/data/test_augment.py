from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stt_ft.core.recipe import AugmentRecipe
from stt_ft.core.timing import FRAME_RATE_HZ, frame_at
from stt_ft.dataset.sidecar import Word
from stt_ft.training.data.augment import MAX_PAUSE_S, augment, insert_pauses, join, renumber, silence, silent_runs
from stt_ft.training.data.clips import TrainingClip

NUM_RECORDED, NUM_TAIL = 60, 37


def make_clip(name: str = "a", digits: int = 4) -> TrainingClip:
    """Frame t has the code t in every codebook, so that every frame can be known again; words last 0.3 s, 0.4 s apart."""
    starts = [0.5 + 0.4 * index for index in range(2 + digits)]
    num_recorded = max(NUM_RECORDED, frame_at(starts[-1] + 1.0))
    return TrainingClip(
        clip_id=name,
        codes=np.tile(np.arange(num_recorded + NUM_TAIL, dtype=np.int16), (4, 1)),
        words=tuple(Word(text="", tokens=(10 + index,), start_s=start, end_s=start + 0.3) for index, start in enumerate(starts)),
        in_number=(False, False) + (True,) * digits,
        num_recorded_frames=num_recorded,
    )


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 10_000), prob=st.floats(0.0, 1.0))
def test_pauses_lengthen_the_number_and_every_word_keeps_its_sound(seed, prob):
    clip = make_clip()
    paused = insert_pauses(clip, prob=prob, max_frames=10_000, rng=np.random.default_rng(seed))
    added = paused.num_frames - clip.num_frames
    assert 0 <= added <= 3 * np.ceil(MAX_PAUSE_S * FRAME_RATE_HZ)
    assert paused.num_recorded_frames - clip.num_recorded_frames == added
    shifts = [after.start_s - before.start_s for before, after in zip(clip.words, paused.words, strict=True)]
    assert shifts[:3] == [0, 0, 0]  # nothing moves before the first gap inside the number
    assert all(later >= earlier - 1e-9 for earlier, later in itertools.pairwise(shifts))
    assert shifts[-1] == pytest.approx(added / FRAME_RATE_HZ)
    for before, after in zip(clip.words, paused.words, strict=True):
        middle_before, middle_after = (frame_at((word.start_s + word.end_s) / 2) for word in (before, after))
        assert paused.codes[0, middle_after] == clip.codes[0, middle_before]


def test_pauses_are_made_of_the_clips_own_silence():
    clip = make_clip()
    quiet = {frame for first, stop in silent_runs(clip) for frame in range(first, stop)}
    paused = insert_pauses(clip, prob=1.0, max_frames=10_000, rng=np.random.default_rng(0))
    counts = np.bincount(paused.codes[0], minlength=clip.num_frames)
    assert {frame for frame, count in enumerate(counts) if count > 1} <= quiet


def test_silence_keeps_clear_of_words_and_within_the_recording():
    clip = make_clip()
    for first, stop in silent_runs(clip):
        assert stop <= clip.num_recorded_frames
        for word in clip.words:
            assert stop / FRAME_RATE_HZ <= word.start_s or first / FRAME_RATE_HZ >= word.end_s


def test_a_clip_without_silence_of_its_own_lends_from_the_tail():
    words = tuple(Word(text="", tokens=(9,), start_s=0.05 + 0.3 * index, end_s=0.35 + 0.3 * index) for index in range(16))
    clip = TrainingClip(clip_id="x", codes=make_clip().codes, words=words, in_number=(True,) * 16, num_recorded_frames=60)
    assert silence(clip, 5, np.random.default_rng(0)).min() >= 60


def test_joined_clips_follow_each_other_whole():
    first, second = make_clip("a"), make_clip("b", digits=2)
    joined = join(first, second)
    assert joined.clip_id == "a + b"
    assert joined.num_frames == first.num_frames + second.num_frames
    shift_s = first.num_frames / FRAME_RATE_HZ
    assert [word.start_s for word in joined.words[len(first.words) :]] == pytest.approx([word.start_s + shift_s for word in second.words])
    assert joined.num_recorded_frames == first.num_frames + second.num_recorded_frames


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10_000), room=st.integers(-20, 300), digits=st.integers(2, 9))
def test_no_take_passes_the_context_whatever_is_done_to_it(seed, room, digits):
    clips = [make_clip("a", digits), make_clip("b")]
    recipe = AugmentRecipe(join_prob=0.5, pause_prob=0.8, renumber_prob=0.5, code_dropout=0.1)
    max_frames = clips[0].num_frames + room
    take = augment(clips[0], clips, recipe, max_frames=max_frames, rng=np.random.default_rng(seed))
    assert take.num_frames <= max(max_frames, clips[0].num_frames)
    assert take.words[-1].end_s <= take.num_recorded_frames / FRAME_RATE_HZ
    assert len(take.words) == len(take.in_number)


def test_joining_never_passes_the_context():
    clips = [make_clip("a"), make_clip("b")]
    for room, joins in ((clips[1].num_frames - 1, False), (clips[1].num_frames, True)):
        take = augment(
            clips[0], clips[1:], AugmentRecipe(join_prob=1.0), max_frames=clips[0].num_frames + room, rng=np.random.default_rng(0)
        )
        assert (take.num_frames > clips[0].num_frames) == joins


def test_no_augmentation_returns_the_clip_itself():
    clip = make_clip()
    assert augment(clip, [clip], AugmentRecipe(), max_frames=1000, rng=np.random.default_rng(0)) is clip


def test_code_dropout_silences_the_share_asked_for():
    clip = make_clip()
    take = augment(clip, [], AugmentRecipe(code_dropout=0.25), max_frames=1000, rng=np.random.default_rng(0))
    assert (take.codes == -1).mean() == pytest.approx(0.25, abs=0.05)
    assert np.array_equal(np.where(take.codes == -1, clip.codes, take.codes), clip.codes)


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 10_000), digits=st.integers(3, 9))
def test_a_number_said_anew_is_made_of_its_own_words_each_with_its_sound_and_ends_as_it_did(seed, digits):
    clip = make_clip(digits=digits)
    again = renumber(clip, np.random.default_rng(seed))
    own = {word.tokens: word for word in clip.words}
    assert again.words[:2] == clip.words[:2]
    assert again.words[-1].tokens == clip.words[-1].tokens
    assert abs(len(again.words) - len(clip.words)) <= 3
    assert again.in_number == (False, False) + (True,) * (len(again.words) - 2)
    assert {word.tokens for word in again.words[2:-1]} <= {word.tokens for word in clip.words[2:-1]}
    for word in again.words:
        said = own[word.tokens]
        heard, spoken = (frame_at((w.start_s + w.end_s) / 2) for w in (word, said))
        assert again.codes[0, heard] == clip.codes[0, spoken]
    assert again.num_frames - clip.num_frames == again.num_recorded_frames - clip.num_recorded_frames


def test_a_clip_with_too_short_a_number_is_not_said_anew():
    clip = make_clip(digits=2)
    assert renumber(clip, np.random.default_rng(0)) is clip


def test_what_was_cut_off_is_never_followed_by_another_clip() -> None:
    """Joined, its unfinished turn would be taught as an end: the pause heads' rows after its last word must stay ignored."""
    cut = dataclasses.replace(make_clip(), goes_on=True)
    recipe = AugmentRecipe(join_prob=1.0)
    for seed in range(5):
        take = augment(cut, [make_clip()], recipe, max_frames=10_000, rng=np.random.default_rng(seed))
        assert take.goes_on
        assert take.num_frames == cut.num_frames
        other = augment(dataclasses.replace(cut, goes_on=False), [make_clip()], recipe, max_frames=10_000, rng=np.random.default_rng(seed))
        assert other.num_frames > cut.num_frames


def test_an_unfinished_clip_may_follow_and_keeps_its_end_open() -> None:
    cut = dataclasses.replace(make_clip("b"), goes_on=True)
    joined = join(make_clip("a"), cut)
    assert joined.goes_on
    with pytest.raises(AssertionError, match="b goes on, so nothing may follow it"):
        join(cut, make_clip("a"))
