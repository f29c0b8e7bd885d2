from __future__ import annotations

import dataclasses
import itertools
import json

import numpy as np
import pytest
import torch
from random_models import random_codes

from stt_ft.core.recipe import AugmentRecipe, BatchRecipe, LabelsRecipe, Recipe
from stt_ft.dataset.sidecar import Word
from stt_ft.model.stt_lm import SttOutput, forward, load_lm
from stt_ft.text.written_style import WrittenStyle, styles
from stt_ft.training import labels
from stt_ft.training.data.augment import augment
from stt_ft.training.data.batches import TrainingBatches
from stt_ft.training.data.clips import TrainingClip
from stt_ft.training.data.loading import load_clips
from stt_ft.training.labels import LabelWriter, StyleChooser, choice_in_words, read_choice, styled, write_choice

STOP, BOTH = WrittenStyle(stop=True), WrittenStyle(commas=True, stop=True)
RECIPE = Recipe(dataset="d", run_dir="r", batch=BatchRecipe(batch_size=3), labels=LabelsRecipe(style="base"))


@pytest.fixture(scope="module")
def writer(random_base) -> LabelWriter:
    return LabelWriter(model=random_base)


@pytest.fixture(scope="module")
def clips(encoded_dataset, random_base) -> list[TrainingClip]:
    return [clip.with_codes() for clip in load_clips(encoded_dataset, "train", random_base, BatchRecipe())]


@pytest.fixture(scope="module")
def sentences(clips) -> list[TrainingClip]:
    """The same words, none of them of a dictated number."""
    return [dataclasses.replace(clip, in_number=(False,) * len(clip.words)) for clip in clips]


def make_clip(writer: LabelWriter, text: str, *, num_tail: int = 60, **changes) -> TrainingClip:
    """Words every 0.48 s; all digit words are the number."""
    words = tuple(
        Word(text="", tokens=tuple(writer.model.tokenizer.encode(word)), start_s=0.48 * (1 + index), end_s=0.48 * (1 + index) + 0.3)
        for index, word in enumerate(text.split())
    )
    num_recorded = 6 * (2 + len(words))
    in_number = tuple(word.strip(",.") in ("zero", "one", "two", "three", "nine") for word in text.split())
    codes = random_codes(writer.model, num_recorded + num_tail)
    clip = TrainingClip(clip_id=text, codes=codes, words=words, in_number=in_number, num_recorded_frames=num_recorded)
    return dataclasses.replace(clip, **changes)


def test_words_are_written_with_their_marks_at_their_times(writer):
    clip = make_clip(writer, "code one two nine")
    written = writer.write(dataclasses.replace(clip, style=BOTH))
    assert written.texts(writer.model) == ["code", "one,", "two,", "nine."]
    assert written.style is None
    assert [word.start_s for word in written.words] == [word.start_s for word in clip.words]
    assert writer.write(clip) is clip


def test_what_the_tokenizer_cannot_write_is_left_as_it_is(writer):
    """This one has no capitals: it would write token 0, which ends the padding, for each."""
    clip = make_clip(writer, "one two nine")
    assert writer.written(clip, WrittenStyle(capital=True)) is None
    assert writer.write(dataclasses.replace(clip, style=WrittenStyle(capital=True))) == clip


def test_what_has_no_room_on_the_stream_is_no_candidate(writer):
    clip = make_clip(writer, "one two nine", num_tail=60)
    last_token = clip.text_stream(writer.model).onset_frames[-1] + len(clip.words[-1].tokens)
    tight = dataclasses.replace(clip, codes=clip.codes[:, :last_token])
    assert writer.written(tight, WrittenStyle()) is not None
    assert writer.written(tight, STOP) is None


@pytest.mark.parametrize("seed", range(20))
def test_marks_follow_their_place_when_numbers_are_said_anew_and_joined(writer, seed):
    recipe = AugmentRecipe(renumber_prob=0.6, join_prob=0.5, pause_prob=0.3)
    clip = make_clip(writer, "code one, two, three zero nine. please", style=BOTH)
    other = make_clip(writer, "order code", style=WrittenStyle())
    take = augment(clip, [other], recipe, max_frames=10_000, rng=np.random.default_rng(seed), write=writer.write)
    texts = take.texts(writer.model)
    if "+" in take.clip_id:
        assert texts[-2:] == ["order", "code"]
        texts = texts[:-2]
    assert texts[0] == "code"
    assert texts[-1].endswith(".")
    for (text, following), inside in zip(itertools.pairwise(texts), take.in_number[1:], strict=False):
        assert text.endswith(",") == (text.strip(",.") in ("one", "two", "three", "zero", "nine") and inside)
        assert following.islower()


