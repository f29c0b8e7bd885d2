"""Calibrating the pause heads after training: a temperature and a bias of class 0, fitted on the dev split, folded into the weights.

The production engine's heads have no bias. But the transformer's last norm keeps the length of what the heads hear, and one direction of
it hardly changes from frame to frame: `u` with `u . h` close to 1, found by least squares over training frames (no labels are needed). So
`scale * W`, with `bias * u` added to the row of class 0, is a scale and a bias to within the spread of `u . h`, which is reported.

What is heard here is heard as the server does: the model's own text goes back in. The text itself is not touched, heads do not feed back.

    RUN_DIR/calibrated/consolidated/      as in the best checkpoint, the heads' weights replaced; `merge` takes it where the recipe asks
    RUN_DIR/calibrated/calibration.json   what was fitted, on how many clips, and what the dev split said before and after
"""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from moshi.models.lm import LMModel

from stt_ft.core.atomic import atomic_directory, recover, write_json
from stt_ft.core.config import to_dict
from stt_ft.core.errors import CheckpointError, ConfigError
from stt_ft.core.progress import say
from stt_ft.core.provenance import file_sha256
from stt_ft.core.recipe import Recipe
from stt_ft.metrics.endpointing import EndpointRule, Turn, judge_turn
from stt_ft.metrics.intervals import wilson
from stt_ft.model.checkpoint_dir import ModelDir
from stt_ft.model.device import pick_device, pick_dtype
from stt_ft.model.lora import folded
from stt_ft.model.output_dir import seal
from stt_ft.model.safetensors_file import read_header, write_tensors
from stt_ft.model.streaming import stream_codes
from stt_ft.model.stt_lm import forward, load_lm
from stt_ft.targets.pause_targets import pause_targets
from stt_ft.training.checkpoints import RunDir, check_whole, find_checkpoint, weights_in
from stt_ft.training.data.clips import TrainingClip
from stt_ft.training.validation import Listener

RIDGE = 0.01
"""Share of the mean square of `h` that keeps `u` small where directions were hardly ever seen."""

MAX_SPREAD = 0.35
"""Standard deviation of `u . h` above which no direction counts as constant, and no bias can be folded in."""

MIN_SCALE = 0.01
"""A head whose logits had to be scaled by less than this, or more than its inverse, says nothing of pauses."""

MAX_ITERATIONS = 200

MAX_DIRECTION_CLIPS = 400
"""Training clips from which the constant direction is taken: 40 thousand frames for a few thousand numbers."""


