"""What one forward pass is to minimise: the stream's own loss, and on replayed clips the distance from the base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from moshi.models.lm import LMModel

from stt_ft.core.recipe import Recipe
from stt_ft.model.checkpoint_dir import ModelDir
from stt_ft.model.stt_lm import SttOutput, forward
from stt_ft.training.batches import Batch
from stt_ft.training.distillation import BaseMemory, DriftWeights, drift, replayed_frames
from stt_ft.training.loss import LossWeights, has_audio_loss, loss_weights, stream_layout, stream_loss


@dataclass(frozen=True, kw_only=True)
class StepWeights:
    """What the sums of one optimizer step are divided by."""

    loss: LossWeights
    drift: DriftWeights


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The loss that a recipe asks for. `memory` is None where the base is not asked.

    With `asks_always` the base is asked in every pass, replay or not: sharded weights are gathered by all processes together, and one that
    had no replay in its rows would leave the others waiting.
    """

    recipe: Recipe
    model: ModelDir
    memory: BaseMemory | None = None
    asks_always: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the terms, "loss" (all together) first."""
        spoken, held = (
            ("audio_loss",) if has_audio_loss(self.model, self.recipe.loss) else (),
            ("text_kl", "pause_kl") if self.memory is not None else (),
        )
        return ("loss", "text_loss", "pause_loss", *spoken, *held)

    def weigh(self, batches: Sequence[Batch]) -> StepWeights:
        """Return the weights of the batches that make one optimizer step; to be called before they go to the device."""
        return StepWeights(loss=loss_weights(batches, self.recipe.loss, **stream_layout(self.model)), drift=DriftWeights.of(batches))

    def terms(self, lm: LMModel, batch: Batch, weights: StepWeights) -> dict[str, torch.Tensor]:
        """Return each term of one forward pass over `batch`, which lies on the CPU, as its share of the step; "loss" has gradients."""
        moved = batch.to(lm.device)
        output = forward(lm, moved.inputs, with_audio=has_audio_loss(self.model, self.recipe.loss))
        terms = stream_loss(output, moved, self.recipe.loss, weights.loss, **stream_layout(self.model))
        named = {"loss": terms.total, "text_loss": terms.text, "pause_loss": terms.pause, "audio_loss": terms.audio}
        if self.memory is not None:
            named |= self._drift(lm, batch, moved, output, weights.drift, named["loss"])
        return named

    def _drift(
        self, lm: LMModel, batch: Batch, moved: Batch, output: SttOutput, weights: DriftWeights, loss: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        assert self.memory is not None
        rows = batch.is_replay.nonzero().flatten()
        if len(rows) == 0 and self.asks_always:
            rows = torch.arange(1)  # `replayed_frames` leaves nothing of it
        if len(rows) == 0:
            return {"text_kl": loss.new_zeros(()), "pause_kl": loss.new_zeros(())}
        if moved.codes.is_cuda:
            rows = rows.pin_memory().to(moved.codes.device, non_blocking=True)
        base = self.memory.answer(lm, moved.inputs[rows])
        tuned = SttOutput(hidden=output.hidden[rows], text_logits=output.text_logits[rows], head_logits=output.head_logits[rows])
        terms = drift(tuned, base, replayed_frames(moved)[rows], self.recipe.replay, weights)
        return {"loss": loss + terms.total, "text_kl": terms.text, "pause_kl": terms.pause}
