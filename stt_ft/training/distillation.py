"""Keeping what the base knew: on replayed clips, how far the tuned model has moved from what the base says of them.

The base is the same weights with the adapters switched off: there is no second model in memory. What training overwrites (pause heads,
embeddings) is kept aside as it was and put in their place while the base is asked.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from moshi.models.lm import LMModel
from torch import nn

from stt_ft.core.recipe import ReplayRecipe
from stt_ft.model.lora import adapters_off
from stt_ft.model.stt_lm import SttOutput, forward
from stt_ft.training.batches import Batch


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


@dataclass(frozen=True, kw_only=True)
class DriftWeights:
    """What the sums of a global batch are divided by: replayed frames, and replayed frames times heads."""

    text: float
    pause: float

    @classmethod
    def of(cls, batches: Sequence[Batch]) -> DriftWeights:
        """Count over the batches that make one optimizer step; to be called before they go to the device."""
        frames = sum(float(replayed_frames(batch).sum()) for batch in batches)
        return cls(text=max(frames, 1.0), pause=max(frames * batches[0].pause_targets.shape[2], 1.0))


@dataclass(frozen=True, kw_only=True)
class Drift:
    """How far the tuned model is from the base in one forward pass, as its share of the global batch."""

    total: torch.Tensor
    text: torch.Tensor
    pause: torch.Tensor


def replayed_frames(batch: Batch) -> torch.Tensor:
    """Return which frames [B, T] belong to replayed clips and are there."""
    return batch.is_replay[:, None] & (batch.codes[:, 0] >= 0)


def drift(tuned: SttOutput, base: SttOutput, frames: torch.Tensor, recipe: ReplayRecipe, weights: DriftWeights) -> Drift:
    """Return KL(base || tuned) of the text and of all classes of the pause heads.

    Args:
        tuned: output on the replayed rows, with gradients.
        base: `BaseMemory.answer` on the same rows.
        frames: the frames that count [B, T].
        recipe: the weights of both terms.
        weights: what they are divided by.
    """
    text = (kl_divergence(base.text_logits, tuned.text_logits) * frames).sum() / weights.text
    pause = (kl_divergence(base.head_logits, tuned.head_logits) * frames[..., None]).sum() / weights.pause
    return Drift(total=recipe.text_weight * text, text=text, pause=pause)


def kl_divergence(base_logits: torch.Tensor, tuned_logits: torch.Tensor) -> torch.Tensor:
    """Return KL(base || tuned) over the last dimension, in nats: 0 where the logits say the same."""
    base, tuned = base_logits.float().log_softmax(dim=-1), tuned_logits.float().log_softmax(dim=-1)
    return (base.exp() * (base - tuned)).sum(dim=-1)
