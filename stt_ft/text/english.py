"""English: its words for signs, units and months, and how quantities are said in it."""

from __future__ import annotations

from num2words import num2words

from stt_ft.text.digit_words import ENGLISH_DIGITS
from stt_ft.text.language import Language, Ways, words_of

_CENTS = ("cent", "cents")
_CURRENCIES = {
    **dict.fromkeys(("$", "usd"), ("dollar", "dollars", *_CENTS)),
    **dict.fromkeys(("\u00a3", "gbp"), ("pound", "pounds", "penny", "pence")),
    **dict.fromkeys(("\u20ac", "eur"), ("euro", "euros", *_CENTS)),
    "\u00a5": ("yen", "yen", "sen", "sen"),
    "\u20b9": ("rupee", "rupees", "paisa", "paise"),
    "\u20a9": ("won", "won", "jeon", "jeon"),
}
_MAGNITUDES = {
    **{word: word for word in ("hundred", "thousand", "million", "billion", "trillion")},
    **{"k": "thousand", "m": "million", "mn": "million", "b": "billion", "bn": "billion", "t": "trillion", "tn": "trillion"},
}
_MARKS = {
    "-": [("dash",), ("minus",)],
    "/": [("slash",), ("over",), ("per",)],
    ".": [("dot",), ("point",)],
    ":": [("colon",), ("to",)],
    "_": [("underscore",)],
    "@": [("at",)],
    "=": [("equals",), ("is",)],
    "#": [("number",), ("hash",), ("pound",)],
    "\u00d7": [("by",), ("times",), ("x",)],
    "*": [("asterisk",), ("times",)],
    "&": [("ampersand",)],
    "\u00b1": [("plus", "or", "minus")],
    "$": [("dollar",)],
    "\u2116": [("number",)],
    "\u00b0": [("degrees",), ("degree",)],
    "~": [("tilde",)],
    "?": [("question", "mark")],
    "<": [("less", "than")],
    ">": [("greater", "than")],
}
_STREET_WORDS = {
    "st": [("Street",), ("Saint",)], "ave": [("Avenue",)], "blvd": [("Boulevard",)], "rd": [("Road",)], "dr": [("Drive",)],
    "ln": [("Lane",)], "ct": [("Court",)], "hwy": [("Highway",)], "expy": [("Expressway",)], "pkwy": [("Parkway",)], "sq": [("Square",)],
    "apt": [("apartment",)], "n": [("North",)], "s": [("South",)], "e": [("East",)], "w": [("West",)],
}  # fmt: skip

_UNITS = {
    "km": ("kilometer", "kilometers"), "m": ("meter", "meters"), "cm": ("centimeter", "centimeters"), "mm": ("millimeter", "millimeters"),
    "kg": ("kilogram", "kilograms"), "g": ("gram", "grams"), "mg": ("milligram", "milligrams"),
    "km/h": ("kilometer per hour", "kilometers per hour"), "l": ("liter", "liters"), "ml": ("milliliter", "milliliters"),
    "h": ("hour", "hours"), "min": ("minute", "minutes"), "s": ("second", "seconds"), "hz": ("hertz", "hertz"), "w": ("watt", "watts"),
    "kw": ("kilowatt", "kilowatts"), "v": ("volt", "volts"), "°": ("degree", "degrees"), "°c": ("degree celsius", "degrees celsius"),
    "k": ("thousand", "thousand"), "¢": ("cent", "cents"),
    "mbps": ("megabit per second", "megabits per second"),
    "gbps": ("gigabit per second", "gigabits per second"), "rpm": ("revolution per minute", "revolutions per minute"),
    "kcal": ("kilocalorie", "kilocalories"), "yd": ("yard", "yards"), "m2": ("square meter", "square meters"),
    "m3": ("cubic meter", "cubic meters"), "km2": ("square kilometer", "square kilometers"), "km3": ("cubic kilometer", "cubic kilometers"),
    "cm2": ("square centimeter", "square centimeters"), "cm3": ("cubic centimeter", "cubic centimeters"), "yr": ("year", "years"),
    "mo": ("month", "months"), "wk": ("week", "weeks"), "d": ("day", "days"), "x": ("times", "times"), "lb": ("pound", "pounds"),
    "lbs": ("pound", "pounds"), "oz": ("ounce", "ounces"), "ft": ("foot", "feet"), "in": ("inch", "inches"), "mi": ("mile", "miles"),
    "mph": ("mile per hour", "miles per hour"), "hr": ("hour", "hours"), "hrs": ("hour", "hours"), "sec": ("second", "seconds"),
    "ms": ("millisecond", "milliseconds"), "kb": ("kilobyte", "kilobytes"), "mb": ("megabyte", "megabytes"),
    "gb": ("gigabyte", "gigabytes"), "tb": ("terabyte", "terabytes"), "khz": ("kilohertz", "kilohertz"), "mhz": ("megahertz", "megahertz"),
    "ghz": ("gigahertz", "gigahertz"), "°f": ("degree fahrenheit", "degrees fahrenheit"),
}  # fmt: skip
"""Unit -> one and many of it."""

