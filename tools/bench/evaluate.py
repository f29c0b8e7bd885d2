"""How fast `evaluate` listens: our batched engine against one clip at a time through upstream's `LMGen`, on the same clips in one run.

    python tools/bench/evaluate.py                        the tiny model on this machine's CPU
    python tools/bench/evaluate.py --shape 1b             a random model of the 1b's shape on a GPU

Both listen to the same codes; the rounds take turns, so that what else the machine does hits both alike, and the best round of each counts.
What they write is compared too. The result goes to tools/bench/results/ as dated Markdown.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from moshi.models.lm import LMGen, LMModel

from stt_ft.core.timing import FRAME_S, SAMPLE_RATE_HZ
from stt_ft.dataset.manifest import Dataset
from stt_ft.model.checkpoint_dir import ModelDir, open_model
from stt_ft.model.codes import MimiCodec
from stt_ft.model.device import compile_only_on_gpu, inference_dtype, pick_device
from stt_ft.model.streaming import ClipStream, stream_codes
from stt_ft.model.stt_lm import load_lm

sys.path.insert(0, str(Path(__file__).parents[1]))
RESULTS = Path(__file__).parent / "results"
GOAL_TINY, GOAL_1B = 8.0, 400.0


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Best of several rounds: seconds of work for seconds of sound."""

    name: str
    wall_s: float
    sound_s: float

    @property
    def real_time_factor(self) -> float:
        return self.sound_s / self.wall_s


