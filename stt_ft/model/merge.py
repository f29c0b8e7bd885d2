"""Fold an adapter into its base: `W + scaling * B @ A` in float32, rounded once, one tensor in memory at a time.

Several adapters `i` with weights `w_i` give `W + sum of w_i * (W_i - W)`, where `W_i` is what adapter `i` alone would make of `W`.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

import stt_ft
from stt_ft.core.atomic import write_json
from stt_ft.core.errors import CheckpointError
from stt_ft.core.progress import say
from stt_ft.core.provenance import file_sha256
from stt_ft.model.checkpoint_dir import MOSHI_NAME, ModelDir, read_json_object
from stt_ft.model.device import pick_dtype
from stt_ft.model.lora import adapter_rank, adapter_scaling
from stt_ft.model.output_dir import SUMS_NAME, check_output, whole_directory
from stt_ft.model.safetensors_file import SafetensorsHeader, SafetensorsWriter, TensorSpec, as_buffer, pytorch_name, read_header

FORMAT_NAMES = {torch.bfloat16: "BF16", torch.float16: "F16", torch.float32: "F32"}
"""Names of number types in a safetensors header."""

_OWN_NAMES = ("config.json", "mimi_config.json", "moshi-server.toml", "moshi-server-unmute.toml", SUMS_NAME)
"""Files of a written model directory that no file of the source may take the place of."""

TORCH_TYPES = {name: dtype for dtype, name in FORMAT_NAMES.items()} | {"F64": torch.float64}


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """The trained weights of one run: A and B of every linear layer, or whole weights, or both, and the share of them to take."""

    header: SafetensorsHeader
    scaling: float
    weight: float = 1.0

    @property
    def is_lora(self) -> bool:
        """Whether it holds matrices A and B."""
        return any(name.endswith(".lora_A.weight") for name in self.header.tensors)

    @property
    def holds_heads(self) -> bool:
        """Whether it holds pause heads trained in full, so that a base without any is given them."""
        return self.whole_weight("extra_heads.0") is not None

    @classmethod
    def open(cls, path: Path, *, weight: float = 1.0) -> Adapter:
        """Open the file of an adapter, or the directory that holds it (`lora.safetensors` or `consolidated.safetensors`)."""
        if path.is_dir():
            candidates = [path / name for name in ("lora.safetensors", "consolidated.safetensors") if (path / name).is_file()]
            if not candidates:
                raise CheckpointError(f"{path}: no lora.safetensors here")
            path = candidates[0]
        header = read_header(path)
        if not header.tensors:
            raise CheckpointError(f"{path}: holds no tensors, so there is nothing to fold in")
        opened = cls(header=header, scaling=1.0, weight=weight)
        if not opened.is_lora:
            return opened
        adapter_rank(path)  # refuses several
        return dataclasses.replace(opened, scaling=adapter_scaling(path))

    def whole_weight(self, module: str) -> str | None:
        """Return the name under which the weight of `module` was saved in full, if it was."""
        return next((name for name in (f"{module}.frozen_W.weight", f"{module}.weight", module) if name in self.header.tensors), None)

    def names_of(self, module: str) -> list[str]:
        """Return the names of all that this adapter holds for `module`."""
        low_rank = [name for name in (f"{module}.lora_A.weight", f"{module}.lora_B.weight") if name in self.header.tensors]
        whole = self.whole_weight(module)
        return low_rank + ([whole] if whole else [])

    def merged(self, module: str, weight: torch.Tensor) -> torch.Tensor:
        """Return what this adapter alone makes of `weight` [out, in], in float32."""
        whole = self.whole_weight(module)
        merged = read_float32(self.header, whole) if whole else weight
        if f"{module}.lora_A.weight" in self.header.tensors:
            a, b = read_float32(self.header, f"{module}.lora_A.weight"), read_float32(self.header, f"{module}.lora_B.weight")
            merged = torch.addmm(merged, b, a, alpha=self.scaling)
        return merged


@dataclass(frozen=True, kw_only=True)
class MergePlan:
    """The plan of a merge, checked before a byte is written."""

    base: ModelDir
    header: SafetensorsHeader
    adapters: tuple[Adapter, ...]
    specs: dict[str, TensorSpec]
    metadata: dict[str, str]

    @property
    def num_bytes(self) -> int:
        """Bytes that the merged directory will take."""
        copied = (self.base.mimi_weights, self.base.tokenizer_path)
        return sum(spec.num_bytes for spec in self.specs.values()) + sum(path.stat().st_size for path in copied)


def read_float32(header: SafetensorsHeader, name: str) -> torch.Tensor:
    """Read one floating tensor of a safetensors file as float32."""
    spec = header.tensors[name]
    if spec.dtype not in TORCH_TYPES:
        raise CheckpointError(f"{header.path}: tensor {name} is {spec.dtype}; expected one of {', '.join(TORCH_TYPES)}")
    return header.tensor(name).float()


def plan_merge(base: ModelDir, adapters: Sequence[Adapter], *, dtype: str = "bfloat16", any_base: bool = False) -> MergePlan:
    """Work out which tensor is made of what; a base without pause heads is given those that an adapter brings.

    Raises `CheckpointError`: an adapter of a base with other weights (unless `any_base`), one whose config.json says another thing than its
    tensors or the base's, one with names or shapes that the base does not have, or one of which a part is missing.
    """
    number_type = FORMAT_NAMES[pick_dtype(dtype)]
    if not base.num_heads and any(adapter.holds_heads for adapter in adapters):
        base = base.with_new_heads()
    header = base.lm_header()
    for adapter in adapters:
        check_adapter(adapter, base, any_base=any_base)
    specs = {
        name: TensorSpec(dtype=number_type if spec.dtype in TORCH_TYPES else spec.dtype, shape=spec.shape)
        for name, spec in header.tensors.items()
    }
    metadata = {
        "format": "pt",
        "base": base.name,
        "base_sha256": base.sha256(base.lm_weights),
        "adapters": json.dumps([{"sha256": file_sha256(a.header.path), "scaling": a.scaling, "weight": a.weight} for a in adapters]),
        "dtype": dtype,
        "stt_ft": stt_ft.__version__,
    }
    return MergePlan(base=base, header=header, adapters=tuple(adapters), specs=specs, metadata=metadata)


def _module_of(name: str) -> str:
    """Return the module, in upstream's PyTorch naming, whose weight tensor `name` of the base is."""
    return pytorch_name(name).removesuffix(".weight")


