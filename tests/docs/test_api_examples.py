"""docs/api.md: its examples run as they stand, one after the other, and name every public name."""

from __future__ import annotations

import re
from pathlib import Path

from doc_blocks import ROOT, blocks

import stt_ft

API = ROOT / "docs" / "api.md"


def test_every_example_runs(project: Path, capsys):
    names: dict[str, object] = {}
    for block in blocks(API):
        if block.language == "python":
            exec(compile("\n" * block.line + block.text, str(API), "exec"), names)
    assert names["transcript"].text in capsys.readouterr().out
    assert (project / "export" / "orders" / "moshi-server.toml").is_file()
    assert (project / "report" / "report.json").is_file()
    assert str(names["run"]) == "runs/tiny"


def test_the_table_has_every_public_name_and_no_other():
    rows = [line.split("|")[1] for line in API.read_text().splitlines() if line.startswith("| `")]
    assert sorted(name for row in rows for name in re.findall(r"`(\w+)`", row)) == stt_ft.__all__
