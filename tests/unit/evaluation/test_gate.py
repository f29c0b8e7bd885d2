import xml.etree.ElementTree as ET

import pytest
from sample_frames import report_on, told_otherwise

from stt_ft.core.errors import CheckFailed, ConfigError, DatasetError
from stt_ft.evaluation.build import build_report
from stt_ft.evaluation.gate import GateConfig, check_report, junit_xml, load_gate
from stt_ft.evaluation.report import read_report, write_report
from stt_ft.evaluation.scores import Scores
from stt_ft.stages.evaluate import gate


def failing(report, **checks):
    named = {name.replace("__", "."): limits for name, limits in checks.items()}
    return [result.name for result in check_report(report, GateConfig(checks=named)) if result.failed]


def test_the_shipped_gate_passes_the_tuned_model_and_stops_the_base(frames, report):
    assert not any(result.failed for result in check_report(report, load_gate()))
    base_twice = [
        type(one).from_json({**one.to_json(), "model": model}) for model in ("base", "tuned") for one in frames if one.model == "base"
    ]
    results = check_report(report_on(base_twice), load_gate())
    broken = {result.name for result in results if result.failed}
    assert {"numbers.false_cut_offs max", "numbers.false_cut_offs max_ratio", "numbers.written_as_words min"} <= broken


@pytest.mark.parametrize("sabotage", ["heads that never fire", "heads that always fire", "digits as glyphs"])
def test_the_shipped_gate_stops_a_sabotaged_model(frames, sabotage):
    for one in frames:
        if one.model == "tuned":
            if sabotage == "digits as glyphs":
                base = next(other for other in frames if other.model == "base" and other.clip == one.clip)
                object.__setattr__(one, "words", base.words)
            else:
                one.pause[:] = 0.0 if sabotage == "heads that never fire" else 1.0
    report = report_on(frames)
    assert any(result.failed for result in check_report(report, load_gate()))


def test_each_limit_is_on_the_right_side(report):
    figures = {model: slices["numbers"]["digit_strings_exact"].value for model, slices in report.figures.items()}
    assert figures["tuned"] > figures["base"] > 0
    rise = figures["tuned"] - figures["base"]
    for limit, held, broken in [
        ("max", figures["tuned"], figures["tuned"] - 0.01),
        ("min", figures["tuned"], figures["tuned"] + 0.01),
        ("max_rise", rise, rise - 0.01),
        ("max_drop", -rise, -rise - 0.01),
        ("max_ratio", figures["tuned"] / figures["base"], 1.0),
    ]:
        assert failing(report, numbers__digit_strings_exact={limit: held}) == []
        assert failing(report, numbers__digit_strings_exact={limit: broken}) == [f"numbers.digit_strings_exact {limit}"]


def test_a_latency_that_does_not_exist_breaks_its_limit(report):
    endless = told_otherwise(report, {"figures.tuned.numbers.latency_p95_s.value": None})
    assert failing(endless, numbers__latency_p95_s={"max": 100.0}) == ["numbers.latency_p95_s max"]


def test_a_limit_against_no_baseline_is_refused(frames):
    alone = report_on(frames, baseline=None)
    with pytest.raises(CheckFailed, match="no baseline"):
        failing(alone, numbers__false_cut_offs={"max_rise": 0.0})


def test_mistakes_in_a_gate_are_listed_together(tmp_path):
    path = tmp_path / "gate.yaml"
    path.write_text("checks:\n  numbers.false_cutoffs: {max: 0.1}\n  numbers.missed_ends: {maximum: 0.1}\n")
    with pytest.raises(ConfigError) as error:
        load_gate(path)
    assert "did you mean numbers.false_cut_offs?" in str(error.value)
    assert "did you mean max?" in str(error.value)


def test_the_command_prints_every_line_and_fails_with_the_broken_ones(tmp_path, report, capsys):
    write_report(tmp_path, report)
    gate(str(tmp_path), junit=str(tmp_path / "gate.xml"))
    assert "FAIL" not in capsys.readouterr().out
    (tmp_path / "strict.yaml").write_text("checks:\n  numbers.latency_p50_s: {max: 0.01}\n  numbers.missed_ends: {max: 0.0}\n")
    with pytest.raises(CheckFailed, match=r"1 of 2 limits broken: numbers.latency_p50_s: 0\.\d\d s \[.*\] is not <= 0.01 s") as failure:
        gate(str(tmp_path), config=str(tmp_path / "strict.yaml"), junit=str(tmp_path / "gate.xml"))
    assert failure.value.exit_code == 1
    suite = ET.parse(tmp_path / "gate.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")


