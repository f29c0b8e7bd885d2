from __future__ import annotations

import pytest
from random_models import encoded_dataset, random_base

from stt_ft.core.recipe import AugmentRecipe, BatchRecipe, LoraRecipe, LossRecipe, OptimRecipe, Recipe, ScheduleRecipe, ValidationRecipe

__all__ = ["encoded_dataset", "random_base"]


@pytest.fixture
def recipe(encoded_dataset, random_base, tmp_path) -> Recipe:
    return Recipe(
        dataset=str(encoded_dataset.directory),
        run_dir=str(tmp_path / "run"),
        base=str(random_base.directory),
        precision="float32",
        device="cpu",
        threads=1,
        lora=LoraRecipe(rank=4, dropout=0.1),
        loss=LossRecipe(pause_targets="binary", text_noise=0.1),
        optim=OptimRecipe(lr=3e-3),
        schedule=ScheduleRecipe(max_steps=12),
        batch=BatchRecipe(batch_size=4, grad_accumulation=2),
        augment=AugmentRecipe(pause_prob=0.3, renumber_prob=0.3, join_prob=0.2),
        validation=ValidationRecipe(every_steps=4),
    )
