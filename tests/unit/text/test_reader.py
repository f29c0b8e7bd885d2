"""What a token with digits is and how it may be said: words, units, signs, plurals, money, addresses, codes; and the suites of others."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
from real import people_dir

from stt_ft.text.lattice import chain
from stt_ft.text.spoken_forms import spoken_tokens, spoken_words


@pytest.mark.parametrize(
    ("text", "digits", "auto"),
    [
        ("a 5-year-old girl", "a five year old girl", ""),
        ("a 3-day trip, 2-way", "a three day trip two way", ""),
        ("4-bed, 1-on-1, one-on-1", "four bed one on one one on one", ""),
        ("9-to-5, 3-in-1", "nine to five three in one", ""),
        ("21st-century 1st-class 1st-3rd", "twenty first century first class first to third", ""),
        ("mid-1990s and mid-80s", "mid nineteen nineties and mid eighties", ""),
        ("a 550-pound, 12-inch", "a five five zero pound one two inch", "a five hundred fifty pound twelve inch"),
        ("a 7.2-millimeter bullet", "a seven point two millimeter bullet", ""),
        ("a 5-km run", "a five kilometer run", ""),
        ("COVID-19", "COVID one nine", "COVID nineteen"),
        ("it is -5 degrees", "it is minus five degrees", ""),
        ("-40°F", "minus four zero degrees fahrenheit", "minus forty degrees fahrenheit"),
        ("-5 outside and .5 inside", "minus five outside and point five inside", ""),
        ("(-5) -$5 $-5 -.5", "minus five minus five dollars minus five dollars minus point five", ""),
        ("...5 —5 --5", "five five five", ""),
        ("±5, 5=5", "plus or minus five five equals five", ""),
        ("on a 5G network", "on a five G network", ""),
        ("order number 345G", "order number three four five G", ""),
        ("seat 12M, 49K", "seat one two M four nine K", "seat twelve M forty nine K"),
        ("4K TV and plan 5V", "four K TV and plan five V", ""),
        ("my iPhone 5s", "my iPhone five s", ""),
        ("triple 5s and two 3s", "triple fives and two threes", ""),
        ("747s", "seven four sevens", "seven hundred forty sevens"),
        ("EM3985771", "E M three nine eight five seven seven one", ""),
        ("1 1/2 cups", "one and a half cups", ""),
        ("add 1 ½ cups", "add one and a half cups", ""),
        ("$2B $3k £1m €2bn", "two billion dollars three thousand dollars one million pounds two billion euros", ""),
        ("$1.5M and $5k", "one point five million dollars and five thousand dollars", ""),
        ("¥500 ₹500", "five zero zero yen five zero zero rupees", "five hundred yen five hundred rupees"),
        ("50¢ $.99", "five zero cents nine nine cents", "fifty cents ninety nine cents"),
        ("US$5", "five u s dollars", ""),
        ("$10,000.50", "one zero zero zero zero dollars five zero cents", "ten thousand dollars fifty cents"),
        ("mail bob7@mail.com", "mail bob seven at mail dot com", ""),
        ("192.168.0.1", "one nine two dot one six eight dot zero dot one", ""),
        ("v1.2.3", "v one dot two dot three", ""),
        ("1,000th", "one thousandth", ""),
        ("call 1 - 800 - 555 - 0199 ... please", "call one eight zero zero five five five zero one nine nine please", ""),
        ("well - yes ... R & D", "well yes R and D", ""),
        ("1-2 kg", "one to two kilograms", ""),
        ("№ 5", "number five", ""),
    ],
)
def test_what_stands_beside_digits_is_said_as_it_is_meant(text: str, digits: str, auto: str) -> None:
    assert [word.strip(",") for word in spoken_words(text, style="digits")] == digits.split()
    assert [word.strip(",") for word in spoken_words(text, style="auto")] == (auto or digits).split()


@pytest.mark.parametrize(
    ("text", "auto"),
    [
        ("9/11, 24/7, 1:1", "nine eleven twenty four seven one to one"),
        ("at 10:00 a.m.", "at ten a.m."),
        ("at 10:00", "at ten o'clock"),
        ("911 and 91 people", "nine one one and ninety one people"),
        ("$250-$300 and 5-10%", "two hundred fifty dollars to three hundred dollars and five to ten percent"),
        ("in 1990-95", "in nineteen ninety to ninety five"),
        ("Jan 15 and Sept. 3", "January fifteen and September three"),
        ("4 1/2 lbs, a 1/2-inch", "four and a half pounds a one half inch"),
        ("$20/mo", "twenty dollars per month"),
        ("1428 Elm St.", "one thousand four hundred twenty eight Elm Street"),
        ("4x4", "four by four"),
    ],
)
def test_auto_reads_moments_ranges_and_rates(text: str, auto: str) -> None:
    assert [word.strip(",") for word in spoken_words(text, style="auto")] == auto.split()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("5G", "five grams"),
        ("10k", "ten k"),
        ("49K", "forty nine thousand"),
        ("12M", "twelve meters"),
        ("iPhone 5s", "iPhone fives"),
        ("wait 5s", "wait five s"),
        ("747s", "seven forty sevens"),
        ("-5", "negative five"),
        ("-5", "five"),
        ("7-8", "seven eight"),
        ("555-1234", "five five five dash one two three four"),
        ("A1-B2", "A one dash B two"),
        ("3/4", "three fourths"),
        ("May 25", "May the twenty fifth"),
        ("25 May", "the twenty fifth of May"),
        ("Jan 5", "January fifth"),
        ("911", "nine eleven"),
        ("$5k", "five k"),
        ("$0.99", "zero point nine nine dollars"),
        ("flight 788", "flight seven eighty eight"),
        ("1,234.5", "one thousand two hundred and thirty four point five"),
        ("12/05/24", "May twelfth twenty twenty four"),
        ("12/05/24", "December fifth twenty four"),
        ("1:02:03", "one oh two oh three"),
        ("1:02:03", "one hour two minutes and three seconds"),
        ("5 miles from St. Louis", "five miles from Saint Louis"),
        ("$5/hr", "five dollars an hour"),
        ("2 1/2", "two and one half"),
        ("UA7888", "U A seventy eight eighty eight"),
        ("ab9453", "a b nine four five three"),
        ("1/f", "one over f"),
        ("the 21th", "the twenty first"),
    ],
)
def test_other_readings_are_there_to_be_heard(text: str, said: str) -> None:
    assert chain([token.lattice for token in spoken_tokens(text.split(), style="auto")]).accepts(said.split())


@pytest.mark.parametrize("text", ["$5 million", "4 1/2 lbs", "1 - 800 - 555", "$ 5 .50", "10:00", "5 kg"])
def test_a_number_of_several_tokens_may_come_as_one(text: str) -> None:
    """`annotate` writes what belongs together as one word of the sidecar, and `convert` reads it again."""
    tokens = [token.written for token in spoken_tokens(text.split(), style="auto")]
    joined = [" ".join(written) for written in tokens]
    assert spoken_tokens(joined, style="auto")[0].lattice == spoken_tokens(text.split(), style="auto")[0].lattice


OUTSIDE = {
    **{"cardinal": 1.0, "ordinal": 1.0, "decimal": 1.0, "money": 1.0, "date": 0.96, "time": 1.0, "telephone": 1.0, "measure": 0.95},
    **{"fraction": 1.0, "range": 1.0, "serial": 0.95, "electronic": 0.93, "word": 1.0},
}
"""Class of NeMo-text-processing's English suite -> least share of its cases whose own reading is among ours."""


@pytest.mark.parametrize("name", OUTSIDE)
def test_the_readings_of_others_are_among_ours(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parents[3] / "tools" / "bench"), *sys.path])
    bench = importlib.import_module("readings_of_others")
    cases = bench.cases_of(people_dir("number_texts") / "en" / f"{name}.txt")
    missed = [case.written for case in cases if not case.lattice or not bench.says(case.lattice, case.spoken)]
    assert 1 - len(missed) / len(cases) >= OUTSIDE[name], missed


def test_a_street_keeps_its_comma() -> None:
    assert spoken_words("12 Elm St, please", style="auto") == ["twelve", "Elm", "Street,", "please"]
