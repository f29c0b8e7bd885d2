"""A directory that `moshi-server` and `stt-rs` take as it is: Candle's tensor names, and the server's own config beside it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from stt_ft.core.atomic import write_text
from stt_ft.core.errors import CheckpointError
from stt_ft.export.server_config import server_toml
from stt_ft.model.checkpoint_dir import MOSHI_NAME, ModelDir
from stt_ft.model.merge import write_config_and_companions
from stt_ft.model.output_dir import check_output, whole_directory
from stt_ft.model.safetensors_file import SafetensorsWriter
from stt_ft.model.tensor_names import candle_name

FIXED = {
    "norm": "rms_norm_f32", "gating": "silu", "positional_embedding": "rope", "causal": True, "layer_scale": None, "kv_repeat": 1,
    "cross_attention": False,
}  # fmt: skip
"""What the engine takes for granted, and what a config that does not say so means."""

LAYER_TENSORS = (
    "self_attn.in_proj_weight", "self_attn.out_proj.weight", "norm1.alpha", "norm2.alpha",
    "gating.linear_in.weight", "gating.linear_out.weight",
)  # fmt: skip
"""Names of a layer's six tensors."""


def export_candle(model: ModelDir, out: Path, *, absolute_paths: bool = False, overwrite: bool = False) -> list[str]:
    """Write `out` and return the names of its tensors, in order.

    Raises:
        CheckpointError: a model that the engine cannot build, tensors missing or left over, an existing `out`, too little disk.
    """
    check_supported(model)
    header = model.lm_header()
    source_of = {candle_name(name): name for name in header.tensors}
    check_names(model, set(source_of))
    files = (model.lm_weights, model.mimi_weights, model.tokenizer_path)
    check_output(out, overwrite=overwrite, num_bytes=sum(path.stat().st_size for path in files))
    with whole_directory(out) as directory:
        specs = {name: header.tensors[source] for name, source in source_of.items()}
        with SafetensorsWriter(directory / MOSHI_NAME, specs, {"format": "pt", **header.metadata}) as writer:
            for name, source in source_of.items():
                writer.write(name, header.read_bytes(source))
        write_config_and_companions(model, directory)
        exported = dataclasses.replace(model, lm_weights=directory / MOSHI_NAME)
        write_text(directory / "moshi-server.toml", server_toml(exported, directory=out.absolute() if absolute_paths else None))
    return list(specs)


def check_supported(model: ModelDir) -> None:
    """Refuse a model that the engine's speech-to-text code has no place for, naming every reason."""
    config = model.config
    reasons = [f"{key} is {config[key]!r} where it takes {value!r}" for key, value in FIXED.items() if config.get(key, value) != value]
    if model.dep_q:
        reasons.append(f"dep_q is {model.dep_q}: its speech-to-text model has no depformer")
    if any(config.get("delays", [])):
        reasons.append("delays are not all 0")
    if config.get("conditioners"):
        reasons.append("it has conditioners")
    if reasons:
        raise CheckpointError(f"{model.directory}: moshi-server cannot run this model: {'; '.join(reasons)}")


def expected_names(model: ModelDir) -> set[str]:
    """Return the names of the tensors that the engine asks for (`LmModel::new` of moshi-core)."""
    names = {"text_emb.weight", "text_linear.weight", "out_norm.alpha"}
    names |= {f"emb.{index}.weight" for index in range(model.n_q)}
    names |= {f"extra_heads.{index}.weight" for index in range(model.num_heads)}
    return names | {f"transformer.layers.{layer}.{name}" for layer in range(model.config["num_layers"]) for name in LAYER_TENSORS}


def check_names(model: ModelDir, names: set[str]) -> None:
    """Make sure that the engine will find every tensor it asks for, and that none is left over."""
    expected = expected_names(model)
    faults = [f"lacks {', '.join(sorted(missing)[:4])}" for missing in [expected - names] if missing]
    faults += [f"holds {', '.join(sorted(extra)[:4])}, which the engine does not know" for extra in [names - expected] if extra]
    if faults:
        raise CheckpointError(f"{model.lm_weights}: {' and '.join(faults)}")
