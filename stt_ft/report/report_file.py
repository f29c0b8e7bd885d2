"""report.json on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stt_ft.core.atomic import write_json
from stt_ft.core.errors import DatasetError
from stt_ft.report.build import SCHEMA_VERSION

REPORT_NAME, PAGE_NAME, FRAMES_NAME = "report.json", "report.html", "frames.jsonl"


def write_report(directory: Path, report: dict[str, Any]) -> None:
    """Write `report` as report.json of an evaluation directory."""
    write_json(directory / REPORT_NAME, report)


def read_report(directory: Path) -> dict[str, Any]:
    """Read report.json of an evaluation directory; raises `DatasetError` when there is none, or one of another version."""
    path = directory / REPORT_NAME
    try:
        report = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such file; `stt-ft evaluate MODEL_DIR DATASET --out {directory}` writes it") from None
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: not JSON: {error}") from None
    version = report.get("schema_version") if isinstance(report, dict) else None
    if version != SCHEMA_VERSION:
        raise DatasetError(f"{path}: schema_version {version}, where this version of stt-ft reads {SCHEMA_VERSION}; evaluate again")
    return report
