"""Who may ask the studio for what. Every request and every socket is held to these rules before a tab sees it.

Each page has a place in the address: `/desk/` is the owner's, `/speaker/anna/` that of a speaker. A place has a token of its own, made from
a secret of the dataset, so that links work again after a restart and no list of them is kept. The link brings the token once; from then on
it is a cookie that scripts cannot read, that no other site can send, and that holds for this place alone.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import ipaddress
import re
import secrets
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web

from stt_ft.core.atomic import atomic_path
from stt_ft.core.errors import SttFtError
from stt_ft.core.progress import say

DESK = "desk"
"""The owner's place: everything but recording. A speaker's is `speaker/ID`."""

PLACE = re.compile(r"/(?P<place>desk|speaker/[a-z0-9-]{1,100})/")
"""How every address begins."""

MAX_BODY_BYTES = 256 * 1024
"""Longest body of a request; sound comes over sockets, message by message."""

MAX_SOCKETS = 64
"""Open websockets, all speakers together."""

MAX_KNOWN, MAX_STRANGERS, STRANGER_S = 256, 64, 10.0
"""Open connections with a token and without, and for how long one may stay without."""

_SECRET_BYTES = 32
_SAFE_METHODS = ("GET", "HEAD")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Keys:
    """The tokens of a dataset's places, all made from one secret."""

    secret: bytes

    @classmethod
    def of(cls, path: Path) -> Keys:
        """Return the keys made from the secret in the file `path`; the first time, one is made that only its owner can read.

        The file says which file it is (its inode). So a copy of a dataset, perhaps from somebody who knows its secret, gets another one.
        Whoever removes the file makes all links void.
        """
        text = path.read_text(encoding="ascii", errors="replace") if path.is_file() else ""
        if not re.fullmatch(rf"[0-9a-f]{{{2 * _SECRET_BYTES}}} {path.stat().st_ino if text else 0}", text):
            with atomic_path(path) as temporary:
                temporary.chmod(0o600)
                text = f"{secrets.token_hex(_SECRET_BYTES)} {temporary.stat().st_ino}"
                temporary.write_text(text, encoding="ascii")
        return cls(bytes.fromhex(text.partition(" ")[0]))

    def token(self, place: str) -> str:
        """Return the token of a place: 256 bits."""
        digest = hmac.new(self.secret, place.encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

    def fits(self, place: str, token: str) -> bool:
        """Return whether `token` is that of `place`, in a time that tells nothing."""
        return hmac.compare_digest(self.token(place).encode(), token.encode(errors="replace"))

    def link(self, place: str) -> str:
        """Return the address, without host, that opens a place."""
        return f"/{place}/?token={self.token(place)}"


class Guard:
    """Lets in who has a token, comes from this page and asks for little enough."""

    def __init__(self, keys: Keys, *, host: str) -> None:
        self._keys = keys
        self._names = {"localhost", socket.gethostname().lower(), host.lower()}
        self._num_sockets = 0
        self.known: set[object] = set()  # connections on which a token came

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer a request, or say in one line why not."""
        refusal = self._refusal(request)
        if refusal is not None:
            refusal.force_close()
            return refusal
        self.known.add(request.protocol)
        if "token" in request.query:
            return self._welcome(request)
        try:
            if request.headers.get("Upgrade", "").lower() != "websocket":
                return await handler(request)
            if self._num_sockets >= MAX_SOCKETS:
                return _error(503, f"more than {MAX_SOCKETS} sockets are open")
            self._num_sockets += 1
            try:
                return await handler(request)
            finally:
                self._num_sockets -= 1
        except SttFtError as error:
            return _error(409, str(error))
        except web.HTTPException as error:
            return _error(error.status, error.text or error.reason)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception as error:  # one request that fails must not end the others' session
            say(f"{request.method} {request.path}: {type(error).__name__}: {error}")
            return _error(500, f"{type(error).__name__}; the terminal says more")

    def _refusal(self, request: web.Request) -> web.Response | None:
        host = request.headers.get("Host", "")
        if not self._is_ours(host):
            return _error(421, f"this studio is not reached under the name {host[:100]!r}; stt-ft studio --host NAME allows one")
        origin = request.headers.get("Origin")
        must_say = request.method not in _SAFE_METHODS or "Upgrade" in request.headers
        if (origin is not None and urlsplit(origin).netloc != host) or (origin is None and must_say):
            return _error(403, "another page than the studio's asked for this")
        place = PLACE.match(request.path)
        if place is None:
            return _error(403, "the address lacks whose page it is; open the link that `stt-ft studio` has printed")
        name = place["place"]
        token = request.query.get("token") if _is_entry(request, name) else None
        if not self._keys.fits(name, request.cookies.get(_cookie(request), "") if token is None else token):
            return _error(403, "the token is missing or wrong; open the whole link that `stt-ft studio` has printed, or that you were sent")
        if (request.content_length or 0) > MAX_BODY_BYTES:
            return _error(413, f"a request holds {MAX_BODY_BYTES} bytes at most")
        request["place"] = name
        return None

    def _is_ours(self, host: str) -> bool:
        """Whether a Host header names this machine. A number always may: a foreign page that has been led here by DNS comes with a name."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _welcome(self, request: web.Request) -> web.Response:
        """Turn the token of a link into a cookie. The page goes on by itself: a redirect would come from the site that had the link, and
        no cookie would be sent with it."""
        place = request["place"]
        head = f'<meta http-equiv="refresh" content="0;url=/{place}/"><title>stt-ft studio</title><link rel="icon" href="data:,">'
        page = f"<!doctype html>{head}"
        response = web.Response(text=page, content_type="text/html")
        response.set_cookie(_cookie(request), request.query["token"], path=f"/{place}/", httponly=True, samesite="Strict")
        return response

    @staticmethod
    async def seal(request: web.Request, response: web.StreamResponse) -> None:
        """Give every answer the headers by which a browser keeps others out (a signal of aiohttp, before an answer goes out)."""
        host = request.headers.get("Host", "").split()[:1]
        sockets = f"ws://{host[0]} wss://{host[0]}" if host and re.fullmatch(r"[\w.:\[\]-]+", host[0]) else ""
        response.headers.update(
            {
                "Server": "stt-ft",
                "Cache-Control": "no-store",
                "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
                f"connect-src 'self' {sockets}; media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
                "Cross-Origin-Opener-Policy": "same-origin",
                "Cross-Origin-Resource-Policy": "same-origin",
                "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
                "Referrer-Policy": "no-referrer",
                "X-Content-Type-Options": "nosniff",
                "X-Frame-Options": "DENY",
            }
        )


def _is_entry(request: web.Request, place: str) -> bool:
    return request.method == "GET" and request.path == f"/{place}/" and "token" in request.query


def _cookie(request: web.Request) -> str:
    """Return the name of the cookie: cookies do not tell ports apart, and two studios may run on one machine."""
    return f"stt-ft-studio-{request.transport.get_extra_info('sockname')[1] if request.transport else 0}"


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": message}, status=status)


class Doors:
    """Makes a protocol for each connection that comes in, and keeps their number in bounds.

    A connection without a token has `STRANGER_S` seconds; where more than `MAX_STRANGERS` wait, the oldest is dropped. So whoever opens a
    thousand sockets shuts nobody out who has a token.
    """

    def __init__(self, server: web.Server, guard: Guard) -> None:
        self._server, self._guard = server, guard

    def __call__(self) -> asyncio.BaseProtocol:
        connected = self._server.connections  # the oldest first
        self._guard.known &= set(connected)
        strangers = [connection for connection in connected if connection not in self._guard.known]
        for stranger in strangers[: max(0, len(strangers) - MAX_STRANGERS + 1)]:
            stranger.force_close()
            _abort(stranger)
        if len(self._guard.known) >= MAX_KNOWN:
            return _Refused()
        connection = self._server()
        asyncio.get_running_loop().call_later(STRANGER_S, self._end_if_strange, connection)
        return connection

    def _end_if_strange(self, connection: web.RequestHandler) -> None:
        if connection not in self._guard.known:
            _abort(connection)


class _Refused(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def _abort(connection: web.RequestHandler) -> None:
    if isinstance(connection.transport, asyncio.Transport):
        connection.transport.abort()
