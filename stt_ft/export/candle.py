"""A directory that `moshi-server` and `stt-rs` take as it is: Candle's tensor names, and the server's own config beside it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from stt_ft.core.atomic import write_text
from stt_ft.core.errors import CheckpointError
from stt_ft.export.server_config import gate_width, server_toml
from stt_ft.model.checkpoint_dir import MOSHI_NAME, ModelDir
from stt_ft.model.merge import as_buffer, write_config_and_companions
from stt_ft.model.output_dir import check_output, whole_directory
from stt_ft.model.safetensors_file import SafetensorsHeader, SafetensorsWriter, candle_name, read_header

FIXED = {
    "norm": "rms_norm_f32", "gating": "silu", "positional_embedding": "rope", "causal": True, "layer_scale": None, "kv_repeat": 1,
    "cross_attention": False,
}  # fmt: skip
"""What the engine takes for granted, and what a config that does not say so means."""


def export_candle(model: ModelDir, out: Path, *, absolute_paths: bool = False, overwrite: bool = False) -> list[str]:
    """Write `out` and return the names of its tensors, in order.

    Raises:
        CheckpointError: a model that the engine cannot build, tensors missing or left over, an existing `out`, too little disk.
    """
    header, codec = checked_header(model), read_header(model.mimi_weights)
    files = (model.lm_weights, model.mimi_weights, model.tokenizer_path)
    check_output(out, overwrite=overwrite, num_bytes=sum(path.stat().st_size for path in files))
    with whole_directory(out) as directory:
        write_config_and_companions(model, directory)
        for source, path in ((header, directory / MOSHI_NAME), (codec, directory / model.mimi_weights.name)):
            write_candle_named(source, path)
        exported = dataclasses.replace(model, lm_weights=directory / MOSHI_NAME)
        write_text(directory / "moshi-server.toml", server_toml(exported, directory=out.absolute() if absolute_paths else None))
    return [candle_name(name) for name in header.tensors]


def write_candle_named(header: SafetensorsHeader, path: Path) -> None:
    """Write the tensors of a file under the engine's names, byte for byte: Kyutai's Mimi has them already, one saved by PyTorch has not."""
    source_of = {candle_name(name): name for name in header.tensors}
    specs = {name: header.tensors[source] for name, source in source_of.items()}
    with SafetensorsWriter(path, specs, {"format": "pt", **header.metadata}) as writer:
        for name, source in source_of.items():
            writer.write(name, as_buffer(header.tensor(source)))


def checked_header(model: ModelDir) -> SafetensorsHeader:
    """Return the table of contents of a language model that the engines can build; every exporter begins here.

    Raises:
        CheckpointError: one that they cannot build, tensors missing or left over, or of another shape than config.json's.
    """
    _check_supported(model)
    header = model.lm_header()
    _check_tensors(model, header)
    return header


def _check_supported(model: ModelDir) -> None:
    """Refuse a model that the engines' speech-to-text code has no place for, naming every reason."""
    config = model.config
    reasons = [f"{key} is {config[key]!r} where it takes {value!r}" for key, value in FIXED.items() if config.get(key, value) != value]
    if any(config.get("delays", [])):
        reasons.append("delays are not all 0")
    if config.get("conditioners"):
        reasons.append("it has conditioners")
    if reasons:
        raise CheckpointError(f"{model.directory}: the engines cannot run this model: {'; '.join(reasons)}")


def _expected_shapes(model: ModelDir) -> dict[str, tuple[int, ...]]:
    """Return the tensors that the engine asks for, with their shapes (`LmModel::new` of moshi-core)."""
    config, dim, gate = model.config, int(model.config["dim"]), gate_width(model)
    text_in, text_out = int(config["text_card"]) + 1, int(config.get("text_card_out") or config["text_card"])
    shapes = {"text_emb.weight": (text_in, dim), "text_linear.weight": (text_out, dim), "out_norm.alpha": (1, 1, dim)}
    shapes |= {f"emb.{index}.weight": (int(config["card"]) + 1, dim) for index in range(model.n_q)}
    shapes |= {f"extra_heads.{index}.weight": (int(config.get("extra_heads_dim", 6)), dim) for index in range(model.num_heads)}
    of_a_layer = {
        "self_attn.in_proj_weight": (3 * dim, dim),
        "self_attn.out_proj.weight": (dim, dim),
        "norm1.alpha": (1, 1, dim),
        "norm2.alpha": (1, 1, dim),
        "gating.linear_in.weight": (2 * gate, dim),
        "gating.linear_out.weight": (dim, gate),
    }
    layers = range(config["num_layers"])
    return shapes | {f"transformer.layers.{layer}.{name}": shape for layer in layers for name, shape in of_a_layer.items()}


def _check_tensors(model: ModelDir, header: SafetensorsHeader) -> None:
    """Make sure that the engine will find every tensor it asks for, of the shape that config.json gives it, and that none is left over."""
    found = {candle_name(name): spec.shape for name, spec in header.tensors.items()}
    expected = _expected_shapes(model)
    faults = [f"lacks {', '.join(sorted(missing)[:4])}" for missing in [expected.keys() - found.keys()] if missing]
    faults += [
        f"holds {', '.join(sorted(extra)[:4])}, which the engine does not know" for extra in [found.keys() - expected.keys()] if extra
    ]
    wrong = [name for name in sorted(expected.keys() & found.keys()) if expected[name] != found[name]]
    faults += [f"has {name} of shape {list(found[name])} where config.json asks for {list(expected[name])}" for name in wrong[:1]]
    if faults:
        raise CheckpointError(f"{model.lm_weights}: {' and '.join(faults)}")
