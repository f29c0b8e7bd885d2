from __future__ import annotations

import torch

from stt_ft.core.recipe import LoraRecipe
from stt_ft.model.lora import make_trainable
from stt_ft.model.stt_lm import load_lm


def _names(random_base, **recipe) -> set[str]:
    return set(make_trainable(load_lm(random_base), LoraRecipe(rank=4, **recipe), seed=0))


def test_heads_learn_in_full_by_adapter_or_not_at_all(random_base):
    heads = {
        mode: {name for name in _names(random_base, heads=mode) if name.startswith("extra_heads.0")} for mode in ("full", "lora", "frozen")
    }
    assert heads == {
        "full": {"extra_heads.0.weight"},
        "lora": {"extra_heads.0.lora_A.weight", "extra_heads.0.lora_B.weight"},
        "frozen": set(),
    }


def test_without_an_adapter_every_weight_learns_in_float32(random_base):
    lm = load_lm(random_base, dtype=torch.bfloat16)
    trainable = make_trainable(lm, LoraRecipe(rank=None), seed=0)
    assert set(trainable) == {name for name, _ in lm.named_parameters()}
    assert {parameter.dtype for parameter in trainable.values()} == {torch.float32}


def test_what_learns_is_float32_and_what_does_not_stays_as_loaded(random_base):
    lm = load_lm(random_base, dtype=torch.bfloat16)
    trainable = make_trainable(lm, LoraRecipe(rank=4), seed=0)
    assert {parameter.dtype for parameter in trainable.values()} == {torch.float32}
    assert lm.text_linear.frozen_W.weight.dtype == torch.bfloat16


def test_the_seed_decides_the_first_matrices(random_base):
    matrices = [make_trainable(load_lm(random_base), LoraRecipe(rank=4), seed=seed)["text_linear.lora_A.weight"] for seed in (0, 0, 1)]
    assert torch.equal(matrices[0], matrices[1])
    assert not torch.equal(matrices[0], matrices[2])
