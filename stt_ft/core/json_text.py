"""JSON from files that anybody may have written: what cannot be written again is refused on reading."""

from __future__ import annotations

import json
import math
from typing import Any


def parse_json(content: bytes | str) -> Any:
    """Return the value of `content`; raises `ValueError` (or `RecursionError`) for anything that is not JSON.

    Stricter than `json.loads`: NaN, infinity, numbers beyond a double, and halves of a surrogate pair are refused. All of them would only
    fail later, when the value is written.
    """
    value = json.loads(content, parse_constant=_refuse, parse_float=_finite)
    lowered = content.lower()
    if (b"\\ud" in lowered) if isinstance(lowered, bytes) else ("\\ud" in lowered):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("it holds half of a surrogate pair (\\ud800 to \\udfff), which is no character") from None
    return value


def _refuse(constant: str) -> float:
    raise ValueError(f"it holds {constant}, which is no JSON number")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse(text)
