"""The model card: the report's figures, the data in numbers alone, and how the directory is run."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from stt_ft.core.errors import CheckpointError
from stt_ft.dataset.manifest import Clip, Dataset
from stt_ft.export.hub import RUNS_WITH, PushedModel, model_card

CONFIG = {"stt_config": {"audio_delay_seconds": 0.5}, "extra_heads_num_heads": 4}


def _model(**changes) -> PushedModel:
    model = PushedModel(directory=Path(), kind="candle", config=CONFIG, base="kyutai/stt-1b-en_fr-candle", metadata={})
    return dataclasses.replace(model, **changes)


def test_what_was_measured_stands_in_the_card():
    assert "## Measured\n\nBetter: all.\n\n## How" in model_card(_model(), "me/orders", measured="Better: all.")


@pytest.mark.parametrize("kind", RUNS_WITH)
def test_the_card_says_how_each_kind_is_run(kind):
    assert RUNS_WITH[kind].format(repo="me/orders") in model_card(_model(kind=kind), "me/orders")


def test_a_base_that_is_a_directory_is_named_but_not_linked():
    card = model_card(_model(base="models/orders_base"), "me/orders")
    assert "base: models/orders_base" in card


def test_adapters_are_told_with_scaling_and_weight():
    metadata = {"adapters": json.dumps([{"sha256": "ab" * 32, "scaling": 2.0, "weight": 0.7}])}
    assert "adapter: sha256 abababababababab…, scaling 2, weight 0.7" in model_card(_model(metadata=metadata), "me/orders")


def test_synthetic_clips_are_told_apart_from_recordings(tmp_path):
    data = Dataset(tmp_path)
    spoken = [Clip(path=f"audio/{n}.wav", duration_s=1800.0, extra={"speaker": "anna"}) for n in range(2)]
    synthetic = [Clip(path="audio/s.wav", duration_s=3600.0, extra={"speaker": "espeak x", "synthetic": True})]
    data.write_clips("train", [*spoken, *synthetic])
    data.write_clips("heldout", spoken)
    card = model_card(_model(), "me/orders", dataset=data)
    assert "| train | 2 | 1.00 | 1 |\n| train, synthetic | 1 | 1.00 | 1 |\n| heldout | 2 | 1.00 | 1 |" in card


def test_a_config_that_is_no_json_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="not JSON"):
        PushedModel.open(tmp_path)
