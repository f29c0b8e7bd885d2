"""Files that promise other sound than they hold, that hold two voices, or that name other files: one reader refuses them everywhere."""

from __future__ import annotations

import random
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stt_ft.audio.files import num_voices, probe, read_audio
from stt_ft.core.errors import AudioError
from stt_ft.simulation.glued import SpokenDigits, mixed_gaps

RATE_HZ = 24_000
NUM_SAMPLES = 60_480  # 2.52 s

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")


def noise(seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(NUM_SAMPLES)).astype(np.float32)


def written(path: Path, container: str | None = None) -> Path:
    soundfile.write(path, noise(), RATE_HZ, format=container)
    return path


def with_data_length(path: Path, length: int) -> Path:
    content = bytearray(written(path).read_bytes())
    struct.pack_into("<I", content, content.index(b"data") + 4, length)
    path.write_bytes(content)
    return path


def both_refuse(path: Path, message: str) -> None:
    """The reader of every command, and the look that `ingest` takes first, name the file and agree."""
    with pytest.raises(AudioError, match=message) as read:
        read_audio(path)
    assert str(read.value).startswith(str(path))
    assert "\n" not in str(read.value)
    with pytest.raises(AudioError, match=message):
        probe(path)


@pytest.mark.parametrize(
    ("suffix", "container"),
    [(".wav", "WAV"), (".wav", "WAVEX"), (".wav", "RF64"), (".w64", "W64"), (".aiff", "AIFF"), (".au", "AU")],
)
def test_a_file_of_which_half_is_missing_is_cut_off(tmp_path: Path, suffix: str, container: str):
    path = written(tmp_path / f"take{suffix}", container)
    assert len(read_audio(path)) == NUM_SAMPLES
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    both_refuse(path, r"cut off: its header promises 2\.52 s, 1\.26 s can be read")


@pytest.mark.parametrize("suffix", [".flac", ".mp3"])
def test_a_compressed_file_of_which_half_is_missing_is_cut_off(tmp_path: Path, suffix: str):
    path = written(tmp_path / f"take{suffix}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(AudioError, match=r"cut off: its header promises 2\.52 s"):
        read_audio(path)


@pytest.mark.parametrize("length", [0, 0x7FFF_F000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF])
def test_a_stream_whose_length_nobody_filled_in_is_read_whole(tmp_path: Path, length: int):
    path = with_data_length(tmp_path / "stream.wav", length)
    assert np.abs(read_audio(path) - noise()).max() < 1e-4
    assert probe(path).duration_s == 2.52
    assert probe(path).is_plain == (length != 0)  # other programs see no sound behind a 0: `ingest` writes such a file anew


def test_a_header_that_tells_of_half_of_what_is_there_is_refused(tmp_path: Path):
    both_refuse(with_data_length(tmp_path / "x.wav", NUM_SAMPLES), r"its header tells of 1\.26 s, and the file holds 2\.52 s")


@pytest.mark.parametrize("length", [2 * NUM_SAMPLES - 40, 2 * NUM_SAMPLES + 44])
def test_a_length_that_counts_the_header_too_or_not_enough_does_no_harm(tmp_path: Path, length: int):
    assert abs(len(read_audio(with_data_length(tmp_path / "x.wav", length))) - NUM_SAMPLES) <= 20


@pytest.mark.parametrize("behind", [b"id3 " + struct.pack("<I", 3000) + bytes(range(100)) * 30, bytes(9000)])
def test_other_chunks_and_zeros_behind_the_sound_are_no_sound(tmp_path: Path, behind: bytes):
    path = written(tmp_path / "x.wav")
    path.write_bytes(path.read_bytes() + behind)
    assert len(read_audio(path)) == NUM_SAMPLES


def test_a_length_of_nothing_before_other_chunks_is_no_sound(tmp_path: Path):
    soundfile.write(tmp_path / "x.wav", np.zeros(0), RATE_HZ)
    (tmp_path / "x.wav").write_bytes((tmp_path / "x.wav").read_bytes() + b"LIST" + struct.pack("<I", 4) + b"INFO")
    with pytest.raises(AudioError, match="holds no sound"):
        read_audio(tmp_path / "x.wav")


@needs_ffmpeg
def test_what_a_browser_records_has_no_duration_and_is_measured_by_its_packets(tmp_path: Path):
    wav = written(tmp_path / "x.wav")
    with (tmp_path / "rec.webm").open("wb") as out:  # as MediaRecorder writes it: to a stream
        if subprocess.run(["ffmpeg", "-v", "error", "-i", wav, "-f", "webm", "-"], stdout=out, check=False).returncode != 0:
            pytest.skip("this ffmpeg writes no webm")
    assert probe(tmp_path / "rec.webm").duration_s == pytest.approx(2.52, abs=0.05)
    assert len(read_audio(tmp_path / "rec.webm")) == pytest.approx(NUM_SAMPLES, abs=1200)


@needs_ffmpeg
@pytest.mark.parametrize(
    "playlist",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:2.5,\nfile://{secret}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile private.mp3\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
    ],
)
def test_ffmpeg_opens_no_file_but_the_one_that_is_named(tmp_path: Path, playlist: str):
    secret = written(tmp_path / "private.mp3")
    (tmp_path / "a.m4a").write_text(playlist.format(secret=secret))
    both_refuse(tmp_path / "a.m4a", "cannot be read by libsndfile or ffmpeg")


