"""A record says versions, options and inputs, and says them in the same bytes each time."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pytest

import stt_ft
from stt_ft.core.provenance import file_sha256, record
from stt_ft.core.recipe import ConvertRecipe


def test_the_hash_is_that_of_sha256sum(tmp_path: Path):
    path = tmp_path / "weights"
    path.write_bytes(bytes(range(256)) * 10_000)
    assert file_sha256(path) == subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout.split()[0]


def test_a_record_names_versions_options_and_inputs(tmp_path: Path):
    path = tmp_path / "a.wav"
    path.write_bytes(b"RIFF")
    made = record("convert", ConvertRecipe(style="auto"), {"audio": path}, packages=("pyyaml", "no-such-package"))
    assert made["stage"] == "convert"
    assert made["options"] == {"style": "auto"}
    assert made["inputs"] == {"audio": hashlib.sha256(b"RIFF").hexdigest()}
    assert set(made["versions"]) == {"stt_ft", "python", "pyyaml"}
    assert made["versions"]["stt_ft"] == stt_ft.__version__


def test_two_records_of_the_same_work_are_the_same_bytes(tmp_path: Path):
    options = {"aligner": "sphinx", "out": tmp_path}
    assert json.dumps(record("annotate", options)) == json.dumps(record("annotate", options))


def test_a_missing_input_raises(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        record("encode", {}, {"model": tmp_path / "nothing"})
