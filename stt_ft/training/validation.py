"""How the model does on the dev split while it trains: the loss, and what it writes and when it would end the turn.

Figures of clips that were listened to are words, digit strings, cut-offs, how long the end of a turn takes, and one figure of them all.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from moshi.models.lm import LMModel

from stt_ft.core import timing
from stt_ft.core.recipe import Recipe
from stt_ft.metrics.digit_strings import score_digits
from stt_ft.metrics.endpointing import EndpointRule, Turn, judge_turn
from stt_ft.metrics.operating_points import AREA_WAIT_S, area_under, sweep
from stt_ft.metrics.transcripts import scoring_form, word_errors
from stt_ft.model.checkpoint_dir import ModelDir
from stt_ft.model.device import compile_only_on_gpu
from stt_ft.model.lora import folded
from stt_ft.model.streaming import ClipStream, stream_codes
from stt_ft.model.stt_lm import forward
from stt_ft.training.data.batches import collate, make_stream
from stt_ft.training.data.clips import Lazy, TrainingClip, picked
from stt_ft.training.losses import loss_totals, stream_losses

PROMPT_S = 0.5
"""Median end-of-turn latency up to which nothing is held against a model, in seconds."""


def validate(lm: LMModel, clips: Sequence[TrainingClip], model: ModelDir, recipe: Recipe, autocast: torch.autocast) -> dict[str, float]:
    """Return figure -> value over `clips`: losses and, where the recipe says `listen`, what `Listener.figures` returns."""
    was_training = lm.training
    lm.eval()
    with torch.no_grad(), compile_only_on_gpu(lm.device):
        with autocast:
            figures = _losses(lm, clips, model, recipe)
        if recipe.validation.listen:
            # Weights that all learn are float32 throughout, and so is their cache: nothing to cast.
            with autocast if recipe.lora.enable else contextlib.nullcontext(), folded(lm):
                streams = stream_codes(lm, [clip.with_codes().codes for clip in clips])
            figures |= Listener(model=model).figures(clips, streams)
    lm.train(was_training)
    return figures


def _losses(lm: LMModel, clips: Sequence[TrainingClip], model: ModelDir, recipe: Recipe) -> dict[str, float]:
    """Return the losses over all clips, without augmentation, in batches of like length."""
    size, order = recipe.batch.batch_size, np.argsort([clip.num_frames for clip in clips], kind="stable")
    groups = [picked(clips, order[i : i + size]) for i in range(0, len(order), size)]
    batches = Lazy(len(groups), lambda number: collate([make_stream(clip, model, recipe) for clip in groups[number]]))
    totals = loss_totals(batches, recipe.loss, model)
    sums = {"loss": 0.0, "text_loss": 0.0, "pause_loss": 0.0}
    for batch in (batch.to(lm.device) for batch in batches):
        terms = stream_losses(forward(lm, batch.inputs), batch, recipe.loss, totals, model)
        sums = {name: value + terms[name].item() for name, value in sums.items()}
    return sums


@dataclass(frozen=True, kw_only=True)
class Listener:
    """What is needed to judge what a model heard."""

    model: ModelDir

    def figures(self, clips: Sequence[TrainingClip], streams: Sequence[ClipStream]) -> dict[str, float]:
        """Return figure -> value over `clips`: those of numbers plain, those of all other speech under names with `ordinary_`.

        `latency_p50_s` and `turn_area_s` count a missed end as `AREA_WAIT_S`.
        """
        pairs = list(zip(clips, streams, strict=True))
        numbers = [pair for pair in pairs if any(pair[0].in_number)]
        ordinary = [pair for pair in pairs if pair[0].words and not any(pair[0].in_number)]
        figures = {"word_error_rate": self._word_error_rate(pairs)}
        if numbers:
            scores = [score_digits(self._said(clip), self._wrote(stream)) for clip, stream in numbers]
            figures["digits_exact"] = sum(score.is_exact for score in scores) / len(scores)
            figures["word_form"] = sum(score.form == "words" for score in scores) / len(scores)
            figures |= self._turn_figures([self.turn(clip, stream.pause_probs) for clip, stream in numbers])
        if numbers and ordinary:
            figures["ordinary_word_error_rate"] = self._word_error_rate(ordinary)
            turns = self._turn_figures([self.turn(clip, stream.pause_probs) for clip, stream in ordinary])
            figures |= {f"ordinary_{name}": value for name, value in turns.items() if name == "cut_offs"}
        if "cut_offs" in figures:
            figures["combined"] = combined(figures)
        return figures

    def turn(self, clip: TrainingClip, pause_probs: np.ndarray) -> Turn:
        """Return `clip` as an agent hears it, in times of the recording: the silence prefix is not counted."""
        prefix_s = timing.frame_start_s(self.model.num_prefix_frames)
        return Turn(
            pause_probs=pause_probs[self.model.num_prefix_frames :],
            first_word_start_s=clip.words[0].start_s - prefix_s,
            last_word_start_s=clip.words[-1].start_s - prefix_s,
            last_word_end_s=clip.words[-1].end_s - prefix_s,
        )

    def _turn_figures(self, turns: Sequence[Turn]) -> dict[str, float]:
        rule = EndpointRule()
        if turns[0].pause_probs.shape[1] <= rule.head:
            return {}
        verdicts = [judge_turn(turn, rule) for turn in turns]
        return {
            "cut_offs": sum(verdict.is_cut_off for verdict in verdicts) / len(verdicts),
            "latency_p50_s": float(np.median([min(verdict.latency_s, AREA_WAIT_S) for verdict in verdicts])),
            "turn_area_s": area_under(sweep(turns, rule)),
        }

    def _word_error_rate(self, pairs: Sequence[tuple[TrainingClip, ClipStream]]) -> float:
        counts = [word_errors(self._said(clip), self._wrote(stream)) for clip, stream in pairs]
        return sum(count.num_errors for count in counts) / max(sum(count.num_reference for count in counts), 1)

    def _said(self, clip: TrainingClip) -> list[str]:
        return scoring_form(clip.texts(self.model))

    def _wrote(self, stream: ClipStream) -> list[str]:
        return scoring_form([word.text for word in self.model.words_of(stream.text_tokens)])


def combined(figures: dict[str, float]) -> float:
    """Return one figure, the lower the better: shares of what goes wrong, and half of each second that turns end later than `PROMPT_S`."""
    wrong = 1 - figures["digits_exact"] + figures["word_error_rate"] + figures["cut_offs"] + figures.get("ordinary_cut_offs", 0.0)
    return wrong + max(0.0, figures["latency_p50_s"] - PROMPT_S) / 2
