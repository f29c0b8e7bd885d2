"""From written form to spoken form: "order 1296803" is said "order one two nine six eight zero three".

Tokens without digits are left as they are, marks alone are silent. A token with digits becomes the words that are said for it, together
with the other ways in which it may be said (`lattice`), of which an aligner picks the one it hears.

Two styles. `digits` reads every run of digits digit by digit (ordinals, decimal points, percent and money signs are still spoken as such).
`auto` reads codes and phone numbers so, and quantities as amounts: by their shape and by the words before them. What a token is, is
decided by `reading.reader`; here written tokens are put together to numbers, and their neighbours looked at.
"""

from __future__ import annotations

import itertools
import re
import string
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from stt_ft.core.errors import TextError
from stt_ft.text.digit_words import is_digit_word
from stt_ft.text.english import english
from stt_ft.text.french import french
from stt_ft.text.language import Language
from stt_ft.text.lattice import Lattice, either, fixed, maybe, or_else
from stt_ft.text.reading.french_reader import FrenchReader
from stt_ft.text.reading.quantities import Context
from stt_ft.text.reading.reader import DASHES, Reader

STYLES = ("digits", "auto")
LANGUAGES = ("en", "fr", "fr-be", "fr-ch")

_OPENING = "\"'\u201c\u2018\u00ab([{\u00bf\u00a1*_~"
_CLOSING = "\"'\u201d\u2019\u00bb)]}.,;:!?\u2026*_~-\u2013\u2014"
_SPACES = "\u00a0\u202f\u2009"
_GLUED = re.compile(r"^[-\u2013./,:']\d")
_PART_MARKS = frozenset(DASHES + "/")
_AMOUNT = re.compile(r"[+(-]?[.,]?\d[\d.,]*(?:[-\u2013/x\u00d7]\d[\d.,]*)?|[\u00bc-\u00be\u2150-\u215e]")
_FRACTION = re.compile(r"([1-9]\d{0,2})/([1-9]\d{0,2})\D*|[\u00bc-\u00be\u2150-\u215e]\D*")
_SMALL_SHARES = (2, 3, 4)
_UNITS_THAT_ARE_WORDS = frozenset({"in", "mi", "go", "mo"})
_LONGEST_APART = 6  # tokens
_BREAKS = frozenset({"and", "or", "et", "ou", "with", "avec"})
_CODE_WINDOW = 3  # words before a number in which a context word counts: "order number is"
_STREET_WINDOW = 5  # words behind the number of a house in which "St" is a street
_SPOKEN_ALONE = frozenset("&+=@%$\u00b1\u2116")
_DASHED = re.compile(f"[{DASHES}]+")
_LEADING_MARKS = "".join(sorted(set(string.punctuation + DASHES + _OPENING + _CLOSING + _SPACES + " ")))
_SIGN = re.compile(r"(?<![-.\u2010-\u2014\u2212])(?:[-+\u2010\u2011\u2013\u2212]?[$#&=%@]?|[$][-\u2212])\.?$")
_HALVES = re.compile(r"[ap]\.?m\.?", re.IGNORECASE)
_DAY = re.compile(r"([12]?\d|3[01])(?:st|nd|rd|th)?")


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
    """Return where the group that begins at `start` ends: transcribers part "1-800", "$5 million" and "1 1/2" into several tokens."""
    stop = start + 1
    bare_sign = tokens[start].lower() in language.currencies
    stop = max(stop, _apart_end(tokens, start, language))
    if stop == start + 1 and not holds_digits(tokens[start]) and not (bare_sign and stop < len(tokens) and tokens[stop][:1].isdigit()):
        return stop
    if bare_sign:
        stop += 1
    stop += _is_mixed_fraction(tokens, stop)
    while stop < len(tokens) and tokens[stop - 1][-1:].isdigit():
        is_parted = tokens[stop] in _PART_MARKS and tokens[stop + 1 : stop + 2] and tokens[stop + 1][0].isdigit()
        if not is_parted and not _GLUED.match(tokens[stop]):
            break
        stop += 1 + bool(is_parted)
    stop += (tokens[stop - 1][-1:].isdigit() or _AMOUNT.fullmatch(tokens[stop - 1]) is not None) and _is_sign(tokens, stop, language)
    is_money = any(sign in "".join(tokens[start:stop]) for sign in language.currencies if not sign.isalpha())
    if is_money and stop < len(tokens) and tokens[stop].strip(_CLOSING).lower() in language.magnitudes:
        stop += 1
    return stop


