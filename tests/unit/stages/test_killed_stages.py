"""A hundred SIGKILLs at random moments of all stages: run again, each leaves the bytes of an undisturbed run, and nothing half written.

A stage is run in a child forked from this process, which has torch already: the kills fall into its work and not into its imports.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import struct
import sys
import time
from pathlib import Path

import pytest
from random_models import random_base

from stt_ft import cli

__all__ = ["random_base"]

NUM_KILLS = 9
"""Real ones, that hit a living process, for each of eleven stages and a twelfth round; 108 in all."""

STAGES = {  # what it writes beside what is put there before it
    "ingest": "ingest {given}/takes --out {place}/data --copy",
    "annotate": "annotate {place}/recorded --aligner sphinx",
    "convert": "convert {place}/annotated",
    "split": "split {place}/annotated --by clip --dev 0.2 --seed 3",
    "check": "check {place}/data --html {place}/page.html",
    "synthesize": "synthesize {given}/script.yaml --out {place}/new --count 6",
    "encode": "encode {place}/annotated --base {given}/base --device cpu --batch_size 2",
    "train": "train {given}/train.yaml --run_dir {place}/run",
    "merge": "merge {given}/run --out {place}/model --overwrite",
    "export": "export {given}/base --out {place}/candle --overwrite",
    "evaluate": "evaluate {given}/base {given}/data --out {place}/report --device cpu --set_on none --nosilero",
    "merge anew": "merge {given}/run --out {place}/model",
}
RECIPE = (
    "precision: float32\ndevice: cpu\nthreads: 1\nlora: {rank: 2}\nschedule: {max_steps: 8}\nvalidation: {every_steps: 2, listen: false}\n"
)


@pytest.fixture(scope="session")
def given(recorded_once: Path, random_base, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with what stages read: takes, datasets at three stages of their life, a base, a run, a recipe, a script."""
    root = tmp_path_factory.mktemp("given")
    for name in ("recorded", "annotated", "data"):
        shutil.copytree(recorded_once, root / name)
    shutil.copytree(recorded_once, root / "takes", ignore=shutil.ignore_patterns("*.jsonl", "dataset.yaml"))
    shutil.copytree(random_base.directory, root / "base")
    (root / "script.yaml").write_text('language: en\nprompts:\n  - {id: a, kind: number, say: "order 4107382"}\n')
    (root / "train.yaml").write_text(f"dataset: {root / 'data'}\nrun_dir: {root / 'run'}\nbase: {root / 'base'}\n{RECIPE}")
    for line in (
        "annotate {0}/annotated --aligner sphinx",
        "annotate {0}/data --aligner sphinx",
        "convert {0}/data",
        "encode {0}/data --base {0}/base --device cpu",
        "train {0}/train.yaml",
    ):
        assert cli.main(line.format(root).split()) == 0
    return root


def begin(line: str) -> int:
    """Start a command line in a child, and return its process number."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    code = 70
    with contextlib.suppress(BaseException):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        code = cli.main(line.split())
    os._exit(code)


def ended(child: int) -> int:
    """Wait for a child, and return its exit code."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def put(given: Path, place: Path) -> None:
    """Put into `place` what stages change."""
    place.mkdir(parents=True)
    for name in ("recorded", "annotated", "data"):
        shutil.copytree(given / name, place / name)


def bytes_under(directory: Path) -> dict[str, bytes]:
    """Return name -> bytes of every file; times and places that runs write down, and the order of a header's keys, do not count."""
    found = {}
    for path in sorted(directory.rglob("*")):
        name, content = str(path.relative_to(directory)), path.read_bytes() if path.is_file() else b""
        if path.suffix == ".safetensors":
            (length,) = struct.unpack("<Q", content[:8])
            content = json.dumps(json.loads(content[8 : 8 + length]), sort_keys=True).encode() + content[8 + length :]
        if path.is_file() and path.name not in ("args.yaml", "moshi-server.toml", "report.html", "report.json", "loss.png"):
            found[name] = content.replace(str(directory).encode(), b"PLACE")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", STAGES)
def test_killed_runs_end_in_the_same_bytes(name: str, given: Path, tmp_path: Path) -> None:
    calm, place = tmp_path / "calm", tmp_path / "kill"
    put(given, calm)
    begin_s = time.monotonic()
    line = STAGES[name].format(given=given, place="{place}")
    assert ended(begin(line.format(place=calm))) in (0, 1)
    duration_s = time.monotonic() - begin_s
    wanted = bytes_under(calm)

    rng, num_kills, num_tries = random.Random(name), 0, 0
    while num_kills < NUM_KILLS:
        num_tries += 1
        assert num_tries < 40 * NUM_KILLS, "the stage is always faster than the kill"
        if num_tries % 3 == 1:  # two more kills upon what a kill has left
            shutil.rmtree(place, ignore_errors=True)
            put(given, place)
        child = begin(line.format(place=place))
        time.sleep(rng.uniform(0, duration_s))
        os.kill(child, signal.SIGKILL)
        code = ended(child)
        for out in ("model", "candle"):  # nothing, or a whole one, at any time
            assert not (place / out).exists() or bytes_under(place / out) == bytes_under(calm / out)
        num_kills += code == -signal.SIGKILL
        if num_tries % 3 == 0 or num_kills == NUM_KILLS:
            code = ended(begin(line.format(place=place)))
            assert code in (0, 1) or (name == "merge anew" and (place / "model").exists())
            assert [path.name for path in place.rglob(".*")] == []
            after = bytes_under(place)
            assert [path for path in {**wanted, **after} if after.get(path) != wanted.get(path)] == []
    print(f"{name}: {num_kills} of {num_tries} killed, {duration_s:.1f} s undisturbed")