def one_by_one(lm: LMModel, clips: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Listen as upstream's loop does, a clip at a time; the first frame is fed twice, as `LMGen` wants it."""
    heard = []
    for clip in clips:
        frames = torch.from_numpy(clip.astype(np.int64))[None].to(lm.device)
        frames = torch.cat([frames[:, :, :1], frames], dim=2)
        generator = LMGen(lm, use_sampling=False)
        tokens, probs = [], []
        with torch.inference_mode(), generator.streaming(1), compile_only_on_gpu(lm.device):
            for step in range(clip.shape[1]):
                answer = generator.step_with_extra_heads(frames[:, :, step : step + 1])
                assert answer is not None, "without delays LMGen answers every step"
                out, heads = answer
                tokens.append(out[0, 0, 0])
                probs.append(torch.stack([head[0, 0, 0] for head in heads]))
        heard.append((torch.stack(tokens).cpu().numpy(), torch.stack(probs).float().cpu().numpy()))
    return heard


def seconds_of(clips: Sequence[np.ndarray]) -> float:
    return sum(clip.shape[1] for clip in clips) * FRAME_S


def timed(work: Callable[[], Any], device: torch.device) -> tuple[float, Any]:
    """Return the seconds that `work` took, to the last kernel, and its result."""
    begin_s = time.perf_counter()
    result = work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begin_s, result


def spoken_clips(model: ModelDir, num_clips: int) -> list[np.ndarray]:
    """Return codes of simulated takes."""
    from stt_ft.audio.files import read_audio
    from stt_ft.simulation.casting import HELDOUT_CAST
    from stt_ft.simulation.takes import TakePlan, write_takes

    with tempfile.TemporaryDirectory() as folder:
        data, used = Dataset(Path(folder)), set()
        plans = [TakePlan(split="heldout", kind=kind, count=num_clips // 2, cast=HELDOUT_CAST) for kind in ("number", "ordinary")]
        takes = [clip for plan in plans for clip in write_takes(data, plan, seed=1, used_digits=used)]
        return MimiCodec.load(model).encode([read_audio(data.audio_path(clip)) for clip in takes])


def random_clips(model: ModelDir, num_clips: int) -> list[np.ndarray]:
    """Return random codes of 4 to 14 seconds: a random model has nothing to hear, and takes as long."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(50, 175, size=num_clips)
    return [rng.integers(0, model.config["card"], (model.n_q, length)).astype(np.int16) for length in lengths]


def compare(ours: Sequence[ClipStream], theirs: Sequence[tuple[np.ndarray, np.ndarray]]) -> str:
    """Say how far the two agree, over the clips that both heard."""
    pairs = list(zip(ours, theirs, strict=False))
    same = sum(np.array_equal(stream.text_tokens, tokens) for stream, (tokens, _) in pairs)
    apart = max(float(np.abs(stream.pause_probs - probs).max()) for stream, (_, probs) in pairs)
    return f"text equal in {same} of {len(pairs)} clips, pause probabilities at most {apart:.1e} apart"


def measure(model: ModelDir, clips: list[np.ndarray], device: torch.device, *, batch_sizes: Sequence[int], num_theirs: int, rounds: int):
    """Return the timings, ours by batch size and upstream's, and how far they agree."""
    lm, few = load_lm(model, device=device, dtype=inference_dtype(device)), clips[:num_theirs]
    stream_codes(lm, clips[:2])  # warm up: on a GPU the first pass compiles
    best, last = {}, {}
    for _ in range(rounds):
        works: dict[str, Callable[[], Any]] = {
            f"ours, {size} side by side": lambda size=size: stream_codes(lm, clips, batch_size=size) for size in batch_sizes
        }
        works["upstream's LMGen, one by one"] = lambda: one_by_one(lm, few)
        for name, work in works.items():
            wall_s, last[name] = timed(work, device)
            best[name] = min(best.get(name, wall_s), wall_s)
            print(f"{name}: {wall_s:.2f} s", file=sys.stderr)
    theirs_name = list(best)[-1]
    timings = [Timing(name=name, wall_s=s, sound_s=seconds_of(few if name == theirs_name else clips)) for name, s in best.items()]
    return timings, compare(last[next(iter(last))], last[theirs_name])


def measure_codec(model: ModelDir, device: torch.device, rounds: int) -> Timing:
    """Time the codec on five minutes of noise in clips of ten seconds."""
    codec, rng = MimiCodec.load(model, device), np.random.default_rng(0)
    sounds = [rng.normal(0, 0.1, 10 * SAMPLE_RATE_HZ).astype(np.float32) for _ in range(30)]
    codec.encode(sounds[:2])
    return Timing(name="codec", wall_s=min(timed(lambda: codec.encode(sounds), device)[0] for _ in range(rounds)), sound_s=300.0)


def write_result(path: Path, title: str, timings: Sequence[Timing], codec: Timing, agreement: str, device: torch.device, goal: str) -> None:
    """Write what was measured as Markdown."""
    theirs = timings[-1]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "moshi"))
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{os.cpu_count()} CPUs ({platform.machine()})"
    lines = [
        f"# {title}", "",
        f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC, {where}, {torch.get_num_threads()} threads, "
        f"load {os.getloadavg()[0]:.1f}, {versions}. Best round of each; rounds took turns.", "",
        "| | seconds | sound, s | times real time | times upstream's loop |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for one in timings:
        speed = one.real_time_factor / theirs.real_time_factor
        lines.append(f"| {one.name} | {one.wall_s:.2f} | {one.sound_s:.0f} | {one.real_time_factor:.0f} | {speed:.1f} |")
    lines.append(f"| the codec, for comparison | {codec.wall_s:.2f} | {codec.sound_s:.0f} | {codec.real_time_factor:.0f} | |")
    lines += ["", f"Agreement: {agreement}.", "", goal, ""]
    old = path.read_text(encoding="utf-8") + "\n" if path.exists() else ""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(old + "\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


def main() -> None:
    """Measure, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=("tiny", "1b"), default="tiny", help="the tiny model, or random weights of the 1b's shape")
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[32])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--date", default=f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}", help="of the file that is written")
    arguments = parser.parse_args()
    device, path = pick_device(arguments.device), RESULTS / f"{arguments.date}-evaluate.md"
    with tempfile.TemporaryDirectory() as folder:
        if arguments.shape == "tiny":
            model = open_model("tiny")
            clips, num_theirs = spoken_clips(model, arguments.clips), arguments.clips
            title, goal = "evaluate, the tiny model on simulated takes", f"Goal: {GOAL_TINY:g} times upstream's loop on a CPU."
        else:
            from make_random_base import make_random_base  # pyright: ignore[reportMissingImports]

            model = open_model(make_random_base(Path(folder) / "random_1b", shape="1b"))
            clips, num_theirs = random_clips(model, arguments.clips), 4
            title, goal = "evaluate, random weights of the 1b's shape, random codes", f"Goal: {GOAL_1B:g} times real time on an H200."
        sizes = {"batch_sizes": arguments.batch_sizes, "num_theirs": num_theirs, "rounds": arguments.rounds}
        timings, agreement = measure(model, clips, device, **sizes)
        write_result(path, title, timings, measure_codec(model, device, arguments.rounds), agreement, device, goal)


if __name__ == "__main__":
    main()
