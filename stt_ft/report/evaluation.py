"""What an evaluation hears and leaves: every model on every clip and its twins, silence alone, and the dev split, on which settings are
chosen; then report.json, report.html, and the frames from which anyone can recompute them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stt_ft.audio import silero_vad
from stt_ft.audio.channel import Channel, channels_named
from stt_ft.core.errors import ConfigError, DatasetError
from stt_ft.core.manifest import Dataset
from stt_ft.core.progress import say
from stt_ft.core.provenance import PACKAGES, record
from stt_ft.metrics.endpointing import EndpointRule
from stt_ft.model.checkpoint_dir import ModelDir, open_model
from stt_ft.model.codes import codec_hash
from stt_ft.model.device import pick_device
from stt_ft.report.frames import ClipFrames, read_frames, write_frames
from stt_ft.report.listening import codes_through, listen, references_of
from stt_ft.report.page import write_page
from stt_ft.report.report_file import FRAMES_NAME, PAGE_NAME, write_report
from stt_ft.report.silero import silero_frames
from stt_ft.report.systems import System, silence_systems, tuned_systems
from stt_ft.report.table import print_report

BASE, TUNED, ALONE = "base", "tuned", "model"
"""What a report calls the baseline, the model that is judged beside it, and one that is judged alone: it may be a base itself."""


def rule_of(name: str, **flags: float | None) -> EndpointRule:
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
class Hearing:
    """Who hears what, and how.

    Attributes:
        models: `base` and `tuned`, in this order, or `model` alone.
        channels: what twins of the clips come through.
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
        cls, model_dir: str, dataset: str, *, baseline: str | None, twins: Sequence[str], all_classes: bool, batch_size: int, device: str
    ) -> Hearing:
        """Open models and dataset; raises a `SttFtError` for what cannot be used, before anything is heard."""
        if batch_size <= 0:
            raise ConfigError(f"--batch_size must be positive, got {batch_size}")
        try:
            channels = channels_named(twins)
        except ValueError as error:
            raise ConfigError("; ".join(f"--twins: {mistake}" for mistake in error.args)) from None
        return cls(
            models={ALONE: open_model(model_dir)} if baseline is None else {BASE: open_model(baseline), TUNED: open_model(model_dir)},
            data=Dataset.open(dataset),
            channels=channels,
            all_classes=all_classes,
            batch_size=batch_size,
            device=pick_device(device),
        )

    @property
    def judged(self) -> str:
        """What the report calls the model that is judged."""
        return list(self.models)[-1]

    def hear(self, split: str, rule: EndpointRule, path: Path, *, with_silence: bool) -> list[ClipFrames]:
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
        references, frames = references_of(self.data, clips), []
        channels, how = (None, *self.channels), {"batch_size": self.batch_size, "device": self.device}
        codes: dict[str, list[np.ndarray]] = {}  # by codec: tuning leaves it alone, so the models as a rule hear the same
        for name, model in self.models.items():
            codec = codec_hash(model)
            codes[codec] = codes.get(codec) or codes_through(channels, model, self.data, clips, **how)
            frames += listen(name, model, clips, references, codes[codec], channels=channels, all_classes=self.all_classes, **how)
        if with_silence and silero_vad.is_installed():
            frames += silero_frames(self.data, [one for one in frames if one.model == self.judged and one.channel is None])
        elif with_silence:
            say("Silero VAD is not installed, so silence alone is not compared with: pip install 'stt-ft[vad]'")
        write_frames(path, frames)
        return read_frames(path)  # as rounded on disk: a stranger with the file gets the same figures

    def systems(self, frames: Sequence[ClipFrames], rule: EndpointRule, *, set_on: str | None, split: str, out: Path) -> list[System]:
        """Return the ways to end the turn beside the models by `rule`: each model as it is best on `set_on`, and silence alone.

        Without clips to choose a setting on other than those that are measured, none is chosen, and a line says why.
        """
        silence = silence_systems() if any(one.model == silence_systems()[0].model for one in frames) else []
        if set_on is None:
            return silence
        if set_on == split or set_on not in self.data.splits() or not self.data.clips(set_on):
            reason = "is what is measured" if set_on == split else "has no clips"
            say(f"{self.data.directory}: the split {set_on} {reason}, so no thresholds are chosen on it (--set_on)")
            return silence
        alone = replace(self, channels=(), all_classes=False)
        heard = alone.hear(set_on, rule, out / f"frames.{set_on}.jsonl", with_silence=False)
        return [*tuned_systems(heard, rule, set_on), *silence]

    def about(self, split: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the report says of its making: dataset, versions, options, and the SHA-256 of manifest and weights."""
        inputs = {"manifest": self.data.manifest_path(split), **{name: model.lm_weights for name, model in self.models.items()}}
        provenance = record("evaluate", dict(options), inputs, packages=(*PACKAGES, silero_vad.PACKAGE))
        return {"dataset": {"name": str(self.data.directory), "split": split}, "provenance": provenance}


def leave(out: Path, report: dict[str, Any], frames: Sequence[ClipFrames], data: Dataset) -> None:
    """Write report.json and report.html to `out`, and print the table."""
    write_report(out, report)
    write_page(out / PAGE_NAME, report, frames, dataset=data.directory)
    print_report(report)
    say(f"{out / PAGE_NAME}: open it in a browser; every frame is in {out / FRAMES_NAME}")
