"""Written to spoken form: any digit string survives, nothing but numbers changes, and the hostile does not crash."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from stt_ft.core.errors import TextError
from stt_ft.text.digit_words import digits_of_words
from stt_ft.text.lattice import chain
from stt_ft.text.spoken_forms import LANGUAGES, STYLES, holds_digits, spoken_tokens, spoken_words

DIGITS = st.text("0123456789", min_size=1, max_size=20)


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("order number 1296803, please.", "order number one two nine six eight zero three please."),
        ("code 0199", "code zero one nine nine"),
        ("call (310) 555-1234", "call three one zero five five five one two three four"),
        ("+1 310 555 0199", "plus one three one zero five five five zero one nine nine"),
        ("1 -800 -555", "one eight zero zero five five five"),
        ("A1B2 and COVID-19", "A one B two and COVID one nine"),
        ("four-five Twenty-Three", "four five Twenty-Three"),
        ("3.14 and 20% or 1,296", "three point one four and two zero percent or one two nine six"),
        ("the 3rd, at 10:30", "the third at one zero three zero"),
        ("٣٤٥ １２", "three four five one two"),
        ("It’s O'Neil — “quoted”, yes?", "It’s O'Neil “quoted”, yes?"),
    ],
)
def test_style_digits(text: str, spoken: str) -> None:
    assert " ".join(spoken_words(text, style="digits")) == spoken


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("order number 1296803", "order number one two nine six eight zero three"),
        ("the order number is 12345", "the order number is one two three four five"),
        ("room 1203 and 1203 people", "room one two zero three and one thousand two hundred three people"),
        ("007", "zero zero seven"),
        ("in 1996 we had 12 dogs", "in nineteen ninety six we had twelve dogs"),
        ("May 5 2024", "May five twenty twenty four"),
        ("$5.50 and $5 million", "five dollars fifty cents and five million dollars"),
        ("$ 5 .50", "five dollars fifty cents"),
        ("20% of 1,296,803", "twenty percent of one million two hundred ninety six thousand eight hundred three"),
        ("at 10:30 or 7am", "at ten thirty or seven a m"),
        ("1/2, 3½ and 24/7", "one half three and a half and twenty four seven"),
        ("10-15 km from 1990-1995", "ten to fifteen kilometers from nineteen ninety to nineteen ninety five"),
        ("5km at 20°C in the 1990s", "five kilometers at twenty degrees celsius in the nineteen nineties"),
        ("12/05/2024", "twelve five twenty twenty four"),
        ("call 555-1234", "call five five five one two three four"),
    ],
)
def test_style_auto_reads_by_context(text: str, spoken: str) -> None:
    assert " ".join(spoken_words(text, style="auto")) == spoken


@pytest.mark.parametrize(
    ("text", "language", "spoken"),
    [
        ("commande 1296803", "fr", "commande un deux neuf six huit zéro trois"),
        ("le 06 12 34 56 78", "fr", "le zéro six douze trente quatre cinquante six soixante dix huit"),
        ("71, 80 et 95 %", "fr", "soixante et onze quatre vingts et quatre vingt quinze pour cent"),
        ("71, 80 et 95 %", "fr-be", "septante et un quatre vingts et nonante cinq pour cent"),
        ("71, 80 et 95 %", "fr-ch", "septante et un huitante et nonante cinq pour cent"),
        ("10 000 personnes à 14h30", "fr", "dix mille personnes à quatorze heures trente"),
        ("1er et 21e", "fr", "premier et vingt et unième"),
        ("3,14 et 5,50€", "fr", "trois virgule quatorze et cinq euros cinquante centimes"),
        ("93 €, 12,50 €. et 75 %.", "fr", "quatre vingt treize euros douze euros cinquante centimes et soixante quinze pour cent"),
        ("1 250 € et 5 kg,", "fr", "mille deux cent cinquante euros et cinq kilogrammes"),
        ("en 1998 pour 300 et 285", "fr-be", "en mille neuf cent nonante huit pour trois cents et deux cent quatre vingt cinq"),
        ("200 000 000", "fr-ch", "deux cents millions"),
    ],
)
def test_french_auto(text: str, language: str, spoken: str) -> None:
    assert " ".join(spoken_words(text, language=language, style="auto")) == spoken


@settings(deadline=None, max_examples=100)
@given(DIGITS, st.sampled_from(["en", "fr"]))
def test_any_digit_string_round_trips(digits: str, language: str) -> None:
    assert digits_of_words(spoken_words(f"order {digits}", language=language)) == digits


@settings(deadline=None, max_examples=100)
@given(DIGITS, st.data())
def test_any_grouping_round_trips(digits: str, data: st.DataObject) -> None:
    marks = data.draw(st.lists(st.sampled_from(["", " ", "-", ") ", "\u00a0", " -", "/"]), min_size=len(digits), max_size=len(digits)))
    grouped = "".join(digit + mark for digit, mark in zip(digits, marks, strict=True))
    assume(not re.search(r"\d\s\d+/\d", grouped))  # "1 1/2" is one and a half, whatever the space
    assert digits_of_words(spoken_words(grouped)) == digits


@settings(deadline=None, max_examples=100)
@given(DIGITS)
def test_every_way_of_saying_digits_says_the_same_digits(digits: str) -> None:
    (token,) = spoken_tokens([digits])
    assert {digits_of_words(["zero", *way])[1:] for way in itertools.islice(token.lattice.paths(), 40)} == {digits}


@settings(deadline=None, max_examples=150)
@given(st.text(max_size=40), st.sampled_from(STYLES), st.sampled_from(LANGUAGES))
def test_no_text_crashes_and_no_digit_is_left_behind(text: str, style: str, language: str) -> None:
    try:
        words = spoken_words(text, language=language, style=style)
    except TextError:
        return
    assert not any(holds_digits(word) for word in words)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text("abcdefgé'-.,", min_size=1, max_size=8).filter(lambda token: any(map(str.isalpha, token))), max_size=8))
def test_text_without_digits_is_left_alone(tokens: list[str]) -> None:
    assert spoken_words(" ".join(tokens)) == tokens


@settings(deadline=None, max_examples=60)
@given(st.text("0123456789.,:/$€%-+ abAB", max_size=20), st.sampled_from(STYLES))
def test_converting_twice_is_converting_once(text: str, style: str) -> None:
    try:
        once = spoken_words(text, style=style)
    except TextError:
        return
    assert spoken_words(" ".join(once), style=style) == once


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("text", ["9" * 10_000, "1" * 5_000 + "." + "2" * 5_000, "🙂5️⃣🙂", "1٣１", "5\u0301", "\u200f12", "½⅓①²"])
def test_the_hostile_is_read_or_refused(text: str, style: str) -> None:
    try:
        words = spoken_words(text, style=style)
    except TextError:
        return
    assert not re.search(r"\d", " ".join(words))


def test_refuses_by_token_what_it_cannot_read() -> None:
    with pytest.raises(TextError, match="'5☃' cannot be read aloud in en"):
        spoken_words("give me 5☃ please")


@pytest.mark.parametrize(("language", "style"), [("de", "digits"), ("fr-ca", "digits"), ("en", "loud")])
def test_unknown_language_or_style_is_refused_with_the_choices(language: str, style: str) -> None:
    with pytest.raises(TextError, match=r"are (en, fr|digits, auto)"):
        spoken_words("5", language=language, style=style)


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("it costs 5 $ now", "it costs five dollars now"),
        ("5 EUR, 12 %, 20 °C and 3 kg.", "five euros one two percent two zero degrees celsius and three kilograms"),
        ("12 in the box, 3 s and 1-2 kg", "one two in the box, three s and one to two kilograms"),
    ],
)
def test_a_sign_that_stands_apart_is_spoken_where_it_can_be_nothing_else(text: str, spoken: str) -> None:
    assert " ".join(spoken_words(text)) == spoken


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("order number 1296803", "order number twelve ninety six eight hundred three"),
        ("order number 1296803", "order number twelve nine six eight oh three"),
        ("order number 4477", "order number double four double seven"),
        ("order number 211121", "order number two triple one two one"),
        ("room 1204", "room twelve oh four"),
        ("flight 815", "flight eight fifteen"),
        ("flight 231", "flight two hundred and thirty one"),
        ("it costs $3.50", "it costs three fifty"),
        ("it costs $3.05", "it costs three oh five"),
        ("extension 2300", "extension twenty three hundred"),
        ("extension 2300", "extension two three hundred"),
        ("extension 2300", "extension two three double oh"),
        ("seat 12C", "seat twelve C"),
        ("seat 32H", "seat thirty two H"),
        ("seat 12C", "seat one two C"),
        ("unit 6-14", "unit six fourteen"),
        ("zip 51594", "zip five one five ninety four"),
        ("call 555-1234", "call triple five twelve thirty four"),
        ("the pin is 2015", "the pin is twenty fifteen"),
        ("at 9:15", "at a quarter past nine"),
        ("at 9:50", "at ten to ten"),
    ],
)
def test_the_readings_that_people_say_are_there_to_be_heard(script: str, said: str) -> None:
    assert chain([token.lattice for token in spoken_tokens(script.split(), style="auto")]).accepts(said.split())


@pytest.mark.parametrize(
    ("script", "never"), [("code 205", "twenty five"), ("code 3041", "thirty one"), ("code 40256", "forty two five six")]
)
def test_a_full_ten_is_not_said_before_what_would_be_added_to_it(script: str, never: str) -> None:
    assert not spoken_tokens(script.split(), style="auto")[-1].lattice.accepts(never.split())


@given(st.text("0123456789", min_size=1, max_size=9))
@settings(max_examples=50, deadline=None)
def test_style_digits_keeps_to_digits(digits: str) -> None:
    (token,) = spoken_tokens([digits], style="digits")
    assert not any(
        word in {"hundred", "eleven", "twenty", "ninety"} for way in itertools.islice(token.lattice.paths(), 200) for word in way
    )


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("commande 061234", "commande zéro six douze trente quatre"),
        ("commande 1296803", "commande douze quatre vingt seize huit cent trois"),
        ("chambre 1204", "chambre douze zéro quatre"),
        ("code 4477", "code double quatre double sept"),
    ],
)
def test_the_readings_that_people_say_are_there_in_french(script: str, said: str) -> None:
    assert chain([token.lattice for token in spoken_tokens(script.split(), language="fr", style="auto")]).accepts(said.split())
