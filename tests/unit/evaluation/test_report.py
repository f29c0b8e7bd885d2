"""report.json: what is written is what is read, its schema is that of the types, and a file of another form is refused in one line."""

import json

import pytest
from sample_frames import report_on

from stt_ft.core.errors import DatasetError
from stt_ft.evaluation.report import SCHEMA_FILE, MeasuredSplit, TrainingCourse, read_report, schema, write_report
from stt_ft.evaluation.systems import tuned_systems
from stt_ft.metrics.endpointing import EndpointRule


def test_a_report_comes_back_from_disk_as_it_was(tmp_path, mixed_frames):
    training = TrainingCourse.of("runs/orders", [{"step": 1, "text_loss": 0.5, "pause_loss": None}], [])
    told = {"dataset": MeasuredSplit(name="orders", split="heldout"), "provenance": {"stage": "evaluate"}, "training": training}
    report = report_on(mixed_frames, systems=tuned_systems(mixed_frames, EndpointRule(), "dev"), **told)
    write_report(tmp_path, report)
    again = read_report(tmp_path)
    assert again == report
    assert again.to_json() == json.loads((tmp_path / "report.json").read_text()) == report.to_json()


def test_what_was_not_told_is_left_out_and_what_is_infinite_is_null(frames):
    for one in frames:
        one.pause[:] = 0.0
    value = report_on(frames, baseline=None).to_json()
    assert not {"dataset", "provenance", "training"} & set(value)
    assert value["baseline"] is None
    assert value["figures"]["tuned"]["all"]["latency_p50_s"]["value"] is None


def test_the_schema_on_disk_is_that_of_the_types():
    command = "import json; from stt_ft.evaluation.report import *; SCHEMA_FILE.write_text(json.dumps(schema(), indent=1) + chr(10))"
    assert json.loads(SCHEMA_FILE.read_text()) == schema(), f'write it anew: python -c "{command}"'


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"schema_version": 2}, "schema_version 2, where this version of stt-ft reads 3; evaluate again"),
        ({"model": None}, "model: Input should be a valid string; evaluate again"),
        ({"figures": {"tuned": {"all": {"brier": {"value": "low"}}}}}, "figures.tuned.all.brier.value: .*number"),
        ({"rule": {"head": -1}}, "rule: .*head must be 0 or more, got -1"),
    ],
)
def test_a_file_of_another_form_is_refused_by_the_key_at_fault(tmp_path, report, change, reason):
    (tmp_path / "report.json").write_text(json.dumps({**report.to_json(), **change}))
    with pytest.raises(DatasetError, match=f"report.json: {reason}") as error:
        read_report(tmp_path)
    assert "\n" not in str(error.value)


def test_keys_that_a_later_version_adds_are_passed_over(tmp_path, report):
    (tmp_path / "report.json").write_text(json.dumps({**report.to_json(), "new": 1}))
    assert read_report(tmp_path) == report