_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december",
)  # fmt: skip
_CODE_CONTEXTS = frozenset([
    "number", "numbers", "code", "codes", "order", "id", "pin", "zip", "postcode", "phone", "telephone", "tel", "mobile", "call", "dial",
    "extension", "ext", "account", "serial", "reference", "ref", "ticket", "invoice", "tracking", "booking", "confirmation", "customer",
    "case", "flight", "room", "card", "license", "licence", "policy", "passport", "area", "sku", "isbn", "no", "nr",
])  # fmt: skip
_YEAR_CONTEXTS = frozenset([
    "in", "since", "year", "until", "till", "by", "before", "after", "during", "of", "from", "to", "summer", "winter", "spring", "fall",
    "autumn",
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
        plural=english_plural,
        days=english_days,
        months_of={month[:3]: month.capitalize() for month in _MONTHS} | {"sept": "September"},
        magnitudes=_MAGNITUDES,
        minus_variants=("negative",),
        per=lambda unit: [("per",), ("an" if unit[0] in "aeiou" or unit.startswith("hour") else "a",)],
        marks=_MARKS,
        article="a",
        known_codes=frozenset(["211", "311", "411", "511", "611", "811", "911"]),
        street_words=_STREET_WORDS,
    )


def english_plural(word: str) -> str:
    """Return the plural of a number or a letter: "sixes", "twenties", "nineties", "fives"."""
    return f"{word[:-1]}ies" if word.endswith("y") else f"{word}es" if word.endswith("x") and len(word) > 1 else f"{word}s"


def english_days(day: int, before_month: bool) -> Ways:
    """Return the ways of saying a day of the month: "May five", "May fifth", "the fifth of May"."""
    cardinals, ordinal = english_cardinals(day), english_ordinals(day)[0]
    if before_month:
        return [*cardinals, (*ordinal, "of"), ("the", *ordinal, "of"), ordinal]
    return [*cardinals, ordinal, ("the", *ordinal)]


def english_cardinals(number: int) -> Ways:
    """Return the ways of saying how many: "one hundred five", "one hundred and five", "a hundred five", "twelve hundred"."""
    british = words_of(num2words(number))
    american = tuple(word for word in british if word != "and")
    ways = [american, british]
    if american[:2] in {("one", "hundred"), ("one", "thousand"), ("one", "million")}:
        ways += [("a", *way[1:]) for way in ways]
    if 1100 <= number <= 9999 and number % 1000 >= 100:
        hundreds, rest = divmod(number, 100)
        ways.append((*words_of(num2words(hundreds)), "hundred", *(words_of(num2words(rest)) if rest else ())))
    return list(dict.fromkeys(ways))


def english_ordinals(number: int) -> Ways:
    """Return the ways of saying which one: "one hundred first", "one hundred and first"."""
    british = words_of(num2words(number, to="ordinal"))
    return list(dict.fromkeys([tuple(word for word in british if word != "and"), british]))


def english_years(number: int) -> Ways:
    """Return the ways of saying a year: "nineteen ninety six", "twenty oh five", "two thousand five"."""
    century, rest = divmod(number, 100)
    if not 10 <= century <= 99 or (century % 10 == 0 and rest < 10):
        ways = english_cardinals(number)
    elif rest == 0:
        ways = [(*words_of(num2words(century)), "hundred")]
    elif rest < 10:
        ways = [(*words_of(num2words(century)), "oh", *words_of(num2words(rest)))]
    else:
        ways = [(*words_of(num2words(century)), *words_of(num2words(rest)))]
    if century == 20:
        pair = (("oh",) if 0 < rest < 10 else ()) + (words_of(num2words(rest)) if rest else ("hundred",))
        ways = [*ways, *english_cardinals(number), ("twenty", *pair)]
    return list(dict.fromkeys(ways))


def english_times(hour: int, minute: int, half: str) -> Ways:
    """Return the ways of saying a time of day: "ten thirty", "half past ten", "ten past ten", "ten o'clock"."""
    hour_words = words_of(num2words(hour))
    tail = tuple(half)  # "am" -> "a", "m"
    if minute == 0:
        return [(*hour_words, *tail)] if half else [(*hour_words, "o'clock"), hour_words, (*hour_words, "hundred", "hours")]
    minute_words = (("oh",) if minute < 10 else ()) + words_of(num2words(minute))
    ways = [(*hour_words, *minute_words, *tail)]
    next_hour = words_of(num2words(hour % 12 + 1))
    if minute == 30:
        ways.append(("half", "past", *hour_words, *tail))
    if minute in (15, 45):
        side, named = ("past", hour_words) if minute == 15 else ("to", next_hour)
        ways += [("quarter", side, *named, *tail), ("a", "quarter", side, *named, *tail)]
    if minute in (5, 10, 20, 25):
        ways.append((*words_of(num2words(minute)), "past", *hour_words, *tail))
    if minute in (35, 40, 50, 55):
        ways.append((*words_of(num2words(60 - minute)), "to", *next_hour, *tail))
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
