"""A tab of the studio, and what all tabs share."""

from __future__ import annotations

import asyncio
import datetime
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from aiohttp import web

from stt_ft.core.errors import DatasetError
from stt_ft.core.storage import check_lies_inside
from stt_ft.corpus.prompt_script import PromptScript
from stt_ft.dataset.manifest import Dataset
from stt_ft.studio.guard import Keys


@dataclass(frozen=True, kw_only=True)
class Studio:
    """What the tabs share.

    Attributes:
        script: prompts to record; None where none was given.
        model, against: what Try out listens with, as the user named them.
        writing: held by whoever reads the dataset, changes it and writes it again; work that takes long runs in a thread meanwhile.
        sockets: the open socket of each speaker.
        kept: what tabs keep while the studio runs, by their names.
    """

    data: Dataset
    keys: Keys
    script: PromptScript | None = None
    model: str | None = None
    against: str | None = None
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)
    sockets: dict[str, web.WebSocketResponse] = field(default_factory=dict)
    kept: dict[str, Any] = field(default_factory=dict)


def own_path(data: Dataset, name: str) -> Path:
    """Return where the studio keeps what is its own: `.studio/NAME` in the dataset; raises `DatasetError` where a link there leads out."""
    path = data.directory / ".studio" / name
    try:
        check_lies_inside(path, data.directory)
    except ValueError as error:
        raise DatasetError(str(error)) from None
    return path


def now() -> str:
    """Return the time of day to the second, in UTC, as it is written down."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


Answer = Callable[[Studio, web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, kw_only=True)
class Tab:
    """One tab: static/NAME.js draws it, `routes` answer what it asks.

    Attributes:
        at: whose page has it: the owner's, or each speaker's.
        routes: "METHOD address" -> what answers it. Addresses are those that the page uses, such as `api/record`; `{name}` matches a part
            without a slash. `request["place"]` says whose page asks, and it has a token by then.
    """

    name: str
    title: str
    at: Literal["desk", "speaker"]
    routes: Mapping[str, Answer]


async def json_body(request: web.Request) -> dict[str, Any]:
    """Return the JSON object that a request holds; answers 400 where it holds none, and 413 where it is too long."""
    if request.content_type != "application/json":
        raise web.HTTPBadRequest(text="expected JSON")
    try:
        value = json.loads(await request.text())
    except (ValueError, RecursionError):
        raise web.HTTPBadRequest(text="expected JSON") from None
    if not isinstance(value, dict):
        raise web.HTTPBadRequest(text="expected a JSON object")
    return value
