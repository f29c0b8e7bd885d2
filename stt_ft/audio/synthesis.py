"""Speech from espeak-ng with the true time of every word: a stand-in for a microphone in the demo, the tests and the tiny model's training.

The synthesiser comes as a wheel (`espeakng-loader`, extra `synth`) and is driven through its C interface (espeak-ng's `speak_lib.h`), which
reports each word and phoneme with the sample at which it begins.
"""

from __future__ import annotations

import _ctypes
import ctypes
import dataclasses
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stt_ft.audio.files import change_speed, resample
from stt_ft.core import timing
from stt_ft.core.errors import AlignmentError, AudioError, MissingExtra
from stt_ft.dataset.sidecar import Word

ACCENTS = ("en-us", "en-gb-x-rp", "en-gb-scotland")
"""espeak-ng's English accents that come with every build."""

_SYNCHRONOUS = 2
_PHONEME_EVENTS = 1
_CHARS_UTF8 = 1
_IPA_PARTED_BY_LINES = 0x02 | ord("\n") << 8
_RATE, _PITCH, _PITCH_RANGE = 1, 3, 4
_EVENT_END, _EVENT_WORD, _EVENT_PHONEME = 0, 1, 7


class _EventId(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """Mono speech at 24 kHz in [-1, 1] and the times of its words."""

    samples: npt.NDArray[np.float32]
    words: tuple[Word, ...]

    @property
    def duration_s(self) -> float:
        return timing.samples_to_s(len(self.samples))


class Synthesizer:
    """espeak-ng. The library keeps one global state, so use one instance in a process and not from several threads.

    One made with `is_alone` has a copy of the library: it disturbs no other, and no other disturbs it.
    """

    def __init__(self, *, is_alone: bool = False) -> None:
        try:
            import espeakng_loader
        except ImportError:
            raise MissingExtra("espeakng-loader", "synth", "speech synthesis") from None
        self._library_path, self._data_path = espeakng_loader.get_library_path(), espeakng_loader.get_data_path()
        self._chunks: list[npt.NDArray[np.int16]] = []
        self._events: list[tuple[int, int, int, bytes]] = []
        self._callback = _Callback(self._collect)  # kept: ctypes does not own it
        self._is_own = False
        if is_alone:
            self.forget()
        else:
            self._load(self._library_path)

    def forget(self) -> None:
        """Begin as if nothing had been spoken before: the library's oscillators otherwise carry on where they stopped. Takes 5 ms.

        The library is loaded anew, from a copy of its file: the file itself stays loaded while anything else in the process has it.
        """
        if self._is_own:
            self._library.espeak_Terminate()
            _ctypes.dlclose(self._library._handle)
        with tempfile.TemporaryDirectory(prefix="stt-ft-") as directory:
            self._load(shutil.copy(self._library_path, directory))
        self._is_own = True

    def _load(self, path: str) -> None:
        self._library = ctypes.CDLL(path)
        self._rate_hz = self._library.espeak_Initialize(_SYNCHRONOUS, 0, self._data_path.encode(), _PHONEME_EVENTS)
        if self._rate_hz <= 0:
            raise AudioError(f"espeak-ng did not start (error {self._rate_hz}); reinstall espeakng-loader")

    def speak(self, text: str, *, voice: str, words_per_minute: int = 170, pitch: int = 50, pitch_range: int = 50) -> Utterance:
        """Speak `text`; commas and full stops shape the melody, spaces part words.

        Args:
            text: words and punctuation; numbers as words (a word must be one spoken unit to get one time).
            voice: an espeak voice: `accent+variant`, such as `en-us+f1`.
            words_per_minute: 80 to 450.
            pitch: base pitch, 0 to 99.
            pitch_range: liveliness of the melody, 0 to 99.

        Raises:
            AudioError: unknown voice.
            AlignmentError: the synthesiser did not report a time for every word.
        """
        self._choose(voice)
        for parameter, value in ((_RATE, words_per_minute), (_PITCH, pitch), (_PITCH_RANGE, pitch_range)):
            self._library.espeak_SetParameter(parameter, value, 0)
        self._library.espeak_SetSynthCallback(self._callback)
        self._chunks.clear()
        self._events.clear()
        encoded = text.encode()
        self._library.espeak_Synth(encoded, len(encoded) + 1, 0, 1, 0, _CHARS_UTF8, None, None)
        self._library.espeak_Synchronize()
        words = self._word_times(text)
        samples = np.concatenate(self._chunks).astype(np.float32) / 32768
        return Utterance(samples=resample(samples, self._rate_hz, timing.SAMPLE_RATE_HZ), words=words)

    def phonemes(self, word: str, *, voice: str) -> list[str]:
        """Return the phonemes of `word` in the International Phonetic Alphabet, without stress and length.

        Raises:
            AudioError: unknown voice.
        """
        self._choose(voice)
        text = ctypes.c_char_p(word.encode())
        to_phonemes = self._library.espeak_TextToPhonemes
        to_phonemes.restype = ctypes.c_char_p
        said = []
        while text.value:  # a clause at a time
            said.append(to_phonemes(ctypes.byref(text), _CHARS_UTF8, _IPA_PARTED_BY_LINES).decode())
        return [phoneme for phoneme in re.sub("[\u02c8\u02cc\u02d0\\- ]", "", "\n".join(said)).split("\n") if phoneme]

    def _choose(self, voice: str) -> None:
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise AudioError(f"espeak-ng has no voice {voice!r}")

    def _collect(self, samples: ctypes._Pointer[ctypes.c_short], count: int, events: ctypes._Pointer[_Event]) -> int:
        if samples and count:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while events[index].type != _EVENT_END:
            event = events[index]
            name = event.id.string if event.type == _EVENT_PHONEME else b""
            self._events.append((event.type, event.text_position, event.sample, name))
            index += 1
        return 0

    def _word_times(self, text: str) -> tuple[Word, ...]:
        """Match word events to the words of `text` by position; a word ends where the next event or the next silent phoneme begins.

        espeak runs some pairs together ("with the") and reports one event for both: they share its span in proportion to their letters.
        """
        event_at = {position: sample for kind, position, sample, _ in self._events if kind == _EVENT_WORD}
        groups: list[tuple[int, list[str]]] = []  # first sample, words
        offset = 0
        for word in text.split(" "):
            sample = event_at.get(offset + 1)
            if sample is not None:
                groups.append((sample, [word.strip(",.?!;:").lower()]))
            elif groups:
                groups[-1][1].append(word.strip(",.?!;:").lower())
            else:
                raise AlignmentError(f"espeak-ng reported no time for the first word of {text!r}")
            offset += len(word) + 1
        silences = [sample for kind, _, sample, name in self._events if kind == _EVENT_PHONEME and name.startswith(b"_")]
        boundaries = sorted([sample for sample, _ in groups] + silences)
        words: list[Word] = []
        for start, names in groups:
            end = next((sample for sample in boundaries if sample > start), None)
            if end is None:
                raise AlignmentError(f"espeak-ng reported no end for {names[-1]!r} in {text!r}")
            edges = np.cumsum([0, *map(len, names)]) / sum(map(len, names))
            times = (start + edges * (end - start)) / self._rate_hz
            words += [Word(text=name, start_s=float(times[i]), end_s=float(times[i + 1])) for i, name in enumerate(names)]
        return tuple(words)


def insert_silence(
    utterance: Utterance, before_word_s: Mapping[int, float], *, lead_s: float = 0.0, tail_s: float = 0.0, fade_s: float = 0.0
) -> Utterance:
    """Return `utterance` with silence inserted before words (index -> seconds), at its start and at its end; word times move along.

    Where the sound is cut between two words it fades out and in within `fade_s` seconds: words that flow into each other would click.
    """
    pieces: list[npt.NDArray[np.float32]] = [_silence(lead_s)]
    words: list[Word] = []
    shift_s, cut = timing.samples_to_s(len(pieces[0])), 0
    samples = utterance.samples
    for index, word in enumerate(utterance.words):
        pause_s = before_word_s.get(index, 0.0)
        if pause_s > 0 and index > 0:
            middle = timing.num_samples((utterance.words[index - 1].end_s + word.start_s) / 2)
            samples = _faded(samples, middle, timing.num_samples(fade_s)) if fade_s > 0 else samples
            pause = _silence(pause_s)
            pieces += [samples[cut:middle], pause]
            shift_s, cut = shift_s + timing.samples_to_s(len(pause)), middle
        words.append(word.moved(shift_s))
    pieces += [samples[cut:], _silence(tail_s)]
    return Utterance(samples=np.concatenate(pieces), words=tuple(words))


def _faded(samples: npt.NDArray[np.float32], middle: int, length: int) -> npt.NDArray[np.float32]:
    """Return `samples` that fall to nothing within `length` samples before `middle`, and rise again within as many after it."""
    distance = np.abs(np.arange(len(samples)) - (middle - 0.5))
    return samples * np.minimum(distance / length, 1.0).astype(np.float32)


def scale_formants(utterance: Utterance, scale: float) -> Utterance:
    """Return `utterance` from a vocal tract `scale` times as short: formants, pitch and speed times `scale`."""
    return Utterance(samples=change_speed(utterance.samples, scale), words=tuple(word.at_speed(scale) for word in utterance.words))


def tilt_spectrum(utterance: Utterance, tilt: float) -> Utterance:
    """Return `utterance` with its spectrum tilted as another microphone would: `tilt` in (-1, 1), positive favours low frequencies.

    The filter is 1 + tilt * z^-1 over its gain for white noise.
    """
    samples = utterance.samples.copy()
    samples[1:] += np.float32(tilt) * utterance.samples[:-1]
    return dataclasses.replace(utterance, samples=samples / np.float32((1 + tilt**2) ** 0.5))


def add_noise(samples: npt.NDArray[np.float32], *, gain: float, noise_rms: float, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Scale `samples` by `gain` and add white noise of `noise_rms` (both in units of full scale), clipped to [-1, 1]."""
    noisy = samples * gain + rng.standard_normal(len(samples), dtype=np.float32) * noise_rms
    return np.clip(noisy, -1.0, 1.0).astype(np.float32)


def _silence(duration_s: float) -> npt.NDArray[np.float32]:
    return np.zeros(timing.num_samples(duration_s), dtype=np.float32)
