"""From a dataset to a model: `stt-ft encode` runs the codec over every clip once, `stt-ft train` trains an adapter by a recipe and takes an
interrupted run up again, `stt-ft merge` folds the adapter into its base: a model directory like the one it started from.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stt_ft.core.atomic import remove_leftovers
from stt_ft.core.engine import LOCAL, Engine, spread
from stt_ft.core.errors import CheckFailed, CheckpointError, ConfigError
from stt_ft.core.progress import say
from stt_ft.core.recipe import DEFAULT_BASE, AugmentRecipe, Recipe, Version, load_recipe
from stt_ft.dataset.manifest import Dataset


@spread
def encode(
    dataset: str | Path,
    *,
    base: str | Path = DEFAULT_BASE,
    batch_size: int = 16,
    device: str = "auto",
    speeds: list[float] | None = None,
    channels: list[str] | None = None,
    dry_run: bool = False,
    engine: Engine = LOCAL,
) -> Dataset:
    """Turn the sound of a dataset into codec codes and keep them beside it. Clips encoded before are left alone.

    Args:
        dataset: dataset directory.
        base: model whose codec to use: a hub repo id, a model directory, or tiny.
        batch_size: clips in one batch.
        device: cpu, cuda, cuda:1 …; auto takes a GPU where there is one.
        speeds: encode the clips of train at these speeds too, pitch and formants included, for augment.speeds ("0.9,1.1").
        channels: encode the clips of train through these channels too, for augment.channels: a telephone line (phone), or noise by its
            level below the speech (20dB), such as phone,20dB.
        dry_run: encode a sample, keep no codes, and say how much there is and how long it will take.
    """
    from stt_ft.audio.sounds import sounds_of
    from stt_ft.model.checkpoint_dir import open_model
    from stt_ft.model.codes import Encoder, TokenStore, in_batches, new_codes

    if batch_size <= 0:
        raise ConfigError(f"--batch_size must be positive, got {batch_size}")
    versions = _versions(speeds or (), channels or ())
    data = Dataset.open(dataset)
    remove_leftovers(data.directory)
    model = open_model(base, require_extra_heads=False)
    store = TokenStore.of(data, model)
    splits = data.splits()
    if versions and "train" not in splits:
        splits = ["train", *splits]  # reading its clips says that there are none
    versions_of = {split: (Version(), *(versions if split == "train" else ())) for split in splits}
    faults: dict[str, str] = {}
    known = {"engine": engine, "faults": faults}
    sounds = [one for split in splits for one in sounds_of(data, data.clips(split), versions_of[split], **known)]
    missing = store.missing(sounds)
    batches = in_batches(missing, batch_size)
    make = functools.partial(Encoder, data, str(base), device)
    if dry_run:
        say(f"{data.directory}: {len(sounds) - len(missing)} were there, {engine.estimate(make, batches)}")
        return data

    num_encoded = store.keep(new_codes(engine, make, batches, lambda sound, fault: faults.update({sound.clip.path: fault})))
    for path, fault in sorted(faults.items()):
        say(f"{path}: {fault}")
    say(f"{data.directory}: {num_encoded} clips encoded, {len(sounds) - len(missing)} were there; codes in {store.directory}")
    if faults:
        raise CheckFailed(f"{data.directory}: {len(faults)} clips could not be encoded, the first is {min(faults)}; the reasons are above")
    return data


def _versions(speeds: Sequence[float], channels: Sequence[str]) -> tuple[Version, ...]:
    """Return the versions of a clip that the flags ask for beside the recording; raises `ConfigError` for what cannot be one."""
    from stt_ft.audio.channel import channels_named

    if wrong := [speed for speed in speeds if not 0.5 <= speed <= 2]:
        raise ConfigError(f"--speeds must be 0.5 to 2, got {wrong[0]}")
    try:
        channels_named(channels)
    except ValueError as error:
        raise ConfigError("; ".join(f"--channels: {mistake}" for mistake in error.args)) from None
    asked = AugmentRecipe(speeds=(1.0, *speeds), channels=tuple(channels)).versions
    return tuple(version for version in asked if version.name)


def train(config: str | Path | Recipe, **overrides: Any) -> Path:
    """Fine-tune a model on the train split of a dataset, validating on its dev split where it has one.

    The dataset must have been through `encode` with the same base. Checkpoints, metrics, loss.png and a README.md that says what to do next
    go to `run_dir`. On several GPUs: torchrun --standalone --nproc-per-node 4 -m stt_ft train CONFIG; on several machines, which share
    `run_dir`: docs/cluster.md.

        the same command again                 an interrupted run goes on, and ends as if nothing had happened
        --schedule.max_steps 1000              a run of fewer steps, ended or not, goes on to so many
        --run_dir NEW --lora.start_from OLD    a new run begins with the adapter of an old one

    Which other keys may change when a run goes on: docs/training.md.

    Args:
        config: recipe file, such as configs/stt_1b_digits.yaml.
        overrides: keys of the recipe that win over the file.
    """
    from stt_ft.training import loop

    if isinstance(config, Recipe) and overrides:
        raise ConfigError("train: overrides are for a recipe file; a Recipe is changed by dataclasses.replace")
    recipe = config if isinstance(config, Recipe) else load_recipe(config, overrides)
    loop.train(recipe)
    return Path(recipe.run_dir)


def merge(
    run_or_checkpoint: str | Path,
    *,
    out: str | Path,
    base: str | Path | None = None,
    dtype: str = "bfloat16",
    adapter: list[str] | None = None,
    last: int | None = None,
    any_base: bool = False,
    overwrite: bool = False,
) -> Path:
    """Fold what was trained into the base and write a whole model directory.

    Args:
        run_or_checkpoint: a run (its best checkpoint on the dev split, else its newest), a checkpoint, or what holds lora.safetensors. Of a
            run, damaged checkpoints are passed over, and a line says so.
        out: model directory to write.
        base: the base it was trained on; by default the one that the adapter names.
        dtype: number type of the weights: bfloat16 (what the production engine reads), float16 or float32.
        adapter: more adapters to fold in, each PATH or PATH:WEIGHT, weight 1 where none is given. What adapters changed is added up, not
            averaged: the mean of three runs is A --adapter A:0.333,B:0.333,C:0.333, and A --adapter B,C goes three times as far. A weight
            scales all that was trained, pause heads too: RUN --adapter RUN:0.8 lies between base (0) and tuned model (1), 1.2 beyond it.
        last: take the mean of this number of newest checkpoints of a run, in place of its best one; choose it by figures of dev.
        any_base: fold into the base whatever its weights are: by default only into those that it was trained on, to the last byte.
        overwrite: replace an existing model directory.
    """
    from stt_ft.model.checkpoint_dir import open_model
    from stt_ft.model.merge import Adapter, merge_adapter
    from stt_ft.training.checkpoints import find_consolidated, newest_consolidated

    if last is not None and adapter:
        raise ConfigError("--last takes one run's checkpoints alike, --adapter weighs adapters; give one of the two")
    source = Path(run_or_checkpoint)
    sources = [find_consolidated(source)] if last is None else newest_consolidated(source, last)
    weights = {path: 1 / len(sources) for path in sources}
    for entry in adapter or []:
        path, weight = _path_and_weight(entry)
        weights[find_consolidated(Path(path))] = weight
    adapters = [Adapter.open(path, weight=weight) for path, weight in weights.items()]
    trained_on = base or adapters[0].header.metadata.get("base")
    if trained_on is None:
        raise CheckpointError(f"{adapters[0].header.path}: does not say which base it was trained on; give --base")
    model = open_model(trained_on, require_extra_heads=False)
    plan = merge_adapter(model, adapters, Path(out), dtype=dtype, overwrite=overwrite, any_base=any_base)
    folded = ", ".join(str(a.header.path.parent) + ("" if a.weight == 1 else f" by {a.weight:.3g}") for a in adapters)
    say(f"{out}: {len(plan.specs)} tensors of {model.name} with {folded} folded in, {dtype}, {plan.num_bytes / 1e6:,.1f} MB")
    return Path(out)


def _path_and_weight(entry: str) -> tuple[str, float]:
    """Split "PATH:WEIGHT"; a path without a weight counts whole."""
    path, colon, weight = entry.rpartition(":")
    if not colon:
        return entry, 1.0
    try:
        return path, float(weight)
    except ValueError:
        raise ConfigError(f"--adapter {entry}: expected PATH or PATH:WEIGHT, such as runs/a:0.7") from None
