"""Where training begins: anew, with an adapter that exists (`lora.start_from`), or where the run in its directory stands.

A run goes on only as what it is: the clips, the base and whatever decides what is learned must be those it began with (`MAY_CHANGE` has
all that may differ). With another `schedule.max_steps` it is lengthened: weights, optimizer and the order of clips go on, and the learning
rate is that of the new length (`loop.learning_rate`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stt_ft.core.config import load_config, to_dict
from stt_ft.core.errors import CheckpointError, ConfigError
from stt_ft.core.progress import say
from stt_ft.core.provenance import file_sha256
from stt_ft.core.recipe import Recipe
from stt_ft.model.checkpoint_dir import ModelDir
from stt_ft.model.device import has_bfloat16, pick_device
from stt_ft.model.lora import SCALING, adapter_rank
from stt_ft.model.merge import Adapter, check_adapter, read_float32
from stt_ft.training.checkpoints import Progress, RunDir, find_consolidated
from stt_ft.training.data.clips import FINGERPRINT, TrainingClip, fingerprint
from stt_ft.training.parallel import like, whole

MAY_CHANGE = {
    "run_dir": "a run may be moved",
    "dataset": "what was read from it is compared, wherever it lies",
    "replay.dataset": "what was read from it is compared, wherever it lies",
    "synthetic.dataset": "what was read from it is compared, wherever it lies",
    "base": "its weights are compared, wherever they lie",
    "device": "says where the same is computed",
    "threads": "says where the same is computed",
    "parallel": "says where the same is computed",
    "batch.gradient_checkpointing": "the same is computed, in less memory",
    "schedule.max_steps": "lengthens the run, or ends it sooner",
    "validation.every_steps": "looks at the same run at other steps",
    "validation.listen": "looks at the same run more closely",
    "checkpoint": "keeps more or fewer of the same checkpoints",
    "log": "says where the same figures go",
    "calibration": "comes after training",
    "annotate": "is for another stage",
    "convert": "is for another stage",
}
"""Keys and sections of a recipe that may change while a run is not at work, and why they do not change what is learned."""

PLACES = ("run_dir", "dataset", "replay.dataset", "synthetic.dataset", "base", "device", "threads", "lora.start_from")
"""Keys in which even the processes of one run may differ: machines have things in other places."""

MUST_STAY = {
    "lora.start_from": "a run begins once",
    "lora.rank": "says which weights learn",
    "lora.heads": "says which weights learn",
    "validation.best_metric": "the best checkpoint so far was chosen by it",
}
"""Why other keys may not; whatever is in neither table, because what was learned so far was learned with it."""


def with_precision(recipe: Recipe) -> Recipe:
    """Return `recipe` with a number type in place of `auto`: that of the run in its directory, or else the one that suits the device."""
    if recipe.precision != "auto":
        return recipe
    args = Path(recipe.run_dir) / "args.yaml"
    if args.exists():
        return dataclasses.replace(recipe, precision=load_config(Recipe, args).precision)
    return dataclasses.replace(recipe, precision="bfloat16" if has_bfloat16(pick_device(recipe.device)) else "float32")


def recipe_differences(then: Recipe, now: Recipe) -> list[str]:
    """Return "key was X, is Y (reason)" for every key of which a run that goes on must have the old value."""
    before, after = flat(to_dict(then)), flat(to_dict(now))
    return [
        f"{key} was {before.get(key)!r}, is {after.get(key)!r} ({MUST_STAY.get(key, 'what was learned so far was learned with it')})"
        for key in {**before, **after}
        if before.get(key) != after.get(key) and key not in MAY_CHANGE and key.split(".")[0] not in MAY_CHANGE
    ]


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested `values` as dotted key -> value."""
    items: dict[str, Any] = {}
    for key, value in values.items():
        items |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return items


def at_the_beginning(model: ModelDir, *, train: Sequence[TrainingClip], dev: Sequence[TrainingClip]) -> Progress:
    """Return the progress of a run on these clips that has done no step."""
    return Progress(step=0, data=fingerprint(train), dev_data=fingerprint(dev), base_sha256=model.sha256(model.lm_weights))


def what_is_shared(recipe: Recipe, begun: Progress) -> dict[str, str]:
    """Return what the processes of a run must have alike, by what is said of one that has it otherwise: recipe, clips and base, wherever
    these lie."""
    facts = {f"has another {key} in its recipe": repr(value) for key, value in flat(to_dict(recipe)).items() if key not in PLACES}
    return {
        **facts,
        "reads other training clips": begun.data,
        "reads other dev clips": begun.dev_data,
        "has other weights of the base": begun.base_sha256,
    }


