"""Which device and which number type to compute in, from the words a user gives."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch
from moshi.utils.compile import no_compile
from torch.nn.attention import SDPBackend, sdpa_kernel

from stt_ft.core.engine import WORKER_NUMBER
from stt_ft.core.errors import ConfigError

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
"""Number types by the name that configs and flags use."""


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
    """Return the number type of inference: bfloat16 on a GPU, float32 elsewhere."""
    return torch.bfloat16 if device.type == "cuda" else torch.float32


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
