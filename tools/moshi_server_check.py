"""moshi-server itself on an export: start it on the CPU, stream a WAV to it over its websocket, and compare its words and `prs` with ours.

    cargo install moshi-server --version 0.6.4 --locked     some minutes, once; what it wants is in docs/serving.md
    python tools/make_random_base.py --shape served --out /tmp/served
    python tools/moshi_server_check.py /tmp/served --wav take.wav        needs msgpack (pip install msgpack)

Opt-in, and no part of the tests. The model needs a Mimi of Kyutai's shape, which is fixed in moshi-server (`moshi::mimi::Config::v0_1` in
batched_asr.rs): of the tiny model it knows the language model but not the codec.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import msgpack  # pyright: ignore[reportMissingImports]
import numpy as np
import torch

from stt_ft.audio.files import read_audio
from stt_ft.core.timing import SAMPLES_PER_FRAME
from stt_ft.export.candle import delay_in_tokens, export_candle
from stt_ft.model.checkpoint_dir import ModelDir, open_model
from stt_ft.model.codes import MimiCodec
from stt_ft.model.streaming import ClipStream, stream_codes
from stt_ft.model.stt_lm import load_lm

PORT, START_TIMEOUT_S, ANSWER_TIMEOUT_S = 8998, 120.0, 60.0


@dataclass(kw_only=True)
class Told:
    """What the server told: words with their start, and the probabilities of the pause heads, frame by frame."""

    words: list[tuple[str, float]] = field(default_factory=list)
    pauses: list[list[float]] = field(default_factory=list)


def expected_words(model: ModelDir, stream: ClipStream) -> list[tuple[str, float]]:
    """Return the words that the server makes of our tokens (`State::step_tokens` of moshi-core's asr.rs), and when it says they start."""
    tokenizer, delay = model.tokenizer, delay_in_tokens(model.text_lag_s)
    words, pieces, start_s = [], [], 0.0
    for step, token in enumerate(stream.text_tokens.tolist(), start=1):
        if step < delay:
            continue
        if token not in (0, 3):
            pieces.append(token)
        elif pieces:
            words.append((str(tokenizer.decode(pieces)), start_s))
            pieces = []
        if token == 0:
            start_s = (step - delay) / 12.5
    return words


def codes_as_the_server(model: ModelDir, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the codes [n_q, T] that the server makes of a stream's sound, and ours.

    Mimi's downsampling repeats a stream's first value before its beginning. The server warms up on silence and then clears each stream's
    state to zeros (`StreamableConv1d::reset_batch_idx` in conv.rs of the crate), so there are zeros before its streams. It is the first
    frame that hears it.
    """
    codec = MimiCodec.load(model)
    ours = codec.encode([samples])[0]
    downsample: Any = codec._mimi.downsample
    downsample.conv.pad_mode = "constant"
    return codec.encode([samples])[0], ours


async def stream_wav(samples: np.ndarray) -> Told:
    """Send the sound frame by frame, each when the server has told of the one before, and a frame of silence that tells when all is told.

    Sent at once, a long clip would be cut off on a slow machine: the server closes a stream that has sent nothing for two minutes, and what
    it had not come to is lost.
    """
    told = Told()
    url, headers = f"ws://127.0.0.1:{PORT}/api/asr-streaming", {"kyutai-api-key": "public_token"}
    async with aiohttp.ClientSession() as session, session.ws_connect(url, headers=headers) as socket:
        for frame in (*samples.reshape(-1, SAMPLES_PER_FRAME), np.zeros(SAMPLES_PER_FRAME, dtype=np.float32)):
            packed: Any = msgpack.packb({"type": "Audio", "pcm": frame.tolist()}, use_single_float=True)
            await socket.send_bytes(packed)
            message: Any = {}
            while message.get("type") != "Step":
                message = msgpack.unpackb(await asyncio.wait_for(socket.receive_bytes(), ANSWER_TIMEOUT_S))
                if message["type"] == "Word":
                    told.words.append((message["text"], message["start_time"]))
                elif message["type"] == "Error":
                    raise SystemExit(f"moshi-server: {message['message']}")
            told.pauses.append(message["prs"])
    told.pauses.pop()
    return told


async def wait_until_up(server: subprocess.Popen[bytes]) -> None:
    """Wait for the server to answer; fail when it ends instead."""
    async with aiohttp.ClientSession() as session:
        for _ in range(int(START_TIMEOUT_S * 2)):
            if server.poll() is not None:
                raise SystemExit(f"moshi-server ended with {server.returncode}; its words are above")
            try:
                async with session.get(f"http://127.0.0.1:{PORT}/api/build_info"):
                    return
            except aiohttp.ClientError:
                await asyncio.sleep(0.5)
    raise SystemExit(f"moshi-server did not come up in {START_TIMEOUT_S:.0f} s")


def start_server(program: str, directory: Path) -> subprocess.Popen[bytes]:
    """Start moshi-server on an exported directory, for one stream: on a CPU 64 of them, idle or not, would not keep up."""
    config = directory / "moshi-server.toml"
    config.write_text(re.sub(r"batch_size = \d+", "batch_size = 1", config.read_text()))
    command = [program, "worker", "--cpu", "--config", config.name, "--addr", "127.0.0.1", "--port", str(PORT)]
    return subprocess.Popen(command, cwd=directory, env={**os.environ, "HOME": str(directory)}, stdout=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="model directory with a Mimi of Kyutai's shape")
    parser.add_argument("--wav", type=Path, required=True)
    parser.add_argument("--server", default="moshi-server", help="the program")
    arguments = parser.parse_args()
    program = shutil.which(arguments.server)
    if program is None:
        raise SystemExit(f"{arguments.server}: no such program; cargo install moshi-server --version 0.6.4 --locked")
    model = open_model(arguments.model)
    samples = read_audio(arguments.wav)
    codes, our_codes = codes_as_the_server(model, samples)
    other = np.flatnonzero((codes != our_codes).any(axis=0)).tolist()
    print(f"frames of which the server, clearing Mimi to zeros, makes other codes than we do: {other}")
    (ours,) = stream_codes(load_lm(model, device=torch.device("cpu"), dtype=torch.float32), [codes])
    played = np.zeros(codes.shape[1] * SAMPLES_PER_FRAME, dtype=np.float32)
    start = model.num_prefix_frames * SAMPLES_PER_FRAME
    played[start : start + len(samples)] = samples
    print(f"{arguments.wav}: {codes.shape[1]} frames, {model.num_tail_frames()} of them silence at the end")
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch) / "export"
        export_candle(model, directory)
        server = start_server(str(Path(program).absolute()), directory)
        try:
            asyncio.run(wait_until_up(server))
            told = asyncio.run(stream_wav(played))
        finally:
            server.terminate()
            server.wait()
    report(told, ours, expected_words(model, ours))


def report(told: Told, ours: ClipStream, words: list[tuple[str, float]]) -> None:
    """Print how the server and ours compare; fail where they part."""
    theirs = np.array(told.pauses, dtype=np.float32)
    difference = float(np.abs(theirs - ours.pause_probs[: len(theirs)]).max())
    print(f"prs: {len(theirs)} of {len(ours.pause_probs)} frames told, at most {difference:.2g} from ours")
    print(f"words: {len(told.words)} told, {len(words)} expected, {'the same' if told.words == words else 'NOT the same'}")
    if difference > 1e-3 or told.words != words:
        raise SystemExit(f"they part\nserver: {told.words}\nours:   {words}")


if __name__ == "__main__":
    main()
