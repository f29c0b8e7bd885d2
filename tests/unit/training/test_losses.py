from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from random_models import random_codes

from stt_ft.core.recipe import LoraRecipe, LossRecipe, Recipe, ReplayRecipe
from stt_ft.model.lora import make_trainable
from stt_ft.model.stt_lm import SttOutput, forward, load_lm
from stt_ft.training.data.batches import IGNORE, Batch, Stream, collate
from stt_ft.training.losses import (
    BaseMemory,
    Objective,
    kl_divergence,
    loss_totals,
    pause_loss,
    pause_weights,
    replayed_frames,
    stream_losses,
    token_weights,
)

RECIPE = LossRecipe(pad_weight=0.3, pause_targets="binary", pause_weight=0.5)

CHOICES = {"heads in full": LoraRecipe(rank=4), "heads by adapter, dropout": LoraRecipe(rank=4, heads="lora", dropout=0.3)}


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
    terms = stream_losses(forward(lm, batch.inputs), batch, RECIPE, loss_totals([batch], RECIPE, random_base), random_base)
    weight_of = {3: 0.3, 0: 0.5}
    total = weight = 0.0
    for stream in streams:
        log_probs = _log_softmax(forward(lm, torch.from_numpy(stream.codes)[None]).text_logits[0].double().numpy())
        for frame, token in enumerate(stream.codes[0]):
            total -= weight_of.get(int(token), 1.0) * log_probs[frame, token]
            weight += weight_of.get(int(token), 1.0)
    assert terms["text_loss"].item() == pytest.approx(total / weight, rel=1e-5)
    assert terms["loss"].item() == pytest.approx((terms["text_loss"] + 0.5 * terms["pause_loss"]).item())


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


def test_weights_follow_the_kind_of_token_and_nothing_weighs_nothing(random_base):
    weights = token_weights(torch.tensor([[3, 0, 17, -1]]), RECIPE, random_base)
    assert weights.tolist() == [[pytest.approx(0.3), 0.5, 1.0, 0.0]]
    others = {"existing_text_padding_id": 17, "existing_text_end_padding_id": 3}
    weights = token_weights(torch.tensor([[3, 0, 17, -1]]), RECIPE, dataclasses.replace(random_base, config=random_base.config | others))
    assert weights.tolist() == [[0.5, 1.0, pytest.approx(0.3), 0.0]]


@torch.no_grad()
@pytest.mark.parametrize("kind", ["binary", "count"])
@pytest.mark.parametrize("cost", [0.3, 1.0, 6.5])
def test_the_pause_loss_is_the_weighted_mean_written_out_by_hand(random_base, kind, cost):
    rng = np.random.default_rng()  # fresh input every time
    streams = [_stream(random_base, int(length), int(rng.integers(1 << 30)), 2 if kind == "binary" else 6) for length in (23, 11, 17)]
    streams[1].pause_targets[4:] = IGNORE  # a clip that goes on
    batches = [collate(streams[:2]), collate(streams[2:])]
    recipe = LossRecipe(pause_targets=kind, cut_off_cost=cost)
    totals, total, weight = loss_totals(batches, recipe, random_base), 0.0, 0.0
    pause = 0.0
    for batch in batches:
        logits = rng.normal(0, 2, (*batch.pause_targets.shape, 6))
        output = SttOutput(
            hidden=torch.zeros(1), text_logits=torch.zeros(*batch.text_targets.shape, 96), head_logits=torch.from_numpy(logits).float()
        )
        pause += stream_losses(output, batch, recipe, totals, random_base)["pause_loss"].item()
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
        totals = loss_totals(batches, recipe, random_base)
        for batch in batches:
            stream_losses(forward(lm, batch.inputs), batch, recipe, totals, random_base)["loss"].backward()
        return [parameter.grad for parameter in lm.parameters() if parameter.grad is not None]

    for whole, cut in zip(gradient([streams]), gradient([streams[:1], streams[1:]]), strict=True):
        torch.testing.assert_close(cut, whole, atol=1e-6, rtol=1e-4)


@torch.no_grad()
def test_padding_changes_no_loss(random_base):
    lm, streams = load_lm(random_base), [_stream(random_base, 20, 0), _stream(random_base, 60, 1)]
    both = collate(streams)
    totals = loss_totals([both], RECIPE, random_base)

    def loss(batch: Batch) -> torch.Tensor:
        return stream_losses(forward(lm, batch.inputs), batch, RECIPE, totals, random_base)["loss"]

    torch.testing.assert_close(loss(both), sum(map(loss, map(collate, ([streams[0]], [streams[1]])))))


@torch.no_grad()
def test_without_pause_targets_a_model_without_heads_can_be_trained(random_base):
    batch = collate([_stream(random_base, 20, 0)])
    recipe = LossRecipe(pause_targets="off")
    totals = loss_totals([batch], recipe, random_base)
    terms = stream_losses(forward(load_lm(random_base), batch.inputs), batch, recipe, totals, random_base)
    assert terms["pause_loss"].item() == 0
    assert terms["loss"].item() == terms["text_loss"].item()


def _streams(model, replayed: tuple[bool, ...] = (False, True, True)) -> list[Stream]:
    rng = np.random.default_rng(0)
    streams = []
    for number, (num_frames, is_replay) in enumerate(zip((17, 25, 12), replayed, strict=True)):
        text = rng.choice([0, 3, 3, 3, 20, 30], num_frames)
        codes = np.concatenate([text[None], random_codes(model, num_frames, number).astype(np.int64)])
        targets = rng.integers(0, 6, (num_frames, 4))
        streams.append(Stream(clip_id=f"clip {number}", codes=codes, pause_targets=targets, is_replay=is_replay))
    return streams


