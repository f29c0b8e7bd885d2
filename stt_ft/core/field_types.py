"""Values for annotated fields: does this value, read from YAML or typed on the command line, fit this type?

Types understood: bool, int, float, str, Path, `Literal`, `X | None`, `tuple[X, ...]`, `tuple[X, Y]`, `list[X]`, `dict[str, X]`.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Union

from stt_ft.core.yaml_text import parse_value

_NONE_WORDS = ("none", "null", "~")


class Refused(Exception):
    """A value does not fit its type; the message says what was expected and what came."""


class Typed(str):
    """A value as typed on the command line: read as YAML reads it, except where the field takes a text."""

    __slots__ = ()


def fit(hint: Any, value: Any) -> Any:
    """Return `value` as the type `hint` wants it (an int becomes a float, a list a tuple); raises `Refused` when it does not fit."""
    if isinstance(value, Typed):
        value = _read_typed(hint, value)
    for option in _options(hint):
        try:
            return _fit_one(option, value)
        except Refused:
            continue
    hint_to_quote = " (put it in quotes)" if takes_text(hint) and isinstance(value, (int, float)) else ""
    raise Refused(f"expected {type_name(hint)}, got {show(value)}{hint_to_quote}")


def _read_typed(hint: Any, value: Typed) -> Any:
    """Return what was meant by typing `value` for `hint`: "none", a text, "a,b" or "[a, b]" for a list, or any value of YAML."""
    if accepts_none(hint) and value.lower() in _NONE_WORDS:
        return None
    if takes_text(hint):
        return str(value)
    if takes_list(hint):
        inner = value.strip().removeprefix("[").removesuffix("]")
        return [Typed(item.strip().strip("'\"")) for item in inner.split(",")] if inner.strip() else []
    return parse_value(value)


def _fit_one(hint: Any, value: Any) -> Any:
    origin = typing.get_origin(hint)
    if hint is Any:
        return value
    if origin is Literal:
        for choice in typing.get_args(hint):
            if value == choice and isinstance(value, bool) == isinstance(choice, bool):
                return choice
    elif origin in (tuple, list) and isinstance(value, (list, tuple)):
        return origin(_fit_items(hint, value))
    elif origin is dict and isinstance(value, Mapping):
        return {str(key): fit(typing.get_args(hint)[1], item) for key, item in value.items()}
    elif isinstance(hint, type) and isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        if hint is float:
            return float(value)
        if hint is int and value == int(value):
            return int(value)
    elif hint in (str, Path) and isinstance(value, str):
        return hint(value)
    elif hint in (bool, type(None)) and isinstance(value, hint):
        return value
    raise Refused


def _fit_items(hint: Any, values: list[Any] | tuple[Any, ...]) -> list[Any]:
    item_hints = typing.get_args(hint)
    if typing.get_origin(hint) is list or item_hints[1:] == (Ellipsis,):
        return [fit(item_hints[0], value) for value in values]
    if len(values) != len(item_hints):
        raise Refused
    return [fit(item_hint, value) for item_hint, value in zip(item_hints, values, strict=True)]


def section_class(hint: Any) -> Any:
    """Return the dataclass that `hint` names (as `Section` or `Section | None`), else None."""
    return next((option for option in _options(hint) if dataclasses.is_dataclass(option)), None)


def accepts_none(hint: Any) -> bool:
    """Return whether None fits `hint`."""
    return type(None) in _options(hint)


def takes_text(hint: Any) -> bool:
    """Return whether a text fits `hint` as it stands: a str, a path or a choice among words."""
    return any(
        option in (str, Path) or (typing.get_origin(option) is Literal and any(isinstance(c, str) for c in typing.get_args(option)))
        for option in _options(hint)
    )


def takes_list(hint: Any) -> bool:
    """Return whether a list fits `hint`."""
    return any(typing.get_origin(option) in (tuple, list) for option in _options(hint))


def _options(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in (Union, types.UnionType) else (hint,)


def type_name(hint: Any) -> str:
    """Return `hint` in the words of a user: "a number", "one of binary, count, off", "a whole number or none"."""
    options = _options(hint)
    if Path in options:  # a text stands for the path, or for the file that a dataclass is read from
        options = tuple(option for option in options if option is not str and not dataclasses.is_dataclass(option))
    if len(options) > 1:
        return " or ".join(type_name(option) for option in options)
    hint = next(iter(options), hint)
    plain = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", Path: "a path", type(None): "none"}
    if hint in plain:
        return plain[hint]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return ("one of " if len(arguments) > 1 else "") + ", ".join(map(str, arguments))
    if origin in (tuple, list):
        if origin is list or arguments[1:] == (Ellipsis,):
            return f"a list (each {type_name(arguments[0])})"
        return f"a list of {len(arguments)} ({', '.join(map(type_name, arguments))})"
    return "keys and values" if origin is dict else str(getattr(hint, "__name__", hint))


def show(value: Any) -> str:
    """Return `value` as an error message quotes it, shortened."""
    if isinstance(value, str):
        return f"the text {value[:60]!r}"
    text = {True: "true", False: "false", None: "none"}.get(value) if value is None or isinstance(value, bool) else repr(value)
    return str(text)[:60]
