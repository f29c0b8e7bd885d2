"""`stt-ft merge`: the adapter folded into its base, a model directory like the one it started from."""

from __future__ import annotations


def merge(
    run_or_checkpoint: str,
    *,
    out: str,
    base: str | None = None,
    dtype: str = "bfloat16",
    adapter: list[str] | None = None,
    last: int | None = None,
    overwrite: bool = False,
) -> None:
    """Fold what was trained into the base and write a whole model directory.

    Args:
        run_or_checkpoint: a run (its best checkpoint on the dev split, else its newest), a checkpoint, or what holds lora.safetensors.
        out: model directory to write.
        base: the base it was trained on; by default the one that the adapter names.
        dtype: number type of the weights: bfloat16 (what the production engine reads), float16 or float32.
        adapter: more adapters to fold in, each PATH or PATH:WEIGHT, weight 1 where none is given. What adapters changed is added up, not
            averaged: the mean of three runs is A --adapter A:0.333,B:0.333,C:0.333, and A --adapter B,C goes three times as far. A weight
            scales all that was trained, pause heads too: RUN --adapter RUN:0.8 lies between base (0) and tuned model (1), 1.2 beyond it.
        last: take the mean of so many newest checkpoints of a run, in place of its best one; a figure to choose it by is dev's.
        overwrite: replace an existing model directory.
    """
    from pathlib import Path

    from stt_ft.core.errors import CheckpointError, ConfigError
    from stt_ft.core.progress import say
    from stt_ft.model.checkpoint_dir import open_model
    from stt_ft.model.merge import Adapter, merge_adapter
    from stt_ft.training.run_state import find_consolidated, newest_consolidated

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
    plan = merge_adapter(model, adapters, Path(out), dtype=dtype, overwrite=overwrite)
    folded = ", ".join(f"{each.header.path.parent}{_by_weight(each.weight)}" for each in adapters)
    say(f"{out}: {len(plan.specs)} tensors of {model.name} with {folded} folded in, {dtype}, {plan.num_bytes / 1e6:,.1f} MB")


def _by_weight(weight: float) -> str:
    return "" if weight == 1 else f" by {weight:.3g}"


def _path_and_weight(entry: str) -> tuple[str, float]:
    """Split "PATH:WEIGHT"; a path without a weight counts whole."""
    from stt_ft.core.errors import ConfigError

    path, colon, weight = entry.rpartition(":")
    if not colon:
        return entry, 1.0
    try:
        return path, float(weight)
    except ValueError:
        raise ConfigError(f"--adapter {entry}: expected PATH or PATH:WEIGHT, such as runs/a:0.7") from None
