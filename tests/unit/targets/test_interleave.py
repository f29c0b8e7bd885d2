"""The text stream: equal to upstream's where upstream is right, and never losing a word where it is not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stt_ft.core import timing
from stt_ft.core.errors import AlignmentError
from stt_ft.dataset.sidecar import Word
from stt_ft.targets.interleave import END_PADDING_ID, PADDING_ID, build_text_stream

GOLDEN = Path(__file__).parents[2] / "golden" / "upstream_interleaver.json"


def test_equals_upstream_frame_by_frame_after_the_lag() -> None:
    """Before the lag upstream writes -1 (no loss there); the server feeds back the model's own tokens, so we teach padding."""
    cases = json.loads(GOLDEN.read_text())["cases"]
    assert sum(len(case["words"]) for case in cases) > 300
    for case in cases:
        words = [Word(text="", tokens=tuple(tokens), start_s=start_s, end_s=end_s) for tokens, start_s, end_s in case["words"]]
        stream = build_text_stream(
            words, num_frames=case["num_frames"], text_lag_s=case["text_lag_s"], padding_id=PADDING_ID, end_padding_id=END_PADDING_ID
        )
        lag_frames = timing.frame_at(case["text_lag_s"])
        upstream = np.array(case["tokens"])
        assert (upstream[:lag_frames] == -1).all()
        np.testing.assert_array_equal(stream.tokens[lag_frames:], upstream[lag_frames:])
        assert set(stream.tokens[:lag_frames].tolist()) <= {PADDING_ID, END_PADDING_ID}


@st.composite
def crowded_words(draw: st.DrawFn) -> list[Word]:
    """Words in any order, some of zero length, some at the same time, some faster than a token a frame."""
    count = draw(st.integers(0, 20))
    starts = draw(st.lists(st.floats(0, 5), min_size=count, max_size=count))
    return [
        Word(
            text="",
            tokens=tuple(draw(st.lists(st.integers(4, 400), min_size=1, max_size=4))),
            start_s=start,
            end_s=start + draw(st.sampled_from([0.0, 0.1, 0.4])),
        )
        for start in starts
    ]


@settings(deadline=None, max_examples=100)
@given(words=crowded_words(), text_lag_s=st.sampled_from([0.0, 0.5, 2.5]))
def test_no_token_is_lost_or_early(words: list[Word], text_lag_s: float) -> None:
    stream = build_text_stream(words, num_frames=200, text_lag_s=text_lag_s, padding_id=PADDING_ID, end_padding_id=END_PADDING_ID)
    in_time = sorted(words, key=lambda word: word.start_s)
    said = [token for token in stream.tokens.tolist() if token not in (PADDING_ID, END_PADDING_ID)]
    assert said == [token for word in in_time for token in word.tokens]
    for word, onset in zip(in_time, stream.onset_frames.tolist(), strict=True):
        assert tuple(stream.tokens[onset : onset + len(word.tokens)]) == word.tokens
        assert timing.frame_start_s(onset + 1) > word.start_s + text_lag_s - 1e-6


def test_a_free_word_stands_exactly_at_onset_plus_lag() -> None:
    stream = build_text_stream(
        [Word(text="", tokens=(7, 8), start_s=1.0, end_s=1.4)],
        num_frames=40,
        text_lag_s=0.5,
        padding_id=PADDING_ID,
        end_padding_id=END_PADDING_ID,
    )
    assert stream.onset_frames.tolist() == [18]  # 1.5 s * 12.5 = 18.75
    assert stream.tokens[16:21].tolist() == [PADDING_ID, END_PADDING_ID, 7, 8, PADDING_ID]


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        (Word(text="", tokens=(5, 6), start_s=3.0, end_s=3.1), "stream ends with frame 39"),
        (Word(text="", tokens=(), start_s=1.0, end_s=1.1), "no text tokens"),
        (Word(text="", tokens=(5,), start_s=-0.5, end_s=0.1), "before the clip"),
    ],
)
def test_a_word_without_room_is_an_error(word: Word, reason: str) -> None:
    with pytest.raises(AlignmentError, match=reason):
        build_text_stream([word], num_frames=40, text_lag_s=0.5, padding_id=PADDING_ID, end_padding_id=END_PADDING_ID)