@dataclass(frozen=True, kw_only=True)
class HeadCorrection:
    """What is done to one head: `scale * W`, and `bias * u` on the row of class 0."""

    scale: float = 1.0
    bias: float = 0.0

    def apply(self, weight: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
        """Return the corrected weight [C, D], in the type of `weight`."""
        corrected = self.scale * weight.double()
        corrected[0] += self.bias * direction
        return corrected.to(weight.dtype)


@dataclass(frozen=True, kw_only=True)
class HeardHeads:
    """Everything that the fit needs: what the heads hear of the dev clips, their weights, and the direction that carries a constant."""

    clips: Sequence[TrainingClip]
    hidden: Sequence[torch.Tensor]  # [T, D] each
    weights: Sequence[torch.Tensor]  # [C, D] each
    direction: torch.Tensor  # [D]
    listener: Listener

    def turns(self, weights: Sequence[torch.Tensor]) -> list[Turn]:
        """Return the clips as turns, with the pause probabilities that heads of `weights` say."""
        probs = [head_logits_of(weights, hidden).softmax(dim=-1)[..., 0].numpy() for hidden in self.hidden]
        return [self.listener.turn(clip, clip_probs) for clip, clip_probs in zip(self.clips, probs, strict=True)]

    def spread(self) -> float:
        """Return the standard deviation of `u . h` over its mean, the silence prefix left out."""
        first = self.listener.model.num_prefix_frames
        constants = np.concatenate([(hidden @ self.direction).numpy()[first:] for hidden in self.hidden])
        return float(constants.std() / max(abs(constants.mean()), 1e-9))

    def is_pause(self) -> torch.Tensor:
        """Return whether a pause came, for every frame of all clips and every head [N, H]."""
        model, targets = self.listener.model, []
        for clip in self.clips:
            heard = clip.pause_stream(model)
            targets.append(pause_targets(heard.onset_frames, heard.sound_end_frames, clip.num_frames, kind="binary"))
        return torch.from_numpy(np.concatenate(targets) == 0)


def calibrate(
    run: RunDir, model: ModelDir, recipe: Recipe, *, train: Sequence[TrainingClip], dev: Sequence[TrainingClip]
) -> dict[str, Any] | None:
    """Calibrate the heads of the run's best checkpoint (the newest, where none was validated) and return calibration.json's contents.

    Returns None when `calibrated` is there already, fitted to this checkpoint, these clips and these options.
    """
    step = find_checkpoint(run)
    consolidated = run.checkpoint(step) / "consolidated"
    source = weights_in(consolidated)
    made_of = {
        "step": step,
        "weights_sha256": file_sha256(source),
        "options": to_dict(recipe.calibration),
        "dev_clips": [clip.clip_id for clip in dev],
    }
    out = run.directory / "calibrated"
    recover(out)
    if (out / "calibration.json").is_file():
        there = json.loads((out / "calibration.json").read_bytes())
        if all(there.get(key) == value for key, value in made_of.items()) and _is_whole(out / "consolidated"):
            return None
    heard = _listen(model, recipe, source, train, dev)
    corrections, spread = fit(heard), heard.spread()
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
    with atomic_directory(out, replace=True) as directory:
        (directory / "consolidated").mkdir()
        write_tensors(directory / "consolidated" / source.name, tensors, read_header(source).metadata)
        shutil.copyfile(consolidated / "config.json", directory / "consolidated" / "config.json")
        seal(directory / "consolidated", (".safetensors", ".json"))
        write_json(directory / "calibration.json", record)
    before, after = (_in_words(record[when], len(dev)) for when in ("before", "after"))
    say(f"{out}: pause heads of step {step} on dev: {before} before, {after} after")
    return record


def _is_whole(consolidated: Path) -> bool:
    try:
        check_whole(weights_in(consolidated))
    except CheckpointError:
        return False
    return True


def _listen(model: ModelDir, recipe: Recipe, source: Path, train: Sequence[TrainingClip], dev: Sequence[TrainingClip]) -> HeardHeads:
    """Load the tuned model, hear the dev clips, and find the constant direction on training clips."""
    is_adapter = source.name == "lora.safetensors"
    tuned = model if is_adapter else dataclasses.replace(model, lm_weights=source, has_new_heads=False)
    lm = load_lm(tuned, device=pick_device(recipe.device), dtype=pick_dtype(recipe.precision), lora_weights=source if is_adapter else None)
    with folded(lm):
        chosen = train[:: max(1, len(train) // MAX_DIRECTION_CLIPS)][:MAX_DIRECTION_CLIPS]
        return HeardHeads(
            clips=dev,
            hidden=hear(lm, dev),
            weights=[head.weight.detach().float().cpu() for head in lm.extra_heads],  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]
            direction=constant_direction(hidden_of(lm, clip.text_stream(model).tokens, clip.with_codes().codes) for clip in chosen),
            listener=Listener(model=model),
        )


@torch.no_grad()
def hear(lm: LMModel, clips: Sequence[TrainingClip]) -> list[torch.Tensor]:
    """Listen to `clips` as the server does and return what the heads hear, [T, D] each; `lm` is in evaluation mode."""
    codes = [clip.with_codes().codes for clip in clips]
    return [hidden_of(lm, stream.text_tokens, heard) for heard, stream in zip(codes, stream_codes(lm, codes), strict=True)]


@torch.no_grad()
def hidden_of(lm: LMModel, text_tokens: np.ndarray, codes: np.ndarray) -> torch.Tensor:
    """Return the transformer's output [T, D] in float64 for a text [T] and codes [n_q, T]."""
    tokens = torch.from_numpy(np.concatenate([text_tokens[None].astype(np.int64), codes.astype(np.int64)]))
    return forward(lm, tokens[None].to(lm.device)).hidden[0].double().cpu()


def head_logits_of(weights: Sequence[torch.Tensor], hidden: torch.Tensor) -> torch.Tensor:
    """Return the logits [T, H, C] of heads with `weights` [C, D] each, in float64."""
    return torch.stack([hidden @ weight.double().T for weight in weights], dim=1)


def constant_direction(hidden: Iterable[torch.Tensor]) -> torch.Tensor:
    """Return `u` [D] in float64, the ridge solution of `u . h = 1` over all frames of `hidden`, [T, D] each."""
    square, total = torch.zeros(()), torch.zeros(())
    for frames in hidden:
        square, total = square + frames.T @ frames, total + frames.sum(dim=0)
    ridge = RIDGE * square.diagonal().mean() * torch.eye(len(square), dtype=torch.float64)
    return torch.linalg.solve(square + ridge, total)


def fit(heard: HeardHeads) -> list[HeadCorrection]:
    """Return the correction of every head; raises `ConfigError` where no direction is constant, or a head foresees no pause."""
    spread = heard.spread()
    if spread > MAX_SPREAD:
        raise ConfigError(
            f"calibration: no direction of what the heads hear is constant (spread {spread:.2f}, at most {MAX_SPREAD}), so no bias can be "
            "folded in; the run is done and whole, give --calibration.method off to merge it as it is"
        )
    logits = torch.cat([head_logits_of(heard.weights, hidden) for hidden in heard.hidden])
    constant = torch.cat([hidden @ heard.direction for hidden in heard.hidden])
    is_pause = heard.is_pause()
    return [fit_likelihood(logits[:, head], constant, is_pause[:, head]) for head in range(logits.shape[1])]


def fit_likelihood(logits: torch.Tensor, constant: torch.Tensor, is_pause: torch.Tensor) -> HeadCorrection:
    """Return the scale and bias of one head that make what came likeliest, class 0 against the rest, by L-BFGS in float64.

    Args:
        logits: what the head says now [N, C].
        constant: `u . h` of every frame [N].
        is_pause: whether a pause came [N].
    """
    parameters = torch.zeros(2, dtype=torch.float64, requires_grad=True)  # log of the scale, bias
    logits, constant, truth = logits.double(), constant.double(), is_pause.double()
    optimizer = torch.optim.LBFGS([parameters], max_iter=MAX_ITERATIONS, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def negative_log_likelihood() -> torch.Tensor:
        optimizer.zero_grad()
        scaled = parameters[0].exp() * logits
        odds = scaled[:, 0] - scaled[:, 1:].logsumexp(dim=-1) + parameters[1] * constant
        loss = torch.nn.functional.binary_cross_entropy_with_logits(odds, truth)
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(negative_log_likelihood)  # pyright: ignore[reportArgumentType]
    scale, bias = float(parameters[0].detach().exp()), float(parameters[1].detach())
    if not (math.isfinite(scale) and math.isfinite(bias) and MIN_SCALE < scale < 1 / MIN_SCALE):
        raise ConfigError(
            f"calibration: the dev split contradicts the pause heads (scale {scale:.3g}, bias {bias:.3g}); the run is done and whole, "
            "give --calibration.method off to merge it as it is"
        )
    return HeadCorrection(scale=scale, bias=bias)


def turn_shares(turns: Sequence[Turn], rule: EndpointRule) -> dict[str, float | None]:
    """Return cut-offs, missed ends and the median latency of `turns`; the latency is None when half of the ends are missed."""
    verdicts = [judge_turn(turn, rule) for turn in turns]
    latency_s = float(np.median([verdict.latency_s for verdict in verdicts]))
    return {
        "cut_offs": sum(verdict.is_cut_off for verdict in verdicts) / len(verdicts),
        "missed_ends": sum(verdict.is_missed for verdict in verdicts) / len(verdicts),
        "latency_p50_s": latency_s if math.isfinite(latency_s) else None,
    }


def _in_words(shares: dict[str, float | None], num_turns: int) -> str:
    """Say what calibration reached on dev, with what so many turns leave open."""
    cut_offs, latency_s = shares["cut_offs"] or 0.0, shares["latency_p50_s"]
    low, high = wilson(round(cut_offs * num_turns), num_turns)
    ends = "no median latency" if latency_s is None else f"p50 {latency_s:.2f} s"
    return f"cut-offs {100 * cut_offs:.1f} % ({100 * low:.1f} to {100 * high:.1f} on {num_turns} turns), {ends}"


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
