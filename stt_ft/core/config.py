"""Configuration: frozen dataclasses read from YAML and dotted overrides, checked once, with all their mistakes listed together.

A configuration class is a keyword-only frozen dataclass. Its fields are documented by a string below each, as in torchtitan; `describe`
reads those. It checks its own values in `__post_init__` and raises `ValueError(*messages)`, each beginning with the field's name.

    recipe = load_config(Recipe, "configs/tiny_cpu.yaml", {"optim.lr": "1e-4"})

What several files share stands once, in a file that the others name by `inherit`; see `load_config`.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import inspect
import itertools
import textwrap
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from stt_ft.core.errors import ConfigError
from stt_ft.core.field_types import Refused, Typed, accepts_none, fit, section_class, show, type_name
from stt_ft.core.yaml_text import dump_yaml, parse_value, read_yaml

Config = TypeVar("Config")

INHERIT = "inherit"
"""Key by which a file names another, relative to itself, whose keys it takes over; its own keys win."""

_FEW = 20
"""Names that a message lists whole; of more, only the nearest is named."""


def load_config(cls: type[Config], path: str | Path, overrides: Mapping[str, Any] | None = None) -> Config:
    """Read the YAML file at `path` into `cls`, after setting the dotted keys of `overrides` ("optim.lr": 1e-4).

    A file that says `inherit: shared.yaml` has the keys of that file too (looked for beside it), and its own win, key by key within a
    section; a file that is inherited from inherits nothing itself. An override that is a string counts as typed: for a number "1e-4"
    is read as YAML reads it, for a text it stays as it is.

    Raises `ConfigError` that names the file and lists every mistake: unknown keys with the nearest valid one, values of the wrong
    type, missing keys, and what the classes' own `__post_init__` refuse; of a key that is inherited, the file in which it stands.
    """
    own, inherited, shared = _read_files(path)
    values = _laid_over(own, inherited)
    taken_over = _dotted(inherited) - _dotted(own) - frozenset(overrides or ())
    reader = _Reader(overridden=frozenset(overrides or ()), inherited=dict.fromkeys(taken_over, str(shared)))
    for key, value in (overrides or {}).items():
        reader.set_override(values, key, Typed(value) if isinstance(value, str) else value)
    config = reader.read_section(cls, values, key="", default=None)
    mistakes = list(dict.fromkeys(reader.mistakes))
    if mistakes:
        raise ConfigError(f"{path}: " + (mistakes[0] if len(mistakes) == 1 else "\n  ".join([f"{len(mistakes)} mistakes", *mistakes])))
    return config


def config_files(path: str | Path) -> list[Path]:
    """Return the files that make up the configuration at `path`: itself, and the one it inherits from where it names one."""
    shared = _read_files(path)[2]
    return [Path(path)] if shared is None else [Path(path), shared]


def _read_files(path: str | Path) -> tuple[dict[str, Any], dict[str, Any], Path | None]:
    """Return what the file at `path` says itself, what the file says that it inherits from, and where that lies."""
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
    """Return the keys of both, those of `own` winning; a section that `own` leaves empty is as inherited."""
    merged = dict(inherited)
    for key, value in own.items():
        below = inherited.get(key)
        merged[key] = (
            _laid_over(value or {}, below) if isinstance(below, Mapping) and (value is None or isinstance(value, Mapping)) else value
        )
    return merged


def _dotted(values: Mapping[Any, Any], prefix: str = "") -> frozenset[str]:
    """Return the dotted names of all values, sections unfolded."""
    names: set[str] = set()
    for key, value in values.items():
        names |= _dotted(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}"}
    return frozenset(names)


def to_dict(config: Any) -> dict[str, Any]:
    """Return `config` as plain dictionaries, lists and scalars; written as YAML, `load_config` reads it back equal."""
    return _plain(config)


def dump_config(config: Any) -> str:
    """Return `config` as the text of a YAML file, in the order of its fields."""
    return dump_yaml(to_dict(config))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


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
        section = section_class(hints[f.name])
        if section is not None:
            described += describe(section, f"{prefix}{f.name}.")
            continue
        has_default, default = _default_of(f, None)
        text = None if not has_default else str(default) if isinstance(default, str) else show(_plain(default))
        described.append(FieldDoc(key=f"{prefix}{f.name}", type_name=type_name(hints[f.name]), default=text, doc=docs.get(f.name, "")))
    return described


def field_docs(cls: Any) -> dict[str, str]:
    """Return the string that stands below each field in the source of dataclass `cls`, on one line each."""
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


@dataclass(kw_only=True)
class _Reader:
    """Reads values into dataclasses and gathers what is wrong with them on the way."""

    overridden: frozenset[str]
    inherited: Mapping[str, str]
    mistakes: list[str] = field(default_factory=list)

    def mistake(self, key: str, message: str) -> None:
        where = f" (in {self.inherited[key]})" if key in self.inherited else ""
        self.mistakes.append(f"{'--' if key in self.overridden else ''}{key}{message}{where}")

    def set_override(self, values: dict[str, Any], key: str, value: Any) -> None:
        """Set dotted `key` in nested `values`, making the sections on the way."""
        *sections, name = key.split(".")
        for depth, section in enumerate(sections, start=1):
            if values.get(section) is None:
                values[section] = {}
            values = values[section]
            if not isinstance(values, dict):
                self.mistake(key, f": {'.'.join(sections[:depth])} is {show(values)}, which has no keys")
                return
        values[name] = value

    def read_section(self, cls: Any, values: Mapping[Any, Any], *, key: str, default: Any) -> Any:
        """Return `cls` filled from `values`; fields not given are taken from `default` (an instance of `cls`), else from the class.

        A field that is refused is filled with its default, so that the class's own checks can still tell what else is wrong.
        """
        hints = typing.get_type_hints(cls)
        fields = {f.name: f for f in dataclasses.fields(cls)}
        prefix = f"{key}." if key else ""
        for name in values:
            if name not in fields:
                self.mistake(f"{prefix}{name}", f": no such key{nearest(str(name), fields, prefix)}")
        arguments: dict[str, Any] = {}
        refused: set[str] = set()
        incomplete = False
        for name, f in fields.items():
            has_default, fallback = _default_of(f, default)
            if name in values:
                mistakes_before = len(self.mistakes)
                arguments[name] = self.read_value(hints[name], values[name], key=f"{prefix}{name}", default=fallback)
                if len(self.mistakes) > mistakes_before:
                    refused.add(name)
                    incomplete |= not has_default
            elif has_default:
                arguments[name] = fallback
            else:
                self.mistake(f"{prefix}{name}", f": missing; expected {type_name(hints[name])}")
                incomplete = True
        return default if incomplete else self._construct(cls, arguments, prefix=prefix, refused=refused, default=default)

    def _construct(self, cls: Any, arguments: dict[str, Any], *, prefix: str, refused: set[str], default: Any) -> Any:
        try:
            return cls(**arguments)
        except ValueError as error:
            for message in map(str, error.args):
                subject = message.split(" ", 1)[0].rstrip(":,")
                if subject not in refused:
                    self.mistake(f"{prefix}{subject}", message[len(subject) :])
            return default

    def read_value(self, hint: Any, value: Any, *, key: str, default: Any) -> Any:
        """Return `value` as `hint` wants it; when it does not fit, note the mistake and return `default`."""
        section = section_class(hint)
        try:
            if section is None:
                return fit(hint, value)
            value = parse_value(value) if isinstance(value, Typed) else value
            if value is None and accepts_none(hint):
                return None
            if value is not None and not isinstance(value, Mapping):
                raise Refused(f"expected keys and values, got {show(value)}")
            return self.read_section(section, value or {}, key=key, default=default)
        except Refused as refused:
            self.mistake(key, f": {refused}")
            return default


def _default_of(f: dataclasses.Field[Any], instance: Any) -> tuple[bool, Any]:
    """Return whether field `f` has a default, and that default: from `instance` where there is one, else from the class."""
    if instance is not None:
        return True, getattr(instance, f.name)
    if f.default is not dataclasses.MISSING:
        return True, f.default
    if f.default_factory is not dataclasses.MISSING:
        return True, f.default_factory()
    return False, None
