from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from random_models import random_codes

from stt_ft.core.recipe import LoraRecipe, LossRecipe, Recipe, ReplayRecipe
from stt_ft.model.stt_lm import forward, load_lm
from stt_ft.training.batches import Stream, collate
from stt_ft.training.distillation import BaseMemory, DriftWeights, drift, kl_divergence, replayed_frames
from stt_ft.training.objective import Objective
from stt_ft.training.trainable import make_trainable

CHOICES = {
    "heads in full": LoraRecipe(rank=4),
    "heads by adapter, embeddings in full": LoraRecipe(rank=4, heads="lora"),
    "some layers, dropout": LoraRecipe(rank=4, dropout=0.3),
}


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
@pytest.mark.parametrize("lora", CHOICES.values(), ids=CHOICES)
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
    recipe = Recipe(
        dataset="x",
        run_dir="y",
        loss=LossRecipe(pad_weight=0.3),
        replay=ReplayRecipe(kinds=("ordinary",), text_weight=0.7, pause_weight=0.2),
    )
    objective = Objective(recipe=recipe, model=random_base, memory=memory)
    batches = [collate(streams[:2]), collate(streams[2:])]
    weights = objective.weigh(batches)
    with torch.no_grad():
        terms = [objective.terms(lm, batch, weights) for batch in batches]
        plain = [Objective(recipe=recipe, model=random_base).terms(lm, batch, weights) for batch in batches]
    text = pause = 0.0
    base = load_lm(random_base)
    for stream in streams[1:]:
        codes = torch.from_numpy(stream.codes)[None]
        with torch.no_grad():
            theirs, ours = forward(base, codes), forward(lm, codes)
        text += _kl_written_out(theirs.text_logits.numpy(), ours.text_logits.numpy())
        pause += _kl_written_out(theirs.head_logits.numpy(), ours.head_logits.numpy())
    expected = {"text_kl": text / (25 + 12), "pause_kl": pause / (4 * (25 + 12))}
    for name, value in expected.items():
        assert value > 0.01
        assert sum(term[name].item() for term in terms) == pytest.approx(value, rel=1e-4)
    added = sum(term["loss"].item() for term in terms) - sum(term["loss"].item() for term in plain)
    assert added == pytest.approx(0.7 * expected["text_kl"] + 0.2 * expected["pause_kl"], rel=1e-3)


@pytest.mark.parametrize("lora", [CHOICES["heads in full"], CHOICES["heads by adapter, embeddings in full"]])
def test_the_gradient_is_that_of_two_separate_models(random_base, lora):
    streams = _streams(random_base, (True, True, True))
    recipe = ReplayRecipe(kinds=("ordinary",), text_weight=0.7, pause_weight=0.2)
    batch = collate(streams)
    weights = DriftWeights.of([batch])

    def gradients(base_answer) -> dict[str, torch.Tensor]:
        lm, trainable, memory = _tuned(random_base, dataclasses.replace(lora, dropout=0.0))
        tuned = forward(lm, batch.inputs)
        drift(tuned, base_answer(lm, memory), replayed_frames(batch), recipe, weights).total.backward()
        return {name: parameter.grad for name, parameter in trainable.items() if parameter.grad is not None}

    with torch.no_grad():
        separate = forward(load_lm(random_base), batch.inputs)
    torch.manual_seed(0)
    ours = gradients(lambda lm, memory: memory.answer(lm, batch.inputs))
    torch.manual_seed(0)
    theirs = gradients(lambda lm, memory: separate)
    assert ours.keys() == theirs.keys()
    assert any(name.startswith("extra_heads") for name in ours)
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient)


def test_a_model_that_has_not_moved_has_no_drift(random_base):
    lm = load_lm(random_base)
    memory = BaseMemory.of(make_trainable(lm, LoraRecipe(rank=4), seed=0), torch.float32)
    batch = collate(_streams(random_base))
    recipe = ReplayRecipe(kinds=("ordinary",), text_weight=1.0, pause_weight=1.0)
    terms = drift(forward(lm, batch.inputs), memory.answer(lm, batch.inputs), replayed_frames(batch), recipe, DriftWeights.of([batch]))
    assert terms.total.item() == pytest.approx(0.0, abs=1e-6)


def test_kl_is_that_of_torchs_own_distributions():
    logits = torch.randn(2, 5, 7, dtype=torch.float64), torch.randn(2, 5, 7, dtype=torch.float64)
    base, tuned = (torch.distributions.Categorical(logits=x) for x in logits)
    torch.testing.assert_close(kl_divergence(*logits).double(), torch.distributions.kl_divergence(base, tuned), atol=1e-6, rtol=1e-5)


def test_replay_that_is_not_learned_teaches_no_words(random_base):
    streams = [dataclasses.replace(stream, is_learned=not stream.is_replay) for stream in _streams(random_base)]
    batch = collate(streams)
    assert (batch.text_targets[1:] == -1).all()
    assert (batch.pause_targets[1:] == -100).all()
    assert torch.equal(batch.text_targets[0], batch.codes[0, 0])
    assert replayed_frames(batch).sum().item() == 25 + 12
