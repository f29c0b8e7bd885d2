"""French: its words, how amounts are said in France, Belgium ("septante") or Switzerland ("huitante"), and what it alone writes.

Its own notation: "10 h 30", "1m80", "12€50", "n° 5", "1 er", "06 12 34 56 78", and spaces between thousands and before units.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from num2words import num2words

from stt_ft.core.errors import TextError
from stt_ft.text.digit_words import FRENCH_DIGITS
from stt_ft.text.language import Language, Ways, words_of
from stt_ft.text.lattice import Lattice, also, chain, either, fixed, or_else

if TYPE_CHECKING:
    from stt_ft.text.reading.reader import Reader

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
_ENDINGS = {"er": "er", "re": "ère", "ère": "ère", "ere": "ère", "nd": "nd", "nde": "nde", "e": "ième", "ème": "ième", "eme": "ième"}
"""Ending of a written ordinal -> that of its spoken form."""

_CODE_CONTEXTS = frozenset([
    "numéro", "numéros", "code", "codes", "commande", "référence", "identifiant", "postal", "téléphone", "tél", "portable", "mobile",
    "compte", "dossier", "client", "ticket", "facture", "suivi", "réservation", "confirmation", "carte", "série", "vol", "chambre",
    "poste", "n°", "no",
])  # fmt: skip
_YEAR_CONTEXTS = frozenset([
    "en", "depuis", "année", "an", "jusqu'en", "de", "été", "hiver", "printemps", "automne",
])  # fmt: skip


_PERIODS = "mois|an|jour|heure|h|nuit|personne|semaine"
_HOURS = r"(?:h|H|heures?)"
_APART = re.compile(
    rf"(?:[nN][°º]|№) \d\S*"
    rf"|\d{{1,2}} ?{_HOURS} ?[0-5]\d(?: ?min)?(?!\w)"
    rf"|\d+ (?:m \d\d|kg \d{{3}}|(?:€|\$|£|euros?) \d\d|min \d\d(?: s)?)(?! ?[\d€%])(?!\w)"
    rf"|[1-9]\d*(?: \d{{3}})* ?(?:{'|'.join(_ENDINGS)})s?(?!\w)"
    rf"|\d[\d ]*(?:,\d+)? (?:(?:k|M|Mr?d)€|€/(?:{_PERIODS})(?!\w))"
    rf"|(?P<thousands>[1-9]\d{{0,2}}(?: \d{{3}})+(?! ?\d)(?: ?,\d+)?)"
)
"""What French writes apart though it is one number. A unit behind it is found as in any language."""

_MARKS: Mapping[str, Ways] = {
    "@": [("arobase",), ("at",)], ".": [("point",)], "-": [("tiret",)], "_": [("tiret", "bas"), ("underscore",)],
    "/": [("slash",), ("barre", "oblique"), ("sur",)], ":": [("deux", "points",)], "=": [("égale",)], "#": [("dièse",), ("hashtag",)],
    "\u00d7": [("par",), ("fois",), ("sur",), ()], "\u00b1": [("plus", "ou", "moins")],
}  # fmt: skip
_LONE_UNITS = frozenset("hmgljsLWV")

_NUMBER_SIGN = re.compile(r"^n[°o]\.?(?=\d)", re.IGNORECASE)
_PHONE = re.compile(r"^(?P<trunk>(?:\+|00)(?P<country>33|32|41)(?:\(0\))?|0)(?P<rest>[1-9]\d{8})$")
_PHONE_GROUPS = {"fr": ("33", (1, 2, 2, 2, 2)), "be": ("32", (3, 2, 2, 2)), "ch": ("41", (2, 3, 2, 2))}
"""Dialect -> its country's code, and the groups in which telephone numbers are said behind the zero."""

