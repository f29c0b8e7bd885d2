"""Reading JSON and YAML of any origin, and writing YAML.

JSON is read strictly: a value that could not be written again is refused. YAML is read as people expect it: `2e-5` is a number, `off` and
`yes` are words, a key given twice is an error. (PyYAML follows YAML 1.1, where `lr: 2e-5` is a text, `pause_targets: off` is False and the
second of two equal keys wins in silence.)
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any, ClassVar

import yaml

from stt_ft.core.errors import ConfigError
from stt_ft.core.storage import place

_SURELY_FINITE_DIGITS = 300
"""An integer of no more digits is no more than a double holds (1.8e308)."""


def parse_json(content: bytes | str) -> Any:
    """Return the value of `content`; raises `ValueError` (or `RecursionError`) for anything that is not JSON.

    Stricter than `json.loads`: NaN, infinity, numbers beyond a double, and halves of a surrogate pair are refused. All of them would only
    fail later, when the value is written.
    """
    if isinstance(content, bytes):
        content = content.decode(json.detect_encoding(content), "surrogatepass")
    signs = content.encode("utf-8", "surrogatepass").translate(_SIGNS)
    may_overflow = b"0e" in signs or _MANY_DIGITS in signs
    if content.startswith("\ufeff"):
        raise ValueError("it begins with a byte order mark")
    value = (_CAREFUL if may_overflow else _PLAIN).decode(content)
    if "\\u" in content and b"\\ud" in signs:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("it holds half of a surrogate pair (\\ud800 to \\udfff), which is no character") from None
    return value


def _refuse(constant: str) -> float:
    raise ValueError(f"it holds {constant[:40]}, which is no JSON number")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse(text)


def _whole(text: str) -> int:
    if len(text) > _SURELY_FINITE_DIGITS:
        _finite(text)
    return int(text)


_PLAIN = json.JSONDecoder(parse_constant=_refuse)
_CAREFUL = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite, parse_int=_whole)
"""The second looks at every number, in Python; most texts hold none that could be beyond a double, and need not pay for it."""

_SIGNS = bytes.maketrans(b"123456789DEU", b"000000000deu")
_MANY_DIGITS = b"0" * _SURELY_FINITE_DIGITS
"""By these a text that has an exponent, very many digits or an escaped surrogate is known fast."""

_NUMBER_OR_SWITCH = ("bool", "int", "float", "timestamp")
"""Kinds of plain scalar for which YAML 1.2 has other patterns than PyYAML."""


class _Loader(yaml.SafeLoader):
    """A `SafeLoader` with the plain scalars of YAML 1.2, without dates, and without aliases: eleven lines of them can unfold to 10^10."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] not in _NUMBER_OR_SWITCH]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.MarkedYAMLError(problem=f"*{event.anchor} is an alias; write the value itself", problem_mark=event.start_mark)
        return super().compose_node(parent, index)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        try:
            _finite(node.value.replace("_", ""))
        except ValueError as error:
            raise yaml.constructor.ConstructorError(problem=str(error), problem_mark=node.start_mark) from None
        return super().construct_yaml_int(node)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(problem=f"the key {key.value!r} is given twice", problem_mark=key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


class _Dumper(yaml.SafeDumper):
    """A `SafeDumper` that quotes every text that YAML 1.1 or `_Loader` would read as another type."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        # Only double quotes escape line breaks such as U+0085, which PyYAML otherwise writes as they are and reads as spaces.
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=None if data.isprintable() else '"')


_Dumper.add_representer(str, _Dumper.represent_str)

for _kind, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(?:0|[1-9][0-9_]*)", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9_]*)\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+|[-+]?\.(?:inf|Inf)|\.(?:nan|NaN)",
        "-+.0123456789",
    ),
):
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(rf"^(?:{_pattern})$"), list(_first))


def parse_value(text: str) -> Any:
    """Return the value that `text` has in YAML ("1e-4" is a number, "[1, 2]" a list); text that is no YAML is returned as it is."""
    try:
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError):
        return str(text)


def dump_yaml(value: Any) -> str:
    """Return `value` as YAML that `read_yaml`, and any reader of YAML 1.1, reads back equal; keys stay in order."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Return the keys and values of a YAML file (an empty file has none); raises `ConfigError` naming the file and the line."""
    try:
        return parse_yaml(place(path).read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None


def parse_yaml(text: str, path: str) -> dict[str, Any]:
    """Return the keys and values of a YAML text; raises `ConfigError` naming `path` and the line."""
    try:
        value = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or " ".join(str(error).split())
        raise ConfigError(f"{path}{f', line {mark.line + 1}' if mark else ''}: not YAML: {problem}") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: expected keys and values, got {type(value).__name__} {str(value)[:40]!r}")
    return value
