"""SIGKILL at random moments of merge and export leaves at `--out` nothing, or a whole model that loads; the next run tidies up."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from random_models import make_adapter

import stt_ft
from stt_ft.core import atomic
from stt_ft.model.checkpoint_dir import open_model
from stt_ft.model.stt_lm import load_lm

NUM_KILLS = 20


def _start(arguments: list[str]) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(Path(stt_ft.__file__).parents[1])}
    command = [sys.executable, "-m", "stt_ft", *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def _leftovers(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir() if path.name.startswith(".")]


@pytest.mark.slow
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("command", ["merge", "export"])
def test_a_kill_leaves_nothing_or_a_whole_model(command, overwrite, random_base, tmp_path):
    adapter = make_adapter(random_base, tmp_path / "adapter" / "lora.safetensors")
    out = tmp_path / "models" / "out"
    source = str(adapter.parent) if command == "merge" else str(random_base.directory)
    arguments = [command, source, "--out", str(out), *(["--base", str(random_base.directory)] if command == "merge" else [])]
    begin_s = time.monotonic()
    assert _start(arguments).wait(timeout=300) == 0
    duration_s = time.monotonic() - begin_s
    whole = {path.name: path.read_bytes() for path in out.iterdir()}
    rng = random.Random(f"{command} {overwrite}")
    if not overwrite:
        _remove(out)
    for _ in range(NUM_KILLS // 4):
        process = _start([*arguments, *(["--overwrite"] if overwrite else [])])
        time.sleep(rng.uniform(0.5, 1.05) * duration_s)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if out.exists():
            assert {path.name: path.read_bytes() for path in out.iterdir()} == whole
            load_lm(open_model(out))
            if not overwrite:
                _remove(out)
    assert _start([*arguments, "--overwrite"]).wait(timeout=300) == 0
    assert _leftovers(out.parent) == []


def _remove(out: Path) -> None:
    for path in out.iterdir():
        path.unlink()
    out.rmdir()


def test_what_a_killed_run_moved_aside_comes_back(random_base, tmp_path):
    """Killed between the two renames of an overwrite, the old model is beside its place; the next run finds it again."""
    gone = tmp_path / ".out.0123abcd.tmp"
    for name, text in (("aside", "{}"), ("out", "{...")):
        (gone / name).mkdir(parents=True)
        (gone / name / "config.json").write_text(text)
    atomic.recover(tmp_path / "out")
    assert (tmp_path / "out" / "config.json").read_text() == "{}"
    assert _leftovers(tmp_path) == []
