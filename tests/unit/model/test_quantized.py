from __future__ import annotations

import pytest
import torch
from torch import nn

from stt_ft.model.lora import AdaptedLinear, add_lora, folded
from stt_ft.model.stt_lm import forward, load_lm

pytest.importorskip("bitsandbytes", reason="needs the extra quant")

from stt_ft.model.quantized import PackedLinear, pack_frozen

WORST = {"nf4": 0.12, "int8": 0.02}
"""Mean error of a weight over its mean size."""


@pytest.mark.parametrize("packing", WORST)
def test_a_packed_layer_gives_the_output_and_the_gradient_of_its_unpacked_weight(packing):
    linear = nn.Linear(64, 96, bias=False)
    packed = PackedLinear(linear, packing)
    error = (packed.weight - linear.weight).abs().mean() / linear.weight.abs().mean()
    assert 0 < error < WORST[packing]
    plain = nn.Linear(64, 96, bias=False)
    plain.weight = nn.Parameter(packed.weight.detach().clone(), requires_grad=False)
    x, y = (torch.randn(3, 5, 64, generator=torch.Generator().manual_seed(0)).requires_grad_() for _ in range(2))
    ours, theirs = packed(x), plain(y)
    torch.testing.assert_close(ours, theirs)
    ours.square().sum().backward()
    theirs.square().sum().backward()
    torch.testing.assert_close(x.grad, y.grad)
    assert packed.packed.element_size() * packed.packed.numel() <= 64 * 96 * (0.5 if packing == "nf4" else 1.0)
    assert not list(packed.parameters())


@pytest.mark.parametrize("packing", WORST)
def test_a_packed_model_learns_in_its_adapters_alone_and_folds(random_base, packing):
    lm = load_lm(random_base)
    add_lora(lm, rank=4, scaling=2.0)
    names = pack_frozen(lm, packing)
    assert len(names) == 4 * 2  # two layers
    assert all(isinstance(lm.get_submodule(name), AdaptedLinear) for name in names)
    codes = torch.randint(0, 60, (2, 5, 12))
    lm.requires_grad_(False)
    for name, parameter in lm.named_parameters():
        parameter.requires_grad_(".lora_" in name)
    logits = forward(lm, codes).text_logits
    logits.square().mean().backward()
    assert all(parameter.grad is not None for name, parameter in lm.named_parameters() if ".lora_B" in name and "extra_heads" not in name)
    with torch.no_grad(), folded(lm) as plain:
        torch.testing.assert_close(forward(plain, codes).text_logits, logits.detach(), atol=1e-5, rtol=1e-4)
