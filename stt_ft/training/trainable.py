"""Which weights learn: adapters, pause heads, embeddings, or all of them."""

from __future__ import annotations

import functools
import math

import torch
from moshi.models.lm import LMModel
from torch import nn
from torch.utils.checkpoint import checkpoint

from stt_ft.core.recipe import LoraRecipe, OptimRecipe, ScheduleRecipe
from stt_ft.model.lora import add_lora

HEADS = "extra_heads.*"
"""Names of the pause heads, as a glob pattern."""


def make_trainable(lm: LMModel, recipe: LoraRecipe, *, seed: int) -> dict[str, nn.Parameter]:
    """Freeze the base, add what `recipe` asks for, and return the weights that learn, by name. They are kept in float32."""
    lm.requires_grad_(False)
    if recipe.enable:
        generator = torch.Generator(device=lm.device).manual_seed(seed)
        add_lora(
            lm,
            rank=recipe.rank,
            scaling=2.0,
            targets=("*", HEADS) if recipe.heads == "lora" else ("*",),
            except_for=() if recipe.heads == "lora" else (HEADS,),
            dropout=recipe.dropout,
            generator=generator,
        )
    whole: list[nn.Module] = [] if recipe.enable else list(lm.modules())
    if recipe.heads == "full":
        whole += list(lm.extra_heads)
    for module in whole:
        for name, parameter in module.named_parameters(recurse=False):
            setattr(module, name, nn.Parameter(parameter.detach().float()))
    for name, parameter in lm.named_parameters():
        if ".lora_" in name:
            parameter.requires_grad_(True)
    return {name: parameter for name, parameter in lm.named_parameters() if parameter.requires_grad}


def make_optimizer(trainable: dict[str, nn.Parameter], recipe: OptimRecipe) -> torch.optim.AdamW:
    """Return AdamW over the trainable weights. Only adapters decay: their zero is the base, where a whole weight's zero is nothing."""
    adapters = [parameter for name, parameter in trainable.items() if ".lora_" in name]
    whole = [parameter for name, parameter in trainable.items() if ".lora_" not in name]
    groups = [{"params": adapters, "weight_decay": recipe.weight_decay}, {"params": whole, "weight_decay": 0.0}]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=recipe.lr, betas=(0.9, 0.95), fused=True)


def checkpoint_layers(lm: LMModel, *, keeps_noise: bool) -> None:
    """Make each layer compute its activations anew in the backward pass.

    Upstream's own switch draws new noise there, so that dropout would give another model's gradient; with `keeps_noise` it is the same.
    """
    for layer in lm.transformer.layers:
        layer.forward = functools.partial(checkpoint, layer.forward, use_reentrant=False, preserve_rng_state=keeps_noise)


def learning_rate(step: int, optim: OptimRecipe, schedule: ScheduleRecipe) -> float:
    """Return the learning rate of optimizer step `step`, counted from 0: linear warm-up over a twentieth of the steps, then a cosine."""
    warmup_steps = schedule.max_steps // 20
    if step < warmup_steps:
        return optim.lr * (step + 1) / warmup_steps
    done = (step - warmup_steps) / max(1, schedule.max_steps - warmup_steps)
    return optim.lr * (0.5 * (1 + math.cos(math.pi * done)))
