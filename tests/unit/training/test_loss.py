from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from random_models import random_codes

from stt_ft.core.recipe import LossRecipe, Recipe
from stt_ft.model.stt_lm import SttOutput, forward, load_lm
from stt_ft.training.batches import IGNORE, Stream, collate
from stt_ft.training.loss import loss_weights, pause_loss, pause_weights, stream_layout, stream_loss, token_weights
from stt_ft.training.objective import Objective

RECIPE = LossRecipe(pad_weight=0.3, pause_targets="binary", pause_weight=0.5)


def _stream(model, num_frames: int, seed: int, num_classes: int = 2) -> Stream:
    rng = np.random.default_rng(seed)
    text = rng.choice([0, 3, 3, 3, 20, 30], num_frames)
    codes = np.concatenate([text[None], random_codes(model, num_frames, seed).astype(np.int64)])
    return Stream(clip_id=f"clip {seed}", codes=codes, pause_targets=rng.integers(0, num_classes, (num_frames, 4)))


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


@torch.no_grad()
def test_the_text_loss_is_the_weighted_mean_written_out_by_hand(random_base):
    lm, streams = load_lm(random_base), [_stream(random_base, 20, 0), _stream(random_base, 13, 1)]
    batch = collate(streams)
    terms = stream_loss(forward(lm, batch.inputs), batch, RECIPE, loss_weights([batch], RECIPE))
    weight_of = {3: 0.3, 0: 0.5}
    total = weight = 0.0
    for stream in streams:
        log_probs = _log_softmax(forward(lm, torch.from_numpy(stream.codes)[None]).text_logits[0].double().numpy())
        for frame, token in enumerate(stream.codes[0]):
            total -= weight_of.get(int(token), 1.0) * log_probs[frame, token]
            weight += weight_of.get(int(token), 1.0)
    assert terms.text.item() == pytest.approx(total / weight, rel=1e-5)
    assert terms.total.item() == pytest.approx((terms.text + 0.5 * terms.pause).item())


def test_binary_pause_loss_is_minus_log_p0_or_minus_log_of_its_rest():
    logits, targets = torch.randn(2, 5, 4, 6), torch.randint(0, 2, (2, 5, 4))
    targets[1, 3:] = -100
    p0 = logits.softmax(-1)[..., 0]
    expected = torch.where(targets == 0, -p0.log(), -(1 - p0).log()) * (targets >= 0)
    torch.testing.assert_close(pause_loss(logits, targets, LossRecipe(pause_targets="binary")), expected)


def test_count_pause_loss_is_cross_entropy_over_all_classes():
    logits, targets = torch.randn(2, 5, 4, 6), torch.randint(0, 6, (2, 5, 4))
    targets[1, 3:] = -100
    expected = -logits.log_softmax(-1).gather(-1, targets.clamp(min=0)[..., None])[..., 0] * (targets >= 0)
    torch.testing.assert_close(pause_loss(logits, targets, LossRecipe(pause_targets="count")), expected)


