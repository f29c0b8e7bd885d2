"""A write happens whole or not at all, even when the writer is killed in the middle of it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stt_ft.core import atomic
from stt_ft.core.errors import DiskError

WRITER = """
import itertools, sys
from pathlib import Path
from stt_ft.core.atomic import write_json
for version in itertools.count(1):
    write_json(Path(sys.argv[1]), {"version": version, "values": [version] * 20000})
"""


def test_a_killed_writer_leaves_the_old_file_or_the_new_one(tmp_path: Path):
    """Every writer is killed after it has put a whole version in place, and at rest in the middle of the next one."""
    path = tmp_path / "value.json"
    atomic.write_json(path, {"version": 0, "values": [0] * 20_000})
    rng = random.Random(7)
    for _ in range(12):
        before = _identity(path)
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path)]) as writer:
            _wait_until(lambda before=before: _identity(path) != before, "a new version in place")
            _wait_until(lambda writer=writer: _is_stopped_in_a_write(writer.pid, tmp_path, rng), "a writer stopped in a write")
            writer.send_signal(signal.SIGKILL)
        value = json.loads(path.read_bytes())
        assert value["version"] > 0
        assert value["values"] == [value["version"]] * 20_000
        assert atomic.remove_leftovers(tmp_path) == 1, "the writer was killed between two writes: the test shows nothing"


def _is_stopped_in_a_write(pid: int, directory: Path, rng: random.Random) -> bool:
    """Stop the process at any moment of its writing; let it go on, and return False, where nothing is half written at that moment."""
    time.sleep(rng.uniform(0, 0.01))  # where in a write it is stopped; whether it is in one is looked at, however slow the machine
    os.kill(pid, signal.SIGSTOP)
    os.waitpid(pid, os.WUNTRACED)
    if any(directory.glob(".value.*.tmp.json")):
        return True
    os.kill(pid, signal.SIGCONT)
    return False


def _identity(path: Path) -> tuple[int, int]:
    """Return what tells one version of a file that is replaced from the next."""
    stat = path.stat()
    return stat.st_ino, stat.st_mtime_ns


def _wait_until(seen: Callable[[], bool], what: str) -> None:
    """Return as soon as `seen` is true; a machine may be as slow as it likes, short of a minute."""
    deadline = time.monotonic() + 60
    while not seen():
        assert time.monotonic() < deadline, f"not seen within a minute: {what}"


def test_a_failing_block_leaves_the_old_file_and_no_other(tmp_path: Path):
    path = tmp_path / "value.txt"
    atomic.write_text(path, "old")
    with pytest.raises(RuntimeError, match="half way"), atomic.atomic_path(path) as temporary:  # noqa: PT012
        temporary.write_text("ne")
        raise RuntimeError("half way")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failing_block_leaves_no_directory(tmp_path: Path):
    with pytest.raises(RuntimeError, match="half way"), atomic.atomic_directory(tmp_path / "model") as temporary:  # noqa: PT012
        (temporary / "config.json").write_text("{}")
        raise RuntimeError("half way")
    assert list(tmp_path.iterdir()) == []


def test_a_directory_appears_whole(tmp_path: Path):
    with atomic.atomic_directory(tmp_path / "deep" / "model") as temporary:
        (temporary / "config.json").write_text("{}")
        assert not (tmp_path / "deep" / "model").exists()
    assert [path.name for path in (tmp_path / "deep" / "model").iterdir()] == ["config.json"]


def test_the_temporary_file_keeps_the_suffix_that_audio_writers_look_at(tmp_path: Path):
    with atomic.atomic_path(tmp_path / "take.wav") as temporary:
        assert temporary.suffix == ".wav"
        temporary.write_bytes(b"RIFF")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"deep": [-float("inf")]}])
def test_json_has_no_word_for_nan_and_the_old_file_stays(tmp_path: Path, value: object):
    path = tmp_path / "value.json"
    atomic.write_json(path, {"é": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        atomic.write_json(path, value)
    assert json.loads(path.read_text(encoding="utf-8")) == {"é": 1}


def test_what_a_killed_writer_left_is_removed_and_what_is_being_written_is_not(tmp_path: Path):
    code = "import sys, time\nfrom pathlib import Path\nfrom stt_ft.core.atomic import atomic_path\n"
    code += "with atomic_path(Path(sys.argv[1])) as path:\n path.touch()\n print(path, flush=True)\n time.sleep(60)"
    writer = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "audio" / "killed.wav")], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    left = Path(writer.stdout.readline().strip())
    try:
        assert atomic.remove_leftovers(tmp_path) == 0
        assert left.exists()
    finally:
        writer.kill()
        writer.wait()
        writer.stdout.close()
    (tmp_path / "audio" / ".mine.tmp").touch()
    with atomic.atomic_path(tmp_path / "mine.json") as mine:
        mine.touch()
        assert atomic.remove_leftovers(tmp_path) == 1
        assert mine.exists()
    assert sorted(path.name for path in (tmp_path / "audio").iterdir()) == [".mine.tmp"]


def test_a_file_written_again_takes_away_what_its_killed_writer_left(tmp_path: Path):
    """`check --html page.html` has no directory to itself, and so nobody else would."""
    dead, living, of_another = (tmp_path / f".{name}.tmp.html" for name in ("page.0000000a", "page.0000000b", "pages.0000000a"))
    for path in (dead, living, of_another):
        path.touch()
    with atomic._locked(living):
        atomic.write_text(tmp_path / "page.html", "x", is_swept=True)
        assert dead.exists()
        atomic.write_text(tmp_path / "page.html", "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == [living.name, of_another.name, "page.html"]


def test_what_is_locked_or_named_otherwise_is_left_alone(tmp_path: Path):
    """A lock is all that tells a living writer, so it may run on another machine."""
    living, dead, other = (tmp_path / name for name in (".x.json.0000000a.tmp", ".x.json.0000000b.tmp", ".notes.tmp"))
    for path in (living, dead, other):
        path.mkdir()
    with atomic._locked(living):
        assert atomic.remove_leftovers(tmp_path) == 1
    assert living.exists()
    assert other.exists()
    assert not dead.exists()


def test_what_a_killed_run_moved_aside_comes_back(tmp_path: Path):
    """Killed between the two renames of an overwrite, the old model is beside its place; the next run finds it again."""
    gone = tmp_path / ".out.0123abcd.tmp"
    for name, text in (("aside", "{}"), ("out", "{...")):
        (gone / name).mkdir(parents=True)
        (gone / name / "config.json").write_text(text)
    atomic.recover(tmp_path / "out")
    assert (tmp_path / "out" / "config.json").read_text() == "{}"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no devices here")
def test_a_device_is_not_replaced_by_a_file(tmp_path: Path):
    """`gate --junit /dev/stdout` by root would otherwise put a file in the place of the device, for all of the machine."""
    (tmp_path / "device").symlink_to("/dev/full")
    with pytest.raises(DiskError, match="there is something else than a file"):
        atomic.write_text(tmp_path / "device", "x")
    assert (tmp_path / "device").is_symlink()


def test_what_safetensors_says_of_a_full_disk_names_the_file(tmp_path: Path):
    told = f"^{tmp_path / 'x.bin'}: cannot be written to: No space left on device$"
    with pytest.raises(DiskError, match=told), atomic.atomic_path(tmp_path / "x.bin"):
        raise RuntimeError("I/O error: No space left on device (os error 28)")
