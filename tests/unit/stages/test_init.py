"""`stt-ft init`: what it writes is what is shipped, recipes resolve there, and nothing of the user's is overwritten."""

from __future__ import annotations

import runpy
import shutil
from pathlib import Path

import pytest

from stt_ft import assets
from stt_ft.cli import main
from stt_ft.core.config import load_config
from stt_ft.core.recipe import Recipe

ROOT = Path(__file__).parents[3]


def test_init_writes_every_shipped_recipe_and_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["init", str(tmp_path / "orders")]) == 0
    assert capsys.readouterr().out == ""
    for folder in ("configs", "recordings/scripts"):
        shipped, written = ({path.name: path.read_bytes() for path in (root / folder).iterdir()} for root in (ROOT, tmp_path / "orders"))
        assert written == shipped
    assert (tmp_path / "orders" / "README.md").is_file()


def test_the_recipes_that_init_writes_resolve_what_they_inherit(tmp_path: Path):
    assert main(["init", str(tmp_path)]) == 0
    recipes = [path for path in (tmp_path / "configs").glob("*.yaml") if path.name != "digits_common.yaml"]
    assert len(recipes) >= 4
    for path in recipes:
        assert load_config(Recipe, path) == load_config(Recipe, ROOT / "configs" / path.name)


def test_init_overwrites_nothing_and_names_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    edited = tmp_path / "configs" / "stt_1b_digits.yaml"
    edited.parent.mkdir()
    edited.write_text("mine: 1\n")
    assert main(["init", str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"stt-ft: {edited}: is there and differs")
    assert message.count("\n") == 1
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [edited]
    assert edited.read_text() == "mine: 1\n"


def test_init_again_writes_only_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["init", str(tmp_path)]) == 0
    kept, gone = tmp_path / "configs" / "tiny_cpu.yaml", tmp_path / "README.md"
    modified_ns = kept.stat().st_mtime_ns
    gone.unlink()
    capsys.readouterr()
    assert main(["init", str(tmp_path)]) == 0
    assert ": 1 files written" in capsys.readouterr().err
    assert gone.is_file()
    assert kept.stat().st_mtime_ns == modified_ns


@pytest.mark.parametrize("name", ["taken", "taken/below"])
def test_a_file_in_the_place_of_the_directory_is_one_line(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "taken").write_text("a file\n")
    assert main(["init", str(tmp_path / name)]) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"stt-ft: {tmp_path / name}: cannot be written to: ")
    assert message.count("\n") == 1


def test_the_wheel_packs_what_init_and_demo_look_for(tmp_path: Path):
    """Laid out as in a wheel, `shipped` finds the packed files; pyproject.toml says that the wheel packs each of them there."""
    package = Path(assets.__file__).parent
    packed = tmp_path / "assets"
    packed.mkdir()
    shutil.copy(package / "__init__.py", packed)
    module = runpy.run_path(str(packed / "__init__.py"))
    packing = (ROOT / "pyproject.toml").read_text()
    for folder in ("configs", "recordings/scripts"):
        assert f'"{folder}" = "stt_ft/assets/{folder}"' in packing
        (packed / folder).mkdir(parents=True)
        assert module["shipped"](folder) == packed / folder
        assert assets.shipped(folder) == ROOT / folder
