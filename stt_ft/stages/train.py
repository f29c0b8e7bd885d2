"""`stt-ft train`: an adapter from a dataset and a recipe. The same command takes an interrupted run up again."""

from __future__ import annotations

from typing import Any


def train(config: str, *, overrides: dict[str, Any] | None = None) -> None:
    """Fine-tune a model on the train split of a dataset, validating on its dev split where it has one.

    The dataset must have been through `encode` with the same base. Checkpoints, metrics and loss.png go to `run_dir`; a run that was
    interrupted there goes on from its newest checkpoint and ends as if nothing had happened. On several GPUs:
    torchrun --standalone --nproc-per-node 4 -m stt_ft train CONFIG.

    Args:
        config: recipe file, such as configs/stt_1b_digits.yaml.
        overrides: keys of the recipe that win over the file.
    """
    from stt_ft.core.config import load_config
    from stt_ft.core.recipe import Recipe
    from stt_ft.training import loop

    loop.train(load_config(Recipe, config, overrides or {}))
