from __future__ import annotations

import pytest
import safetensors.torch
import torch
from moshi.modules.lora import LoRALinear
from random_models import random_codes

from stt_ft.core.errors import CheckpointError
from stt_ft.model.lora import AdaptedLinear, adapter_state_dict, adapters_off, add_lora, attach_adapter, folded, linear_names
from stt_ft.model.stt_lm import forward, load_lm


@pytest.fixture
def lm(random_base):
    return load_lm(random_base)


@pytest.fixture
def codes(random_base):
    text = torch.randint(4, 96, (1, 1, 20))
    return torch.cat([text, torch.from_numpy(random_codes(random_base, 20)).long()[None]], dim=1)


def _shake(lm) -> None:
    for name, parameter in lm.named_parameters():
        if ".lora_" in name:
            torch.nn.init.normal_(parameter, std=0.1)


@torch.no_grad()
def _logits(lm, codes) -> torch.Tensor:
    return forward(lm, codes).text_logits


def test_a_fresh_adapter_changes_nothing(lm, codes):
    before = _logits(lm, codes)
    add_lora(lm, rank=4, scaling=2.0)
    assert torch.equal(_logits(lm, codes), before)


def test_all_linears_of_upstream_are_listed_and_adapted(lm):
    names = linear_names(lm)
    assert len(names) == 1 + 2 * 4 + 4  # text_linear, four a layer, four heads
    assert add_lora(lm, rank=4, scaling=2.0) == names == linear_names(lm)


def test_layers_left_out_by_pattern_get_no_adapter(lm):
    chosen = add_lora(lm, rank=4, scaling=2.0, except_for=("*.gating.*", "text_linear"))
    assert all("self_attn" in name or "extra_heads" in name for name in chosen)
    assert len(chosen) == 2 * 2 + 4


def test_folded_gives_the_same_logits_from_plain_layers_and_restores_the_adapters(lm, codes):
    add_lora(lm, rank=4, scaling=2.0)
    _shake(lm)
    adapted = _logits(lm, codes)
    with folded(lm):
        assert not any(isinstance(module, LoRALinear) for module in lm.modules())
        torch.testing.assert_close(_logits(lm, codes), adapted, atol=1e-4, rtol=1e-4)
    assert sum(isinstance(module, AdaptedLinear) for module in lm.modules()) == 13
    assert torch.equal(_logits(lm, codes), adapted)


def test_with_adapters_off_the_base_answers(lm, codes):
    before = _logits(lm, codes)
    add_lora(lm, rank=4, scaling=2.0)
    _shake(lm)
    with adapters_off(lm):
        assert torch.equal(_logits(lm, codes), before)
    assert not torch.allclose(_logits(lm, codes), before)


def test_dropout_works_only_while_training(lm, codes):
    add_lora(lm, rank=4, scaling=2.0, dropout=0.5)
    _shake(lm)
    assert torch.equal(_logits(lm, codes), _logits(lm, codes))
    lm.train()
    assert not torch.equal(_logits(lm, codes), _logits(lm, codes))


def test_an_adapter_saved_and_attached_gives_the_same_logits(random_base, lm, codes, tmp_path):
    lm.requires_grad_(False)
    add_lora(lm, rank=4, scaling=1.5, except_for=("extra_heads.*", "text_linear"))
    _shake(lm)
    lm.extra_heads[0].weight.data.mul_(2.0)
    lm.extra_heads[0].requires_grad_(True)
    path = tmp_path / "lora.safetensors"
    safetensors.torch.save_file(adapter_state_dict(lm, rank=4, dtype=torch.float32), path, metadata={"scaling": "1.5"})
    again = load_lm(random_base, lora_weights=path)
    with torch.no_grad():
        ours, theirs = forward(lm, codes), forward(again, codes)
    torch.testing.assert_close(theirs.text_logits, ours.text_logits)
    torch.testing.assert_close(theirs.head_logits, ours.head_logits)


def test_an_adapter_that_does_not_fit_is_refused(lm, tmp_path):
    path = tmp_path / "lora.safetensors"
    state = {"text_linear.lora_A.weight": torch.zeros(4, 7), "text_linear.lora_B.weight": torch.zeros(96, 4)}
    safetensors.torch.save_file(state, path, metadata={"scaling": "2.0"})
    with pytest.raises(CheckpointError, match="does not fit this model"):
        attach_adapter(lm, path)
    safetensors.torch.save_file(state, path)
    with pytest.raises(CheckpointError, match="says nothing of its scaling"):
        attach_adapter(lm, path)
