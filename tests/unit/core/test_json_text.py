"""JSON that could not be written again is refused on reading; all else is read as `json.loads` reads it."""

from __future__ import annotations

import json

import pytest

from stt_ft.core.json_yaml import parse_json


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", '{"a": -Infinity}', "1e999", '"\\ud800"', '{"\\uDC00": 1}'])
@pytest.mark.parametrize("as_bytes", [False, True])
def test_what_cannot_be_written_again_is_refused(text: str, as_bytes: bool) -> None:
    with pytest.raises(ValueError, match="it holds"):
        parse_json(text.encode() if as_bytes else text)


@pytest.mark.parametrize("value", [None, 1.5, 10**30, "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"), {"é": [1, -2e-7]}])
def test_everything_else_comes_back(value: object) -> None:
    assert parse_json(json.dumps(value)) == value
    assert parse_json(json.dumps(value, ensure_ascii=False).encode()) == value
