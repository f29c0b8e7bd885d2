"""The gate as a regression test of pause heads, on what real models said: tests/golden/gate_frames.jsonl.gz, which
`tools/record_gate_frames.py` recorded with the tiny model, one tuned from it, and four that must not pass."""

import gzip
import json
from pathlib import Path

import pytest

from stt_ft.core.errors import CheckFailed
from stt_ft.evaluation.build import build_report
from stt_ft.evaluation.frames import ClipFrames
from stt_ft.evaluation.report import write_report
from stt_ft.evaluation.scores import Scores
from stt_ft.stages.evaluate import gate

GOLDEN = Path(__file__).parents[2] / "golden"
LIMITS = str(GOLDEN / "gate_tiny.yaml")


@pytest.fixture(scope="module")
def recorded():
    lines = gzip.decompress((GOLDEN / "gate_frames.jsonl.gz").read_bytes()).decode().splitlines()
    frames = [ClipFrames.from_json(json.loads(line)) for line in lines]
    return {name: [one for one in frames if one.model == name] for name in dict.fromkeys(one.model for one in frames)}


@pytest.fixture
def report_of(recorded, tmp_path):
    def write(name):
        judged = [ClipFrames.from_json({**one.to_json(), "model": "judged"}) for one in recorded[name]]
        report = build_report(Scores.of([*recorded["base"], *judged]), model="judged", baseline="base")
        write_report(tmp_path, report)
        return str(tmp_path)

    return write


def test_the_tuned_model_passes(report_of):
    gate(report_of("tuned"), config=LIMITS)


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("base", ["numbers.false_cut_offs", "numbers.written_as_words"]),
        ("zeroed", ["numbers.missed_ends", "ordinary.missed_ends"]),
        ("drifted", ["numbers.false_cut_offs"]),
        ("glyphs", ["numbers.written_as_words"]),
    ],
)
def test_models_that_got_worse_are_stopped_and_the_figure_is_named(report_of, name, broken):
    with pytest.raises(CheckFailed) as failure:
        gate(report_of(name), config=LIMITS)
    for figure in broken:
        assert figure in str(failure.value)


def test_drifted_heads_leave_the_text_as_it_was(recorded):
    """So that it is the heads, and nothing else, that the gate stops."""
    words = {name: [one.word_texts for one in recorded[name]] for name in ("tuned", "drifted", "zeroed")}
    assert words["drifted"] == words["tuned"] == words["zeroed"]