def _apart_end(tokens: Sequence[str], start: int, language: Language) -> int:
    """Return where the tokens end that `language` writes apart though they are one number; `start` where there are none."""
    if language.apart is None:
        return start
    match = language.apart.match(" ".join([tokens[start].lstrip(_OPENING), *tokens[start + 1 : start + _LONGEST_APART]]))
    in_row = start > 0 and tokens[start - 1][-1:].isdigit()
    return start if match is None or (match["thousands"] and in_row) else start + match.group().count(" ") + 1


def _is_mixed_fraction(tokens: Sequence[str], position: int) -> bool:
    """Whether the token after a number is the fraction of it: "1 1/2", "1 \u00bd"."""
    match = _FRACTION.fullmatch(tokens[position]) if position < len(tokens) else None
    if not match or not re.fullmatch(rf"[{DASHES}]?[1-9]\d{{0,2}}", tokens[position - 1]):
        return False
    return match.group(1) is None or int(match.group(1)) < int(match.group(2)) or int(match.group(2)) in _SMALL_SHARES


def _is_sign(tokens: Sequence[str], position: int, language: Language) -> bool:
    """Whether the token after a number is its sign or unit: "93 \u20ac", "75 %.", "5 kg"; "12 in" may be any twelve in a box."""
    sign = unicodedata.normalize("NFKC", tokens[position].strip(_CLOSING)) if position < len(tokens) else ""
    if not sign or sign in "%\u2030":
        return bool(sign)
    if not _AMOUNT.fullmatch(tokens[position - 1]):
        return False
    if sign.lower() in language.currencies:
        return not sign.isalpha() or sign.isupper()
    return (
        sign.lower() in language.units
        and sign.lower() not in _UNITS_THAT_ARE_WORDS
        and (len(sign) > 1 or not sign.isalpha() or sign in language.lone_units)
    )


def _read_group(tokens: Sequence[str], start: int, stop: int, language: Language, style: str) -> Lattice:
    written = " ".join(tokens[start:stop]).split()
    if not any(holds_digits(token) for token in written):
        return _read_word(tokens, start, language, style)
    core = written[0]
    for before, token in itertools.pairwise(written):
        core += f" {token}" if before[-1].isdigit() and holds_digits(token[0]) else token
    reader = FrenchReader if language.code == "fr" else Reader
    lattice = reader(language=language, style=style, context=_context_of(tokens, start, stop, language)).read(_plain(core))
    if lattice is None or not lattice.words:
        raise TextError(f"{' '.join(written)[:60]!r} cannot be read aloud in {language.code}")
    return lattice


def _read_word(tokens: Sequence[str], start: int, language: Language, style: str) -> Lattice:
    """Read a token without digits: marks alone are silent, digit words lose their hyphens, abbreviations beside a number are its words."""
    token = tokens[start]
    if not any(glyph.isalnum() for glyph in token):
        return _read_marks(tokens, start, language, style)
    parts = _DASHED.split(_bare(token))
    if len(parts) > 1 and all(part and is_digit_word(part) for part in parts):
        return fixed(parts)
    readers = (_read_month, _read_unit, _read_street) if style == "auto" else ()
    return next((found for read in readers if (found := read(tokens, start, language)) is not None), fixed([token]))


def _read_marks(tokens: Sequence[str], start: int, language: Language, style: str) -> Lattice:
    ways = language.mark_ways(tokens[start])
    if tokens[start] in _SPOKEN_ALONE and ways:
        return either(ways)
    if style != "auto" or start + 1 == len(tokens) or not holds_digits(tokens[start + 1]):
        return fixed([])
    return maybe(ways if tokens[start] == "/" else [(language.range_word,)] if tokens[start] in DASHES else [])


