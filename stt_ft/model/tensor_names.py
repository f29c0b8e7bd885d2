"""One weight, two names: PyTorch's and Candle's.

Upstream's PyTorch module names the attention projections `self_attn.in_projs.0.weight` and `self_attn.out_projs.0.weight`; its published
checkpoints and the Rust engine say `self_attn.in_proj_weight` and `self_attn.out_proj.weight`. Everything else is named alike.
Source: `StreamingMultiheadAttention._load_hook` of moshi 0.2.13.
"""

from __future__ import annotations

import re

_PYTORCH_TO_CANDLE = (
    (re.compile(r"\.self_attn\.in_projs\.0\.weight$"), ".self_attn.in_proj_weight"),
    (re.compile(r"\.self_attn\.out_projs\.0\.weight$"), ".self_attn.out_proj.weight"),
)
_CANDLE_TO_PYTORCH = (
    (re.compile(r"\.self_attn\.in_proj(_|\.)weight$"), ".self_attn.in_projs.0.weight"),
    (re.compile(r"\.self_attn\.out_proj\.weight$"), ".self_attn.out_projs.0.weight"),
)


def candle_name(name: str) -> str:
    """Return the Candle name of a main-transformer weight, whichever name is given."""
    for pattern, replacement in _PYTORCH_TO_CANDLE:
        name = pattern.sub(replacement, name)
    return name


def pytorch_name(name: str) -> str:
    """Return the PyTorch name of a main-transformer weight, whichever name is given."""
    for pattern, replacement in _CANDLE_TO_PYTORCH:
        name = pattern.sub(replacement, name)
    return name
