"""check on a dataset: clean means exit 0, every planted fault is found in one run, and a page shows it all."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from stt_ft.audio.files import write_wav
from stt_ft.core.errors import CheckFailed, ConfigError
from stt_ft.corpus.inspecting import inspect
from stt_ft.dataset.manifest import Dataset
from stt_ft.model.checkpoint_dir import ModelDir
from stt_ft.stages.dataset import check
from stt_ft.stages.words import convert


@pytest.fixture(scope="module")
def converted_once(annotated_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    recorded = Path(shutil.copytree(annotated_once, tmp_path_factory.mktemp("converted") / "dataset"))
    convert(str(recorded))
    for path in (recorded / "audio").glob("*.json"):  # what sphinx doubts or misplaces here is one test's matter
        sidecar = json.loads(path.read_text())
        for doubts in ("doubtful", "times_by"):
            sidecar.pop(doubts, None)
        path.write_text(json.dumps(sidecar))
    return recorded


@pytest.fixture
def ready(converted_once: Path, tmp_path: Path) -> Path:
    """A copy of the converted takes that a test may change."""
    return Path(shutil.copytree(converted_once, tmp_path / "dataset"))


def found_in(directory: Path, model: ModelDir | None = None) -> set[tuple[str, str]]:
    problems = inspect(Dataset.open(directory), base=None if model is None else str(model.directory))
    return {(Path(problem.clip_id).stem, problem.kind) for problem in problems}


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_good_dataset_has_no_problems(ready: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(str(ready))
    said = capsys.readouterr().err
    assert "12 clips, no problems" in said
    assert "no --base given" in said


def test_a_doubtful_reading_is_told_with_both_readings_and_its_times_and_fails_nothing(
    ready: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = ready / "audio" / "train_number_008.json"
    words = json.loads(path.read_text())["alignments"]
    edit(path, doubtful=[{"start": 0, "stop": 2, "reading": "twelve oh four", "lead": 0.7}])
    check(str(ready))
    said = capsys.readouterr().err
    both = (
        f"reading: '{words[0][0]} {words[1][0]}' at {words[0][1][0]:.2f}-{words[1][1][1]:.2f} s may have been 'twelve oh four' (lead 0.7)"
    )
    assert both in said
    assert "12 clips, no problems" in said


def test_every_planted_fault_is_found_in_one_run(ready: Path, capsys: pytest.CaptureFixture[str]) -> None:
    audio = ready / "audio"
    (audio / "train_number_001.wav").unlink()
    (audio / "train_number_002.json").unlink()
    edit(audio / "train_number_003.json", alignments=[["1296803", [0.1, 0.9], "SPEAKER_MAIN"]])
    write_wav(audio / "train_number_004.wav", np.zeros(48000, dtype=np.float32))
    edit(audio / "train_number_005.json", alignments="none")
    shutil.copy(audio / "train_number_006.wav", audio / "train_number_007.wav")
    with pytest.raises(CheckFailed, match=r"\d+ problems in 6 of 12 clips") as failed:
        check(str(ready), json=True)
    assert failed.value.exit_code == 1
    problems = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = {(Path(problem["clip"]).stem, problem["kind"]) for problem in problems}
    assert found >= {
        ("train_number_001", "audio"), ("train_number_002", "sidecar"), ("train_number_003", "digits_left"), ("train_number_004", "silent"),
        ("train_number_005", "sidecar"), ("train_number_007", "duplicate"),
    }  # fmt: skip


def test_words_without_room_on_the_text_stream_are_found(ready: Path, tiny_model: ModelDir) -> None:
    assert not found_in(ready, tiny_model)
    sidecar = ready / "audio" / "train_number_001.json"
    last = json.loads(sidecar.read_text())["alignments"][-1]
    edit(sidecar, alignments=[["x" * 200, *last[1:]]])
    assert ("train_number_001", "no_room") in found_in(ready, tiny_model)


@pytest.mark.parametrize("text", ["один", "café", "order;", "🙂"])
def test_letters_that_the_tokenizer_lacks_are_told_with_their_place(
    ready: Path, tiny_model: ModelDir, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    """Their token is 0, which on the text stream ends the padding."""
    assert 0 in tiny_model.tokenizer.encode(text)
    sidecar = ready / "audio" / "train_number_001.json"
    words = json.loads(sidecar.read_text())["alignments"]
    edit(sidecar, alignments=[[text, *words[0][1:]], *words[1:]], script=None, written=None)
    assert ("train_number_001", "unknown_letters") not in found_in(ready)
    with pytest.raises(CheckFailed):
        check(str(ready), base="tiny")
    start_s, end_s = words[0][1]
    said = capsys.readouterr().err
    assert f"train_number_001.wav: unknown_letters: word {text!r} holds " in said
    assert f"(at {start_s:.3f}-{end_s:.3f} s)" in said


def test_the_tail_that_training_sees_decides_whether_words_find_room(ready: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = Dataset.open(ready).clips("train")[0]
    last = ["antidisestablishmentarianism", [clip.duration_s - 0.2, clip.duration_s - 0.1], "SPEAKER_MAIN"]
    edit((ready / clip.path).with_suffix(".json"), alignments=[last])
    kinds = []
    for tail_s in (2.5, 0.0):
        with contextlib.suppress(CheckFailed):
            check(str(ready), base="tiny", tail_s=tail_s, json=True)
        told = map(json.loads, capsys.readouterr().out.splitlines())
        kinds.append({problem["kind"] for problem in told if problem["clip"] == clip.path})
    assert kinds[1] - kinds[0] == {"no_room"}


def test_splits_made_by_number_may_share_a_speaker(ready: Path) -> None:
    lines = [json.loads(line) for line in (ready / "heldout.jsonl").read_text().splitlines()]
    speaker = json.loads((ready / "train.jsonl").read_text().splitlines()[0])["speaker"]
    (ready / "heldout.jsonl").write_text("".join(json.dumps({**line, "speaker": speaker}) + "\n" for line in lines))
    assert {kind for _, kind in found_in(ready)} == {"split_speaker"}
    (ready / "dataset.yaml").write_text("splits: {by: number}\n")
    assert found_in(ready) == set()


def test_a_page_is_written_whether_there_are_problems_or_not(ready: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(str(ready), html=str(tmp_path / "pages" / "clean.html"))
    assert "No problems in 12 clips" in (tmp_path / "pages" / "clean.html").read_text()
    (ready / "audio" / "train_number_001.wav").unlink()
    with pytest.raises(CheckFailed):
        check(str(ready), html=str(tmp_path / "faulty.html"))
    assert "1 problem in 1 of 12 clips" in (tmp_path / "faulty.html").read_text()
    assert "faulty.html: open it in a browser" in capsys.readouterr().err


def test_a_page_under_another_name_is_refused_before_anything_is_read(ready: Path) -> None:
    with pytest.raises(ConfigError, match=r"--html page: expected the name of a file that ends in \.html"):
        check(str(ready), html="page")
