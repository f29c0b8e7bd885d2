"""Which device and which number type to compute in, from the words a user gives."""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Iterator

import torch
from moshi.utils.compile import no_compile
from torch.nn.attention import SDPBackend, sdpa_kernel

from stt_ft.core.engine import WORKER_NUMBER
from stt_ft.core.errors import ConfigError

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
"""Number types by the name that configs and flags use."""

_PROBE_SIZE, _PROBES = 256, 8
"""Rows of a matrix large enough to tell number types apart, and how often it is multiplied, the fastest of which counts."""


def pick_device(name: str) -> torch.device:
    """Return the device called `name`; `auto` takes a GPU where there is one, and in the processes of a pool (`core/engine.py`) each its
    own, in turns. Raises `ConfigError` when it is not there."""
    if name == "auto" and torch.cuda.is_available():
        number = os.environ.get(WORKER_NUMBER, "")
        return torch.device("cuda", int(number) % torch.cuda.device_count()) if number else torch.device("cuda")
    if name == "auto":
        return torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"device {name!r} is unknown; give auto, cpu, cuda or cuda:0") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"device {name!r} is not there: torch sees {torch.cuda.device_count()} GPU(s); give cpu or auto")
    return device


def inference_dtype(device: torch.device) -> torch.dtype:
    """Return the number type of inference: bfloat16 on a GPU that is made for it, float32 elsewhere."""
    return torch.bfloat16 if device.type == "cuda" and has_bfloat16(device) else torch.float32


def has_bfloat16(device: torch.device) -> bool:
    """Return whether `device` multiplies matrices in bfloat16 at least as fast as in float32, and does not merely make as if it could."""
    if device.type == "cuda":
        return torch.version.hip is not None or torch.cuda.get_device_properties(device).major >= 8
    return bfloat16_speed() >= 1.0


@functools.cache
def bfloat16_speed() -> float:
    """Return how many times as fast as in float32 this machine's CPU multiplies matrices in bfloat16.

    Measured, since no flag of the processor tells: with AVX2 alone it was 0.01 times, and with instructions for it (AVX512-BF16) still 0.5.
    """
    least_s = dict.fromkeys((torch.float32, torch.bfloat16), float("inf"))
    for _ in range(_PROBES):
        for dtype in least_s:
            matrix = torch.ones(_PROBE_SIZE, _PROBE_SIZE, dtype=dtype)
            begin_s = time.perf_counter()
            torch.mm(matrix, matrix)
            least_s[dtype] = min(least_s[dtype], time.perf_counter() - begin_s)
    return least_s[torch.float32] / least_s[torch.bfloat16]


def pick_dtype(name: str) -> torch.dtype:
    """Return the number type called `name`; raises `ConfigError` when there is none."""
    if name not in DTYPES:
        raise ConfigError(f"dtype {name!r} is unknown; give {', '.join(DTYPES)}")
    return DTYPES[name]


def compile_only_on_gpu(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Return a context in which upstream calls no `torch.compile` on a CPU: that needs a compiler and a minute, for one small norm."""
    return contextlib.nullcontext() if device.type == "cuda" else no_compile()


@contextlib.contextmanager
def training_kernels(device: torch.device) -> Iterator[None]:
    """Open a context with the kernels that pay in training on `device`.

    On a CPU no `torch.compile`, and plain attention: its backward pass saves a fifth of the tiny model's step over the fused kernel's.
    """
    with compile_only_on_gpu(device), contextlib.nullcontext() if device.type == "cuda" else sdpa_kernel(SDPBackend.MATH):
        yield
