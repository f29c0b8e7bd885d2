from __future__ import annotations

import pytest

from stt_ft.model.tensor_names import candle_name, pytorch_name

PAIRS = [
    ("transformer.layers.3.self_attn.in_projs.0.weight", "transformer.layers.3.self_attn.in_proj_weight"),
    ("transformer.layers.3.self_attn.out_projs.0.weight", "transformer.layers.3.self_attn.out_proj.weight"),
    ("extra_heads.2.weight", "extra_heads.2.weight"),
    ("transformer.layers.0.gating.linear_in.weight", "transformer.layers.0.gating.linear_in.weight"),
]


@pytest.mark.parametrize(("pytorch", "candle"), PAIRS)
def test_each_name_is_found_from_either(pytorch, candle):
    assert candle_name(pytorch) == candle_name(candle) == candle
    assert pytorch_name(candle) == pytorch_name(pytorch) == pytorch


def test_every_tensor_of_the_model_has_its_own_name(random_base):
    from stt_ft.model.stt_lm import load_lm

    names = list(load_lm(random_base).state_dict())
    assert sorted(pytorch_name(name) for name in random_base.lm_header().tensors) == sorted(names)
    assert len({candle_name(name) for name in names}) == len(names)
