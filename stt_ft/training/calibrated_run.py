"""`RUN_DIR/calibrated`: the checkpoint that would ship, with pause heads calibrated on the dev split.

calibrated/consolidated/      as in a checkpoint, the heads' weights replaced; `merge` takes it when the recipe asks for calibration
calibrated/calibration.json   what was fitted, on how many clips, and what the dev split said before and after
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from stt_ft.core.atomic import atomic_directory, write_json
from stt_ft.core.config import to_dict
from stt_ft.core.errors import ConfigError
from stt_ft.core.provenance import file_sha256
from stt_ft.core.recipe import CalibrationRecipe, Recipe
from stt_ft.metrics.endpointing import EndpointRule, Turn
from stt_ft.model.checkpoint_dir import ModelDir
from stt_ft.model.device import pick_device, pick_dtype
from stt_ft.model.lora import folded
from stt_ft.model.safetensors_file import read_header
from stt_ft.model.stt_lm import load_lm
from stt_ft.targets.pause_targets import pause_targets
from stt_ft.training.calibration import (
    MAX_SPREAD,
    HeadCorrection,
    constant_direction,
    fit_likelihood,
    head_logits_of,
    hear,
    hidden_of,
    turn_shares,
)
from stt_ft.training.clips import SpokenClip
from stt_ft.training.heard import Listener
from stt_ft.training.run_state import RunDir, find_checkpoint

MAX_DIRECTION_CLIPS = 400
"""Training clips from which the constant direction is taken: 40 thousand frames for a few thousand numbers."""


@dataclass(frozen=True, kw_only=True)
class HeardHeads:
    """Everything that the fit needs: what the heads hear of the dev clips, their weights, and the direction that carries a constant."""

    clips: Sequence[SpokenClip]
    hidden: Sequence[torch.Tensor]  # [T, D] each
    weights: Sequence[torch.Tensor]  # [C, D] each
    direction: torch.Tensor  # [D]
    listener: Listener

    def turns(self, weights: Sequence[torch.Tensor], *, as_log_odds: bool = False) -> list[Turn]:
        """Return the clips as turns, with what heads of `weights` say: pause probabilities, or their log-odds."""
        turns = []
        for clip, hidden in zip(self.clips, self.hidden, strict=True):
            logits = head_logits_of(weights, hidden)
            probs = logits.softmax(dim=-1)[..., 0]
            odds = logits[..., 0] - logits[..., 1:].logsumexp(dim=-1)
            turns.append(self.listener.turn(clip, (odds if as_log_odds else probs).numpy()))
        return turns

    def constants(self) -> list[np.ndarray]:
        """Return `u . h` of every turn [T], the silence prefix left out."""
        first = self.listener.model.num_prefix_frames
        return [(hidden @ self.direction).numpy()[first:] for hidden in self.hidden]

    def spread(self) -> float:
        """Return the standard deviation of `u . h` over its mean."""
        constants = np.concatenate(self.constants())
        return float(constants.std() / max(abs(constants.mean()), 1e-9))


def calibrate(
    run: RunDir, model: ModelDir, recipe: Recipe, *, train: Sequence[SpokenClip], dev: Sequence[SpokenClip]
) -> dict[str, Any] | None:
    """Calibrate the heads of the run's best checkpoint (the newest, where none was validated) and return calibration.json's contents.

    Returns None when `calibrated` is there already, fitted to this checkpoint, these clips and these options.
    """
    step = find_checkpoint(run)
    consolidated = run.checkpoint(step) / "consolidated"
    source = next(path for path in sorted(consolidated.glob("*.safetensors")))
    made_of = {
        "step": step,
        "weights_sha256": file_sha256(source),
        "options": to_dict(recipe.calibration),
        "dev_clips": [c.clip_id for c in dev],
    }
    out = run.directory / "calibrated"
    if (out / "calibration.json").is_file():
        there = json.loads((out / "calibration.json").read_bytes())
        if all(there.get(key) == value for key, value in made_of.items()):
            return None
    heard = _listen(model, recipe, source, train, dev)
    corrections, spread = _fit(heard, recipe.calibration), heard.spread()
    corrected = [c.apply(weight, heard.direction) for c, weight in zip(corrections, heard.weights, strict=True)]
    tensors = _replaced_heads(source, corrected)
    stored = [tensors[_head_name(source, index)].float() for index in range(len(corrected))]  # as rounded as they are kept
    rule = EndpointRule()
    record = {
        **made_of,
        "heads": [dataclasses.asdict(correction) for correction in corrections],
        "constant_direction_spread": spread,
        "before": turn_shares(heard.turns(heard.weights), rule),
        "after": turn_shares(heard.turns(stored), rule),
    }
    shutil.rmtree(out, ignore_errors=True)
    with atomic_directory(out) as directory:
        (directory / "consolidated").mkdir()
        safetensors.torch.save_file(tensors, directory / "consolidated" / source.name, metadata=dict(read_header(source).metadata))
        shutil.copyfile(consolidated / "config.json", directory / "consolidated" / "config.json")
        write_json(directory / "calibration.json", record)
    return record


def _listen(model: ModelDir, recipe: Recipe, source: Path, train: Sequence[SpokenClip], dev: Sequence[SpokenClip]) -> HeardHeads:
    """Load the tuned model, hear the dev clips, and find the constant direction on training clips."""
    is_adapter = source.name == "lora.safetensors"
    tuned = model if is_adapter else dataclasses.replace(model, lm_weights=source)
    lm = load_lm(tuned, device=pick_device(recipe.device), dtype=pick_dtype(recipe.precision), lora_weights=source if is_adapter else None)
    with folded(lm):
        chosen = train[:: max(1, len(train) // MAX_DIRECTION_CLIPS)][:MAX_DIRECTION_CLIPS]
        return HeardHeads(
            clips=dev,
            hidden=hear(lm, dev),
            weights=[head.weight.detach().float().cpu() for head in lm.extra_heads],  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]
            direction=constant_direction(hidden_of(lm, clip.text_stream(model).tokens, clip.codes) for clip in chosen),
            listener=Listener(model=model, tokenizer=model.load_tokenizer()),
        )


def _fit(heard: HeardHeads, recipe: CalibrationRecipe) -> list[HeadCorrection]:
    spread = heard.spread()
    if spread > MAX_SPREAD:
        raise ConfigError(
            f"calibration: no direction of what the heads hear is constant (spread {spread:.2f}, at most {MAX_SPREAD}), so no bias can be "
            "folded in; give --calibration.method off"
        )
    logits = torch.cat([head_logits_of(heard.weights, hidden) for hidden in heard.hidden])
    constant = torch.cat([hidden @ heard.direction for hidden in heard.hidden])
    model = heard.listener.model
    streams = [(clip.text_stream(model), clip.num_frames) for clip in heard.clips]
    targets = [pause_targets(text.onset_frames, text.sound_end_frames, num_frames, kind="binary") for text, num_frames in streams]
    is_pause = np.concatenate(targets) == 0
    truth = torch.from_numpy(is_pause)
    return [fit_likelihood(logits[:, head], constant, truth[:, head], with_bias=True) for head in range(logits.shape[1])]


def _replaced_heads(source: Path, heads: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the tensors of `source` with these heads in the place of its own, whole: their adapters, where there are any, are zeros."""
    tensors = safetensors.torch.load_file(source)
    dtype = next(iter(tensors.values())).dtype
    for index, weight in enumerate(heads):
        for side in ("lora_A", "lora_B"):
            name = f"extra_heads.{index}.{side}.weight"
            if name in tensors:
                tensors[name] = torch.zeros_like(tensors[name])
        tensors[_head_name(source, index)] = weight.to(dtype).contiguous()
    return {name: tensors[name] for name in sorted(tensors)}


def _head_name(source: Path, index: int) -> str:
    return f"extra_heads.{index}.frozen_W.weight" if source.name == "lora.safetensors" else f"extra_heads.{index}.weight"
