"""The real path from a capture device to a file: PulseAudio's null sink as microphone, a sound played into it, the take compared."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from null_sink import null_sink, pulse_programs

import stt_ft
from stt_ft.audio.files import read_audio, resample, write_wav
from stt_ft.core.errors import AudioError

__all__ = ["null_sink"]

RATE_HZ = 24_000
FINE_RATE_HZ = 8 * RATE_HZ


def chirp() -> np.ndarray:
    """A sound whose every moment is different, so that any shift shows."""
    time_s = np.arange(round(1.5 * RATE_HZ)) / RATE_HZ
    envelope = np.sin(np.pi * time_s / 1.5) ** 2
    return (0.4 * envelope * np.sin(2 * np.pi * (200 * time_s + 900 * time_s**2))).astype(np.float32)


@pulse_programs
def test_what_is_played_into_the_microphone_is_in_the_file(null_sink: None, tmp_path: Path) -> None:
    script = tmp_path / "record.py"
    script.write_text(RECORDER)
    waking = np.zeros(RATE_HZ // 2, dtype=np.float32)  # the monitor of an idle sink gives nothing until something plays
    settling = np.zeros(2 * RATE_HZ, dtype=np.float32)  # played to its end, the sound before it has long been recorded
    sound = np.concatenate([chirp(), np.zeros(3 * RATE_HZ, np.float32), chirp()])  # a sample dropped in between would part the two
    write_wav(tmp_path / "played.wav", np.concatenate([waking, sound, settling]))
    environment = {**os.environ, "PYTHONPATH": str(Path(stt_ft.__file__).parents[1])}
    recorder = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "dataset")], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True, env=environment
    )
    assert recorder.stdout is not None
    first = recorder.stdout.readline().strip()
    if "cannot record" in first or "sound devices" in first:
        pytest.skip(f"PortAudio does not reach PulseAudio here: {first}")
    assert first == "recording"
    subprocess.run(["paplay", "--device=mic", tmp_path / "played.wav"], check=True)
    recorder.communicate("stop\n", timeout=120)
    assert recorder.returncode == 0
    taken = read_audio(tmp_path / "dataset" / "audio" / "anna_chirp.wav", FINE_RATE_HZ)  # finer, since the delay is no whole sample
    played = resample(sound, RATE_HZ, FINE_RATE_HZ)
    size = 1 << 21
    correlation = np.fft.irfft(np.fft.rfft(taken, size) * np.conj(np.fft.rfft(played, size)))
    lag = int(correlation.argmax())
    overlap = taken[lag : lag + len(played)]
    assert len(overlap) == len(played), "the take ends before the sound does"
    likeness = float(np.dot(overlap, played) / (np.linalg.norm(overlap) * np.linalg.norm(played)))
    assert likeness > 0.99
    for part in (slice(None, round(1.5 * FINE_RATE_HZ)), slice(-round(1.5 * FINE_RATE_HZ), None)):
        lags = range(-FINE_RATE_HZ // 1000, FINE_RATE_HZ // 1000 + 1)  # a millisecond
        best = max(lags, key=lambda shift: float(np.dot(np.roll(overlap, shift)[part], played[part])))
        assert abs(best) <= FINE_RATE_HZ // RATE_HZ  # a sample of what was recorded
    assert np.abs(overlap).max() == pytest.approx(np.abs(played).max(), rel=0.1)


RECORDER = """
import sys
from pathlib import Path
from stt_ft.audio.microphone import Recording
from stt_ft.core.errors import AudioError
from stt_ft.dataset.manifest import Dataset
from stt_ft.corpus.prompt_script import PromptScript
from stt_ft.text.prompts import PromptLine
from stt_ft.corpus.recording import Session

prompt = PromptLine(prompt_id="chirp", say="a chirp")
session = Session.open(
    Dataset(Path(sys.argv[1])), PromptScript(language="en", prompts=(prompt,)), {"speaker": "anna"}, sample_rate_hz=24000
)
try:
    with Recording(sample_rate_hz=24000) as take:
        print("recording", flush=True)
        sys.stdin.readline()
        session.keep(prompt, take.samples())
except AudioError as error:
    print(error, flush=True)
"""


@pytest.mark.parametrize("live", [False, True])
def test_sound_that_the_device_threw_away_is_counted(live: bool) -> None:
    from stt_ft.audio.microphone import LiveMicrophone, Recording

    take = LiveMicrophone(sample_rate_hz=RATE_HZ, frame_samples=1920) if live else Recording(sample_rate_hz=RATE_HZ)
    for lost in (False, True, False, True):
        take._take(np.zeros((256, 1), np.float32), 256, None, SimpleNamespace(input_overflow=lost))
    assert take.num_gaps == 2


def test_sound_from_a_device_of_another_rate_is_no_sample_late() -> None:
    """What `transcribe --mic` hears of pieces of odd lengths, against the whole resampled at once."""
    from stt_ft.audio.microphone import LiveMicrophone

    microphone = LiveMicrophone(sample_rate_hz=RATE_HZ, frame_samples=1920)
    microphone.device_rate_hz = 44_100
    sound, rng, begin = resample(np.concatenate([chirp(), np.zeros(RATE_HZ, np.float32)]), RATE_HZ, 44_100), np.random.default_rng(0), 0
    while begin < len(sound):
        end = begin + int(rng.integers(100, 2000))
        microphone._keep(sound[begin:end])
        begin = end
    frames = microphone.frames(timeout_s=0.1)
    heard = np.concatenate([next(frames) for _ in range(2 * 12)])
    np.testing.assert_allclose(heard, resample(sound, 44_100, RATE_HZ)[: len(heard)], atol=2e-3)


def test_no_such_device_is_refused_with_the_way_out() -> None:
    try:
        import sounddevice
    except OSError:
        pytest.skip("libportaudio2 is not installed")
    from stt_ft.audio.microphone import Recording

    assert len(sounddevice.query_devices()) < 900
    with pytest.raises(AudioError, match=r"device 999.*--list_devices"), Recording(sample_rate_hz=RATE_HZ, device=999):
        pass
