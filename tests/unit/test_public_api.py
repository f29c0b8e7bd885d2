"""The public face: every name resolves where its table says, costs nothing until asked for, and is known to type checkers."""

from __future__ import annotations

import ast
import inspect
import json
import os
import pkgutil
import re
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import stt_ft

ROOT = Path(__file__).parents[2]
VERBS = ("annotate", "convert", "encode", "evaluate", "export_model", "load_recipe", "merge", "open_model", "train")


def test_every_public_name_is_what_its_home_holds():
    for name in stt_ft.__all__:
        module, _, attribute = stt_ft._HOMES[name].partition(":")
        assert getattr(stt_ft, name) is getattr(sys.modules[module], attribute)
    assert sorted(stt_ft._HOMES) == stt_ft.__all__
    assert set(stt_ft.__all__) <= set(dir(stt_ft))


def test_type_checkers_are_told_the_same_homes():
    (block,) = (
        node for node in ast.parse(Path(stt_ft.__file__).read_text()).body if isinstance(node, ast.If) and isinstance(node.test, ast.Name)
    )
    told = {
        alias.asname or alias.name: f"{node.module}:{alias.name}"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert told == stt_ft._HOMES


def test_no_public_name_is_also_a_room():
    """Importing `stt_ft.export` would put the package in the place of a verb called export."""
    assert {module.name for module in pkgutil.iter_modules(stt_ft.__path__)} & set(stt_ft.__all__) == set()


def test_a_name_that_is_not_public_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'stt_ft' has no attribute 'Trancriber'"):
        stt_ft.Trancriber  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]


def test_importing_the_package_imports_nothing_else():
    program = "import sys; before = set(sys.modules); import stt_ft; print(*sorted(set(sys.modules) - before))"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    imported = answer.stdout.split()
    assert [name for name in imported if name.partition(".")[0] not in sys.stdlib_module_names] == ["stt_ft"]


@pytest.mark.parametrize("name", VERBS)
def test_a_verb_says_what_it_takes_and_returns_what_it_made(name: str):
    function = getattr(stt_ft, name)
    hints = typing.get_type_hints(function)
    assert set(hints) == {*inspect.signature(function).parameters, "return"}
    assert hints["return"] is not type(None)


def test_the_newest_section_of_the_changelog_is_this_version():
    """Work that is not released yet may stand above it, under Unreleased."""
    sections = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    newest = next((section for section in sections if section != "Unreleased"), "no section but Unreleased")
    assert re.fullmatch(rf"{re.escape(stt_ft.__version__)} [-–—] \d{{4}}-\d\d-\d\d", newest), newest
    assert sections.index(newest) <= 1


@pytest.mark.slow
def test_pyright_knows_the_type_of_every_public_name(tmp_path: Path):
    """Of its whole report, what is said of the modules that hold public names; the rooms below are checked by `make check`."""
    pytest.importorskip("pyright")
    command = [
        sys.executable,
        "-m",
        "pyright",
        "--pythonpath",
        sys.executable,
        "--verifytypes",
        "stt_ft",
        "--ignoreexternal",
        "--outputjson",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    answer = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    symbols = json.loads(answer.stdout[answer.stdout.index("{") :])["typeCompleteness"]["symbols"]
    public = tuple(home.replace(":", ".") for home in stt_ft._HOMES.values())
    ours = {
        symbol["name"]: symbol["isTypeKnown"]
        for symbol in symbols
        if re.match(rf"({'|'.join(map(re.escape, public))})(\.|$)", symbol["name"])
    }
    assert set(public) <= set(ours)
    assert [name for name, is_known in ours.items() if not is_known] == []
