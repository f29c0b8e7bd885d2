"""What is minimised: cross-entropy of the text stream, of the pause heads, and of what a model that speaks would say, each a weighted
mean over the global batch.

Sums and weights are kept apart until the end, so that a batch cut into several forward passes gives the gradient of the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F

from stt_ft.core.recipe import LossRecipe
from stt_ft.model.checkpoint_dir import ModelDir
from stt_ft.model.stt_lm import SttOutput
from stt_ft.training.batches import IGNORE, Batch


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """What the sums of a global batch are divided by: the total weight of its text tokens, of its pause targets, of its codes."""

    text: float
    pause: float
    audio: float


@dataclass(frozen=True, kw_only=True)
class LossTerms:
    """The loss of one forward pass, each term already divided by the weights of the global batch it belongs to."""

    total: torch.Tensor
    text: torch.Tensor
    pause: torch.Tensor
    audio: torch.Tensor


def stream_layout(model: ModelDir) -> dict[str, Any]:
    """Return what the functions below want to know of a model: its padding ids, and the delay of each codebook that it speaks itself."""
    spoken = tuple(model.config.get("delays", ())[1 : 1 + model.dep_q])
    return {"padding_id": model.padding_id, "end_padding_id": model.end_padding_id, "spoken_delays": spoken}


def has_audio_loss(model: ModelDir, recipe: LossRecipe) -> bool:
    """Whether the model speaks and is to learn it; no speech-to-text model does (`dep_q` is 0)."""
    return model.dep_q > 0


def token_weights(tokens: torch.Tensor, recipe: LossRecipe, *, padding_id: int = 3, end_padding_id: int = 0) -> torch.Tensor:
    """Return the weight of every text token [B, T]: by its kind, and 0 where there is none (-1)."""
    weights = torch.full(tokens.shape, 1.0, device=tokens.device)
    weights = weights.masked_fill(tokens == padding_id, recipe.pad_weight).masked_fill(tokens == end_padding_id, 0.5)
    return weights.masked_fill(tokens < 0, 0.0)


def code_weights(batch: Batch, recipe: LossRecipe, spoken_delays: Sequence[int]) -> torch.Tensor:
    """Return the weight of every code [B, dep_q, T] of the codebooks that a model speaks, the first of a batch's.

    0 where there is none or nothing is to be learned, and in the last frames of a delayed codebook, which the model comes to after the end.
    """
    codes, num_frames = batch.codes[:, 1 : 1 + len(spoken_delays)], batch.codes.shape[2]
    delays = torch.tensor(spoken_delays, device=codes.device)[:, None]
    is_reached = torch.arange(num_frames, device=codes.device) < num_frames - delays
    weights = ((codes >= 0) & (batch.text_targets >= 0)[:, None] & is_reached).float()
    weights[:, :1] *= 100.0
    return weights


def loss_weights(
    batches: Sequence[Batch], recipe: LossRecipe, *, padding_id: int = 3, end_padding_id: int = 0, spoken_delays: Sequence[int] = ()
) -> LossWeights:
    """Sum the weights of the batches that make one optimizer step; to be called before they go to the device."""
    text = sum(token_weights(b.text_targets, recipe, padding_id=padding_id, end_padding_id=end_padding_id).sum().item() for b in batches)
    pause = sum(pause_weights(b.pause_targets, recipe).sum(dtype=torch.float64).item() for b in batches)
    audio = sum(code_weights(b, recipe, spoken_delays).sum().item() for b in batches) if spoken_delays else 0.0
    return LossWeights(text=max(float(text), 1e-8), pause=max(float(pause), 1e-8), audio=max(float(audio), 1e-8))


def stream_loss(
    output: SttOutput,
    batch: Batch,
    recipe: LossRecipe,
    weights: LossWeights,
    *,
    padding_id: int = 3,
    end_padding_id: int = 0,
    spoken_delays: Sequence[int] = (),
) -> LossTerms:
    """Return the loss of one forward pass as its share of the global batch; of a model that speaks, the output holds audio logits."""
    tokens = batch.text_targets
    per_token = F.cross_entropy(output.text_logits.float().flatten(0, 1), tokens.clamp(min=0).flatten(), reduction="none")
    by_kind = token_weights(tokens, recipe, padding_id=padding_id, end_padding_id=end_padding_id).flatten()
    total = text = (per_token * by_kind).sum() / weights.text
    pause = audio = text.new_zeros(())
    if recipe.pause_targets != "off":
        pause = pause_loss(output.head_logits.float(), batch.pause_targets, recipe).sum() / weights.pause
        total = total + recipe.pause_weight * pause
    if output.audio_logits is not None:
        by_code = code_weights(batch, recipe, spoken_delays)
        audio = audio_loss(output.audio_logits.float(), batch.codes[:, 1:], by_code).sum() / weights.audio
        total = total + audio
    return LossTerms(total=total, text=text, pause=pause, audio=audio)


def audio_loss(logits: torch.Tensor, codes: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return the weighted cross-entropy [B, dep_q, T] of the codes that a model speaks.

    Args:
        logits: [B, dep_q, T, card], anything (upstream has NaN there) where the weight is 0.
        codes: [B, n_q, T], those that are spoken first.
        weights: `code_weights`.
    """
    counts = weights > 0
    targets = codes[:, : logits.shape[1]].masked_fill(~counts, 0)
    per_code = F.cross_entropy(logits.masked_fill(~counts[..., None], 0.0).flatten(0, 2), targets.flatten(), reduction="none")
    return per_code.view(weights.shape) * weights


def pause_weights(targets: torch.Tensor, recipe: LossRecipe) -> torch.Tensor:
    """Return the weight of every frame and head [B, T, H]: 1 for a pause, `cut_off_cost` with a word to come, 0 where it is `IGNORE`."""
    return torch.where(targets == 0, 1.0, recipe.cut_off_cost).masked_fill(targets == IGNORE, 0.0)


def pause_loss(head_logits: torch.Tensor, targets: torch.Tensor, recipe: LossRecipe) -> torch.Tensor:
    """Return the weighted loss of every frame and head [B, T, H], 0 where the target is `IGNORE`, to be divided by all weights.

    `count` is cross-entropy over all classes; `binary` sets class 0 against the rest, whatever those mean: -log p0 or -log(1 - p0).
    With a `cut_off_cost` of c, a head that learns perfectly says p / (p + c (1 - p)) where the probability of a pause is p, so a
    threshold of 0.6 on what it says ends the turn at p = 0.6 c / (0.6 c + 0.4).
    """
    weights = pause_weights(targets, recipe)
    if recipe.pause_targets == "count":
        flat = F.cross_entropy(head_logits.flatten(0, 2), targets.flatten(), ignore_index=IGNORE, reduction="none")
        return flat.view(targets.shape) * weights
    log_total = head_logits.logsumexp(dim=-1)
    log_pause = head_logits[..., 0] - log_total
    log_speech = head_logits[..., 1:].logsumexp(dim=-1) - log_total
    pause_share = (targets == 0).float()
    return -(pause_share * log_pause + (1 - pause_share) * log_speech) * weights
