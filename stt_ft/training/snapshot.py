"""What a checkpoint holds, gathered on the CPU from wherever it lies: the same for one process as for many, so any number can go on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from moshi.models.lm import LMModel
from torch import nn

from stt_ft.core.recipe import Recipe
from stt_ft.model.checkpoint_dir import ModelDir
from stt_ft.model.lora import adapter_state_dict
from stt_ft.training.distributed import like, whole


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """One checkpoint in memory.

    Attributes:
        weights_name: name of the file for moshi's loader: lora.safetensors, or consolidated.safetensors for a whole model.
        weights: its tensors.
        metadata: its metadata.
        model_config: config.json beside it.
        state: weights in float32 and the optimizer's moments, by "weight/NAME", "exp_avg/NAME" …
    """

    weights_name: str
    weights: Mapping[str, torch.Tensor]
    metadata: Mapping[str, str]
    model_config: Mapping[str, Any]
    state: Mapping[str, torch.Tensor]

    @classmethod
    def of(
        cls, lm: LMModel, trainable: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer, recipe: Recipe, model: ModelDir
    ) -> Snapshot:
        """Gather a checkpoint; every process must ask where weights are sharded."""
        dtype = torch.bfloat16 if recipe.precision == "bfloat16" else torch.float32
        lora = recipe.lora
        if lora.enable:
            weights = adapter_state_dict(lm, rank=lora.rank, dtype=dtype, gather=whole)
        else:
            weights = {name: whole(tensor.detach()).to("cpu", dtype).contiguous() for name, tensor in lm.state_dict().items()}
        return cls(
            weights_name="lora.safetensors" if lora.enable else "consolidated.safetensors",
            weights=weights,
            metadata={"base": model.name, "scaling": repr(2.0)},
            model_config=model.config | ({"lora": True, "lora_rank": lora.rank, "lora_scaling": 2.0} if lora.enable else {"lora": False}),
            state=training_state(trainable, optimizer),
        )


def training_state(trainable: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Return the trained weights in float32 and what the optimizer remembers of each, whole and on the CPU."""
    tensors = {}
    for name, parameter in trainable.items():
        tensors[f"weight/{name}"] = whole(parameter.detach()).cpu().contiguous()
        for moment, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{moment}/{name}"] = whole(value.detach()).cpu().contiguous()
    return tensors


def restore_training_state(
    tensors: dict[str, torch.Tensor], trainable: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer
) -> list[str]:
    """Put `training_state` back, sharded as the weights are, and return the names that no weight wanted; `KeyError` for one missing."""
    with torch.no_grad():
        for name, parameter in trainable.items():
            parameter.copy_(like(tensors.pop(f"weight/{name}"), parameter))
            found = {key: tensors.pop(f"{key}/{name}") for key in ("step", "exp_avg", "exp_avg_sq") if f"{key}/{name}" in tensors}
            if found:
                optimizer.state[parameter] = {
                    key: value.to(parameter.device) if key == "step" else like(value, parameter) for key, value in found.items()
                }
    return list(tensors)
