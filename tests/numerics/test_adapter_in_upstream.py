"""The adapter we save, loaded by upstream's own code; and the merged model, opened without ours."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from moshi.utils.compile import no_compile
from random_models import random_codes
from upstream import generate, open_upstream

from stt_ft.core.recipe import LoraRecipe
from stt_ft.model.checkpoint_dir import ModelDir, open_model
from stt_ft.model.lora import SCALING, adapter_state_dict, make_trainable
from stt_ft.model.merge import Adapter, merge_adapter
from stt_ft.model.streaming import stream_codes
from stt_ft.model.stt_lm import forward, head_logits, load_lm

RANK = 4
RECIPES = {
    "all linears, heads in full": {},
    "all linears, heads by adapter": {"heads": "lora"},
    "all linears, heads frozen": {"heads": "frozen"},
}


def _train_a_little(base: ModelDir, directory: Path, **recipe):
    """A model with random adapters, and the consolidated directory that training would write of it."""
    lm = load_lm(base)
    trainable = make_trainable(lm, LoraRecipe(rank=RANK, **recipe), seed=0)
    for parameter in trainable.values():
        parameter.data += 0.05 * torch.randn_like(parameter)
    directory.mkdir()
    adapter = adapter_state_dict(lm, rank=RANK, dtype=torch.float32)
    safetensors.torch.save_file(adapter, directory / "lora.safetensors", metadata={"scaling": str(SCALING)})
    config = {**base.config, "lora": True, "lora_rank": RANK, "lora_scaling": SCALING}
    (directory / "config.json").write_text(json.dumps(config))
    return lm.eval()


@pytest.mark.parametrize("name", RECIPES)
@torch.no_grad()
def test_upstream_takes_the_adapter_and_gives_our_logits(random_base, tmp_path, name):
    lm = _train_a_little(random_base, tmp_path / "consolidated", **RECIPES[name])
    info = open_upstream(
        random_base.directory,
        random_base.config,
        config_path=tmp_path / "consolidated" / "config.json",
        lora_weights=tmp_path / "consolidated" / "lora.safetensors",
    )
    codes = torch.from_numpy(random_codes(random_base, 30)).long()
    codes = torch.cat([torch.randint(0, 96, (1, 30)), codes])[None]
    ours = forward(lm, codes)
    for fuse in (False, True):
        theirs = info.get_moshi(dtype=torch.float32, fuse_lora=fuse)
        sequence = torch.cat([theirs._get_initial_token(), codes], dim=2)[:, :, :-1]
        with no_compile():
            hidden, text_logits = theirs.forward_text(sequence)
        torch.testing.assert_close(text_logits[:, 0], ours.text_logits, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(head_logits(theirs, hidden), ours.head_logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", RECIPES)
@torch.no_grad()
def test_base_with_adapter_and_merged_model_give_the_same_logits(random_base, tmp_path, name):
    lm = _train_a_little(random_base, tmp_path / "consolidated", **RECIPES[name])
    merge_adapter(random_base, [Adapter.open(tmp_path / "consolidated")], tmp_path / "merged", dtype="float32")
    merged = load_lm(open_model(tmp_path / "merged"))
    codes = torch.cat([torch.randint(0, 96, (1, 30)), torch.from_numpy(random_codes(random_base, 30)).long()])[None]
    ours, theirs = forward(lm, codes), forward(merged, codes)
    torch.testing.assert_close(theirs.text_logits, ours.text_logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(theirs.head_logits, ours.head_logits, atol=1e-4, rtol=1e-4)


def test_upstream_opens_the_merged_model_without_our_code_and_writes_the_same(random_base, tmp_path):
    _train_a_little(random_base, tmp_path / "consolidated")
    merge_adapter(random_base, [Adapter.open(tmp_path / "consolidated")], tmp_path / "merged")
    model = open_model(tmp_path / "merged")
    theirs = open_upstream(model.directory, model.config).get_moshi(dtype=torch.float32)
    codes = random_codes(random_base, 80)
    ours = stream_codes(load_lm(model), [codes])[0]
    tokens, probs = generate(theirs, codes)
    assert np.array_equal(ours.text_tokens, tokens)
    np.testing.assert_allclose(ours.pause_probs, probs, atol=1e-5)
