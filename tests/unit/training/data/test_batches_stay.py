"""The batches of a seed stay what they were, to the last bit, whatever becomes of how clips are kept and batches made.

The hashes are those of the code of November 2026 that held every clip's codes in memory and made all takes of an epoch at once.
"""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import itertools
import tracemalloc

import numpy as np
import pytest
from random_models import random_codes, spoken_words

from stt_ft.audio.sounds import sounds_of
from stt_ft.core.recipe import AugmentRecipe, BatchRecipe, LossRecipe, Recipe, ReplayRecipe, SyntheticRecipe
from stt_ft.core.timing import num_frames_covering
from stt_ft.dataset.manifest import Clip, Dataset
from stt_ft.dataset.sidecar import Sidecar, Word
from stt_ft.model.codes import TokenStore
from stt_ft.text.written_style import WrittenStyle
from stt_ft.training.data.batches import TrainingBatches
from stt_ft.training.data.clips import fingerprint
from stt_ft.training.data.loading import training_clips
from stt_ft.training.labels import LabelWriter, styled

SPEEDS = (0.9, 1.0, 1.1)


def fill(directory, model, num_clips: int, *, seed: int, **extra) -> Dataset:
    """A train split of numbers and, every third clip, a sentence; the codes, at every speed, are drawn."""
    rng, data, clips = np.random.default_rng(seed), Dataset(directory), []
    for index in range(num_clips):
        words = spoken_words(rng, int(rng.integers(3, 9)))
        if index % 3 == 2:
            said = "we have it in the shop".split()  # noqa: SIM905
            words = tuple(dataclasses.replace(word, text=text) for word, text in zip(words, said, strict=False))
        kind = "ordinary" if index % 3 == 2 else "number"
        clip = Clip(path=f"audio/{index}.wav", duration_s=round(words[-1].end_s + 0.43, 3), extra={"kind": kind, **extra})
        data.write_sidecar(clip, Sidecar(alignments=(*words, Word(text="no", start_s=0.1, end_s=0.2, speaker="SPEAKER_1"))))
        data.audio_path(clip).write_bytes(f"{directory.name} {index}".encode())
        clips.append(clip)
    data.write_clips("train", clips)
    around = model.num_prefix_frames + model.num_tail_frames()
    sounds = sounds_of(data, clips, AugmentRecipe(speeds=SPEEDS).versions)
    lengths = [around + num_frames_covering(sound.clip.duration_s / sound.version.speed) for sound in sounds]
    codes = {sound.key: random_codes(model, length, at) for at, (sound, length) in enumerate(zip(sounds, lengths, strict=True))}
    TokenStore.of(data, model).add(codes)
    return data


@pytest.fixture(scope="module")
def recorded(tmp_path_factory, random_base) -> Dataset:
    return fill(tmp_path_factory.mktemp("kept") / "recorded", random_base, 25, seed=1)


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory, random_base) -> Dataset:
    return fill(tmp_path_factory.mktemp("kept") / "synthetic", random_base, 13, seed=2, synthetic=True)


def digest_of(data, model, recipe, *, num_batches=20, is_styled=False) -> str:
    """The hash of everything in the first batches of some epochs."""
    write = LabelWriter(model=model).write if is_styled else lambda clip: clip
    clips = training_clips(data, model, recipe)
    if is_styled:
        names = [None, WrittenStyle(capital=True, stop=True), WrittenStyle(capital=True, stop=False)]
        clips = styled(clips, {clip.clip_id: names[len(clip.words) % 3] for clip in clips})
    digest = hashlib.sha256()
    for batch in itertools.islice(TrainingBatches(clips, model, recipe, write=write).starting_at(1), num_batches):
        ids = repr([clip_id.replace(str(data.directory.parent.parent), "") for clip_id in batch.clip_ids])
        digest.update(f"{ids} {batch.num_frames} {batch.is_replay.tolist()}".encode())
        for tensor in (batch.codes, batch.inputs, batch.text_targets, batch.pause_targets):
            digest.update(repr(tuple(tensor.shape)).encode() + tensor.numpy().tobytes())
    return digest.hexdigest()[:16]


