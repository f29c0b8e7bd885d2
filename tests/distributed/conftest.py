"""Runs of a tiny model of random weights in one process and in two, the same but for that."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from random_models import encoded_dataset, random_base
from short_runs import Outcome, written_recipe
from two_processes import TwoProcesses

from stt_ft.stages.finetune import train

__all__ = ["encoded_dataset", "random_base", "written_recipe"]


@pytest.fixture(scope="session")
def two_processes() -> Iterator[TwoProcesses]:
    processes = TwoProcesses()
    yield processes
    processes.close()


@pytest.fixture(scope="session")
def trained(written_recipe: Callable[..., Path], two_processes: TwoProcesses) -> Callable[..., Outcome]:
    """Return a function that trains the recipe of `short_runs` with changes in so many processes; what one makes of them is kept."""
    kept: dict[str, Outcome] = {}

    def train_in(num_processes: int, changes: dict[str, Any]) -> Outcome:
        if num_processes == 2:
            config = written_recipe(changes)
            two_processes.train(config)
            return Outcome(config)
        key = json.dumps(changes, sort_keys=True)
        if key not in kept:
            config = written_recipe(changes)
            train(str(config))
            kept[key] = Outcome(config)
        return kept[key]

    return train_in
