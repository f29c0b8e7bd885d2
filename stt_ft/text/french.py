"""French: its words for signs, units and months, and how amounts are said, in France, Belgium ("septante") or Switzerland ("huitante")."""

from __future__ import annotations

import functools

from num2words import num2words

from stt_ft.core.errors import TextError
from stt_ft.text.digit_words import FRENCH_DIGITS
from stt_ft.text.language import Language, Ways, words_of

_DIALECTS = {"fr": "fr", "be": "fr_BE", "ch": "fr_CH"}
"""Dialect of French -> its name in num2words."""

_EUROS = ("euro", "euros", "centime", "centimes")
_CURRENCIES = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "£": ("livre", "livres", "penny", "pence"),
    "€": _EUROS,
    "eur": _EUROS,
    "chf": ("franc", "francs", "centime", "centimes"),
}

_UNITS = {
    "km": ("kilomètre", "kilomètres"), "m": ("mètre", "mètres"), "cm": ("centimètre", "centimètres"), "mm": ("millimètre", "millimètres"),
    "kg": ("kilogramme", "kilogrammes"), "g": ("gramme", "grammes"), "mg": ("milligramme", "milligrammes"),
    "km/h": ("kilomètre heure", "kilomètres heure"), "l": ("litre", "litres"), "ml": ("millilitre", "millilitres"),
    "h": ("heure", "heures"), "min": ("minute", "minutes"), "s": ("seconde", "secondes"), "hz": ("hertz", "hertz"),
    "w": ("watt", "watts"), "kw": ("kilowatt", "kilowatts"), "v": ("volt", "volts"), "°": ("degré", "degrés"),
    "°c": ("degré celsius", "degrés celsius"), "k": ("mille", "mille"), "x": ("fois", "fois"),
    "ko": ("kilooctet", "kilooctets"), "mo": ("mégaoctet", "mégaoctets"), "go": ("gigaoctet", "gigaoctets"),
}  # fmt: skip
"""Unit -> one and many of it."""

_MONTHS = (
    "janvier", "février", "mars", "avril", "mai", "juin", "juillet", "août", "septembre", "octobre", "novembre", "décembre",
)  # fmt: skip
_CODE_CONTEXTS = frozenset([
    "numéro", "numéros", "code", "codes", "commande", "référence", "identifiant", "postal", "téléphone", "tél", "portable", "mobile",
    "compte", "dossier", "client", "ticket", "facture", "suivi", "réservation", "confirmation", "carte", "série", "vol", "chambre",
    "poste", "n°", "no",
])  # fmt: skip
_YEAR_CONTEXTS = frozenset([
    "en", "depuis", "année", "an", "jusqu'en", "de", "été", "hiver", "printemps", "automne",
])  # fmt: skip


def french(dialect: str = "fr") -> Language:
    """Return French as spoken in `dialect`: `fr`, `be` or `ch`."""
    if dialect not in _DIALECTS:
        raise TextError(f"no French dialect {dialect!r}; dialects are {', '.join(_DIALECTS)}")
    return Language(
        code="fr",
        digits=FRENCH_DIGITS,
        zero_variants=(),
        repeats={2: "double", 3: "triple"},
        plus="plus",
        minus="moins",
        point="virgule",
        percent=("pour", "cent"),
        star="étoile",
        ampersand="et",
        decimal_mark=",",
        group_marks=".'",
        ordinal_suffixes=("er", "re", "ère", "ere", "e", "ème", "eme", "nd", "nde"),
        cardinals=functools.partial(french_cardinals, dialect=dialect),
        ordinals=functools.partial(french_ordinals, dialect=dialect),
        years=functools.partial(french_years, dialect=dialect),
        times=functools.partial(french_times, dialect=dialect),
        fractions=functools.partial(french_fractions, dialect=dialect),
        currencies=_CURRENCIES,
        units=_UNITS,
        months=frozenset(_MONTHS),
        month_names=_MONTHS,
        range_word="à",
        code_contexts=_CODE_CONTEXTS,
        year_contexts=_YEAR_CONTEXTS,
        spaces_thousands=True,
        hour_mark="h",
        magnitudes={word: word for word in ("mille", "million", "millions", "milliard", "milliards")},
    )


def french_cardinals(number: int, *, dialect: str) -> Ways:
    """Return the ways of saying how many; "un" is "une" before a feminine noun."""
    words = words_of(num2words(number, lang=_DIALECTS[dialect]))
    words = tuple(  # "deux cents", but "deux cent cinq": num2words forgets it in Belgium and Switzerland
        "cent" if word == "cents" and following and not following.startswith(("million", "milliard")) else word
        for word, following in zip(words, (*words[1:], ""), strict=True)
    )
    return [words, (*words[:-1], "une")] if words[-1] == "un" else [words]


def french_ordinals(number: int, *, dialect: str) -> Ways:
    """Return the ways of saying which one."""
    if number == 1:
        return [("premier",), ("première",)]
    words = words_of(num2words(number, lang=_DIALECTS[dialect], to="ordinal"))
    return [words, ("second",), ("seconde",)] if number == 2 else [words]


def french_years(number: int, *, dialect: str) -> Ways:
    """Return the ways of saying a year: "mille neuf cent quatre vingt seize", "dix neuf cent …"."""
    ways = french_cardinals(number, dialect=dialect)[:1]
    hundreds, rest = divmod(number, 100)
    if 11 <= hundreds <= 19:
        tail = words_of(num2words(rest, lang=_DIALECTS[dialect])) if rest else ()
        ways.append((*words_of(num2words(hundreds, lang=_DIALECTS[dialect])), "cent" if rest else "cents", *tail))
    return ways


def french_times(hour: int, minute: int, half: str, *, dialect: str) -> Ways:
    """Return the ways of saying a time of day: "dix heures trente", "dix heures et demie", "midi"."""
    hour_words = (*french_cardinals(hour, dialect=dialect)[-1], "heure" if hour < 2 else "heures")
    minute_words = french_cardinals(minute, dialect=dialect)[-1] if minute else ()
    ways = [(*hour_words, *minute_words, *half)]
    special = {15: ("et", "quart"), 30: ("et", "demie")}.get(minute)
    if special:
        ways.append((*hour_words, *special, *half))
    if hour in (0, 12) and not half:
        ways.append(({0: "minuit", 12: "midi"}[hour], *minute_words))
    return ways


def french_fractions(numerator: int, denominator: int, *, dialect: str) -> Ways:
    """Return the ways of saying a fraction: "un demi", "trois quarts", "deux cinquièmes", "cinq sur sept"."""
    above = french_cardinals(numerator, dialect=dialect)[0]
    below = french_cardinals(denominator, dialect=dialect)[0]
    over = (*above, "sur", *below)
    if denominator < 2:
        return [over]
    name = {2: ("demi",), 3: ("tiers",), 4: ("quart",)}.get(denominator) or french_ordinals(denominator, dialect=dialect)[0]
    plural = numerator > 1 and not name[-1].endswith("s")
    return [(*above, *name[:-1], name[-1] + ("s" if plural else "")), over]
