"""Configuration: frozen dataclasses read from YAML and dotted overrides by pydantic, with all mistakes listed together.

A configuration class is a keyword-only frozen dataclass that derives from `Config`; its sections are plain frozen dataclasses.
Annotations say type and limits (`Annotated[float, Limits(gt=0)]`), a string below each field documents it. All other
rules are checked in `__post_init__`, which raises `ValueError(*messages)`, each beginning with the field's name.

    recipe = load_config(Recipe, "configs/tiny_cpu.yaml", {"optim.lr": "1e-4"})

pydantic takes 0.2 s to import and to build a validator, so that only `load_config` and `schema_text` import it: help texts come from the
dataclasses themselves.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import functools
import inspect
import itertools
import json
import textwrap
import threading
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar, Union

from stt_ft.core.errors import ConfigError
from stt_ft.core.json_yaml import dump_yaml, parse_value, read_yaml

INHERIT = "inherit"
"""Key by which a file names another, relative to itself, whose keys it takes over; its own keys win."""

_FEW = 20
"""Names that a message lists whole; of more, only the nearest is named."""

_NONE_WORDS = ("none", "null", "~")

_WORDS = {
    "Input should be": "must be",
    "String should have": "must have",
    "a valid string": "a text",
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid boolean": "true or false",
    "a valid array": "a list",
    "an object": "keys and values",
}
"""pydantic's words for what was expected -> those of help texts."""


class Config:
    """Base of configuration classes: how pydantic reads them and their sections."""

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid", "strict": True, "allow_inf_nan": False, "use_attribute_docstrings": True}

    formerly: ClassVar[dict[str, str]] = {}
    """Dotted keys (or sections) of earlier versions -> what became of them, for messages."""


class Limits:
    """Limits of a number (gt, ge, lt, le) or a text (min_length) in an annotation, by pydantic's names: `Annotated[float, Limits(gt=0)]`.

    As `annotated_types` has them, whose import alone would take a quarter of `stt-ft --help`.
    """

    def __init__(self, **limits: float) -> None:
        self.limits = limits

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return {**handler(source), **self.limits}


Configuration = TypeVar("Configuration", bound=Config)


def load_config(cls: type[Configuration], path: str | Path, overrides: Mapping[str, Any] | None = None) -> Configuration:
    """Read the YAML file at `path` into `cls`, after setting the dotted keys of `overrides` ("optim.lr": 1e-4).

    A file that says `inherit: shared.yaml` also has the keys of that file, which lies beside it and inherits nothing itself; its own keys
    win, one by one within a section. An override that is a string is read as if typed: "1e-4" is a number where one is expected.

    Raises:
        ConfigError: lists every mistake by key: unknown keys with the nearest valid one or their fate, values of the wrong type or out of
            their limits, missing keys. A mistake in the inherited file is named with that file. `__post_init__` of a section is asked once
            its fields fit their annotations.
    """
    from pydantic import ValidationError

    own, inherited, shared = _read_files(path)
    values = _laid_over(own, inherited)
    mistakes = _set_overrides(cls, values, overrides or {})
    taken_over = _dotted(inherited) - _dotted(own) - frozenset(overrides or ())

    def told(key: str, message: str) -> str:
        where = f" (in {shared})" if key in taken_over or any(name.startswith(f"{key}.") for name in taken_over) else ""
        return f"{'--' if key in (overrides or ()) else ''}{key}{message}{where}"

    hints = typing.get_type_hints(cls)
    given = {key: value for key, value in values.items() if value is not None or not dataclasses.is_dataclass(hints.get(key))}
    config: Any = None
    try:
        config = _adapter(cls).validate_json(json.dumps(_json_ready(given)), strict=True)
    except ValidationError as error:
        mistakes += [(key, message) for fault in error.errors() for key, message in _mistakes_of(cls, fault)]
    except RecursionError:
        raise ConfigError(f"{path}: a value that holds itself") from None
    lines = list(dict.fromkeys(told(key, message) for key, message in mistakes))
    if lines:
        raise ConfigError(f"{path}: " + (lines[0] if len(lines) == 1 else "\n  ".join([f"{len(lines)} mistakes", *lines])))
    return config


def typed(cls: type[Configuration], values: Any) -> Configuration:
    """Return JSON `values` as `cls`; raises `ConfigError` with every mistake by key, on one line."""
    from pydantic import ValidationError

    try:
        return _adapter(cls).validate_json(json.dumps(_json_ready(values)), strict=True)
    except ValidationError as error:
        mistakes = [f"{key}{message}" for fault in error.errors() for key, message in _mistakes_of(cls, fault)]
        raise ConfigError("; ".join(dict.fromkeys(mistakes))) from None
    except RecursionError:
        raise ConfigError("nested too deep") from None


