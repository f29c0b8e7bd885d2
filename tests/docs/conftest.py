"""A directory as the documentation has it: what `stt-ft init` writes, and a dataset of simulated recordings."""

from __future__ import annotations

from pathlib import Path

import pytest

from stt_ft.dataset.manifest import Dataset
from stt_ft.simulation.casting import DEV_CAST, HELDOUT_CAST, TUNING_CAST
from stt_ft.simulation.takes import TakePlan, write_takes
from stt_ft.stages.init import init


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with recipes, scripts and ten recorded clips in datasets/orders."""
    monkeypatch.chdir(tmp_path)
    init(".")
    data, used = Dataset(Path("datasets/orders")), set()
    plans = (
        TakePlan(split="train", kind="number", count=4, cast=TUNING_CAST, max_digits=5),
        TakePlan(split="train", kind="ordinary", count=2, cast=TUNING_CAST),
        TakePlan(split="dev", kind="number", count=2, cast=DEV_CAST, max_digits=5),
        TakePlan(split="heldout", kind="number", count=1, cast=HELDOUT_CAST, max_digits=5),
        TakePlan(split="heldout", kind="ordinary", count=1, cast=HELDOUT_CAST),
    )
    clips = [(plan.split, clip) for plan in plans for clip in write_takes(data, plan, seed=3, used_digits=used)]
    for split in ("train", "dev", "heldout"):
        data.write_clips(split, [clip for clip_split, clip in clips if clip_split == split])
    data.write_info({"language": "en", "sample_rate_hz": 24_000})
    return tmp_path
