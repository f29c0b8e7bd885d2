from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stt_ft.text.digit_words import digits_of_words
from stt_ft.text.written_style import WrittenStyle, ends_sentence, plain_words, scoring_words, styles

ALL = WrittenStyle(capital=True, capital_i=True, commas=True, stop=True)
EVERY = [WrittenStyle(capital=a, capital_i=b, commas=c, stop=d) for a, b, c, d in itertools.product((False, True), repeat=4)]
WORDS = st.lists(
    st.sampled_from(["one", "Two,", "nine.", "double", "i", "I'm", "order", "London", "NASA", "a.m.", "3.5", "really?"]), max_size=8
)


def _numbers(words: list[str]) -> list[bool]:
    return [bool(digits_of_words([word])) or word == "double" for word in words]


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("one two nine", "One, two, nine."),
        ("order four double five oh please", "Order four, double five, oh please."),
        ("yes i think i'm late", "Yes I think I'm late."),
        ("One, two, nine.", "One, two, nine."),
        ("we met at three p.m.", "We met at three p.m."),
        ("Hello. My number is one two", "Hello my number is one, two."),
        ("NASA called London", "NASA called London."),
        ("did he call?", "Did he call."),
    ],
)
def test_all_habits_together(text, written):
    words = text.split()
    in_number = [bool(digits_of_words([word])) or word in ("double", "oh") for word in words]
    in_number = [inside and "at three" not in text for inside in in_number]
    assert " ".join(ALL.write(words, in_number)) == written


def test_a_cut_sentence_bears_no_full_stop():
    assert ALL.write(["my", "number"], [False, False], is_whole=False) == ["My", "number"]


def test_nothing_is_written_of_nothing():
    assert ALL.write([], []) == []
    assert styles([], []) == [WrittenStyle()]


@given(words=WORDS, style=st.sampled_from(EVERY))
def test_a_style_written_over_itself_or_another_is_that_style(words, style):
    in_number = _numbers(words)
    once = style.write(words, in_number)
    assert style.write(once, in_number) == once
    for other in EVERY:
        assert style.write(other.write(words, in_number), in_number) == once


@given(words=WORDS, style=st.sampled_from(EVERY))
def test_style_changes_no_word_that_is_scored(words, style):
    assert [scoring_words(word) for word in style.write(words, _numbers(words))] == [scoring_words(word) for word in words]


@given(words=WORDS)
def test_candidates_differ_plain_first_and_hold_the_words_as_they_are(words):
    in_number = _numbers(words)
    candidates = styles(words, in_number)
    texts = [words if style is None else style.write(words, in_number) for style in candidates]
    assert len({tuple(text) for text in texts}) == len(texts)
    assert texts[0] == plain_words(words, in_number)
    assert words in texts
    assert None not in candidates[:-1]


def test_a_number_can_be_written_in_eight_ways_and_a_sentence_in_four():
    assert len(styles(["code", "one", "two", "three"], [False, True, True, True])) == 8
    assert len(styles(["good", "morning"], [False, False])) == 4
    assert styles(["One,", "two."], [True, True]).count(None) == 0  # a style gives just that, so it can be said anew


def test_names_are_read_back():
    for style in EVERY:
        assert WrittenStyle.named(style.name) == style
    with pytest.raises(ValueError, match="no such habit of writing: shouting"):
        WrittenStyle.named("capital+shouting")


def test_the_end_of_a_sentence_is_seen_behind_quotes_and_not_in_numbers():
    assert [ends_sentence(word) for word in ("nine.", 'so!"', "really?)", "3.5", "one,", "", ".")] == [
        True,
        True,
        True,
        False,
        False,
        False,
        True,
    ]
