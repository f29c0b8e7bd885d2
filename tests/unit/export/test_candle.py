from __future__ import annotations

import dataclasses
import shutil

import pytest
import safetensors.torch
import torch

from stt_ft.core.errors import CheckpointError
from stt_ft.export.candle import export_candle
from stt_ft.model.checkpoint_dir import open_model
from stt_ft.model.safetensors_file import pytorch_name
from stt_ft.model.stt_lm import load_lm


@pytest.fixture
def pytorch_named(random_base, tmp_path):
    directory = shutil.copytree(random_base.directory, tmp_path / "pytorch")
    weights = {pytorch_name(name): tensor for name, tensor in safetensors.torch.load_file(random_base.lm_weights).items()}
    safetensors.torch.save_file(weights, directory / "model.safetensors")
    return open_model(directory)


def test_pytorch_names_become_candles_and_no_number_changes(random_base, pytorch_named, tmp_path):
    names = export_candle(pytorch_named, tmp_path / "out")
    exported = safetensors.torch.load_file(tmp_path / "out" / "model.safetensors")
    original = safetensors.torch.load_file(random_base.lm_weights)
    assert sorted(names) == sorted(exported) == sorted(original)
    assert all(torch.equal(exported[name], tensor) for name, tensor in original.items())


def test_the_export_is_a_model_directory_with_all_heads_and_a_server_config(random_base, tmp_path):
    out = tmp_path / "out"
    export_candle(random_base, out)
    model = open_model(out)
    assert sum(name.startswith("extra_heads.") for name in model.lm_header().tensors) == 4
    assert 'lm_model_file = "model.safetensors"' in (out / "moshi-server.toml").read_text()
    assert torch.equal(load_lm(model).text_linear.weight, load_lm(random_base).text_linear.weight)


def _rewritten(random_base, tmp_path, change):
    directory = shutil.copytree(random_base.directory, tmp_path / "changed")
    weights = safetensors.torch.load_file(random_base.lm_weights)
    change(weights)
    safetensors.torch.save_file(weights, directory / "model.safetensors")
    return open_model(directory)


def test_a_missing_tensor_is_named(random_base, tmp_path):
    model = _rewritten(random_base, tmp_path, lambda weights: weights.pop("transformer.layers.1.norm2.alpha"))
    with pytest.raises(CheckpointError, match=r"lacks transformer\.layers\.1\.norm2\.alpha"):
        export_candle(model, tmp_path / "out")


def test_a_tensor_left_over_is_named(random_base, tmp_path):
    model = _rewritten(random_base, tmp_path, lambda weights: weights.update({"depformer_in.0.weight": torch.zeros(2, 2)}))
    with pytest.raises(CheckpointError, match=r"depformer_in\.0\.weight, which the engine does not know"):
        export_candle(model, tmp_path / "out")


def test_what_the_engine_cannot_build_is_refused_with_every_reason(random_base, tmp_path):
    model = dataclasses.replace(random_base, config={**random_base.config, "norm": "layer_norm", "delays": [0, 0, 1, 1, 1]})
    with pytest.raises(CheckpointError, match=r"norm is 'layer_norm'.*delays are not all 0"):
        export_candle(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_existing_directory_is_kept_unless_asked(random_base, tmp_path):
    export_candle(random_base, tmp_path / "out")
    with pytest.raises(CheckpointError, match="exists already"):
        export_candle(random_base, tmp_path / "out")
    export_candle(random_base, tmp_path / "out", overwrite=True, absolute_paths=True)
    assert str(tmp_path / "out" / "model.safetensors") in (tmp_path / "out" / "moshi-server.toml").read_text()
