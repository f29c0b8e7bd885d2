"""`stt-ft gate`: does a report keep to its limits? Exit 1 when it does not."""

from __future__ import annotations

_MARKS = {"passed": "ok  ", "failed": "FAIL", "skipped": "skip"}


def gate(report_dir: str, *, config: str | None = None, junit: str | None = None, strict: bool = False) -> None:
    """Hold a report to limits on its figures, absolute and against the baseline, and exit 1 when one is broken.

    Args:
        report_dir: what `stt-ft evaluate` wrote.
        config: limits as YAML; the shipped ones (stt_ft/evaluation/gate.yaml) when not given.
        junit: also write the results to this file as JUnit XML.
        strict: the bad end of each figure's 95 % interval must keep the limit too.
    """
    from pathlib import Path

    from stt_ft.core.atomic import write_text
    from stt_ft.core.errors import CheckFailed
    from stt_ft.evaluation.gate import check_report, junit_xml, load_gate
    from stt_ft.evaluation.report import read_report

    limits = load_gate(config)
    results = check_report(read_report(Path(report_dir)), limits, strict=strict)
    for result in results:
        print(f"{_MARKS[result.outcome]}  {result.line}")
    if junit is not None:
        write_text(Path(junit), junit_xml(results))
    failed = [result for result in results if result.failed]
    if failed:
        raise CheckFailed(f"{report_dir}: {len(failed)} of {len(results)} limits broken: " + "; ".join(result.line for result in failed))
