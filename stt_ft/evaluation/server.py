"""A running moshi-server as its clients hear it: clips streamed to it over its websocket, many at once, and what it told of each, with the
time by the clock on the wall.

Source: `main.rs`, `asr.rs` and `batched_asr.rs` of moshi-server 0.6.4, and `asr.rs` of the crate moshi. The messages are maps in msgpack.
The client sends `Audio` (`pcm`). The server sends `Ready`, and for every frame of 80 ms a `Step` (`prs`, the pause probabilities) and after
it the `Word`s (`text`, `start_time`) that this frame made whole. A server that is full says so in an `Error`, some proxies before it with
status 503.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from stt_ft.core.atomic import told_of
from stt_ft.core.errors import ConfigError, MissingExtra, ServerError
from stt_ft.core.json_yaml import parse_json
from stt_ft.core.progress import track
from stt_ft.core.timing import FRAME_S, SAMPLES_PER_FRAME, frame_heard_s

PROTOCOL = "moshi-server 0.6.4"
"""The version whose messages are understood."""

STREAM_PATH, KEY_HEADER = "/api/asr-streaming", "kyutai-api-key"

KEY_VARIABLE, DEFAULT_KEY = "STT_FT_SERVER_KEY", "public_token"
"""Environment variable with the key that the server asks for (`authorized_ids` in moshi-server.toml), and the key of Kyutai's samples."""

ANSWER_TIMEOUT_S = 60.0
"""For so long a server may tell nothing."""

SLOT_PATIENCE_S = 10.0
"""For so long a full server is asked again: the slot of a stream that has ended is free a moment later."""


@dataclass(frozen=True, kw_only=True)
class ToldWord:
    """A word as the server sent it: with its start in seconds of the stream, after the step of frame `row`."""

    text: str
    start_s: float
    row: int


@dataclass(frozen=True, kw_only=True)
class Told:
    """What the server told of one clip.

    Attributes:
        pauses: `prs` of every frame [T, H].
        late_s: seconds by the clock on the wall from the end of a frame's sound (real time), or from its sending, to its step [T].
    """

    words: tuple[ToldWord, ...]
    pauses: npt.NDArray[np.float32]
    late_s: npt.NDArray[np.float64]

    def to_json(self) -> dict[str, Any]:
        words = [[word.text, word.start_s, word.row] for word in self.words]
        return {"words": words, "pauses": self.pauses.tolist(), "late_s": self.late_s.round(6).tolist()}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Told:
        """Read what `to_json` wrote; raises `ValueError`, `KeyError` or `TypeError` when it is not that."""
        return cls(
            words=tuple(ToldWord(text=text, start_s=start_s, row=row) for text, start_s, row in value["words"]),
            pauses=np.array(value["pauses"], dtype=np.float32),
            late_s=np.array(value["late_s"], dtype=np.float64),
        )


class _Full(ServerError):
    """The server has no free slot."""