def test_only_codes_of_the_batch_that_is_due_are_read(recorded, random_base, monkeypatch):
    read, names = TokenStore.read, []
    monkeypatch.setattr(TokenStore, "read", lambda store, entry, name: names.append(name) or read(store, entry, name))
    augmented = AugmentRecipe(pause_prob=0.5, renumber_prob=0.5)
    limits = BatchRecipe(batch_size=4, max_frames_per_batch=600)
    recipe = Recipe(dataset=str(recorded.directory), run_dir="y", batch=limits, augment=augmented)
    clips = training_clips(recorded, random_base, recipe)
    fingerprint(clips)
    planned = TrainingBatches(clips, random_base, recipe).planned(10)
    assert [len(next(planned).takes) > 0 for _ in range(3)] == [True] * 3
    assert names == []
    batch = next(planned)
    assert sorted(batch.made().clip_ids) == sorted(names)
    assert batch.made(slice(1, 2)).clip_ids == batch.made().clip_ids[1:2]


def test_a_clip_takes_some_hundred_bytes_until_it_is_asked_for(tmp_path, recorded, random_base):
    """Codes and words of every clip were held: 16 kB each."""
    sizes, held = [], []
    for data in (recorded, recorded, fill(tmp_path / "many", random_base, 225, seed=3)):  # first what is kept once, whatever the clips
        tracemalloc.start()
        clips = training_clips(data, random_base, Recipe(dataset=str(data.directory), run_dir="y"))
        sizes.append(len(clips))
        gc.collect()
        held.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
    assert sizes[1:] == [25, 225]
    assert (held[2] - held[1]) / 200 < 400


def test_times_that_are_no_ticks_are_kept_to_the_last_bit(tmp_path, random_base):
    data = fill(tmp_path / "some", random_base, 2, seed=4)
    recipe, clip = Recipe(dataset=str(data.directory), run_dir="y", augment=AugmentRecipe(speeds=(1.1,))), data.clips()[0]
    path = data.sidecar_path(clip)
    path.write_text(path.read_text().replace("0.4,", "0.41234567890123,"))
    word = training_clips(data, random_base, recipe)[0].words[0]
    prefix_s = random_base.num_prefix_frames / 12.5
    assert (word.text, word.start_s, word.end_s) == ("order", 0.41234567890123 / 1.1 + prefix_s, 0.7 / 1.1 + prefix_s)


def test_batches_of_the_demos_recipe(recorded, random_base):
    recipe = Recipe(
        dataset=str(recorded.directory),
        run_dir="y",
        loss=LossRecipe(text_noise=0.1),
        batch=BatchRecipe(batch_size=8),
        augment=AugmentRecipe(pause_prob=0.2, join_prob=0.1, renumber_prob=0.3, code_dropout=0.25, speeds=SPEEDS),
        replay=ReplayRecipe(kinds=("ordinary",), text_weight=2.0),
    )
    assert digest_of(recorded, random_base, recipe, is_styled=True) == "d92b45c66c427a6f"
    assert digest_of(recorded, random_base, dataclasses.replace(recipe, augment=AugmentRecipe(speeds=SPEEDS))) == "8d44316a2a230884"


def test_batches_of_few_frames_with_synthetic_clips_beside(recorded, synthetic, random_base, monkeypatch):
    monkeypatch.chdir(synthetic.directory.parent)
    recipe = Recipe(
        dataset=str(recorded.directory),
        run_dir="y",
        batch=BatchRecipe(batch_size=8, max_frames_per_batch=400),
        augment=AugmentRecipe(pause_prob=0.5, join_prob=0.5, renumber_prob=0.5, channels=("unmute",)),
        synthetic=SyntheticRecipe(dataset=synthetic.directory.name, share=0.3),
    )
    assert digest_of(recorded, random_base, recipe, num_batches=40) == "caafce9619236203"


def test_batches_of_long_clips_cut(recorded, random_base):
    recipe = Recipe(
        dataset=str(recorded.directory),
        run_dir="y",
        batch=BatchRecipe(batch_size=8, max_clip_s=5.0, long_clips="cut"),
        augment=AugmentRecipe(pause_prob=0.5, join_prob=0.5, renumber_prob=0.5, code_dropout=0.25, speeds=(1.0, 1.1)),
    )
    clips = training_clips(recorded, random_base, recipe)
    assert any(clip.goes_on for clip in clips)
    assert digest_of(recorded, random_base, recipe) == "1baf09aa08145425"
