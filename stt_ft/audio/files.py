"""Sound files: from the names a user types to mono float32 samples, and back to disk as mono 16-bit WAV.

libsndfile reads WAV, FLAC, Ogg, MP3 and their kin; whatever it cannot read is handed to the `ffmpeg` program where there is one. Every
command reads sound here, so that all refuse the same files: those that are cut off, and those whose channels hold different voices.
"""

from __future__ import annotations

import contextlib
import glob
import io
import json
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from stt_ft.audio.levels import SILENT_PEAK, level_steps_db, peak
from stt_ft.core.atomic import atomic_path
from stt_ft.core.errors import AudioError
from stt_ft.core.storage import Fetched, Readable, fetched, place
from stt_ft.core.timing import SAMPLE_RATE_HZ, samples_to_s

AUDIO_SUFFIXES = frozenset(
    ".wav .flac .ogg .oga .opus .mp3 .m4a .mp4 .aac .aif .aiff .au .caf .wma .webm .sph .w64".split()  # noqa: SIM905
)
"""File names that are taken for sound when a directory is searched."""

_STREAMED_BYTES = 0x7FFF0000
"""Whoever writes a stream cannot know its length, and puts the greatest there is into the header: 0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000."""

_LOOSE_BYTES = 1024
"""Headers are wrong by their own length and by blocks that were filled up; so little is no word."""

_CUT_OFF_SHARE, _CUT_OFF_S = 0.02, 0.1
"""A compressed file that lacks more than both together of what its header promises is cut off."""

_OWN_DB, _OWN_STEPS, _ACTIVE_DB, _FAR_DB = 10.0, 10, 20.0, 30.0
"""10 ms are a channel's own where it is this much louder than every other one and than its own background (hum, noise), and sounds: within
20 dB of its loudest moment, which lies within 30 dB of the loudest of all. Channels with 10 such steps each are voices."""

_FFMPEG_FORMATS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,eac3,flac,flv,gsm,loas,matroska,mov,mp3,mpeg,mpegts,nistsphere,ogg,rm,sln,sox,tta,voc,w64,"
    "wav,webm,wv"
)
"""Demuxers that ffmpeg may use: containers that hold their sound themselves. A playlist would let it open other files."""


@dataclass(frozen=True, kw_only=True)
class AudioInfo:
    """The facts in a sound file's header.

    Attributes:
        is_plain: libsndfile reads the file as it stands, so other programs do too.
    """

    duration_s: float
    sample_rate_hz: int
    channels: int
    is_plain: bool = True


def sound_files(words: Sequence[str]) -> list[Path]:
    """Return the files that `words` name, in the order of the words, each once; raises `AudioError` for a word that names none.

    A pattern (`*`, `?`, `[a-z]`, `**` for directories below) stands for the files it matches, a directory for the sound files in it.
    """
    found: dict[Path, None] = {}
    for word in words:
        path = place(word)
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


def read_audio(source: str | Readable, sample_rate_hz: int = SAMPLE_RATE_HZ, channel: int | None = None) -> npt.NDArray[np.float32]:
    """Return the sound of a file, or of a piece of an archive, as mono float32 samples at `sample_rate_hz`; several channels are averaged
    unless `channel` picks one.

    Raises `AudioError` by name when the file is missing, unreadable, cut off, empty, lacks `channel`, holds NaN or infinity, or holds
    different voices on its channels and none of them is picked.
    """
    file = _File.of(source)
    samples, source_rate_hz = _decode(file)  # samples [N, C]
    num_channels = samples.shape[1]
    if len(samples) == 0:
        raise AudioError(f"{file}: holds no sound (0 samples)")
    if channel is not None:
        if not 0 <= channel < num_channels:
            raise AudioError(f"{file}: no channel {channel}; it has {num_channels}, counted from 0")
        samples = np.ascontiguousarray(samples[:, channel : channel + 1])
    if not np.isfinite(samples).all():
        raise AudioError(f"{file}: holds samples that are not finite numbers")
    if num_voices(samples, source_rate_hz) > 1:
        flag = f"--channel 0{' or 1' if num_channels == 2 else f' to {num_channels - 1}'}"
        raise AudioError(f"{file}: its channels hold different voices; `stt-ft ingest` and `stt-ft transcribe` take one of them: {flag}")
    mono = samples.mean(axis=1, dtype=np.float32)
    if peak(mono) < SILENT_PEAK * peak(samples):
        mono = np.ascontiguousarray(samples[:, 0])  # one wire was swapped: the channels are each other's negatives
    return resample(mono, source_rate_hz, sample_rate_hz)