def _read_files(path: str | Path) -> tuple[dict[str, Any], dict[str, Any], Path | None]:
    """Return the keys of the file at `path`, the keys of the file that it inherits from, and the path of that file."""
    own = read_yaml(path)
    if INHERIT not in own:
        return own, {}, None
    name = own.pop(INHERIT)
    if not isinstance(name, str) or not name:
        raise ConfigError(f"{path}: {INHERIT}: expected the name of a file, got {show(name)}")
    shared = Path(path).parent / name
    try:
        inherited = read_yaml(shared)
    except ConfigError as error:
        raise ConfigError(f"{path}: {INHERIT}: {error}") from None
    if INHERIT in inherited:
        raise ConfigError(f"{path}: {INHERIT}: {shared} itself inherits; a file that is inherited from stands alone")
    return own, inherited, shared


def _laid_over(own: Mapping[Any, Any], inherited: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return the keys of both; those of `own` win, and a section that `own` leaves empty is the inherited one."""
    merged = dict(inherited)
    for key, value in own.items():
        below = inherited.get(key)
        is_laid_over = value is None or isinstance(value, Mapping)
        merged[key] = _laid_over(value or {}, below) if is_laid_over and isinstance(below, Mapping) else value
    return merged


def _dotted(values: Mapping[Any, Any], prefix: str = "") -> frozenset[str]:
    """Return the dotted names of all values, sections unfolded."""
    names: set[str] = set()
    for key, value in values.items():
        names |= _dotted(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}"}
    return frozenset(names)


def _set_overrides(cls: type[Config], values: dict[Any, Any], overrides: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Set dotted keys in nested `values`, making the sections on the way; return the keys that cannot be set, with the reason."""
    mistakes = []
    for key, value in overrides.items():
        *sections, name = key.split(".")
        place, section_class = values, _section(cls, sections)
        for depth, section in enumerate(sections, start=1):
            if place.get(section) is None:
                place[section] = {}
            place = place[section]
            if not isinstance(place, dict):
                mistakes.append((key, f": {'.'.join(sections[:depth])} is {show(place)}, which has no keys"))
                break
        else:
            hint = typing.get_type_hints(section_class).get(name, Any) if section_class else Any
            place[name] = typed_value(hint, value) if isinstance(value, str) else value
    return mistakes


def _section(cls: Any, names: Iterable[str | int]) -> Any:
    """Return the dataclass of the section that `names` lead to from `cls`, None where there is no such section."""
    for name in names:
        if isinstance(name, int):  # a place in a list, whose type the key before it led to
            continue
        cls = typing.get_type_hints(cls).get(name) if dataclasses.is_dataclass(cls) else None
        cls = typing.get_args(cls)[0] if typing.get_origin(cls) in (tuple, list) else cls
    return cls if dataclasses.is_dataclass(cls) else None


_PARSING = threading.Lock()
"""Pydantic parses the source of a class for its docstrings, and two threads that build syntax trees at once fail in CPython 3.11."""


@functools.cache
def _adapter(cls: type[Config]) -> Any:
    """Return pydantic's validator of `cls`."""
    from pydantic import TypeAdapter

    with _PARSING:
        return TypeAdapter(cls)


def _json_ready(value: Any) -> Any:
    """Return `value` ready for JSON and strict reading: floats such as 1e3 become integers, types that JSON lacks become text."""
    if isinstance(value, Mapping):
        return {str(key): _json_ready(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_ready(item) for item in value]
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def _mistakes_of(cls: type[Config], fault: Any) -> list[tuple[str, str]]:
    """Return an error of pydantic as pairs of a dotted key and the message that follows the key."""
    key = ".".join(str(part) for part in fault["loc"] if isinstance(part, str))
    given, kind = fault["input"], fault["type"]
    prefix = f"{key}." if key else ""
    if kind == "value_error":
        subjects = [(message.split(" ", 1)[0].rstrip(":,"), message) for message in map(str, fault["ctx"]["error"].args)]
        return [(f"{prefix}{subject}", message[len(subject) :]) for subject, message in subjects]
    if kind == "missing":
        return [(key, ": missing")]
    below = [f"{prefix}{name}" for name in given] if isinstance(given, Mapping) else []
    became = next((what_became_of(cls, name) for name in (key, *below) if what_became_of(cls, name)), "")
    if became:
        return [(key, f": no such key any more ({became})")]
    if kind == "unexpected_keyword_argument":
        *sections, name = fault["loc"]
        names = [f.name for f in dataclasses.fields(_section(cls, sections))]
        return [(key, f": no such key{nearest(str(name), names, key.removesuffix(name))}")]
    message = fault["msg"]
    for theirs, ours in _WORDS.items():
        message = message.replace(theirs, ours)
    in_quotes = " (put it in quotes)" if kind == "string_type" and isinstance(given, (int, float)) else ""
    return [(key, f": {message}, got {show(given)}{in_quotes}")]


def what_became_of(cls: type[Config], key: str) -> str:
    """Return the fate of a key of earlier versions, or of its section; an empty text where `key` never was one."""
    return cls.formerly.get(key) or cls.formerly.get(key.partition(".")[0], "")


def dump_config(config: Any) -> str:
    """Return `config` as the text of a YAML file, in the order of its fields."""
    return dump_yaml(to_dict(config))


def to_dict(value: Any) -> Any:
    """Return a configuration as dictionaries, lists and scalars; `load_config` reads them, written as YAML, back equal."""
    if dataclasses.is_dataclass(value):
        return {f.name: to_dict(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: to_dict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_dict(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def schema_text(cls: type[Config]) -> str:
    """Return the JSON schema of configuration files as text, for editors. Nothing is required in it: a file may inherit any key."""
    schema = _adapter(cls).json_schema()
    schema.pop("required", None)
    inherit = {"type": "string", "description": "File beside this one whose keys it takes over; its own keys win."}
    schema["properties"] = {INHERIT: inherit, **schema["properties"]}
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


# --- Types and values in the words of a user ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class FieldDoc:
    """One key of a configuration class: dotted name, type in words, default (None when it must be given) and documentation."""

    key: str
    type_name: str
    default: str | None
    doc: str


def describe(cls: Any, prefix: str = "") -> list[FieldDoc]:
    """Return every dotted key of `cls` in the order of its fields, sections unfolded."""
    docs, hints = field_docs(cls), typing.get_type_hints(cls)
    described = []
    for f in dataclasses.fields(cls):
        if dataclasses.is_dataclass(hints[f.name]):
            described += describe(hints[f.name], f"{prefix}{f.name}.")
            continue
        default = f.default if f.default_factory is dataclasses.MISSING else f.default_factory()
        text = None if default is dataclasses.MISSING else str(default) if isinstance(default, str) else show(to_dict(default))
        described.append(FieldDoc(key=f"{prefix}{f.name}", type_name=type_name(hints[f.name]), default=text, doc=docs.get(f.name, "")))
    return described


def field_docs(cls: Any) -> dict[str, str]:
    """Return field -> the string below it in the source of dataclass `cls`, on one line."""
    body = typing.cast(ast.ClassDef, ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]).body
    docs = {}
    for statement, below in itertools.pairwise(body):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and isinstance(below, ast.Expr):
            text = below.value.value if isinstance(below.value, ast.Constant) else None
            if isinstance(text, str):
                docs[statement.target.id] = " ".join(text.split())
    return docs


def nearest(name: str, names: Iterable[str], prefix: str = "") -> str:
    """Return "; did you mean NAME?" with the nearest of `names`, or "; expected one of …" when none is near and they are few."""
    names = list(names)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {prefix}{near[0]}?"
    return f"; expected one of {', '.join(f'{prefix}{known}' for known in names)}" if 0 < len(names) <= _FEW else ""


def typed_value(hint: Any, text: str) -> Any:
    """Return the value of `text` typed for `hint`: None for "none", the text itself, a list for "a,b" or "[a, b]", or a value of YAML."""
    options = typing.get_args(hint) if typing.get_origin(hint) in (Union, types.UnionType) else (hint,)
    if type(None) in options and text.lower() in _NONE_WORDS:
        return None
    for option in options:
        arguments = typing.get_args(option)
        if option in (str, Path) or (typing.get_origin(option) is Literal and any(isinstance(choice, str) for choice in arguments)):
            return text
        if typing.get_origin(option) in (tuple, list):
            inner = text.strip().removeprefix("[").removesuffix("]")
            return [typed_value(arguments[0], item.strip().strip("'\"")) for item in inner.split(",")] if inner.strip() else []
    return parse_value(text)


def type_name(hint: Any) -> str:
    """Return `hint` in the words of a user: "a number", "one of binary, count, off", "a whole number or none"."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        if Path in arguments:  # a text stands for the path, or for the file that a dataclass is read from
            arguments = tuple(option for option in arguments if option is not str and not dataclasses.is_dataclass(option))
        return " or ".join(map(type_name, arguments))
    plain = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", Path: "a path", type(None): "none"}
    if hint in plain:
        return plain[hint]
    if origin is Literal:
        return ("one of " if len(arguments) > 1 else "") + ", ".join(map(str, arguments))
    if origin in (tuple, list):
        return f"a list (each {type_name(arguments[0])})"
    return "keys and values" if origin is dict else str(getattr(hint, "__name__", hint))


def show(value: Any) -> str:
    """Return `value` as an error message quotes it, shortened."""
    if isinstance(value, str):
        return f"the text {value[:60]!r}"
    text = {True: "true", False: "false", None: "none"}.get(value) if value is None or isinstance(value, bool) else repr(value)
    return str(text)[:60]
