"""How the model does on the dev split, while it trains: the loss, and what it writes and when it would end the turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from moshi.models.lm import LMModel

from stt_ft.core import timing
from stt_ft.core.recipe import Recipe
from stt_ft.metrics.digit_strings import score_digits
from stt_ft.metrics.endpointing import EndpointRule, Turn, judge_turn
from stt_ft.metrics.word_errors import scoring_form, word_errors
from stt_ft.model.checkpoint_dir import ModelDir
from stt_ft.model.device import compile_only_on_gpu
from stt_ft.model.lora import folded
from stt_ft.model.streaming import ClipStream, stream_codes
from stt_ft.model.stt_lm import forward
from stt_ft.model.words import words_from_tokens
from stt_ft.training.batches import collate, make_stream
from stt_ft.training.clips import SpokenClip
from stt_ft.training.loss import loss_weights, stream_loss

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
        """Return figure -> value; the lower the better but for `digits_exact` and `word_form`, which are shares."""
        was_training = lm.training
        lm.eval()
        with torch.no_grad(), autocast, compile_only_on_gpu(lm.device):
            figures = self._losses(lm)
            if self.recipe.evaluation.listen:
                with folded(lm):
                    streams = stream_codes(lm, [clip.codes for clip in self.clips])
                figures |= self._heard(streams)
        lm.train(was_training)
        return figures

    def _losses(self, lm: LMModel) -> dict[str, float]:
        """Return the losses over the whole split, without augmentation, in batches of like length."""
        recipe = self.recipe
        ids = {"padding_id": self.model.padding_id, "end_padding_id": self.model.end_padding_id}
        ordered = sorted(self.clips, key=lambda clip: clip.num_frames)
        size = recipe.batch.batch_size
        batches = [collate([make_stream(c, self.model, recipe) for c in ordered[i : i + size]]) for i in range(0, len(ordered), size)]
        weights = loss_weights(batches, recipe.loss, **ids)
        sums = {"loss": 0.0, "text_loss": 0.0, "pause_loss": 0.0}
        for batch in (batch.to(lm.device) for batch in batches):
            terms = stream_loss(forward(lm, batch.inputs), batch, recipe.loss, weights, **ids)
            for name, term in (("loss", terms.total), ("text_loss", terms.text), ("pause_loss", terms.pause)):
                sums[name] += term.item()
        return sums

    def _heard(self, streams: Sequence[ClipStream]) -> dict[str, float]:
        """Return word errors over all clips, and digit strings and cut-offs over those that dictate a number."""
        num_errors = num_words = 0
        exact, in_words, cut_offs = [], [], []
        for clip, stream in zip(self.clips, streams, strict=True):
            said = scoring_form([self.tokenizer.decode(list(word.tokens)) for word in clip.words])
            wrote = scoring_form([word.text for word in self._words(stream)])
            counts = word_errors(said, wrote)
            num_errors, num_words = num_errors + counts.num_errors, num_words + counts.num_reference
            if any(clip.in_number):
                score = score_digits(said, wrote)
                exact.append(score.is_exact)
                in_words.append(score.form == "words")
                if stream.pause_probs.shape[1] > EndpointRule().head:
                    cut_offs.append(judge_turn(self._turn(clip, stream), EndpointRule()).is_cut_off)
        figures = {"word_error_rate": num_errors / max(num_words, 1)}
        for name, verdicts in (("digits_exact", exact), ("word_form", in_words), ("cut_offs", cut_offs)):
            if verdicts:
                figures[name] = sum(verdicts) / len(verdicts)
        return figures

    def _words(self, stream: ClipStream) -> list:
        prefix_s = timing.frame_start_s(self.model.num_prefix_frames)
        ids = {"padding_id": self.model.padding_id, "end_padding_id": self.model.end_padding_id}
        return words_from_tokens(stream.text_tokens, self.tokenizer, text_lag_s=self.model.text_lag_s, prefix_s=prefix_s, **ids)

    def _turn(self, clip: SpokenClip, stream: ClipStream) -> Turn:
        prefix_s = timing.frame_start_s(self.model.num_prefix_frames)
        return Turn(
            pause_probs=stream.pause_probs[self.model.num_prefix_frames :],
            last_word_start_s=clip.words[-1].start_s - prefix_s,
            last_word_end_s=clip.words[-1].end_s - prefix_s,
        )
