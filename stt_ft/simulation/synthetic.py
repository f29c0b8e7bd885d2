"""Prompts spoken by an engine, clip after clip. The seed decides number, manner, voice and channel of each.

A clip depends on the seed, its own index and the numbers of the clips before it, so a session that was killed goes on with the same clips.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import stt_ft
from stt_ft.audio.channel import Channel
from stt_ft.audio.files import write_wav
from stt_ft.audio.synthesis import Utterance
from stt_ft.core.engine import Engine, SetAside, batched
from stt_ft.core.errors import AlignmentError, AudioError, ConfigError, TextError
from stt_ft.core.timing import SAMPLE_RATE_HZ
from stt_ft.dataset.manifest import SYNTHETIC, Clip, Dataset
from stt_ft.dataset.sidecar import Sidecar
from stt_ft.simulation.casting import SYNTHETIC_CAST
from stt_ft.simulation.engines import SpeechEngine
from stt_ft.text.prompts import Manner, PromptLine, belongs_to, pauses
from stt_ft.text.redrawing import Redrawn, redraw

MAX_DRAWS = 8
"""Draws of one clip that may fail to be aligned, one after the other, before something is wrong with the engine."""

STAGE = "synthesize"
"""Key of a sidecar's provenance."""

_BATCH_DRAWS = 8
_MAX_PEAK = 0.99
_PER_CLIP = ("stt_ft", "draw", "numbers")


@dataclass(frozen=True, kw_only=True)
class Draw:
    """What a clip is to say, and what decides how: a worker makes the same sound of it anywhere.

    Attributes:
        index: which clip of the session it is, counted from 0.
        number: which draw of that clip, counted from 0: those before could not be aligned.
        path: id of the clip.
        seed: of all that is drawn, first of the numbers.
        numbers: those that are said, in order.
        turn: decides who hesitates.
    """

    index: int
    number: int
    path: str
    line: PromptLine
    seed: str
    numbers: tuple[str, ...]
    turn: int

    def again(self, language: str) -> tuple[Redrawn, random.Random]:
        """Return the prompt with these numbers, and the generator as it is once they are drawn."""
        wanted = list(self.numbers)
        rng = random.Random(self.seed)
        redrawn = redraw(self.line.say, rng, language=language, is_new=lambda digits: digits == wanted[0] and bool(wanted.pop(0)))
        return redrawn, rng


@dataclass(frozen=True, kw_only=True)
class Spoken:
    """A draw that was spoken, or why it could not be: then another draw may do.

    Attributes:
        labels: its words as a transcript writes them.
        channel: name of the channel it went through.
    """

    utterance: Utterance | None = None
    labels: tuple[str, ...] = ()
    manner: Manner = Manner.NATURAL
    voice: str = ""
    channel: str | None = None
    fault: str = ""


class Speaker:
    """A worker (`core/engine.py`) that speaks draws."""

    def __init__(self, make_voices: Callable[[], SpeechEngine], channels: Sequence[Channel], language: str) -> None:
        self._voices = make_voices()
        self._channels = channels
        self._language = language

    def __call__(self, draws: Sequence[Draw]) -> list[Spoken]:
        return [self._spoken(draw) for draw in draws]

    def _spoken(self, draw: Draw) -> Spoken:
        redrawn, rng = draw.again(self._language)
        manner = Manner.HESITANT if redrawn.asks_for_silence else tuple(Manner)[draw.turn % len(Manner)]
        pace = manner.pace if redrawn.numbers else 1.0
        try:
            utterance, voice = self._voices.perform(redrawn.prompt, pauses(rng, redrawn.prompt, manner), rng, pace=pace)
        except AlignmentError as error:
            return Spoken(fault=str(error))
        except AudioError as error:
            raise AudioError(f"clip {draw.path}: {error}") from None
        channel = rng.choice((None, *self._channels))
        samples = utterance.samples if channel is None else channel.carry(utterance.samples, draw.path)
        heard = dataclasses.replace(utterance, samples=samples * min(1.0, _MAX_PEAK / float(np.abs(samples).max())))
        through = None if channel is None else channel.name
        return Spoken(utterance=heard, labels=redrawn.labels, manner=manner, voice=voice, channel=through)


