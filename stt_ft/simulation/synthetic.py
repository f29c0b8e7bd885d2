"""Prompts spoken by an engine, clip after clip. The seed decides number, manner, voice and channel of each.

A clip depends on the seed, its own index and the numbers of the clips before it, so a session that was killed goes on with the same clips.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import stt_ft
from stt_ft.audio.channel import Channel
from stt_ft.audio.files import write_wav
from stt_ft.audio.synthesis import Utterance
from stt_ft.core.errors import AlignmentError, AudioError, ConfigError, TextError
from stt_ft.core.manifest import SYNTHETIC, Clip, Dataset, Sidecar
from stt_ft.core.timing import SAMPLE_RATE_HZ
from stt_ft.simulation.casting import SYNTHETIC_CAST
from stt_ft.simulation.engines import Engine
from stt_ft.text.prompts import Manner, PromptLine, belongs_to, pauses
from stt_ft.text.redrawing import Redrawn, redraw

MAX_DRAWS = 8
"""Draws of one clip that may fail to be aligned, one after the other, before something is wrong with the engine."""

STAGE = "synthesize"
"""Key of a sidecar's provenance."""

_MAX_PEAK = 0.99
_PER_CLIP = ("stt_ft", "draw", "numbers")


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
        lines: prompts, taken in turns.
        language: of the prompts.
        seed: decides everything.
        channels: through which a clip may pass; no channel is as likely as each of them.
        forbidden: digit strings that are not said: those of dev and held-out clips.
    """

    data: Dataset
    engine: Engine
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
        return f"audio/synthetic_{self.engine.name}_{self.seed}_{index + 1:05d}.wav"

    def missing(self, count: int) -> int:
        """Return the number of clips among the first `count` that are not there."""
        there = self._there()
        return sum(self._numbers_there(there.get(self.path(index))) is None for index in range(count))

    def clips(self, count: int) -> Iterator[Made]:
        """Yield the first `count` clips in order, each when it is on disk; the caller writes the manifest.

        Raises:
            AlignmentError: `MAX_DRAWS` draws of one clip failed.
            AudioError: the engine does not work.
            ConfigError: clips of these names were made otherwise.
        """
        there, used = self._there(), set[str]()
        for index in range(count):
            clip = there.get(self.path(index))
            numbers = self._numbers_there(clip)
            if clip is not None and numbers is not None:
                made = Made(clip=clip, was_there=True)
            else:
                made, numbers = self._make(index, used)
            used |= set(numbers)
            yield made

    @property
    def _made_by(self) -> dict[str, Any]:
        """All that decides the clips of a session."""
        prompts = json.dumps([[line.prompt_id, line.say, line.kind] for line in self.lines])
        return {
            **self.engine.made_by,
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

    def _make(self, index: int, used: set[str]) -> tuple[Made, list[str]]:
        """Speak and write clip `index`, with numbers that are not in `used`."""
        line = self.lines[index % len(self.lines)]
        reason = ""
        for draw in range(MAX_DRAWS):
            rng = random.Random(f"{self.seed} {self.engine.name} {index} {draw}")
            redrawn = redraw(line.say, rng, language=self.language, is_new=lambda digits: self._may_be_said(digits, used))
            manner = Manner.HESITANT if redrawn.asks_for_silence else tuple(Manner)[(index + index // len(self.lines)) % len(Manner)]
            pace = manner.pace if redrawn.numbers else 1.0
            try:
                utterance, voice = self.engine.perform(redrawn.prompt, pauses(rng, redrawn.prompt, manner), rng, pace=pace)
            except AlignmentError as error:
                reason = str(error)
                continue
            except AudioError as error:
                raise AudioError(f"clip {self.path(index)}: {error}") from None
            extra = {SYNTHETIC: True, "engine": self.engine.name, "voice": voice, "speaker": f"{self.engine.name} {voice}"}
            extra |= {"prompt_id": line.prompt_id, "kind": line.kind, "script": " ".join(redrawn.labels)}
            extra |= {"manner": manner.value} if redrawn.numbers else {}
            channel = rng.choice((None, *self.channels))
            extra |= {} if channel is None else {"channel": channel.name}
            clip = Clip(path=self.path(index), duration_s=utterance.duration_s, extra=extra)
            self._write(clip, utterance, redrawn, channel, draw)
            return Made(clip=clip, num_failed=draw), list(redrawn.numbers)
        raise AlignmentError(f"clip {self.path(index)}: {MAX_DRAWS} draws in a row could not be aligned; the last: {reason}")

    def _may_be_said(self, digits: str, used: set[str]) -> bool:
        return digits not in used and digits not in self.forbidden and belongs_to(digits, SYNTHETIC_CAST.digit_shares)

    def _write(self, clip: Clip, utterance: Utterance, redrawn: Redrawn, channel: Channel | None, draw: int) -> None:
        samples = utterance.samples if channel is None else channel.carry(utterance.samples, clip.path)
        loudest = float(np.abs(samples).max())
        write_wav(self.data.audio_path(clip, to_write=True), samples * min(1.0, _MAX_PEAK / loudest), SAMPLE_RATE_HZ)
        words = tuple(dataclasses.replace(word, text=label) for label, word in zip(redrawn.labels, utterance.words, strict=True))
        record = {"stt_ft": stt_ft.__version__, **self._made_by, "draw": draw, "numbers": list(redrawn.numbers)}
        sidecar = Sidecar(alignments=words, script=clip.extra["script"], provenance={STAGE: record}, extra={SYNTHETIC: True})
        self.data.write_sidecar(clip, sidecar)
