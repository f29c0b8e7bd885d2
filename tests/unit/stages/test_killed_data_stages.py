"""Killed at random moments, run again: ingest, annotate and convert leave the bytes of an undisturbed run, and nothing half written."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import stt_ft

NUM_KILLS = 20


def stages(takes: Path, out: Path) -> list[list[str]]:
    return [["ingest", str(takes), "--out", str(out)], ["annotate", str(out), "--aligner", "sphinx"], ["convert", str(out)]]


def start(arguments: list[str]) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(Path(stt_ft.__file__).parents[1])}
    command = [sys.executable, "-m", "stt_ft", *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


@pytest.mark.slow
def test_killed_runs_end_in_the_same_bytes(recorded_once: Path, tmp_path: Path, tree_hash: Callable[[Path], str]) -> None:
    durations_s = []
    for arguments in stages(recorded_once, tmp_path / "calm" / "data"):
        begin_s = time.monotonic()
        assert start(arguments).wait(timeout=300) == 0
        durations_s.append(time.monotonic() - begin_s)
    calm = tree_hash(tmp_path / "calm" / "data")

    rng = random.Random(5)
    disturbed = tmp_path / "killed" / "data"
    for index, (arguments, duration_s) in enumerate(zip(stages(recorded_once, disturbed), durations_s, strict=True)):
        for _ in range(NUM_KILLS // 3 + (index < NUM_KILLS % 3)):
            process = start(arguments)
            time.sleep(rng.uniform(0.3, 1.0) * duration_s)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        assert start(arguments).wait(timeout=300) == 0
    assert [path.name for path in disturbed.rglob(".*.tmp*")] == []
    assert tree_hash(disturbed) == calm
