"""Reading the documentation as tests do: its code blocks, and the stt-ft command lines in them."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True)
class Block:
    """A code block. `language` is "" for one that is indented or names none; `line` is where it begins, counted from 1."""

    language: str
    text: str
    line: int


def markdown_files() -> list[Path]:
    """Return every Markdown file of the repository."""
    folders = ("docs", ".github", "recordings", "tools", "stt_ft")
    below = [path for folder in folders for path in (ROOT / folder).rglob("*.md") if "target" not in path.parts]
    return sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "datasets" / "README.md", *below])


def blocks(path: Path) -> Iterator[Block]:
    """Yield the fenced and the indented code blocks of a Markdown file, in order."""
    language, begin, body = None, 0, []
    for number, line in enumerate([*path.read_text(encoding="utf-8").splitlines(), ""], start=1):
        fence = re.match(r"\s*```(\w*)", line)
        if fence and language is None:
            language, begin, body = fence[1], number, []
        elif fence:
            yield Block(language=language or "", text="\n".join(body), line=begin)
            language = None
        elif language is not None:
            body.append(line)
        elif line.startswith("    "):
            yield Block(language="", text=line, line=number)


def notebook_shell_lines(path: Path) -> list[str]:
    """Return what a notebook's code cells run in a shell: the lines that begin with "!"."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    lines = [line for cell in cells if cell["cell_type"] == "code" for line in "".join(cell["source"]).splitlines()]
    return [line.removeprefix("!") for line in lines if line.startswith("!")]


def command_lines(text: str) -> list[list[str]]:
    """Return the words of each stt-ft command line in a block of shell, without remarks: what follows "#", or three spaces and more."""
    found = []
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        command = re.match(r"\s*(?:\$ |- |- run: )?(stt-ft [a-z].*)", line)
        if command:
            words = shlex.split(re.split(r"\s+#|\s{3,}", command[1])[0])
            found.append(words[: next((i for i, word in enumerate(words) if word in ("|", "&&", ">", ";")), None)])
    return found


def refuse_unknown(words: list[str]) -> None:
    """Hold one command line against the real one; raises `UsageError` where a command, word or flag is not known."""
    from stt_ft import cli
    from stt_ft.stages import COMMANDS, stage

    assert words[1] in COMMANDS, f"no such command: {words[1]}"
    if "--help" not in words:
        keys = [doc.key for doc in cli._recipe_docs(COMMANDS[words[1]])]
        cli.understood(stage(words[1]), words[2:], command=words[1], recipe_keys=keys)
