"""How many callers are held in real time at once: every 80 ms frame of each served within 80 ms, at the 99th percentile.

    python tools/bench/streams.py                                       our batched engine: the tiny model, and the `served` shape
    python tools/bench/streams.py --moshi_server PROGRAM                moshi-server too, on the `served` shape

Our engine's time is that of a step of the codec and one of the language model for all callers together, the steps that `evaluate` takes.
The server's is taken by the clock on the wall behind its websocket, of callers whose frames come in turn; it is started anew for each
number, with as many slots. The number is doubled while it is held, and halved in between. Appends to tools/bench/results/.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from moshi.models import loaders

from stt_ft.core.errors import ServerError
from stt_ft.core.timing import FRAME_S, SAMPLES_PER_FRAME
from stt_ft.evaluation.server import AsrServer
from stt_ft.export.candle import export_candle
from stt_ft.model.checkpoint_dir import ModelDir, open_model
from stt_ft.model.streaming import stream_codes
from stt_ft.model.stt_lm import load_lm

sys.path.insert(0, str(Path(__file__).parents[1]))
RESULTS = Path(__file__).parent / "results"
WANTED, MOST = 64, 512
WARM_UP_FRAMES = 10
PORT = 8979


def largest_held(p99_s: Callable[[int], float]) -> tuple[int, dict[int, float]]:
    """Return the largest number of callers held, up to `MOST`, and the 99th percentile in seconds of each number that was tried."""
    tried: dict[int, float] = {}

    def held(number: int) -> bool:
        tried[number] = p99_s(number)
        print(f"{number} callers: {1000 * tried[number]:.1f} ms", file=sys.stderr)
        return tried[number] <= FRAME_S

    low, high = 0, 1
    while high <= MOST and held(high):
        low, high = high, 2 * high
    while high - low > max(1, low // 16):
        middle = (low + high) // 2
        low, high = (middle, high) if held(middle) else (low, middle)
    return low, dict(sorted(tried.items()))


def ours(model: ModelDir, num_frames: int) -> Callable[[int], float]:
    """Return how late our engine is, by the number of callers; beyond the context where `num_frames` is more."""
    lm, rng = load_lm(model), np.random.default_rng(0)
    mimi = loaders.get_mimi(model.mimi_weights, model.mimi_config, num_codebooks=model.n_q)

    def p99_s(number: int) -> float:
        steps_s: list[float] = []

        def timed(steps: Iterable[int]) -> Iterator[int]:
            for step in steps:
                begin_s = time.perf_counter()
                yield step
                steps_s.append(time.perf_counter() - begin_s)

        codes = rng.integers(0, model.config["card"], (number, model.n_q, num_frames)).astype(np.int16)
        stream_codes(lm, list(codes), batch_size=number, progress=timed)
        codec_s: list[float] = []
        with torch.inference_mode(), mimi.streaming(number):
            for _ in range(num_frames):
                sound = torch.randn(number, 1, SAMPLES_PER_FRAME) * 0.1
                begin_s = time.perf_counter()
                mimi.encode(sound)
                codec_s.append(time.perf_counter() - begin_s)
                if len(codec_s) == WARM_UP_FRAMES + 15 and np.median(codec_s[WARM_UP_FRAMES:]) > 2 * FRAME_S:
                    break  # nowhere near
        return float(np.quantile(np.add(codec_s, steps_s[: len(codec_s)])[WARM_UP_FRAMES:], 0.99))

    return p99_s


@contextlib.contextmanager
def running(program: str, export: Path, slots: int) -> Iterator[AsrServer]:
    """Yield a moshi-server of so many slots, asked in real time by as many callers."""
    config = export / f"slots{slots}.toml"
    config.write_text(re.sub(r"batch_size = \d+", f"batch_size = {slots}", (export / "moshi-server.toml").read_text()))
    command = [program, "worker", "--cpu", "--config", config.name, "--addr", "127.0.0.1", "--port", str(PORT)]
    process = subprocess.Popen(command, cwd=export, env={**os.environ, "HOME": str(export)}, stdout=subprocess.DEVNULL)
    server = AsrServer(url=f"ws://127.0.0.1:{PORT}", num_streams=slots, real_time=True)
    try:
        for _ in range(240):
            with contextlib.suppress(ServerError):
                server.check()
                break
            time.sleep(0.5)
        yield server
    finally:
        process.terminate()
        process.wait()


def theirs(program: str, export: Path, num_frames: int) -> Callable[[int], float]:
    """Return how late moshi-server is, by the number of callers."""
    rng = np.random.default_rng(0)

    def p99_s(number: int) -> float:
        sounds = [rng.normal(0, 0.1, num_frames * SAMPLES_PER_FRAME).astype(np.float32) for _ in range(number)]
        with tempfile.TemporaryDirectory() as folder, running(program, export, number) as server:
            told = server.listen({f"{row}": lambda row=row: sounds[row] for row in range(number)}, Path(folder) / "kept", {})
        return float(np.quantile(np.concatenate([one.late_s[WARM_UP_FRAMES:] for one in told.values()]), 0.99))

    return p99_s


def main() -> None:
    """Measure, write."""
    from make_random_base import make_random_base  # pyright: ignore[reportMissingImports]

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moshi_server", help="the program")
    parser.add_argument("--seconds", type=float, default=24.0, help="of sound that each caller speaks")
    arguments = parser.parse_args()
    num_frames = round(arguments.seconds / FRAME_S)
    now, load = datetime.datetime.now(datetime.timezone.utc), os.getloadavg()[0]
    lines = [
        f"# Callers held in real time\n\n{now:%Y-%m-%d %H:%M} UTC, {os.cpu_count()} CPUs, {torch.get_num_threads()} threads, "
        f"load {load:.1f} at the start, {arguments.seconds:g} s of sound a caller, {WANTED} wanted.\n",
        "| | held at once | callers: 99th percentile, ms |\n|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        served = open_model(make_random_base(Path(folder) / "served", shape="served"))
        rows = {"our engine, tiny model": ours(open_model("tiny"), num_frames), "our engine, `served` shape": ours(served, num_frames)}
        if arguments.moshi_server:
            export_candle(served, Path(folder) / "export")
            rows["moshi-server, `served` shape"] = theirs(arguments.moshi_server, Path(folder) / "export", num_frames)
        for name, p99_s in rows.items():
            held, tried = largest_held(p99_s)
            told = f"{held}" if held < MOST else f"{MOST}, the most tried"
            lines.append(
                f"| {name} | {told}{'' if held >= WANTED else ', missed'} | {', '.join(f'{n}: {1000 * s:.0f}' for n, s in tried.items())} |"
            )
    path = RESULTS / f"{now:%Y-%m-%d}-streams.md"
    old = path.read_text(encoding="utf-8") + "\n" if path.exists() else ""
    path.write_text(old + "\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
