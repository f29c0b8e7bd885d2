"""A recording session at a desk with a scripted speaker: keep, retake, skip, quit, crash and resume."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from stt_ft.core.errors import DatasetError, DiskError
from stt_ft.corpus.prompt_script import PromptScript
from stt_ft.corpus.recording import Desk, Session, known_sessions, speaker_id
from stt_ft.dataset.manifest import Dataset
from stt_ft.text.prompts import PromptLine

RATE_HZ = 24_000
SCRIPT = PromptScript(language="en", prompts=tuple(PromptLine(prompt_id=f"p{number}", say=f"order {number}") for number in (1, 2, 3)))


class FakeTake:
    """A take whose sound is known."""

    level_db, peak = -20.0, 0.4

    def __init__(self, number: int, num_gaps: int = 0) -> None:
        self.number, self.num_gaps = number, num_gaps

    def samples(self) -> np.ndarray:
        return np.full(RATE_HZ, self.number / 100, dtype=np.float32)


class Speaker:
    """Types answers in turn, and counts takes and playbacks."""

    def __init__(self, *answers: str, num_gaps: int = 0) -> None:
        self.answers, self.num_gaps = list(answers), num_gaps
        self.num_takes = self.num_played = 0

    def read_line(self) -> str:
        if not self.answers:
            raise EOFError
        return self.answers.pop(0)

    @contextmanager
    def record(self) -> Iterator[FakeTake]:
        self.num_takes += 1
        yield FakeTake(self.num_takes, self.num_gaps)

    def play(self, samples: np.ndarray) -> None:
        self.num_played += 1


def session(path: Path, speaker: str = "Anna") -> Session:
    return Session.open(Dataset(path), SCRIPT, {"speaker": speaker, "room": "kitchen", "accent": ""}, sample_rate_hz=RATE_HZ)


def run(path: Path, *answers: str, start_at: int | None = None, num_gaps: int = 0) -> tuple[Session, Speaker, str]:
    opened, person, shown = session(path), Speaker(*answers, num_gaps=num_gaps), io.StringIO()
    console = Console(file=shown, width=80)
    Desk(opened, record=person.record, play=person.play, console=console, read_line=person.read_line).run(start_at)
    return opened, person, shown.getvalue()


def test_each_prompt_is_shown_recorded_played_and_kept(tmp_path: Path) -> None:
    opened, person, shown = run(tmp_path, *["", "", ""] * 3)
    assert [clip.path for clip in opened.data.clips()] == ["audio/anna_p1.wav", "audio/anna_p2.wav", "audio/anna_p3.wav"]
    assert (person.num_takes, person.num_played) == (3, 3)
    assert "order 2" in shown
    clip = opened.data.clips()[0]
    assert clip.extra == {"speaker": "anna", "prompt_id": "p1", "kind": "number", "script": "order 1"}
    assert opened.data.read_sidecar(clip).script == "order 1"
    assert opened.missing() == []


def test_lost_sound_is_told(tmp_path: Path) -> None:
    assert "sound was lost" in run(tmp_path, "", "", "", "q", num_gaps=1)[2]
    assert "sound was lost" not in run(tmp_path, "", "", "", "q")[2]


def test_retake_replay_and_skip(tmp_path: Path) -> None:
    opened, person, _ = run(tmp_path, "", "", "r", "", "", "p", "k", "", "", "s", "s", "q")
    assert person.num_takes == 3
    assert person.num_played == 4
    assert [prompt.prompt_id for _, prompt in opened.missing()] == ["p2", "p3"]


def test_quitting_loses_nothing_and_the_next_start_goes_on(tmp_path: Path) -> None:
    run(tmp_path, "", "", "", "q")
    opened, person, _ = run(tmp_path, *["", "", ""] * 2)
    assert person.num_takes == 2
    assert len(opened.data.clips()) == 3


def test_the_end_of_input_is_a_quit(tmp_path: Path) -> None:
    opened, _, _ = run(tmp_path, "", "", "")
    assert len(opened.data.clips()) == 1


def test_start_at_reads_a_prompt_again(tmp_path: Path) -> None:
    run(tmp_path, *["", "", ""] * 3)
    opened, _, _ = run(tmp_path, "", "", "", "q", start_at=2)
    assert len(opened.data.clips()) == 3
    with pytest.raises(DatasetError, match="--start_at 9: the script has prompts 1 to 3"):
        opened.missing(9)


def test_a_take_whose_manifest_line_was_lost_is_taken_up(tmp_path: Path) -> None:
    run(tmp_path, "", "", "", "q")
    (tmp_path / "train.jsonl").unlink()
    assert [clip.path for clip in session(tmp_path).data.clips()] == ["audio/anna_p1.wav"]
    (tmp_path / "train.jsonl").unlink()
    (tmp_path / "audio" / "anna_p1.wav").write_bytes(b"half")
    assert len(session(tmp_path).missing()) == 3


def test_a_retake_replaces_the_line_in_its_split(tmp_path: Path) -> None:
    opened = session(tmp_path)
    opened.keep(SCRIPT.prompts[0], np.zeros(RATE_HZ, dtype=np.float32))
    (tmp_path / "train.jsonl").rename(tmp_path / "heldout.jsonl")
    opened.keep(SCRIPT.prompts[0], np.zeros(2 * RATE_HZ, dtype=np.float32))
    assert [clip.duration_s for clip in opened.data.clips("heldout")] == [2.0]
    assert opened.data.splits() == ["heldout"]


def test_metadata_is_kept_once_a_session(tmp_path: Path) -> None:
    for speaker in ("Anna", "Anna", "Bo"):
        opened = session(tmp_path, speaker)
    assert known_sessions(opened.data) == [{"speaker": "Anna", "room": "kitchen"}, {"speaker": "Bo", "room": "kitchen"}]


def test_a_speaker_without_letters_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="'!!'"):
        session(tmp_path, "!!")


@pytest.mark.parametrize("name", ["", "  ", "!!"])
def test_a_speaker_that_names_no_file_leaves_the_dataset_as_it_was(tmp_path: Path, name: str) -> None:
    with pytest.raises(DatasetError, match="needs a letter"):
        session(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "plain"), [("Anna Müller", "anna-muller"), ("Zoé", "zoe"), ("  B. O. ", "b-o"), ("Łukasz 2", "ukasz-2")])
def test_speakers_keep_their_letters_in_file_names(name: str, plain: str) -> None:
    assert speaker_id(name) == plain


def test_a_script_in_another_language_is_refused(tmp_path: Path) -> None:
    opened = session(tmp_path)
    opened.data.write_info({**opened.data.info(), "language": "fr"})
    with pytest.raises(DatasetError, match="its language is fr, the script's is en"):
        session(tmp_path)


def test_a_take_without_a_single_sample_is_never_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeTake, "samples", lambda take: np.zeros(0 if take.number == 1 else RATE_HZ, dtype=np.float32))
    opened, person, shown = run(tmp_path, "", "", "", "", "", "", "q")
    assert "no sound at all" in shown
    assert (person.num_takes, person.num_played) == (2, 1)
    assert [clip.duration_s for clip in opened.data.clips()] == [1.0]


def test_the_speaker_stands_under_every_prompt(tmp_path: Path) -> None:
    _, _, shown = run(tmp_path, "q")
    assert "anna" in shown


def test_a_take_that_the_disk_refuses_is_kept_once_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A take cannot be had again as it was: where the disk is full it waits, and is asked for again."""
    keep, refused = Session.keep, iter([True, True, False, True])

    def full_at_first(self: Session, *take: Any) -> Any:
        if next(refused):
            raise DiskError("audio/x.wav: cannot be written to: No space left on device")
        return keep(self, *take)

    monkeypatch.setattr(Session, "keep", full_at_first)
    opened, person, shown = run(tmp_path, "", "", "", "", "", "", "", "", "q")
    assert [clip.path for clip in opened.data.clips()] == ["audio/anna_p1.wav"]
    assert person.num_takes == 2
    assert shown.count("No space left on device") == 3
