from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from stt_ft.core.errors import CheckpointError
from stt_ft.model.safetensors_file import SafetensorsWriter, TensorSpec, candle_name, pytorch_name, read_header

SHAPES = st.lists(st.integers(0, 5), min_size=0, max_size=3)


@settings(deadline=None, max_examples=30)
@given(shapes=st.dictionaries(st.text("abc.", min_size=1, max_size=6), SHAPES, max_size=5))
def test_the_safetensors_package_reads_what_the_writer_wrote(tmp_path_factory, shapes):
    path = tmp_path_factory.mktemp("st") / "x.safetensors"
    rng = np.random.default_rng(0)
    tensors = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    specs = {name: TensorSpec(dtype="F32", shape=tensor.shape) for name, tensor in tensors.items()}
    with SafetensorsWriter(path, specs, {"made": "here"}) as writer:
        for name, tensor in tensors.items():
            writer.write(name, tensor.tobytes())
    loaded = safetensors.numpy.load_file(path)
    assert set(loaded) == set(tensors)
    assert all(np.array_equal(loaded[name], tensor) for name, tensor in tensors.items())
    header = read_header(path)
    assert header.metadata == {"made": "here"}
    assert all(header.array(name).tobytes() == tensor.tobytes() for name, tensor in tensors.items())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file({"a": np.zeros((3, 4), np.float32), "b": np.ones(5, np.int16)}, path)
    return path


def test_reads_what_the_safetensors_package_wrote(path):
    header = read_header(path)
    assert header.tensors == {"a": TensorSpec(dtype="F32", shape=(3, 4)), "b": TensorSpec(dtype="I16", shape=(5,))}
    assert header.array("b").tolist() == [1] * 5


@pytest.mark.parametrize("length", [0, 4, 8, 40, -1])
def test_a_truncated_file_is_refused_by_name(path, length):
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        read_header(path)


def _with_header(path: Path, header: object, *, length: int | None = None) -> None:
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(encoded) if length is None else length) + encoded + bytes(58))


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (b"not json at all", "invalid JSON in header"),
        ([1, 2], "invalid JSON in header"),
        ({"a": {"dtype": "F32", "shape": [3, 4], "data_offsets": [0, 47]}}, "invalid shape, data type, or offset"),
        ({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 0]}}, "-1"),
        ({"a": {"dtype": "Q7", "shape": [1], "data_offsets": [0, 4]}}, "Q7"),
        ({"a": {"dtype": "F32", "shape": [2**62], "data_offsets": [0, 2**64]}}, "fetch the file again"),
        ({"a": 7}, "invalid type: integer `7`"),
        (
            {"a": {"dtype": "U8", "shape": [40], "data_offsets": [0, 40]}, "b": {"dtype": "U8", "shape": [40], "data_offsets": [18, 58]}},
            "offset for tensor `b`",
        ),
        ({"a": {"dtype": "U8", "shape": [50], "data_offsets": [0, 50]}}, "fetch the file again"),
    ],
)
def test_a_header_that_cannot_be_is_refused(path, header, reason):
    _with_header(path, header)
    with pytest.raises(CheckpointError, match=rf"model\.safetensors: not a whole .*{reason}") as refusal:
        read_header(path)
    assert "\n" not in str(refusal.value)


def test_a_type_of_number_that_nothing_here_knows_is_refused(path):
    _with_header(path, {"a": {"dtype": "F8_E4M3", "shape": [58], "data_offsets": [0, 58]}})
    with pytest.raises(CheckpointError, match="tensor a is F8_E4M3"):
        read_header(path)


def test_a_file_that_shrank_after_it_was_opened_is_refused(path):
    header = read_header(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"model\.safetensors: tensor a cannot be read"):
        header.tensor("a")


def test_an_oversized_header_is_refused_without_reading_it(path):
    _with_header(path, {}, length=2**63)
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        read_header(path)


def test_tensors_are_found_where_they_lie_in_whatever_order_the_header_names_them(tmp_path):
    path = tmp_path / "two.safetensors"
    header = {"b": {"dtype": "I16", "shape": [2], "data_offsets": [3, 7]}, "a": {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]}}
    encoded = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded + b"abc" + struct.pack("<2h", 5, 6))
    places = {name: path.read_bytes()[begin : begin + spec.num_bytes] for name, spec, begin in read_header(path).places()}
    assert places == {"a": b"abc", "b": struct.pack("<2h", 5, 6)}


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"gone\.safetensors: no such file"):
        read_header(tmp_path / "gone.safetensors")


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
