from __future__ import annotations

import pytest

from stt_ft.metrics.style import is_written_as_sentence, num_early_stops


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
