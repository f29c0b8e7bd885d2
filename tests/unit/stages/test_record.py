"""record as a command: new scripts, refusals before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from stt_ft.core.errors import ConfigError, DatasetError
from stt_ft.stages.record import record


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
