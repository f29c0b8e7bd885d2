"""How the model does on the dev split, while it trains: the loss, and what it writes and when it would end the turn."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from moshi.models.lm import LMModel

from stt_ft.core.recipe import Recipe
from stt_ft.model.checkpoint_dir import ModelDir
from stt_ft.model.device import compile_only_on_gpu
from stt_ft.model.lora import folded
from stt_ft.model.streaming import stream_codes
from stt_ft.model.stt_lm import forward
from stt_ft.training.batches import collate, make_stream
from stt_ft.training.clips import SpokenClip
from stt_ft.training.heard import Listener
from stt_ft.training.loss import has_audio_loss, loss_weights, stream_layout, stream_loss

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor


@dataclass(frozen=True, kw_only=True)
class Validator:
    """The dev split and all that is needed to hear it."""

    clips: Sequence[SpokenClip]
    model: ModelDir
    recipe: Recipe
    tokenizer: SentencePieceProcessor

    def evaluate(self, lm: LMModel, autocast: torch.autocast) -> dict[str, float]:
        """Return figure -> value: losses and, where the recipe says `listen`, what `Listener.figures` returns."""
        was_training = lm.training
        lm.eval()
        with torch.no_grad(), compile_only_on_gpu(lm.device):
            with autocast:
                figures = self._losses(lm)
            if self.recipe.validation.listen:
                # Weights that all learn are float32 throughout, and so is their cache: nothing to cast.
                with autocast if self.recipe.lora.enable else contextlib.nullcontext(), folded(lm):
                    streams = stream_codes(lm, [clip.codes for clip in self.clips])
                figures |= Listener(model=self.model, tokenizer=self.tokenizer).figures(self.clips, streams)
        lm.train(was_training)
        return figures

    def _losses(self, lm: LMModel) -> dict[str, float]:
        """Return the losses over the whole split, without augmentation, in batches of like length."""
        recipe = self.recipe
        layout = stream_layout(self.model)
        ordered = sorted(self.clips, key=lambda clip: clip.num_frames)
        size = recipe.batch.batch_size
        batches = [collate([make_stream(c, self.model, recipe) for c in ordered[i : i + size]]) for i in range(0, len(ordered), size)]
        weights = loss_weights(batches, recipe.loss, **layout)
        sums = {"loss": 0.0, "text_loss": 0.0, "pause_loss": 0.0}
        for batch in (batch.to(lm.device) for batch in batches):
            output = forward(lm, batch.inputs, with_audio=has_audio_loss(self.model, recipe.loss))
            terms = stream_loss(output, batch, recipe.loss, weights, **layout)
            for name, term in (("loss", terms.total), ("text_loss", terms.text), ("pause_loss", terms.pause)):
                sums[name] += term.item()
        return sums
