"""A command line bound to a function's signature, refused in one line before anything runs.

Positional parameters are words, keyword-only parameters are flags; annotations say what a value may be, so that digits given where a
text is expected stay as they were typed. A parameter named `overrides` gathers the flags that name keys of a recipe.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from stt_ft.core.config import nearest
from stt_ft.core.errors import SttFtError
from stt_ft.core.field_types import Refused, Typed, fit, takes_list

OVERRIDES = "overrides"
"""Name of the parameter that gathers flags naming keys of a recipe."""

_NUMBER = re.compile(r"-\.?\d")


class UsageError(SttFtError):
    """A command line that cannot be understood."""


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One parameter of a command: its annotation, whether it is typed as a word or as a flag, whether it takes all further words."""

    name: str
    hint: Any
    default: Any
    positional: bool
    variadic: bool

    @property
    def required(self) -> bool:
        return self.default is inspect.Parameter.empty

    @property
    def label(self) -> str:
        """How usage shows it: MODEL_DIR, AUDIO..., --batch_size."""
        return (self.name.upper() + ("..." if self.variadic else "")) if self.positional else f"--{self.name}"


def parameters_of(function: Callable[..., Any]) -> list[Parameter]:
    """Return the parameters of a command's function, without `overrides`. A last positional list takes all further words."""
    hints = typing.get_type_hints(function)
    parameters = []
    for p in reversed(list(inspect.signature(function).parameters.values())):
        if p.name == OVERRIDES:
            continue
        hint = list[hints.get(p.name, str)] if p.kind is p.VAR_POSITIONAL else hints.get(p.name, str)
        positional = p.kind is not p.KEYWORD_ONLY
        is_last_word = positional and not any(later.positional for later in parameters)
        variadic = is_last_word and takes_list(hint)
        default = (
            None if p.kind is p.VAR_POSITIONAL else p.default
        )  # none of them may be given: whether that will do is the command's affair
        parameters.append(Parameter(name=p.name, hint=hint, default=default, positional=positional, variadic=variadic))
    return parameters[::-1]


def bind(function: Callable[..., Any], argv: Sequence[str], *, command: str, recipe_keys: Collection[str] = ()) -> inspect.BoundArguments:
    """Return `argv` bound to the parameters of `function`; raises `UsageError` with the nearest valid name.

    Args:
        function: what is to be called.
        argv: the words after the command.
        command: its name, for messages.
        recipe_keys: dotted keys that may be given as flags and go to `overrides` as they were typed.
    """
    line = _CommandLine(command=command, parameters={p.name: p for p in parameters_of(function)}, recipe_keys=recipe_keys)
    line.read(argv)
    signature = inspect.signature(function)
    bound = signature.bind_partial()
    bound.arguments.update(line.values)
    if OVERRIDES in signature.parameters:
        bound.arguments[OVERRIDES] = line.overrides
    return bound


@dataclass(kw_only=True)
class _CommandLine:
    """The words of one command line, sorted into values by parameter and overrides by key."""

    command: str
    parameters: dict[str, Parameter]
    recipe_keys: Collection[str]
    values: dict[str, Any] = field(default_factory=dict)
    overrides: dict[str, str] = field(default_factory=dict)

    def read(self, argv: Sequence[str]) -> None:
        words: list[str] = []
        pending = deque(argv)
        while pending:
            word = pending.popleft()
            if word == "--":
                words += pending
                break
            if _is_flag(word):
                self.read_flag(word, pending)
            else:
                words.append(word)
        self.read_words(words)
        missing = [p.label for p in self.parameters.values() if p.required and p.name not in self.values]
        if missing:
            raise self.refused(f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing")

    def read_flag(self, word: str, pending: deque[str]) -> None:
        """Store the flag `word`, taking its value from `pending` where it has none of its own."""
        flag, equals, given = word.partition("=")
        name = flag.lstrip("-").replace("-", "_")
        parameter = self.parameters.get(name)
        switch = self.switch_turned_off_by(name)
        if not flag.startswith("--") or (parameter is None and switch is None and name not in self.recipe_keys):
            raise self.refused(f"no such flag: {flag}{nearest(name, [*self.parameters, *self.recipe_keys], '--')}")
        if parameter is None and switch is not None:
            if equals:
                raise self.refused(f"{flag} takes no value")
            self.store(flag, switch, False)
            return
        if not equals:
            if parameter is not None and parameter.hint is bool and (not pending or pending[0].lower() not in ("true", "false")):
                self.store(flag, parameter, True)
                return
            if not pending or _is_flag(pending[0]):
                raise self.refused(f"{flag} needs a value")
            given = pending.popleft()
        if parameter is not None:
            self.store(flag, parameter, self.value_of(parameter, Typed(given)))
        elif name in self.overrides:
            raise self.refused(f"{flag} is given twice")
        else:
            self.overrides[name] = given

    def read_words(self, words: list[str]) -> None:
        """Give positional words, in order, to the positional parameters that no flag has set."""
        for parameter in self.parameters.values():
            if parameter.positional and parameter.name not in self.values and words:
                given = [Typed(word) for word in (words if parameter.variadic else words[:1])]
                words = words[len(given) :]
                self.values[parameter.name] = self.value_of(parameter, given if parameter.variadic else given[0])
        if words:
            labels = " ".join(p.label for p in self.parameters.values() if p.positional)
            raise self.refused(f"unexpected {words[0]!r}; it takes {labels or 'flags only'}")

    def switch_turned_off_by(self, name: str) -> Parameter | None:
        """Return the switch that `name` ("no_json", or "nojson" as Fire writes it) turns off."""
        if not name.startswith("no"):
            return None
        parameter = self.parameters.get(name.removeprefix("no").removeprefix("_"))
        return parameter if parameter is not None and parameter.hint is bool else None

    def value_of(self, parameter: Parameter, given: Any) -> Any:
        try:
            return fit(parameter.hint, given)
        except Refused as refusal:
            raise self.refused(f"{parameter.label}: {refusal}") from None

    def store(self, flag: str, parameter: Parameter, value: Any) -> None:
        if parameter.name not in self.values:
            self.values[parameter.name] = value
        elif takes_list(parameter.hint):
            self.values[parameter.name] += value
        else:
            raise self.refused(f"{flag} is given twice")

    def refused(self, message: str) -> UsageError:
        return UsageError(f"{self.command}: {message} (see stt-ft {self.command} --help)")


def _is_flag(word: str) -> bool:
    return word.startswith("-") and word != "-" and not _NUMBER.match(word)
