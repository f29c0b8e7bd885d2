"""The form in which transcripts are compared: lower case, no punctuation, and every number as it was written.

Whisper's EnglishTextNormalizer turns "one two nine" into "129" and so hides the very thing that this project changes. Here words stay words
and glyphs stay glyphs: "one two nine" and "129" are different, and count as errors against each other.
"""

from __future__ import annotations

import re
import unicodedata

_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_DECIMAL_COMMA = re.compile(r"(?<=\d),(?=\d)")
_APOSTROPHES = re.compile("[\u2018\u2019\u02bc\u0060\u00b4\uff07]")
_WORD = re.compile(r"(?:\d+(?:\.\d+)+)|(?:[^\W_]|[\u0300-\u036f])+(?:'(?:[^\W_]|[\u0300-\u036f])+)*'?")


def scoring_words(text: str) -> list[str]:
    """Return the words of `text` for comparison. Hyphens and other marks part words; apostrophes inside a word stay; "1,296" is "1296"."""
    text = _APOSTROPHES.sub("'", unicodedata.normalize("NFKC", text).lower())
    text = _DECIMAL_COMMA.sub(".", _THOUSANDS.sub("", text))
    return [word.rstrip("'") for word in _WORD.findall(text)]
