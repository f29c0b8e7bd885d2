"""Sound files: from the names a user types to mono float32 samples, and back to disk as mono 16-bit WAV.

libsndfile reads WAV, FLAC, Ogg, MP3 and their kin; whatever it cannot read is handed to the `ffmpeg` program where there is one.
"""

from __future__ import annotations

import glob
import io
import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from stt_ft.core.atomic import atomic_path
from stt_ft.core.errors import AudioError
from stt_ft.core.timing import SAMPLE_RATE_HZ, samples_to_s

AUDIO_SUFFIXES = frozenset(
    ".wav .flac .ogg .oga .opus .mp3 .m4a .mp4 .aac .aif .aiff .au .caf .wma .webm .sph .w64".split()  # noqa: SIM905
)
"""File names that are taken for sound when a directory is searched."""


@dataclass(frozen=True, kw_only=True)
class AudioInfo:
    """The facts in a sound file's header."""

    duration_s: float
    sample_rate_hz: int
    channels: int


def sound_files(words: Sequence[str]) -> list[Path]:
    """Return the files that `words` name, in the order of the words, each once; raises `AudioError` for a word that names none.

    A pattern (`*`, `?`, `[a-z]`, `**` for directories below) stands for the files it matches, a directory for the sound files in it.
    """
    found: dict[Path, None] = {}
    for word in words:
        path = Path(word)
        if path.is_dir():
            matches = sorted(one for one in path.iterdir() if one.suffix.lower() in AUDIO_SUFFIXES)
        elif not path.exists() and glob.has_magic(word):
            matches = sorted(Path(one) for one in glob.glob(str(path.expanduser()), recursive=True) if Path(one).is_file())
        else:
            matches = [path]
        if not matches:
            raise AudioError(f"{word}: no sound files {'in this directory' if path.is_dir() else 'match this pattern'}")
        found |= dict.fromkeys(matches)
    return list(found)


def read_audio(path: str | Path, sample_rate_hz: int = SAMPLE_RATE_HZ, channel: int | None = None) -> npt.NDArray[np.float32]:
    """Return the sound of `path` as mono float32 samples at `sample_rate_hz`; several channels are averaged unless `channel` picks one.

    Raises `AudioError` by name when the file is missing, unreadable, empty, lacks `channel` or holds NaN or infinity.
    """
    path = Path(path)
    samples, source_rate_hz = _decode(path)  # samples [N, C]
    num_channels = samples.shape[1]
    if len(samples) == 0:
        raise AudioError(f"{path}: holds no sound (0 samples)")
    if channel is not None and not 0 <= channel < num_channels:
        raise AudioError(f"{path}: no channel {channel}; it has {num_channels}, counted from 0")
    mono = samples.mean(axis=1, dtype=np.float32) if channel is None else np.ascontiguousarray(samples[:, channel])
    if not np.isfinite(mono).all():
        raise AudioError(f"{path}: holds samples that are not finite numbers")
    return resample(mono, source_rate_hz, sample_rate_hz)


def resample(samples: np.ndarray, source_rate_hz: int, target_rate_hz: int) -> np.ndarray:
    """Return mono `samples` at `target_rate_hz`, band-limited and without delay (soxr; `sphn.resample` comes out 11 to 64 ms late)."""
    samples = np.asarray(samples, dtype=np.float32)
    if source_rate_hz == target_rate_hz:
        return samples
    return soxr.resample(samples, source_rate_hz, target_rate_hz)


def change_speed(samples: np.ndarray, speed: float, sample_rate_hz: int = SAMPLE_RATE_HZ) -> np.ndarray:
    """Return mono `samples` played `speed` times as fast: tempo, pitch and formants all move, as in a smaller speaker (Ko et al., 2015)."""
    return resample(samples, round(sample_rate_hz * speed), sample_rate_hz)


