"""Disks that are full or may only be read, and outputs that nobody takes: every stage ends with one line, exit 2 and nothing half done."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from random_models import encoded_dataset, random_base

import stt_ft
from stt_ft import cli
from stt_ft.dataset.manifest import Dataset

__all__ = ["encoded_dataset", "random_base"]

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="mounting needs root")
RECIPE = "dataset: {data}\nrun_dir: {run}\nbase: {base}\nprecision: float32\ndevice: cpu\nlora: {{rank: 2}}\nschedule: {{max_steps: 2}}\n"


@pytest.fixture(scope="session")
def world(recorded_once: Path, random_base, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a dataset that has been through every stage, a base, a run, a merged model and a report."""
    root = tmp_path_factory.mktemp("world")
    for name in ("data", "recorded"):
        shutil.copytree(recorded_once, root / name)
    shutil.copytree(random_base.directory, root / "base")
    shutil.copytree(recorded_once, root / "takes", ignore=shutil.ignore_patterns("*.jsonl", "dataset.yaml"))
    (root / "script.yaml").write_text('language: en\nprompts:\n  - {id: a, kind: number, say: "order 4107382"}\n')
    (root / "train.yaml").write_text(RECIPE.format(data=root / "data", run=root / "run", base=root / "base"))
    for line in (
        "annotate data --aligner sphinx",
        "convert data",
        "encode data --base base --device cpu",
        "train train.yaml",
        "merge run --out model",
        "evaluate model data --out report --baseline base --device cpu --set_on none --nosilero",
    ):
        words = [str(root / word) if (root / word).exists() or word in ("model", "report") else word for word in line.split()]
        assert cli.main(words) == 0, line
    return root


STAGES = {
    "ingest": "ingest {world}/takes --out {disk}/new --copy",
    "annotate": "annotate {disk}/data --aligner sphinx",
    "convert": "convert {disk}/data --style auto",
    "split": "split {disk}/data --by clip --dev 0.2",
    "check": "check {disk}/data --html {disk}/page.html",
    "synthesize": "synthesize {world}/script.yaml --out {disk}/new --count 200",
    "encode": "encode {disk}/data --base {world}/base --device cpu --speeds 0.9,1.1",
    "train": "train {world}/train.yaml --run_dir {disk}/new",
    "merge": "merge {world}/run --out {disk}/new",
    "export": "export {world}/model --out {disk}/new",
    "evaluate": "evaluate {world}/model {world}/data --out {disk}/new --device cpu --set_on none --nosilero",
    "gate": "gate {world}/report --junit {disk}/junit.xml",
    "init": "init {disk}/new",
    "record": "record --script {world}/script.yaml --out {disk}/new --speaker zoe",
    "script": "record --make_script digits --script {disk}/new.yaml",
    "transcribe": "transcribe {world}/model {disk}/data/audio --srt --device cpu",
}


def words_of(name: str, world: Path, disk: Path) -> list[str]:
    return STAGES[name].format(world=world, disk=disk).split()


def assert_refused(name: str, code: int, said: str) -> None:
    last = said.splitlines()[-1]
    assert last.startswith("stt-ft: "), said
    assert said.count("stt-ft: ") == 1
    assert "Traceback" not in said
    assert code == 2, f"{name}: {said}"


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Return a function that mounts a file system of some bytes, with the world's dataset on it."""
    places: list[Path] = []

    def mount(num_bytes: int) -> Path:
        place = tmp_path / f"disk{len(places)}"
        place.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={num_bytes}", "none", str(place)], capture_output=True, check=False)
        if done.returncode:
            pytest.skip(f"cannot mount here: {done.stderr.decode().strip()}")
        places.append(place)
        return place

    yield mount
    for place in places:
        subprocess.run(["umount", "-l", str(place)], check=True)


def snapshot(directory: Path) -> dict[str, bytes | None]:
    """Return what lies under a directory, without the file that fills it."""
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else None
        for path in directory.rglob("*")
        if path.name != "filling"
    }


@needs_root
@pytest.mark.parametrize("name", [name for name in STAGES if name != "record"])
def test_a_full_disk_is_one_line_and_nothing_half_done(name, world, mounted, capsys):
    disk = mounted(16_000_000)
    shutil.copytree(world / ("recorded" if name == "annotate" else "data"), disk / "data")
    before = snapshot(disk / "data")
    _fill(disk)
    code = cli.main(words_of(name, world, disk))
    assert_refused(name, code, capsys.readouterr().err)
    (disk / "filling").unlink()
    _assert_nothing_half_done(name, disk, before)
    if name in ("ingest", "annotate", "convert", "split", "encode"):  # and with room it does all of it
        assert cli.main(words_of(name, world, disk)) == 0
        if name == "ingest":
            assert len(Dataset(disk / "new").clips()) == 12


