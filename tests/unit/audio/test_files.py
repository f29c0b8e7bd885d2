"""Reading and writing sound: content and time survive, and what cannot be used is refused by name."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from stt_ft.audio.files import probe, read_audio, resample, write_wav
from stt_ft.core.errors import AudioError


def tone(rate_hz: int, duration_s: float = 0.5, frequency_hz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * frequency_hz * np.arange(round(duration_s * rate_hz)) / rate_hz)).astype(np.float32)


@pytest.mark.parametrize("rate_hz", [8000, 16000, 22050, 44100, 48000])
def test_resampling_keeps_a_tone_in_phase(rate_hz: int) -> None:
    resampled = resample(tone(rate_hz), rate_hz, 24000)
    inside = slice(1200, -1200)
    assert np.abs(resampled - tone(24000))[inside].max() < 1e-3


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 4000), st.sampled_from([8000, 16000, 22050, 44100]))
def test_resampling_keeps_the_duration(num_samples: int, rate_hz: int) -> None:
    resampled = resample(np.zeros(num_samples, dtype=np.float32), rate_hz, 24000)
    assert abs(len(resampled) / 24000 - num_samples / rate_hz) <= 1 / 24000 + 1e-9


def test_written_sound_is_read_back(tmp_path: Path) -> None:
    write_wav(tmp_path / "a" / "tone.wav", tone(24000))
    assert np.abs(read_audio(tmp_path / "a" / "tone.wav") - tone(24000)).max() <= 0.5 / 32768 + 1e-7
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["tone.wav"]


def test_writing_clips_instead_of_wrapping(tmp_path: Path) -> None:
    write_wav(tmp_path / "loud.wav", np.array([2.0, -2.0, 1.0], dtype=np.float32))
    samples = read_audio(tmp_path / "loud.wav")
    assert np.allclose(samples, [1.0, -1.0, 1.0], atol=1e-4)


def test_channels_are_averaged_or_chosen(tmp_path: Path) -> None:
    path = tmp_path / "stereo.flac"
    soundfile.write(path, np.stack([tone(24000), np.zeros(12000)], axis=1), 24000)
    assert np.allclose(read_audio(path), tone(24000) / 2, atol=1e-3)
    assert np.allclose(read_audio(path, channel=0), tone(24000), atol=1e-3)
    assert not read_audio(path, channel=1).any()
    with pytest.raises(AudioError, match="no channel 2; it has 2"):
        read_audio(path, channel=2)


def test_probe_tells_what_the_header_says(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", np.zeros((8000, 2)), 16000)
    info = probe(tmp_path / "x.wav")
    assert (info.duration_s, info.sample_rate_hz, info.channels) == (0.5, 16000, 2)


def broken_files(folder: Path) -> dict[str, Path]:
    paths = {name: folder / f"{name}.wav" for name in ("missing", "empty", "no_samples", "text", "nan", "infinite", "truncated")}
    paths["empty"].write_bytes(b"")
    paths["text"].write_text("not a sound")
    soundfile.write(paths["no_samples"], np.zeros(0), 24000)
    soundfile.write(paths["nan"], np.array([0.0, np.nan, 0.1]), 24000, subtype="FLOAT")
    soundfile.write(paths["infinite"], np.array([0.0, np.inf, 0.1]), 24000, subtype="FLOAT")
    soundfile.write(paths["truncated"], tone(24000), 24000)
    paths["truncated"].write_bytes(paths["truncated"].read_bytes()[:30])
    return paths


@pytest.mark.parametrize("name", ["missing", "empty", "no_samples", "text", "nan", "infinite", "truncated"])
def test_what_cannot_be_used_is_refused_by_name(tmp_path: Path, name: str) -> None:
    path = broken_files(tmp_path)[name]
    with pytest.raises(AudioError, match=f"{name}.wav") as refused:
        read_audio(path)
    assert "\n" not in str(refused.value)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_ffmpeg_reads_what_libsndfile_cannot(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", tone(24000, 1.0))
    subprocess.run(["ffmpeg", "-v", "error", "-i", tmp_path / "a.wav", "-c:a", "aac", tmp_path / "a.m4a"], check=True)
    samples = read_audio(tmp_path / "a.m4a")
    assert abs(len(samples) - 24000) < 2500
    assert 0.3 < np.abs(samples[6000:18000]).max() < 0.7
    assert probe(tmp_path / "a.m4a").channels == 1


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
@pytest.mark.parametrize("xing", ["0", "1"])
def test_an_mp3_is_as_long_as_it_sounds_whether_it_says_so_or_not(tmp_path: Path, xing: str) -> None:
    """Without a Xing header libsndfile multiplies the first frame's bit rate, and a silent beginning makes 5 s into half a minute."""
    write_wav(tmp_path / "a.wav", np.concatenate([np.zeros(24000), tone(24000, 4.0)]))
    command = [
        "ffmpeg",
        "-v",
        "error",
        "-i",
        tmp_path / "a.wav",
        "-c:a",
        "libmp3lame",
        "-q:a",
        "5",
        "-write_xing",
        xing,
        tmp_path / "a.mp3",
    ]
    if subprocess.run(command, check=False).returncode != 0:
        pytest.skip("this ffmpeg writes no MP3")
    assert probe(tmp_path / "a.mp3").duration_s == pytest.approx(5.0, abs=0.2)
