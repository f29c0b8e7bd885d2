"""English and French: their words for signs, units and months, and how quantities are said in each.

French is spoken as in France, Belgium ("septante") or Switzerland ("huitante").
"""

from __future__ import annotations

import functools

from num2words import num2words

from stt_ft.core.errors import TextError
from stt_ft.text.digit_words import ENGLISH_DIGITS, FRENCH_DIGITS
from stt_ft.text.language import Language, Ways

_DIALECTS = {"fr": "fr", "be": "fr_BE", "ch": "fr_CH"}
"""Dialect of French -> its name in num2words."""

_DOLLARS, _POUNDS, _EUROS = (
    ("dollar", "dollars", "cent", "cents"),
    ("pound", "pounds", "penny", "pence"),
    ("euro", "euros", "cent", "cents"),
)
_CURRENCIES = {"$": _DOLLARS, "£": _POUNDS, "€": _EUROS, "usd": _DOLLARS, "gbp": _POUNDS, "eur": _EUROS}
_FRENCH_EUROS = ("euro", "euros", "centime", "centimes")
_FRENCH_CURRENCIES = {
    "$": _DOLLARS,
    "£": ("livre", "livres", "penny", "pence"),
    "€": _FRENCH_EUROS,
    "eur": _FRENCH_EUROS,
    "chf": ("franc", "francs", "centime", "centimes"),
}

_SHARED_UNITS = {
    "km": ("kilometer", "kilometers", "kilomètre", "kilomètres"), "m": ("meter", "meters", "mètre", "mètres"),
    "cm": ("centimeter", "centimeters", "centimètre", "centimètres"),
    "mm": ("millimeter", "millimeters", "millimètre", "millimètres"),
    "kg": ("kilogram", "kilograms", "kilogramme", "kilogrammes"), "g": ("gram", "grams", "gramme", "grammes"),
    "mg": ("milligram", "milligrams", "milligramme", "milligrammes"),
    "km/h": ("kilometer per hour", "kilometers per hour", "kilomètre heure", "kilomètres heure"),
    "l": ("liter", "liters", "litre", "litres"), "ml": ("milliliter", "milliliters", "millilitre", "millilitres"),
    "h": ("hour", "hours", "heure", "heures"), "min": ("minute", "minutes", "minute", "minutes"),
    "s": ("second", "seconds", "seconde", "secondes"), "hz": ("hertz", "hertz", "hertz", "hertz"),
    "w": ("watt", "watts", "watt", "watts"), "kw": ("kilowatt", "kilowatts", "kilowatt", "kilowatts"),
    "v": ("volt", "volts", "volt", "volts"), "°": ("degree", "degrees", "degré", "degrés"),
    "°c": ("degree celsius", "degrees celsius", "degré celsius", "degrés celsius"),
    "k": ("thousand", "thousand", "mille", "mille"), "x": ("times", "times", "fois", "fois"),
}  # fmt: skip
"""Unit -> one and many of it, in English and in French."""

_UNITS = {unit: names[:2] for unit, names in _SHARED_UNITS.items()} | {
    "lb": ("pound", "pounds"), "lbs": ("pound", "pounds"), "oz": ("ounce", "ounces"), "ft": ("foot", "feet"), "in": ("inch", "inches"),
    "mi": ("mile", "miles"), "mph": ("mile per hour", "miles per hour"), "hr": ("hour", "hours"), "hrs": ("hour", "hours"),
    "sec": ("second", "seconds"), "ms": ("millisecond", "milliseconds"), "kb": ("kilobyte", "kilobytes"), "mb": ("megabyte", "megabytes"),
    "gb": ("gigabyte", "gigabytes"), "tb": ("terabyte", "terabytes"), "khz": ("kilohertz", "kilohertz"), "mhz": ("megahertz", "megahertz"),
    "ghz": ("gigahertz", "gigahertz"), "°f": ("degree fahrenheit", "degrees fahrenheit"),
}  # fmt: skip
_FRENCH_UNITS = {unit: names[2:] for unit, names in _SHARED_UNITS.items()} | {
    "ko": ("kilooctet", "kilooctets"), "mo": ("mégaoctet", "mégaoctets"), "go": ("gigaoctet", "gigaoctets"),
}  # fmt: skip

