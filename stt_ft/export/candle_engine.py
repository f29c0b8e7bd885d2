"""The production engine itself: `tools/candle_probe` built with cargo and run on an exported directory.

It is built once, outside the checkout: in `~/.cache/stt-ft/candle_probe`, or where STT_FT_CANDLE_TARGET says.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

import stt_ft
from stt_ft.core.errors import CheckFailed, SttFtError
from stt_ft.core.progress import say
from stt_ft.export.agreement import Heard

TARGET_VARIABLE = "STT_FT_CANDLE_TARGET"
"""Environment variable that names the directory for cargo's outputs."""


class CargoMissing(SttFtError):
    """There is no Rust toolchain to build the engine with."""

    def __init__(self) -> None:
        super().__init__("cargo is not installed, and the engine is built with it; https://rustup.rs installs it, or leave --verify out")


def probe_source() -> Path:
    """Return the directory of the probe's Cargo.toml: in the checkout, or inside the installed package."""
    package = Path(stt_ft.__file__).parent
    checkout = package.parent / "tools" / "candle_probe"
    return checkout if (checkout / "Cargo.toml").is_file() else package / "assets" / "candle_probe"


def target_directory() -> Path:
    """Return where cargo keeps what it builds."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get(TARGET_VARIABLE) or cache / "stt-ft" / "candle_probe")


def build_probe() -> Path:
    """Build the probe, which takes minutes the first time and a moment later, and return the program.

    Raises:
        CargoMissing: there is no cargo.
        CheckFailed: it does not build; with the compiler's last lines.
    """
    cargo = shutil.which("cargo")
    if cargo is None:
        raise CargoMissing
    target = target_directory()
    program = target / "release" / "candle_probe"
    if not program.exists():
        say(f"building the engine in {target}; minutes, once only")
    manifest = probe_source() / "Cargo.toml"
    command = [cargo, "build", "--release", "--locked", "--quiet", "--manifest-path", str(manifest), "--target-dir", str(target)]
    built = subprocess.run(command, capture_output=True, text=True)
    if built.returncode:
        raise CheckFailed(f"{manifest} does not build: {_last_lines(built.stderr)}")
    return program


def run_on_codes(program: Path, model: Path, codes: Mapping[str, np.ndarray], *, dtype: str = "f32") -> dict[str, Heard]:
    """Let the engine listen to codec codes [n_q, T] by clip, and return what it wrote and expected."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "codes.safetensors"
        # Clips go by number, so that no name of a file has to be a name of a tensor.
        numbered = {f"{index:06d}": np.ascontiguousarray(clip, dtype=np.int64) for index, clip in enumerate(codes.values())}
        safetensors.numpy.save_file(numbered, path)
        rows = run_probe(program, model, "--codes", str(path), "--dtype", dtype)
    return dict(zip(codes, (_stream(rows_of) for _, rows_of in sorted(_by_clip(rows).items())), strict=False))


def run_probe(program: Path, model: Path, *arguments: str) -> list[dict[str, Any]]:
    """Run the probe on the exported directory `model` and return its rows, one a frame."""
    environment = {**os.environ, "RUST_BACKTRACE": "0"}
    done = subprocess.run([str(program), str(model), *arguments], capture_output=True, text=True, env=environment)
    if done.returncode:
        raise CheckFailed(f"{model}: the engine cannot run it: {_last_lines(done.stderr)}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def _by_clip(rows: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    clips: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        clips.setdefault(row["clip"], []).append(row)
    return clips


def _stream(rows: list[dict[str, Any]]) -> Heard:
    return Heard(
        text_tokens=np.array([row["text_token"] for row in rows], dtype=np.int32),
        pause_probs=np.array([row["pause"] for row in rows], dtype=np.float32).reshape(len(rows), -1),
    )


def _last_lines(text: str, count: int = 6) -> str:
    """Return the end of what a program said, on one line."""
    return " | ".join(line.strip() for line in text.strip().splitlines()[-count:] if line.strip())
