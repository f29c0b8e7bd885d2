"""What messages tell a user to install or to set exists: extras in pyproject.toml, keys in the recipe."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement

import stt_ft
from stt_ft.core.config import describe
from stt_ft.core.recipe import Recipe

PACKAGE = Path(stt_ft.__file__).parent
PYPROJECT = (PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8")
EXTRA = re.compile(r"stt-ft\[([^\]{]+)\]")
SECTIONS = {doc.key.partition(".")[0] for doc in describe(Recipe) if "." in doc.key} | {"evaluation", "pause", "log", "merge"}
KEY = re.compile(rf"(?<![\w./])(?:--)?((?:{'|'.join(sorted(SECTIONS))})\.[a-z_]+)\b(?!\()")
FILE_ENDS = ("py", "yaml", "json", "jsonl", "png", "safetensors", "md")


def extras() -> set[str]:
    """Return the names of pyproject's optional dependencies (tomllib is not in Python 3.10)."""
    table = PYPROJECT.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    return set(re.findall(r"^(\w+) = \[", table, re.MULTILINE))


def texts() -> Iterator[tuple[str, str]]:
    """Yield every string in the package's code, docstrings too, with the file and line where it stands."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield f"{path.relative_to(PACKAGE)}:{node.lineno}", node.value


def test_every_extra_that_is_named_exists():
    named = {(place, extra) for place, text in texts() for extra in EXTRA.findall(text)}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "MissingExtra" and isinstance(node.args[1], ast.Constant):
                named.add((f"{path.relative_to(PACKAGE)}:{node.lineno}", str(node.args[1].value)))
    assert named
    assert {(place, extra) for place, extra in named if not set(extra.split(",")) <= extras()} == set()


def test_every_extra_is_a_requirement_that_can_be_read():
    assert {"synth", "vad", "dev"} <= extras()
    assert Requirement(f"stt-ft[{','.join(sorted(extras()))}]").extras == extras()


def test_every_key_that_is_named_exists():
    keys = {doc.key for doc in describe(Recipe)}
    named = {(place, key) for place, text in texts() for key in KEY.findall(text) if key.partition(".")[2] not in FILE_ENDS}
    assert {"loss.pause_targets", "optim.lr"} <= {key for _, key in named}
    assert {(place, key) for place, key in named if key not in keys and not place.startswith("core/recipe.py")} == set()
