"""English pronunciations for words that the dictionary lacks: whole if a rule gives one, else by letter-to-sound rules.

The rules need not be right, only near: an aligner that knows the words needs their rough shape. Phones are those of CMUdict (ARPABET
without stress).
"""

from __future__ import annotations

import unicodedata

LETTERS = {
    "a": "EY", "b": "B IY", "c": "S IY", "d": "D IY", "e": "IY", "f": "EH F", "g": "JH IY", "h": "EY CH", "i": "AY", "j": "JH EY",
    "k": "K EY", "l": "EH L", "m": "EH M", "n": "EH N", "o": "OW", "p": "P IY", "q": "K Y UW", "r": "AA R", "s": "EH S", "t": "T IY",
    "u": "Y UW", "v": "V IY", "w": "D AH B AH L Y UW", "x": "EH K S", "y": "W AY", "z": "Z IY",
}  # fmt: skip
"""How single letters are said when spelled out."""

_SOUNDS = {
    "tch": "CH", "sch": "SH", "igh": "AY", "eigh": "EY", "ough": "AO", "augh": "AO", "tion": "SH AH N", "sion": "ZH AH N",
    "ture": "CH ER", "cious": "SH AH S", "tious": "SH AH S", "dge": "JH", "qu": "K W", "ch": "CH", "sh": "SH", "th": "TH", "ph": "F",
    "wh": "W", "ck": "K", "ng": "NG", "nk": "NG K", "gh": "G", "kn": "N", "wr": "R", "ps": "P S", "ee": "IY", "ea": "IY", "oo": "UW",
    "ou": "AW", "ow": "OW", "oa": "OW", "oi": "OY", "oy": "OY", "ai": "EY", "ay": "EY", "au": "AO", "aw": "AO", "ei": "EY", "ey": "IY",
    "ie": "IY", "ew": "Y UW", "ue": "UW", "ui": "UW", "ar": "AA R", "er": "ER", "ir": "ER", "ur": "ER", "or": "AO R", "ce": "S EH",
    "ci": "S IH", "cy": "S IY", "ge": "JH EH", "gi": "JH IH", "a": "AE", "b": "B", "c": "K", "d": "D", "e": "EH", "f": "F", "g": "G",
    "h": "HH", "i": "IH", "j": "JH", "k": "K", "l": "L", "m": "M", "n": "N", "o": "AA", "p": "P", "q": "K", "r": "R", "s": "S",
    "t": "T", "u": "AH", "v": "V", "w": "W", "x": "K S", "y": "IY", "z": "Z",
}  # fmt: skip
_LONG_VOWELS = {"a": "EY", "e": "IY", "i": "AY", "o": "OW", "u": "UW"}
_LONGEST = max(map(len, _SOUNDS))
_CONSONANTS = frozenset("bcdfghjklmnpqrstvwxz")


def by_rule(word: str) -> str | None:
    """Return phones for `word` by letter-to-sound rules, or None when it holds anything but Latin letters and apostrophes."""
    letters = "".join(glyph for glyph in unicodedata.normalize("NFKD", word.lower()) if not unicodedata.combining(glyph)).replace("'", "")
    if not letters or any(letter not in LETTERS for letter in letters):
        return None
    if len(letters) == 1:
        return LETTERS[letters]
    if not set(letters) & set("aeiouy"):
        return " ".join(LETTERS[letter] for letter in letters)
    phones: list[str] = []
    position = 0
    while position < len(letters):
        step, sound = _sound_at(letters, position)
        phones += sound.split()
        position += step
    return " ".join(phones)


def _sound_at(letters: str, position: int) -> tuple[int, str]:
    """Return how many letters are taken at `position` and the phones they make."""
    rest = letters[position:]
    if rest == "e" and position > 1:
        return 1, ""
    if len(rest) >= 2 and rest[0] == rest[1] and rest[0] in _CONSONANTS:
        return 2, _SOUNDS[rest[0]]
    if len(rest) == 3 and rest[0] in _LONG_VOWELS and rest[1] in _CONSONANTS and rest[2] == "e":
        return 3, f"{_LONG_VOWELS[rest[0]]} {_SOUNDS[rest[1]]}"
    for length in range(min(_LONGEST, len(rest)), 0, -1):
        if rest[:length] in _SOUNDS:
            return length, _SOUNDS[rest[:length]]
    raise AssertionError(f"no rule for {rest!r}")