def write_wav(path: str | Path, samples: np.ndarray, sample_rate_hz: int = SAMPLE_RATE_HZ) -> None:
    """Write mono `samples` in [-1, 1] (beyond that they are clipped) as a 16-bit PCM WAV, whole or not at all."""
    pcm = np.round(np.clip(samples, -1.0, 32767 / 32768) * 32768).astype(np.int16)
    wav = io.BytesIO()  # libsndfile does not say why a disk refuses
    soundfile.write(wav, pcm, sample_rate_hz, subtype="PCM_16", format="WAV")
    with atomic_path(Path(path)) as temporary:
        temporary.write_bytes(wav.getbuffer())


def probe(path: str | Path) -> AudioInfo:
    """Return duration, rate and channels of `path` without decoding all of it; raises `AudioError` when it cannot be read."""
    path = _existing(Path(path))
    try:
        header = soundfile.info(str(path))
    except soundfile.LibsndfileError as error:
        return _probe_with_ffmpeg(path, error)
    num_frames = header.frames if header.format != "MP3" or _counts_frames(path) else _count_frames(path)
    duration_s = samples_to_s(num_frames, header.samplerate)
    return AudioInfo(duration_s=duration_s, sample_rate_hz=header.samplerate, channels=header.channels)


def _counts_frames(mp3: Path) -> bool:
    """Whether an MP3 says how long it is; of one that does not, libsndfile guesses from the first frame's bit rate, wrong by far."""
    with mp3.open("rb") as file:
        tag = file.read(10)
        if tag[:3] == b"ID3":  # its size is four times seven bits
            file.seek(10 + sum(byte << shift for byte, shift in zip(tag[6:10], (21, 14, 7, 0), strict=True)))
        else:
            file.seek(0)
        first_frame = file.read(64)
    return any(mark in first_frame for mark in (b"Xing", b"Info", b"VBRI"))


def _count_frames(path: Path) -> int:
    """Return the number of frames by decoding, a block at a time."""
    num_frames = 0
    with soundfile.SoundFile(str(path)) as sound:
        while len(block := sound.read(1 << 18, dtype="float32")):  # `blocks` would fill up to the guess
            num_frames += len(block)
    return num_frames


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise AudioError(f"{path}: no such audio file")
    return path


def _decode(path: Path) -> tuple[np.ndarray, int]:
    """Return samples [N, C] float32 and their rate."""
    _existing(path)
    try:
        return soundfile.read(str(path), dtype="float32", always_2d=True)
    except MemoryError:
        raise AudioError(f"{path}: its header promises more sound than fits into memory") from None
    except soundfile.LibsndfileError as error:
        wav = _run_ffmpeg(["ffmpeg", "-v", "error", "-nostdin", "-i", str(path), "-f", "wav", "-c:a", "pcm_f32le", "-"], path, error)
    try:
        return soundfile.read(io.BytesIO(wav), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{path}: ffmpeg decoded it to something unreadable ({error})") from None


def _probe_with_ffmpeg(path: Path, libsndfile_error: Exception) -> AudioInfo:
    entries = "stream=sample_rate,channels:format=duration"
    command = ["ffprobe", "-v", "error", "-select_streams", "a:0", "-show_entries", entries, "-of", "json", str(path)]
    answer = json.loads(_run_ffmpeg(command, path, libsndfile_error))
    try:
        stream = answer["streams"][0]
        duration_s = float(answer["format"]["duration"])
        return AudioInfo(duration_s=duration_s, sample_rate_hz=int(stream["sample_rate"]), channels=int(stream["channels"]))
    except (KeyError, IndexError, ValueError):
        raise AudioError(f"{path}: holds no sound that ffprobe can measure") from None


def _run_ffmpeg(command: list[str], path: Path, libsndfile_error: Exception) -> bytes:
    reason = " ".join(str(libsndfile_error).split())
    if shutil.which(command[0]) is None:
        raise AudioError(f"{path}: cannot be read ({reason}); if it is sound, install ffmpeg or convert it to WAV") from None
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode != 0:
        reason = " ".join(done.stderr.decode(errors="replace").split())[-200:] or reason
        raise AudioError(f"{path}: cannot be read by libsndfile or ffmpeg ({reason})")
    return done.stdout
