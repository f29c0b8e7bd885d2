"""`stt-ft train`: an adapter from a dataset and a recipe. The same command takes an interrupted run up again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stt_ft.core.recipe import Recipe, load_recipe


def train(config: str | Path | Recipe, *, overrides: dict[str, Any] | None = None) -> Path:
    """Fine-tune a model on the train split of a dataset, validating on its dev split where it has one.

    The dataset must have been through `encode` with the same base. Checkpoints, metrics and loss.png go to `run_dir`; a run that was
    interrupted there goes on from its newest checkpoint and ends as if nothing had happened. On several GPUs:
    torchrun --standalone --nproc-per-node 4 -m stt_ft train CONFIG.

    Args:
        config: recipe file, such as configs/stt_1b_digits.yaml.
        overrides: keys of the recipe that win over the file.

    Returns:
        The run directory.
    """
    from stt_ft.core.errors import ConfigError
    from stt_ft.core.progress import say
    from stt_ft.core.provenance import file_sha256
    from stt_ft.training.curves import draw_curves
    from stt_ft.training.distributed import joined_world
    from stt_ft.training.run_state import RunDir
    from stt_ft.training.setup import prepare

    if isinstance(config, Recipe) and overrides:
        raise ConfigError("train: overrides are for a recipe file; a Recipe is changed by dataclasses.replace")
    recipe = config if isinstance(config, Recipe) else load_recipe(config, overrides)
    inputs = prepare(recipe)
    with joined_world(inputs.device) as world:
        run = RunDir.open(recipe) if world.is_main else RunDir(Path(recipe.run_dir))
        world.wait()
        trainer = inputs.trainer(run, base_sha256=file_sha256(inputs.model.lm_weights), world=world)
        if world.is_main and trainer is not None:
            say(f"{run.directory}: {inputs.describe(trainer)}")
        progress = trainer.train() if trainer is not None else None
    if not world.is_main:
        return run.directory
    if progress is None:
        inputs.calibrate(run)
        say(f"{run.directory}: this run is done; merge it with `stt-ft merge {run.directory} --out DIR`")
        return run.directory
    draw_curves(run.directory / "loss.png", run.read_rows("metrics.train.jsonl"), run.read_rows("metrics.eval.jsonl"))
    inputs.calibrate(run)
    best = f", best on dev after step {progress.best_step}" if progress.best_step else ""
    say(f"{run.directory}: {progress.step} steps done{best}; next: stt-ft merge {run.directory} --out DIR")
    return run.directory
