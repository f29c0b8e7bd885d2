"""The page of a dataset marks the numbers that are dictated, in pairs or letters too, among the words of all speakers."""

from __future__ import annotations

from pathlib import Path

import pytest

from stt_ft.corpus.problems import Problem
from stt_ft.dataset.manifest import Clip, Dataset
from stt_ft.dataset.sidecar import Sidecar, Word
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


def test_of_many_clips_the_gravest_have_a_card_and_all_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = Dataset(tmp_path)
    clips = [Clip(path=f"audio/{at:02d}.wav", duration_s=30.0, extra={"speaker": f"s{at % 3}"}) for at in range(40)]
    for at, clip in enumerate(clips):
        words = (Word(text="hello", start_s=0.0, end_s=1.0),)
        data.write_sidecar(clip, Sidecar(alignments=words, extra={"confidence": [0.9 if at != 7 else 0.1]}))
    data.write_clips("train", clips)
    problems = [Problem(clip_id=clip.path, kind="audio", message="missing") for clip in clips[20:]]
    problems.append(Problem(clip_id=clips[3].path, kind="clipped", message="loud"))
    told: dict = {}
    monkeypatch.setattr("stt_ft.pages.dataset_page.render_page", lambda *names, **given: told.update(given) or "")
    monkeypatch.setattr("stt_ft.pages.offline_page.MAX_CARDS", 5)
    write_dataset_page(tmp_path / "page.html", data, problems)
    shown = [card["clip"] for card in told["data"]["clips"]]
    assert len(shown) == told["num_cards"] == 5
    assert {clips[20].path, clips[3].path, clips[7].path} < set(shown)  # a kind each, and the word of which the aligner was least sure
    assert told["data"]["counts"] == {"all": 40, "faulty": 21, "kinds": {"audio": 20, "clipped": 1}}
    assert (told["num_clips"], told["num_problems"], told["duration"]) == (40, 21, "20 min")
    assert told["splits"][0]["num_speakers"] == 3
