"""The studio's server: one process, one dataset, the page with its tabs.

aiohttp, because it is here already (moshi brings it) and has HTTP, websockets and a client for tests in one; Starlette and uvicorn would be
two packages more, and websockets a third.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress
import logging
import mimetypes
import signal
import socket
from collections.abc import AsyncIterator, Callable
from importlib import resources

import jinja2
from aiohttp import web

from stt_ft.core.errors import ConfigError
from stt_ft.pages.offline_page import STATIC_FILES
from stt_ft.studio import looking, recording, speakers, trying
from stt_ft.studio.guard import DESK, MAX_BODY_BYTES, Doors, Guard
from stt_ft.studio.tab import Studio, Tab

TABS: tuple[Tab, ...] = (speakers.TAB, looking.TAB, trying.TAB, recording.TAB)
"""In the order in which they stand on the page. A further tab is a module with a `TAB` here, and static/NAME.js."""

LINGER_S = 0.2
"""For so long the rest of a request is read and thrown away that has been refused, so that the answer is heard."""

OWN_STATIC_FILES = resources.files("stt_ft.studio") / "static"


def make_app(studio: Studio, guard: Guard) -> web.Application:
    """Return the application: the page, its static files, and what the tabs answer, all behind the guard."""
    app = web.Application(middlewares=[guard.middleware], client_max_size=MAX_BODY_BYTES)
    app.on_response_prepare.append(guard.seal)  # pyright: ignore[reportArgumentType]  (aiosignal declares the list of its signals wrongly)
    page = _page()
    files = _static_files()

    async def static(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in files:
            raise web.HTTPNotFound(text="no such file")
        kind = mimetypes.types_map.get("." + name.rpartition(".")[2], "text/plain")
        return web.Response(body=files[name], content_type="text/javascript" if name.endswith(".js") else kind, charset="utf-8")

    async def index(request: web.Request) -> web.Response:
        at = "desk" if request["place"] == DESK else "speaker"
        html = page.render(tabs=[tab for tab in TABS if tab.at == at], name=studio.data.directory.resolve().name, at=at)
        return web.Response(text=html, content_type="text/html")

    app.router.add_get("/{place:desk|speaker/[a-z0-9-]+}/", index)
    app.router.add_get("/{place:desk|speaker/[a-z0-9-]+}/static/{name}", static)
    for tab in TABS:
        place = DESK if tab.at == "desk" else "{place:speaker/[a-z0-9-]+}"
        for route, answer in tab.routes.items():
            method, address = route.split(" ")
            app.router.add_route(method, f"/{place}/{address}", functools.partial(answer, studio))
    return app


@contextlib.asynccontextmanager
async def listening(studio: Studio, *, host: str, port: int) -> AsyncIterator[int]:
    """Answer requests while the block lasts; yields the port that is listened on. Raises `ConfigError` where nothing can listen there."""
    guard = Guard(studio.keys, host=host)
    logger = logging.getLogger("stt_ft.studio")  # what aiohttp says of requests that are no HTTP; nobody at the terminal can act on it
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    runner = web.AppRunner(
        make_app(studio, guard), access_log=None, handle_signals=False, logger=logger, shutdown_timeout=2.0, lingering_time=LINGER_S
    )
    await runner.setup()
    assert runner.server is not None
    try:
        addresses = _addresses(host)
        listener = await asyncio.get_running_loop().create_server(Doors(runner.server, guard), addresses, port, backlog=1024)
        port = listener.sockets[0].getsockname()[1]
    except OSError as error:
        await runner.cleanup()
        raise ConfigError(f"--host {host} --port {port}: cannot listen there: {error.strerror}; --port 0 takes a free port") from None
    try:
        yield port
    finally:
        listener.close()
        for open_socket in list(studio.sockets.values()):
            await open_socket.close(code=1012, message=b"the studio is closing")
        await runner.cleanup()


async def serve(studio: Studio, *, host: str, port: int, ready: Callable[[int], None]) -> None:
    """Answer requests until the process is told to end (Ctrl-C, SIGTERM); `ready` is called with the port."""
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with listening(studio, host=host, port=port) as taken:
        ready(taken)
        await stopped.wait()


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches what listens on `host`; raises `ConfigError` where that is no address of this machine."""
    return all(ipaddress.ip_address(address.partition("%")[0]).is_loopback for address in _addresses(host))


def _addresses(host: str) -> list[str]:
    """Return the addresses of a host; of localhost that of IPv4 alone, which every machine has and which one port number is enough for."""
    try:
        family = socket.AF_INET if host == "localhost" else socket.AF_UNSPEC
        return sorted({str(entry[4][0]) for entry in socket.getaddrinfo(host, None, family)})
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"--host {host}: no such host: {error}") from None


def _page() -> jinja2.Template:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string((OWN_STATIC_FILES / "studio.html.j2").read_text(encoding="utf-8"))


def _static_files() -> dict[str, bytes]:
    """Return name -> content of every file that a page may ask for: ours, and the look that it shares with the report."""
    folders = (STATIC_FILES, OWN_STATIC_FILES)
    return {file.name: file.read_bytes() for folder in folders for file in folder.iterdir() if file.name.endswith((".js", ".css"))}
