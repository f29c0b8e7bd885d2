"""The tab Try out, at the desk: sound from the microphone, and the words and pause probabilities that a server would send for it.

One model, or two side by side. Sound comes over a websocket as 16-bit PCM. What the two say to each other, in JSON but for sound:

    {"rate_hz": 48000}  ->  {"ready": true}, once the models are loaded
    samples             ->  {"model": 0, "frames": [{"heard_s": 0.08, "words": [[text, start, end, appeared]], "pause": […]}]}
    {"end": true}       ->  the frames of the silence in which the last words come, then {"done": true}

A frame with which the model would have ended the turn has "ended": true. A loaded model hears one stream at a time, so one page tries out
at a time; the socket takes in no more sound while the models are busy.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from aiohttp import WSMsgType, web

from stt_ft.audio.microphone import FrameCutter
from stt_ft.core.errors import SttFtError
from stt_ft.core.timing import SAMPLE_RATE_HZ, SAMPLES_PER_FRAME
from stt_ft.metrics.endpointing import EndpointRule
from stt_ft.studio.tab import Studio, Tab
from stt_ft.studio.takes import MAX_RATE_HZ, MIN_RATE_HZ
from stt_ft.targets.pause_targets import HORIZONS_S

if TYPE_CHECKING:
    from stt_ft.model.transcriber import LiveFrame, LiveListener, Transcriber

MAX_SOUND_S = 600.0
"""Longest stream; then it ends as if the page had ended it."""

IDLE_S = 30.0
"""A page that sends nothing for so long is gone."""

MAX_MESSAGE_BYTES = 256 * 1024

_Result = TypeVar("_Result")


class TurnEnds:
    """Finds where a plain rule ends turns in sound that goes on: where it passes, once the level has been below since it last did.

    The stream begins as if a turn had just ended, so the silence before the first word ends none.
    """

    def __init__(self, rule: EndpointRule) -> None:
        self._rule, self._row, self._num_above, self._is_over = rule, 0, 0, True

    def hear(self, pause_probs: Sequence[float] | np.ndarray) -> bool:
        """Take in the probabilities of the next row; return whether the turn ends with it."""
        is_counted = self._row >= self._rule.ignore_frames and self._rule.head < len(pause_probs)
        self._row += 1
        if not is_counted:
            return False
        if not pause_probs[self._rule.head] > self._rule.threshold:
            self._num_above, self._is_over = 0, False
            return False
        self._num_above += 1
        ends = not self._is_over and self._num_above >= self._rule.hold_frames
        self._is_over |= ends
        return ends


@dataclass(kw_only=True)
class _Model:
    """One model; `label` is the flag that named it, `role` its colour.

    It is loaded and run in `thread`, which all models share: two threads that run small models hand Python's lock to and fro at each
    operation. Two tiny models then took 13 s for 40 frames, and one after the other takes 0.7 s.
    """

    source: str
    label: str
    role: str
    thread: ThreadPoolExecutor
    transcriber: Transcriber | None = None

    async def run(self, work: Callable[[], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self.thread, work)

    def listener(self) -> LiveListener:
        """Return a listener that has heard the silence before the sound; the model is loaded if need be."""
        from stt_ft.model.transcriber import Transcriber

        if self.transcriber is None:
            self.transcriber = Transcriber.open(self.source)
        listener = self.transcriber.live()
        listener.__enter__()
        return listener


@dataclass
class _Bench:
    """The models to try out; `taken` while a page does."""

    models: list[_Model]
    taken: asyncio.Lock = field(default_factory=asyncio.Lock)

    @classmethod
    def of(cls, studio: Studio) -> _Bench:
        if "try" not in studio.kept:
            wanted = (("model", "ours", studio.model), ("against", "theirs", studio.against))
            thread = ThreadPoolExecutor(max_workers=1)
            given = [(label, role, source) for label, role, source in wanted if source is not None]
            studio.kept["try"] = cls([_Model(source=source, label=label, role=role, thread=thread) for label, role, source in given])
        return studio.kept["try"]


async def _state(studio: Studio, request: web.Request) -> web.Response:
    rule = EndpointRule()
    return web.json_response(
        {
            "models": [
                {"name": Path(model.source).name or model.source, "label": model.label, "role": model.role}
                for model in _Bench.of(studio).models
            ],
            "rule": {"head": rule.head, "threshold": rule.threshold},
            "horizons_s": HORIZONS_S,
            "max_s": MAX_SOUND_S,
        }
    )


async def _socket(studio: Studio, request: web.Request) -> web.WebSocketResponse:
    bench = _Bench.of(studio)
    if not bench.models:
        raise web.HTTPNotFound(text="the studio was started without --model")
    socket = web.WebSocketResponse(max_msg_size=MAX_MESSAGE_BYTES, compress=False)
    await socket.prepare(request)
    try:
        if bench.taken.locked():
            await socket.send_json({"error": "another page is trying the models out; one at a time"})
        else:
            async with bench.taken:
                await _try_out(bench.models, socket)
    except SttFtError as error:
        await socket.send_json({"error": str(error)})
    except ConnectionError:
        pass  # the page is gone
    await socket.close()
    return socket


async def _try_out(models: Sequence[_Model], socket: web.WebSocketResponse) -> None:
    told = await _told(socket)
    rate_hz = told.get("rate_hz") if isinstance(told, dict) else None
    if not isinstance(rate_hz, int) or not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        await socket.send_json({"error": f"expected a rate of {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz"})
        return
    listeners: list[LiveListener | None] = [None] * len(models)
    ends = [TurnEnds(EndpointRule()) for _ in models]

    async def enter(place: int) -> None:
        listeners[place] = await models[place].run(models[place].listener)

    async def hear(place: int, frames: Sequence[np.ndarray], *, is_last: bool) -> None:
        listener = listeners[place]
        assert listener is not None

        def work() -> list[LiveFrame]:
            return [*map(listener.hear, frames), *(listener.finish() if is_last else ())]

        heard = [_shown(frame, ends[place]) for frame in await models[place].run(work)]
        if heard:
            await socket.send_json({"model": place, "frames": heard})

    try:
        await asyncio.gather(*(enter(place) for place in range(len(models))))
        await socket.send_json({"ready": True})
        cutter, is_last = FrameCutter(rate_hz, SAMPLE_RATE_HZ, frame_samples=SAMPLES_PER_FRAME), False
        while not is_last:
            told = await _told(socket)
            if told is None:
                return
            is_last = isinstance(told, dict) or cutter.num_frames * SAMPLES_PER_FRAME >= MAX_SOUND_S * SAMPLE_RATE_HZ
            pcm = np.frombuffer(told if isinstance(told, bytes) else b"", "<i2")
            frames = cutter.cut(pcm.astype(np.float32) / 32768, is_last=is_last)
            await asyncio.gather(*(hear(place, frames, is_last=is_last) for place in range(len(models))))
        await socket.send_json({"done": True})
    finally:
        for model, listener in zip(models, listeners, strict=True):
            if listener is not None:
                await asyncio.shield(model.run(lambda listener=listener: listener.__exit__(None, None, None)))


async def _told(socket: web.WebSocketResponse) -> bytes | dict[str, Any] | None:
    """Return what the page sends next: whole samples, or what it says; None where it is gone."""
    try:
        message = await asyncio.wait_for(socket.receive(), IDLE_S)
    except asyncio.TimeoutError:
        return None
    if message.type is WSMsgType.BINARY:
        return message.data[: len(message.data) // 2 * 2]
    if message.type is not WSMsgType.TEXT:
        return None
    try:
        said = json.loads(message.data)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _shown(frame: LiveFrame, ends: TurnEnds) -> dict[str, Any]:
    told = frame.to_json()
    return {**told, "ended": True} if ends.hear(frame.pause_probs) else told


TAB = Tab(name="try", title="Try out", at="desk", routes={"GET api/try": _state, "GET api/try/socket": _socket})
