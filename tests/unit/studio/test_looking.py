"""The studio's Look through as its page asks it: an edit changes its sidecar and nothing else, and all of it can be taken back."""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running_studio import RunningStudio, running_studio

from stt_ft.align.sidecars import corrected
from stt_ft.audio.files import write_wav
from stt_ft.core.steps import Step, run_steps
from stt_ft.dataset.manifest import Clip, Dataset
from stt_ft.dataset.sidecar import Sidecar, Word
from stt_ft.stages.words import convert
from stt_ft.studio import looking

FIRST = "audio/take_0.wav"


def words(*texts: str) -> tuple[Word, ...]:
    return tuple(Word(text=text, start_s=0.1 + 0.3 * place, end_s=0.3 + 0.3 * place) for place, text in enumerate(texts))


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    """Three clips in train and one in heldout, and a file beside the dataset that is none of its."""
    data, rng = Dataset(tmp_path / "orders"), np.random.default_rng(1)
    clips = [Clip(path=f"audio/take_{index}.wav", duration_s=1.0, extra={"speaker": f"voice{index}"}) for index in range(4)]
    for clip in clips:
        write_wav(data.audio_path(clip), rng.standard_normal(24_000) * 0.1)
        data.write_sidecar(clip, Sidecar(alignments=words("order", "415", "please"), extra={"confidence": [0.9, 0.4, 0.8]}))
    data.write_clips("train", clips[:3])
    data.write_clips("heldout", clips[3:])
    write_wav(tmp_path / "secret.wav", np.zeros(24_000))
    return data


@pytest.fixture
def studio(data: Dataset) -> Iterator[RunningStudio]:
    with running_studio(data.directory) as running:
        yield running


