"""A GGUF file with its big matrices in q8_0, under Candle's names, for the engine's own quantized loader (`moshi::lm::load_lm_model`).

About half the size of bfloat16. moshi-server 0.6.4 itself opens safetensors only; programs built on the `moshi` crate take the file
as it is. Needs the package `gguf`, which holds the format and the rounding.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stt_ft.core.errors import MissingExtra
from stt_ft.core.serving import Serving
from stt_ft.export.candle import checked_header, model_directory, write_server_tomls
from stt_ft.model.checkpoint_dir import ModelDir
from stt_ft.model.merge import read_float32
from stt_ft.model.safetensors_file import SafetensorsHeader, TensorSpec, candle_name

GGUF_NAME = "model.q8_0.gguf"
"""Name of the language model's file."""

BLOCK = 32
"""Numbers of a row that share one scale in q8_0; a row that is no whole number of blocks stays in float32."""


def export_gguf(
    model: ModelDir, out: Path, *, absolute_paths: bool = False, overwrite: bool = False, serving: Serving | None = None
) -> list[str]:
    """Write `out` and return the names of its tensors, in order.

    Raises:
        MissingExtra: `gguf` is not installed.
        CheckpointError: a model that the engine cannot build, tensors missing or left over, an existing `out`, too little disk.
    """
    try:
        import gguf  # noqa: F401
    except ModuleNotFoundError:
        raise MissingExtra("the gguf package", "gguf", "--format gguf") from None
    header = checked_header(model)
    num_bytes = sum(_num_bytes(*entry) for entry in header.tensors.items())
    with model_directory(model, out, num_bytes=num_bytes, moshi_name=GGUF_NAME, overwrite=overwrite) as written:
        _write_gguf(header, written.lm_weights, model)
        write_server_tomls(written, out=out if absolute_paths else None, serving=serving)
    return [candle_name(name) for name in header.tensors]


def is_quantized(name: str, spec: TensorSpec) -> bool:
    """Tell whether a tensor goes into q8_0: a matrix of whole blocks, the small pause heads excepted."""
    return len(spec.shape) == 2 and spec.shape[-1] % BLOCK == 0 and not name.startswith("extra_heads.")


def _num_bytes(name: str, spec: TensorSpec) -> int:
    """Return the bytes of a tensor; a block of q8_0 has one float16 scale and 32 int8."""
    return spec.num_values // BLOCK * (2 + BLOCK) if is_quantized(name, spec) else 4 * spec.num_values


def _write_gguf(header: SafetensorsHeader, path: Path, model: ModelDir) -> None:
    """Write the language model tensor by tensor: first what they are, then their numbers."""
    import gguf

    writer = gguf.GGUFWriter(path, arch="moshi")
    writer.add_name(model.name)
    for key, value in sorted((header.metadata | model.origin).items()):
        writer.add_string(f"stt_ft.{key}", value)
    kinds = {}
    for name, spec in header.tensors.items():
        kinds[name] = gguf.GGMLQuantizationType.Q8_0 if is_quantized(name, spec) else gguf.GGMLQuantizationType.F32
        writer.add_tensor_info(candle_name(name), spec.shape, np.dtype(np.float32), _num_bytes(name, spec), raw_dtype=kinds[name])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name in header.tensors:
        writer.write_tensor_data(gguf.quants.quantize(read_float32(header, name).numpy(), kinds[name]))
    writer.close()