_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december",
)  # fmt: skip
_FRENCH_MONTHS = (
    "janvier", "février", "mars", "avril", "mai", "juin", "juillet", "août", "septembre", "octobre", "novembre", "décembre",
)  # fmt: skip
_CODE_CONTEXTS = frozenset([
    "number", "numbers", "code", "codes", "order", "id", "pin", "zip", "postcode", "phone", "telephone", "tel", "mobile", "call", "dial",
    "extension", "ext", "account", "serial", "reference", "ref", "ticket", "invoice", "tracking", "booking", "confirmation", "customer",
    "case", "flight", "room", "card", "license", "licence", "policy", "passport", "area", "sku", "isbn", "no", "nr",
])  # fmt: skip
_FRENCH_CODE_CONTEXTS = frozenset([
    "numéro", "numéros", "code", "codes", "commande", "référence", "identifiant", "postal", "téléphone", "tél", "portable", "mobile",
    "compte", "dossier", "client", "ticket", "facture", "suivi", "réservation", "confirmation", "carte", "série", "vol", "chambre",
    "poste", "n°", "no",
])  # fmt: skip
_YEAR_CONTEXTS = frozenset([
    "in", "since", "year", "until", "till", "by", "before", "after", "during", "of", "from", "to", "summer", "winter", "spring", "fall",
    "autumn",
])  # fmt: skip
_FRENCH_YEAR_CONTEXTS = frozenset([
    "en", "depuis", "année", "an", "jusqu'en", "de", "été", "hiver", "printemps", "automne",
])  # fmt: skip


def english() -> Language:
    """Return English."""
    return Language(
        code="en",
        digits=ENGLISH_DIGITS,
        zero_variants=("oh",),
        repeats={2: "double", 3: "triple"},
        plus="plus",
        minus="minus",
        point="point",
        percent=("percent",),
        star="star",
        ampersand="and",
        decimal_mark=".",
        group_marks=",'",
        ordinal_suffixes=("st", "nd", "rd", "th"),
        cardinals=english_cardinals,
        ordinals=english_ordinals,
        years=english_years,
        times=english_times,
        fractions=english_fractions,
        currencies=_CURRENCIES,
        units=_UNITS,
        months=frozenset([*_MONTHS, *(month[:3] for month in _MONTHS), "sept"]),
        month_names=tuple(month.capitalize() for month in _MONTHS),
        range_word="to",
        code_contexts=_CODE_CONTEXTS,
        year_contexts=_YEAR_CONTEXTS,
        hundred="hundred",
    )


def english_cardinals(number: int) -> Ways:
    """Return the ways of saying how many: "one hundred five", "one hundred and five", "a hundred five", "twelve hundred"."""
    british = _words(num2words(number))
    american = tuple(word for word in british if word != "and")
    ways = [american, british]
    if american[:2] in {("one", "hundred"), ("one", "thousand"), ("one", "million")}:
        ways += [("a", *way[1:]) for way in ways]
    if 1100 <= number <= 9999 and number % 1000 >= 100:
        hundreds, rest = divmod(number, 100)
        ways.append((*_words(num2words(hundreds)), "hundred", *(_words(num2words(rest)) if rest else ())))
    return list(dict.fromkeys(ways))


def english_ordinals(number: int) -> Ways:
    """Return the ways of saying which one: "one hundred first", "one hundred and first"."""
    british = _words(num2words(number, to="ordinal"))
    return list(dict.fromkeys([tuple(word for word in british if word != "and"), british]))


def english_years(number: int) -> Ways:
    """Return the ways of saying a year: "nineteen ninety six", "twenty oh five", "two thousand five"."""
    century, rest = divmod(number, 100)
    if not 10 <= century <= 99 or (century % 10 == 0 and rest < 10):
        ways = english_cardinals(number)
    elif rest == 0:
        ways = [(*_words(num2words(century)), "hundred")]
    elif rest < 10:
        ways = [(*_words(num2words(century)), "oh", *_words(num2words(rest)))]
    else:
        ways = [(*_words(num2words(century)), *_words(num2words(rest)))]
    if century == 20:
        pair = (("oh",) if 0 < rest < 10 else ()) + (_words(num2words(rest)) if rest else ("hundred",))
        ways = [*ways, *english_cardinals(number), ("twenty", *pair)]
    return list(dict.fromkeys(ways))


