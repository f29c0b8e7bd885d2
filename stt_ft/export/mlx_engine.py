"""`moshi_mlx` itself, on MLX's CPU backend where there is no Apple chip, in whichever Python has it.

moshi_mlx 0.3.0 asks for huggingface-hub<0.29 and transformers for 0.30 and more, so the two need environments of their own:
STT_FT_MLX_PYTHON names the Python of the one with `stt-ft[mlx]`'s packages, where it is not this one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from stt_ft.core.errors import CheckFailed, MissingExtra
from stt_ft.export.agreement import Heard

PYTHON_VARIABLE = "STT_FT_MLX_PYTHON"
"""Environment variable that names a Python with moshi_mlx."""


def mlx_python() -> str:
    """Return a Python that imports moshi_mlx.

    Raises:
        MissingExtra: neither STT_FT_MLX_PYTHON's nor this one does.
    """
    python = os.environ.get(PYTHON_VARIABLE) or sys.executable
    try:
        found = subprocess.run([python, "-I", "-c", "import moshi_mlx.models"], capture_output=True).returncode == 0
    except OSError:
        found = False
    if not found:
        raise MissingExtra(f"moshi_mlx (in this Python or in the one that {PYTHON_VARIABLE} names)", "mlx", "--format mlx --verify")
    return python


def run_mlx(python: str, model: Path, codes: Mapping[str, np.ndarray]) -> dict[str, Heard]:
    """Let moshi_mlx listen to codec codes [n_q, T] by clip, in float32."""
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