def test_two_voices_on_two_channels_are_refused_and_one_of_them_can_be_taken(tmp_path: Path):
    rng = np.random.default_rng(1)
    bursts = (np.arange(3 * RATE_HZ) // (RATE_HZ // 8)) % 2
    speech = (0.2 * bursts * rng.standard_normal(3 * RATE_HZ)).astype(np.float32)
    turns = np.stack([np.concatenate([speech, 0 * speech]), np.concatenate([0 * speech, speech])], axis=1)
    soundfile.write(tmp_path / "call.wav", turns, RATE_HZ)
    with pytest.raises(AudioError, match=r"call\.wav: its channels hold different voices; .*--channel 0 or 1"):
        read_audio(tmp_path / "call.wav")
    assert np.abs(read_audio(tmp_path / "call.wav", channel=1) - turns[:, 1]).max() < 1e-4


def test_channels_that_are_each_others_negatives_are_one_voice(tmp_path: Path):
    soundfile.write(tmp_path / "x.wav", np.stack([noise(), -noise()], axis=1), RATE_HZ)
    assert np.abs(read_audio(tmp_path / "x.wav") - noise()).max() < 1e-4


def side_by_side(*channels: np.ndarray) -> np.ndarray:
    length = max(map(len, channels))
    return np.stack([np.pad(channel, (0, length - len(channel))) for channel in channels], axis=1).astype(np.float32)


def test_real_voices_are_told_apart_from_one_voice_before_two_microphones(spoken_digits: SpokenDigits):
    rng = random.Random(0)
    speakers = [name for name in spoken_digits.speakers if name not in ("lucas", "theo")]
    at_once = []
    for index in range(12):
        one, other = (
            spoken_digits.number(name, "".join(rng.choices("0123456789", k=4)), mixed_gaps(rng, 3), rng).samples
            for name in rng.sample(speakers, 2)
        )
        later = np.concatenate([np.zeros(len(one), np.float32), other])
        hiss = 0.01 * np.random.default_rng(index).standard_normal(len(one))
        at_once.append((one, other))
        for pair, expected in (
            ((one, later), 2), ((one, 0.1 * later), 2),
            ((one, one), 1), ((one, 0 * one), 1), ((one, 0.3 * one), 1), ((one, np.roll(one, 72)), 1), ((one, hiss), 1),
            ((one, 0.2 * one + 0.02 * np.sin(np.arange(len(one)) * 2 * np.pi * 50 / RATE_HZ)), 1),
        ):  # fmt: skip
            assert num_voices(side_by_side(*pair), RATE_HZ) == expected
    # Where two people speak at the same time from first to last, as nobody does, one of the two may stay unnoticed: 6 of 150 such pairs.
    assert sum(num_voices(side_by_side(*pair), RATE_HZ) == 2 for pair in at_once) >= 11
