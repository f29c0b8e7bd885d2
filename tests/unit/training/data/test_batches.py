from __future__ import annotations

import dataclasses
import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from random_models import random_codes

from stt_ft.core.recipe import AugmentRecipe, BatchRecipe, LossRecipe, Recipe, SyntheticRecipe
from stt_ft.core.timing import FRAME_S
from stt_ft.dataset.sidecar import Word
from stt_ft.training.data.batches import IGNORE, TrainingBatches, collate, make_stream, random_stream
from stt_ft.training.data.clips import TrainingClip
from stt_ft.training.data.loading import load_clips


@pytest.fixture(scope="module")
def clips(encoded_dataset, random_base):
    return load_clips(encoded_dataset, "train", random_base, BatchRecipe())


def _recipe(**changes) -> Recipe:
    return Recipe(dataset="x", run_dir="y", batch=BatchRecipe(batch_size=5), **changes)


def test_every_clip_comes_once_an_epoch(clips, random_base):
    batches = TrainingBatches(clips, random_base, _recipe())
    assert batches.num_batches(0) == 3
    for epoch in range(2):
        heard = [clip_id for batch in itertools.islice(batches.starting_at(3 * epoch), 3) for clip_id in batch.clip_ids]
        assert sorted(heard) == sorted(clip.clip_id for clip in clips)


def test_entering_late_gives_the_same_batches(clips, random_base):
    recipe = _recipe(
        augment=AugmentRecipe(pause_prob=0.5, renumber_prob=0.5, join_prob=0.5, code_dropout=0.1), loss=LossRecipe(text_noise=0.2)
    )
    from_start = list(itertools.islice(TrainingBatches(clips, random_base, recipe).starting_at(0), 8))
    for entry in (1, 3, 5):
        late = list(itertools.islice(TrainingBatches(clips, random_base, recipe).starting_at(entry), 8 - entry))
        for one, other in zip(from_start[entry:], late, strict=True):
            assert one.clip_ids == other.clip_ids
            assert torch.equal(one.codes, other.codes)
            assert torch.equal(one.inputs, other.inputs)


def test_the_seed_decides_the_order(clips, random_base):
    orders = [
        [batch.clip_ids for batch in itertools.islice(TrainingBatches(clips, random_base, _recipe(seed=seed)).starting_at(0), 3)]
        for seed in (1, 1, 2)
    ]
    assert orders[0] == orders[1] != orders[2]


def test_padding_is_marked_in_codes_and_targets(clips, random_base):
    streams = [make_stream(clip, random_base, _recipe()) for clip in clips[:4]]
    batch = collate(streams)
    for row, stream in enumerate(streams):
        length = stream.codes.shape[1]
        assert np.array_equal(batch.codes[row, :, :length].numpy(), stream.codes)
        assert (batch.codes[row, :, length:] == -1).all()
        assert (batch.pause_targets[row, length:] == IGNORE).all()
    assert batch.num_frames == sum(stream.codes.shape[1] for stream in streams)


def test_padding_is_below_a_tenth_on_takes_of_3_to_10_s_with_the_recipes_changes_of_length(random_base):
    rng = np.random.default_rng(0)
    takes = []
    for index, num_frames in enumerate(rng.integers(38, 126, 220)):  # 3 to 10 s, and 3 s of silence after
        starts_s = np.arange(0.4, num_frames * FRAME_S - 0.4, 0.4)
        words = tuple(Word(text="", tokens=(9,), start_s=start_s, end_s=start_s + 0.3) for start_s in starts_s)
        codes = random_codes(random_base, int(num_frames) + 38, index)
        in_number = (True,) * len(words)
        takes.append(TrainingClip(clip_id=str(index), codes=codes, words=words, in_number=in_number, num_recorded_frames=int(num_frames)))
    recipe = dataclasses.replace(
        _recipe(augment=AugmentRecipe(pause_prob=0.25, renumber_prob=0.25, join_prob=0.1)), batch=BatchRecipe(batch_size=8)
    )
    batches = list(itertools.islice(TrainingBatches(takes, random_base, recipe).starting_at(0), 84))  # three epochs
    assert sum(batch.num_frames for batch in batches) / sum(batch.codes[:, 0].numel() for batch in batches) > 0.9


def test_text_noise_touches_the_input_and_never_the_target(clips, random_base):
    streams = [make_stream(clip, random_base, _recipe()) for clip in clips[:4]]
    plain = collate(streams)
    batch = plain.with_text_noise(np.random.default_rng(0).random(plain.inputs[:, 0].shape) < 0.5, random_base.padding_id)
    changed = batch.inputs != batch.codes
    assert changed[:, 0].any()
    assert not changed[:, 1:].any()
    assert (batch.inputs[changed] == 3).all()
    assert (batch.codes[changed] >= 0).all()
    plain = collate(streams)
    for name in ("codes", "text_targets", "pause_targets"):
        assert torch.equal(getattr(batch, name), getattr(plain, name)), name
    assert torch.equal(batch.text_targets, batch.codes[:, 0])


