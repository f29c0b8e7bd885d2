"""The command line: unknown words and flags are refused before anything runs, Fire calls the command, errors become one line.

    stt-ft --help                what there is, along the path from recordings to a proven model
    stt-ft encode --help         one command
    stt-ft encode datasets/orders --base tiny

Fire binds a command's words and flags to the parameters of its function and calls it. Every flag and word is checked before, since Fire
calls a function first and reports unknown arguments afterwards. Values are read by the parameters' annotations, so that
digits given for a text stay a text. Nothing heavy is imported until a stage is called.

Exit codes: 0 done, 1 a check failed, 2 a mistake in what was asked or a disk that refuses, 130 interrupted.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import inspect
import math
import os
import re
import sys
import textwrap
import traceback
import types
import typing
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Literal, Union

import stt_ft
from stt_ft.core.config import FieldDoc, describe, nearest, show, type_name, typed_value, what_became_of
from stt_ft.core.cores import settle_threads
from stt_ft.core.errors import SttFtError
from stt_ft.core.storage import refusal
from stt_ft.stages import COMMANDS, Command, stage

_WIDTH = 108
"""Columns of a help text."""

_NUMBER = re.compile(r"-\.?\d")


class UsageError(SttFtError):
    """A command line that cannot be understood."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line, by default that of the process, and return its exit code."""
    _open_closed_streams()
    try:
        try:
            _run(sys.argv[1:] if argv is None else list(argv))
        finally:
            sys.stdout.flush()
    except SttFtError as error:
        _close_what_was_at_work(error)
        return _refuse(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _refuse("interrupted; the same command takes up the work again", 130, begin="\n")  # 128 and the signal, as shells have it
    except BrokenPipeError:
        _drop_output()
        return 141
    except UnicodeEncodeError as error:
        way_out = "set PYTHONUTF8=1, or a UTF-8 locale such as LANG=C.UTF-8"
        return _refuse(f"{error.object[:80]!r} cannot be said in {error.encoding}, the encoding of this terminal; {way_out}", 2)
    except MemoryError as error:
        return _refuse(f"out of memory{f': {error}' if str(error) else ''}", 2)
    except OSError as error:
        if error.filename is None and error.errno in (errno.ENOSPC, errno.EBADF, errno.EIO, errno.EFBIG, errno.EDQUOT):
            _drop_output()  # files have names
            return _refuse(f"standard output: {error.strerror}", 2)
        return _refuse(f"{error.filename}: {error.strerror}" if error.filename else str(error), 2)
    except Exception as error:
        reason = refusal(error)  # an object store that went away in the middle; its errors are no `OSError`
        if reason is None:
            raise
        return _refuse(reason, 2)
    return 0


def _close_what_was_at_work(error: BaseException | None) -> None:
    """Let go of what the frames of an error hold: a progress bar has its last say before the error has it, processes end."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__context__


def _refuse(message: str, code: int, *, begin: str = "") -> int:
    """Say why a command ends with `code`, where anybody can hear it, and return the code."""
    with contextlib.suppress(OSError):
        print(f"{begin}stt-ft: {message}", file=sys.stderr, flush=True)
    return code


def _open_closed_streams() -> None:
    """Give the process the streams with which it was started closed (`stt-ft … >&-`), lest the next file opened be taken for them.

    What is said on stderr goes nowhere then; what belongs on stdout fails when it is written, as it does for `cat`.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            with contextlib.suppress(OSError):
                os.fstat(number)
                continue  # open after all; Python has not been given it
            flags = os.O_WRONLY if name == "stderr" else os.O_RDONLY
            os.dup2(os.open(os.devnull, flags), number)
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def _drop_output() -> None:
    """Let what cannot be written to stdout go nowhere, lest Python try again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(argv: list[str]) -> None:
    if not argv:
        raise UsageError("which command? stt-ft --help lists them; stt-ft demo shows the whole path")
    name, *rest = argv
    if name == "--version":
        print(f"stt-ft {stt_ft.__version__}")
    elif name in ("--help", "-h") or argv == ["help"]:
        print(overview())
    elif name.startswith("-"):
        raise UsageError(f"{name}: a command comes first; stt-ft --help lists them")
    elif name == "help":
        print(command_help(_command(rest[0])))
    elif "--help" in rest or "-h" in rest:
        print(command_help(_command(name)))
    else:
        settle_threads()
        recipe_keys = [doc.key for doc in _recipe_docs(_command(name))]
        call(stage(name), rest, command=name, recipe_keys=recipe_keys)


def _command(name: str) -> Command:
    if name not in COMMANDS:
        raise UsageError(f"no such command: {name}{nearest(name, COMMANDS)} (see stt-ft --help)")
    return COMMANDS[name]


def _recipe_docs(command: Command) -> list[FieldDoc]:
    if not command.takes_recipe:
        return []
    from stt_ft.core.recipe import Recipe

    return describe(Recipe)


def _what_became_of(key: str) -> str:
    from stt_ft.core.recipe import Recipe

    became = what_became_of(Recipe, key)
    return f" ({became})" if became else ""


# --- What may be typed --------------------------------------------------------------------------------------------------------------


def parameters_of(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Return the parameters of a command's function (positional ones are words, keyword-only ones flags) with annotations resolved.

    The parameter that gathers keys of a recipe is left out.
    """
    hints = typing.get_type_hints(function)
    parameters = inspect.signature(function).parameters.values()
    return [p.replace(annotation=hints.get(p.name, str)) for p in parameters if p.kind is not p.VAR_KEYWORD]


def label_of(parameter: inspect.Parameter) -> str:
    """Return the parameter as usage shows it: MODEL_DIR, AUDIO..., --batch_size."""
    if parameter.kind is parameter.KEYWORD_ONLY:
        return f"--{parameter.name}"
    return parameter.name.upper() + ("..." if parameter.kind is parameter.VAR_POSITIONAL else "")


def _is_required(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty and parameter.kind is not parameter.VAR_POSITIONAL


def call(function: Callable[..., Any], argv: Sequence[str], *, command: str, recipe_keys: Sequence[str] = ()) -> None:
    """Let Fire call `function` with the words and flags of `argv`, once all of them are understood and fit."""
    from fire import Fire, decorators

    line = understood(function, argv, command=command, recipe_keys=recipe_keys)
    readers = {p.name: functools.partial(_read, p, command) for p in parameters_of(function)}
    decorators.SetParseFns(**readers)(function)
    decorators.SetParseFn(str)(function)  # further words stay as typed, and so do keys of a recipe, whose types read them
    Fire({command: function}, command=[command, *line], name="stt-ft", serialize=_unsaid)


def _unsaid(made: object) -> None:
    """What a command returns is for Python; on a command line it has said all there is to say."""


def understood(function: Callable[..., Any], argv: Sequence[str], *, command: str, recipe_keys: Sequence[str] = ()) -> list[str]:
    """Return `argv`, the words after `command`, as Fire cannot misread them: each flag as `--name=value`.

    Dotted `recipe_keys` are flags too. Raises `UsageError` with the nearest valid name.
    """
    parameters = {p.name: p for p in parameters_of(function) if p.kind is not p.VAR_POSITIONAL}
    flags: dict[str, str] = {}
    words: list[str] = []
    pending = deque(argv)
    while pending:
        word = pending.popleft()
        if not _is_flag(word):
            words.append(word)
            continue
        flag, equals, value = word.partition("=")
        name = flag.lstrip("-").replace("-", "_")
        turned_off = name.removeprefix("no").removeprefix("_") if name.startswith("no") and name not in parameters else ""
        if turned_off in parameters and parameters[turned_off].annotation is bool:
            if equals:
                raise _refused(command, f"{flag} takes no value")
            name, equals, value = turned_off, "=", "false"
        if not flag.startswith("--") or (name not in parameters and name not in recipe_keys):
            if os.path.exists(word):
                words.append(os.path.join(os.curdir, word))  # a file whose name begins with a dash, as Fire takes it
                continue
            hint = _what_became_of(name) if recipe_keys else ""
            raise _refused(command, f"no such flag: {flag}{hint or nearest(name, [*parameters, *recipe_keys], '--')}")
        if name in flags:
            raise _refused(command, f"{flag} is given twice")
        is_switch = name in parameters and parameters[name].annotation is bool
        if not equals and is_switch and (not pending or pending[0].lower() not in ("true", "false")):
            value = "true"
        elif not equals:
            if not pending or _is_flag(pending[0]):
                raise _refused(command, f"{flag} needs a value")
            value = pending.popleft()
        flags[name] = value
    _check_words(function, words, flags, command)
    return [*(f"--{name}={value}" for name, value in flags.items()), *words]


def _check_words(function: Callable[..., Any], words: Sequence[str], flags: dict[str, str], command: str) -> None:
    """Raise `UsageError` for words that no parameter takes and for required parameters without a value."""
    parameters = parameters_of(function)
    takers = [p for p in parameters if p.kind is not p.KEYWORD_ONLY and p.name not in flags]
    few = not any(p.kind is p.VAR_POSITIONAL for p in takers)
    unexpected = [word for index, word in enumerate(words) if word == "-" or (few and index >= len(takers))]
    if unexpected:
        labels = " ".join(label_of(p) for p in parameters if p.kind is not p.KEYWORD_ONLY)
        raise _refused(command, f"unexpected {unexpected[0]!r}; it takes {labels or 'flags only'}")
    given = [*flags, *(p.name for p in takers[: len(words)])]
    missing = [label_of(p) for p in parameters if _is_required(p) and p.name not in given]
    if missing:
        raise _refused(command, f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing")


def _read(parameter: inspect.Parameter, command: str, text: str) -> Any:
    """Return the value of `text` for a parameter; Fire calls this for each."""
    value = typed_value(parameter.annotation, text)
    try:
        return _fitted(parameter.annotation, value)
    except (ValueError, OverflowError):
        raise _refused(command, f"{label_of(parameter)}: expected {type_name(parameter.annotation)}, got {show(value)}") from None


def _fitted(hint: Any, value: Any) -> Any:
    """Return `value` as the type `hint` wants it (an int becomes a float); raises `ValueError` where it does not fit."""
    for option in typing.get_args(hint) if typing.get_origin(hint) in (Union, types.UnionType) else (hint,):
        origin, arguments = typing.get_origin(option), typing.get_args(option)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if origin is list and isinstance(value, list):
            return [_fitted(arguments[0], item) for item in value]
        if origin is Literal:
            for choice in arguments:
                if value in (choice, str(choice)):
                    return choice
        elif option is float and is_number:
            return float(value)
        elif option is int and is_number and value == int(value):
            return int(value)
        elif option in (str, bool, type(None)) and isinstance(value, option):
            return value
    raise ValueError


def _is_flag(word: str) -> bool:
    return word.startswith("-") and word != "-" and not _NUMBER.match(word)


def _refused(command: str, message: str) -> UsageError:
    return UsageError(f"{command}: {message} (see stt-ft {command} --help)")


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
        "comes with stt-ft and runs anywhere. Every stage reads the files of the stage before it, and can be run again.",
        "Results for programs go to stdout, talk to stderr. Exit 0: done, 1: a check failed, 2: a mistake in what was asked.",
    ]
    return "\n".join(lines)


def command_help(command: Command) -> str:
    """Return the text of `stt-ft COMMAND --help`, from the docstring and signature of its stage."""
    function = stage(command.name)
    summary, description, docs = _docstring(function)
    parameters = parameters_of(function)
    words, flags = ([p for p in parameters if (p.kind is p.KEYWORD_ONLY) == are_flags] for are_flags in (False, True))
    required = "".join(f" {label_of(p)} {p.name.upper()}" for p in flags if _is_required(p))
    optional = " [--flags]" if any(not _is_required(p) for p in flags) or command.takes_recipe else ""
    usage = " ".join(["stt-ft", command.name, *(label_of(p) if _is_required(p) else f"[{label_of(p)}]" for p in words)])
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


def _describe(parameter: inspect.Parameter, doc: str) -> tuple[str, str]:
    if parameter.kind is parameter.VAR_POSITIONAL:
        return label_of(parameter), _doc_of(type_name(list[parameter.annotation]), "none", doc)
    default = parameter.default
    text = None if _is_required(parameter) else default if isinstance(default, str) else show(default)
    return label_of(parameter), _doc_of(type_name(parameter.annotation), text, doc)


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