@dataclass(frozen=True, kw_only=True)
class AsrServer:
    """A moshi-server.

    Attributes:
        url: ws://HOST:PORT, perhaps with another path than the server's usual one.
        num_streams: clips that it hears at once.
        real_time: send 80 ms of sound every 80 ms; else each frame once the one before has been told of.
    """

    url: str
    num_streams: int
    real_time: bool

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("ws", "wss") or not parts.hostname:
            raise ConfigError(f"--server must be ws://HOST:PORT or wss://HOST, got {self.url!r}")
        if self.num_streams <= 0:
            raise ConfigError(f"--streams must be positive, got {self.num_streams}")
        _client()

    @property
    def address(self) -> str:
        """Where the stream is asked for."""
        return self.url if urlsplit(self.url).path.strip("/") else self.url.rstrip("/") + STREAM_PATH

    def check(self) -> dict[str, Any]:
        """Return what the server says of itself; raises `ServerError`: gone, another program or version, without this path, or full."""
        return asyncio.run(self._check())

    async def _check(self) -> dict[str, Any]:
        aiohttp, _ = _client()
        parts = urlsplit(self.url)
        home = f"{'https' if parts.scheme == 'wss' else 'http'}://{parts.netloc}"
        other = ServerError(f"{self.url}: what answers is not {PROTOCOL}, or a version whose messages are not known")
        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S)) as session:
                found = []
                for name in ("build_info", "modules_info"):
                    async with session.get(f"{home}/api/{name}") as answer:
                        if answer.status in (502, 503, 504):
                            raise ServerError(f"{self.url}: status {answer.status}: the server is full, or gone from behind its proxy")
                        found.append(await answer.json() if answer.status == 200 else None)
        except (aiohttp.ContentTypeError, ValueError):
            raise other from None
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
            raise self._gone(error) from None
        build, modules = found
        if not isinstance(build, dict) or not isinstance(modules, list):
            raise other
        paths = {module.get("path"): module for module in modules if isinstance(module, dict)}
        module = paths.get(urlsplit(self.address).path)
        if module is None:
            serves = ", ".join(map(str, paths)) or "nothing that hears many at once"
            raise ServerError(f"{self.url}: no {urlsplit(self.address).path} there; it serves {serves}")
        total = int(module.get("total_slots", self.num_streams))
        if self.num_streams > total:
            raise ServerError(f"--streams {self.num_streams}: {self.url} hears {total} at once (batch_size in its moshi-server.toml)")
        return {"build": build.get("git_describe"), "lm": module.get("lm"), "slots": total}

    def listen(
        self, sounds: Mapping[str, Callable[[], npt.NDArray[np.float32]]], kept: Path, made_of: Mapping[str, Any]
    ) -> dict[str, Told]:
        """Stream every one of `sounds`, whole frames of mono sound at 24 kHz, and return what was told of each.

        Each clip is kept in the file `kept` as soon as it is told of. What lies there already is not streamed again, if it is of the same
        server, pace and `made_of`. The caller removes the file.

        Raises:
            ServerError: the server is gone, silent, full, refuses the key, or speaks otherwise than `PROTOCOL`.
        """
        head = {"server": self.check(), "url": self.url, "streams": self.num_streams, "real_time": self.real_time, **made_of}
        told = {clip: one for clip, one in _read_kept(kept, head).items() if clip in sounds}
        left = {clip: load for clip, load in sounds.items() if clip not in told}
        with told_of(kept):
            kept.parent.mkdir(parents=True, exist_ok=True)
            lines = [head, *({"clip": clip, **one.to_json()} for clip, one in told.items())]
            kept.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")

        def keep(clip: str, one: Told) -> None:
            told[clip] = one
            with told_of(kept), kept.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"clip": clip, **one.to_json()}) + "\n")

        try:
            asyncio.run(self._listen(left, keep))
        except ServerError as error:
            way_out = f"{len(told)} of {len(sounds)} clips are kept in {kept}; the same command goes on from there"
            raise ServerError(f"{error}; {way_out}") from None
        return {clip: told[clip] for clip in sounds}

    async def _listen(self, sounds: Mapping[str, Callable[[], npt.NDArray[np.float32]]], keep: Callable[[str, Told], None]) -> None:
        """Stream all of `sounds`, `num_streams` at once; the first error ends all of them."""
        aiohttp, _ = _client()
        slots: asyncio.Queue[int] = asyncio.Queue()
        for slot in range(self.num_streams):
            slots.put_nowait(slot)
        async with aiohttp.ClientSession() as session:

            async def one(clip: str, load: Callable[[], npt.NDArray[np.float32]]) -> tuple[str, Told]:
                slot = await slots.get()
                try:
                    frames = await asyncio.to_thread(_packed, load)
                    # Callers do not speak in step: the streams' frames are spread over the 80 ms.
                    return clip, await self._stream_when_free(session, frames, clip, phase_s=slot * FRAME_S / self.num_streams)
                finally:
                    slots.put_nowait(slot)

            tasks = [asyncio.create_task(one(clip, load)) for clip, load in sounds.items()]
            try:
                for finished in track(asyncio.as_completed(tasks), "the server listens", total=len(tasks)):
                    keep(*await finished)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _stream_when_free(self, session: Any, frames: list[bytes], clip: str, *, phase_s: float) -> Told:
        until_s = time.monotonic() + SLOT_PATIENCE_S
        while True:
            try:
                return await self._stream(session, frames, clip, phase_s=phase_s)
            except _Full:
                if time.monotonic() > until_s:
                    raise
                await asyncio.sleep(0.2)

    async def _stream(self, session: Any, frames: list[bytes], clip: str, *, phase_s: float) -> Told:
        """Send `frames`, the last of which only shows that all before have been told of, and take what is told."""
        aiohttp, _ = _client()
        headers = {KEY_HEADER: os.environ.get(KEY_VARIABLE, DEFAULT_KEY)}
        try:
            async with session.ws_connect(self.address, headers=headers, max_msg_size=0) as socket:
                return await self._talk(socket, frames, clip, phase_s)
        except aiohttp.WSServerHandshakeError as error:
            if error.status == 503:
                raise _Full(f"{self.url} is full (status 503) for --streams {self.num_streams}") from None
            reason = f"the key is refused; {KEY_VARIABLE} names another" if error.status == 401 else "the stream is refused"
            raise ServerError(f"{self.url}: {reason} (status {error.status})") from None
        except asyncio.TimeoutError:
            raise ServerError(f"{self.url} told nothing for {ANSWER_TIMEOUT_S:.0f} s in clip {clip}: too slow, or stuck") from None
        except (aiohttp.ClientError, OSError) as error:
            raise self._gone(error) from None

    async def _talk(self, socket: Any, frames: list[bytes], clip: str, phase_s: float) -> Told:
        due_s: list[float] = []
        taken = asyncio.Event()

        async def send() -> None:
            begin_s = time.monotonic() + phase_s
            for number, frame in enumerate(frames):
                if self.real_time:
                    due_s.append(begin_s + frame_heard_s(number))
                    await asyncio.sleep(due_s[-1] - time.monotonic())
                else:
                    taken.clear()
                    due_s.append(time.monotonic())
                await socket.send_bytes(frame)
                if not self.real_time:
                    await taken.wait()

        pauses, late_s, words = [], [], []
        sender: asyncio.Task[None] | None = None
        try:
            while len(pauses) < len(frames):
                message = await self._receive(socket, clip)
                if message["type"] == "Ready":
                    sender = sender or asyncio.create_task(send())
                elif message["type"] == "Step":
                    pauses.append(message["prs"])
                    late_s.append(time.monotonic() - due_s[len(pauses) - 1])
                    taken.set()
                elif message["type"] == "Word":
                    words.append(ToldWord(text=message["text"], start_s=float(message["start_time"]), row=len(pauses) - 1))
            table = np.array(pauses[:-1], dtype=np.float32)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise ServerError(f"{self.url}: a message that {PROTOCOL} does not send ({type(error).__name__}: {error})") from None
        finally:
            if sender is not None:
                sender.cancel()
                await asyncio.gather(sender, return_exceptions=True)
        if table.ndim != 2 or not np.isfinite(table).all():
            raise ServerError(f"{self.url}: the pause probabilities of clip {clip} are not numbers")
        return Told(words=tuple(word for word in words if word.row < len(table)), pauses=table, late_s=np.array(late_s[:-1]))

    async def _receive(self, socket: Any, clip: str) -> dict[str, Any]:
        """Return the next message; raises `ServerError` where it is an error or the end."""
        aiohttp, msgpack = _client()
        received = await socket.receive(timeout=ANSWER_TIMEOUT_S)
        if received.type is not aiohttp.WSMsgType.BINARY:
            if received.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR):
                raise ServerError(f"{self.url} ended the stream in the middle of clip {clip}")
            raise ServerError(f"{self.url}: a message in text, where {PROTOCOL} sends msgpack")
        try:
            message = msgpack.unpackb(received.data)
        except Exception as error:  # msgpack raises ValueErrors and errors of its own
            raise ServerError(f"{self.url}: a message that is not msgpack, as {PROTOCOL} sends it ({error})") from None
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            raise ServerError(f"{self.url}: a message without a type, unlike those of {PROTOCOL}")
        if message["type"] == "Error":
            said = str(message.get("message"))
            if "no free channels" in said:
                raise _Full(f"{self.url} is full ({said}) for --streams {self.num_streams}")
            raise ServerError(f"{self.url}: {said}")
        return message

    def _gone(self, error: BaseException) -> ServerError:
        return ServerError(f"{self.url}: no answer ({str(error) or type(error).__name__}); is `moshi-server worker` running there?")


def _packed(load: Callable[[], npt.NDArray[np.float32]]) -> list[bytes]:
    """Return the messages that carry a sound, and one of silence after it: the words of a frame come before the next frame's step."""
    _, msgpack = _client()
    frames = (*load().reshape(-1, SAMPLES_PER_FRAME), np.zeros(SAMPLES_PER_FRAME, dtype=np.float32))
    return [msgpack.packb({"type": "Audio", "pcm": frame.tolist()}, use_single_float=True) for frame in frames]


def _read_kept(path: Path, head: dict[str, Any]) -> dict[str, Told]:
    """Return the clips of `path` where its first line is `head`; a last line that was not written whole is left out."""
    kept: dict[str, Told] = {}
    try:
        first, *lines = path.read_bytes().splitlines()
        if parse_json(first) != head:
            return {}
        for line in lines:
            value = parse_json(line)
            kept[value["clip"]] = Told.from_json(value)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return kept


def _client() -> tuple[ModuleType, ModuleType]:
    """Return aiohttp and msgpack; raises `MissingExtra`."""
    try:
        import aiohttp
        import msgpack
    except ImportError as error:
        raise MissingExtra(error.name or "msgpack", "server", "--server") from None
    return aiohttp, msgpack
