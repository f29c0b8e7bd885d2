"""What is minimised: cross-entropy of the text stream and of the pause heads, and on replayed clips the distance from the base.

Each term is a weighted mean over the global batch, the batches of one optimizer step on all processes. Sums and weights are kept apart
until the end, so that a batch cut into several forward passes gives the gradient of the whole.

The base is the same weights with the adapters switched off: there is no second model in memory. Pause heads that are trained in full are
kept aside as they were, and put in place while the base is asked.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from moshi.models.lm import LMModel
from torch import nn
from torch.nn import functional as F

from stt_ft.core.recipe import LossRecipe, Recipe
from stt_ft.model.checkpoint_dir import ModelDir
from stt_ft.model.lora import adapters_off
from stt_ft.model.stt_lm import SttOutput, forward
from stt_ft.training.data.batches import IGNORE, Batch

END_PADDING_WEIGHT = 0.5
"""Weight of the end-of-padding token, which says that a word begins in the next frame; a piece of a word weighs 1."""


@dataclass(frozen=True, kw_only=True)
class Totals:
    """What the sums of a global batch are divided by: the weight of its text tokens, of its pause targets, its replayed frames."""

    text: float
    pause: float
    replayed: float


class Objective(nn.Module):
    """The model and the loss that a recipe asks for, as one module, so that DDP can average gradients as they come.

    Attributes:
        base: what the base was where training overwrites it; None where the recipe does not hold the model to it.
        asks_always: whether the base is asked in every pass, replay or not: sharded weights are gathered by all processes together, and
            one without replay in its rows would leave the others waiting.
        names: the terms of `forward`; "loss", all together, comes first.
    """

    def __init__(self, lm: LMModel, model: ModelDir, recipe: Recipe, base: BaseMemory | None = None, *, asks_always: bool = False) -> None:
        super().__init__()
        self.lm = lm
        self.model = model
        self.recipe = recipe
        self.base = base
        self.asks_always = asks_always
        self.names = ("loss", "text_loss", "pause_loss", *(("text_kl",) if base is not None else ()))

    def totals(self, batches: Sequence[Batch], over_all: Callable[[torch.Tensor], torch.Tensor] = lambda own: own) -> Totals:
        """Return what the terms of these batches, one optimizer step, are divided by; to be called before they go to the device.

        Where this process has a share of the step alone, `over_all` adds up those of all.
        """
        return loss_totals(batches, self.recipe.loss, self.model, over_all)

    def forward(self, batch: Batch, totals: Totals) -> dict[str, torch.Tensor]:
        """Return each term over `batch`, which lies on the CPU, as its share of the step; "loss" has gradients."""
        moved = batch.to(self.lm.device)
        output = forward(self.lm, moved.inputs)
        terms = stream_losses(output, moved, self.recipe.loss, totals, self.model)
        if self.base is not None:
            terms["text_kl"] = self._text_kl(batch, moved, output, totals)
            terms["loss"] = terms["loss"] + self.recipe.replay.text_weight * terms["text_kl"]
        return terms

    def _text_kl(self, batch: Batch, moved: Batch, output: SttOutput, totals: Totals) -> torch.Tensor:
        """Return KL(base || tuned) of the text, summed over the frames of replayed clips that are there, as its share of the step."""
        assert self.base is not None
        rows = batch.is_replay.nonzero().flatten()
        if len(rows) == 0 and self.asks_always:
            rows = torch.arange(1)  # `replayed_frames` leaves nothing of it
        if len(rows) == 0:
            return output.text_logits.new_zeros((), dtype=torch.float32)
        if moved.codes.is_cuda:
            rows = rows.pin_memory().to(moved.codes.device, non_blocking=True)
        base = self.base.answer(self.lm, moved.inputs[rows])
        return (kl_divergence(base.text_logits, output.text_logits[rows]) * replayed_frames(moved)[rows]).sum() / totals.replayed


def loss_totals(
    batches: Sequence[Batch], recipe: LossRecipe, model: ModelDir, over_all: Callable[[torch.Tensor], torch.Tensor] = lambda own: own
) -> Totals:
    """Sum the weights of the batches that make one optimizer step (see `Objective.totals`)."""
    text = sum(token_weights(batch.text_targets, recipe, model).sum().item() for batch in batches)
    pause = sum(pause_weights(batch.pause_targets, recipe).sum(dtype=torch.float64).item() for batch in batches)
    replayed = sum(float(replayed_frames(batch).sum()) for batch in batches)
    text, pause, replayed = over_all(torch.tensor([text, pause, replayed], dtype=torch.float64)).tolist()
    return Totals(text=max(text, 1e-8), pause=max(pause, 1e-8), replayed=max(replayed, 1.0))


def stream_losses(output: SttOutput, batch: Batch, recipe: LossRecipe, totals: Totals, model: ModelDir) -> dict[str, torch.Tensor]:
    """Return "loss", "text_loss" and "pause_loss" of one forward pass, each as its share of the global batch."""
    tokens = batch.text_targets
    per_token = F.cross_entropy(output.text_logits.float().flatten(0, 1), tokens.clamp(min=0).flatten(), reduction="none")
    loss = text = (per_token * token_weights(tokens, recipe, model).flatten()).sum() / totals.text
    pause = text.new_zeros(())
    if recipe.pause_targets != "off":
        pause = pause_loss(output.head_logits.float(), batch.pause_targets, recipe).sum() / totals.pause
        loss = text + recipe.pause_weight * pause
    return {"loss": loss, "text_loss": text, "pause_loss": pause}


def token_weights(tokens: torch.Tensor, recipe: LossRecipe, model: ModelDir) -> torch.Tensor:
    """Return the weight of every text token [B, T]: by its kind, and 0 where there is none (-1)."""
    weights = torch.ones(tokens.shape, device=tokens.device)
    weights = weights.masked_fill(tokens == model.padding_id, recipe.pad_weight)
    return weights.masked_fill(tokens == model.end_padding_id, END_PADDING_WEIGHT).masked_fill(tokens < 0, 0.0)


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
    return -torch.where(targets == 0, log_pause, log_speech) * weights


@dataclass(frozen=True, kw_only=True)
class BaseMemory:
    """What the base was where training changes weights in place, by the names of the parameters."""

    weights: Mapping[str, nn.Parameter]

    @classmethod
    def of(cls, trainable: Mapping[str, nn.Parameter], dtype: torch.dtype) -> BaseMemory:
        """Keep the weights of `trainable` that are no adapter; to be called before any of them has learned anything.

        Args:
            trainable: the weights that learn, as `make_trainable` returns them.
            dtype: type of the base's weights as loaded.
        """
        whole = {name: parameter for name, parameter in trainable.items() if ".lora_" not in name}
        return cls(weights={n: nn.Parameter(p.detach().to(dtype, copy=True), requires_grad=False) for n, p in whole.items()})

    @contextlib.contextmanager
    def restored(self, lm: LMModel) -> Iterator[LMModel]:
        """Within the block, `lm` is the base."""
        tuned = {name: lm.get_parameter(name) for name in self.weights}
        try:
            _put(lm, self.weights)
            with adapters_off(lm):
                yield lm
        finally:
            _put(lm, tuned)

    @torch.no_grad()
    def answer(self, lm: LMModel, inputs: torch.Tensor) -> SttOutput:
        """Return what the base says, hearing the same `inputs` [B, 1 + n_q, T] as the tuned model."""
        with self.restored(lm):
            return forward(lm, inputs)


def _put(lm: LMModel, weights: Mapping[str, nn.Parameter]) -> None:
    for name, parameter in weights.items():
        module, _, child = name.rpartition(".")
        setattr(lm.get_submodule(module), child, parameter)


def replayed_frames(batch: Batch) -> torch.Tensor:
    """Return which frames [B, T] belong to replayed clips and are there."""
    return batch.is_replay[:, None] & (batch.codes[:, 0] >= 0)


def kl_divergence(base_logits: torch.Tensor, tuned_logits: torch.Tensor) -> torch.Tensor:
    """Return KL(base || tuned) over the last dimension, in nats: 0 where the logits say the same."""
    base, tuned = base_logits.float().log_softmax(dim=-1), tuned_logits.float().log_softmax(dim=-1)
    return (base.exp() * (base - tuned)).sum(dim=-1)
