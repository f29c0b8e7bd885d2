import io

from rich.console import Console

from stt_ft.metrics.endpointing import EndpointRule
from stt_ft.report.build import build_report
from stt_ft.report.table import print_report


def test_table_fits_eighty_columns_and_holds_both_models(report):
    out = io.StringIO()
    print_report(report, Console(file=out, width=80, color_system=None))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    row = next(line for line in lines if "Written as words" in line)
    assert "0.0 % [0.0…24.2]" in row
    assert "100.0 % [75.8…100.0]" in row
    assert "+100.0 pt" in row
    assert "Better: false cut-offs inside numbers fell" in " ".join(lines)
    assert not any("…" in line and "[" not in line for line in lines)  # nothing was cut short


def test_table_of_one_model_has_no_change(frames):
    out = io.StringIO()
    print_report(build_report(frames, model="tuned", rule=EndpointRule()), Console(file=out, width=80, color_system=None))
    assert "change" not in out.getvalue()