def test_junit_carries_the_line_of_what_failed(report):
    results = check_report(report, GateConfig(checks={"numbers.false_cut_offs": {"min": 0.5}}))
    assert 'message="numbers.false_cut_offs: 0.0 % [0.0…24.2] is not &gt;= 50.0 %"' in junit_xml(results)


def test_every_line_has_its_interval(report):
    lines = [result.line for result in check_report(report, load_gate())]
    assert lines[0] == "numbers.false_cut_offs: 0.0 % [0.0…24.2] <= 10.0 %"
    assert lines[1] == "numbers.false_cut_offs: 0.0 % [0.0…24.2] <= 13.9 % (baseline 83.3 %)"


def test_strict_asks_it_of_the_bad_end_of_the_interval(report):
    one = report.figures["tuned"]["numbers"]["digit_strings_exact"]
    for limits, expected in [
        ({"min": one.low - 0.01}, "passed"),
        ({"min": one.low + 0.01}, "failed"),
        ({"max": one.high - 0.01}, "failed"),
        ({"max": one.high + 0.01}, "passed"),
    ]:
        gate_of = GateConfig(checks={"numbers.digit_strings_exact": limits})
        if "min" in limits or one.value <= limits["max"]:
            assert [result.outcome for result in check_report(report, gate_of)] == ["passed"]
        assert [result.outcome for result in check_report(report, gate_of, strict=True)] == [expected]
    (line,) = [result.line for result in check_report(report, GateConfig(checks={"numbers.false_cut_offs": {"max": 0.1}}), strict=True)]
    assert line == "numbers.false_cut_offs: 0.0 % [0.0…24.2] <= 10.0 %, but its interval reaches 24.2 % (--strict)"


@pytest.mark.parametrize(("limit", "value"), [("max_rise", 0.1), ("max_drop", 0.1), ("max_ratio", 1.2)])
def test_strict_against_the_baseline_takes_the_interval_of_the_difference(report, limit, value):
    """The figures' own intervals are as wide as the page; that of the difference decides."""
    wide = {"value": 0.5, "low": 0.0, "high": 1.0, "num_clips": 12}
    report = told_otherwise(report, {f"figures.{model}.numbers.missed_ends": wide for model in report.models})
    for half, expected in ((0.09, "passed"), (0.11, "failed")):
        difference = {"value": 0.0, "low": -half, "high": half, "num_clips": 12}
        report = told_otherwise(report, {"differences.numbers.missed_ends": difference})
        gate_of = GateConfig(checks={"numbers.missed_ends": {limit: value}})
        assert [result.outcome for result in check_report(report, gate_of, strict=True)] == [expected]


def test_an_interval_without_end_breaks_a_strict_limit(report):
    endless = told_otherwise(report, {"figures.tuned.numbers.latency_p95_s.high": None})
    (result,) = check_report(endless, GateConfig(checks={"numbers.latency_p95_s": {"max": 9.0}}), strict=True)
    assert result.failed
    assert result.line.endswith("but its interval has no end (--strict)")


def test_an_optional_slice_without_clips_is_skipped_and_said(tmp_path, report, capsys):
    write_report(tmp_path, report)
    gate(str(tmp_path), junit=str(tmp_path / "gate.xml"))
    assert "skip  hesitant.false_cut_offs max: no hesitant clips" in capsys.readouterr().out
    suite = ET.parse(tmp_path / "gate.xml").getroot()
    assert (suite.get("failures"), suite.get("skipped")) == ("0", "7")  # three of slices, four of calls
    skipped = next(case for case in suite if case.get("name") == "hesitant.false_cut_offs max")
    assert [child.tag for child in skipped] == ["skipped"]


def test_a_slice_that_must_be_there_is_not_skipped(frames):
    alone = report_on([one for one in frames if one.kind == "ordinary"])
    assert failing(alone, numbers__missed_ends={"max": 1.0}) == ["numbers.missed_ends max"]


def test_the_hesitant_are_held_to_their_limit_where_there_are_any(mixed_frames):
    report = report_on(mixed_frames)
    assert failing(report, hesitant__false_cut_offs={"max": 0.1}) == []
    as_base = build_report(Scores.of(one for one in mixed_frames if one.model == "base"), model="base")
    assert failing(as_base, hesitant__false_cut_offs={"max": 0.1}) == ["hesitant.false_cut_offs max"]


def test_the_command_is_strict_when_asked(tmp_path, report):
    write_report(tmp_path, report)
    with pytest.raises(CheckFailed, match="but its interval reaches"):
        gate(str(tmp_path), strict=True)


def test_a_report_that_is_not_there_or_of_another_version_is_named(tmp_path):
    with pytest.raises(DatasetError, match="no such file"):
        read_report(tmp_path)
    (tmp_path / "report.json").write_text('{"schema_version": 99}')
    with pytest.raises(DatasetError, match="schema_version 99"):
        read_report(tmp_path)
