"""French: its words, and how amounts are said in France, Belgium ("septante") or Switzerland ("huitante").

What it alone writes, as "10 h 30" or "12€50", is read by `reading.french_reader`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping

from num2words import num2words

from stt_ft.core.errors import TextError
from stt_ft.text.digit_words import FRENCH_DIGITS
from stt_ft.text.language import Language, Ways, words_of

_DIALECTS = ("fr", "be", "ch")

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
    "m2": ("mètre carré", "mètres carrés"), "m3": ("mètre cube", "mètres cubes"), "km2": ("kilomètre carré", "kilomètres carrés"),
    "cm2": ("centimètre carré", "centimètres carrés"), "cl": ("centilitre", "centilitres"), "j": ("jour", "jours"),
    "ko": ("kilooctet", "kilooctets"), "mo": ("mégaoctet", "mégaoctets"), "go": ("gigaoctet", "gigaoctets"),
}  # fmt: skip
"""Unit -> one and many of it."""

_MONTHS = (
    "janvier", "février", "mars", "avril", "mai", "juin", "juillet", "août", "septembre", "octobre", "novembre", "décembre",
)  # fmt: skip
_TEENS = {"dix": "", "onze": "un", "douze": "deux", "treize": "trois", "quatorze": "quatre", "quinze": "cinq", "seize": "six"}
_TENS_AND_TEENS = re.compile(f"(soixante|quatre vingt)(?: et)? (dix (?:sept|huit|neuf)|{'|'.join(_TEENS)})")
ORDINAL_ENDINGS = {"er": "er", "re": "ère", "ère": "ère", "ere": "ère", "nd": "nd", "nde": "nde", "e": "ième", "ème": "ième", "eme": "ième"}
"""Ending of a written ordinal -> that of its spoken form."""

_CODE_CONTEXTS = frozenset([
    "numéro", "numéros", "code", "codes", "commande", "référence", "identifiant", "postal", "téléphone", "tél", "portable", "mobile",
    "compte", "dossier", "client", "ticket", "facture", "suivi", "réservation", "confirmation", "carte", "série", "vol", "chambre",
    "poste", "n°", "no",
])  # fmt: skip
_YEAR_CONTEXTS = frozenset([
    "en", "depuis", "année", "an", "jusqu'en", "de", "été", "hiver", "printemps", "automne",
])  # fmt: skip


PERIODS = "mois|an|jour|heure|h|nuit|personne|semaine"
HOURS = r"(?:h|H|heures?)"
_APART = re.compile(
    rf"(?:[nN][°º]|№) \d\S*"
    rf"|\d{{1,2}} ?{HOURS} ?[0-5]\d(?: ?min)?(?!\w)"
    rf"|\d+ (?:m \d\d|kg \d{{3}}|(?:€|\$|£|euros?) \d\d|min \d\d(?: s)?)(?! ?[\d€%])(?!\w)"
    rf"|[1-9]\d*(?: \d{{3}})* ?(?:{'|'.join(ORDINAL_ENDINGS)})s?(?!\w)"
    rf"|\d[\d ]*(?:,\d+)? (?:(?:k|M|Mr?d)€|€/(?:{PERIODS})(?!\w))"
    rf"|(?P<thousands>[1-9]\d{{0,2}}(?: \d{{3}})+(?! ?\d)(?: ?,\d+)?)"
)
"""What French writes apart though it is one number. A unit behind it is found as in any language."""

_MARKS: Mapping[str, Ways] = {
    "@": [("arobase",), ("at",)], ".": [("point",)], "-": [("tiret",)], "_": [("tiret", "bas"), ("underscore",)],
    "/": [("slash",), ("barre", "oblique"), ("sur",)], ":": [("deux", "points",)], "=": [("égale",)], "#": [("dièse",), ("hashtag",)],
    "\u00d7": [("par",), ("fois",), ("sur",), ()], "\u00b1": [("plus", "ou", "moins")],
}  # fmt: skip
_LONE_UNITS = frozenset("hmgljsLWV")


def french(dialect: str = "fr") -> Language:
    """Return French as spoken in `dialect`: `fr`, `be` or `ch`."""
    if dialect not in _DIALECTS:
        raise TextError(f"no French dialect {dialect!r}; dialects are {', '.join(_DIALECTS)}")
    return Language(
        code="fr",
        dialect=dialect,
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
        point_variants=("point",),
        says_decimals_as_amounts=True,
        feminine="une",
        is_day_first=True,
        days=french_days,
        hour_mark="h",
        magnitudes={word: word for word in ("mille", "million", "millions", "milliard", "milliards")},
        marks=_MARKS,
        apart=_APART,
        lone_units=_LONE_UNITS,
        ordinal_suffixes=tuple(f"{ending}{plural}" for ending in ORDINAL_ENDINGS for plural in ("", "s")),
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
    )


def french_cardinals(number: int, *, dialect: str) -> Ways:
    """Return the ways of saying how many; "un" is "une" before a feminine noun, and some Swiss say 80 as the French do.

    The words of Belgium and Switzerland are made of those of France: num2words' own forget plurals and say "quatre vingt et un".
    """
    ways = [words_of(num2words(number, lang="fr"))]
    if dialect != "fr":
        ways = [tuple(_TENS_AND_TEENS.sub(_with_nonante, " ".join(ways[0])).split())]
    if dialect == "ch":
        swiss = re.sub("quatre vingts?", "huitante", " ".join(ways[0])).replace("huitante un", "huitante et un")
        ways = [tuple(swiss.split()), *ways]
    return list(dict.fromkeys([*ways, *((*way[:-1], "une") for way in ways if way[-1] == "un")]))


def _with_nonante(match: re.Match[str]) -> str:
    tens, units = {"soixante": "septante", "quatre vingt": "nonante"}[match[1]], _TEENS.get(match[2], match[2].removeprefix("dix "))
    return f"{tens}{' et' if units == 'un' else ''} {units}"


def french_ordinals(number: int, suffix: str = "", *, dialect: str) -> Ways:
    """Return the ways of saying which one, those that end as `suffix` does where it is given: "1re" is "première", "2nd" is "second"."""
    ways: Ways = [(*way[:-1], _ordinal_word(way[-1])) for way in french_cardinals(number, dialect=dialect) if way[-1] != "une"]
    if ways[0][:-1] == ("un",):  # "un millionième"
        ways.append(ways[0][-1:])
    if number == 1:
        ways = [("premier",), ("première",)]
    elif number == 2:
        ways += [("second",), ("seconde",)]
    endings = ORDINAL_ENDINGS.get(suffix.lower().removesuffix("s"))
    ways = [way for way in ways if endings is None or way[-1].endswith(endings)] or ways
    return [(*way[:-1], way[-1] + ("s" if suffix.lower().endswith("s") else "")) for way in ways]


def _ordinal_word(word: str) -> str:
    irregular = {"un": "unième", "cinq": "cinquième", "neuf": "neuvième", "zéro": "zéroième"}
    return irregular.get(word) or f"{word.removesuffix('s') if word != 'trois' else word}".removesuffix("e") + "ième"


def french_days(day: int, before_month: bool) -> Ways:
    """Return the ways of saying the day of a month; the first is "premier"."""
    return [("premier",), ("un",)] if day == 1 else _masculine(day, "fr")


def french_years(number: int, *, dialect: str) -> Ways:
    """Return the ways of saying a year: "mille neuf cent quatre vingt seize", "dix neuf cent …"."""
    ways = _masculine(number, dialect)
    hundreds, rest = divmod(number, 100)
    if 11 <= hundreds <= 19:
        century = (*_masculine(hundreds, dialect)[0], "cent" if rest else "cents")
        ways += [(*century, *tail) for tail in (_masculine(rest, dialect) if rest else [()])]
    return ways


def french_times(hour: int, minute: int, half: str, *, dialect: str) -> Ways:
    """Return the ways of saying a time of day: "dix heures trente", "dix heures et demie", "onze heures moins le quart", "midi"."""

    def named(hour: int) -> Ways:
        ways: Ways = [(*way, "heure" if hour < 2 else "heures") for way in french_cardinals(hour, dialect=dialect)[-1:]]
        return ways + ([({0: "minuit", 12: "midi"}[hour % 24],)] if hour % 12 == 0 else [])

    minutes = french_cardinals(minute, dialect=dialect)
    tails: Ways = [*minutes[::-1], *([("zéro", *minutes[-1])] if minute < 10 else [])] if minute else [()]
    tails += {15: [("et", "quart")], 30: [("et", "demie")], 0: [("pile",)] if not half else []}.get(minute, [])
    ways = [(*name, *tail, *half) for tail in tails for name in named(hour)]
    ways = [(*way[:-1], "demi") if way[0] in ("midi", "minuit") and way[-1] == "demie" else way for way in ways]
    if minute > 30:
        before = [("moins", *minutes) for minutes in french_cardinals(60 - minute, dialect=dialect)[-1:]]
        before += [("moins", "le", "quart")] if minute == 45 else []
        ways += [(*name, *tail, *half) for tail in before for name in named((hour + 1) % 24)]
    return list(dict.fromkeys(ways))


def _masculine(number: int, dialect: str) -> Ways:
    return [way for way in french_cardinals(number, dialect=dialect) if way[-1] != "une"]


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
