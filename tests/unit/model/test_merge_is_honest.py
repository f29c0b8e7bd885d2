"""`merge` folds in what the adapter says it is, or says what it does not: nothing is taken for whole that lacks a part."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch
from random_models import RANK, SCALING, make_adapter

from stt_ft.core.errors import CheckpointError
from stt_ft.model.checkpoint_dir import ModelDir, open_model
from stt_ft.model.merge import Adapter, merge_adapter
from stt_ft.model.safetensors_file import read_header, write_tensors
from stt_ft.stages.finetune import merge

Tensors = dict[str, torch.Tensor]


@pytest.fixture
def adapter(random_base, tmp_path: Path) -> Path:
    return make_adapter(random_base, tmp_path / "adapter" / "lora.safetensors")


def _rewrite(path: Path, change: Callable[[Tensors], Tensors]) -> Path:
    metadata = read_header(path).metadata
    tensors = {name: tensor.clone() for name, tensor in safetensors.torch.load_file(path).items()}  # not mapped: the file is replaced
    write_tensors(path, change(tensors), metadata)
    return path


def _without(pattern: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {name: tensor for name, tensor in tensors.items() if not re.match(pattern, name)}


def _fold(base: ModelDir, adapter: Path, out: Path) -> dict[str, torch.Tensor]:
    merge_adapter(base, [Adapter.open(adapter)], out)
    return safetensors.torch.load_file(out / "model.safetensors")


def test_an_adapter_without_tensors_is_refused(random_base, adapter, tmp_path):
    with pytest.raises(CheckpointError, match=r"lora\.safetensors: holds no tensors"):
        _fold(random_base, _rewrite(adapter, lambda tensors: {}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("lost", "named"),
    [
        (r"extra_heads\.2\.", "lacks extra_heads.2, and holds others of extra_heads.*"),
        (r"transformer\.layers\.1\.gating\.linear_in\.", "lacks transformer.layers.1.gating.linear_in, and holds others of"),
        (r"transformer\.layers\.0\.", "lacks transformer.layers.0.self_attn"),
    ],
)
def test_an_adapter_that_lost_a_part_is_refused_by_layer(random_base, adapter, tmp_path, lost, named):
    with pytest.raises(CheckpointError, match=re.escape(named)):
        _fold(random_base, _rewrite(adapter, _without(lost)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_adapter_that_never_had_the_pause_heads_leaves_them_and_says_so(random_base, adapter, tmp_path, capsys):
    """moshi-finetune trains none."""
    merged = _fold(random_base, _rewrite(adapter, _without(r"extra_heads\.")), tmp_path / "out")
    assert f"holds nothing for extra_heads.*, which stays as it is in {random_base.name}" in capsys.readouterr().err
    assert torch.equal(merged["extra_heads.2.weight"], safetensors.torch.load_file(random_base.lm_weights)["extra_heads.2.weight"])
    _fold(random_base, make_adapter(random_base, tmp_path / "whole.safetensors"), tmp_path / "other")
    assert "holds nothing" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("lora_scaling", 4.0, "says lora_scaling 4.0, where it is 2.0"),
        ("lora_rank", 64, f"says lora_rank 64, where it is {RANK}"),
        ("num_layers", 5, "says num_layers 5, where it is 2"),
        ("stt_config", {"audio_delay_seconds": 2.5}, "says stt_config.audio_delay_seconds 2.5, where it is 0.5"),
        ("text_card", "many", "says text_card 'many', where it is 96"),
    ],
)
def test_a_config_that_says_another_thing_than_adapter_and_base_is_refused(random_base, adapter, tmp_path, key, value, reason):
    """moshi's own loader goes by config.json, and would make another model of the same adapter."""
    config = {**random_base.config, "lora": True, "lora_rank": RANK, "lora_scaling": SCALING}
    (adapter.parent / "config.json").write_text(json.dumps(config))
    _fold(random_base, adapter, tmp_path / "out")
    (adapter.parent / "config.json").write_text(json.dumps({**config, key: value}))
    with pytest.raises(CheckpointError, match=rf"config\.json: .*{re.escape(reason)}.*correct it, or take config\.json away"):
        _fold(random_base, adapter, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_base_with_other_bytes_is_refused_until_insisted_on(random_base, adapter, tmp_path):
    directory = shutil.copytree(random_base.directory, tmp_path / "saved_anew")
    weights = safetensors.torch.load_file(directory / "model.safetensors")
    safetensors.torch.save_file(weights, directory / "model.safetensors", metadata={"format": "pt", "saved": "anew"})
    with pytest.raises(
        CheckpointError, match=r"trained on another base .* than .*saved_anew .*fold it into this one all the same with --any_base"
    ):
        merge(str(adapter.parent), out=str(tmp_path / "out"), base=str(directory))
    merge(str(adapter.parent), out=str(tmp_path / "out"), base=str(directory), any_base=True)
    recorded = read_header(tmp_path / "out" / "model.safetensors").metadata["base_sha256"]
    assert recorded == open_model(directory).sha256(directory / "model.safetensors")
    same = _fold(random_base, adapter, tmp_path / "same")
    assert all(
        torch.equal(tensor, same[name]) for name, tensor in safetensors.torch.load_file(tmp_path / "out" / "model.safetensors").items()
    )


def test_equal_tensors_are_equal_bytes_and_what_upstream_writes_but_for_the_order_of_metadata(tmp_path):
    tensors = {
        "b": torch.arange(6, dtype=torch.float32).view(2, 3),
        "a": torch.ones(3, dtype=torch.bfloat16),
        "step": torch.tensor(7.0),
        "whole": torch.arange(3),
        "mask": torch.tensor([True, False]),
        "empty": torch.zeros(0, 4),
    }
    metadata = {letter: letter * 3 for letter in "qwertyuiop"}
    for name in ("one", "two"):
        write_tensors(tmp_path / name, dict(reversed(tensors.items())) if name == "two" else tensors, dict(reversed(metadata.items())))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    safetensors.torch.save_file(tensors, tmp_path / "upstream", metadata)
    ours, theirs = read_header(tmp_path / "one"), read_header(tmp_path / "upstream")
    assert (list(ours.tensors.items()), ours.metadata) == (list(theirs.tensors.items()), theirs.metadata)
    assert (tmp_path / "one").stat().st_size == (tmp_path / "upstream").stat().st_size
    write_tensors(tmp_path / "plain", tensors, {})
    safetensors.torch.save_file(tensors, tmp_path / "upstream")
    assert (tmp_path / "plain").read_bytes() == (tmp_path / "upstream").read_bytes()
