from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from random_models import SCALING, make_adapter

from stt_ft.core.errors import CheckpointError, SttFtError
from stt_ft.core.provenance import file_sha256
from stt_ft.model import merge as merging
from stt_ft.model.checkpoint_dir import ModelDir, open_model
from stt_ft.model.merge import Adapter, merge_adapter
from stt_ft.model.safetensors_file import pytorch_name
from stt_ft.model.stt_lm import load_lm
from stt_ft.stages.finetune import merge


@pytest.fixture(scope="module")
def adapter_path(random_base, tmp_path_factory) -> Path:
    return make_adapter(random_base, tmp_path_factory.mktemp("adapter") / "lora.safetensors")


def _float64(path: Path) -> dict[str, torch.Tensor]:
    return {name: tensor.double() for name, tensor in safetensors.torch.load_file(path).items()}


def _expected(base: ModelDir, adapters: list[tuple[Path, float]]) -> dict[str, torch.Tensor]:
    """The formula in float64, written down a second time: W + sum of w * (W_i - W)."""
    expected = {}
    for name, weight in _float64(base.lm_weights).items():
        module = pytorch_name(name).removesuffix(".weight")
        total = weight.clone()
        for path, share in adapters:
            tensors = _float64(path)
            alone = tensors.get(f"{module}.frozen_W.weight", tensors.get(pytorch_name(name), weight))
            if f"{module}.lora_A.weight" in tensors:
                alone = alone + SCALING * tensors[f"{module}.lora_B.weight"] @ tensors[f"{module}.lora_A.weight"]
            total += share * (alone - weight)
        expected[name] = total
    return expected


def _assert_within_one_unit(merged: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """At most one unit in the last place of bfloat16 away from the exact value, rounded."""
    assert list(merged) == list(expected)
    for name, tensor in merged.items():
        assert tensor.dtype == torch.bfloat16
        exact = expected[name].to(torch.bfloat16)
        distance = (tensor.view(torch.int16).int() - exact.view(torch.int16).int()).abs()
        far = (tensor.double() - expected[name]).abs() > 1e-5  # around zero, units are smaller than float32 can tell
        assert int((distance * far).max()) <= 1, name


def test_every_tensor_is_the_formula_to_one_unit_of_bfloat16(random_base, adapter_path, tmp_path):
    out = tmp_path / "merged"
    merge_adapter(random_base, [Adapter.open(adapter_path)], out)
    _assert_within_one_unit(safetensors.torch.load_file(out / "model.safetensors"), _expected(random_base, [(adapter_path, 1.0)]))


def test_several_adapters_are_weighted(random_base, adapter_path, tmp_path):
    other = make_adapter(random_base, tmp_path / "other" / "lora.safetensors", seed=1)
    out = tmp_path / "merged"
    merge_adapter(random_base, [Adapter.open(adapter_path, weight=0.7), Adapter.open(other, weight=0.3)], out)
    merged = safetensors.torch.load_file(out / "model.safetensors")
    _assert_within_one_unit(merged, _expected(random_base, [(adapter_path, 0.7), (other, 0.3)]))


@pytest.mark.parametrize("weight", [0.0, 0.8, 1.2])
def test_one_adapter_is_scaled_with_the_heads_that_were_trained_in_full(random_base, adapter_path, tmp_path, weight):
    merge(
        str(adapter_path.parent), out=str(tmp_path / "merged"), adapter=[f"{adapter_path.parent}:{weight}"], base=str(random_base.directory)
    )
    merged = safetensors.torch.load_file(tmp_path / "merged" / "model.safetensors")
    _assert_within_one_unit(merged, _expected(random_base, [(adapter_path, weight)]))
    base = _float64(random_base.lm_weights)["extra_heads.0.weight"]
    tuned = _float64(adapter_path)["extra_heads.0.frozen_W.weight"]
    halfway = base + weight * (tuned - base)
    assert float((tuned - base).abs().max()) > 0.1
    torch.testing.assert_close(merged["extra_heads.0.weight"].double(), halfway, atol=4e-3, rtol=8e-3)


def test_the_last_checkpoints_of_a_run_are_averaged(random_base, tmp_path):
    run = tmp_path / "run"
    steps = [
        make_adapter(random_base, run / "checkpoints" / f"checkpoint_{step:06d}" / "consolidated" / "lora.safetensors", seed=step)
        for step in (10, 20, 30)
    ]
    merge(str(run), out=str(tmp_path / "merged"), last=2, base=str(random_base.directory))
    merged = safetensors.torch.load_file(tmp_path / "merged" / "model.safetensors")
    _assert_within_one_unit(merged, _expected(random_base, [(path, 0.5) for path in steps[1:]]))
    for last, reason in ((4, "--last 4 asks for more checkpoints than there are, 3"), (0, "--last must be positive")):
        with pytest.raises(SttFtError, match=reason):
            merge(str(run), out=str(tmp_path / "other"), last=last)
    with pytest.raises(SttFtError, match="give one of the two"):
        merge(str(run), out=str(tmp_path / "other"), last=2, adapter=["x:0.5"])
    assert not (tmp_path / "other").exists()


def test_pytorch_names_of_a_base_are_kept(random_base, tmp_path):
    directory = shutil.copytree(random_base.directory, tmp_path / "pytorch")
    weights = {pytorch_name(name): tensor for name, tensor in safetensors.torch.load_file(random_base.lm_weights).items()}
    safetensors.torch.save_file(weights, directory / "model.safetensors")
    base = open_model(directory)
    adapter = make_adapter(base, tmp_path / "lora.safetensors")
    merge_adapter(base, [Adapter.open(adapter)], tmp_path / "merged")
    assert list(open_model(tmp_path / "merged").lm_header().tensors) == list(base.lm_header().tensors)


def test_the_directory_is_whole_and_says_what_it_was_made_of(random_base, adapter_path, tmp_path):
    out = tmp_path / "merged"
    merge_adapter(random_base, [Adapter.open(adapter_path)], out, dtype="float16")
    model = open_model(out)
    assert model.config == {**random_base.config, "lora": False}
    assert model.mimi_weights.read_bytes() == random_base.mimi_weights.read_bytes()
    assert model.tokenizer_path.read_bytes() == random_base.tokenizer_path.read_bytes()
    assert {spec.dtype for spec in model.lm_header().tensors.values()} == {"F16"}
    metadata = model.lm_header().metadata
    assert metadata["base_sha256"] == file_sha256(random_base.lm_weights)
    assert json.loads(metadata["adapters"]) == [{"sha256": file_sha256(adapter_path), "scaling": SCALING, "weight": 1.0}]


def test_an_adapter_of_another_base_is_refused_before_anything_is_written(random_base, tmp_path):
    adapter = make_adapter(random_base, tmp_path / "lora.safetensors", base_sha256="0" * 64)
    with pytest.raises(CheckpointError, match="trained on another base"):
        merge_adapter(random_base, [Adapter.open(adapter)], tmp_path / "out" / "merged")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"transformer.layers.9.gating.linear_in.lora_A.weight": (4, 64)}, "no place for"),
        ({"text_linear.lora_A.weight": (4, 63)}, "does not fit the base's text_linear"),
        ({"text_linear.lora_B.weight": None}, "does not fit the base's text_linear"),
        ({"text_linear.lora_A.weight": (5, 64), "text_linear.lora_B.weight": (96, 5)}, r"found ranks \[4, 5\]"),
        ({"text_emb.weight": (96, 64)}, "does not fit the base's text_emb"),
    ],
)
def test_names_ranks_and_shapes_that_do_not_fit_are_refused(random_base, adapter_path, tmp_path, changes, reason):
    tensors = safetensors.torch.load_file(adapter_path)
    for name, shape in changes.items():
        if shape is None:
            del tensors[name]
        else:
            tensors[name] = torch.zeros(shape)
    path = tmp_path / "lora.safetensors"
    safetensors.torch.save_file(tensors, path, metadata={"scaling": "2.0"})
    with pytest.raises(CheckpointError, match=reason):
        merge_adapter(random_base, [Adapter.open(path)], tmp_path / "merged")