def num_voices(samples: np.ndarray, sample_rate_hz: int) -> int:
    """Return how many channels of `samples` [N, C] have moments of their own (`_OWN_DB`), at least 1.

    Speakers on channels of their own take turns, while microphones before one speaker are loud together.
    """
    if samples.shape[1] == 1:
        return 1
    levels_db = np.stack([level_steps_db(channel, sample_rate_hz) for channel in samples.T])  # [C, T]
    if levels_db.shape[1] < _OWN_STEPS:
        return 1
    background_db, loudest_db = np.percentile(levels_db, 10, axis=1, keepdims=True), levels_db.max(axis=1, keepdims=True)
    sounds = (levels_db >= loudest_db - _ACTIVE_DB) & (loudest_db >= loudest_db.max() - _FAR_DB) & (levels_db >= background_db + _OWN_DB)
    order = np.sort(levels_db, axis=0)
    is_own = sounds & (levels_db == order[-1]) & (order[-1] >= order[-2] + _OWN_DB) & (order[-1] >= 20 * np.log10(SILENT_PEAK))
    return max(1, int((is_own.sum(axis=1) >= _OWN_STEPS).sum()))


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
    """Write what `wav_of` returns to `path`, whole or not at all."""
    wav = wav_of(samples, sample_rate_hz)  # in memory first: libsndfile does not say why a disk refuses
    with atomic_path(place(path)) as temporary:
        temporary.write_bytes(wav)


def wav_of(samples: np.ndarray, sample_rate_hz: int = SAMPLE_RATE_HZ) -> bytes:
    """Return mono `samples` in [-1, 1] (beyond that they are clipped) as a 16-bit PCM WAV."""
    pcm = np.round(np.clip(samples, -1.0, 32767 / 32768) * 32768).astype(np.int16)
    wav = io.BytesIO()
    soundfile.write(wav, pcm, sample_rate_hz, subtype="PCM_16", format="WAV")
    return wav.getvalue()


def probe(source: str | Readable) -> AudioInfo:
    """Return duration, rate and channels of a file or a piece of an archive without decoding all of it; raises `AudioError` when it cannot
    be read."""
    file = _File.of(source)
    try:
        readable, is_plain = _readable(file)
        header = soundfile.info(readable)
    except soundfile.LibsndfileError as error:
        return _probe_with_ffmpeg(file, error)
    num_frames = header.frames if header.format != "MP3" or _counts_frames(file) else _count_frames(file)
    return AudioInfo(
        duration_s=samples_to_s(num_frames, header.samplerate),
        sample_rate_hz=header.samplerate,
        channels=header.channels,
        is_plain=is_plain,
    )


@dataclass(frozen=True)
class _File:
    """A sound file as the readers take it: one of this machine, or what was read of another place, as bytes in memory."""

    source: Readable
    content: bytes | None = None

    @classmethod
    def of(cls, source: str | Readable) -> _File:
        """Raises as `fetched`."""
        source = fetched(place(source) if isinstance(source, str) else source)
        return cls(source, source.content if isinstance(source, Fetched) else None)

    def __str__(self) -> str:
        return str(self.source)

    def open(self) -> BinaryIO:
        return open(str(self), "rb") if self.content is None else io.BytesIO(self.content)

    @property
    def size(self) -> int:
        return os.path.getsize(str(self)) if self.content is None else len(self.content)

    def for_libsndfile(self) -> str | BinaryIO:
        return str(self) if self.content is None else self.open()

    @contextlib.contextmanager
    def on_disk(self) -> Iterator[Path]:
        """Yield a path for a program that reads no memory."""
        if self.content is None:
            yield Path(str(self))
            return
        with tempfile.TemporaryDirectory(prefix="stt-ft-") as directory:
            path = Path(directory) / f"sound{self.source.suffix}"
            path.write_bytes(self.content)
            yield path


def _counts_frames(mp3: _File) -> bool:
    """Whether an MP3 says how long it is; of one that does not, libsndfile guesses from the first frame's bit rate, wrong by far."""
    with mp3.open() as file:
        tag = file.read(10)
        if tag[:3] == b"ID3":  # its size is four times seven bits
            file.seek(10 + sum(byte << shift for byte, shift in zip(tag[6:10], (21, 14, 7, 0), strict=True)))
        else:
            file.seek(0)
        first_frame = file.read(64)
    return any(mark in first_frame for mark in (b"Xing", b"Info", b"VBRI"))


