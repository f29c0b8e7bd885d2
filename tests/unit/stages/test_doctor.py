"""`doctor` says what is there, what would fail and the way out."""

from __future__ import annotations

import email.message
import importlib.metadata
import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from stt_ft.core.errors import CheckFailed, ConfigError
from stt_ft.stages import doctor as doctor_stage


def findings_of(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, str]]:
    doctor_stage.doctor(json=True)
    return {finding["topic"]: finding for finding in json.loads(capsys.readouterr().out)}


def test_every_finding_that_is_not_ok_has_a_way_out(capsys: pytest.CaptureFixture[str]):
    findings = findings_of(capsys)
    assert {"python", "disk", "espeakng-loader", "ffmpeg", "tiny model", "1b model"} <= set(findings)
    assert [topic for topic, finding in findings.items() if (finding["level"] != "ok") != bool(finding["way_out"])] == []


def test_the_table_shows_every_finding(capsys: pytest.CaptureFixture[str]):
    topics = list(findings_of(capsys))
    doctor_stage.doctor()
    out = capsys.readouterr().out
    assert all(f"  {topic} " in out for topic in topics)


def test_a_program_that_is_not_there_is_limited(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(shutil, "which", lambda program: None)
    assert findings_of(capsys)["cargo"]["level"] == "limited"


def test_a_microphone_library_that_does_not_load_is_limited(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    class Unloadable:
        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            if name == "sounddevice":
                raise OSError("PortAudio library not found")

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Unloadable(), *sys.meta_path])
    microphone = findings_of(capsys)["microphone"]
    assert (microphone["level"], microphone["text"]) == ("limited", "PortAudio library not found")
    assert "libportaudio2" in microphone["way_out"]


@pytest.mark.parametrize(
    ("requirement", "extra", "level"),
    [
        ("numpy>=1.0", None, "ok"),
        ("numpy>=99", None, "broken"),
        ("no-such-package>=1", None, "broken"),
        ("no-such-package>=1", "synth", "limited"),
    ],
)
def test_a_package_is_held_against_what_is_wanted(requirement: str, extra: str | None, level: str):
    assert doctor_stage._package(Requirement(requirement), extra).level == level


def test_every_extra_of_the_package_is_looked_at_and_has_a_use(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    table = (Path(__file__).parents[3] / "pyproject.toml").read_text().partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    extras = set(re.findall(r"^(\w+) = \[", table, re.MULTILINE))
    assert set(doctor_stage._USES) == extras - {"dev"}
    metadata = email.message.Message()
    for extra in sorted(extras):
        metadata["Provides-Extra"] = extra
    wanted = [f"no-such-{extra}>=1 ; extra == '{extra}'" for extra in sorted(extras)] + ["numpy>=1 ; python_version >= '3'"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: wanted)
    monkeypatch.setattr(importlib.metadata, "metadata", lambda name: metadata)
    findings = findings_of(capsys)
    assert {topic for topic in findings if topic.startswith("no-such-")} == {f"no-such-{extra}" for extra in extras - {"dev"}}
    assert all(f"stt-ft[{extra}]" in findings[f"no-such-{extra}"]["way_out"] for extra in extras - {"dev"})
    assert findings["numpy"]["level"] == "ok"


def test_a_program_is_named_with_what_needs_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(shutil, "which", lambda program: None)
    assert "export --verify" in findings_of(capsys)["cargo"]["way_out"]


def test_a_missing_package_fails_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: ["no-such-package>=1", "another ; extra == 'dev'"])
    with pytest.raises(CheckFailed, match="no-such-package"):
        doctor_stage.doctor()
    assert "pip install 'no-such-package>=1'" in capsys.readouterr().out


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    """A machine of so many GiB without a GPU."""

    def of(gib: float) -> None:
        monkeypatch.setattr(doctor_stage, "_memory", lambda: (False, gib * 2**30))
        monkeypatch.setattr(doctor_stage, "_cpu_memory", lambda: gib * 2**30)

    return of


def fits(capsys: pytest.CaptureFixture[str], base: str) -> dict[str, dict[str, str]]:
    doctor_stage.doctor(base=base, json=True)
    return {finding["topic"]: finding for finding in json.loads(capsys.readouterr().out)}


def test_a_model_that_is_not_here_is_held_against_the_machine(machine, capsys: pytest.CaptureFixture[str]):
    stages = ("merge, export", "encode", "train bfloat16", "train float32", "evaluate", "transcribe")
    machine(24)
    findings = fits(capsys, "kyutai/stt-1b-en_fr-candle")
    assert [findings[stage]["level"] for stage in stages] == ["ok"] * 6
    assert "rank 128, 8 clips" in findings["train bfloat16"]["text"]
    assert "codes at 3 speeds 8.2 MiB" in findings["disk for it"]["text"]
    machine(6)
    findings = fits(capsys, "kyutai/stt-1b-en_fr-candle")
    assert [findings[stage]["level"] for stage in stages] == ["ok", "ok", "limited", "limited", "limited", "limited"]
    assert "--batch.gradient_checkpointing" in findings["train bfloat16"]["way_out"]
    assert "another machine" in findings["train float32"]["way_out"]


def test_a_model_without_heads_is_judged_by_the_recipe_for_such(machine, capsys: pytest.CaptureFixture[str]):
    machine(24)
    assert "rank 128, 4 clips" in fits(capsys, "kyutai/stt-2.6b-en")["train bfloat16"]["text"]


def test_a_model_directory_is_read(machine, capsys: pytest.CaptureFixture[str]):
    machine(2)
    assert fits(capsys, "tiny")["train float32"]["level"] == "ok"
    with pytest.raises(ConfigError, match="--base nowhere: no config"):
        doctor_stage.doctor(base="nowhere")
