"""What Markdown names in backticks is there: files, modules, keys of the recipe, flags of commands."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from doc_blocks import ROOT, markdown_files

from stt_ft.core.config import describe
from stt_ft.core.recipe import Recipe
from stt_ft.stages import COMMANDS, stage

HISTORY = ("CHANGELOG.md", "decisions.md")
"""Files that quote names as they once were."""

FILES = [path for path in markdown_files() if path.name not in HISTORY and "results" not in path.parts]
PACKAGE = ROOT / "stt_ft"
ROOMS = [path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()]
OURS = (*ROOMS, "stt_ft", "tests", "tools", "docs", "configs", ".github", ".ci")
OTHERS = ("unmute", "rust", "silero_vad")
"""Where paths of other people's programs begin."""

KEYS = {doc.key for doc in describe(Recipe)}
SECTIONS = {key.split(".")[0] for key in KEYS if "." in key}
FLAGS_OF_OTHERS = {
    "--help",
    "--run-slow",
    "--nnodes",
    "--max-restarts",
    "--rdzv-conf",
    "--local-addr",
    "--gpus-per-node",
    "--cpus-per-task",
}


def named(path: Path) -> list[str]:
    """Return what stands in backticks in the prose and the tables of a Markdown file."""
    text = path.read_text(encoding="utf-8")
    return re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def by_file(files: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", files, ids=lambda path: str(path.relative_to(ROOT)))


@by_file([*FILES, ROOT / "CHANGELOG.md"])
def test_paths_exist(path: Path):
    missing = []
    for name in named(path):
        first, slash, _ = name.partition("/")
        is_path = slash and re.fullmatch(r"[\w./-]+", name) and (first in OURS or name.endswith(".py")) and first not in OTHERS
        if is_path and not any((folder / name).exists() for folder in (ROOT, PACKAGE, path.parent)):
            missing.append(name)
    assert missing == []


@by_file(FILES)
def test_names_in_modules_exist(path: Path):
    missing = []
    for name in named(path):
        parts = name.removeprefix("stt_ft.").split(".")
        if not re.fullmatch(r"[\w.]+", name) or parts[0] not in ROOMS or len(parts) < 2 or name in KEYS or name.endswith(".safetensors"):
            continue
        depth = next((depth for depth in range(len(parts), 0, -1) if PACKAGE.joinpath(*parts[:depth]).with_suffix(".py").is_file()), None)
        if depth is None or not all(word in PACKAGE.joinpath(*parts[:depth]).with_suffix(".py").read_text() for word in parts[depth:]):
            missing.append(name)
    assert missing == []


@by_file(FILES)
def test_recipe_keys_exist(path: Path):
    """`section.key`, `section.key: value` and `section.*`."""
    keys = [match[1] for name in named(path) if (match := re.match(r"(\w+\.\w+)(: .+)?$", name)) and match[1].split(".")[0] in SECTIONS]
    modules = {file.stem for file in PACKAGE.rglob("*.py")}
    assert [key for key in keys if key not in KEYS and key.split(".")[1] not in modules] == []


@by_file(FILES)
def test_flags_exist(path: Path):
    parameters = {f"--{name}" for command in COMMANDS for name in inspect.signature(stage(command)).parameters}
    known = {*parameters, *(flag.replace("--", "--no_") for flag in parameters), *(f"--{key}" for key in KEYS), *FLAGS_OF_OTHERS}
    flags = [
        flag for name in named(path) if name.startswith(("--", "stt-ft")) for flag in re.findall(r"--[\w.-]+", re.sub("'.*'", "", name))
    ]
    assert [flag for flag in flags if flag not in known] == []