def test_an_existing_output_is_replaced_only_when_asked_and_only_if_it_is_a_model(random_base, adapter_path, tmp_path):
    out = tmp_path / "merged"
    adapters = [Adapter.open(adapter_path)]
    merge_adapter(random_base, adapters, out)
    with pytest.raises(CheckpointError, match="exists already"):
        merge_adapter(random_base, adapters, out)
    merge_adapter(random_base, adapters, out, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["merged"]
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("keep me")
    with pytest.raises(CheckpointError, match="no model directory"):
        merge_adapter(random_base, adapters, tmp_path / "letters", overwrite=True)


def test_too_little_disk_is_said_before_anything_is_written(random_base, adapter_path, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(CheckpointError, match="GB of disk"):
        merge_adapter(random_base, [Adapter.open(adapter_path)], tmp_path / "merged")
    assert list(tmp_path.iterdir()) == []


def test_a_merge_that_dies_halfway_leaves_nothing(random_base, adapter_path, tmp_path, monkeypatch):
    def die(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(merging, "write_config_and_companions", die)
    with pytest.raises(KeyboardInterrupt):
        merge_adapter(random_base, [Adapter.open(adapter_path)], tmp_path / "merged")
    assert list(tmp_path.iterdir()) == []


def test_a_fully_fine_tuned_model_replaces_every_weight(random_base, tmp_path):
    state = {name: tensor + 0.5 for name, tensor in load_lm(random_base).state_dict().items()}
    safetensors.torch.save_file(state, tmp_path / "consolidated.safetensors")
    merge_adapter(random_base, [Adapter.open(tmp_path)], tmp_path / "merged", dtype="float32")
    merged = load_lm(open_model(tmp_path / "merged")).state_dict()
    assert all(torch.equal(merged[name], tensor) for name, tensor in state.items())


def test_reading_float32_is_exact(random_base):
    header = random_base.lm_header()
    for name, tensor in safetensors.torch.load_file(random_base.lm_weights).items():
        assert np.array_equal(merging.read_float32(header, name).numpy(), tensor.float().numpy())


def test_two_merges_write_the_same_bytes(random_base, adapter_path, tmp_path):
    for name in ("one", "two"):
        merge_adapter(random_base, [Adapter.open(adapter_path)], tmp_path / name)
    assert (tmp_path / "one" / "model.safetensors").read_bytes() == (tmp_path / "two" / "model.safetensors").read_bytes()