def _count_frames(file: _File) -> int:
    """Return the number of frames by decoding, a block at a time; raises `AudioError` where that fails."""
    num_frames = 0
    try:
        with soundfile.SoundFile(file.for_libsndfile()) as sound:
            while len(block := sound.read(1 << 18, dtype="float32")):  # `blocks` would fill up to the guess
                num_frames += len(block)
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{file}: cannot be read as audio: {error}") from None
    return num_frames


def _decode(file: _File) -> tuple[np.ndarray, int]:
    """Return samples [N, C] float32 and their rate; raises `AudioError` for a file that holds less than its header promises."""
    promised = 0
    try:
        readable, _ = _readable(file)
        header = soundfile.info(readable)
        promised = header.frames if header.format != "MP3" or _counts_frames(file) else 0
        if not isinstance(readable, str):
            readable.seek(0)
        samples, rate_hz = soundfile.read(readable, dtype="float32", always_2d=True)
    except (MemoryError, ValueError):  # which of the two NumPy raises depends on how much it is
        raise AudioError(f"{file}: its header promises more sound than fits into memory") from None
    except soundfile.LibsndfileError as error:
        with file.on_disk() as path:
            command = [*_ffmpeg("ffmpeg", path), "-vn", "-f", "wav", "-c:a", "pcm_f32le", "-"]
            wav = _run_ffmpeg(command, file, error)
        try:
            samples, rate_hz = soundfile.read(io.BytesIO(wav), dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as other:
            raise AudioError(f"{file}: ffmpeg decoded it to something unreadable ({other})") from None
    if len(samples) < (1 - _CUT_OFF_SHARE) * promised - _CUT_OFF_S * rate_hz:
        raise _cut_off(file, samples_to_s(promised, rate_hz), samples_to_s(len(samples), rate_hz))
    return samples, rate_hz


def _cut_off(file: _File, promised_s: float, held_s: float) -> AudioError:
    keep = "record or copy it again, or keep what is there: ffmpeg -i FILE OUT.wav"
    return AudioError(f"{file}: cut off: its header promises {promised_s:.2f} s, {held_s:.2f} s can be read ({keep})")


# --- What the header of a file without compression promises -------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Data:
    """Where the samples of a file begin, how many bytes its header promises and where it says so, and how chunks begin (for `struct`)."""

    begin: int
    promised: int
    length_at: int
    chunk: str


def _readable(file: _File) -> tuple[str | BinaryIO, bool]:
    """Return what libsndfile is to read: the file, or its bytes with a length in place of a 0 that was never filled in; and whether it is
    the file as it stands.

    libsndfile reads what is there, however long the header says that it is. So this compares the two, and raises `AudioError` for a file
    that was cut off, and for one with sound behind the end that its header tells: which of the two is right cannot be known.
    """
    try:
        data = _data_of(file)
    except OSError:
        data = None  # libsndfile says why
    if data is None or data.promised >= _STREAMED_BYTES:
        return file.for_libsndfile(), True
    held = file.size - data.begin
    if data.promised == 0 and held > 0 and not _other_chunks_follow(file, data):
        content = bytearray(file.open().read())
        struct.pack_into(data.chunk[0] + data.chunk[-1], content, data.length_at, 0xFFFFFFFF)
        return io.BytesIO(content), False
    if held < data.promised - _LOOSE_BYTES or (held > data.promised + _LOOSE_BYTES and not _other_chunks_follow(file, data)):
        known_s = soundfile.info(file.for_libsndfile()).duration
        if held < data.promised:
            raise _cut_off(file, known_s * data.promised / held if held else 0.0, known_s)
        there_s = known_s * held / data.promised
        keep = "to keep all of it: ffmpeg -ignore_length 1 -i FILE OUT.wav"
        raise AudioError(f"{file}: its header tells of {known_s:.2f} s, and the file holds {there_s:.2f} s ({keep})")
    return file.for_libsndfile(), True


def _data_of(source: _File) -> _Data | None:
    """Return where the samples of a WAV, RF64, W64, AIFF or AU file are; None for any other file, and for one without samples."""
    with source.open() as file:
        head = file.read(40)
        if head[:4] == b".snd" and len(head) == 40:
            return _Data(begin=int.from_bytes(head[4:8], "big"), promised=int.from_bytes(head[8:12], "big"), length_at=8, chunk=">4sI")
        if head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:12] == b"WAVE":
            at, chunk, wanted, counted, padded_to = 12, "<4sI", b"data", 0, 2
        elif head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
            at, chunk, wanted, counted, padded_to = 12, ">4sI", b"SSND", 0, 2
        elif head[:4] == b"riff" and head[24:28] == b"wave":  # W64: a name of 16 bytes, and a length of 8 that counts both
            at, chunk, wanted, counted, padded_to = 40, "<4s12xQ", b"data", 24, 8
        else:
            return None
        in_64_bits, end = 0, source.size
        for _ in range(1000):
            file.seek(at)
            beginning = file.read(struct.calcsize(chunk))
            if len(beginning) < struct.calcsize(chunk):
                break
            name, length = struct.unpack(chunk, beginning)
            length = max(0, length - counted)
            begin = at + len(beginning)
            if name == b"ds64":  # RF64: lengths that need more than 32 bits, that of the whole file first
                in_64_bits = int.from_bytes(file.read(16)[8:], "little")
            if name == wanted:
                promised = in_64_bits if length == 0xFFFFFFFF and in_64_bits else length
                return _Data(begin=begin, promised=promised, length_at=begin - (8 if counted else 4), chunk=chunk)
            at = min(begin + length + -length % padded_to, end)
    return None


