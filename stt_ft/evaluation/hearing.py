"""The runs of an evaluation: every model on every clip and through every channel, other detectors, and the dev split, on which settings are
chosen. Their outputs go to frames.jsonl, from which anyone can recompute the figures.

A model runs frame by frame, as on the server, on codes from the token store; missing ones are made by the codec.
"""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stt_ft.audio import silero_vad
from stt_ft.audio.channel import Channel, channels_named
from stt_ft.audio.files import read_audio
from stt_ft.audio.smart_turn import SmartTurn, shipped_weights
from stt_ft.audio.sounds import sounds_of
from stt_ft.core.config import load_config
from stt_ft.core.engine import LOCAL, Engine, SetAside, batched
from stt_ft.core.errors import CheckpointError, ConfigError, DatasetError
from stt_ft.core.progress import say, track
from stt_ft.core.provenance import PACKAGES, record
from stt_ft.core.recipe import Version
from stt_ft.core.serving import Serving
from stt_ft.core.timing import num_frames_covering, samples_to_s
from stt_ft.corpus.problems import faultless_sidecars, refuse_faulty
from stt_ft.dataset.manifest import Clip, Dataset
from stt_ft.dataset.sidecar import Word
from stt_ft.evaluation.agents import agent_systems
from stt_ft.evaluation.detectors import SILERO, other_systems, read_turn_probs, silence_systems, sound_frames
from stt_ft.evaluation.frames import MANNERS, VOICES, ClipFrames, read_frames, write_frames
from stt_ft.evaluation.model_frames import Heard, Listener, frames_in_call, model_frames
from stt_ft.evaluation.replies import Agent, AnsweredEncoder, with_replies
from stt_ft.evaluation.report import System
from stt_ft.evaluation.served import EXPECTED, KEPT_NAME, SERVER, served_frames
from stt_ft.evaluation.server import AsrServer
from stt_ft.evaluation.systems import plain_systems, rule_systems, tuned_systems
from stt_ft.metrics.endpointing import EndpointRule
from stt_ft.model.checkpoint_dir import ModelDir, open_model
from stt_ft.model.codes import MimiCodec, codec_hash, codes_of
from stt_ft.model.device import pick_device
from stt_ft.model.streaming import ClipStream
from stt_ft.simulation.calls import plan_calls, room

BASE, TUNED, ALONE = "base", "tuned", "model"
"""Names in a report: of the baseline, of the model that is judged beside it, and of a model that is judged alone (perhaps a base)."""


def endpoint_rule(name: str, **flags: float | None) -> EndpointRule:
    """Return the rule `name`, of `endpointing.RULES` or of a file, with the fields that `flags` set (not None).

    Raises `ConfigError` with all mistakes.
    """
    try:
        rule = load_config(EndpointRule, name) if name.endswith((".yaml", ".yml")) else EndpointRule.named(name)
        return replace(rule, **{flag: value for flag, value in flags.items() if value is not None})
    except ValueError as error:
        raise ConfigError("; ".join(f"--{mistake}" for mistake in error.args)) from None