def check_adapter(adapter: Adapter, base: ModelDir, *, any_base: bool = False) -> None:
    """Raise `CheckpointError` for an adapter that does not fit `base` (see `plan_merge`)."""
    if adapter.holds_heads and not base.num_heads:
        raise CheckpointError(
            f"{adapter.header.path}: holds pause heads, and {base.name} has none to put them in the place of; "
            "--lora.heads new gives it some"
        )
    if not any_base:
        _check_base(adapter, base)
    _check_config(adapter, base)
    _check_tensors(adapter, base, base.lm_header())


def _check_base(adapter: Adapter, base: ModelDir) -> None:
    base_sha256 = base.sha256(base.lm_weights)
    trained_on = adapter.header.metadata.get("base_sha256")
    if trained_on is not None and trained_on != base_sha256:
        trained_name = adapter.header.metadata.get("base", "?")
        raise CheckpointError(
            f"{adapter.header.path}: trained on another base ({trained_name}, {trained_on[:12]}…) than {base.name} ({base_sha256[:12]}…); "
            "name its base by --base, or fold it into this one all the same with --any_base"
        )


def _check_config(adapter: Adapter, base: ModelDir) -> None:
    """Refuse an adapter whose config.json, where it has one, names another rank or scaling than its tensors, or another model than the
    base: moshi's loader goes by config.json, and would make another model of it."""
    path = adapter.header.path.with_name("config.json")
    if not path.exists():
        return
    config, stt = read_json_object(path), base.config["stt_config"]
    passed = ("lora", "extra_heads") if base.has_new_heads else ("lora",)  # an adapter of the text alone knows nothing of new heads
    said = {key: value for key, value in config.items() if key in base.lm_kwargs and not key.startswith(passed)}
    is_of = {key: base.lm_kwargs[key] for key in said}
    if isinstance(config.get("stt_config"), dict):
        said |= {f"stt_config.{key}": value for key, value in config["stt_config"].items() if key in stt}
        is_of |= {f"stt_config.{key}": value for key, value in stt.items() if key in config["stt_config"]}
    if adapter.is_lora:
        own = {"lora_rank": adapter_rank(adapter.header.path), "lora_scaling": adapter.scaling}
        is_of |= {key: value for key, value in own.items() if key in config}
        said |= {key: config[key] for key in own if key in config}
    wrong = [f"{key} {said[key]!r:.60}, where it is {is_of[key]!r:.60}" for key in said if said[key] != is_of[key]]
    if wrong:
        raise CheckpointError(f"{path}: says {'; '.join(wrong[:4])} in {base.name} and the adapter; correct it, or take config.json away")


def _check_tensors(adapter: Adapter, base: ModelDir, header: SafetensorsHeader) -> None:
    """Refuse names and shapes that the base does not have, and an adapter that holds some layers of a kind and lacks others."""
    path = adapter.header.path
    used: set[str] = set()
    of_kind: dict[str, dict[str, bool]] = {}
    for name, spec in header.tensors.items():
        module = _module_of(name)
        used |= set(adapter.names_of(module))
        _check_shapes(adapter, module, spec.shape)
        if len(spec.shape) == 2 and not re.match(r"(text_)?emb\b", module):
            of_kind.setdefault(re.sub(r"\d+", "*", module), {})[module] = bool(adapter.names_of(module))
    unknown = sorted(set(adapter.header.tensors) - used)
    if unknown:
        raise CheckpointError(f"{path}: holds {len(unknown)} tensors that {base.name} has no place for, such as {unknown[0]}")
    for kind, is_held in of_kind.items():
        missing = [module for module, held in is_held.items() if not held]
        if 0 < len(missing) < len(is_held):
            raise CheckpointError(f"{path}: lacks {', '.join(missing[:3])}, and holds others of {kind}: a part of it is lost")
        if missing:
            say(f"{path}: holds nothing for {kind}, which stays as it is in {base.name}")


