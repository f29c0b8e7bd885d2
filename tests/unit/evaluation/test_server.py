"""A running server: a fake one that replays a conversation, with all that can go wrong; and moshi-server itself, where it is installed."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import subprocess
import threading
import time
import urllib.request
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from random_models import make_random_base, write_dataset

aiohttp = pytest.importorskip("aiohttp")
msgpack = pytest.importorskip("msgpack")
from aiohttp import web  # noqa: E402

from stt_ft.audio.files import write_wav  # noqa: E402
from stt_ft.core.errors import ConfigError, ServerError  # noqa: E402
from stt_ft.evaluation.report import read_report  # noqa: E402
from stt_ft.evaluation.server import AsrServer  # noqa: E402
from stt_ft.export.candle import export_candle  # noqa: E402
from stt_ft.stages.evaluate import evaluate  # noqa: E402

SOUND = np.zeros(5 * 1920, dtype=np.float32)


@contextlib.contextmanager
def fake_server(*, slots=4, breaks_after=None, message=None, status=None, info=True):
    """Yield a server that tells of every frame, and of the word "one" after the third; it drops those after `breaks_after`."""
    streams = []

    async def stream(request):
        if status is not None:
            return web.Response(status=status)
        assert request.headers["kyutai-api-key"] == "public_token"
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        streams.append(socket)
        breaks = breaks_after is not None and len(streams) > breaks_after

        async def tell(**value):
            await socket.send_bytes(msgpack.packb(value))

        if message is not None:
            await socket.send_bytes(message)
        await tell(type="Ready")
        frame = 0
        async for received in socket:
            assert len(msgpack.unpackb(received.data)["pcm"]) == 1920
            if breaks:
                break
            await tell(type="Step", step_idx=100 + frame, prs=[frame / 10, 0.5], buffered_pcm=0)
            if frame == 2:
                await tell(type="Word", text="one", start_time=0.08)
            frame += 1
        return socket

    async def build_info(_):
        return web.json_response({"git_describe": "fake"} if info else [])

    async def modules_info(_):
        return web.json_response([{"path": "/api/asr-streaming", "lm": "model", "used_slots": "0", "total_slots": str(slots)}])

    app = web.Application()
    routes = {"/api/asr-streaming": stream, "/api/build_info": build_info, "/api/modules_info": modules_info}
    app.add_routes([web.get(path, handler) for path, handler in routes.items()])
    loop, ready, address = asyncio.new_event_loop(), threading.Event(), []

    async def start():
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        address.append(site._server.sockets[0].getsockname()[1])
        ready.set()

    def run():
        loop.run_until_complete(start())
        loop.run_forever()

    threading.Thread(target=run, daemon=True).start()
    ready.wait()
    try:
        yield f"ws://127.0.0.1:{address[0]}", streams
    finally:
        loop.call_soon_threadsafe(loop.stop)


def asked(url, streams=2, *, real_time=False):
    return AsrServer(url=url, num_streams=streams, real_time=real_time)


def sounds(count):
    return {f"clip{index}": lambda: SOUND for index in range(count)}


@pytest.mark.parametrize("real_time", [False, True])
def test_every_frame_and_word_is_taken_in_its_place(tmp_path, real_time):
    with fake_server() as (url, _):
        told = asked(url, real_time=real_time).listen(sounds(3), tmp_path / "kept", {})
    assert list(told) == ["clip0", "clip1", "clip2"]
    for one in told.values():
        assert np.allclose(one.pauses, [[frame / 10, 0.5] for frame in range(5)])
        assert [(word.text, word.start_s, word.row) for word in one.words] == [("one", 0.08, 2)]
        assert (one.late_s >= 0).all()
        assert (one.late_s < 0.5).all()


def test_finished_clips_are_kept_and_not_streamed_again(tmp_path):
    kept = tmp_path / "kept"
    reason = r"ended the stream in the middle of clip clip2; 2 of 3 clips are kept in .*kept; the same"
    with fake_server(breaks_after=2) as (url, _), pytest.raises(ServerError, match=reason):
        asked(url, 1).listen(sounds(3), kept, {})
    head = json.loads(kept.read_text().splitlines()[0])
    with fake_server() as (url, streams):
        kept.write_text(kept.read_text().replace(head["url"], url) + '{"clip": "clip2", "wor')  # killed while it wrote
        assert len(asked(url, 1).listen(sounds(3), kept, {})) == 3
        assert len(streams) == 1
        asked(url, 1).listen(sounds(3), kept, {"model": "another"})
        assert len(streams) == 4


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"message": msgpack.packb({"type": "Error", "message": "no free channels"})}, r"is full \(no free channels\) for --streams 2"),
        ({"status": 503}, r"is full \(status 503\)"),
        ({"status": 401}, "the key is refused; STT_FT_SERVER_KEY"),
        ({"slots": 1}, "hears 1 at once"),
        ({"info": False}, "what answers is not moshi-server 0.6.4"),
        ({"message": b"\xc1"}, "not msgpack"),
        ({"message": msgpack.packb([1])}, "without a type"),
        ({"message": msgpack.packb({"type": "Step"})}, "a message that moshi-server 0.6.4 does not send"),
    ],
)
def test_what_goes_wrong_is_one_line(tmp_path, monkeypatch, how, reason):
    monkeypatch.setattr("stt_ft.evaluation.server.SLOT_PATIENCE_S", 0.3)
    with fake_server(**how) as (url, _), pytest.raises(ServerError, match=reason) as error:
        asked(url).listen(sounds(2), tmp_path / "kept", {})
    assert "\n" not in str(error.value)


def test_a_server_that_is_gone_or_misnamed_is_one_line(tmp_path):
    with pytest.raises(ServerError, match=r"no answer .*moshi-server worker"):
        asked("ws://127.0.0.1:9").listen(sounds(1), tmp_path / "kept", {})
    with pytest.raises(ConfigError, match="--server must be ws://HOST:PORT"):
        asked("127.0.0.1:8080")


def moshi_server():
    """Return the program; skip where it is not installed."""
    cached = Path.home() / ".cache" / "stt-ft" / "moshi-server"
    program = os.environ.get("STT_FT_MOSHI_SERVER") or shutil.which("moshi-server") or (str(cached) if cached.is_file() else None)
    if program is None:
        pytest.skip("no moshi-server (cargo install moshi-server --version 0.6.4 --locked); STT_FT_MOSHI_SERVER names it")
    return program


LONG_S = 12
"""A clip so long goes beyond the ten seconds that the codec looks back: there the server sees a step less than upstream of a whole clip."""


@pytest.mark.slow
def test_moshi_server_tells_what_our_engine_expects(tmp_path):
    model = make_random_base(tmp_path / "served", shape="served")
    export = tmp_path / "export"
    export_candle(model, export)
    config = export / "moshi-server.toml"
    config.write_text(re.sub(r"batch_size = \d+", "batch_size = 2", config.read_text()))
    data, port = write_dataset(tmp_path / "data", {"heldout": 3}), 8997
    (*clips, last), swell = data.clips("heldout"), np.sin(np.linspace(0, 6 * np.pi, LONG_S * 24_000)) ** 2
    write_wav(data.audio_path(last), (np.random.default_rng(3).normal(0, 0.1, len(swell)) * swell).astype(np.float32))
    data.write_clips("heldout", [*clips, replace(last, duration_s=float(LONG_S))])
    command = [moshi_server(), "worker", "--cpu", "--config", config.name, "--addr", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(command, cwd=export, env={**os.environ, "HOME": str(tmp_path)}, stdout=subprocess.DEVNULL)
    try:
        for _ in range(240):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api/build_info").read()
                break
            assert server.poll() is None
            time.sleep(0.5)
        how = {"server": f"ws://127.0.0.1:{port}", "streams": 2, "silero": False, "smart_turn": "none", "device": "cpu"}
        evaluate(model.directory, data.directory, out=tmp_path / "out", **how)
    finally:
        server.terminate()
        server.wait()
    served = read_report(tmp_path / "out").served
    assert served is not None
    assert (served.num_clips, served.same_words, served.partings) == (3, 3, [])
    assert served.max_pause_difference < 1e-4
    assert not (tmp_path / "out" / "server.kept.jsonl").exists()
