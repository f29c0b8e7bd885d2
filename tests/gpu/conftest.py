"""Short runs on a CUDA device. The tests are marked `gpu`, and skipped where there is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from random_models import encoded_dataset, random_base
from short_runs import Outcome, written_recipe

__all__ = ["encoded_dataset", "random_base", "written_recipe"]

DEVICE = "cuda"


@pytest.fixture(scope="session")
def device() -> str:
    return DEVICE


@pytest.fixture(scope="session")
def trained(written_recipe: Callable[..., Path]) -> Callable[..., Outcome]:
    """Return a function that trains the recipe of `short_runs` with changes, on the CUDA device unless they name another."""
    from stt_ft.stages.finetune import train

    def train_with(changes: dict[str, Any]) -> Outcome:
        config = written_recipe({"device": DEVICE, **changes})
        train(str(config))
        return Outcome(config)

    return train_with
