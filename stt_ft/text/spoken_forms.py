"""From written form to spoken form: "order 1296803" is said "order one two nine six eight zero three".

Tokens without digits are left as they are. A token with digits becomes the words that are said for it, together with the other ways in
which it may be said (`lattice`), of which an aligner picks the one it hears.

Two styles. `digits` reads every run of digits digit by digit (ordinals, decimal points, percent and money signs are still spoken as such).
`auto` reads codes and phone numbers so, and quantities as amounts: by their shape and by the words before them.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stt_ft.core.errors import TextError
from stt_ft.text.digit_words import is_digit_word
from stt_ft.text.english import english
from stt_ft.text.french import french
from stt_ft.text.language import Language
from stt_ft.text.lattice import Arc, Lattice, also, chain, either, fixed, or_else
from stt_ft.text.quantities import Reader, amount_lattice, amount_ways

STYLES = ("digits", "auto")
LANGUAGES = ("en", "fr", "fr-be", "fr-ch")

_OPENING = "\"'\u201c\u2018\u00ab([{\u00bf\u00a1*_~"
_CLOSING = "\"'\u201d\u2019\u00bb)]}.,;:!?\u2026*_~-\u2013\u2014"
_SPACES = "\u00a0\u202f\u2009"
_SILENT_IN_CODES = "-\u2010\u2011\u2012\u2013\u2014\u2212./,()[]{}:;'\u2019\u00b7_|\\!?\"\u201c\u201d\u2026~" + _SPACES + " "
_GLUED = re.compile(r"^[-\u2013./,:']\d")
_AMOUNT = re.compile(r"[+(-]?\d[\d.,]*")
_SPACED_THOUSANDS = re.compile(r"[1-9]\d{0,2}(?: \d{3})+(?: \D|$)")
_MAGNITUDES = frozenset(["hundred", "thousand", "million", "billion", "trillion", "mille", "million", "millions", "milliard", "milliards"])
_UNITS_THAT_ARE_WORDS = frozenset({"in", "mi", "go", "mo"})
_BREAKS = frozenset({"and", "or", "et", "ou", "with", "avec"})
_FRACTION_SIGN = "\u2044"  # what NFKC makes of "½"
_CODE_WINDOW = 3  # words before a number in which a context word counts: "order number is"
_LETTERED = re.compile(r"\d+[A-Z]")
_DASHED = re.compile("[-\u2010\u2011\u2012\u2013\u2014]+")


@dataclass(frozen=True, kw_only=True)
class SpokenToken:
    """Written tokens `start` to `stop` (exclusive) and the ways of saying them."""

    start: int
    stop: int
    written: tuple[str, ...]
    lattice: Lattice

    @property
    def is_same(self) -> bool:
        """Whether it is said as it is written."""
        return self.lattice.words == self.written and not self.lattice.is_open


def language_named(name: str) -> Language:
    """Return the language `en`, `fr`, `fr-be` or `fr-ch`; raises `TextError` for any other."""
    if name == "en":
        return english()
    if name.partition("-")[0] == "fr" and name in LANGUAGES:
        return french(name.partition("-")[2] or "fr")
    raise TextError(f"numbers cannot be read aloud in language {name!r}; languages are {', '.join(LANGUAGES)}")


def spoken_words(text: str, *, language: str = "en", style: str = "digits") -> list[str]:
    """Return the words that are said for `text`; raises `TextError` naming a token for which there is no spoken form."""
    tokens = spoken_tokens(text.split(), language=language, style=style)
    return [word for token in tokens for word in token.lattice.words]


def spoken_tokens(tokens: Sequence[str], *, language: str = "en", style: str = "digits") -> list[SpokenToken]:
    """Return how `tokens` are said, in order; tokens that belong together ("$5", "million") come as one."""
    if style not in STYLES:
        raise TextError(f"no style {style!r}; styles are {', '.join(STYLES)}")
    speech = language_named(language)
    said = []
    position = 0
    while position < len(tokens):
        stop = _group_end(tokens, position, speech)
        written = tuple(tokens[position:stop])
        lattice = _read_group(tokens, position, stop, speech, style)
        said.append(SpokenToken(start=position, stop=stop, written=written, lattice=lattice))
        position = stop
    return said


def holds_digits(text: str) -> bool:
    """Return whether `text` holds a digit of any script, a superscript or a fraction sign: what spoken form must not leave behind."""
    return any(glyph.isdigit() or (glyph.isnumeric() and not glyph.isalpha()) for glyph in text)


def _group_end(tokens: Sequence[str], start: int, language: Language) -> int:
    """Return where the group that begins at `start` ends: transcribers part "1-800" and "$5 million" into several tokens."""
    stop = start + 1
    if language.code == "fr" and _SPACED_THOUSANDS.match(" ".join(tokens[start : start + 5])):
        while stop < len(tokens) and re.fullmatch(r"\d{3}", tokens[stop]):
            stop += 1
        return stop + _is_sign(tokens, stop, language)
    bare_sign = tokens[start].lower() in language.currencies
    if not holds_digits(tokens[start]) and not (bare_sign and stop < len(tokens) and tokens[stop][:1].isdigit()):
        return stop
    if bare_sign:
        stop += 1
    while stop < len(tokens) and tokens[stop - 1][-1:].isdigit() and _GLUED.match(tokens[stop]):
        stop += 1
    stop += tokens[stop - 1][-1:].isdigit() and _is_sign(tokens, stop, language)
    is_money = any(sign in "".join(tokens[start:stop]) for sign in "$£€")
    if is_money and stop < len(tokens) and tokens[stop].strip(_CLOSING).lower() in _MAGNITUDES:
        stop += 1
    return stop


def _is_sign(tokens: Sequence[str], position: int, language: Language) -> bool:
    """Whether the token after a number is its sign or unit: "93 €", "75 %.", "5 kg"; "12 in" may be any twelve in a box."""
    sign = tokens[position].strip(_CLOSING) if position < len(tokens) else ""
    if not sign or sign in "%\u2030":
        return bool(sign)
    if not _AMOUNT.fullmatch(tokens[position - 1]):
        return False
    if sign.lower() in language.currencies:
        return not sign.isalpha() or sign.isupper()
    return sign.lower() in language.units and sign.lower() not in _UNITS_THAT_ARE_WORDS and not (len(sign) == 1 and sign.isalpha())


def _read_group(tokens: Sequence[str], start: int, stop: int, language: Language, style: str) -> Lattice:
    written = tokens[start:stop]
    if not any(holds_digits(token) for token in written):
        parts = _DASHED.split(written[0].strip(_OPENING + _CLOSING))
        dashed_digits = len(parts) > 1 and all(part and is_digit_word(part) for part in parts)
        return fixed(parts if dashed_digits else written)
    magnitude = written[-1].strip(_CLOSING) if stop - start > 1 and written[-1].strip(_CLOSING).lower() in _MAGNITUDES else ""
    between = " " if all(token.isdigit() for token in written) else ""
    core = _plain(between.join(written[:-1] if magnitude else written))
    lattice = _read(core, magnitude, _Context.of(tokens, start, stop, language), language, style)
    if lattice is None or not lattice.words:
        raise TextError(f"{' '.join(written)[:60]!r} cannot be read aloud in {language.code}")
    return lattice


@dataclass(frozen=True, kw_only=True)
class _Context:
    """Kind of a number, as far as the words around it tell."""

    is_code: bool
    is_year: bool

    @classmethod
    def of(cls, tokens: Sequence[str], start: int, stop: int, language: Language) -> _Context:
        before = [token.strip(_OPENING + _CLOSING).lower() for token in tokens[max(0, start - _CODE_WINDOW) : start]]
        announced = itertools.takewhile(lambda word: word not in _BREAKS and not holds_digits(word), reversed(before))
        after = tokens[stop].strip(_OPENING + _CLOSING).lower() if stop < len(tokens) else ""
        month = bool(before) and before[-1] in language.months
        dated = len(before) > 1 and before[-2] in language.months
        follows_number = bool(before) and before[-1].lstrip("+").isdigit()
        leads_number = tokens[stop - 1].rstrip(")]")[-1:].isdigit() and after[:1].isdigit()
        return cls(
            is_code=any(word in language.code_contexts for word in announced)
            or ((follows_number or leads_number) and not (dated or month)),
            is_year=bool(before) and (before[-1] in language.year_contexts or month or dated) and after not in language.units,
        )


def _read(core: str, magnitude: str, context: _Context, language: Language, style: str) -> Lattice | None:
    by_digit = Reader(language=language, whole=language.digit_lattice, grouped=language.digit_lattice)
    if style == "digits":
        return (
            by_digit.ordinal(core)
            or by_digit.decade(core)
            or by_digit.percentage(core)
            or by_digit.money(core, magnitude)
            or by_digit.measure(core)
            or by_digit.number(core)
            or (by_digit.fraction(core) if _FRACTION_SIGN in core else None)
            or _code(core, language, language.digit_lattice)
        )
    reader = Reader(
        language=language,
        whole=lambda digits: _plain_number(digits, context, language),
        grouped=lambda digits: amount_lattice(language, digits, as_year=False) or language.code_lattice(digits),
    )
    if core.isdigit():
        return reader.whole(core)
    return (
        by_digit.ordinal(core)
        or by_digit.decade(core)
        or reader.percentage(core)
        or reader.money(core, magnitude)
        or reader.time(core)
        or reader.date(core)
        or (None if context.is_code else reader.range(core) or reader.fraction(core))
        or _measure_or_code(core, reader)
        or reader.number(core)
        or _code(core, language, language.code_lattice)
    )


def _plain_number(digits: str, context: _Context, language: Language) -> Lattice:
    """Read plain digits by context: a code digit by digit, else a year or an amount; the other readings stay open to the aligner."""
    year = len(digits) == 4 and 1100 <= int(digits) <= 2099
    as_year = year and (context.is_year or (1900 <= int(digits) <= 2049 and not context.is_code))
    looks_like_code = (
        (context.is_code and len(digits) > 2 and not as_year) or len(digits) >= 6 or (len(digits) == 5 and digits[-2:] != "00")
    )
    amount = amount_lattice(language, digits, as_year=as_year)
    if amount is not None and not looks_like_code:
        return amount
    return also(language.code_lattice(digits), amount_ways(language, digits, as_year=as_year))


def _measure_or_code(core: str, reader: Reader) -> Lattice | None:
    """Read "5km"; "32H" is likelier 32 hours by its letters alone, and may be a seat."""
    measure = reader.measure(core)
    if measure is None or not _LETTERED.fullmatch(core):
        return measure
    code = _code(core, reader.language, reader.language.code_lattice)
    return measure if code is None else or_else(measure, code)


def _code(core: str, language: Language, read_digits: Callable[[str], Lattice]) -> Lattice | None:
    """Read a code: digits by `read_digits`, letters spelled, long words whole, "+" spoken, other marks silent; None at an unknown mark."""
    parts: list[Lattice] = []
    for piece in re.findall(r"\d+|[^\W\d_]+|.", core, re.DOTALL):
        if piece.isdigit():
            parts.append(read_digits(piece))
        elif piece.isalpha():
            parts.append(fixed(tuple(piece)) if _is_spelled(piece) else fixed([piece]))
        elif piece == "+":
            parts.append(Lattice(words=(language.plus,), arcs=(Arc(0, 1, (language.plus,)), Arc(0, 1, ())), last=1))
        elif piece in "*\u2217":
            parts.append(fixed([language.star]))
        elif piece == "&":
            parts.append(fixed([language.ampersand]))
        elif piece == "%":
            parts.append(fixed(language.percent))
        elif piece == "#":
            parts.append(either([(), ("number",), ("hash",)]))
        elif piece not in _SILENT_IN_CODES:
            return None
    return chain(parts) if parts else None


def _is_spelled(letters: str) -> bool:
    """Whether letters beside digits are said one by one: up to three, or capitals without a vowel."""
    return len(letters) <= 3 or (letters.isupper() and not set(letters) & set("AEIOUY"))


def _plain(text: str) -> str:
    """Strip outer marks, map digits of every script and width to ASCII, take group spaces out."""
    text = text.strip(_OPENING + _CLOSING + _SPACES + " ")
    text = re.sub(rf"(?<=\d)[{_SPACES}](?=\d)", "", text)
    text = re.sub(r"(?<=\d)(?=[\u00bc-\u00be\u2150-\u215e])", " ", text)
    text = unicodedata.normalize("NFKC", text)
    return "".join(str(unicodedata.decimal(glyph)) if glyph.isdecimal() else glyph for glyph in text).strip()
