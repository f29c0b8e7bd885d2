from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_models import DIGITS

from stt_ft.core.timing import FRAME_S
from stt_ft.model.words import words_from_tokens
from stt_ft.targets.interleave import TokenWord, build_text_stream

LAG_S = 0.5


@pytest.fixture(scope="module")
def tokenizer(random_base):
    return random_base.load_tokenizer()


@settings(deadline=None, max_examples=40)
@given(
    texts=st.lists(st.sampled_from([*DIGITS, "order", "number", "1296803"]), min_size=1, max_size=8),
    gaps=st.lists(st.floats(0.0, 1.0), min_size=8, max_size=8),
)
def test_words_laid_on_the_stream_are_read_back_with_their_times(tokenizer, texts, gaps):
    words, time_s = [], 0.1
    for text, gap in zip(texts, gaps, strict=False):
        tokens = tuple(tokenizer.encode(text))
        words.append(TokenWord(tokens=tokens, start_s=time_s + gap, end_s=time_s + gap + 0.2))
        time_s += gap + len(tokens) * FRAME_S + 0.16
    stream = build_text_stream(words, num_frames=400, text_lag_s=LAG_S)
    heard = words_from_tokens(stream.tokens, tokenizer, text_lag_s=LAG_S)
    assert [word.text for word in heard] == texts
    for said, wrote in zip(words, heard, strict=True):
        assert -FRAME_S - 1e-6 <= wrote.start_s - said.start_s <= 1e-6  # a frame's edge at or before the onset
        assert wrote.end_s == pytest.approx(wrote.start_s + len(said.tokens) * FRAME_S)
        assert wrote.appeared_s == pytest.approx(wrote.end_s + LAG_S + FRAME_S)  # with the padding that follows


@settings(deadline=None, max_examples=40)
@given(tokens=st.lists(st.integers(0, 95), max_size=60))
def test_the_text_is_what_the_tokenizer_makes_of_all_tokens_at_once(tokenizer, tokens):
    words = words_from_tokens(tokens, tokenizer, text_lag_s=LAG_S)
    together = tokenizer.decode([token for token in tokens if token > 3])
    assert " ".join(word.text for word in words).split() == together.split()


def test_times_are_counted_from_the_end_of_the_silence_prefix(tokenizer):
    tokens = [3] * 30 + list(tokenizer.encode("one")) + [3] * 3
    late = words_from_tokens(tokens, tokenizer, text_lag_s=LAG_S)[0]
    shifted = words_from_tokens(tokens, tokenizer, text_lag_s=LAG_S, prefix_s=1.04)[0]
    for name in ("start_s", "end_s", "appeared_s"):
        assert getattr(shifted, name) == pytest.approx(getattr(late, name) - 1.04)


def test_a_word_that_nothing_follows_appears_with_the_last_frame(tokenizer):
    tokens = [3, 3, *tokenizer.encode("one")]
    assert words_from_tokens(tokens, tokenizer, text_lag_s=0.0)[0].appeared_s == pytest.approx(len(tokens) * FRAME_S)