def _fill(disk: Path) -> None:
    """Leave no room on the disk."""
    with (disk / "filling").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


def _assert_nothing_half_done(name: str, disk: Path, before: dict[str, bytes | None]) -> None:
    assert [path.name for path in disk.rglob(".*")] == []
    after = snapshot(disk / "data")
    if name in ("split", "check", "encode"):
        assert after == before
    for path in disk.rglob("*.json"):
        assert path.read_bytes().strip()[-1:] == b"}", f"{path}: half written"


@needs_root
@pytest.mark.parametrize("name", STAGES)
def test_a_disk_that_may_only_be_read_is_one_line(name, world, mounted, capsys):
    disk = mounted(16_000_000)
    shutil.copytree(world / ("recorded" if name == "annotate" else "data"), disk / "data")
    before = snapshot(disk)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    assert_refused(name, cli.main(words_of(name, world, disk)), capsys.readouterr().err)
    assert snapshot(disk) == before


@pytest.mark.parametrize("name", [name for name in STAGES if name not in ("gate", "script", "transcribe", "record", "init")])
def test_files_that_may_not_be_that_large_are_one_line(name, world, tmp_path, capsys, monkeypatch):
    """`ulimit -f`: what is small is written, and the first file that is not ends the stage."""
    disk = tmp_path
    shutil.copytree(world / ("recorded" if name == "annotate" else "data"), disk / "data")
    before = snapshot(disk / "data")
    monkeypatch.setattr("os.fsync", lambda _file: None)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        code = cli.main(words_of(name, world, disk))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert_refused(name, code, capsys.readouterr().err)
    _assert_nothing_half_done(name, disk, before)


def run(words: str, world: Path, *, shell: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command line of the shell; its own output is what the redirection leaves of it."""
    line = f"exec {sys.executable} -m stt_ft {words.format(world=world)} {shell}"
    known = {**os.environ, "PYTHONPATH": str(Path(stt_ft.__file__).parents[1]), **environment}
    return subprocess.run(["sh", "-c", line], capture_output=True, text=True, env=known, check=False)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("words", ["gate {world}/report", "--help", "train --help", "record --make_script digits"])
def test_an_output_that_takes_nothing_is_one_line(words, world):
    answer = run(words, world, shell="> /dev/full")
    assert (answer.returncode, answer.stderr) == (2, "stt-ft: standard output: No space left on device\n")


@pytest.mark.parametrize("words", ["gate {world}/report", "--help"])
def test_a_closed_output_is_one_line(words, world):
    answer = run(words, world, shell=">&-")
    assert (answer.returncode, answer.stderr) == (2, "stt-ft: standard output: Bad file descriptor\n")


def test_a_closed_output_does_not_matter_to_who_says_nothing_there(world):
    assert run("split {world}/data --by clip --seed x", world, shell=">&-").stderr.startswith("stt-ft: split: --seed")
    assert run("check {world}/takes", world, shell="<&- >&- 2>&-").returncode == 2


ASCII = {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def test_a_terminal_of_ascii_alone(world, tmp_path):
    """JSON escapes what stdout cannot show; a file whose name cannot be said in the encoding of file names is one line."""
    data = Dataset(tmp_path / "data")
    shutil.copytree(world / "data", data.directory)
    clips = data.clips("train")
    sidecar = data.read_sidecar(clips[0])
    data.write_sidecar(clips[0], replace(sidecar, alignments=(replace(sidecar.alignments[0], text="né 5"), *sidecar.alignments[1:])))
    answer = run(f"check {data.directory} --json", world, **ASCII)
    assert answer.returncode == 1
    assert "né 5" in " ".join(json.loads(line)["message"] for line in answer.stdout.splitlines())
    manifest = data.manifest_path("train")
    manifest.write_text(manifest.read_text().replace("audio/train", "audio/é_train", 1))
    answer = run(f"encode {data.directory} --base {world}/base --device cpu", world, **ASCII)
    assert answer.returncode == 2
    assert answer.stderr.splitlines()[-1].endswith("set PYTHONUTF8=1, or a UTF-8 locale such as LANG=C.UTF-8")