_TIME = re.compile(rf"^(\d{{1,2}}){_HOURS}([0-5]\d)?(?:min)?$")
_AROUND_THE_CLOCK = re.compile(r"^(\d+)([hj])/(\d+)[hj]?$")
_SPLIT = re.compile(r"^(?P<whole>\d[\d ]*)(?P<unit>m|kg|min|€|\$|£|euros?)(?P<rest>\d{1,3})(?P<seconds>s?)$")
_POINTED = re.compile(r"^(?P<sign>[^\W\d]*|[€$£]) ?(?P<whole>\d[\d ']*)\.(?P<rest>\d{1,2}|\d{4,})(?P<unit>[^\d.,/-]\D*)?$")
_METRES = re.compile(r"^(\d+),(\d\d)m$")
_MANY_EUROS = re.compile(r"^(\d[\d ,]*)(k|M|Mr?d)€$")
_MILLIONS = re.compile(r"^(?P<number>[1-9]\d{0,2}(?: \d{3})* 000 000|[1-9]\d*0{6})(?P<unit>[^\d\s]+)$")
_A_PERIOD = re.compile(rf"^(?P<money>.*\d.*)/ ?(?P<period>{_PERIODS})$")
_DECADE = re.compile(r"^[2-9]0s$")
_DAY_OF_MONTH = re.compile(r"^(0?[1-9]|[12]\d|3[01])(?P<mark>[./])(0[1-9]|1[0-2])$")
_MIXED_HALF = re.compile(r"^(\d+) 1[/\u2044]2$")
_ORDINAL = re.compile(rf"^(\d[\d .]*?)({'|'.join(_ENDINGS)})(s?)$", re.IGNORECASE)


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
        notation=functools.partial(french_notation, dialect=dialect),
        ordinal_suffixes=tuple(f"{ending}{plural}" for ending in _ENDINGS for plural in ("", "s")),
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
    endings = _ENDINGS.get(suffix.lower().removesuffix("s"))
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


def french_notation(text: str, reader: Reader, *, dialect: str) -> Lattice | None:
    """Return the ways of saying what French alone writes; None where `text` is nothing of the kind.

    Args:
        text: a token without the marks around it, its parts joined, digits in ASCII.
        reader: reads what is left when this is taken off; knows style and context.
    """
    amounts, in_digits = reader.quantities, reader.style == "digits"
    if sign := _NUMBER_SIGN.match(text):
        number = replace(reader, context=replace(reader.context, is_code=True)).read(text[sign.end() :])
        return chain([fixed(["numéro"]), number]) if number else None
    if ordinal := _ORDINAL.match(text):
        digits = re.sub(r"\D", "", ordinal[1])
        ways = french_ordinals(int(digits), ordinal[2] + ordinal[3], dialect=dialect) if len(digits) < 16 else []
        seat = chain([amounts.whole(digits), fixed(["E"])]) if ordinal[2] == "E" else None  # "20E" is a place in a train
        return also(seat, ways) if seat else either(ways) if ways else None
    if (time := _TIME.match(text)) and int(time[1]) <= 24:
        named = fixed(["heure" if int(time[1]) < 2 else "heures"])
        minutes = [amounts.whole(time[2])] if time[2] else []
        return (
            chain([amounts.whole(time[1]), named, *minutes])
            if in_digits
            else either(reader.language.times(int(time[1]), int(time[2] or 0), ""))
        )
    if round_ := _AROUND_THE_CLOCK.match(text):
        one, many = _UNITS[round_[2]]
        return chain([amounts.whole(round_[1]), fixed([one if round_[1] == "1" else many, "sur"]), amounts.whole(round_[3])])
    if split := _SPLIT.match(text):
        return _split(split, reader)
    if phone := _PHONE.match(re.sub(r"[ .-]", "", text)):
        return _phone(phone["trunk"].strip("+(0)"), phone["rest"], reader, dialect=dialect)
    if many := _MANY_EUROS.match(text):
        number, scale = amounts.number(many[1], is_amount=True), {"k": "mille", "M": "million"}.get(many[2], "milliard")
        plural = "" if scale == "mille" or many[1].partition(",")[0] in ("0", "1") else "s"
        return chain([number, fixed(["mille", "euros"] if scale == "mille" else [f"{scale}{plural}", "d'euros"])]) if number else None
    if period := _A_PERIOD.match(text):
        money = reader.read(period["money"])
        return (
            chain([money, either([("par",), ()]), fixed([_UNITS["h"][0] if period["period"] == "h" else period["period"]])])
            if money
            else None
        )
    if in_digits:
        return _pointed(text, reader)
    if _DECADE.match(text):
        decade = (words_of(num2words(int(text[:-1])))[0][:-1] + "ies",)
        return or_else(either([decade, *_masculine(int(text[:-1]), dialect)]), reader.quantities.measure(text))
    if metres := _METRES.match(text):
        split = _SPLIT.match(f"{metres[1]}m{metres[2]}")
        measure = amounts.measure(text)
        return or_else(measure, _split(split, reader), prior=1.0) if split and measure else measure
    if (millions := _MILLIONS.match(text)) and (names := {**_CURRENCIES, **_UNITS}.get(millions["unit"].lower())):
        return chain([amounts.amount(millions["number"].replace(" ", "")), fixed(_of(names[1]))])
    if half := _MIXED_HALF.match(text):
        return chain([amounts.whole(half[1]), fixed(["et"]), either([("demi",), ("demie",), ("un", "demi")])])
    if re.match(r"^\d{1,4}°$", text):  # of angles and of heat, and for "sixième"
        return or_else(
            chain([amounts.whole(text[:-1]), fixed([_UNITS["°"][text != "1°"]])]),
            either(french_ordinals(int(text[:-1]), dialect=dialect)),
            prior=1.0,
        )
    if day := _DAY_OF_MONTH.match(text):
        date = either([(*way, _MONTHS[int(day[3]) - 1]) for way in french_days(int(day[1]), True)])
        numbers = _pointed(text, reader) if day["mark"] == "." else amounts.fraction(text)
        is_date = day["mark"] == "." or day[3][0] == "0"
        return or_else(date, numbers, prior=1.0) if is_date or numbers is None else or_else(numbers, date)
    return _pointed(text, reader)


