"""The commands of the documentation: each is understood by the command line, and the newcomer's path runs from end to end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from doc_blocks import ROOT, blocks, command_lines, markdown_files, notebook_shell_lines, refuse_unknown

from stt_ft.cli import main

README, NOTEBOOK = ROOT / "README.md", ROOT / "docs" / "colab.ipynb"
HISTORY = ("CHANGELOG.md", "decisions.md")
"""Files that quote commands as they once were."""

REAL_MODEL = "kyutai/stt-1b-en_fr-candle"


def readme_commands() -> list[list[str]]:
    return [words for block in blocks(README) if block.language == "sh" for words in command_lines(block.text)]


def test_the_readme_has_the_whole_path():
    used = {words[1] for words in readme_commands()}
    assert used >= {
        "demo",
        "init",
        "doctor",
        "record",
        "annotate",
        "convert",
        "split",
        "check",
        "encode",
        "train",
        "merge",
        "evaluate",
        "gate",
    }


@pytest.mark.parametrize(
    "path", [path for path in markdown_files() if path.name not in HISTORY], ids=lambda path: str(path.relative_to(ROOT))
)
def test_every_command_line_of_the_documentation_is_understood(path: Path):
    for block in blocks(path):
        for words in command_lines(block.text):
            try:
                refuse_unknown(words)
            except Exception as error:
                pytest.fail(f"{path.relative_to(ROOT)}, line {block.line}: {' '.join(words)}: {error}")


def test_the_notebook_is_valid_and_its_command_lines_are_understood():
    notebook = json.loads(NOTEBOOK.read_text())
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    cells = notebook["cells"]
    assert len({cell["id"] for cell in cells}) == len(cells)
    for cell in cells:
        wanted = {"id", "cell_type", "metadata", "source"} | ({"outputs", "execution_count"} if cell["cell_type"] == "code" else set())
        assert set(cell) == wanted
        assert cell.get("outputs", []) == []
    lines = command_lines("\n".join(notebook_shell_lines(NOTEBOOK)))
    assert {words[1] for words in lines} >= {"demo", "init", "train", "evaluate"}
    for words in lines:
        refuse_unknown(words)


def test_the_newcomers_path_runs(project: Path, capsys: pytest.CaptureFixture[str]):
    """README's commands from annotate to export; the tiny model stands in for Kyutai's, simulated takes for a microphone."""
    instead = {REAL_MODEL: "tiny", "configs/stt_1b_digits.yaml": "configs/tiny_cpu.yaml", "runs/stt_1b_digits": "runs/tiny"}
    more = {
        "train": ["--schedule.max_steps", "10", "--batch.batch_size", "2", "--threads", "1"],
        "evaluate": ["--set_on", "none", "--no_silero", "--device", "cpu"],
        "encode": ["--device", "cpu"],
    }
    path = [words for words in readme_commands() if words[1] != "studio"]  # which serves until it is stopped
    path = path[[words[1] for words in path].index("annotate") : [words[1] for words in path].index("export") + 1]
    assert len(path) == 10
    for words in path:
        command, *rest = (instead.get(word, word) for word in words[1:])
        if command == "split":  # ten clips are too few to be dealt out by speaker; they were recorded into splits
            continue
        if command == "annotate":
            rest = ["datasets/orders", "--aligner", "sphinx"]
        code = main([command, *rest, *more.get(command, [])])
        assert code == 0 or (command, code) == ("gate", 1), f"{' '.join(words)}: {capsys.readouterr().err}"
    assert (project / "export" / "orders" / "moshi-server.toml").is_file()
    assert (project / "report" / "report.html").is_file()
