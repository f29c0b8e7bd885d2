"""What the dataset says of its language is believed, unless the user says otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from stt_ft.dataset.manifest import Dataset
from stt_ft.text.spoken_forms import LANGUAGES


@pytest.mark.parametrize(
    ("info", "asked", "language"),
    [({}, None, "en"), ({"language": "fr"}, None, "fr"), ({"language": "fr"}, "en", "en"), ({"language": "en_US"}, None, "en")],
)
def test_asked_for_then_known_then_english(tmp_path: Path, info: dict[str, str], asked: str | None, language: str) -> None:
    data = Dataset(tmp_path)
    data.write_info({"name": "x", **info})
    assert data.language(asked) == language


@pytest.mark.parametrize(("known", "language"), [("fr-BE", "fr-be"), ("fr-CA", "fr"), ("en-GB", "en")])
def test_dialects_are_kept_where_they_are_told_apart(tmp_path: Path, known: str, language: str) -> None:
    data = Dataset(tmp_path)
    data.write_info({"language": known})
    assert data.language(choices=LANGUAGES) == language
