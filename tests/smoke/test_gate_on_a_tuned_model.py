"""From recordings to the gate with a model that is tuned here and now, and the sabotaged ones made from its weights."""

import importlib.util
from pathlib import Path

import pytest

from stt_ft.core.errors import CheckFailed
from stt_ft.stages.evaluate import gate

TOOL = Path(__file__).parents[2] / "tools" / "record_gate_frames.py"
LIMITS = str(Path(__file__).parents[1] / "golden" / "gate_tiny.yaml")


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    spec = importlib.util.spec_from_file_location("record_gate_frames", TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    workdir = tmp_path_factory.mktemp("gate")
    data = tool.speak(workdir / "dataset")
    tool.hear(workdir, data, {**tool.models_of(workdir, tool.tune(workdir, data, steps=300)), "base": "tiny"})
    return workdir


@pytest.mark.slow
def test_the_tuned_model_passes_and_the_others_are_stopped(reports):
    gate(str(reports / "report_tuned"), config=LIMITS)
    for name in ("base", "zeroed", "drifted", "glyphs"):
        with pytest.raises(CheckFailed, match="limits broken"):
            gate(str(reports / f"report_{name}"), config=LIMITS)
