"""The command line: finds the stage that a command names, refuses what it cannot understand, and turns errors into one line.

    stt-ft --help                what there is, along the path from recordings to a proven model
    stt-ft encode --help         one command
    stt-ft encode datasets/orders --base tiny

Values are read as Fire reads them, except that a parameter's annotation has the last word: digits given for a text stay a text. Unlike
under Fire, a flag that does not exist is refused before anything runs. Nothing heavy is imported until a stage is called.

Exit codes: 0 done, 1 a check failed, 2 the user's mistake, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import stt_ft
from stt_ft.core.arguments import Parameter, UsageError, bind, parameters_of
from stt_ft.core.config import FieldDoc, describe, nearest
from stt_ft.core.errors import SttFtError
from stt_ft.core.field_types import show, type_name
from stt_ft.core.recipe import Recipe
from stt_ft.stages import COMMANDS, Command, stage

_WIDTH = 108
"""Columns of a help text."""

_EXIT_INTERRUPTED = 130
_EXIT_BROKEN_PIPE = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (by default the process's own) and return its exit code."""
    try:
        _run(sys.argv[1:] if argv is None else list(argv))
        sys.stdout.flush()
    except SttFtError as error:
        print(f"stt-ft: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("\nstt-ft: interrupted; the same command takes up the work again", file=sys.stderr)
        return _EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _EXIT_BROKEN_PIPE
    return 0


def _run(argv: list[str]) -> None:
    if not argv:
        raise UsageError("which command? stt-ft --help lists them; stt-ft demo shows the whole path")
    name, *rest = argv
    if name == "--version":
        print(f"stt-ft {stt_ft.__version__}")
    elif name in ("--help", "-h") or argv == ["help"]:
        print(overview())
    elif name == "help":
        print(command_help(_command(rest[0])))
    elif name.startswith("-"):
        raise UsageError(f"{name}: a command comes first; stt-ft --help lists them")
    else:
        _run_command(_command(name), rest)


def _command(name: str) -> Command:
    if name not in COMMANDS:
        raise UsageError(f"no such command: {name}{nearest(name, COMMANDS)} (see stt-ft --help)")
    return COMMANDS[name]


def _run_command(command: Command, argv: list[str]) -> None:
    before_words = argv[: argv.index("--")] if "--" in argv else argv
    if "--help" in before_words or "-h" in before_words:
        print(command_help(command))
        return
    function = stage(command.name)
    bound = bind(function, argv, command=command.name, recipe_keys=[doc.key for doc in _recipe_docs(command)])
    function(*bound.args, **bound.kwargs)


def _recipe_docs(command: Command) -> list[FieldDoc]:
    return describe(Recipe) if command.takes_recipe else []


# --- Help ---------------------------------------------------------------------------------------------------------------------------


def overview() -> str:
    """Return the text of `stt-ft --help`: the commands along the path, grouped, and how to begin."""
    lines = [
        "stt-ft fine-tunes Kyutai's streaming speech-to-text models so that dictated numbers come out as words,",
        "promptly, and the pause heads stop cutting speakers off in the middle of one.",
        "",
        "Usage: stt-ft COMMAND [WORDS] [--flags]      stt-ft COMMAND --help explains one command",
    ]
    group = None
    for command in COMMANDS.values():
        if command.group != group:
            group = command.group
            lines += ["", group]
        lines.append(f"  {command.name:<12}{command.summary}")
    path = ("ingest", "annotate", "convert", "split", "check", "encode", "train", "merge", "evaluate")
    lines += ["", "From a folder of recordings to a proven model", *(f"  {COMMANDS[name].example}" for name in path)]
    lines += [
        "",
        "A model is a hub repo (kyutai/stt-1b-en_fr-candle, the default), a directory, or the word tiny: a small model that",
        "comes with stt-ft and runs anywhere. Every stage reads what the one before left on disk and can be run again.",
        "Results for programs go to stdout, talk to stderr. Exit 0: done, 1: a check failed, 2: a mistake in what was asked.",
    ]
    return "\n".join(lines)


def command_help(command: Command) -> str:
    """Return the text of `stt-ft COMMAND --help`, from the docstring and signature of its stage."""
    function = stage(command.name)
    summary, description, docs = _docstring(function)
    parameters = parameters_of(function)
    words, flags = [p for p in parameters if p.positional], [p for p in parameters if not p.positional]
    required = "".join(f" {p.label} {p.name.upper()}" for p in flags if p.required)
    optional = " [--flags]" if any(not p.required for p in flags) or command.takes_recipe else ""
    usage = " ".join(["stt-ft", command.name, *(p.label if p.required else f"[{p.label}]" for p in words)])
    lines = [f"stt-ft {command.name}: {command.summary}", "", f"Usage: {usage}{required}{optional}", ""]
    lines += [line for text in (summary, description) if text for line in [*_paragraphs(text), ""]]
    for heading, group in (("Words", words), ("Flags", flags)):
        if group:
            lines += [f"{heading}:", *(line for p in group for line in _entry(*_describe(p, docs.get(p.name, "")))), ""]
    recipe_docs = _recipe_docs(command)
    if recipe_docs:
        lines += ["Keys of the recipe; each can be given as a flag, which wins over the file. A file that says `inherit: OTHER.yaml` has"]
        lines += ["the keys of that file beside it too, and its own win; args.yaml in the run directory has them all:"]
        lines += [line for doc in recipe_docs for line in _entry(f"--{doc.key}", _doc_of(doc.type_name, doc.default, doc.doc))]
        lines += [""]
    return "\n".join([*lines, "Example:", f"  {command.example}"])


def _docstring(function: Callable[..., Any]) -> tuple[str, str, dict[str, str]]:
    """Return summary, description and parameter -> documentation of a Google-style docstring."""
    from fire import docstrings

    info = docstrings.parse(function.__doc__ or "")
    documented = {argument.name.lstrip("*"): argument.description or "" for argument in info.args or ()}
    return info.summary or "", info.description or "", documented


def _describe(parameter: Parameter, doc: str) -> tuple[str, str]:
    default = None if parameter.required else show(parameter.default) if not isinstance(parameter.default, str) else parameter.default
    return parameter.label, _doc_of(type_name(parameter.hint), default, doc)


def _doc_of(kind: str, default: str | None, doc: str) -> str:
    """Return one parameter's documentation with its type and default; a switch that is off and a value that is not given go unsaid."""
    facts = [kind] if default is None else [kind, f"default {default}"] if default not in ("none", "false") else [kind]
    return f"{' '.join(doc.split())} [{'; '.join(facts)}]"


def _entry(label: str, text: str) -> list[str]:
    indent = " " * 26
    lines = textwrap.wrap(text, _WIDTH - len(indent), break_on_hyphens=False)
    if len(label) > len(indent) - 4:
        return [f"  {label}", *(indent + line for line in lines)]
    return [f"  {label:<{len(indent) - 2}}{lines[0]}", *(indent + line for line in lines[1:])]


def _paragraphs(text: str) -> list[str]:
    """Return `text` wrapped paragraph by paragraph; indented blocks (examples) stay as they are."""
    lines: list[str] = []
    for paragraph in text.split("\n\n"):
        lines += ["", *([paragraph] if paragraph.startswith("  ") else textwrap.wrap(" ".join(paragraph.split()), _WIDTH))]
    return lines[1:]


if __name__ == "__main__":
    sys.exit(main())