def _tuned(model, lora: LoraRecipe, dtype: torch.dtype = torch.float32):
    """A model whose trained weights have moved away from the base, and what it remembers of the base."""
    lm = load_lm(model, dtype=dtype)
    trainable = make_trainable(lm, lora, seed=0)
    memory = BaseMemory.of(trainable, dtype)
    with torch.no_grad():
        for parameter in trainable.values():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return lm.train(), trainable, memory


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("lora", CHOICES.values(), ids=list(CHOICES))
def test_the_same_weights_with_adapters_off_answer_as_a_second_copy_of_the_base_to_the_bit(random_base, lora, dtype):
    lm, _, memory = _tuned(random_base, lora, dtype)
    inputs = collate(_streams(random_base)).inputs
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        before = forward(lm.eval(), inputs)
        ours, theirs = memory.answer(lm.train(), inputs), forward(load_lm(random_base, dtype=dtype), inputs)
        assert torch.equal(ours.text_logits, theirs.text_logits)
        assert torch.equal(ours.head_logits, theirs.head_logits)
        assert not torch.allclose(before.head_logits, theirs.head_logits)
        assert torch.equal(forward(lm.eval(), inputs).text_logits, before.text_logits)  # and it is the tuned model again


def _kl_written_out(base: np.ndarray, tuned: np.ndarray) -> float:
    """Sum of p * log(p / q), class by class, in double precision."""
    total = 0.0
    for row_base, row_tuned in zip(base.reshape(-1, base.shape[-1]), tuned.reshape(-1, tuned.shape[-1]), strict=True):
        p, q = (
            np.exp(row - row.max()) / np.exp(row - row.max()).sum() for row in (row_base.astype(np.float64), row_tuned.astype(np.float64))
        )
        total += sum(p_k * np.log(p_k / q_k) for p_k, q_k in zip(p, q, strict=True))
    return total


def test_drift_is_the_mean_kl_over_the_replayed_frames_of_two_separate_models(random_base):
    lm, _, memory = _tuned(random_base, CHOICES["heads in full"])
    streams = _streams(random_base)
    recipe = Recipe(dataset="x", run_dir="y", loss=RECIPE, replay=ReplayRecipe(kinds=("ordinary",), text_weight=0.7))
    objective = Objective(lm, random_base, recipe, memory)
    assert objective.names == ("loss", "text_loss", "pause_loss", "text_kl")
    batches = [collate(streams[:2]), collate(streams[2:])]
    totals = objective.totals(batches)
    with torch.no_grad():
        terms = [objective(batch, totals) for batch in batches]
        plain = [Objective(lm, random_base, recipe)(batch, totals) for batch in batches]
    text, base = 0.0, load_lm(random_base)
    for stream in streams[1:]:
        codes = torch.from_numpy(stream.codes)[None]
        with torch.no_grad():
            theirs, ours = forward(base, codes), forward(lm, codes)
        text += _kl_written_out(theirs.text_logits.numpy(), ours.text_logits.numpy())
    expected = text / (25 + 12)
    assert expected > 0.01
    assert sum(term["text_kl"].item() for term in terms) == pytest.approx(expected, rel=1e-4)
    added = sum(term["loss"].item() for term in terms) - sum(term["loss"].item() for term in plain)
    assert added == pytest.approx(0.7 * expected, rel=1e-3)


@pytest.mark.parametrize("lora", [CHOICES["heads in full"], dataclasses.replace(CHOICES["heads by adapter, dropout"], dropout=0.0)])
def test_the_gradient_is_that_of_two_separate_models(random_base, lora):
    batch = collate(_streams(random_base, (True, True, True)))
    recipe = Recipe(dataset="x", run_dir="y", replay=ReplayRecipe(kinds=("ordinary",), text_weight=0.7))
    with torch.no_grad():
        separate = forward(load_lm(random_base), batch.inputs)

    def gradients(answer) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        lm, trainable, memory = _tuned(random_base, lora)
        objective = Objective(lm, random_base, recipe, memory)
        answer(objective, objective(batch, objective.totals([batch]))).backward()
        return {name: parameter.grad for name, parameter in trainable.items() if parameter.grad is not None}

    def by_hand(objective: Objective, terms: dict[str, torch.Tensor]) -> torch.Tensor:
        output = forward(objective.lm, batch.inputs)
        kl = (kl_divergence(separate.text_logits, output.text_logits) * replayed_frames(batch)).sum() / replayed_frames(batch).sum()
        return stream_losses(output, batch, recipe.loss, objective.totals([batch]), random_base)["loss"] + 0.7 * kl

    ours, theirs = gradients(lambda _, terms: terms["loss"]), gradients(by_hand)
    assert ours.keys() == theirs.keys()
    assert any(name.startswith("extra_heads") for name in ours)
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient)


def test_a_model_that_has_not_moved_has_no_drift(random_base):
    lm = load_lm(random_base)
    memory = BaseMemory.of(make_trainable(lm, LoraRecipe(rank=4), seed=0), torch.float32)
    batch = collate(_streams(random_base))
    objective = Objective(lm, random_base, Recipe(dataset="x", run_dir="y"), memory)
    assert objective(batch, objective.totals([batch]))["text_kl"].item() == pytest.approx(0.0, abs=1e-6)


def test_kl_is_that_of_torchs_own_distributions():
    logits = torch.randn(2, 5, 7, dtype=torch.float64), torch.randn(2, 5, 7, dtype=torch.float64)
    base, tuned = (torch.distributions.Categorical(logits=x) for x in logits)
    torch.testing.assert_close(kl_divergence(*logits).double(), torch.distributions.kl_divergence(base, tuned), atol=1e-6, rtol=1e-5)
