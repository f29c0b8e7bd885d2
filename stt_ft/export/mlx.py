"""A directory for `moshi_mlx`, Kyutai's engine for Apple's chips: MLX's tensor names, and norms without their empty dimensions.

    python -m moshi_mlx.run_inference --moshi-weights DIR/model.safetensors --lm-config DIR/config.json \\
        --mimi-weights DIR/mimi.safetensors --tokenizer DIR/tokenizer.model IN.wav OUT.wav

Names as `Lm.load_pytorch_weights` of moshi_mlx 0.3.0 makes them. Nothing of MLX is needed to write it.
"""

from __future__ import annotations

import re
from pathlib import Path

from stt_ft.core.atomic import write_json
from stt_ft.core.errors import CheckpointError
from stt_ft.export.candle import checked_header, write_candle_named
from stt_ft.export.server_config import feedforward_dim
from stt_ft.model.checkpoint_dir import MOSHI_NAME, ModelDir
from stt_ft.model.merge import as_buffer, write_config_and_companions
from stt_ft.model.output_dir import check_output, whole_directory
from stt_ft.model.safetensors_file import SafetensorsHeader, SafetensorsWriter, TensorSpec, candle_name, read_header

DEPFORMER_KEYS = {
    "depformer_dim": 1024, "depformer_num_heads": 16, "depformer_num_layers": 6, "depformer_dim_feedforward": 4224,
    "depformer_pos_emb": "none", "cross_attention": False, "layer_scale": None, "causal": True, "positional_embedding": "rope",
}  # fmt: skip
"""Keys that `LmConfig.from_config_dict` insists on, even where they shape nothing, with Kyutai's values."""


def mlx_name(name: str) -> str:
    """Return MLX's name of a language model's tensor, whichever of PyTorch's and Candle's is given."""
    name = re.sub(r"^emb\.", "audio_embs.", candle_name(name))
    return name.replace(".in_proj_weight", ".in_proj.weight").replace(".alpha", ".weight")


def export_mlx(model: ModelDir, out: Path, *, overwrite: bool = False) -> list[str]:
    """Write `out` and return the names of its tensors, in order.

    Raises:
        CheckpointError: a model that moshi_mlx cannot build, tensors missing or left over, an existing `out`, too little disk.
    """
    header, codec = checked_header(model), read_header(model.mimi_weights)
    if feedforward_dim(model) != 4 * int(model.config["dim"]):
        raise CheckpointError(
            f"{model.directory}: moshi_mlx builds models of hidden_scale 4.125 alone, not {model.config.get('hidden_scale')}"
        )
    files = (model.lm_weights, model.mimi_weights, model.tokenizer_path)
    check_output(out, overwrite=overwrite, num_bytes=sum(path.stat().st_size for path in files))
    with whole_directory(out) as directory:
        write_config_and_companions(model, directory)
        config = DEPFORMER_KEYS | {"delays": [0] * (model.n_q + 1), **model.config, "lora": False, "moshi_name": MOSHI_NAME}
        write_json(directory / "config.json", config | {"mimi_name": model.mimi_weights.name, "tokenizer_name": model.tokenizer_path.name})
        write_candle_named(codec, directory / model.mimi_weights.name)
        return _write_weights(header, directory / MOSHI_NAME)


def _write_weights(header: SafetensorsHeader, path: Path) -> list[str]:
    specs = {
        mlx_name(name): TensorSpec(dtype=spec.dtype, shape=spec.shape[-1:] if name.endswith(".alpha") else spec.shape)
        for name, spec in header.tensors.items()
    }
    with SafetensorsWriter(path, specs, {"format": "mlx", **{k: v for k, v in header.metadata.items() if k != "format"}}) as writer:
        for name in header.tensors:
            writer.write(mlx_name(name), as_buffer(header.tensor(name)))
    return list(specs)
