"""Engines that speak a prompt to be learned: espeak-ng, which tells when each word is said; piper and any other program, which do not.

Speech without word times goes to a `Timer` first, so that pauses can be put between its words.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import random
import re
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from stt_ft.audio.files import read_audio, resample
from stt_ft.audio.levels import SILENT_PEAK, peak
from stt_ft.audio.synthesis import Synthesizer, Utterance
from stt_ft.core.errors import AlignmentError, AudioError, ConfigError, MissingExtra
from stt_ft.core.provenance import file_sha256
from stt_ft.core.timing import SAMPLE_RATE_HZ, num_samples
from stt_ft.dataset.sidecar import Word
from stt_ft.simulation.casting import Cast, dress, perform
from stt_ft.text.prompts import Prompt

if TYPE_CHECKING:
    from piper import PiperVoice  # pyright: ignore[reportMissingImports]

Timer = Callable[[npt.NDArray[np.float32], Sequence[str]], Sequence[tuple[float, float]]]
"""Returns when each word is said in mono sound at 24 kHz, in seconds; raises `AlignmentError` where they do not fit."""

_SPEEDS = (0.8, 1.2)
"""Bounds of how much faster than its voice an engine without word times speaks."""

_MARGIN_S = 0.15
"""Sound kept before the first word and behind the last; the silence around a clip is drawn for every engine alike."""

_FADE_S = 0.01


class EspeakEngine:
    """espeak-ng with true word times, in the voices of a cast."""

    name = "espeak"

    def __init__(self, cast: Cast) -> None:
        self._synthesizer = Synthesizer()
        self._cast = cast
        self.made_by: dict[str, Any] = {
            "engine": self.name,
            "espeakng_loader": importlib.metadata.version("espeakng-loader"),
            "accents": list(cast.accents),
        }

    def perform(self, prompt: Prompt, pauses_s: Mapping[int, float], rng: random.Random, *, pace: float) -> tuple[Utterance, str]:
        """Speak `prompt` with silences before words (index -> seconds), and return it with the name of the voice.

        Raises:
            AlignmentError: the words cannot be found in the sound; another draw may do.
            AudioError: the engine does not work.
        """
        self._synthesizer.forget()  # the same prompt and seed, the same sound, whatever was spoken before
        utterance, voice = perform(self._synthesizer, prompt.text, pauses_s, self._cast, rng, pace=pace)
        if len(utterance.words) != len(prompt.words):
            raise AlignmentError(f"{len(utterance.words)} words were timed of {len(prompt.words)}")
        words = [dataclasses.replace(word, text=text) for text, word in zip(prompt.words, utterance.words, strict=True)]
        return Utterance(samples=utterance.samples, words=tuple(words)), voice


class AlignedEngine:
    """A speaker whose words are found in its sound by a `Timer`."""

    def __init__(self, speaker: PiperSpeaker | ProgramSpeaker, cast: Cast, timer: Timer) -> None:
        self.name = speaker.name
        self.made_by = speaker.made_by
        self._speaker = speaker
        self._cast = cast
        self._timer = timer

    def perform(self, prompt: Prompt, pauses_s: Mapping[int, float], rng: random.Random, *, pace: float) -> tuple[Utterance, str]:
        """See `EspeakEngine.perform`."""
        scale = 1.0 if self._cast.formant_scales is None else rng.uniform(*self._cast.formant_scales)
        samples, voice = self._speaker.say(prompt.text, pace * rng.uniform(*_SPEEDS) / scale, rng)
        if peak(samples) < SILENT_PEAK:
            raise AlignmentError(f"the voice {voice} said nothing")
        spans = self._timer(samples, prompt.words)
        words = tuple(Word(text=text, start_s=start, end_s=end) for text, (start, end) in zip(prompt.words, spans, strict=True))
        utterance = _trimmed(Utterance(samples=samples, words=words))
        return dress(utterance, pauses_s, self._cast, rng, scale=scale, fade_s=_FADE_S), voice


SpeechEngine = EspeakEngine | AlignedEngine


class PiperSpeaker:
    """piper's neural voices, each a file `NAME.onnx` with its `NAME.onnx.json`; every speaker of a file that holds several.

    A voice is loaded anew for every clip (a third of a second): onnxruntime takes the seed of its noise then and at no other time.
    """

    name = "piper"

    def __init__(self, voices: Sequence[Path]) -> None:
        """Raises `ConfigError` naming a voice that is not there or cannot be used, `MissingExtra` without piper-tts."""
        for path in voices:
            for file in (path, Path(f"{path}.json")):
                if not file.is_file():
                    raise ConfigError(f"--voice {path}: no such file {file}; a piper voice is NAME.onnx beside NAME.onnx.json")
        try:
            version = importlib.metadata.version("piper-tts")
        except importlib.metadata.PackageNotFoundError:
            raise MissingExtra("piper-tts", "piper", "engine piper") from None
        self._voices = list(voices)
        self.made_by: dict[str, Any] = {
            "engine": self.name,
            "piper_tts": version,
            "voices": {path.stem: file_sha256(path)[:16] for path in voices},
        }
        for path in voices:
            self._load(path, seed=0)

    def say(self, text: str, speed: float, rng: random.Random) -> tuple[npt.NDArray[np.float32], str]:
        """Return `text`, said `speed` times as fast as the voice by itself would, as mono sound at 24 kHz; and the name of the voice.

        Raises:
            AlignmentError: nothing was said; another draw may do better.
        """
        from piper import SynthesisConfig  # pyright: ignore[reportMissingImports]

        path = rng.choice(self._voices)
        voice = self._load(path, seed=rng.randrange(2**31))
        speaker = rng.randrange(voice.config.num_speakers) if voice.config.num_speakers > 1 else None
        how = SynthesisConfig(
            speaker_id=speaker,
            length_scale=voice.config.length_scale / speed,
            noise_scale=voice.config.noise_scale * rng.uniform(0.7, 1.2),
            noise_w_scale=voice.config.noise_w_scale * rng.uniform(0.7, 1.2),
        )
        chunks = list(voice.synthesize(text, syn_config=how))
        if not chunks:
            raise AlignmentError(f"the voice {path.stem} said nothing")
        samples = np.concatenate([chunk.audio_float_array for chunk in chunks])
        named = path.stem if speaker is None else f"{path.stem}#{speaker}"
        return resample(samples, chunks[0].sample_rate, SAMPLE_RATE_HZ), named

    def _load(self, path: Path, *, seed: int) -> PiperVoice:
        import onnxruntime  # pyright: ignore[reportMissingImports]
        from piper import PiperVoice  # pyright: ignore[reportMissingImports]

        onnxruntime.set_seed(seed)
        try:
            return PiperVoice.load(path)
        except Exception as error:  # onnxruntime raises its own, of no common base
            raise ConfigError(f"--voice {path}: not a piper voice: {' '.join(str(error).split())[:160]}") from None


class ProgramSpeaker:
    """Any program that takes a text and leaves a sound file. It is run without a shell."""

    name = "command"

    def __init__(self, command: str, *, voice: str | None, time_limit_s: float) -> None:
        """Take a command line with the places {text} and {wav}, and where it has them {speed} (1.0 is the voice's own) and {seed}.

        Args:
            voice: name of the voice; by default the program's name.
            time_limit_s: seconds after which the program is stopped.

        Raises:
            ConfigError: it is no command line, or lacks the place of text or sound.
        """
        try:
            self._arguments = shlex.split(command)
        except ValueError as error:
            raise ConfigError(f"--command {command!r}: {error}") from None
        missing = [place for place in ("{text}", "{wav}") if not any(place in argument for argument in self._arguments[1:])]
        if missing:
            example = "--command 'prog --text {text} --out {wav}'"
            raise ConfigError(f"--command {command!r}: no {' and '.join(missing)} after the program's name; such as {example}")
        self._voice = voice or Path(self._arguments[0]).name
        self._time_limit_s = time_limit_s
        self.made_by: dict[str, Any] = {"engine": self.name, "command": command, "voice": self._voice}

    def say(self, text: str, speed: float, rng: random.Random) -> tuple[npt.NDArray[np.float32], str]:
        """See `PiperSpeaker.say`; raises `AudioError` when the program fails, takes too long or leaves no sound."""
        seed = rng.randrange(2**31)
        with tempfile.TemporaryDirectory(prefix="stt-ft-") as directory:
            wav = Path(directory) / "said.wav"
            values = {"text": text, "wav": str(wav), "speed": f"{speed:.3f}", "seed": str(seed)}
            self._run([re.sub(r"\{(text|wav|speed|seed)\}", lambda place: values[place[1]], argument) for argument in self._arguments])
            if not wav.is_file():
                raise AudioError(f"{self._arguments[0]!r} left no sound at {{wav}} for {text!r}")
            return read_audio(wav), self._voice

    def _run(self, arguments: list[str]) -> None:
        try:
            done = subprocess.run(arguments, capture_output=True, stdin=subprocess.DEVNULL, timeout=self._time_limit_s, check=False)
        except FileNotFoundError:
            raise ConfigError(f"--command: no such program: {arguments[0]}") from None
        except OSError as error:
            raise ConfigError(f"--command: {arguments[0]} cannot be run: {error.strerror}") from None
        except subprocess.TimeoutExpired:
            limit = f"{self._time_limit_s:g} s"
            raise AudioError(f"{arguments[0]!r} was not done within {limit} and was stopped; --time_limit gives it longer") from None
        if done.returncode != 0:
            lines = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
            raise AudioError(f"{arguments[0]!r} exited with {done.returncode}: {lines[-1][:200] if lines else 'it said nothing'}")


def _trimmed(utterance: Utterance) -> Utterance:
    """Return `utterance` from a little before its first word to a little behind its last."""
    first = num_samples(max(0.0, utterance.words[0].start_s - _MARGIN_S))
    last = num_samples(utterance.words[-1].end_s + _MARGIN_S)
    shift_s = first / SAMPLE_RATE_HZ
    return Utterance(samples=utterance.samples[first:last], words=tuple(word.moved(-shift_s) for word in utterance.words))
