from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_models import DIGITS

from stt_ft.audio.synthesis import Synthesizer
from stt_ft.core.timing import FRAME_S
from stt_ft.dataset.sidecar import Word
from stt_ft.model.words import words_from_tokens
from stt_ft.simulation.casting import HELDOUT_CAST, perform
from stt_ft.targets.interleave import build_text_stream
from stt_ft.text.prompts import ordinary_prompt

IDS = {"padding_id": 3, "end_padding_id": 0}
LAG_S = 0.5


@pytest.fixture(scope="module")
def tokenizer(random_base):
    return random_base.tokenizer


@settings(deadline=None, max_examples=40)
@given(
    texts=st.lists(st.sampled_from([*DIGITS, "order", "number", "1296803"]), min_size=1, max_size=8),
    gaps=st.lists(st.floats(0.0, 1.0), min_size=8, max_size=8),
)
def test_words_laid_on_the_stream_are_read_back_with_their_times(tokenizer, texts, gaps):
    words, time_s = [], 0.1
    for text, gap in zip(texts, gaps, strict=False):
        tokens = tuple(tokenizer.encode(text))
        words.append(Word(text="", tokens=tokens, start_s=time_s + gap, end_s=time_s + gap + 0.2))
        time_s += gap + len(tokens) * FRAME_S + 0.16
    stream = build_text_stream(words, num_frames=400, text_lag_s=LAG_S, **IDS)
    heard = words_from_tokens(stream.tokens, tokenizer, text_lag_s=LAG_S, **IDS)
    assert [word.text for word in heard] == texts
    for said, wrote in zip(words, heard, strict=True):
        assert abs(wrote.start_s - said.start_s) <= FRAME_S / 2 + 1e-6
        last_written_s = wrote.start_s + LAG_S + (len(said.tokens) - 0.5) * FRAME_S
        assert wrote.appeared_s == pytest.approx(last_written_s + FRAME_S)  # with the padding that follows
    for word, following in itertools.pairwise(heard):
        assert word.start_s < word.end_s <= following.start_s


def test_words_come_back_neither_early_nor_late(tokenizer):
    """The mean over onsets anywhere in a frame; half a frame of bias would be a frame's edge taken for the onset."""
    rng = np.random.default_rng(0)
    words = [
        Word(text="", tokens=tuple(tokenizer.encode("one")), start_s=2.0 * i + rng.uniform(0, 1), end_s=2.0 * i + 1.3) for i in range(400)
    ]
    stream = build_text_stream(words, num_frames=round(2 * len(words) / FRAME_S), text_lag_s=LAG_S, **IDS)
    heard = words_from_tokens(stream.tokens, tokenizer, text_lag_s=LAG_S, **IDS)
    offsets_s = [wrote.start_s - said.start_s for wrote, said in zip(heard, words, strict=True)]
    assert abs(np.mean(offsets_s)) < 0.005


def test_the_ends_of_words_are_guessed_without_bias_on_unseen_voices(tiny_model):
    """Read back from true times: the frame of a word's last token, which was told before, ends 0.16 s before the sound at the median."""
    synthesizer, rng, offsets_s, tokenizer = Synthesizer(), random.Random(0), [], tiny_model.tokenizer
    for _ in range(6):
        utterance, _ = perform(synthesizer, ordinary_prompt(rng).text, {}, HELDOUT_CAST, rng)
        words = [Word(text="", tokens=tuple(tokenizer.encode(w.text)), start_s=w.start_s, end_s=w.end_s) for w in utterance.words]
        stream = build_text_stream(words, num_frames=400, text_lag_s=LAG_S, **IDS)
        heard = words_from_tokens(stream.tokens, tokenizer, text_lag_s=LAG_S, **IDS)
        offsets_s += [wrote.end_s - said.end_s for wrote, said in zip(heard, words, strict=True)]
    assert abs(np.median(offsets_s)) < 0.04
    assert np.percentile(np.abs(offsets_s), 90) < 0.16


@settings(deadline=None, max_examples=40)
@given(tokens=st.lists(st.integers(0, 95), max_size=60))
def test_the_text_is_what_the_tokenizer_makes_of_all_tokens_at_once(tokenizer, tokens):
    words = words_from_tokens(tokens, tokenizer, text_lag_s=LAG_S, **IDS)
    together = tokenizer.decode([token for token in tokens if token > 3])
    assert " ".join(word.text for word in words).split() == together.split()


def test_times_are_counted_from_the_end_of_the_silence_prefix(tokenizer):
    tokens = [3] * 30 + list(tokenizer.encode("one")) + [3] * 3
    late = words_from_tokens(tokens, tokenizer, text_lag_s=LAG_S, **IDS)[0]
    shifted = words_from_tokens(tokens, tokenizer, text_lag_s=LAG_S, prefix_s=1.04, **IDS)[0]
    for name in ("start_s", "end_s", "appeared_s"):
        assert getattr(shifted, name) == pytest.approx(getattr(late, name) - 1.04)


def test_a_word_that_nothing_follows_appears_with_the_last_frame(tokenizer):
    tokens = [3, 3, *tokenizer.encode("one")]
    assert words_from_tokens(tokens, tokenizer, text_lag_s=0.0, **IDS)[0].appeared_s == pytest.approx(len(tokens) * FRAME_S)


def test_marks_belong_to_the_word_before_them_and_make_its_sound_no_longer(tokenizer):
    plain, marked = (
        words_from_tokens(
            [3, 3, *tokenizer.encode(first), *[3] * 9, 0, *tokenizer.encode(second), 3, 3, 3], tokenizer, text_lag_s=0.0, **IDS
        )
        for first, second in (("one", "nine"), ("one,", "nine."))
    )
    assert [word.text for word in marked] == ["one,", "nine."]
    assert [word.end_s - word.start_s for word in marked] == pytest.approx([word.end_s - word.start_s for word in plain])
    assert marked[0].appeared_s == pytest.approx(plain[0].appeared_s + FRAME_S)


def test_a_mark_that_comes_late_makes_its_word_appear_with_it(tokenizer):
    comma = tokenizer.piece_to_id(",")
    tokens = [3, *tokenizer.encode("one"), 3, 3, 3, comma, 3]
    (word,) = words_from_tokens(tokens, tokenizer, text_lag_s=0.0, **IDS)
    assert word.text == "one,"
    assert word.appeared_s == pytest.approx(len(tokens) * FRAME_S)


def test_a_mark_before_any_word_is_a_word_by_itself(tokenizer):
    tokens = [3, tokenizer.piece_to_id(","), 3, *tokenizer.encode("one"), 3]
    assert [word.text for word in words_from_tokens(tokens, tokenizer, text_lag_s=0.0, **IDS)] == [",", "one"]
