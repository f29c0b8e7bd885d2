"""Low-rank adapters (https://arxiv.org/abs/2106.09685) in moshi's own names and scaling: `W + scaling * B @ A`.

Upstream's loader wraps *every* linear layer in a `LoRALinear` and then fills it from the adapter's file; a layer whose A and B are
missing there stays on the meta device and fails ("Cannot copy out of meta tensor"). So the file holds A and B for all of them, zeros
where a layer has no adapter, and weights trained in full beside them under the name by which that loader replaces the base's.
"""

from __future__ import annotations

import contextlib
import fnmatch
import functools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import safetensors.torch
import torch
from moshi.models.lm import LMModel
from moshi.modules.lora import LoRALinear
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from stt_ft.core.errors import CheckpointError
from stt_ft.core.recipe import LoraRecipe
from stt_ft.model.safetensors_file import read_header


class AdaptedLinear(LoRALinear):
    """A linear layer with an adapter. A `LoRALinear`, so that upstream's attention and gating know it; with dropout, and a switch."""

    def __init__(self, linear: nn.Linear, *, rank: int, scaling: float, dropout: float = 0.0) -> None:
        assert linear.bias is None, "upstream's LoRALinear knows no bias"
        super().__init__(linear.in_features, linear.out_features, rank, scaling, device=torch.device("meta"), dtype=torch.float32)
        device = linear.weight.device
        self.frozen_W = linear
        self.lora_A = nn.Linear(linear.in_features, rank, bias=False, device=device, dtype=torch.float32)
        self.lora_B = nn.Linear(rank, linear.out_features, bias=False, device=device, dtype=torch.float32)
        self.dropout = dropout
        self.adapter_enabled = True
        self.part: tuple[slice, int] | None = None

    def reset(self, generator: torch.Generator | None = None) -> None:
        """Draw A and set B to zero, so that the layer starts out as the one it wraps."""
        nn.init.kaiming_uniform_(self.lora_A.weight, a=math.sqrt(5), generator=generator)
        nn.init.zeros_(self.lora_B.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        base = self.frozen_W(x)
        if not self.adapter_enabled:
            return base
        if self.dropout > 0 and self.training:
            if self.part is None:
                x = F.dropout(x, self.dropout)
            else:  # the noise that these rows have in the whole batch (`part_of_batch`)
                rows, num_rows = self.part
                x = x * F.dropout(x.new_ones(num_rows, *x.shape[1:]), self.dropout)[rows]
        return torch.add(base, self.lora_B(self.lora_A(x)), alpha=self.scaling)


def linear_names(lm: LMModel) -> list[str]:
    """Return the names of the linear layers that upstream's loader wraps, adapted or not."""
    names = []
    for name, module in lm.named_modules():
        parent = lm.get_submodule(name.rpartition(".")[0]) if name else None
        if isinstance(module, (nn.Linear, LoRALinear)) and not isinstance(parent, LoRALinear):
            names.append(name)
    return names


def add_lora(
    lm: LMModel,
    *,
    rank: int,
    scaling: float,
    except_for: Sequence[str] = (),
    dropout: float = 0.0,
    generator: torch.Generator | None = None,
) -> list[str]:
    """Give all linear layers, but those whose names match a glob pattern of `except_for`, adapters that change nothing yet; return their
    names."""
    chosen = [name for name in linear_names(lm) if not any(fnmatch.fnmatchcase(name, pattern) for pattern in except_for)]
    for name in chosen:
        linear = lm.get_submodule(name)
        assert isinstance(linear, nn.Linear), f"{name} has an adapter already"
        adapted = AdaptedLinear(linear, rank=rank, scaling=scaling, dropout=dropout)
        adapted.reset(generator)
        _replace(lm, name, adapted.train(lm.training))
    return chosen


def _adapted(lm: LMModel) -> list[AdaptedLinear]:
    return [module for module in lm.modules() if isinstance(module, AdaptedLinear)]


def _replace(lm: LMModel, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(lm.get_submodule(parent), child, module)


def adapter_state_dict(
    lm: LMModel, *, rank: int, dtype: torch.dtype, gather: Callable[[torch.Tensor], torch.Tensor] = torch.Tensor.detach
) -> dict[str, torch.Tensor]:
    """Return what the adapter's file holds: A and B of every linear layer (zeros without an adapter), and weights trained in full.

    Tensors are on the CPU, floating ones in `dtype`, in the order of their names. `gather` makes a sharded weight whole.
    """
    state: dict[str, torch.Tensor] = {}
    for name in linear_names(lm):
        module = lm.get_submodule(name)
        if isinstance(module, LoRALinear):
            state[f"{name}.lora_A.weight"] = module.lora_A.weight
            state[f"{name}.lora_B.weight"] = module.lora_B.weight
        else:
            assert isinstance(module, nn.Linear)
            state[f"{name}.lora_A.weight"] = torch.zeros(rank, module.in_features)
            state[f"{name}.lora_B.weight"] = torch.zeros(module.out_features, rank)
            if module.weight.requires_grad:
                state[f"{name}.frozen_W.weight"] = module.weight
    linear_weights = {f"{name}.weight" for name in linear_names(lm)}
    for name, parameter in lm.named_parameters():
        if parameter.requires_grad and name not in linear_weights and ".lora_" not in name:
            state[name] = parameter
    return {name: gather(state[name].detach()).to(device="cpu", dtype=dtype).contiguous() for name in sorted(state)}


def adapter_scaling(adapter: Path) -> float:
    """Return the scaling of an adapter's file: from its metadata, else from the config.json beside it (as moshi-finetune leaves it)."""
    recorded = read_header(adapter).metadata.get("scaling")
    config = adapter.with_name("config.json")
    try:
        if recorded is None:
            recorded = json.loads(config.read_bytes())["lora_scaling"]
        return float(recorded)
    except (OSError, ValueError, KeyError, TypeError):
        raise CheckpointError(f"{adapter}: says nothing of its scaling, nor does {config} (lora_scaling)") from None


def adapter_rank(adapter: Path) -> int:
    """Return the rank of an adapter's file; raises `CheckpointError` when it holds none or several."""
    ranks = {spec.shape[0] for name, spec in read_header(adapter).tensors.items() if name.endswith(".lora_A.weight")}
    if len(ranks) != 1:
        raise CheckpointError(f"{adapter}: expected the A matrices of one adapter, found ranks {sorted(ranks) or 'none'}")
    return ranks.pop()


def attach_adapter(lm: LMModel, adapter: Path) -> None:
    """Load an adapter's file into `lm`, wrapping all its linear layers as upstream does.

    Raises `CheckpointError`: names or shapes that do not fit the model.
    """
    add_lora(lm, rank=adapter_rank(adapter), scaling=adapter_scaling(adapter))
    state = {name: tensor.to(lm.device) for name, tensor in safetensors.torch.load_file(adapter).items()}
    try:
        result = lm.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise CheckpointError(f"{adapter}: does not fit this model: {' '.join(str(error).split())[:300]}") from None
    missing = [name for name in result.missing_keys if ".lora_" in name]
    if result.unexpected_keys or missing:
        raise CheckpointError(f"{adapter}: does not fit this model: without {missing[:3]}, with unknown {result.unexpected_keys[:3]}")
    for module in _adapted(lm):
        module.lora_A.to(module.frozen_W.weight.dtype)
        module.lora_B.to(module.frozen_W.weight.dtype)


@contextlib.contextmanager
def folded(lm: LMModel) -> Iterator[LMModel]:
    """Within the block, `lm` has plain linear layers of merged weights, as the model that ships; afterwards its adapters are back.

    Weights that are sharded over processes (`fully_shard`) keep their adapters beside them, which says the same but for rounding: a layer
    put in their place would not be gathered when it is used, and whole merged weights would not fit where the base did not.
    """
    adapted = {name: module for name, module in lm.named_modules() if isinstance(module, LoRALinear)}
    if any(hasattr(module.frozen_W.weight, "full_tensor") for module in adapted.values()):
        yield lm
        return
    try:
        for name, module in adapted.items():
            frozen = module.frozen_W.weight
            linear = nn.Linear(module.in_features, module.out_features, bias=False, device=torch.device("meta"))
            delta = module.lora_B.weight.detach().float() @ module.lora_A.weight.detach().float()
            linear.weight = nn.Parameter((frozen.detach().float() + module.scaling * delta).to(frozen.dtype), requires_grad=False)
            _replace(lm, name, linear)
        yield lm
    finally:
        for name, module in adapted.items():
            _replace(lm, name, module)


@contextlib.contextmanager
def part_of_batch(lm: LMModel, rows: slice, num_rows: int) -> Iterator[LMModel]:
    """Within the block, `lm` is given only `rows` of a batch of `num_rows`; dropout then falls on them as in the whole batch.

    Drawing for all rows costs a pass over [num_rows, T, D] in each adapted layer, little beside its two matrix products. The backward pass
    belongs into the block too: checkpointed layers draw again in it.
    """
    adapted = _adapted(lm)
    try:
        for module in adapted:
            module.part = (rows, num_rows)
        yield lm
    finally:
        for module in adapted:
            module.part = None


@contextlib.contextmanager
def adapters_off(lm: LMModel) -> Iterator[LMModel]:
    """Within the block, adapted layers compute as in the base: a teacher for distillation without a second model in memory."""
    adapted = _adapted(lm)
    try:
        for module in adapted:
            module.adapter_enabled = False
        yield lm
    finally:
        for module in adapted:
            module.adapter_enabled = True


SCALING = 2.0
"""Factor on `B @ A` of what is trained here; moshi's loader assumes 2 unless config.json says otherwise."""


def make_trainable(lm: LMModel, recipe: LoraRecipe, *, seed: int) -> dict[str, nn.Parameter]:
    """Freeze the base, add what `recipe` asks for, and return the weights that learn, by name. They are kept in float32."""
    lm.requires_grad_(False)
    if recipe.rank is not None:
        generator = torch.Generator(device=lm.device).manual_seed(seed)
        except_for = () if recipe.heads == "lora" else ("extra_heads.*",)
        add_lora(lm, rank=recipe.rank, scaling=SCALING, except_for=except_for, dropout=recipe.dropout, generator=generator)
    whole: list[nn.Module] = [] if recipe.enable else list(lm.modules())
    if recipe.learns_whole_heads:
        whole += list(lm.extra_heads)
    for module in whole:
        for name, parameter in module.named_parameters(recurse=False):
            setattr(module, name, nn.Parameter(parameter.detach().float()))
    for name, parameter in lm.named_parameters():
        if ".lora_" in name:
            parameter.requires_grad_(True)
    return {name: parameter for name, parameter in lm.named_parameters() if parameter.requires_grad}


def checkpoint_layers(lm: LMModel, *, keeps_noise: bool) -> None:
    """Make each layer compute its activations anew in the backward pass.

    Upstream's own switch draws new noise there, so that dropout would give another model's gradient; with `keeps_noise` it is the same.
    """
    for layer in lm.transformer.layers:
        layer.forward = functools.partial(checkpoint, layer.forward, use_reentrant=False, preserve_rng_state=keeps_noise)
