"""Estimates from sizes alone are held against models that are built: weights to the last one, what a pass keeps within a tenth."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from random_models import load_tool, make_random_base
from torch.nn import functional as F

from stt_ft.core.errors import ConfigError
from stt_ft.core.recipe import BatchRecipe, LoraRecipe, Recipe
from stt_ft.model.device import compile_only_on_gpu, training_kernels
from stt_ft.model.footprint import KNOWN, Footprint, Shape
from stt_ft.model.lora import make_trainable
from stt_ft.model.stt_lm import forward, load_lm

RECIPE = Recipe(dataset="-", run_dir="-", precision="bfloat16", lora=LoraRecipe(rank=8, dropout=0.05), batch=BatchRecipe(batch_size=2))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A random model with the proportions of Kyutai's: four layers wide as the tiny shape has two."""
    tool = load_tool()
    tool.SIZES["few"] = {**tool.SIZES["tiny"], "dim": 128, "num_layers": 4, "num_heads": 4, "text_card": 400}
    return make_random_base(tmp_path_factory.mktemp("models") / "few", tool=tool, shape="few")


def test_weights_are_counted_to_the_last_one(base):
    shape = Shape.named(str(base.directory))
    assert shape.num_weights == sum(spec.num_values for spec in base.lm_header().tensors.values())
    for heads in ("full", "lora", "frozen"):
        recipe = replace(RECIPE, lora=replace(RECIPE.lora, heads=heads))
        trained = make_trainable(load_lm(base), recipe.lora, seed=0)
        if heads != "lora":  # adapters of the heads are not counted
            assert shape.num_trained(recipe) == sum(weight.numel() for weight in trained.values())
    whole = replace(RECIPE, lora=LoraRecipe(rank=None))
    assert shape.num_trained(whole) == sum(weight.numel() for weight in make_trainable(load_lm(base), whole.lora, seed=0).values())


def test_the_1b_model_is_known_as_the_tool_makes_it():
    tool = load_tool()
    config = tool._config("1b", dep_q=0, extra_heads=True, text_lag_s=0.5)
    known = KNOWN["kyutai/stt-1b-en_fr-candle"]
    assert all(getattr(known, key) == config[key] for key in ("dim", "num_layers", "num_heads", "n_q", "card", "text_card", "context"))
    assert known.num_weights * 2 == 1_978_507_264  # the tensors of model.safetensors that the tool writes
    assert known.hidden == 2 * int(config["hidden_scale"] * config["dim"]) // 3


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("on_gpu", [False, True])
def test_a_pass_keeps_what_is_said(base, precision, on_gpu):
    """Fused attention on a CPU keeps what it does on a GPU: no share for every pair of frames."""
    footprint = Footprint(shape=Shape.named(str(base.directory)), on_gpu=on_gpu)
    dtype = getattr(torch, precision)
    lm = load_lm(base, dtype=dtype)
    make_trainable(lm, RECIPE.lora, seed=0)
    lm.train()
    own = {parameter.untyped_storage().data_ptr() for parameter in lm.parameters()}
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor  # held, so that no storage is used twice
        return tensor

    codes = torch.randint(0, 60, (2, 1 + base.n_q, 100))
    kernels = compile_only_on_gpu(torch.device("cpu")) if on_gpu else training_kernels(torch.device("cpu"))
    autocast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bfloat16")
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), kernels, autocast:
        logits = forward(lm, codes).text_logits.float().flatten(0, 1)
        F.cross_entropy(logits, codes[:, 0].flatten())
    measured = sum(tensor.untyped_storage().nbytes() for key, tensor in kept.items() if key not in own) / (2 * 100)
    assert footprint.frame_bytes(replace(RECIPE, precision=precision), 100) == pytest.approx(measured, rel=0.1)


def test_less_is_asked_for_with_fewer_clips_and_with_checkpointing():
    footprint = Footprint(shape=KNOWN["kyutai/stt-1b-en_fr-candle"])
    fewer = replace(RECIPE, batch=replace(RECIPE.batch, batch_size=1))
    again = replace(RECIPE, batch=replace(RECIPE.batch, gradient_checkpointing=True))
    assert footprint.step_bytes(again, 10.0) < footprint.step_bytes(fewer, 10.0) < footprint.step_bytes(RECIPE, 10.0)


def test_a_model_of_which_nothing_is_known_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"--base someone/theirs: no config\.json there.*kyutai/stt-1b-en_fr-candle"):
        Shape.named("someone/theirs")
    (tmp_path / "config.json").write_text('{"dim": 64}')
    with pytest.raises(ConfigError, match=r"config\.json: .*num_layers"):
        Shape.named(str(tmp_path))