def test_a_cut_piece_keeps_its_end_open(writer):
    assert writer.write(make_clip(writer, "one two nine", style=BOTH, goes_on=True)).texts(writer.model) == ["one,", "two,", "nine"]


@torch.no_grad()
def test_the_base_chooses_the_form_of_the_highest_log_likelihood(sentences, writer, random_base):
    """Against every form read alone, its log-probabilities added up in float64 by NumPy."""
    lm = load_lm(random_base)
    chosen = StyleChooser(writer=writer, recipe=RECIPE, lm=lm).choose(sentences)
    assert len(set(chosen.values())) > 1
    for clip in sentences:
        scores = {}
        for style in styles(clip.texts(writer.model), clip.in_number):
            form = writer.written(clip, style)
            if form is None:
                continue
            tokens = form.text_stream(random_base).tokens
            codes = np.concatenate([tokens[None], clip.codes.astype(np.int64)])
            logits = forward(lm, torch.from_numpy(codes)[None]).text_logits[0].double().numpy()
            log_probs = (
                logits - np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1, keepdims=True)) - logits.max(-1, keepdims=True)
            )
            scores[style] = log_probs[np.arange(len(tokens)), tokens].sum()
        assert len(scores) == 2  # plain, full stop
        assert chosen[clip.clip_id] == max(scores, key=lambda style: scores[style])


@pytest.mark.parametrize(("loved", "expected"), [((), WrittenStyle()), ((".",), STOP)])
def test_a_base_that_writes_stops_gets_sentences_with_stops_and_numbers_without(
    clips, sentences, writer, random_base, monkeypatch, loved, expected
):
    def reading(lm, codes):
        logits = torch.zeros(codes.shape[0], codes.shape[2], 96)
        logits[..., 3] = 2.0  # padding is likelier than any word, as in every model
        for mark in loved:
            logits[..., writer.model.tokenizer.piece_to_id(mark)] = 6.0
        return SttOutput(hidden=logits, text_logits=logits, head_logits=logits)

    monkeypatch.setattr(labels, "forward", reading)
    chooser = StyleChooser(writer=writer, recipe=RECIPE, lm=load_lm(random_base))
    chosen = chooser.choose(sentences)
    assert set(chosen.values()) == {expected}
    assert choice_in_words(chosen) == f"{len(clips)} {expected.name}"
    numbers = [clip for clip in clips if any(clip.in_number)]
    assert len(numbers) > 1
    chosen = chooser.choose(numbers)
    assert set(chosen.values()) == {WrittenStyle()}


def test_takes_of_one_recording_are_written_alike(clips, writer, random_base):
    slower = [dataclasses.replace(clip, codes=np.repeat(clip.codes, 2, axis=1)) for clip in clips]
    chooser = StyleChooser(writer=writer, recipe=RECIPE, lm=load_lm(random_base))
    chosen, again = (chooser.choose(both) for both in (clips, [*clips, *slower]))
    assert chosen == again
    assert [clip.style for clip in styled(slower, chosen)] == [clip.style for clip in styled(clips, chosen)]


def test_what_is_learned_is_written_in_the_style(clips, writer, random_base):
    batches = TrainingBatches([dataclasses.replace(clip, style=BOTH) for clip in clips], random_base, RECIPE, write=writer.write)
    comma, stop = (writer.model.tokenizer.piece_to_id(mark) for mark in ",.")
    for batch in itertools.islice(batches.starting_at(0), 4):
        for row in batch.text_targets:
            assert (row == stop).sum() == 1
            assert (row == comma).sum() >= 2  # numbers have three digits or more


def test_a_choice_is_kept_for_its_clips_and_base_alone(tmp_path):
    path, made_of = tmp_path / "labels.json", {"train": "a", "base_sha256": "b"}
    chosen = {"x.wav": BOTH, "y.wav": None, "z.wav": WrittenStyle()}
    assert read_choice(path, made_of) is None
    write_choice(path, made_of, chosen)
    assert read_choice(path, made_of) == chosen
    assert read_choice(path, {**made_of, "base_sha256": "c"}) is None
    assert json.loads(path.read_bytes())["styles"] == {"x.wav": "commas+stop", "y.wav": None, "z.wav": "plain"}
    for broken in ("", "[]", '{"made_of": {"train": "a", "base_sha256": "b"}, "styles": {"x.wav": "loud"}}'):
        path.write_text(broken)
        assert read_choice(path, made_of) is None
