"""Frozen weights in 4 or 8 bits under adapters that learn (QLoRA, https://arxiv.org/abs/2305.14314): a base in a third of its memory.

Only what is frozen and adapted is packed: the transformer's linear layers. Embeddings, pause heads and the text's last layer stay as they
are. The adapter is saved, merged and shipped as any other, on the base as it was.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any, Literal

import torch
from moshi.models.lm import LMModel
from torch import nn
from torch.nn import functional as F

from stt_ft.core.errors import MissingExtra
from stt_ft.model.lora import AdaptedLinear

Packing = Literal["nf4", "int8"]


class PackedLinear(nn.Module):
    """A frozen linear layer without bias whose weight is kept packed, and unpacked whenever it is needed, backward too."""

    packed: torch.Tensor
    scales: torch.Tensor

    def __init__(self, linear: nn.Linear, packing: Packing) -> None:
        super().__init__()
        functional = _bitsandbytes().functional
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.dtype = linear.weight.dtype
        self._packing = packing
        weight = linear.weight.detach()
        self._nf4_state: Any = None
        if packing == "nf4":
            packed, self._nf4_state = functional.quantize_4bit(weight.contiguous(), quant_type="nf4", compress_statistics=True)
        else:
            packed, scales, _ = functional.int8_vectorwise_quant(weight.half())
            self.register_buffer("scales", scales.float() / 127)
        self.register_buffer("packed", packed)

    @property
    def weight(self) -> torch.Tensor:
        """The weight unpacked [out, in], in the type that it had."""
        if self._packing == "nf4":
            unpacked = _bitsandbytes().functional.dequantize_4bit(self.packed, self._nf4_state)
            assert isinstance(unpacked, torch.Tensor)
            return unpacked.to(self.dtype)
        return (self.packed.to(torch.float32) * self.scales[:, None]).to(self.dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _FrozenProduct.apply(x, self)  # pyright: ignore[reportReturnType]


class _FrozenProduct(torch.autograd.Function):
    """`x @ W.T` that keeps nothing for the backward pass: W is unpacked once more there."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, layer: PackedLinear) -> torch.Tensor:
        ctx.layer = layer
        dtype = torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype
        ctx.input_dtype = x.dtype
        return F.linear(x.to(dtype), layer.weight.to(dtype))

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return (gradient @ ctx.layer.weight.to(gradient.dtype)).to(ctx.input_dtype), None


def pack_frozen(lm: LMModel, packing: Packing) -> list[str]:
    """Pack the frozen weights of the transformer's adapted layers, and return the names of those layers."""
    names = _packable(lm)
    for name in names:
        adapted = lm.get_submodule(name)
        assert isinstance(adapted, AdaptedLinear)
        adapted.frozen_W = PackedLinear(adapted.frozen_W, packing)  # pyright: ignore[reportAttributeAccessIssue]
    return names


def _packable(lm: LMModel) -> list[str]:
    return [name for name, module in lm.named_modules() if name.startswith("transformer.") and isinstance(module, AdaptedLinear)]


def _bitsandbytes() -> ModuleType:
    try:
        import bitsandbytes
    except ImportError:
        raise MissingExtra("bitsandbytes", "quant", "lora.base_dtype nf4 or int8") from None
    return bitsandbytes