def _smart_turn(name: str) -> Path | None:
    """Return the weights of Smart Turn as `--smart_turn` names them: auto (where they are installed), none, or a file.

    Raises `SttFtError` for a file that is no Smart Turn.
    """
    weights = {"none": None, "auto": shipped_weights()}.get(name, Path(name))
    if weights is not None:
        SmartTurn.load(weights)
    return weights


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The models and the clips of an evaluation, and how to run the ones on the others.

    Attributes:
        models: `base` and `tuned`, in this order, or `model` alone.
        channels: channels beside the recordings themselves.
        all_classes: keep the probabilities of all classes of the heads, not of class 0 alone.
        silero: compare with Silero VAD, where it is installed.
        smart_turn: compare with these weights of Smart Turn too.
        turn_probs: files of other detectors to compare with (`detectors.read_turn_probs`).
        serving: how the models are served.
        draws: how often each recording is heard, for the spread between draws, by a serving that draws its tokens.
        batch_size: clips in one batch.
        server: a running server that is judged beside our engine, which runs the same model.
        engine: where the models hear.
    """

    models: dict[str, ModelDir]
    data: Dataset
    channels: Sequence[Channel]
    all_classes: bool
    silero: bool
    smart_turn: Path | None
    turn_probs: Sequence[Path]
    serving: Serving
    draws: int
    batch_size: int
    device: torch.device
    server: AsrServer | None = None
    engine: Engine = LOCAL

    @classmethod
    def open(
        cls,
        model_dir: str,
        dataset: str,
        *,
        baseline: str | None = None,
        channels: Sequence[str] = (),
        all_classes: bool = False,
        silero: bool = True,
        smart_turn: str = "auto",
        turn_probs: Sequence[str] = (),
        serving: str = "kyutai",
        draws: int = 3,
        batch_size: int = 32,
        device: str = "auto",
        server: str | None = None,
        streams: int = 1,
        real_time: bool = False,
        engine: Engine = LOCAL,
    ) -> Evaluation:
        """Open models and dataset; raises a `SttFtError` for one that cannot be used, before anything runs."""
        if batch_size <= 0:
            raise ConfigError(f"--batch_size must be positive, got {batch_size}")
        if draws <= 0:
            raise ConfigError(f"--draws must be positive, got {draws}")
        try:
            through = channels_named(channels)
        except ValueError as error:
            raise ConfigError("; ".join(f"--channels: {mistake}" for mistake in error.args)) from None
        served = Serving.named(serving)
        running = None if server is None else AsrServer(url=server, num_streams=streams, real_time=real_time)
        if running is None and (streams != 1 or real_time):
            raise ConfigError("--streams and --real_time tell how a server is asked: they go with --server")
        if running is not None and baseline is not None:
            raise ConfigError("--server is compared with our engine on the same model; leave --baseline to an evaluation of its own")
        names = {ALONE: model_dir} if baseline is None else {BASE: baseline, TUNED: model_dir}
        models = {name: open_model(one, require_extra_heads=False) for name, one in names.items()}
        for model in models.values():
            served.num_codebooks(model.n_q)  # refuses a server of more codebooks than the model has
        if running is not None:
            if not models[ALONE].num_heads:
                raise CheckpointError(
                    f"{model_dir}: has no pause heads, and of such a model a server does not tell which frame it has heard"
                )
            running.check()
        return cls(
            models=models,
            serving=served,
            draws=draws if served.temperature > 0 and running is None else 1,
            data=Dataset.open(dataset),
            channels=through,
            all_classes=all_classes,
            silero=silero,
            smart_turn=_smart_turn(smart_turn),
            turn_probs=[Path(one) for one in turn_probs],
            batch_size=batch_size,
            device=pick_device(device),
            server=running,
            engine=engine,
        )

    @property
    def has_heads(self) -> bool:
        """Whether any model has pause heads, so that there are turns to judge."""
        return any(model.num_heads for model in self.models.values())

    @property
    def judged(self) -> str:
        """The name of the judged model in the report."""
        return list(self.models)[-1] if self.server is None else SERVER

    @property
    def baseline(self) -> str | None:
        """The name of the baseline in the report, None without one."""
        return BASE if BASE in self.models else None if self.server is None else ALONE

    def listen(self, split: str, rule: EndpointRule, path: Path, *, with_others: bool = True) -> list[ClipFrames]:
        """Run every model on `split`, and `with_others` all draws, the other detectors and the agent's replies; write the frames to `path`
        and return them as read back.

        Raises:
            ConfigError: a model that has heads lacks the rule's.
            DatasetError: no clips, or one that cannot be measured, by name.
        """
        for model in self.models.values():
            missing = [head for head in rule.heads if head >= model.num_heads > 0]
            if missing:
                raise ConfigError(f"--head {missing[0]}: {model.name} has {model.num_heads} pause heads, counted from 0")
        clips = self.data.measured_clips(split)
        if not clips:
            raise DatasetError(f"{self.data.manifest_path(split)}: no clips to evaluate")
        references, frames = reference_words(self.data, clips, split), []
        codes: dict[str, list[np.ndarray]] = {}  # by codec: tuning does not change it, so the models as a rule share it
        for name, model in self.models.items():
            codec = codec_hash(model)
            codes[codec] = codes.get(codec) or codes_of(
                model, self.data, clips, self._versions, batch_size=self.batch_size, device=self.device, engine=self.engine
            )
            frames += self._frames_of(name, clips, references, codes[codec], rule, with_others=with_others)
            gc.collect()  # upstream's modules refer to each other; without, all models of an evaluation stay in memory together
        if self.server is not None:
            sounds = sounds_of(self.data, clips, self._versions)
            frames += served_frames(self.server, self.models[ALONE], self.data, sounds, frames, path.parent, self.device)
        if with_others and self.has_heads:
            recordings = [one for one in frames if one.model == self.judged and one.channel is None and one.draw is None]
            frames += self._frames_of_detectors(recordings)
            del recordings
        write_frames(path, frames)
        (path.parent / KEPT_NAME).unlink(missing_ok=True)
        del frames  # or there would be two of everything
        return read_frames(path)  # as rounded on disk: a stranger with the file gets the same figures

    @property
    def _versions(self) -> list[Version]:
        """The recordings, and what each channel makes of them."""
        return [Version(), *(Version(channel=channel.flag) for channel in self.channels)]

    def _frames_of(
        self,
        name: str,
        clips: Sequence[Clip],
        references: Sequence[tuple[Word, ...]],
        codes: Sequence[np.ndarray],
        rule: EndpointRule,
        *,
        with_others: bool,
    ) -> list[ClipFrames]:
        """Return what the model called `name` hears of `codes`, of each version of every clip; `with_others` in all draws, and with the
        agent's replies where the server flushes."""
        model, draws = self.models[name], self.draws if with_others else 1
        hear = functools.partial(self._hear, name, model)
        told = {"channels": (None, *self.channels), "draws": draws, "all_classes": self.all_classes}
        frames = model_frames(name, model, hear, clips, references, codes, **told)
        if not with_others or self.serving.flush_s <= 0 or not model.num_heads:
            return frames
        sounds = sounds_of(self.data, clips, self._versions)
        return with_replies(
            frames,
            [*sounds, *sounds[: len(clips)] * (draws - 1)],
            Agent(serving=self.serving, rule=rule),
            model=model,
            hear=hear,
            make_encoder=functools.partial(AnsweredEncoder, self.data, model.name, self.serving, str(self.device)),
            engine=self.engine,
            batch_size=self.batch_size,
        )

    def _frames_of_detectors(self, recordings: Sequence[ClipFrames]) -> list[ClipFrames]:
        """Return what other detectors make of the clips of `recordings`."""
        frames = [one for path in self.turn_probs for one in read_turn_probs(path, recordings)]
        if self.silero and silero_vad.is_installed():
            frames += sound_frames(self.data, recordings, self.smart_turn, self.engine)
        elif self.silero:
            say("Silero VAD is not installed, so silence alone is not compared with: pip install 'stt-ft[vad]'")
        return frames

    def estimates(self, split: str, *, set_on: str | None) -> Iterator[str]:
        """Yield for each model how much it will hear and how long that will take, in words: it hears a sample of codes drawn at random,
        which takes as long. Writes nothing."""
        clips = self.data.measured_clips(split)
        ways = [*clips] * (len(self.channels) + self.draws)
        if set_on not in (None, split) and set_on in self.data.splits() and self.has_heads:
            ways += self.data.measured_clips(set_on)
        rng = np.random.default_rng(0)
        for name, model in self.models.items():
            around = model.num_prefix_frames + model.num_tail_frames()
            lengths = [around + num_frames_covering(clip.duration_s) for clip in ways]
            sounds = [
                Heard(codes=rng.integers(0, model.config["card"], (model.n_q, length), dtype=np.int16), key=index)
                for index, length in enumerate(lengths)
            ]
            make = self._listener(name, model, shows_progress=False)
            some = min(LISTENED_TOGETHER, max(self.batch_size, len(sounds) // LEAST_SAMPLES))
            yield f"{name} listens: {self.engine.estimate(make, batched(sounds, some))}"

    def _listener(self, name: str, model: ModelDir, *, shows_progress: bool) -> Callable[[], Listener]:
        where = str(self.device)
        return functools.partial(Listener, name, model.name, self.serving, self.batch_size, where, shows_progress=shows_progress)

    def _hear(self, name: str, model: ModelDir, codes: Sequence[np.ndarray]) -> list[ClipStream]:
        """Return the outputs of `model` for sounds by their codes; raises `CheckpointError` when they are not numbers."""
        is_here = self.engine.is_here
        make = self._listener(name, model, shows_progress=is_here)
        sounds = [Heard(codes=one, key=index) for index, one in enumerate(codes)]
        results = self.engine.results(make, batched(sounds, LISTENED_TOGETHER))
        streams: list[ClipStream] = []
        for sound, stream in results if is_here else track(results, f"{name} listens", total=len(sounds)):
            if isinstance(stream, SetAside):
                raise CheckpointError(f"{model.name}: {sound.codes.shape[1]} frames of sound could not be heard: {stream.fault}")
            if not np.isfinite(stream.pause_probs).all():
                way_out = "its weights are damaged, copy or make them again"
                raise CheckpointError(f"{model.name}: its pause probabilities are not numbers; {way_out}")
            streams.append(stream)
        return streams

    def listen_to_calls(self, split: str, seconds: float, path: Path) -> list[ClipFrames]:
        """Run every model on calls of `seconds`, made of the clips of `split`; write the frames of each clip and return them as read back.

        The times of a clip are its own, and it has as many rows as when it is heard alone.
        """
        clips, frames = self.data.measured_clips(split), []
        references = reference_words(self.data, clips, split)

        def sound_and_room(index: int) -> tuple[np.ndarray, np.ndarray]:
            sound = read_audio(self.data.sound(clips[index]))
            return sound, room(sound, references[index])

        lengths = [num_frames_covering(samples_to_s(len(read_audio(self.data.sound(clip))))) for clip in clips]
        longest_tail = max(model.num_tail_frames() for model in self.models.values())
        calls = plan_calls(lengths, num_frames_covering(seconds), min_silence=longest_tail, seed=0)
        codes: dict[str, list[np.ndarray]] = {}
        for name, model in self.models.items():
            codec_key = codec_hash(model)
            if codec_key not in codes:
                codec = MimiCodec.load(model, self.device)
                some = track(batched(calls, codec.at_once), "encoding calls")
                codes[codec_key] = [one for part in some for one in codec.encode([call.sound(sound_and_room) for call in part])]
            streams = self._hear(name, model, codes[codec_key])
            gc.collect()
            for call, stream in zip(calls, streams, strict=True):
                frames += frames_in_call(name, model, call, stream, clips, references, lengths)
        write_frames(path, frames)
        return read_frames(path)

    def systems(self, frames: Sequence[ClipFrames], rule: EndpointRule, *, set_on: str | None, split: str, out: Path) -> dict[str, System]:
        """Return the ways to end the turn beside `rule`: each model at its best setting on the split `set_on`, the judged one as agents
        can be set for it there, each model by the rules that read heads and text together, and the other detectors.

        Where `set_on` is the measured split or has no clips, no setting is chosen, and a line says why.
        """
        detectors = [name for name in dict.fromkeys(one.model for one in frames) if name not in (*self.models, SERVER, EXPECTED)]
        others = other_systems([name for name in detectors if name != SILERO])
        others |= silence_systems() if SILERO in detectors else {}
        others = {**rule_systems({name: model.num_heads for name, model in self.models.items()}, rule), **others}
        if rule == EndpointRule.named(self.serving.rule) != EndpointRule():
            others = {**plain_systems([name for name, model in self.models.items() if model.num_heads]), **others}
        if set_on is None or not self.has_heads:
            return others
        if set_on == split or set_on not in self.data.splits() or not self.data.clips(set_on):
            reason = "is what is measured" if set_on == split else "has no clips"
            say(f"{self.data.directory}: the split {set_on} {reason}, so no thresholds are chosen on it (--set_on)")
            return others
        recordings = replace(self, channels=(), all_classes=False, server=None)
        heard = recordings.listen(set_on, rule, out / f"frames.{set_on}.jsonl", with_others=False)
        return {**tuned_systems(heard, rule, set_on), **agent_systems(heard, self.judged, set_on), **others}

    def provenance(self, split: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return how the evaluation is made: versions, options, and the SHA-256 of manifest and weights."""
        inputs = {"manifest": self.data.manifest_path(split), **{name: model.lm_weights for name, model in self.models.items()}}
        return record("evaluate", dict(options), inputs, packages=(*PACKAGES, silero_vad.PACKAGE))


def reference_words(data: Dataset, clips: Sequence[Clip], split: str) -> list[tuple[Word, ...]]:
    """Return the words of each of `clips`, which are of `split`, with their times.

    Raises:
        DatasetError: by clip, whose `manner` or `voices` no report knows, or whose words have a fault that `check` calls grave: one of them
            is a whole number, so that no cut-off inside it could be seen; a stretch has none; their times cannot be true.
    """
    for clip in clips:
        for key, known in (("manner", MANNERS), ("voices", VOICES)):
            if clip.extra.get(key) not in (None, *known):
                raise DatasetError(f"{data.directory}: clip {clip.path}: {key} must be {' or '.join(known)}, got {clip.extra[key]!r}")
    references: list[tuple[Word, ...]] = []
    faults: dict[str, str] = {}
    for some in batched(clips, READ_TOGETHER):
        sidecars, found = faultless_sidecars(data, some)
        references += [sidecars[clip.path].main_words for clip in some if clip.path in sidecars]
        faults |= found
    refuse_faulty(data, split, faults, purpose="measured")
    return references


READ_TOGETHER = 1024
"""Clips whose sidecars are in memory at once: a sidecar is three times as large as the words that are measured."""

LISTENED_TOGETHER = 256
"""Sounds that a worker hears at once: several times a batch, so that few lanes wait, and no more than memory holds of any dataset."""


LEAST_SAMPLES = 8
"""Batches from which the rate of listening is estimated, where there are so many."""
