"""A studio that runs in a thread of the test, and requests to it as a browser with the link would send them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from stt_ft.corpus.prompt_script import load_prompt_script
from stt_ft.dataset.manifest import Dataset
from stt_ft.studio.guard import DESK, Keys
from stt_ft.studio.server import listening
from stt_ft.studio.tab import Studio, own_path


@dataclass
class RunningStudio:
    """One that answers on `port` of this machine.

    Attributes:
        studio: what its tabs share.
    """

    studio: Studio
    port: int

    @property
    def origin(self) -> str:
        return f"http://localhost:{self.port}"

    def link(self, place: str = DESK) -> str:
        """Return the link of a place, as a browser opens it: `desk`, or `speaker/anna`."""
        return self.origin + self.studio.keys.link(place)

    def cookies(self, place: str = DESK) -> str:
        """Return the Cookie header of whoever has opened the link of `place`."""
        return f"stt-ft-studio-{self.port}={self.studio.keys.token(place)}"

    def ask(self, method: str, address: str, json: Any = None, *, place: str = DESK, **options: Any) -> requests.Response:
        """Ask as the page of `place` does; `address` is relative to it, as in the page's scripts."""
        headers = {"Origin": self.origin, "Cookie": self.cookies(place), **options.pop("headers", {})}
        return requests.request(method, f"{self.origin}/{place}/{address}", json=json, headers=headers, timeout=30, **options)


@contextlib.contextmanager
def running_studio(directory: Path, *, script: Path | None = None, port: int = 0, **options: Any) -> Iterator[RunningStudio]:
    """Run a studio of the dataset in `directory` while the block lasts; `options` are further fields of `Studio`."""
    data = Dataset(directory)
    prompts = None if script is None else load_prompt_script(script)
    studio = Studio(data=data, keys=Keys.of(own_path(data, "secret")), script=prompts, **options)
    started, loop, ends = threading.Event(), asyncio.new_event_loop(), asyncio.Event()
    taken: list[int] = []

    async def run() -> None:
        async with listening(studio, host="localhost", port=port) as number:
            taken.append(number)
            started.set()
            await ends.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),), daemon=True)
    thread.start()
    assert started.wait(20)
    try:
        yield RunningStudio(studio, taken[0])
    finally:
        loop.call_soon_threadsafe(ends.set)
        thread.join(20)
        loop.close()
