"""`stt-ft transcribe --mic` as people start it: speech is played into a real capture device, and words come out while it plays."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from null_sink import null_sink, pulse_programs

import stt_ft
from stt_ft.audio.files import write_wav
from stt_ft.audio.synthesis import Synthesizer
from stt_ft.metrics.transcripts import word_errors
from stt_ft.model.transcriber import Transcriber

__all__ = ["null_sink"]

TEXT = "please check the order number four one five, my phone number is nine five eight zero two two nine"
SECONDS = 12


@pulse_programs
@pytest.mark.slow
def test_words_come_while_someone_speaks_into_the_microphone(null_sink: None, tmp_path: Path) -> None:
    speech = Synthesizer().speak(TEXT, voice="en-us+m3", words_per_minute=150, pitch=50, pitch_range=50).samples
    waking = np.zeros(12_000, np.float32)  # the monitor of an idle sink gives nothing until something plays
    write_wav(tmp_path / "speech.wav", np.concatenate([waking, speech, np.zeros(SECONDS * 24_000, np.float32)]))
    environment = {**os.environ, "PYTHONPATH": str(Path(stt_ft.__file__).parents[1])}
    command = [sys.executable, "-m", "stt_ft", "transcribe", "tiny", "--mic", "--json", "--seconds", str(SECONDS), "--device", "cpu"]
    listener = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert listener.stderr is not None
    for line in listener.stderr:
        if "cannot record" in line or "sound devices" in line:
            pytest.skip(f"PortAudio does not reach PulseAudio here: {line}")
        if "listening" in line:
            break
    began_s = time.monotonic()
    player = subprocess.Popen(["paplay", "--device=mic", tmp_path / "speech.wav"])
    assert listener.stdout is not None
    frames, first_word_after_s = [], None
    for line in listener.stdout:
        frames.append(json.loads(line))
        if frames[-1]["words"] and first_word_after_s is None:
            first_word_after_s = time.monotonic() - began_s
    player.kill()
    player.wait()
    assert listener.wait() == 0, listener.stderr.read()
    heard = [word[0] for frame in frames for word in frame["words"]]
    in_file = [word.text for word in Transcriber.open("tiny", device="cpu").transcribe([np.concatenate([waking, speech])])[0].words]
    assert word_errors(in_file, heard).num_errors <= 0.4 * len(in_file), (in_file, heard)
    assert first_word_after_s is not None
    assert first_word_after_s < SECONDS  # while it plays, not at the end
    assert [round(frame["heard_s"] / 0.08) for frame in frames] == list(range(1, len(frames) + 1))
    assert all(len(frame["pause"]) == 4 for frame in frames)
