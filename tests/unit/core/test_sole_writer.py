"""One writer at a time: the second is told who is at work, and a killed one stands in nobody's way."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stt_ft.core import atomic
from stt_ft.core.errors import BusyError, DiskError

HOLDER = """
import sys, time
from pathlib import Path
from stt_ft.core.atomic import sole_writer
with sole_writer(Path(sys.argv[1])):
    print("holds", flush=True)
    time.sleep(60)
"""


@contextmanager
def another_process(directory: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLDER, str(directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "holds\n"
            yield process
        finally:
            process.kill()


def test_the_second_writer_is_told_who_is_at_work(tmp_path: Path):
    directory = tmp_path / "orders"
    with another_process(directory) as process:
        with pytest.raises(BusyError) as refused, atomic.sole_writer(directory):
            pytest.fail("both write")
        message = str(refused.value)
        assert message.startswith(f"{directory}: `")
        assert f"process {process.pid} on {socket.gethostname()}" in message
        assert "has been writing here for " in message
        assert "\n" not in message


def test_a_killed_writer_stands_in_nobodys_way_and_leaves_nothing_for_good(tmp_path: Path):
    with another_process(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (tmp_path / atomic.LOCK_NAME).exists()
        with atomic.sole_writer(tmp_path):
            assert f"process {os.getpid()}" in (tmp_path / atomic.LOCK_NAME).read_text()
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_nothing_came_into_is_taken_away_again(tmp_path: Path):
    with atomic.sole_writer(tmp_path / "runs" / "a"):
        pass
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RuntimeError, match="half way"), atomic.sole_writer(tmp_path / "runs" / "a"):  # noqa: PT012
        (tmp_path / "runs" / "a" / "args.yaml").touch()
        raise RuntimeError("half way")
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["runs", "runs/a", "runs/a/args.yaml"]


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_on_a_file_system_without_locks_a_stale_file_is_told_with_the_way_out(number, tmp_path, monkeypatch):
    def no_locks(descriptor: int, mode: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    path = tmp_path / atomic.LOCK_NAME
    told = f"process {os.getpid()} on .* for 0 s; if that process is gone, remove {path}"
    with atomic.sole_writer(tmp_path), pytest.raises(BusyError, match=told), atomic.sole_writer(tmp_path):
        pytest.fail("both write")
    assert not path.exists()


def test_many_at_once_never_lose_a_line(tmp_path: Path):
    """Four processes add lines to one file by reading and writing all of it, as stages do with a manifest, each as soon as it may."""
    code = """
import sys
from pathlib import Path
from stt_ft.core.atomic import sole_writer, write_text
from stt_ft.core.errors import BusyError, DiskError
path, number = Path(sys.argv[1]) / "train.jsonl", 0
while number < 50:
    try:
        with sole_writer(path.parent):
            write_text(path, (path.read_text() if path.exists() else "") + f"{sys.argv[2]} {number}\\n")
            number += 1
    except BusyError:
        pass
"""
    writers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "data"), str(name)]) for name in range(4)]
    assert [writer.wait(timeout=120) for writer in writers] == [0] * 4
    lines = (tmp_path / "data" / "train.jsonl").read_text().splitlines()
    assert sorted(lines) == sorted(f"{name} {number}" for name in range(4) for number in range(50))


def test_a_lock_file_that_is_a_link_leads_nowhere(tmp_path: Path):
    """A dataset of others may hold anything: what the link points at is not written to."""
    (tmp_path / "data").mkdir()
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "data" / atomic.LOCK_NAME).symlink_to(tmp_path / "secret")
    with pytest.raises(DiskError), atomic.sole_writer(tmp_path / "data"):
        pytest.fail("it was followed")
    assert (tmp_path / "secret").read_text() == "secret"
