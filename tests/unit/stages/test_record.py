"""record as a command: new scripts, refusals before anything is written."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from stt_ft.core.errors import AudioError, ConfigError, DatasetError
from stt_ft.dataset.manifest import Dataset
from stt_ft.stages.recordings import _metadata, record


def test_make_script_writes_a_script(tmp_path: Path) -> None:
    record(make_script="digits", count=20, seed=3, script=str(tmp_path / "new.yaml"))
    assert len(yaml.safe_load((tmp_path / "new.yaml").read_text())["prompts"]) == 20


def test_make_script_without_a_file_goes_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    record(make_script="digits", count=2, language="fr")
    assert yaml.safe_load(capsys.readouterr().out)["language"] == "fr"


def test_what_is_missing_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--script FILE and --out DATASET"):
        record(out=str(tmp_path / "out"))
    with pytest.raises(DatasetError, match=r"missing\.yaml: no such prompt script"):
        record(script=str(tmp_path / "missing.yaml"), out=str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_prompt_that_is_not_there_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    record(make_script="digits", count=3, script=str(tmp_path / "new.yaml"))
    for start_at in (0, 4):
        with pytest.raises(DatasetError, match=f"--start_at {start_at}: the script has prompts 1 to 3"):
            record(script=str(tmp_path / "new.yaml"), out=str(tmp_path / "out"), speaker="Anna", start_at=start_at)
    assert not (tmp_path / "out").exists()


def test_without_portaudio_nothing_is_asked_or_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(make_script="digits", count=3, script=str(tmp_path / "new.yaml"))
    monkeypatch.setitem(sys.modules, "sounddevice", None)

    def missing() -> None:
        raise AudioError("no access to sound devices (PortAudio library not found)")

    monkeypatch.setattr("stt_ft.audio.microphone._sounddevice", missing)
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a prompt was shown"))
    with pytest.raises(AudioError, match="no access to sound devices"):
        record(script=str(tmp_path / "new.yaml"), out=str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_new_script_takes_no_other_files_place(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    record(make_script="digits", count=3, seed=1, script=str(path))
    record(make_script="digits", count=3, seed=1, script=str(path))
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="another file of this name"):
        record(make_script="digits", count=3, seed=2, script=str(path))
    assert path.read_bytes() == before


def test_the_speaker_is_asked_for_until_the_answer_can_name_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["", "?", "Zoé", "headset", "", ""])
    monkeypatch.setattr("builtins.input", lambda *_: next(answers))
    shown = io.StringIO()
    assert _metadata(Dataset(Path("none")), None, Console(file=shown)) == {
        "speaker": "Zoé", "microphone": "headset", "room": "", "accent": ""
    }  # fmt: skip
    assert shown.getvalue().count("needs a letter") == 2
