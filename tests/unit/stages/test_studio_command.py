"""studio as a command: what it refuses before it serves, and what it says when it does."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import requests

import stt_ft
from stt_ft.core.errors import BusyError, ConfigError, DatasetError
from stt_ft.stages.studio import studio

SCRIPT = "language: fr\nprompts:\n  - {id: p1, say: commande 415}\n"


@pytest.fixture
def script(tmp_path: Path) -> str:
    (tmp_path / "prompts.yaml").write_text(SCRIPT)
    return str(tmp_path / "prompts.yaml")


def command(*words: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(stt_ft.__file__).parents[1])}
    return subprocess.Popen([sys.executable, "-m", "stt_ft", "studio", *words], stderr=subprocess.PIPE, text=True, env=environment)


def test_two_studios_of_one_dataset_do_not_meet(tmp_path: Path, script: str) -> None:
    first = command(str(tmp_path / "orders"), "--script", script, "--port", "0")
    try:
        assert first.stderr is not None
        line, *more = (first.stderr.readline() for _ in range(3))
        link = line.split()[-1]
        assert line.startswith(f"studio of {tmp_path / 'orders'}: open http://localhost:")
        assert requests.get(link, timeout=10).ok
        with pytest.raises(BusyError, match=r"orders: `stt-ft studio .*has been writing here for .* stop it$") as caught:
            studio(str(tmp_path / "orders"), script=script, port=0)
        assert "\n" not in str(caught.value)
        first.send_signal(signal.SIGINT)
        said = first.communicate(timeout=20)[1].splitlines()
        assert (first.returncode, said[-1]) == (0, f"{tmp_path / 'orders'}: the studio is closed")
        assert "ssh -L" in more[-1]
    finally:
        first.kill()
        first.wait()


def test_beyond_this_machine_it_says_what_that_means(tmp_path: Path, script: str, capsys: pytest.CaptureFixture[str]) -> None:
    threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGTERM)).start()
    studio(str(tmp_path / "orders"), script=script, host="0.0.0.0", port=0)
    said = capsys.readouterr().err
    assert "?token=" in said
    assert "nothing is encrypted" in said
    assert "TLS" in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"against": "tiny"}, "--against needs --model"),
        ({"port": 70_000}, "--port must be 0 to 65535"),
        ({"host": "nobody.invalid"}, "--host nobody.invalid: no such host"),
        ({"host": "192.0.2.1"}, "--host 192.0.2.1 --port 8765: cannot listen there"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, script: str, options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        studio(str(tmp_path / "orders"), script=script, **options)


def test_a_port_that_is_taken_is_named_with_the_way_out(tmp_path: Path, script: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigError, match="--port 0 takes a free port"):
        studio(str(tmp_path / "orders"), script=script, port=taken.getsockname()[1])


def test_a_dataset_and_a_script_must_fit(tmp_path: Path, script: str) -> None:
    with pytest.raises(DatasetError, match="no such dataset directory"):
        studio(str(tmp_path / "orders"))
    (tmp_path / "orders").mkdir()
    (tmp_path / "orders" / "dataset.yaml").write_text("language: en\n")
    with pytest.raises(DatasetError, match="its language is en, the script's is fr"):
        studio(str(tmp_path / "orders"), script=script)
    Path(script).write_text("consent: [1]\n" + SCRIPT)
    with pytest.raises(DatasetError, match="consent must be a text"):
        studio(str(tmp_path / "new"), script=script)
    assert not (tmp_path / "new").exists()