def _check_shapes(adapter: Adapter, module: str, shape: tuple[int, ...]) -> None:
    """Refuse an adapter whose matrices do not fit the weight of `module`, or that holds one of A and B alone."""
    tensors = adapter.header.tensors
    a, b = tensors.get(f"{module}.lora_A.weight"), tensors.get(f"{module}.lora_B.weight")
    whole = adapter.whole_weight(module)
    fits = (a is None) == (b is None) and (whole is None or tensors[whole].shape == shape)
    if a is not None and b is not None:
        fits = fits and len(shape) == 2 and a.shape[1:] == shape[1:] and b.shape[:1] == shape[:1] and a.shape[0] == b.shape[1]
    if not fits:
        found = {name: list(tensors[name].shape) for name in adapter.names_of(module)}
        raise CheckpointError(f"{adapter.header.path}: {found} does not fit the base's {module} of shape {list(shape)}")


def merge_adapter(
    base: ModelDir, adapters: Sequence[Adapter], out: Path, *, dtype: str = "bfloat16", overwrite: bool = False, any_base: bool = False
) -> MergePlan:
    """Write the model directory `out`: the base with `adapters` folded in, its tensor names, order and config kept.

    Raises `CheckpointError`: adapters that do not fit, an existing `out`, too little disk; all found before anything is written.
    """
    plan = plan_merge(base, adapters, dtype=dtype, any_base=any_base)
    check_output(out, overwrite=overwrite, num_bytes=plan.num_bytes)
    with whole_directory(out) as directory:
        write_merged_weights(plan, directory / MOSHI_NAME)
        write_config_and_companions(plan.base, directory)
    return plan


def write_merged_weights(plan: MergePlan, path: Path) -> None:
    """Write the merged language model tensor by tensor.

    Raises `CheckpointError`: a weight that is no finite number, of the base or of an adapter.
    """
    with SafetensorsWriter(path, plan.specs, plan.metadata) as writer, torch.no_grad():
        for name, spec in plan.specs.items():
            if spec.dtype not in TORCH_TYPES:
                writer.write(name, as_buffer(plan.header.tensor(name)))
                continue
            merged = _merged(read_float32(plan.header, name), _module_of(name), plan.adapters).to(TORCH_TYPES[spec.dtype])
            if not bool(merged.isfinite().all()):
                raise CheckpointError(f"{plan.base.name}: tensor {name} is not finite once merged; base, adapter or --dtype is at fault")
            writer.write(name, as_buffer(merged))


def _merged(weight: torch.Tensor, module: str, adapters: Sequence[Adapter]) -> torch.Tensor:
    """Return the merged weight of one module in float32."""
    touching = [adapter for adapter in adapters if adapter.names_of(module)]
    if len(touching) == 1 and touching[0].weight == 1.0:
        return touching[0].merged(module, weight)
    merged = weight.clone()
    for adapter in touching:
        merged += adapter.weight * (adapter.merged(module, weight) - weight)
    return merged


def write_config_and_companions(model: ModelDir, directory: Path, *, moshi_name: str = MOSHI_NAME) -> ModelDir:
    """Copy tokenizer and codec of `model` into `directory`, write its config.json, and return the model as it will lie there: whole (no
    adapter), its files side by side under their plain names; one whose name is taken ("codec/model.safetensors") is told apart."""
    names = {moshi_name, *_OWN_NAMES}
    mimi_name = _free_name(model.mimi_weights.name, "mimi", names)
    tokenizer_name = _free_name(model.tokenizer_path.name, "tokenizer", {*names, mimi_name})
    config = {key: value for key, value in model.config.items() if key not in ("lora_rank", "lora_scaling", "lora_name")}
    config |= {"lora": False, "moshi_name": moshi_name, "mimi_name": mimi_name, "tokenizer_name": tokenizer_name}
    written = dataclasses.replace(
        model,
        directory=directory,
        config=config,
        has_new_heads=False,
        lm_weights=directory / moshi_name,
        mimi_weights=directory / mimi_name,
        tokenizer_path=directory / tokenizer_name,
    )
    shutil.copyfile(model.mimi_weights, written.mimi_weights)
    shutil.copyfile(model.tokenizer_path, written.tokenizer_path)
    if model.mimi_config is not None:
        config["mimi_config_name"] = "mimi_config.json"
        write_json(directory / "mimi_config.json", model.mimi_config)
    write_json(directory / "config.json", config)
    return written


def _free_name(name: str, kind: str, taken: Collection[str]) -> str:
    return f"{kind}-{name}" if name.lower() in {one.lower() for one in taken} else name
