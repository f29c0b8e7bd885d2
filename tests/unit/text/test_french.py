"""How French says amounts, years, times and fractions, against num2words and by hand."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from num2words import num2words

from stt_ft.core.errors import TextError
from stt_ft.text.french import french, french_cardinals, french_ordinals, french_times, french_years
from stt_ft.text.lattice import chain
from stt_ft.text.spoken_forms import spoken_tokens, spoken_words


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**15))
def test_cardinals_hold_num2words_reading(number: int) -> None:
    assert tuple(num2words(number, lang="fr").replace("-", " ").split()) in french_cardinals(number, dialect="fr")


@pytest.mark.parametrize(
    ("hour", "minute", "way"),
    [(10, 30, "dix heures et demie"), (12, 0, "midi"), (1, 0, "une heure"), (21, 21, "vingt et une heures vingt et une")],
)
def test_times(hour: int, minute: int, way: str) -> None:
    assert tuple(way.split()) in french_times(hour, minute, "", dialect="fr")


def test_ordinals_and_years() -> None:
    assert french_ordinals(1, dialect="fr") == [("premier",), ("première",)]
    assert ("dix", "neuf", "cent", "quatre", "vingt", "seize") in french_years(1996, dialect="fr")


def test_unknown_dialect_is_refused() -> None:
    with pytest.raises(TextError, match="fr, be, ch"):
        french("qc")


AUTO_AND_DIGITS = [
    ("1 234,56 €", "mille deux cent trente quatre euros cinquante six centimes", "un deux trois quatre euros cinq six centimes"),
    ("12 345,6", "douze mille trois cent quarante cinq virgule six", "un deux trois quatre cinq virgule six"),
    ("1 234,5 kg", "mille deux cent trente quatre virgule cinq kilogrammes", "un deux trois quatre virgule cinq kilogrammes"),
    ("10 h 30", "dix heures trente", "un zéro heures trois zéro"),
    ("à 21 h, 14 h 30", "à vingt et une heures quatorze heures trente", "à deux un heures un quatre heures trois zéro"),
    ("15h-17h", "quinze heures à dix sept heures", "un cinq heures à un sept heures"),
    ("24h/24 7j/7", "vingt quatre heures sur vingt quatre sept jours sur sept", "deux quatre heures sur deux quatre sept jours sur sept"),
    ("1m80 1 m 05", "un mètre quatre vingts un mètre zéro cinq", "un mètre huit zéro un mètre zéro cinq"),
    ("2 min 30 s", "deux minutes trente secondes", "deux minutes trois zéro secondes"),
    ("1.5", "un virgule cinq", "un virgule cinq"),
    ("12.50 CHF", "douze francs cinquante centimes", "un deux francs cinq zéro centimes"),
    ("le 1 er", "le premier", "le premier"),
    ("n°5 nº 5 № 5", "numéro cinq numéro cinq numéro cinq", "numéro cinq numéro cinq numéro cinq"),
    ("n° 1296803", "numéro un deux neuf six huit zéro trois", "numéro un deux neuf six huit zéro trois"),
    (
        "12€50 5€50",
        "douze euros cinquante centimes cinq euros cinquante centimes",
        "un deux euros cinq zéro centimes cinq euros cinq zéro centimes",
    ),
    ("12 ,50 €", "douze euros cinquante centimes", "un deux euros cinq zéro centimes"),
    ("la 5G", "la cinq G", "la cinq G"),
    ("2e 2nd 1re 3èmes", "deuxième second première troisièmes", "deuxième second première troisièmes"),
    ("-5 °C", "moins cinq degrés celsius", "moins cinq degrés celsius"),
    ("-12.50 €", "moins douze euros cinquante centimes", "moins un deux euros cinq zéro centimes"),
    ("1 1/2", "un et demi", "un et un demi"),
    ("12,5 %", "douze virgule cinq pour cent", "un deux virgule cinq pour cent"),
    ("06 12 34 56 78", "zéro six douze trente quatre cinquante six soixante dix huit", "zéro six un deux trois quatre cinq six sept huit"),
    ("06.12.34.56.78", "zéro six douze trente quatre cinquante six soixante dix huit", "zéro six un deux trois quatre cinq six sept huit"),
    ("0612345678", "zéro six douze trente quatre cinquante six soixante dix huit", "zéro six un deux trois quatre cinq six sept huit"),
    (
        "+33612345678",
        "plus trente trois six douze trente quatre cinquante six soixante dix huit",
        "plus trois trois six un deux trois quatre cinq six sept huit",
    ),
    ("1 000 000 €", "un million d'euros", "un zéro zéro zéro zéro zéro zéro euros"),
    ("5\u202f000\u202f000", "cinq millions", "cinq zéro zéro zéro zéro zéro zéro"),
    ("3 k€ et 1,5 M€", "trois mille euros et un virgule cinq million d'euros", "trois mille euros et un virgule cinq million d'euros"),
    ("9,99 €/mois", "neuf euros quatre vingt dix neuf centimes par mois", "neuf euros neuf neuf centimes par mois"),
    ("place 20E", "place vingt E", "place deux zéro E"),
    ("code A1B2C3", "code A un B deux C trois", "code A un B deux C trois"),
    ("en 1998", "en mille neuf cent quatre vingt dix huit", "en un neuf neuf huit"),
]


@pytest.mark.parametrize(("text", "auto", "digits"), AUTO_AND_DIGITS)
def test_what_french_alone_writes(text: str, auto: str, digits: str) -> None:
    assert " ".join(spoken_words(text, language="fr", style="auto")) == auto
    assert " ".join(spoken_words(text, language="fr", style="digits")) == digits


@pytest.mark.parametrize(
    ("number", "way"),
    [(80, "quatre vingtième"), (200, "deux centième"), (300, "trois centième"), (21, "vingt et unième"), (10**6, "millionième"),
     (2 * 10**6, "deux millionième"), (2000, "deux millième"), (5, "cinquième"), (9, "neuvième"), (71, "soixante et onzième")],
)  # fmt: skip
def test_ordinals_drop_the_plural_of_their_cardinal(number: int, way: str) -> None:
    assert tuple(way.split()) in french_ordinals(number, dialect="fr")


@pytest.mark.parametrize(
    ("dialect", "number", "way"),
    [("be", 80, "quatre vingts"), ("be", 81, "quatre vingt un"), ("be", 71, "septante et un"), ("be", 201, "deux cent un"),
     ("be", 10**6, "un million"), ("ch", 80, "huitante"), ("ch", 81, "huitante et un"), ("ch", 97, "nonante sept")],
)  # fmt: skip
def test_cardinals_of_belgium_and_switzerland(dialect: str, number: int, way: str) -> None:
    assert french_cardinals(number, dialect=dialect)[0] == tuple(way.split())


@pytest.mark.parametrize(("dialect", "name"), [("be", "fr_BE"), ("ch", "fr_CH")])
@settings(deadline=None, max_examples=60)
@given(number=st.integers(0, 10**12))
def test_dialects_are_num2words_but_for_plurals_and_81(dialect: str, name: str, number: int) -> None:
    def bare(text: str) -> str:
        return " ".join(word.removesuffix("s") for word in text.replace("-", " ").split()).replace("quatre vingt et un", "quatre vingt un")

    assert bare(" ".join(french_cardinals(number, dialect=dialect)[0])) == bare(num2words(number, lang=name))


@pytest.mark.parametrize(
    ("language", "text", "spoken"),
    [
        ("fr-be", "0475 12 34 56", "zéro quatre sept cinq douze trente quatre cinquante six"),
        ("fr-ch", "0791234578", "zéro sept neuf cent vingt trois quarante cinq septante huit"),
    ],
)
def test_telephone_numbers_in_the_groups_of_their_country(language: str, text: str, spoken: str) -> None:
    assert " ".join(spoken_words(text, language=language, style="auto")) == spoken


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0612345678", "zéro six un deux trente quatre cinquante six soixante dix huit"),
        ("0620123456", "zéro six vingt douze trente quatre cinquante six"),
        ("9h45", "dix heures moins le quart"),
        ("12h30", "midi et demi"),
        ("3,14", "trois point un quatre"),
        ("12€50", "douze euros cinquante"),
        ("1,80 m", "un mètre quatre vingts"),
        ("75001", "soixante quinze mille un"),
        ("75001", "soixante quinze zéro zéro un"),
        ("6°", "sixième"),
        ("les 80s", "les quatre vingts"),
        ("17.06", "dix sept virgule zéro six"),
    ],
)
def test_other_readings_are_there_to_be_heard(text: str, said: str) -> None:
    assert chain([token.lattice for token in spoken_tokens(text.split(), language="fr", style="auto")]).accepts(said.split())


def test_a_row_of_numbers_is_no_thousands() -> None:
    for text in ("732 829 320 00074", "0 800 123 456"):
        assert not {"mille", "million", "millions"} & set(spoken_words(text, language="fr", style="auto"))
