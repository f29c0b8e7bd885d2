"""A small share of `python tools/fuzz --count 20000`: broken inputs for every command end well, or with one message, and nowhere else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import stt_ft

NUM_CASES = 150
ROOT = Path(stt_ft.__file__).parents[1]


@pytest.mark.slow
def test_broken_inputs_for_every_command_end_well_or_with_one_message():
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "tools" / "fuzz"), "--count", str(NUM_CASES)]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert f"{NUM_CASES} cases in " in answer.stdout
