"""The microphone and the loudspeaker, through PortAudio (`sounddevice`, which needs the system's libportaudio2 on Linux)."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import soxr

from stt_ft.audio.files import resample
from stt_ft.audio.levels import rms_db
from stt_ft.core.errors import AudioError

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True, kw_only=True)
class InputDevice:
    """A device that can record."""

    number: int
    name: str
    channels: int
    sample_rate_hz: int
    is_default: bool


def input_devices() -> list[InputDevice]:
    """Return the devices that can record; raises `AudioError` when PortAudio is missing."""
    sounddevice = _sounddevice()
    default = sounddevice.default.device[0]
    return [
        InputDevice(
            number=number,
            name=device["name"],
            channels=device["max_input_channels"],
            sample_rate_hz=round(device["default_samplerate"]),
            is_default=number == default,
        )
        for number, device in enumerate(sounddevice.query_devices())
        if device["max_input_channels"] > 0
    ]


def require_input(device: int | None) -> None:
    """Raise `AudioError` when PortAudio is missing, or no device can record, or not the one with this number."""
    sounddevice = _sounddevice()
    try:
        channels = sounddevice.query_devices(device, "input")["max_input_channels"]
    except (sounddevice.PortAudioError, ValueError) as error:
        raise AudioError(f"no device to record from: {error}; see stt-ft record --list_devices") from None
    if channels < 1:
        raise AudioError(f"device {device} cannot record; see stt-ft record --list_devices")


class Recording:
    """One take: sound is gathered from entering the `with` block until leaving it.

    The device is asked for `sample_rate_hz`; one that cannot do it runs at its own rate, and the take is resampled.

    Attributes:
        level_db: power of the newest piece of sound, in decibels of full scale.
        peak: largest magnitude of the take so far.
        num_gaps: how often the device threw sound away, because this program was too slow to take it; the take lacks that sound.
    """

    def __init__(self, *, sample_rate_hz: int, device: int | None = None) -> None:
        self.sample_rate_hz = sample_rate_hz
        self.device_rate_hz = sample_rate_hz
        self._device = device
        self._chunks: list[np.ndarray] = []
        self._lock = threading.Lock()
        self.level_db = rms_db(np.zeros(0))
        self.peak = 0.0
        self.num_gaps = 0
        self._stream: Any = None

    def __enter__(self) -> Self:
        sounddevice = _sounddevice()
        try:
            try:
                sounddevice.check_input_settings(device=self._device, channels=1, samplerate=self.sample_rate_hz)
            except sounddevice.PortAudioError:
                self.device_rate_hz = round(sounddevice.query_devices(self._device, "input")["default_samplerate"])
            self._stream = sounddevice.InputStream(
                device=self._device, channels=1, samplerate=self.device_rate_hz, dtype="float32", callback=self._take
            )
            self._stream.start()
        except (sounddevice.PortAudioError, ValueError) as error:
            name = "the default device" if self._device is None else f"device {self._device}"
            raise AudioError(f"cannot record from {name}: {error}; see stt-ft record --list_devices") from None
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stream.stop()
        self._stream.close()

    def samples(self) -> np.ndarray:
        """Return the sound recorded so far, mono float32 at `sample_rate_hz`."""
        with self._lock:
            sound = np.concatenate(self._chunks) if self._chunks else np.zeros(0, dtype=np.float32)
        return resample(sound, self.device_rate_hz, self.sample_rate_hz)

    def _take(self, frames: np.ndarray, _count: int, _time: object, status: Any) -> None:
        chunk = frames[:, 0].copy()
        self.num_gaps += bool(status.input_overflow)
        self._keep(chunk)

    def _keep(self, chunk: np.ndarray) -> None:
        with self._lock:
            self._chunks.append(chunk)
        self.level_db = rms_db(chunk)
        self.peak = max(self.peak, float(np.abs(chunk).max(initial=0.0)))


class LiveMicrophone(Recording):
    """A recording that is handed on as it comes, in frames of equal length; nothing is gathered."""

    def __init__(self, *, sample_rate_hz: int, frame_samples: int, device: int | None = None) -> None:
        super().__init__(sample_rate_hz=sample_rate_hz, device=device)
        self._frame_samples = frame_samples
        self._queue: queue.SimpleQueue[np.ndarray] = queue.SimpleQueue()

    def _keep(self, chunk: np.ndarray) -> None:
        self._queue.put(chunk)

    def frames(self, timeout_s: float = 10.0) -> Iterator[np.ndarray]:
        """Yield frames of mono float32 without end; raises `AudioError` when the device gives nothing for `timeout_s`."""
        cutter = FrameCutter(self.device_rate_hz, self.sample_rate_hz, frame_samples=self._frame_samples)
        while True:
            try:
                chunk = self._queue.get(timeout=timeout_s)
            except queue.Empty:
                raise AudioError(f"the microphone gave no sound for {timeout_s:g} s; see stt-ft record --list_devices") from None
            yield from cutter.cut(chunk)


class FrameCutter:
    """Cuts mono sound that comes piece by piece at one rate into frames of equal length at another."""

    def __init__(self, rate_hz: int, to_rate_hz: int, *, frame_samples: int) -> None:
        self._resampler = None if rate_hz == to_rate_hz else soxr.ResampleStream(rate_hz, to_rate_hz, 1, dtype="float32")
        self._frame_samples = frame_samples
        self._left = np.zeros(0, np.float32)
        self.num_frames = 0

    def cut(self, samples: np.ndarray, *, is_last: bool = False) -> list[np.ndarray]:
        """Return the frames that have become whole with `samples`; the last one is filled up with silence."""
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(samples, last=is_last)
        sound = np.concatenate([self._left, samples])
        if is_last:
            sound = np.pad(sound, (0, -len(sound) % self._frame_samples))
        whole = len(sound) // self._frame_samples
        self._left = sound[whole * self._frame_samples :]
        self.num_frames += whole
        return list(sound[: whole * self._frame_samples].reshape(whole, self._frame_samples))


def play(samples: np.ndarray, sample_rate_hz: int) -> None:
    """Play `samples` on the default loudspeaker and wait for their end; raises `AudioError` when there is none."""
    sounddevice = _sounddevice()
    try:
        sounddevice.play(samples, sample_rate_hz, blocking=True)
    except (sounddevice.PortAudioError, ValueError) as error:
        raise AudioError(f"cannot play back: {error}") from None


def _sounddevice() -> Any:
    try:
        import sounddevice
    except OSError as error:
        raise AudioError(f"no access to sound devices ({error}); on Debian and Ubuntu: apt-get install libportaudio2") from None
    return sounddevice
