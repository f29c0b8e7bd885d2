from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stt_ft.core import timing
from stt_ft.core.errors import DatasetError
from stt_ft.core.recipe import BatchRecipe, Recipe
from stt_ft.dataset.sidecar import Word
from stt_ft.training.data.augment import join
from stt_ft.training.data.batches import IGNORE, TrainingBatches, make_stream
from stt_ft.training.data.clips import TrainingClip, cut_to_fit

NUM_TAIL = 38


def long_clip(num_words: int, seed: int = 0, longest_gap_s: float = 1.5, prefix: int = 0) -> TrainingClip:
    """Frame t has the code t in every codebook, so that every frame can be known again."""
    rng = np.random.default_rng(seed)
    words, time_s = [], 0.4 + timing.frame_start_s(prefix)
    for index in range(num_words):
        words.append(Word(text="", tokens=(4 + index % 60,), start_s=time_s, end_s=time_s + 0.3))
        time_s += 0.3 + float(rng.uniform(0.05, longest_gap_s))
    num_recorded = timing.num_frames_covering(time_s)
    return TrainingClip(
        clip_id="long.wav",
        codes=np.tile(np.arange(num_recorded + NUM_TAIL, dtype=np.int16), (4, 1)),
        words=tuple(words),
        in_number=(True,) * num_words,
        num_recorded_frames=num_recorded,
    )


@settings(deadline=None, max_examples=40)
@given(num_words=st.integers(1, 80), seed=st.integers(0, 1000), max_frames=st.integers(110, 300), prefix=st.sampled_from([0, 5]))
def test_every_word_is_in_one_piece_at_the_frames_of_its_sound(num_words, seed, max_frames, prefix):
    clip = long_clip(num_words, seed, prefix=prefix)
    pieces = cut_to_fit(clip, max_frames=max_frames, num_prefix_frames=prefix)
    assert [token for piece in pieces for word in piece.words for token in word.tokens] == [w.tokens[0] for w in clip.words]
    originals = iter(clip.words)
    for piece in pieces:
        assert piece.num_frames <= max_frames or piece is clip
        assert len(piece.in_number) == len(piece.words)
        if piece is not clip:
            assert piece.codes[0, :prefix].tolist() == list(range(prefix))
            assert piece.codes[0, -NUM_TAIL:].tolist() == clip.codes[0, -NUM_TAIL:].tolist()
        for word in piece.words:
            original = next(originals)
            middle, original_middle = (timing.frame_at((w.start_s + w.end_s) / 2) for w in (word, original))
            assert piece.codes[0, middle] == clip.codes[0, original_middle]
            assert word.end_s <= timing.frame_start_s(piece.num_recorded_frames) + 1e-9
    assert [piece.goes_on for piece in pieces[:-1]] == [True] * (len(pieces) - 1)


def test_a_clip_that_fits_stays_as_it_is():
    clip = long_clip(3)
    assert cut_to_fit(clip, max_frames=clip.num_frames) == [clip]


def test_words_without_a_gap_are_refused_by_id():
    words = (Word(text="", tokens=(5,), start_s=0.4, end_s=20.0), Word(text="", tokens=(6,), start_s=20.0, end_s=40.0))
    clip = TrainingClip(
        clip_id="drone.wav", codes=np.zeros((4, 540), dtype=np.int16), words=words, in_number=(False, False), num_recorded_frames=502
    )
    with pytest.raises(DatasetError, match=r"clip drone\.wav: no gap between words in the 5\.0 s from 0\.0 s on"):
        cut_to_fit(clip, max_frames=100)


def test_what_comes_after_a_cut_is_left_open_in_the_pause_targets(random_base):
    whole = long_clip(40)
    first, *_, last = cut_to_fit(whole, max_frames=200)
    recipe = Recipe(dataset="x", run_dir="y")
    cut, end = make_stream(first, random_base, recipe), make_stream(last, random_base, recipe)
    in_whole = make_stream(whole, random_base, recipe)
    known = cut.pause_targets != IGNORE
    length = int(known.any(axis=1).sum())
    assert 0 < length < first.num_recorded_frames
    assert np.array_equal(cut.pause_targets[:length][known[:length]], in_whole.pause_targets[:length][known[:length]])
    assert known[:, 0].sum() > known[:, 3].sum()  # three seconds ahead, less is known
    assert (end.pause_targets != IGNORE).all()
    assert (end.pause_targets[-1] == 0).all()


@pytest.mark.parametrize("batch", [BatchRecipe(batch_size=8), BatchRecipe(batch_size=64, max_frames_per_batch=1200)])
def test_less_than_a_tenth_of_a_digits_set_is_padding(random_base, batch):
    """Two hundred numbers of 6 to 10 digits, spoken at rates from quick to slow: 3 to 10 s each."""
    rng = np.random.default_rng(0)
    clips = [long_clip(3 + int(rng.integers(6, 11)), seed, longest_gap_s=float(rng.uniform(0.1, 0.6))) for seed in range(200)]
    batches = TrainingBatches(clips, random_base, Recipe(dataset="x", run_dir="y", batch=batch))
    num_real = num_all = 0
    stream = batches.starting_at(0)
    for _ in range(batches.num_batches(0) + batches.num_batches(1)):
        one = next(stream)
        num_real, num_all = num_real + one.num_frames, num_all + one.codes.shape[0] * one.codes.shape[2]
    assert 1 - num_real / num_all < 0.10


def test_an_unfinished_clip_that_follows_another_leaves_open_what_it_alone_leaves_open(random_base):
    first, cut = long_clip(4, seed=3), cut_to_fit(long_clip(40), max_frames=200)[0]
    recipe = Recipe(dataset="x", run_dir="y")
    joined, alone, before = (make_stream(clip, random_base, recipe).pause_targets for clip in (join(first, cut), cut, first))
    assert np.array_equal(joined[first.num_frames :] == IGNORE, alone == IGNORE)
    assert (alone == IGNORE).any()
    assert (joined[: first.num_frames] != IGNORE).all()
    seen = before.argmin(axis=0)  # a turn that has ended is still taught as one, until the next comes into sight
    assert (joined[seen, range(4)] == 0).all()