def _read_month(tokens: Sequence[str], start: int, language: Language) -> Lattice | None:
    """Read the "Jan" of "3 Jan" as its month."""
    bare = _bare(tokens[start]).lower()
    month = language.months_of.get(bare)
    if not month or month.lower() == bare:
        return None
    beside = (*tokens[max(0, start - 1) : start], *tokens[start + 1 : start + 2])
    return or_else(fixed([month]), fixed([tokens[start]])) if any(_DAY.fullmatch(_bare(one)) for one in beside) else None


def _read_unit(tokens: Sequence[str], start: int, language: Language) -> Lattice | None:
    """Read the "km" of "3 million km" as its unit, or as it stands."""
    bare = _bare(tokens[start]).lower()
    if not start or tokens[start - 1].lower() not in language.magnitudes or len(bare) < 2 or bare not in language.units:
        return None
    return or_else(fixed([tokens[start]]), fixed(language.units[bare][1].split()))


def _read_street(tokens: Sequence[str], start: int, language: Language) -> Lattice | None:
    """Read the "St." of "12 Main St." as its street, a lone letter rather as it stands."""
    token, bare = tokens[start], _bare(tokens[start])
    street = language.street_words.get(bare.lower()) if start and bare[:1].isupper() else None
    if not street or not any(holds_digits(one) for one in tokens[max(0, start - _STREET_WINDOW) : start]):
        return None
    mark = token[-1] if token[-1] in ",;:?!" else ""
    ways = either([(*way[:-1], way[-1] + mark) for way in street])
    has_name = len(bare) > 1 and (tokens[start - 1][0].isupper() or tokens[start - 1][:1].isdigit())
    return or_else(ways, fixed([token])) if has_name else or_else(fixed([token]), ways)


def _bare(token: str) -> str:
    """Return a token without the marks around it."""
    return token.strip(_OPENING + _CLOSING)


def _context_of(tokens: Sequence[str], start: int, stop: int, language: Language) -> Context:
    before = [_bare(token).lower() for token in tokens[max(0, start - _CODE_WINDOW) : start]]
    announced = itertools.takewhile(lambda word: word not in _BREAKS and not holds_digits(word), reversed(before))
    after = _bare(tokens[stop]).lower() if stop < len(tokens) else ""
    month = bool(before) and before[-1] in language.months
    dated = len(before) > 1 and before[-2] in language.months
    follows_number = bool(before) and before[-1].lstrip("+").isdigit()
    leads_number = tokens[stop - 1].rstrip(")]")[-1:].isdigit() and after[:1].isdigit()
    capitals = [glyph.isupper() for glyph in tokens[start - 1]] if start else []
    return Context(
        is_code=any(word in language.code_contexts for word in announced) or ((follows_number or leads_number) and not (dated or month)),
        is_year=bool(before) and (before[-1] in language.year_contexts or month or dated) and after not in language.units,
        is_day="after" if month else "before" if after in language.months else "",
        is_half_named=_HALVES.fullmatch(after) is not None,
        is_counted=bool(before) and is_digit_word(before[-1]),
        is_named=any(capitals[1:]) or (any(capitals) and start > 1),
    )


def _plain(text: str) -> str:
    """Strip outer marks but a sign or point before digits, map digits of every script and width to ASCII, take group spaces out."""
    text = text.lstrip(_OPENING + _SPACES + " ").rstrip(_CLOSING + _SPACES + " ")
    bare = text.lstrip(_LEADING_MARKS)
    sign = _SIGN.search(text[: len(text) - len(bare)])
    text = (sign.group() if sign else "") + bare
    text = re.sub(rf"(?<=\d)[{_SPACES}](?=\d{{3}}(?!\d))", " ", text)  # thousands
    text = re.sub(rf"(?<=\d)[{_SPACES}](?=\d)", "", text)
    text = re.sub(r"(?<=\d)(?=[\u00bc-\u00be\u2150-\u215e])", " ", text)
    text = unicodedata.normalize("NFKC", text.replace("\u00ba", "\u00b0"))
    return "".join(str(unicodedata.decimal(glyph)) if glyph.isdecimal() else glyph for glyph in text).strip()
