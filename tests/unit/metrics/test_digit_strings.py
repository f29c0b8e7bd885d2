import pytest
from edit_distance import levenshtein
from hypothesis import given, settings
from hypothesis import strategies as st

from stt_ft.metrics.digit_strings import digit_edits, score_digits, written_form
from stt_ft.text.inverse.said_digits import number_runs

DIGITS = st.text(alphabet="0123", max_size=9)


@given(reference=DIGITS, transcript=DIGITS)
@settings(deadline=None, max_examples=200)
def test_digit_errors_are_levenshteins_distance(reference, transcript):
    edits = digit_edits(reference, transcript)
    assert edits.num_errors == levenshtein(reference, transcript)
    assert len(edits.error_positions) == edits.num_errors
    assert len(reference) - edits.dropped + edits.inserted + edits.doubled == len(transcript)


@pytest.mark.parametrize(
    ("transcript", "expected"),
    [
        ("1234567", {}),
        ("1235467", {"swapped": 1}),
        ("123467", {"dropped": 1}),
        ("12334567", {"doubled": 1}),
        ("12934567", {"inserted": 1}),
        ("1234568", {"substituted": 1}),
    ],
)
def test_operations_are_named(transcript, expected):
    edits = digit_edits("1234567", transcript)
    named = {name: getattr(edits, name) for name in ("substituted", "dropped", "inserted", "doubled", "swapped")}
    assert {name: count for name, count in named.items() if count} == expected


def test_position_of_an_error_is_the_digit_of_the_reference():
    assert digit_edits("5551234", "5559234").error_positions == (3,)
    assert digit_edits("1234567", "1235467").error_positions == (3, 4)


@pytest.mark.parametrize(
    ("words", "form"),
    [
        (["order", "one", "two", "nine"], "words"),
        (["order", "129"], "digits"),
        (["order", "one", "29"], "mixed"),
        (["order", "number"], "none"),
        (["oh", "order", "1296803."], "digits"),
        (["double", "five", "oh"], "words"),
    ],
)
def test_written_form(words, form):
    assert written_form(words) == form


def test_a_right_string_is_right_in_any_form():
    reference = ["number", "oh", "double", "five", "one"]
    for transcript in (reference, ["number", "0551"], ["number", "zero", "five", "five", "one"]):
        assert score_digits(reference, transcript).is_exact
    wrong = score_digits(reference, ["number", "551"])
    assert not wrong.is_exact
    assert not wrong.keeps_leading_zeros
    assert wrong.edits.dropped == 1


def test_a_number_is_three_digits_or_more():
    words = ["i", "have", "one", "or", "two", "orders", "four", "five", "six", "thanks"]
    assert number_runs(words) == [(6, 9)]


DICTATED = ["order", "one", "two", "nine", "double", "five", "oh", "please"]


@pytest.mark.parametrize(
    "transcript",
    [
        "Order one, two, nine, double five, oh, please.",
        "Order. One, two, nine. Double five, oh. Please.",
        "order one , two , nine , double five , oh please .",
        "ORDER ONE TWO NINE DOUBLE FIVE OH! Please",
    ],
)
def test_capitals_commas_and_full_stops_are_no_part_of_a_number(transcript):
    score = score_digits(DICTATED, transcript.split())
    assert score.is_exact
    assert score.form == "words"
    assert len(number_runs(transcript.split())) == 1


def test_marks_change_no_form_that_a_number_is_written_in():
    assert written_form(["Order", "4,", "5", ",", "6."]) == "digits"
    assert written_form(["Order", "4,", "five,", "6."]) == "mixed"
    assert written_form([",", "."]) == "none"


def test_a_run_ends_with_its_last_word_not_with_the_mark_behind_it():
    assert number_runs(["code", ",", "one", ",", "two", ",", "three", ",", "please"]) == [(2, 7)]


@pytest.mark.parametrize(
    ("said", "transcripts"),
    [
        ("code seven eighty eight", ["code 788", "Code seven, eighty-eight.", "code seven eight eight"]),
        ("numéro zéro six douze trente quatre", ["numéro 061234", "numéro zéro six un deux trois quatre"]),
        ("code A one B two C three", ["code A1B2C3", "code A one B two C three"]),
        ("at half past ten", ["at 10:30", "at ten thirty"]),
        ("two million", ["2,000,000", "2 million"]),
    ],
)
def test_a_number_is_right_when_it_reads_back_to_what_was_said(said, transcripts):
    assert all(score_digits(said.split(), transcript.split()).is_exact for transcript in transcripts)
    assert not score_digits(said.split(), [*said.split(), "seven"]).is_exact


def test_pairs_and_codes_are_numbers_but_amounts_and_times_are_none():
    for words in ("code seven eighty eight", "code zéro six douze", "code a one b two c three"):
        assert number_runs(words.split()) == [(1, len(words.split()))]
    for words in ("we have two hundred pens", "at half past ten", "it is ten thirty a m", "two thousand people", "three point one four"):
        assert number_runs(words.split()) == []


def test_form_of_pairs():
    assert written_form(["code", "seven", "eighty-eight"]) == "words"
    assert written_form(["code", "7", "eighty", "eight"]) == "mixed"
    assert written_form(["5", "dollars"]) == "digits"
