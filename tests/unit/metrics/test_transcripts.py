import pytest
from edit_distance import levenshtein
from hypothesis import given, settings
from hypothesis import strategies as st

from stt_ft.metrics.transcripts import character_errors, is_written_as_sentence, num_early_stops, scoring_form, word_errors

WORDS = st.lists(st.sampled_from(["one", "two", "three", "it is", "a"]), max_size=8)


@given(reference=WORDS, transcript=WORDS)
@settings(deadline=None, max_examples=150)
def test_errors_are_levenshteins_distance_over_words(reference, transcript):
    counts = word_errors(reference, transcript)
    assert counts.num_errors == levenshtein(reference, transcript)
    assert counts.num_reference == len(reference)
    assert len(counts.matched) + len(counts.replaced) + counts.deletions == len(reference)
    assert all(reference[left] == transcript[right] for left, right in counts.matched)
    assert len(counts.matched) + len(counts.replaced) + counts.insertions == len(transcript)


@given(reference=WORDS, transcript=WORDS)
@settings(deadline=None, max_examples=50)
def test_character_errors_are_levenshteins_distance_over_characters(reference, transcript):
    assert character_errors(reference, transcript).num_errors == levenshtein(" ".join(reference), " ".join(transcript))


def test_a_number_in_glyphs_is_wrong_against_the_same_number_in_words():
    reference, transcript = scoring_form(["Order", "one", "two", "nine."]), scoring_form(["order", "129"])
    assert (reference, transcript) == (["order", "one", "two", "nine"], ["order", "129"])
    counts = word_errors(reference, transcript)
    assert (len(counts.replaced), counts.deletions) == (1, 2)


def test_substitutions_say_what_became_of_what():
    assert word_errors(["send", "it", "today"], ["send", "at", "today"]).replaced == (("it", "at"),)


def test_capitals_commas_and_full_stops_are_no_errors_in_scoring_form_and_are_as_written():
    said = ["yes", "i'm", "at", "one", "two", "nine"]
    for written in ("Yes, I'm at one, two, nine.", "Yes. I'm at: one , two , nine ."):
        assert word_errors(scoring_form(said), scoring_form(written.split())).num_errors == 0
        assert character_errors(scoring_form(said), scoring_form(written.split())).num_errors == 0
        assert word_errors(said, written.split()).num_errors > 0


@pytest.mark.parametrize(
    ("text", "is_sentence"),
    [
        ("One, two, nine.", True),
        ("Please send it to the office.", True),
        ("Is it late?", True),
        ("I said \u201cno.\u201d", True),
        ("'Tis late!", True),
        ("129.", True),
        ("\u00c9coutez.", True),
        ("one, two, nine.", False),
        ("One, two, nine", False),
        ("One, two, nine,", False),
        ("please send it", False),
        ("it costs 3.5", False),
        (". one two", False),
        (", .", False),
        ("", False),
    ],
)
def test_a_sentence_begins_with_a_capital_and_ends_with_a_stop(text, is_sentence):
    assert is_written_as_sentence(text.split()) is is_sentence


def test_stops_are_early_that_appear_before_the_last_sound_has_ended():
    words = [("Order.", 1.0), ("One,", 1.6), ("two.", 2.4), ("3.5", 2.5), ("really?", 2.96), ("nine.", 3.04)]
    assert num_early_stops(words, speech_end_s=3.04) == 3
    assert num_early_stops(words, speech_end_s=1.0) == 0
    assert num_early_stops([], speech_end_s=3.0) == 0