def _of(noun: str) -> list[str]:
    """Return a noun behind "million": "d'euros", "de dollars"."""
    first, *others = noun.split()
    return [f"d'{first}", *others] if first[0] in "aeiouéh" else ["de", first, *others]


def _split(match: re.Match[str], reader: Reader) -> Lattice | None:
    """Read a number on either side of its unit: "1m80", "12€50", "3kg500"."""
    amounts, unit, rest = reader.quantities, match["unit"], match["rest"]
    unit = "€" if unit.startswith("euro") else unit
    if unit in _CURRENCIES:
        return amounts.money(f"{match['whole']},{rest}{unit}") if len(rest) == 2 and not match["seconds"] else None
    whole = amounts.number(match["whole"], is_amount=True)
    if whole is None or len(rest) != {"m": 2, "kg": 3}.get(unit, len(rest)) or (match["seconds"] and unit != "min"):
        return None
    small = amounts.whole(rest)
    if rest[0] == "0" and len(small.words) > 1:
        small = also(small, [small.words[1:]])
    seconds = [fixed([_UNITS["s"][rest not in ("1", "01")]])] if match["seconds"] else []
    return chain([whole, fixed([_UNITS[unit][match["whole"] != "1"]]), small, *seconds])


def _pointed(text: str, reader: Reader) -> Lattice | None:
    """Read a decimal point as the comma that it stands for: "1.5", "12.50€"."""
    match = _POINTED.match(text)
    if not match or not (match["sign"] == "" or match["sign"].lower() in _CURRENCIES):
        return None
    return reader.read(f"{match['sign']}{match['whole']},{match['rest']}{match['unit'] or ''}")


def _phone(country: str, rest: str, reader: Reader, *, dialect: str) -> Lattice:
    """Read a telephone number, in the groups of its country where the sound does not tell."""
    language = reader.language
    own, groups = _PHONE_GROUPS[dialect]
    trunk = [] if country else ["0"]
    if reader.style == "digits" or country not in ("", own):
        number = reader.quantities.whole("".join([*trunk, rest]))
    else:
        ends = list(itertools.accumulate(groups))
        parts = [rest[end - length : end] for length, end in zip(groups, ends, strict=True)]
        said = [language.digit_lattice("".join([*trunk, parts[0]]))]
        for part in parts[1:]:
            digits = language.digit_lattice(part)
            said.append(digits if part[0] == "0" else or_else(either(language.cardinals(int(part))[:1]), digits))
        number = or_else(chain(said), language.code_lattice("".join([*trunk, rest])))
    if not country:
        return number
    prefix = reader.quantities.whole(country)
    return chain([either([("plus",), (), ("zéro", "zéro")]), prefix, number])