def english_times(hour: int, minute: int, half: str) -> Ways:
    """Return the ways of saying a time of day: "ten thirty", "half past ten", "ten past ten", "ten o'clock"."""
    hour_words = _words(num2words(hour))
    tail = tuple(half)  # "am" -> "a", "m"
    if minute == 0:
        return [(*hour_words, *tail)] if half else [(*hour_words, "o'clock"), hour_words, (*hour_words, "hundred", "hours")]
    minute_words = (("oh",) if minute < 10 else ()) + _words(num2words(minute))
    ways = [(*hour_words, *minute_words, *tail)]
    next_hour = _words(num2words(hour % 12 + 1))
    if minute == 30:
        ways.append(("half", "past", *hour_words, *tail))
    if minute in (15, 45):
        side, named = ("past", hour_words) if minute == 15 else ("to", next_hour)
        ways += [("quarter", side, *named, *tail), ("a", "quarter", side, *named, *tail)]
    if minute in (5, 10, 20, 25):
        ways.append((*_words(num2words(minute)), "past", *hour_words, *tail))
    if minute in (35, 40, 50, 55):
        ways.append((*_words(num2words(60 - minute)), "to", *next_hour, *tail))
    return ways


def english_fractions(numerator: int, denominator: int) -> Ways:
    """Return the ways of saying a fraction: "one half", "three quarters", "two thirds", "five over seven"."""
    above, below = english_cardinals(numerator)[0], english_cardinals(denominator)[0]
    over = (*above, "over", *below)
    if denominator < 2:
        return [over]
    names = {2: [("half",)], 4: [("quarter",), ("fourth",)]}.get(denominator, [english_ordinals(denominator)[0]])
    if numerator == 1:
        return [way for name in names for way in (("one", *name), ("a", *name))] + [over]
    plural = {"half": "halves"}
    return [(*above, *name[:-1], plural.get(name[-1], name[-1] + "s")) for name in names] + [over]


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
        currencies=_FRENCH_CURRENCIES,
        units=_FRENCH_UNITS,
        months=frozenset(_FRENCH_MONTHS),
        month_names=_FRENCH_MONTHS,
        range_word="à",
        code_contexts=_FRENCH_CODE_CONTEXTS,
        year_contexts=_FRENCH_YEAR_CONTEXTS,
    )


def french_cardinals(number: int, *, dialect: str) -> Ways:
    """Return the ways of saying how many; "un" is "une" before a feminine noun."""
    words = _words(num2words(number, lang=_DIALECTS[dialect]))
    words = tuple(  # "deux cents", but "deux cent cinq": num2words forgets it in Belgium and Switzerland
        "cent" if word == "cents" and following and not following.startswith(("million", "milliard")) else word
        for word, following in zip(words, (*words[1:], ""), strict=True)
    )
    return [words, (*words[:-1], "une")] if words[-1] == "un" else [words]


def french_ordinals(number: int, *, dialect: str) -> Ways:
    """Return the ways of saying which one."""
    if number == 1:
        return [("premier",), ("première",)]
    words = _words(num2words(number, lang=_DIALECTS[dialect], to="ordinal"))
    return [words, ("second",), ("seconde",)] if number == 2 else [words]


def french_years(number: int, *, dialect: str) -> Ways:
    """Return the ways of saying a year: "mille neuf cent quatre vingt seize", "dix neuf cent …"."""
    ways = french_cardinals(number, dialect=dialect)[:1]
    hundreds, rest = divmod(number, 100)
    if 11 <= hundreds <= 19:
        tail = _words(num2words(rest, lang=_DIALECTS[dialect])) if rest else ()
        ways.append((*_words(num2words(hundreds, lang=_DIALECTS[dialect])), "cent" if rest else "cents", *tail))
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


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.replace(",", " ").replace("-", " ").split())
