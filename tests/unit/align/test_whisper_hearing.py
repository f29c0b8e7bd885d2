"""The reading that fits the sound as a whole is taken: a tree of readings is scored as the decoder would, and weighed to its end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from stt_ft.align import whisper_hearing
from stt_ft.align.aligner import script_tokens
from stt_ft.align.whisper_hearing import ReadingTree, choose_readings
from stt_ft.align.whisper_model import WhisperModel


@pytest.fixture
def model(small_whisper: Path) -> WhisperModel:
    return WhisperModel(str(small_whisper), language="en", device=torch.device("cpu"))


@pytest.fixture
def features(model: WhisperModel) -> torch.Tensor:
    sound = np.random.default_rng(3).standard_normal(24_000).astype(np.float32) * 0.1
    with torch.inference_mode():
        return model.encode([sound])[0]


class Ear:
    """A decoder that expects `said`, at each word a little less surely than `tempting`, after which it expects nothing."""

    def __init__(self, model: WhisperModel, said: str, tempting: str = "") -> None:
        self.text = model.tokenizer.encode(f" {said}")
        self.tempting = model.tokenizer.encode(f" {tempting}")[:1]
        self.num_passes = 0

    def log_probs_at(self, tree: ReadingTree, tokens: Sequence[int], parents: Sequence[int], places: Sequence[int]) -> torch.Tensor:
        self.num_passes += 1
        rows = []
        for place in places:
            branch: list[int] = []
            while place >= len(tree._start):
                branch.insert(0, tokens[place])
                place = parents[place]
            row = torch.full((tree._model.model.dims.n_vocab,), -8.0)
            if branch == self.text[: len(branch)]:
                row[[*self.text, tree._model.tokenizer.eot][len(branch)]] = -1.0
                row[self.tempting] = -0.1
            rows.append(row)
        return torch.stack(rows)


def test_a_tree_of_readings_is_scored_as_the_decoder_scores_each_alone(
    model: WhisperModel, features: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whisper_hearing, "_PROMPTS", {})
    spoken = ("room twelve oh four", "room twelve zero four please", "room one two oh four", "room")
    texts = [model.tokenizer.encode(f" {text}") for text in spoken]
    expected = []
    for text in texts:
        (alone,) = model.read(features[None], [text])
        expected.append(sum(float(alone.log_probs[place, token]) for place, token in enumerate(text)))
    tree = ReadingTree(model, features)
    np.testing.assert_allclose(tree.scores(texts[:2]), expected[:2], rtol=1e-4)
    np.testing.assert_allclose(tree.scores(texts), expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("script", "said", "tempting"),
    [
        ("order number 4477", "order number double four double seven", "four"),
        ("room 1204", "room twelve oh four", "one"),
        ("room 1204 please", "room twelve zero four please", "one"),
        ("it costs $3.50", "it costs three fifty", "dollars"),
        ("extension 2300", "extension two three hundred", "twenty"),
        ("order number 1296803", "order number twelve ninety six eight hundred three", "one"),
        ("code 129680355", "code one two nine sixty eight oh three double five", "twelve"),
    ],
)
def test_a_reading_is_heard_as_a_whole_though_another_begins_likelier(
    model: WhisperModel, features: torch.Tensor, monkeypatch: pytest.MonkeyPatch, script: str, said: str, tempting: str
) -> None:
    ear = Ear(model, said, tempting)
    monkeypatch.setattr(ReadingTree, "_log_probs_at", lambda tree, *tree_of: ear.log_probs_at(tree, *tree_of))
    chosen, _ = choose_readings(model, features, script_tokens(script, language="en"))
    assert " ".join(word for words in chosen for word in words) == said


def test_a_number_with_thousands_of_readings_takes_few_passes(
    model: WhisperModel, features: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    ear = Ear(model, "order number one two nine six eight oh three oh five")
    monkeypatch.setattr(ReadingTree, "_log_probs_at", lambda tree, *tree_of: ear.log_probs_at(tree, *tree_of))
    said, _ = choose_readings(model, features, script_tokens("order number 129680305", language="en"))
    assert said[-1] == ("one", "two", "nine", "six", "eight", "oh", "three", "oh", "five")
    assert ear.num_passes <= 10


def test_a_lead_too_small_to_trust_is_told_with_the_other_reading(
    model: WhisperModel, features: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        ReadingTree, "ranked", lambda tree, *_, **__: [(-1.0, ("twelve", "oh", "four")), (-1.5, ("twelve", "zero", "four"))]
    )
    _, (_, number) = choose_readings(model, features, script_tokens("room 1204", language="en"))
    assert number is not None
    assert number.is_close
    assert number.words == ("twelve", "zero", "four")
    assert number.lead == pytest.approx(0.5)


def test_what_cannot_be_said_otherwise_asks_nothing_of_the_decoder(
    model: WhisperModel, features: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    ear = Ear(model, "hello")
    monkeypatch.setattr(ReadingTree, "_log_probs_at", lambda tree, *tree_of: ear.log_probs_at(tree, *tree_of))
    said, rivals = choose_readings(model, features, script_tokens("hello world", language="en"))
    assert said == [("hello",), ("world",)]
    assert rivals == [None, None]
    assert ear.num_passes == 0


def test_where_the_decoder_has_no_room_left_the_plain_reading_stays(model: WhisperModel, features: torch.Tensor) -> None:
    tokens = script_tokens("word " * 350 + "room 1204", language="en")
    said, _ = choose_readings(model, features, tokens)
    assert said[-1] == tokens[-1].lattice.words
