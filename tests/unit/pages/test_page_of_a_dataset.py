"""The page of a dataset marks the numbers that are dictated, in pairs or letters too, among the words of all speakers."""

from __future__ import annotations

from pathlib import Path

import pytest

from stt_ft.core.manifest import Clip, Dataset, Sidecar, Word
from stt_ft.pages.dataset_page import write_dataset_page


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("code seven eighty eight please", [[1, 4]]),
        ("le zéro six douze trente quatre merci", [[1, 6]]),
        ("code a one b two c three", [[1, 7]]),
        ("hello code one two three", [[2, 5]]),
        ("hello code one AGENT:hm two three", [[2, 6]]),
        ("AGENT:one AGENT:two AGENT:three", []),
    ],
)
def test_numbers_are_marked_where_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, numbers: list[list[int]]) -> None:
    said = [one.rpartition(":") for one in text.split()]
    words = [
        Word(text=word, start_s=at * 0.3, end_s=at * 0.3 + 0.2, speaker=speaker or "SPEAKER_MAIN")
        for at, (speaker, _, word) in enumerate(said)
    ]
    data, clip = Dataset(tmp_path), Clip(path="audio/a.wav", duration_s=3.0)
    data.write_sidecar(clip, Sidecar(alignments=tuple(words)))
    data.write_clips("train", [clip])
    told: dict = {}
    monkeypatch.setattr("stt_ft.pages.dataset_page.render_page", lambda *names, **given: told.update(given) or "")
    write_dataset_page(tmp_path / "page.html", data, [])
    assert told["data"]["clips"][0]["numbers"] == numbers
