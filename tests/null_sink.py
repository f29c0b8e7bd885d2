"""A microphone that needs no hardware: a PulseAudio server of its own whose null sink plays into its own monitor."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pulse_programs = pytest.mark.skipif(
    not all(shutil.which(program) for program in ("pulseaudio", "pactl", "paplay")),
    reason="pulseaudio and pulseaudio-utils are not installed",
)


@pytest.fixture
def null_sink(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A PulseAudio server of its own whose only device is a null sink; its monitor is the default microphone."""
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    environment = {
        "XDG_RUNTIME_DIR": str(runtime),
        "PULSE_SERVER": f"unix:{runtime}/native",
        "HOME": str(tmp_path),
        "PULSE_SOURCE": "mic.monitor",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    (tmp_path / ".asoundrc").write_text("pcm.!default { type pulse }\nctl.!default { type pulse }\n")
    command = ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no", "--disable-shm=yes"]
    modules = [f"module-native-protocol-unix auth-anonymous=1 socket={runtime}/native", "module-null-sink sink_name=mic rate=48000"]
    arguments = [argument for module in modules for argument in ("-L", module)]
    server = subprocess.Popen(
        [*command, *arguments], env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(1200):  # a minute: a busy machine is no reason to skip
            if subprocess.run(["pactl", "info"], capture_output=True).returncode == 0:
                break
            if server.poll() is not None:
                pytest.skip("the PulseAudio server does not start here")
            time.sleep(0.05)
        else:
            pytest.skip("the PulseAudio server does not start here")
        yield
    finally:
        server.terminate()
        server.wait(timeout=60)