def test_the_stream_carries_every_word_and_ends_in_a_pause(clips, random_base):
    for clip in clips:
        stream = make_stream(clip, random_base, _recipe())
        tokens = [token for word in clip.words for token in word.tokens]
        assert [token for token in stream.codes[0] if token not in (0, 3)] == tokens
        assert (stream.pause_targets[-1] == 0).all()
        assert (stream.pause_targets[0, 3] > 0).all()


def test_a_limit_on_frames_holds_with_padding_counted_and_can_be_entered_late(clips, random_base):
    limit = 3 * max(clip.num_frames for clip in clips)
    recipe = _recipe(augment=AugmentRecipe(pause_prob=0.5, join_prob=0.3))
    recipe = dataclasses.replace(recipe, batch=BatchRecipe(batch_size=5, max_frames_per_batch=limit))
    batches = TrainingBatches(clips, random_base, recipe)
    from_start = list(itertools.islice(batches.starting_at(0), 12))
    for batch in from_start:
        assert batch.codes.shape[0] * batch.codes.shape[2] <= limit
        assert len(batch.clip_ids) <= 5
    assert max(len(batch.clip_ids) for batch in from_start) > 1
    num_first = batches.num_batches(0)
    heard = [clip_id.split(" + ")[0] for batch in from_start[:num_first] for clip_id in batch.clip_ids]
    assert sorted(heard) == sorted(clip.clip_id for clip in clips)
    for one, other in zip(from_start[num_first + 1 :], batches.starting_at(num_first + 1), strict=False):
        assert torch.equal(one.codes, other.codes)


def _epochs(batches, num):
    """Return the ids heard in each of the first epochs."""
    heard = batches.starting_at(0)
    return [
        [clip_id for batch in itertools.islice(heard, batches.num_batches(epoch)) for clip_id in batch.clip_ids] for epoch in range(num)
    ]


@pytest.mark.parametrize(("share", "num_synthetic"), [(0.0, 0), (0.2, 1), (0.47, 3), (0.5, 4), (0.6, 6), (0.9, 8)])
def test_synthetic_clips_are_at_most_the_share_asked_for_and_come_by_turns(clips, random_base, share, num_synthetic):
    mixed = [dataclasses.replace(clip, is_synthetic=index >= 4) for index, clip in enumerate(clips)]
    recorded, synthetic = {clip.clip_id for clip in mixed[:4]}, {clip.clip_id for clip in mixed[4:]}
    batches = TrainingBatches(mixed, random_base, _recipe(synthetic=SyntheticRecipe(share=share)))
    rounds = Counter()
    for heard in _epochs(batches, 8):
        assert len(heard) == 4 + num_synthetic
        assert set(heard) & recorded == recorded
        assert len(set(heard) & synthetic) <= share * len(heard) + 1e-9
        rounds.update(clip_id for clip_id in heard if clip_id in synthetic)  # where two rounds meet, a clip may come twice
    if num_synthetic:
        assert set(rounds) == synthetic
        assert max(rounds.values()) - min(rounds.values()) <= 1
    late = TrainingBatches(mixed, random_base, _recipe(synthetic=SyntheticRecipe(share=share))).starting_at(3)
    for one, other in zip(itertools.islice(batches.starting_at(0), 3, 8), late, strict=False):
        assert torch.equal(one.codes, other.codes)


def test_a_recording_is_joined_with_recordings_only(clips, random_base):
    mixed = [dataclasses.replace(clip, is_synthetic=index >= 6) for index, clip in enumerate(clips)]
    synthetic = {clip.clip_id for clip in mixed[6:]}
    batches = TrainingBatches(mixed, random_base, _recipe(augment=AugmentRecipe(join_prob=1.0)))
    joined = [clip_id.split(" + ") for heard in _epochs(batches, 2) for clip_id in heard]
    assert max(map(len, joined)) == 2
    assert all(len({part in synthetic for part in parts}) == 1 for parts in joined)


def test_no_two_random_streams_of_a_run_are_alike():
    places = [("order", epoch) for epoch in range(4)] + [("rounds", number) for number in range(4)]
    places += [(draw, epoch, place) for draw in ("takes", "noise") for epoch in range(4) for place in range(20)]
    first = {random_stream(draw, seed, *place).bytes(16): (draw, seed, *place) for draw, *place in places for seed in (0, 1)}
    assert len(first) == 2 * len(places)