def where_it_stands(run: RunDir, recipe: Recipe, model: ModelDir, now: Progress, *, tell: Callable[[str], None] = say) -> Progress:
    """Return how far `run` has come, step 0 for a new one, as the newest whole checkpoint has it; nothing is written.

    Args:
        run: the directory of the run, which need not be there.
        recipe: what is asked for now.
        model: the base.
        now: what `at_the_beginning` made of clips and base.
        tell: takes a line for each damaged checkpoint, and one where the run is lengthened or begins with an adapter.

    Raises:
        ConfigError: recipe, clips or base are not those that the run began with, or it has come farther than is asked for.
        CheckpointError: no checkpoint is whole, or the adapter to begin with cannot be used.
    """
    args, max_steps = run.directory / "args.yaml", recipe.schedule.max_steps
    old = load_config(Recipe, args) if args.exists() else recipe
    if differences := recipe_differences(old, recipe):
        raise ConfigError(
            f"{run.directory}: holds a run with another recipe: {'; '.join(differences)}; give another --run_dir, or the old recipe "
            "(--lora.start_from begins a new run with the adapter of an old one)"
        )
    newest = run.newest(to_go_on=True, tell=tell)
    if newest is None:
        if recipe.lora.start_from is None:
            return now
        adapter = adapter_to_start_from(recipe, model)
        tell(f"{run.directory}: begins with {adapter.header.path}")
        return dataclasses.replace(now, started_from={"path": str(adapter.header.path), "sha256": file_sha256(adapter.header.path)})
    then = run.read_progress(newest)
    if not then.data.startswith(FINGERPRINT):
        raise ConfigError(
            f"{run.directory}: was begun by an earlier version of stt-ft, which knew its clips by all their codes; give another --run_dir, "
            f"and --lora.start_from {run.directory} to begin with its adapter"
        )
    compared = {
        "the training clips": (then.data, now.data),
        "the dev clips": (then.dev_data, now.dev_data),
        "the base's weights": (then.base_sha256, now.base_sha256),
    }
    for what, (before, after) in compared.items():
        if before not in (after, ""):
            raise ConfigError(f"{run.directory}: {what} changed since this run began; give another --run_dir to train on them anew")
    if max_steps < then.step:
        raise ConfigError(f"{run.directory}: {then.step} steps are done, and schedule.max_steps is {max_steps}; give {then.step} or more")
    if max_steps > then.step and max_steps != old.schedule.max_steps:
        tell(f"{run.directory}: was {old.schedule.max_steps} steps, goes on to {max_steps} after step {then.step}")
    return then


def adapter_to_start_from(recipe: Recipe, model: ModelDir) -> Adapter:
    """Open the adapter that `lora.start_from` names: ours, or one by moshi-finetune, whose file has the same names.

    Raises:
        CheckpointError: there is none, it is damaged, or it does not fit the base.
        ConfigError: it holds what this recipe would not learn, and so would lose.
    """
    lora = recipe.lora
    if not lora.enable:
        raise ConfigError(
            "lora.start_from needs lora.rank; to train every weight from there, merge the adapter and give the model as --base"
        )
    adapter = Adapter.open(find_consolidated(Path(str(lora.start_from))))
    path, merged = adapter.header.path, "merge it, and train on the merged model (--base)"
    if path.name == "consolidated.safetensors":
        raise CheckpointError(f"{path}: holds a whole model, no adapter; {merged}")
    check_adapter(adapter, model)
    if (rank := adapter_rank(path)) != lora.rank:
        raise ConfigError(f"{path}: is of rank {rank}, lora.rank is {lora.rank}; give --lora.rank {rank}, or {merged}")
    for name in adapter.header.tensors:
        is_head = name.startswith("extra_heads.")
        if ".lora_" not in name and not (is_head and lora.learns_whole_heads):
            way_out = "give --lora.heads full" if is_head else merged
            raise ConfigError(f"{path}: holds {name}, trained in full, which lora.heads {lora.heads} leaves to the base; {way_out}")
        if is_head and name.endswith(".lora_B.weight") and lora.heads == "frozen" and bool(read_float32(adapter.header, name).any()):
            raise ConfigError(f"{path}: has trained pause heads, which lora.heads frozen leaves to the base; give --lora.heads lora")
    return adapter


@torch.no_grad()
def load_start(path: Path, trainable: Mapping[str, nn.Parameter]) -> None:
    """Put the adapter of file `path`, which `adapter_to_start_from` has accepted, into the weights that learn, sharded as they are.

    What it was scaled by goes into B, since here the scaling is always `SCALING`. Every process must ask where weights are sharded.
    """
    adapter = Adapter.open(path)
    for name, parameter in trainable.items():
        if ".lora_" not in name:
            parameter.copy_(like(adapter.merged(name.removesuffix(".weight"), whole(parameter.detach()).float().cpu()), parameter))
        elif name in adapter.header.tensors:
            factor = adapter.scaling / SCALING if name.endswith(".lora_B.weight") else 1.0
            parameter.copy_(like(read_float32(adapter.header, name) * factor, parameter))