@pytest.mark.parametrize("kind", ["binary", "count"])
def test_a_head_that_learns_perfectly_waits_by_the_cost_of_cutting_off(kind):
    """Of ten equal frames seven are followed by a pause: with a cost of 4 the least loss is at 7 / (7 + 4 * 3), found by descent."""
    logits, targets = torch.zeros(1, 10, 1, 2), torch.tensor([0] * 7 + [1] * 3)[None, :, None]
    shared = torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.LBFGS([shared], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        total = pause_loss(shared.expand_as(logits), targets, LossRecipe(pause_targets=kind, cut_off_cost=4.0)).sum()
        total.backward()
        return total

    optimizer.step(loss)
    assert shared.softmax(-1)[0].item() == pytest.approx(7 / (7 + 4 * 3), abs=1e-4)


def test_weights_follow_the_kind_of_token_and_nothing_weighs_nothing():
    weights = token_weights(torch.tensor([[3, 0, 17, -1]]), RECIPE)
    assert weights.tolist() == [[pytest.approx(0.3), pytest.approx(0.5), 1.0, 0.0]]


@torch.no_grad()
@pytest.mark.parametrize("kind", ["binary", "count"])
@pytest.mark.parametrize("cost", [0.3, 1.0, 6.5])
def test_the_pause_loss_is_the_weighted_mean_written_out_by_hand(random_base, kind, cost):
    rng = np.random.default_rng()  # fresh input every time
    streams = [_stream(random_base, int(length), int(rng.integers(1 << 30)), 2 if kind == "binary" else 6) for length in (23, 11, 17)]
    streams[1].pause_targets[4:] = IGNORE  # a clip that goes on
    batches = [collate(streams[:2]), collate(streams[2:])]
    recipe = LossRecipe(pause_targets=kind, cut_off_cost=cost)
    weights, total, weight = loss_weights(batches, recipe), 0.0, 0.0
    pause = 0.0
    for batch in batches:
        logits = rng.normal(0, 2, (*batch.pause_targets.shape, 6))
        output = SttOutput(
            hidden=torch.zeros(1), text_logits=torch.zeros(*batch.text_targets.shape, 96), head_logits=torch.from_numpy(logits).float()
        )
        pause += stream_loss(output, batch, recipe, weights).pause.item()
        log_probs = _log_softmax(logits)
        for index, target in np.ndenumerate(batch.pause_targets.numpy()):
            if target == IGNORE:
                continue
            likelihood = log_probs[index][target] if kind == "count" or target == 0 else np.log1p(-np.exp(log_probs[index][0]))
            total -= (1.0 if target == 0 else cost) * likelihood
            weight += 1.0 if target == 0 else cost
    assert pause == pytest.approx(total / weight, rel=1e-5)


@torch.no_grad()
def test_the_cost_of_cutting_off_does_not_raise_the_weight_of_the_heads():
    """Heads that say the same everywhere lose the same, whatever cutting off costs: a price shifts weight, it adds none."""
    targets = torch.randint(0, 2, (2, 9, 4))
    for cost in (1.0, 8.0):
        recipe = LossRecipe(cut_off_cost=cost)
        mean = pause_loss(torch.zeros(2, 9, 4, 2), targets, recipe).sum() / pause_weights(targets, recipe).sum()
        assert mean.item() == pytest.approx(np.log(2), rel=1e-6)


@pytest.mark.parametrize("kind", ["binary", "count"])
def test_a_batch_cut_into_passes_gives_the_gradient_of_the_whole(random_base, kind):
    recipe = LossRecipe(pause_targets=kind, pad_weight=0.3, cut_off_cost=7.0)
    streams = [_stream(random_base, length, seed, 2 if kind == "binary" else 6) for seed, length in enumerate((25, 9, 17, 30))]

    def gradient(groups: list[list[Stream]]) -> list[torch.Tensor]:
        lm = load_lm(random_base)
        batches = [collate(group) for group in groups]
        weights = loss_weights(batches, recipe)
        for batch in batches:
            stream_loss(forward(lm, batch.inputs), batch, recipe, weights).total.backward()
        return [parameter.grad for parameter in lm.parameters() if parameter.grad is not None]

    for whole, cut in zip(gradient([streams]), gradient([streams[:1], streams[1:]]), strict=True):
        torch.testing.assert_close(cut, whole, atol=1e-6, rtol=1e-4)


@torch.no_grad()
def test_padding_changes_no_loss(random_base):
    lm, streams = load_lm(random_base), [_stream(random_base, 20, 0), _stream(random_base, 60, 1)]
    both = collate(streams)
    weights = loss_weights([both], RECIPE)
    together = stream_loss(forward(lm, both.inputs), both, RECIPE, weights).total
    apart = sum(stream_loss(forward(lm, b.inputs), b, RECIPE, weights).total for b in map(collate, ([streams[0]], [streams[1]])))
    torch.testing.assert_close(together, apart)


@torch.no_grad()
def test_without_pause_targets_a_model_without_heads_can_be_trained(random_base):
    batch = collate([_stream(random_base, 20, 0)])
    recipe = LossRecipe(pause_targets="off")
    terms = stream_loss(forward(load_lm(random_base), batch.inputs), batch, recipe, loss_weights([batch], recipe))
    assert terms.pause.item() == 0
    assert terms.total.item() == terms.text.item()


def test_gradients_of_the_audio_loss_are_finite_where_a_delayed_codebook_has_no_logits(speaking_base):
    model = dataclasses.replace(speaking_base, config={**speaking_base.config, "delays": [0, 0, 1, 2, 0]})
    lm = load_lm(speaking_base)
    lm.delays = [0, 0, 1, 2, 0]
    batch, layout = collate([_stream(model, 20, 0), _stream(model, 13, 1)]), stream_layout(model)
    terms = stream_loss(forward(lm, batch.inputs, with_audio=True), batch, RECIPE, loss_weights([batch], RECIPE, **layout), **layout)
    terms.audio.backward()
    gradients = [parameter.grad for name, parameter in lm.named_parameters() if "depformer" in name and parameter.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert any(gradient.abs().sum() > 0 for gradient in gradients)


def test_a_speech_to_text_model_has_no_audio_loss(random_base):
    assert Objective(recipe=Recipe(dataset="-", run_dir="-"), model=random_base).names == ("loss", "text_loss", "pause_loss")
