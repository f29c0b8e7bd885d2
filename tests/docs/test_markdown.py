"""Markdown files: lines of at most 100 columns, and links to files and headings that exist."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from doc_blocks import ROOT, markdown_files

WIDTH = 100
FILES = markdown_files()
WRITTEN = [path for path in FILES if "results" not in path.parts]
"""All but the measurements, whose text the benches in tools/bench/ print."""
GUIDES = [path for path in WRITTEN if path.name not in ("decisions.md", "vad.md", "tiny_model_card.md") and "assets" not in path.parts]
"""What users read, without the tables of figures in the files named here."""


def prose(path: Path) -> list[tuple[int, str]]:
    """Return the lines of a file that are neither code nor tables, by number."""
    kept, fenced = [], False
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced and not line.startswith("    ") and not line.lstrip().startswith("|"):
            kept.append((number, line))
    return kept


def anchors(path: Path) -> set[str]:
    """Return the anchors that GitHub gives to a file's headings."""
    headings = [match[1] for _, line in prose(path) if (match := re.match(r"#+ (.+)", line))]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: str(path.relative_to(ROOT)))
def test_prose_keeps_to_100_columns(path: Path):
    """A line that is one link, with or without a bullet, may be longer: it cannot be broken."""
    link = re.compile(r"\s*[-*]?\s*!?(\[[^\]]*\]\([^)]*\)|\[[^\]]*\]: \S+|<?https?://\S+)\S*")
    assert [number for number, line in prose(path) if len(line) > WIDTH and not link.fullmatch(line)] == []


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: str(path.relative_to(ROOT)))
def test_code_and_tables_of_a_guide_keep_to_100_columns(path: Path):
    lines = path.read_text(encoding="utf-8").splitlines()
    known = {line for _, line in prose(path)}
    assert [number for number, line in enumerate(lines, start=1) if len(line) > WIDTH and line not in known] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path):
    text = "\n".join(line for _, line in prose(path))
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / unquote(name)).resolve() if name else path
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []
