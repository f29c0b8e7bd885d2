"""What is minimised: cross-entropy of the text stream and of the pause heads, each a weighted mean over the global batch.

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
    """What the sums of a global batch are divided by: the total weight of its text tokens and of its pause targets."""

    text: float
    pause: float


@dataclass(frozen=True, kw_only=True)
class LossTerms:
    """The loss of one forward pass, each term already divided by the weights of the global batch it belongs to."""

    total: torch.Tensor
    text: torch.Tensor
    pause: torch.Tensor


def stream_layout(model: ModelDir) -> dict[str, Any]:
    """Return what the functions below want to know of a model: its padding ids."""
    return {"padding_id": model.padding_id, "end_padding_id": model.end_padding_id}


def token_weights(tokens: torch.Tensor, recipe: LossRecipe, *, padding_id: int = 3, end_padding_id: int = 0) -> torch.Tensor:
    """Return the weight of every text token [B, T]: by its kind, and 0 where there is none (-1)."""
    weights = torch.full(tokens.shape, recipe.word_weight, device=tokens.device)
    weights = weights.masked_fill(tokens == padding_id, recipe.pad_weight).masked_fill(tokens == end_padding_id, recipe.end_padding_weight)
    return weights.masked_fill(tokens < 0, 0.0)


def loss_weights(batches: Sequence[Batch], recipe: LossRecipe, *, padding_id: int = 3, end_padding_id: int = 0) -> LossWeights:
    """Sum the weights of the batches that make one optimizer step; to be called before they go to the device."""
    text = sum(token_weights(b.text_targets, recipe, padding_id=padding_id, end_padding_id=end_padding_id).sum().item() for b in batches)
    pause = sum(pause_weights(b.pause_targets, recipe).sum(dtype=torch.float64).item() for b in batches)
    return LossWeights(text=max(float(text), 1e-8), pause=max(float(pause), 1e-8))


def stream_loss(
    output: SttOutput,
    batch: Batch,
    recipe: LossRecipe,
    weights: LossWeights,
    *,
    padding_id: int = 3,
    end_padding_id: int = 0,
) -> LossTerms:
    """Return the loss of one forward pass as its share of the global batch."""
    tokens = batch.text_targets
    per_token = F.cross_entropy(
        output.text_logits.float().flatten(0, 1), tokens.clamp(min=0).flatten(), reduction="none", label_smoothing=recipe.label_smoothing
    )
    by_kind = token_weights(tokens, recipe, padding_id=padding_id, end_padding_id=end_padding_id).flatten()
    total = text = (per_token * by_kind).sum() / weights.text
    pause = text.new_zeros(())
    if recipe.pause_targets != "off":
        pause = pause_loss(output.head_logits.float(), batch.pause_targets, recipe).sum() / weights.pause
        total = total + recipe.pause_weight * pause
    return LossTerms(total=total, text=text, pause=pause)


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
        flat = F.cross_entropy(
            head_logits.flatten(0, 2), targets.flatten(), ignore_index=IGNORE, reduction="none", label_smoothing=recipe.label_smoothing
        )
        return flat.view(targets.shape) * weights
    log_total = head_logits.logsumexp(dim=-1)
    log_pause = head_logits[..., 0] - log_total
    log_speech = head_logits[..., 1:].logsumexp(dim=-1) - log_total
    pause_share = (targets == 0).float() * (1 - recipe.label_smoothing) + recipe.label_smoothing / 2
    return -(pause_share * log_pause + (1 - pause_share) * log_speech) * weights
