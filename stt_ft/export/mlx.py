"""A directory for `moshi_mlx`, Kyutai's engine for Apple's chips: MLX's tensor names, and norms without their empty dimensions.

    python -m moshi_mlx.run_inference --moshi-weights DIR/model.safetensors --lm-config DIR/config.json \\
        --mimi-weights DIR/mimi.safetensors --tokenizer DIR/tokenizer.model IN.wav OUT.wav

Names as `Lm.load_pytorch_weights` of moshi_mlx 0.3.0 makes them. Nothing of MLX is needed to write it.

To prove it, moshi_mlx itself runs on MLX's CPU backend where there is no Apple chip, in whichever Python has it: moshi_mlx 0.3.0 asks for
huggingface-hub<0.29 and transformers for 0.30 and more, so the two need environments of their own. STT_FT_MLX_PYTHON names the Python of
the one with `stt-ft[mlx]`'s packages, where it is not this one.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from stt_ft.core.atomic import write_json
from stt_ft.core.errors import CheckFailed, CheckpointError, MissingExtra
from stt_ft.export.agreement import Heard
from stt_ft.export.candle import checked_header, feedforward_dim, model_directory
from stt_ft.model.checkpoint_dir import ModelDir
from stt_ft.model.safetensors_file import SafetensorsWriter, TensorSpec, as_buffer, candle_name

PYTHON_VARIABLE = "STT_FT_MLX_PYTHON"
"""Environment variable that names a Python with moshi_mlx."""

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

    Raises `CheckpointError`: a model that moshi_mlx cannot build, tensors missing or left over, an existing `out`, too little disk.
    """
    header = checked_header(model)
    if feedforward_dim(model) != 4 * int(model.config["dim"]):
        raise CheckpointError(
            f"{model.directory}: moshi_mlx builds models of hidden_scale 4.125 alone, not {model.config.get('hidden_scale')}"
        )
    with model_directory(model, out, num_bytes=model.lm_weights.stat().st_size, overwrite=overwrite) as written:
        write_json(written.directory / "config.json", DEPFORMER_KEYS | {"delays": [0] * (model.n_q + 1), **written.config})
        specs = {
            mlx_name(name): TensorSpec(dtype=spec.dtype, shape=spec.shape[-1:] if name.endswith(".alpha") else spec.shape)
            for name, spec in header.tensors.items()
        }
        with SafetensorsWriter(written.lm_weights, specs, {**header.metadata, **model.origin, "format": "mlx"}) as writer:
            for name in header.tensors:
                writer.write(mlx_name(name), as_buffer(header.tensor(name)))
    return list(specs)


def mlx_python() -> str:
    """Return a Python that imports moshi_mlx; raises `MissingExtra` where neither STT_FT_MLX_PYTHON's nor this one does."""
    python = os.environ.get(PYTHON_VARIABLE) or sys.executable
    try:
        found = subprocess.run([python, "-I", "-c", "import moshi_mlx.models"], capture_output=True).returncode == 0
    except OSError:
        found = False
    if not found:
        raise MissingExtra(f"moshi_mlx (in this Python or in the one that {PYTHON_VARIABLE} names)", "mlx", "--format mlx --verify")
    return python


def run_mlx(python: str, model: Path, codes: Mapping[str, np.ndarray]) -> dict[str, Heard]:
    """Run moshi_mlx in float32 on codec codes [n_q, T] by clip."""
    with tempfile.TemporaryDirectory() as scratch:
        played, heard = Path(scratch) / "codes.npz", Path(scratch) / "heard.npz"
        np.savez(played, **{f"{index:06d}": clip for index, clip in enumerate(codes.values())})  # pyright: ignore[reportArgumentType]
        command = [python, "-I", str(Path(__file__).with_name("mlx_probe.py")), str(model), str(played), str(heard)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise CheckFailed(f"{model}: moshi_mlx cannot run it: {' | '.join(done.stderr.strip().splitlines()[-3:])}")
        with np.load(heard) as arrays:
            return {
                clip: Heard(text_tokens=arrays[f"{index:06d}:tokens"], pause_probs=arrays[f"{index:06d}:pause"])
                for index, clip in enumerate(codes)
            }
