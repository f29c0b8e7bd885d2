"""`stt-ft record` as a speaker meets it: in a terminal, with a capture device, and what was played into that device in the file."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from null_sink import null_sink, pulse_programs

import stt_ft
from stt_ft.audio.files import read_audio, resample, write_wav
from stt_ft.dataset.manifest import Dataset

__all__ = ["null_sink"]

RATE_HZ = 24_000
FINE_RATE_HZ = 8 * RATE_HZ


class Terminal:
    """A command at a terminal of its own, of which everything shown is kept."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self._keys, theirs = pty.openpty()
        environment = {**os.environ, "PYTHONPATH": str(Path(stt_ft.__file__).parents[1]), "TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
        command = [sys.executable, "-m", "stt_ft", *arguments]
        self.process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True)
        os.close(theirs)
        self.shown = ""
        self._read_to = 0

    def wait_for(self, text: str, timeout_s: float = 90.0) -> None:
        """Read on until `text` is shown."""
        end_s = time.monotonic() + timeout_s
        while self.shown.find(text, self._read_to) < 0:
            assert time.monotonic() < end_s, f"no {text!r} in: {self.shown[self._read_to :][-600:]}"
            if select.select([self._keys], [], [], 0.2)[0]:
                try:
                    self.shown += os.read(self._keys, 65536).decode(errors="replace")
                except OSError:  # the command has ended
                    assert text in self.shown[self._read_to :], f"ended without {text!r}: {self.shown[-600:]}"
        self._read_to = self.shown.index(text, self._read_to) + len(text)

    def type(self, line: str) -> None:
        os.write(self._keys, line.encode() + b"\r")

    def end(self) -> int:
        """Return the exit status."""
        status = self.process.wait(timeout=60)
        os.close(self._keys)
        return status


def chirp() -> np.ndarray:
    """A sound whose every moment is different, so that any shift shows."""
    time_s = np.arange(round(1.5 * RATE_HZ)) / RATE_HZ
    return (0.4 * np.sin(np.pi * time_s / 1.5) ** 2 * np.sin(2 * np.pi * (200 * time_s + 900 * time_s**2))).astype(np.float32)


def likeness(taken: np.ndarray, played: np.ndarray) -> float:
    """Return the cosine between `played` and the part of `taken` that is most like it."""
    correlation = np.fft.irfft(np.fft.rfft(taken, 1 << 21) * np.conj(np.fft.rfft(played, 1 << 21)))
    part = taken[int(correlation.argmax()) :][: len(played)]
    assert len(part) == len(played), "the take ends before the sound does"
    return float(np.dot(part, played) / (np.linalg.norm(part) * np.linalg.norm(played)))


@pulse_programs
@pytest.mark.slow
def test_a_session_at_the_terminal_leaves_what_was_said(null_sink: None, tmp_path: Path) -> None:
    """Asked who speaks, takes one prompt twice and keeps the second, skips one, quits; the next start goes on with what was skipped."""
    out, script = tmp_path / "dataset", tmp_path / "script.yaml"
    script.write_text("language: en\nprompts:\n  - {id: p1, say: one two}\n  - {id: p2, say: three four}\n")
    waking = settling = np.zeros(RATE_HZ, dtype=np.float32)  # an idle sink's monitor sleeps; what is played comes in a little later
    write_wav(tmp_path / "played.wav", np.concatenate([waking, chirp(), settling]))
    arguments = ["record", "--script", str(script), "--out", str(out)]

    terminal = Terminal(arguments)
    terminal.wait_for("speaker")
    for answer, question in (("", "needs a letter"), ("Zoé B", "microphone"), ("headset", "room"), ("", "accent"), ("", "1 of 2")):
        terminal.type(answer)
        terminal.wait_for(question)
    for decision in ("r", "k"):
        terminal.wait_for("Enter starts")
        terminal.type("")
        terminal.wait_for("Enter stops")
        subprocess.run(["paplay", "--device=mic", tmp_path / "played.wav"], check=True)
        terminal.type("")
        terminal.wait_for("Enter keeps")
        assert not (out / "audio" / "zoe-b_p1.wav").exists()
        terminal.type(decision)
    terminal.wait_for("2 of 2")
    assert (out / "audio" / "zoe-b_p1.wav").exists()
    terminal.wait_for("Enter starts")
    terminal.type("s")
    terminal.wait_for("1 of 2 prompts recorded by zoe-b")
    assert terminal.end() == 0

    (clip,) = Dataset.open(out).clips()
    taken = read_audio(out / clip.path, FINE_RATE_HZ)  # finer, since the delay is no whole sample
    assert likeness(taken, resample(chirp(), RATE_HZ, FINE_RATE_HZ)) > 0.99
    assert Dataset.open(out).read_sidecar(clip).script == "one two"

    terminal = Terminal(arguments)
    terminal.wait_for("2 of 2")
    terminal.wait_for("Enter starts")
    terminal.type("q")
    terminal.wait_for("goes on with the first prompt that is missing")
    assert terminal.end() == 0
    assert len(Dataset.open(out).clips()) == 1