@dataclass(frozen=True, kw_only=True)
class Made:
    """A clip on disk, the draws that could not be aligned before it, and whether it was there already."""

    clip: Clip
    num_failed: int = 0
    was_there: bool = False


@dataclass(frozen=True, kw_only=True)
class Session:
    """Prompts that an engine speaks into a dataset.

    Attributes:
        voices: the engine that speaks, as `make_voices` makes it.
        lines: prompts, taken in turns.
        language: of the prompts.
        seed: decides everything.
        channels: through which a clip may pass; no channel is as likely as each of them.
        forbidden: digit strings that are not said: those of dev and held-out clips.
    """

    data: Dataset
    voices: SpeechEngine
    make_voices: Callable[[], SpeechEngine]
    lines: Sequence[PromptLine]
    language: str
    seed: int
    channels: Sequence[Channel]
    forbidden: frozenset[str]

    def check(self) -> None:
        """Raise `TextError` naming the first prompt that cannot be said."""
        for line in self.lines:
            try:
                words = redraw(line.say, random.Random(0), language=self.language, is_new=lambda digits: True).prompt.words
            except TextError as error:
                raise TextError(f"prompt {line.prompt_id}: {error}") from None
            if not words:
                raise TextError(f"prompt {line.prompt_id}: {line.say!r} holds no words")

    def path(self, index: int) -> str:
        """Return the id of clip `index`, counted from 0; engines and seeds do not stand in each other's way."""
        return f"audio/synthetic_{self.voices.name}_{self.seed}_{index + 1:05d}.wav"

    def missing(self, count: int) -> int:
        """Return the number of clips among the first `count` that are not there."""
        there = self._there()
        return sum(self._numbers_there(there.get(self.path(index))) is None for index in range(count))

    def clips(self, count: int, engine: Engine, *, cores: bool) -> Iterator[Made]:
        """Yield the first `count` clips, each when it is on disk; the caller writes the manifest.

        Args:
            engine: where the draws are spoken.
            cores: as `Engine.results` has it.

        Raises:
            AlignmentError: `MAX_DRAWS` draws of one clip failed.
            AudioError: the engine does not work, or a draw killed its process.
            ConfigError: clips of these names were made otherwise.
        """
        draws, there, used = self._plan(count)
        yield from there
        while draws:
            again: list[Draw] = []
            for draw, spoken in engine.results(self.make_speaker, batched(draws, _BATCH_DRAWS), cores=cores):
                if isinstance(spoken, SetAside):
                    raise AudioError(f"clip {self.path(draw.index)}: {spoken.fault}")
                if spoken.utterance is not None:
                    yield Made(clip=self._write(draw, spoken, spoken.utterance), num_failed=draw.number)
                elif draw.number + 1 < MAX_DRAWS:
                    again.append(self._draw(draw.index, draw.number + 1, used))
                else:
                    told = f"{MAX_DRAWS} draws in a row could not be aligned; the last: {spoken.fault}"
                    raise AlignmentError(f"clip {self.path(draw.index)}: {told}")
            draws = again

    def estimate(self, count: int, engine: Engine, *, cores: bool) -> str:
        """Speak a sample of the clips that are not there, and return how long all of them will take, in words."""
        draws, _, _ = self._plan(count)
        return engine.estimate(self.make_speaker, batched(draws, _BATCH_DRAWS), cores=cores)

    @property
    def make_speaker(self) -> Callable[[], Speaker]:
        return functools.partial(Speaker, self.make_voices, self.channels, self.language)

    def _plan(self, count: int) -> tuple[list[Draw], list[Made], set[str]]:
        """Return the first draws of the clips that are not there, the clips that are, and all numbers of both.

        The first draws of all clips are drawn in order, whatever is there: so they are the same in a session that goes on.
        """
        known, used = self._there(), set[str]()
        draws, there = [], []
        for index in range(count):
            clip = known.get(self.path(index))
            numbers = self._numbers_there(clip)
            draw = self._draw(index, 0, used)
            if clip is None or numbers is None:
                draws.append(draw)
            else:
                there.append(Made(clip=clip, was_there=True))
                used |= set(numbers)
        return draws, there, used

    def _draw(self, index: int, number: int, used: set[str]) -> Draw:
        """Draw what clip `index` says, with numbers that are not in `used`; they are from then on."""
        line = self.lines[index % len(self.lines)]
        seed = f"{self.seed} {self.voices.name} {index} {number}"
        is_new = functools.partial(self._may_be_said, used=used)
        numbers = redraw(line.say, random.Random(seed), language=self.language, is_new=is_new).numbers
        used |= set(numbers)
        turn = index + index // len(self.lines)
        return Draw(index=index, number=number, path=self.path(index), line=line, seed=seed, numbers=numbers, turn=turn)

    @property
    def _made_by(self) -> dict[str, Any]:
        """All that decides the clips of a session."""
        prompts = json.dumps([[line.prompt_id, line.say, line.kind] for line in self.lines])
        return {
            **self.voices.made_by,
            "seed": self.seed,
            "language": self.language,
            "channels": [channel.name for channel in self.channels],
            "prompts": hashlib.sha256(prompts.encode()).hexdigest()[:16],
        }

    def _there(self) -> dict[str, Clip]:
        return {clip.path: clip for clip in (self.data.clips("train") if "train" in self.data.splits() else [])}

    def _numbers_there(self, clip: Clip | None) -> list[str] | None:
        """Return the numbers of a clip that is whole on disk, None for one that is to be made (again)."""
        if clip is None or not self.data.has_sound(clip) or not self.data.has_sidecar(clip):
            return None
        record = self.data.read_sidecar(clip).provenance.get(STAGE)
        record = record if isinstance(record, dict) else {}
        made_by = self._made_by
        differing = sorted(key for key in {*record, *made_by} - {*_PER_CLIP} if record.get(key) != made_by.get(key))
        if differing:
            raise ConfigError(
                f"{self.data.directory}: clip {clip.path} was made otherwise ({', '.join(differing)} differ); "
                "give another --seed to add to it, or another --out"
            )
        numbers = [str(number) for number in record.get("numbers", [])]
        return None if self.forbidden & {*numbers} else numbers

    def _may_be_said(self, digits: str, used: set[str]) -> bool:
        return digits not in used and digits not in self.forbidden and belongs_to(digits, SYNTHETIC_CAST.digit_shares)

    def _write(self, draw: Draw, spoken: Spoken, utterance: Utterance) -> Clip:
        """Write sound and sidecar of a draw, and return its clip."""
        line, script = draw.line, " ".join(spoken.labels)
        extra = {SYNTHETIC: True, "engine": self.voices.name, "voice": spoken.voice, "speaker": f"{self.voices.name} {spoken.voice}"}
        extra |= {"prompt_id": line.prompt_id, "kind": line.kind, "script": script}
        extra |= {"manner": spoken.manner.value} if draw.numbers else {}
        extra |= {} if spoken.channel is None else {"channel": spoken.channel}
        clip = Clip(path=draw.path, duration_s=utterance.duration_s, extra=extra)
        write_wav(self.data.audio_path(clip, to_write=True), utterance.samples, SAMPLE_RATE_HZ)
        words = tuple(dataclasses.replace(word, text=label) for label, word in zip(spoken.labels, utterance.words, strict=True))
        record = {"stt_ft": stt_ft.__version__, **self._made_by, "draw": draw.number, "numbers": list(draw.numbers)}
        self.data.write_sidecar(clip, Sidecar(alignments=words, script=script, provenance={STAGE: record}, extra={SYNTHETIC: True}))
        return clip
