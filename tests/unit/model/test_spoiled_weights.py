"""Truncated, bit-flipped, of an oversized header or a wrong shape: refused in one clear line, before anything is written."""

from __future__ import annotations

import json
import random
import shutil
import struct
from pathlib import Path

import pytest
import safetensors.torch
import torch
from random_models import make_adapter

from stt_ft.core.errors import CheckpointError, SttFtError
from stt_ft.export.formats import write_format
from stt_ft.model.checkpoint_dir import ModelDir, open_model
from stt_ft.model.merge import Adapter, merge_adapter
from stt_ft.model.output_dir import SUMS_NAME

NUM_FLIPS = 60


@pytest.fixture
def exported(random_base: ModelDir, tmp_path: Path) -> Path:
    """A directory that stt-ft wrote, with its checksums."""
    write_format("candle", random_base, tmp_path / "exported")
    return tmp_path / "exported"


def _export(directory: Path, out: Path) -> None:
    write_format("candle", open_model(directory), out)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def _oversize_header(path: Path) -> None:
    path.write_bytes(struct.pack("<Q", 1 << 40) + path.read_bytes()[8:])


def _huge_but_fitting_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(200_000_000)
        file.write(struct.pack("<Q", 150_000_000))


def _grow_shape(path: Path) -> None:
    tensors = safetensors.torch.load_file(path)
    tensors["text_linear.weight"] = torch.zeros(7, 3, dtype=torch.bfloat16)
    safetensors.torch.save_file(tensors, path)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_truncate, "fetch the file again"),
        (_oversize_header, "not a whole safetensors file"),
        (_huge_but_fitting_header, "not a whole safetensors file"),
        (_grow_shape, "text_linear"),
    ],
)
@pytest.mark.parametrize("command", ["merge", "export"])
def test_spoiled_weights_are_refused_before_anything_is_written(random_base, tmp_path, spoil, reason, command):
    directory = shutil.copytree(random_base.directory, tmp_path / "base")
    adapter = make_adapter(random_base, tmp_path / "adapter" / "lora.safetensors")
    spoil(directory / "model.safetensors")
    out = tmp_path / "outputs" / "out"
    with pytest.raises(CheckpointError) as refusal:
        _export(directory, out) if command == "export" else merge_adapter(open_model(directory), [Adapter.open(adapter)], out)
    assert str(directory) in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert reason in str(refusal.value) or "trained on another base" in str(refusal.value)
    assert not out.parent.exists()


@pytest.mark.parametrize("name", ["model.safetensors", "mimi.safetensors", "tokenizer.model"])
def test_any_flipped_bit_of_what_stt_ft_wrote_is_found(exported, tmp_path, name):
    rng = random.Random(name)
    whole = (exported / name).read_bytes()
    for _ in range(NUM_FLIPS):
        at = rng.randrange(len(whole))
        (exported / name).write_bytes(whole[:at] + bytes([whole[at] ^ (1 << rng.randrange(8))]) + whole[at + 1 :])
        with pytest.raises(SttFtError) as refusal:
            _export(exported, tmp_path / "outputs" / "out")
        assert name in str(refusal.value)
        assert not (tmp_path / "outputs").exists()


def test_a_flipped_bit_of_a_base_is_found_by_the_adapter_that_knows_it(random_base, tmp_path):
    directory = shutil.copytree(random_base.directory, tmp_path / "base")
    adapter = make_adapter(random_base, tmp_path / "adapter" / "lora.safetensors")
    weights = bytearray((directory / "model.safetensors").read_bytes())
    weights[-5] ^= 4
    (directory / "model.safetensors").write_bytes(weights)
    with pytest.raises(CheckpointError, match="trained on another base"):
        merge_adapter(open_model(directory), [Adapter.open(adapter)], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_flipped_bits_of_a_header_are_refused_or_harmless(random_base, tmp_path):
    """Where no checksum is known, a flipped bit in the table of contents still never crashes with anything but one line."""
    directory = shutil.copytree(random_base.directory, tmp_path / "base")
    path, whole, rng = directory / "model.safetensors", random_base.lm_weights.read_bytes(), random.Random(3)
    header_bytes = 8 + struct.unpack("<Q", whole[:8])[0]
    refusals = []
    for index in range(NUM_FLIPS):
        at = rng.randrange(header_bytes)
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << rng.randrange(8))]) + whole[at + 1 :])
        try:
            _export(directory, tmp_path / f"out{index}")
        except CheckpointError as refusal:
            refusals.append(str(refusal))
            written = (tmp_path / f"out{index}").exists()
            assert not written
    assert not any("\n" in refusal for refusal in refusals)
    assert len(refusals) > NUM_FLIPS * 0.8


def test_weights_that_are_no_numbers_are_refused(random_base, tmp_path):
    adapter = make_adapter(random_base, tmp_path / "adapter" / "lora.safetensors")
    with safetensors.safe_open(adapter, "pt") as file:
        metadata = file.metadata()
    tensors = safetensors.torch.load_file(adapter)
    tensors["text_linear.lora_A.weight"][1, 2] = float("nan")
    safetensors.torch.save_file(tensors, adapter, metadata=metadata)
    with pytest.raises(CheckpointError, match=r"lora\.safetensors: tensor text_linear\.lora_A\.weight is not finite"):
        merge_adapter(random_base, [Adapter.open(adapter)], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_checksums_are_those_of_sha256sum(exported):
    lines = (exported / SUMS_NAME).read_text().splitlines()
    assert [line.split("  ")[1] for line in lines] == ["mimi.safetensors", "model.safetensors", "tokenizer.model"]
    assert json.loads((exported / "config.json").read_text())["lora"] is False
