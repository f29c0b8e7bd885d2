"""What an evaluation hears: every model on every clip and through every channel, silence alone, and the dev split, on which settings are
chosen. All of it goes to frames.jsonl, from which anyone can recompute the figures.

A model listens as the server would: codes from the token store, or from the codec where they are not there, frame by frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stt_ft.audio import silero_vad
from stt_ft.audio.channel import Channel, channels_named
from stt_ft.audio.files import read_audio
from stt_ft.core.errors import ConfigError, DatasetError
from stt_ft.core.manifest import Clip, Dataset, Word
from stt_ft.core.progress import say, track
from stt_ft.core.provenance import PACKAGES, record
from stt_ft.core.recipe import Version
from stt_ft.core.timing import frame_start_s, num_samples
from stt_ft.evaluation.frames import MANNERS, VOICES, ClipFrames, kind_of, read_frames, write_frames
from stt_ft.evaluation.report import System
from stt_ft.evaluation.systems import SILERO, silence_systems, tuned_systems
from stt_ft.metrics.digit_strings import number_runs
from stt_ft.metrics.endpointing import EndpointRule, silent_for_s, turn_rows
from stt_ft.model.checkpoint_dir import ModelDir, open_model
from stt_ft.model.codes import codec_hash, codes_of
from stt_ft.model.device import inference_dtype, pick_device
from stt_ft.model.streaming import stream_codes
from stt_ft.model.stt_lm import load_lm

BASE, TUNED, ALONE = "base", "tuned", "model"
"""What a report calls the baseline, the model that is judged beside it, and one that is judged alone: it may be a base itself."""

_CLIPS_AT_A_TIME = 32
"""Clips that Silero VAD hears side by side."""


def endpoint_rule(name: str, **flags: float | None) -> EndpointRule:
    """Return the rule called `name` with what other flags say in the place of its own; raises `ConfigError` with all that is wrong.

    Args:
        name: a key of `endpointing.RULES`.
        flags: fields of `EndpointRule`; None leaves the named rule's.
    """
    try:
        return replace(EndpointRule.named(name), **{flag: value for flag, value in flags.items() if value is not None})
    except ValueError as error:
        raise ConfigError("; ".join(f"--{mistake}" for mistake in error.args)) from None


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Which models hear which clips, and how.

    Attributes:
        models: `base` and `tuned`, in this order, or `model` alone.
        channels: what the clips are heard through beside the recordings themselves.
        all_classes: keep all classes of the heads, not the pause alone.
        batch_size: clips listened to side by side.
    """

    models: dict[str, ModelDir]
    data: Dataset
    channels: Sequence[Channel]
    all_classes: bool
    batch_size: int
    device: torch.device

    @classmethod
    def open(
        cls,
        model_dir: str,
        dataset: str,
        *,
        baseline: str | None = None,
        channels: Sequence[str] = (),
        all_classes: bool = False,
        batch_size: int = 32,
        device: str = "auto",
    ) -> Evaluation:
        """Open models and dataset; raises a `SttFtError` for what cannot be used, before anything is heard."""
        if batch_size <= 0:
            raise ConfigError(f"--batch_size must be positive, got {batch_size}")
        try:
            through = channels_named(channels)
        except ValueError as error:
            raise ConfigError("; ".join(f"--channels: {mistake}" for mistake in error.args)) from None
        return cls(
            models={ALONE: open_model(model_dir)} if baseline is None else {BASE: open_model(baseline), TUNED: open_model(model_dir)},
            data=Dataset.open(dataset),
            channels=through,
            all_classes=all_classes,
            batch_size=batch_size,
            device=pick_device(device),
        )

    @property
    def judged(self) -> str:
        """What the report calls the model that is judged."""
        return list(self.models)[-1]

    @property
    def baseline(self) -> str | None:
        """What the report calls the model that it is compared with, None without one."""
        return BASE if BASE in self.models else None

    def listen(self, split: str, rule: EndpointRule, path: Path, *, with_silence: bool) -> list[ClipFrames]:
        """Let every model, and silence alone where asked for, hear `split`; return the frames as they then stand in the file `path`.

        Raises:
            ConfigError: a model lacks the rule's head.
            DatasetError: no clips, or one that cannot be judged, by name.
        """
        for model in self.models.values():
            if rule.head >= model.num_heads:
                raise ConfigError(f"--head {rule.head}: {model.name} has {model.num_heads} pause heads, counted from 0")
        clips = self.data.measured_clips(split)
        if not clips:
            raise DatasetError(f"{self.data.manifest_path(split)}: no clips to evaluate")
        references, frames = reference_words(self.data, clips), []
        channels, how = (None, *self.channels), {"batch_size": self.batch_size, "device": self.device}
        versions = [Version(channel=None if channel is None else channel.flag) for channel in channels]
        codes: dict[str, list[np.ndarray]] = {}  # by codec: tuning leaves it alone, so the models as a rule hear the same
        for name, model in self.models.items():
            codec = codec_hash(model)
            codes[codec] = codes.get(codec) or [one for version in versions for one in codes_of(model, self.data, clips, version, **how)]
            frames += model_frames(name, model, clips, references, codes[codec], channels=channels, all_classes=self.all_classes, **how)
        if with_silence and silero_vad.is_installed():
            frames += silero_frames(self.data, [one for one in frames if one.model == self.judged and one.channel is None])
        elif with_silence:
            say("Silero VAD is not installed, so silence alone is not compared with: pip install 'stt-ft[vad]'")
        write_frames(path, frames)
        return read_frames(path)  # as rounded on disk: a stranger with the file gets the same figures

    def systems(self, frames: Sequence[ClipFrames], rule: EndpointRule, *, set_on: str | None, split: str, out: Path) -> dict[str, System]:
        """Return the ways to end the turn beside the models by `rule`: each model as it is best on `set_on`, and silence alone.

        Without clips to choose a setting on other than those that are measured, none is chosen, and a line says why.
        """
        silence = silence_systems() if any(one.model == SILERO for one in frames) else {}
        if set_on is None:
            return silence
        if set_on == split or set_on not in self.data.splits() or not self.data.clips(set_on):
            reason = "is what is measured" if set_on == split else "has no clips"
            say(f"{self.data.directory}: the split {set_on} {reason}, so no thresholds are chosen on it (--set_on)")
            return silence
        recordings = replace(self, channels=(), all_classes=False)
        heard = recordings.listen(set_on, rule, out / f"frames.{set_on}.jsonl", with_silence=False)
        return {**tuned_systems(heard, rule, set_on), **silence}

    def provenance(self, split: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return how the evaluation is made: versions, options, and the SHA-256 of manifest and weights."""
        inputs = {"manifest": self.data.manifest_path(split), **{name: model.lm_weights for name, model in self.models.items()}}
        return record("evaluate", dict(options), inputs, packages=(*PACKAGES, silero_vad.PACKAGE))


def reference_words(data: Dataset, clips: Sequence[Clip]) -> list[tuple[Word, ...]]:
    """Return what was said in each clip, word by word with times.

    Raises:
        DatasetError: by clip, when its `manner` or `voices` is none that a report knows, nothing was said, a stretch has no words since the
            script does not fit it, or a number is still one long word, inside which no cut-off could be seen.
    """
    references = []
    for clip in clips:
        for key, known in (("manner", MANNERS), ("voices", VOICES)):
            if clip.extra.get(key) not in (None, *known):
                raise DatasetError(f"{data.directory}: clip {clip.path}: {key} must be {' or '.join(known)}, got {clip.extra[key]!r}")
        read, sidecar = data.read_sidecar(clip), data.sidecar_path(clip)
        words = read.alignments
        if not words:
            raise DatasetError(f"{sidecar}: clip {clip.path} has no words; run `stt-ft annotate {data.directory}` or drop the clip")
        for start_s, end_s in read.left_out_s()[:1]:
            raise DatasetError(
                f"{sidecar}: clip {clip.path} has no words at {start_s:.1f}-{end_s:.1f} s, where its script does not fit the sound: "
                "what is heard there would count as an error; cut it, or correct the script"
            )
        written = next((word.text for word in words if number_runs([word.text])), None)
        if written is not None:
            raise DatasetError(
                f"{sidecar}: clip {clip.path} has the number {written!r} as one word, so cut-offs inside it cannot be seen; "
                f"run `stt-ft convert {data.directory}`"
            )
        references.append(words)
    return references


def model_frames(
    name: str,
    model: ModelDir,
    clips: Sequence[Clip],
    references: Sequence[tuple[Word, ...]],
    codes: Sequence[np.ndarray],
    *,
    channels: Sequence[Channel | None] = (None,),
    all_classes: bool = False,
    batch_size: int,
    device: torch.device,
) -> list[ClipFrames]:
    """Return what `model` writes and expects of every clip, the silence prefix left out.

    Args:
        name: what the report calls the model.
        references: what was said in each clip.
        codes: of every clip through every channel [n_q, T], one channel after the other.
        channels: what the clips come through; None is the recording itself.
        all_classes: keep the heads' other classes too.
        batch_size: clips listened to side by side.
    """
    lm = load_lm(model, device=device, dtype=inference_dtype(device))
    streams = stream_codes(lm, codes, batch_size=batch_size, progress=lambda steps: track(steps, f"{name} listens"))
    heard = [(channel, clip, reference) for channel in channels for clip, reference in zip(clips, references, strict=True)]
    first_row = model.num_prefix_frames
    return [
        ClipFrames(
            model=name,
            clip=clip.path,
            kind=kind_of([word.text for word in reference], clip.extra.get("kind")),
            text_tokens=tuple(int(token) for token in stream.text_tokens[first_row:]),
            words=tuple(model.words_of(stream.text_tokens)),
            pause=stream.pause_probs[first_row:],
            reference=reference,
            duration_s=clip.duration_s,
            speaker=None if clip.extra.get("speaker") is None else str(clip.extra["speaker"]),
            manner=clip.extra.get("manner"),
            voices=clip.extra.get("voices"),
            channel=None if channel is None else channel.name,
            text_lag_s=model.text_lag_s,
            classes=stream.head_probs[first_row:, :, 1:] if all_classes else None,
        )
        for (channel, clip, reference), stream in zip(heard, streams, strict=True)
    ]


def silero_frames(data: Dataset, heard: Sequence[ClipFrames]) -> list[ClipFrames]:
    """Return what Silero VAD makes of the clips that a model heard, over as many rows, the silence after the clip included.

    Raises:
        MissingExtra: it is not installed.
        AudioError: a clip's sound is missing or unreadable.
    """
    vad, frames = silero_vad.SileroVad.load(), []
    batches = [heard[first : first + _CLIPS_AT_A_TIME] for first in range(0, len(heard), _CLIPS_AT_A_TIME)]
    for batch in track(batches, "Silero VAD listens"):
        sounds = []
        for one in batch:
            sound = read_audio(data.directory / one.clip)
            sounds.append(np.pad(sound, (0, max(num_samples(frame_start_s(len(one.pause))) - len(sound), 0))))
        for one, probs in zip(batch, vad.speech_probs(sounds), strict=True):
            rows = turn_rows(silent_for_s(probs, silero_vad.CHUNK_S), silero_vad.CHUNK_S, len(one.pause))
            frames.append(replace(one, model=SILERO, text_tokens=(), words=(), pause=rows, text_lag_s=None, classes=None))
    return frames