def _other_chunks_follow(source: _File, data: _Data) -> bool:
    """Whether the bytes behind the promised samples are no samples: a chunk with a name and a length that fits, or zeros to the end."""
    size = struct.calcsize(data.chunk)
    with source.open() as file:
        file.seek(data.begin + data.promised + data.promised % 2)
        behind = file.read()
    name, length = struct.unpack(data.chunk, behind[:size].ljust(size, b"\0"))
    return (all(32 <= letter < 127 for letter in name) and length <= len(behind)) or not any(behind)


# --- ffmpeg -------------------------------------------------------------------------------------------------------------------------


def _ffmpeg(program: str, path: Path) -> list[str]:
    """Return the beginning of a command that may read the file `path`, and no other file or address that is named in it."""
    quiet = ["-v", "error"] + (["-nostdin"] if program == "ffmpeg" else [])
    return [program, *quiet, "-protocol_whitelist", "file", "-format_whitelist", _FFMPEG_FORMATS, "-i", f"file:{path}"]


def _probe_with_ffmpeg(file: _File, libsndfile_error: Exception) -> AudioInfo:
    """Return what ffprobe knows; where the header has no duration, as in what browsers record, that of its packets."""
    with file.on_disk() as path:
        command = [*_ffmpeg("ffprobe", path), "-select_streams", "a:0", "-of", "json", "-show_entries"]
        answer = json.loads(_run_ffmpeg([*command, "stream=sample_rate,channels:format=duration"], file, libsndfile_error))
        try:
            stream = answer["streams"][0]
            if "duration" in answer["format"]:
                duration_s = float(answer["format"]["duration"])
            else:
                packets = json.loads(_run_ffmpeg([*command, "packet=pts_time,duration_time"], file, libsndfile_error))["packets"]
                duration_s = max(float(packet["pts_time"]) + float(packet.get("duration_time", 0)) for packet in packets)
            rate_hz, channels = int(stream["sample_rate"]), int(stream["channels"])
            return AudioInfo(duration_s=duration_s, sample_rate_hz=rate_hz, channels=channels, is_plain=False)
        except (KeyError, IndexError, ValueError):
            raise AudioError(f"{file}: holds no sound that ffprobe can measure") from None


def _run_ffmpeg(command: list[str], file: _File, libsndfile_error: Exception) -> bytes:
    reason = " ".join(str(libsndfile_error).split())
    if shutil.which(command[0]) is None:
        raise AudioError(f"{file}: cannot be read ({reason}); if it is sound, install ffmpeg or convert it to WAV") from None
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode != 0:
        reason = " ".join(done.stderr.decode(errors="replace").split())[-200:] or reason
        if "whitelist" in reason:
            reason = "a playlist, or another kind of file that may not be opened"
        raise AudioError(f"{file}: cannot be read by libsndfile or ffmpeg ({reason})")
    return done.stdout