def contents(data: Dataset) -> dict[str, str]:
    """Return the hash of every file of the dataset but the studio's own."""
    files = [path for path in data.directory.rglob("*") if path.is_file() and ".studio" not in path.parts]
    return {str(path.relative_to(data.directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def shown(studio: RunningStudio) -> dict[str, dict[str, Any]]:
    return {clip["clip"]: clip for clip in studio.ask("GET", "api/look").json()["clips"]}


def edit(studio: RunningStudio, **changes: Any) -> Any:
    clip = shown(studio)[FIRST]
    asked = {"clip": FIRST, "version": clip["version"], "at": 1, "old": 1, "words": [["416", 0.4, 0.6]], **changes}
    return studio.ask("POST", "api/look/words", asked)


def listened(studio: RunningStudio) -> bool:
    """Ask for the list, as the page does whenever the listening has ended, and wait for that end; return whether it had ended before."""
    shown(studio)
    was_done = is_done = studio.ask("GET", "api/look/progress").json()["done"]
    end_s = time.monotonic() + 30
    while not is_done:
        assert time.monotonic() < end_s, "not all is listened to"
        time.sleep(0.05)
        is_done = studio.ask("GET", "api/look/progress").json()["done"]
    return was_done


def test_sounds_are_listened_to_once_and_anew_after_a_change(studio: RunningStudio, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that asked for the list at the end of the listening began it again, for ever, and was drawn anew every two seconds."""
    monkeypatch.setattr(looking, "LISTENS_AFTER_S", 0.1)
    assert [listened(studio) for _ in range(3)] == [False, True, True]
    assert edit(studio).status_code == 200
    assert [listened(studio) for _ in range(2)] == [False, True]


def test_an_edit_changes_exactly_its_sidecar_and_undo_gives_the_bytes_back(studio: RunningStudio, data: Dataset) -> None:
    before = contents(data)
    answer = edit(studio).json()
    after = contents(data)
    assert [word[0] for word in answer["clip"]["words"]] == ["order", "416", "please"]
    assert {name for name in before | after if before.get(name) != after.get(name)} == {"audio/take_0.json"}
    with running_studio(data.directory) as restarted:
        assert restarted.ask("POST", "api/look/undo", {}).json()["did"] == {"kind": "words", "clip": FIRST}
        assert contents(data) == before
        assert restarted.ask("POST", "api/look/redo", {}).status_code == 200
    assert contents(data) == after


@pytest.mark.parametrize("where", ["aside", "bin"])
def test_a_clip_put_away_is_kept_whole_and_comes_back_to_its_place(studio: RunningStudio, data: Dataset, where: str) -> None:
    before = contents(data)
    second = "audio/take_1.wav"
    assert studio.ask("POST", "api/look/away", {"clip": second, "where": where}).status_code == 200
    assert [clip.path for clip in data.clips("train")] == [FIRST, "audio/take_2.wav"]
    assert not (data.directory / second).exists()
    away = shown(studio)[second]
    assert away["away"] == where
    assert len(studio.ask("GET", f"api/look/sound?number={away['number']}").content) > 48_000
    edit(studio)  # what is done meanwhile stays
    studio.ask("POST", "api/look/undo", {})
    assert studio.ask("POST", "api/look/undo", {"number": away["number"]}).status_code == 200
    assert contents(data) == before


def test_a_clip_does_not_come_back_over_a_newer_one_of_its_name(studio: RunningStudio, data: Dataset) -> None:
    studio.ask("POST", "api/look/away", {"clip": FIRST, "where": "bin"})
    write_wav(data.directory / FIRST, np.ones(2400) * 0.1)
    newer = contents(data)
    refused = studio.ask("POST", "api/look/undo", {})
    assert refused.status_code == 409
    assert "another clip has this name" in refused.json()["error"]
    assert contents(data) == newer


@pytest.mark.parametrize("name", ["../secret.wav", "audio/../../secret.wav", "/etc/passwd", "audio/take_9.wav", "", ".studio/secret"])
def test_names_that_are_no_clip_are_refused(studio: RunningStudio, data: Dataset, name: str) -> None:
    before = contents(data)
    assert studio.ask("GET", "api/look/sound", params={"clip": name}).status_code == 404
    assert studio.ask("GET", "api/look/outline", params={"clip": name}).status_code == 404
    assert edit(studio, clip=name).status_code == 404
    assert studio.ask("POST", "api/look/away", {"clip": name, "where": "bin"}).status_code == 404
    assert contents(data) == before


def test_a_manifest_that_names_a_file_elsewhere_leads_nowhere(studio: RunningStudio, data: Dataset, tmp_path: Path) -> None:
    line = json.dumps({"path": "../secret.wav", "duration": 1.0})
    with data.manifest_path("train").open("a") as manifest:
        manifest.write(line + "\n")
    assert studio.ask("GET", "api/look/sound", params={"clip": "../secret.wav"}).status_code == 409
    assert studio.ask("POST", "api/look/away", {"clip": "../secret.wav", "where": "bin"}).status_code == 409
    assert (tmp_path / "secret.wav").is_file()


def test_of_two_edits_at_once_one_is_refused(studio: RunningStudio, data: Dataset) -> None:
    version = shown(studio)[FIRST]["version"]

    def send(text: str) -> int:
        asked = {"clip": FIRST, "version": version, "at": 1, "old": 1, "words": [[text, 0.4, 0.6]]}
        return studio.ask("POST", "api/look/words", asked).status_code

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        told = sorted(pool.map(send, ["416", "417", "418", "419"]))
    assert told == [200, 409, 409, 409]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"words": [["416", 0.4, 2.5]]}, "outside the clip"),
        ({"words": [["416", 0.6, 0.4]]}, "lasts no time"),
        ({"words": [["416", 0.05, 0.6]]}, "comes before"),
        ({"words": [["", 0.4, 0.6]]}, "empty"),
        ({"words": [["…", 0.4, 0.6]]}, "a mark"),
        ({"words": [["416", "soon", 0.6]]}, "is not"),
        ({"words": [["416", "1e999", 0.6]]}, "times"),
        ({"at": 7}, "3 words by now"),
        ({"at": -1}, "3 words by now"),
    ],
)
def test_words_that_no_model_could_learn_from_are_refused(studio: RunningStudio, data: Dataset, changes: Any, told: str) -> None:
    before = contents(data)
    refused = edit(studio, **changes)
    assert refused.status_code == 409
    assert told in refused.json()["error"]
    assert contents(data) == before


def test_a_sidecar_changed_by_others_is_left_alone_by_undo(studio: RunningStudio, data: Dataset) -> None:
    edit(studio)
    path = data.directory / "audio/take_0.json"
    path.write_text(path.read_text().replace("416", "417"))
    refused = studio.ask("POST", "api/look/undo", {})
    assert refused.status_code == 409
    assert "changed by something else" in refused.json()["error"]
    assert "417" in path.read_text()
    assert studio.ask("GET", "api/look").json()["undo"] is None


def test_a_change_makes_later_stages_stale_and_undo_too(studio: RunningStudio, data: Dataset, tmp_path: Path) -> None:
    ran = []
    steps = [Step(name="encode", action=lambda: ran.append("encode"), inputs=data.files)]
    for change in (lambda: None, lambda: edit(studio), lambda: studio.ask("POST", "api/look/undo", {})):
        change()
        run_steps(steps, tmp_path / "records")
    run_steps(steps, tmp_path / "records")
    assert len(ran) == 3
    studio.ask("POST", "api/look/away", {"clip": FIRST, "where": "aside"})
    run_steps(steps, tmp_path / "records")
    assert len(ran) == 4


def test_convert_leaves_corrected_words_alone_and_converts_what_was_corrected_before(studio: RunningStudio, data: Dataset) -> None:
    edit(studio)
    convert(data.directory, realign=False)
    clip = data.clips("train")[0]
    assert [word.text for word in data.read_sidecar(clip).alignments] == ["order", "four", "one", "six", "please"]
    edit(studio, at=3, words=[["five", *[shown(studio)[FIRST]["words"][3][place] for place in (1, 2)]]])
    convert(data.directory, realign=False)
    assert [word.text for word in data.read_sidecar(clip).alignments] == ["order", "four", "one", "five", "please"]


def test_what_was_heard_for_a_word_does_not_outlive_its_correction() -> None:
    heard = [["four", [0.4, 0.45]], ["one", [0.45, 0.5]], ["five", [0.5, 0.6]]]
    extra = {"confidence": [0.9, 0.4, 0.8], "spoken": [None, heard, None], "mismatch": {"heard": "x"}}
    sidecar = Sidecar(alignments=words("order", "415", "please"), extra=extra)
    assert corrected(sidecar, 1, 2, words("416")).extra == {"confidence": [0.9, 1.0, 0.8], "spoken": [None, None, None]}
    assert corrected(sidecar, 0, 1, ()).extra == {"confidence": [0.4, 0.8], "spoken": [heard, None]}


def test_doubts_move_with_their_words_and_end_where_somebody_has_listened() -> None:
    doubts = [{"start": 1, "stop": 3, "reading": "x", "lead": 1.0}, {"start": 4, "stop": 5, "reading": "y", "lead": 1.0}]
    sidecar = Sidecar(alignments=words("a", "b", "c", "d", "e"), written=words("w"), extra={"doubtful": doubts})
    assert corrected(sidecar, 0, 1, ()).extra["doubtful"] == [{**doubts[0], "start": 0, "stop": 2}, {**doubts[1], "start": 3, "stop": 4}]
    assert corrected(sidecar, 2, 3, words("c")).extra["doubtful"] == [doubts[1]]


def test_two_sounds_that_share_a_sidecar_are_parted_without_loss(studio: RunningStudio, data: Dataset) -> None:
    twin = Clip(path="audio/take_0.flac", duration_s=1.0)
    os.link(data.directory / FIRST, data.directory / twin.path)
    data.write_clips("train", [*data.clips("train"), twin])
    before = contents(data)
    studio.ask("POST", "api/look/away", {"clip": FIRST, "where": "bin"})
    assert (data.directory / "audio/take_0.json").is_file()
    studio.ask("POST", "api/look/undo", {})
    assert contents(data) == before
