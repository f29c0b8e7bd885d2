"""Real frames a second of `stt-ft train` beside the naive way, on the same model, clips and machine in one run.

    python tools/bench/train.py --model tiny                              a minute or two on two cores
    python tools/bench/train.py --model 1b --rank 128                      random weights of the true shape, some minutes; 3 GB of disk

The naive way is moshi-finetune's: every step runs the codec, and every clip is padded to a window of 30 s, eight to a batch. Forward pass,
loss, adapter and optimizer are ours in both, so what is compared is that policy alone. A *real* frame is 80 ms of a recording; silence
after it, padding and windows are overhead for both. Rounds alternate; process time is given beside the clock's, which neighbours disturb.
On a GPU the report also has FLOP utilisation, peak memory, and the first attempt's job: 50 clips, batch 8, 500 steps.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from stt_ft.core import timing
from stt_ft.core.recipe import BatchRecipe, LoraRecipe, OptimRecipe, Recipe, ScheduleRecipe
from stt_ft.dataset.sidecar import Word
from stt_ft.model.checkpoint_dir import ModelDir, open_model
from stt_ft.model.codes import MimiCodec
from stt_ft.model.device import pick_device
from stt_ft.training.checkpoints import Progress
from stt_ft.training.data.batches import Batch, TrainingBatches, collate, make_stream
from stt_ft.training.data.clips import TrainingClip
from stt_ft.training.loop import Learner, do_step, load_learner
from stt_ft.training.parallel import World

WINDOW_S = 30.0
NUM_CLIPS, SHORTEST_S, LONGEST_S, BATCH_SIZE, JOB_STEPS = 50, 3.0, 10.0, 8, 500
PEAK_FLOPS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "4090": 165e12}
"""Dense bfloat16 operations a second, from the makers' data sheets."""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A recording: its sound, and what training keeps of it."""

    samples: np.ndarray
    spoken: TrainingClip


def make_clips(model: ModelDir, device: torch.device) -> tuple[list[Clip], float]:
    """Make clips of noise with a word every 0.4 s, and return them with the seconds that encoding took, once."""
    rng = np.random.default_rng(0)
    sounds = [rng.normal(0, 0.1, timing.num_samples(s)).astype(np.float32) for s in rng.uniform(SHORTEST_S, LONGEST_S, NUM_CLIPS)]
    codec = MimiCodec.load(model, device)
    begin_s = time.perf_counter()
    codes = [codes for start in range(0, NUM_CLIPS, 16) for codes in codec.encode(sounds[start : start + 16])]
    encode_s = time.perf_counter() - begin_s
    prefix_s = timing.frame_start_s(model.num_prefix_frames)
    clips = []
    for index, (sound, clip_codes) in enumerate(zip(sounds, codes, strict=True)):
        starts_s = np.arange(0.4, timing.samples_to_s(len(sound)) - 0.4, 0.4) + prefix_s
        words = tuple(Word(text="", tokens=(int(rng.integers(4, 90)),), start_s=s, end_s=s + 0.3) for s in starts_s)
        num_recorded = model.num_prefix_frames + timing.num_frames_covering(timing.samples_to_s(len(sound)))
        spoken = TrainingClip(
            clip_id=f"clip {index}", codes=clip_codes, words=words, in_number=(True,) * len(words), num_recorded_frames=num_recorded
        )
        clips.append(Clip(samples=sound, spoken=spoken))
    return clips, encode_s


def num_real_frames(clips: Sequence[TrainingClip], model: ModelDir) -> int:
    return sum(clip.num_recorded_frames - model.num_prefix_frames for clip in clips)


def our_batches(clips: Sequence[Clip], model: ModelDir, recipe: Recipe) -> Iterator[tuple[Batch, int]]:
    """Yield batches as `stt-ft train` makes them, each with its real frames."""
    real = {clip.spoken.clip_id: num_real_frames([clip.spoken], model) for clip in clips}
    for batch in TrainingBatches([clip.spoken for clip in clips], model, recipe).starting_at(0):
        yield batch, sum(real[clip_id] for clip_id in batch.clip_ids)


def naive_batches(clips: Sequence[Clip], model: ModelDir, recipe: Recipe, codec: MimiCodec) -> Iterator[tuple[Batch, int]]:
    """Yield batches of 30 s windows whose sound goes through the codec each time, in random order."""
    rng = np.random.default_rng(1)
    num_samples, num_frames = timing.num_samples(WINDOW_S), timing.num_frames_covering(WINDOW_S)
    while True:
        order = rng.permutation(len(clips))
        for start in range(0, len(order) - BATCH_SIZE + 1, BATCH_SIZE):
            chosen = [clips[index] for index in order[start : start + BATCH_SIZE]]
            windows = [np.pad(clip.samples, (0, num_samples - len(clip.samples))) for clip in chosen]
            codes = [window_codes[:, :num_frames] for window_codes in codec.encode(windows)]
            spoken = [
                TrainingClip(
                    clip_id=c.spoken.clip_id, codes=k, words=c.spoken.words, in_number=c.spoken.in_number, num_recorded_frames=num_frames
                )
                for c, k in zip(chosen, codes, strict=True)
            ]
            real = num_real_frames([clip.spoken for clip in chosen], model)
            yield collate([make_stream(clip, model, recipe) for clip in spoken]), real


@dataclass(kw_only=True)
class Tally:
    """What the rounds of one way came to."""

    frames: int = 0
    wall_s: float = 0.0
    process_s: float = 0.0
    steps: int = 0

    @property
    def per_wall_s(self) -> float:
        return self.frames / self.wall_s

    @property
    def per_process_s(self) -> float:
        return self.frames / self.process_s


def run_steps(
    step: Callable[[Batch], None], batches: Iterator[tuple[Batch, int]], num_steps: int, device: torch.device, tally: Tally
) -> None:
    """Do steps, making the batches included, and add them to `tally`."""
    wait(device)
    begin_s, begin_process_s = time.perf_counter(), time.process_time()
    for batch, real in itertools.islice(batches, num_steps):
        step(batch)
        tally.frames += real
    wait(device)
    tally.wall_s += time.perf_counter() - begin_s
    tally.process_s += time.process_time() - begin_process_s
    tally.steps += num_steps


@dataclass(frozen=True)
class Ready:
    """A batch that is made already, as a step takes it."""

    batch: Batch

    @property
    def takes(self) -> tuple[str, ...]:
        return self.batch.clip_ids

    @property
    def num_frames(self) -> int:
        return self.batch.num_frames

    def made(self) -> Batch:
        return self.batch


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def open_learner(model: ModelDir, recipe: Recipe, device: torch.device) -> Learner:
    learner = load_learner(recipe, model, device, World(), Progress(step=0, data="", base_sha256=""))
    learner.lm.train()
    return learner


def flop_utilisation(learner: Learner, tally: Tally, overhead: float, device: torch.device) -> str:
    """Return the share of the device's peak: 4 operations a frozen weight and frame (its gradient is not needed), 6 a trained one."""
    name = torch.cuda.get_device_name(device)
    peak = next((flops for key, flops in PEAK_FLOPS.items() if key in name), None)
    if peak is None:
        return f"unknown for {name}"
    linear = [(n, p) for n, p in learner.lm.named_parameters() if p.dim() == 2 and "emb" not in n]
    operations = sum((6 if p.requires_grad else 4) * p.numel() for _, p in linear)
    return f"{100 * operations * tally.per_wall_s * overhead / peak:.1f} % of {peak / 1e12:.0f} TFLOP/s"


def find_model(name: str, workdir: Path) -> ModelDir:
    if name != "1b":
        return open_model(name)
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from make_random_base import make_random_base

    directory = workdir / "random_1b"
    return open_model(directory if directory.is_dir() else make_random_base(directory, shape="1b"))


def measure(arguments: argparse.Namespace, workdir: Path) -> str:
    """Return the report of one run, as Markdown."""
    device = pick_device(arguments.device)
    model = find_model(arguments.model, workdir)
    precision = "bfloat16" if device.type == "cuda" or arguments.model == "1b" else "float32"
    recipe = Recipe(
        dataset="-", run_dir=str(workdir / "run"), base=str(model.directory), device=arguments.device, precision=precision,
        lora=LoraRecipe(rank=arguments.rank), optim=OptimRecipe(lr=1e-5),
        batch=BatchRecipe(batch_size=BATCH_SIZE),
        schedule=ScheduleRecipe(max_steps=10_000),
    )  # fmt: skip
    clips, encode_s = make_clips(model, device)
    learner = open_learner(model, recipe, device)
    numbers = itertools.count(1)

    def step(batch: Batch) -> None:
        do_step(learner, next(numbers), [Ready(batch)])  # pyright: ignore[reportArgumentType]

    ways = {"ours": our_batches(clips, model, recipe), "naive": naive_batches(clips, model, recipe, MimiCodec.load(model, device))}
    tallies = {name: Tally() for name in ways}
    steps = {"ours": arguments.steps, "naive": max(1, arguments.steps // 4)}
    for name, batches in ways.items():
        run_steps(step, batches, arguments.warm_steps, device, Tally())
        print(f"{name}: warm", file=sys.stderr)
    ratios = []
    for _ in range(arguments.rounds):
        now = {name: Tally() for name in ways}
        for name, batches in ways.items():
            run_steps(step, batches, steps[name], device, now[name])
            for figure in ("frames", "wall_s", "process_s", "steps"):
                setattr(tallies[name], figure, getattr(tallies[name], figure) + getattr(now[name], figure))
            print(f"{name}: {now[name].per_wall_s:,.1f} real frames/s", file=sys.stderr)
        ratios.append(now["ours"].per_wall_s / now["naive"].per_wall_s)
    lines = report_lines(arguments, model, learner, tallies, ratios, encode_s, device)
    if device.type == "cuda":
        lines += gpu_lines(learner, clips, model, recipe, tallies["ours"], device, step)
    return "\n".join(lines) + "\n"


def report_lines(
    arguments: argparse.Namespace, model: ModelDir, learner: Learner, tallies: dict[str, Tally], ratios: list[float], encode_s: float,
    device: torch.device,
) -> list[str]:  # fmt: skip
    ours, naive = tallies["ours"], tallies["naive"]
    num_trained = sum(parameter.numel() for parameter in learner.trainable.values())
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads, {platform.machine()}"
    what = "random weights of the 1b shape" if arguments.model == "1b" else arguments.model
    rows = [
        f"| {name} | {t.steps} | {t.frames:,} | {t.wall_s:.1f} | {t.per_wall_s:,.1f} | {t.process_s:.1f} | {t.per_process_s:,.1f} |"
        for name, t in tallies.items()
    ]
    wall, process = ours.per_wall_s / naive.per_wall_s, ours.per_process_s / naive.per_process_s
    return [
        f"## {what}: {wall:.1f} times the real frames of the naive way",
        "",
        f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC, {where}, torch {torch.__version__}, "
        f"{learner.recipe.precision}, rank {arguments.rank}: "
        f"{num_trained / 1e6:.1f} M weights learn. {NUM_CLIPS} clips of {SHORTEST_S:.0f} to {LONGEST_S:.0f} s, batches of {BATCH_SIZE}. "
        f"Load when this was written: {os.getloadavg()[0]:.1f} processes.",
        "",
        "| way | steps | real frames | seconds | real frames/s | process seconds | real frames/process second |",
        "|---|---|---|---|---|---|---|",
        *rows,
        "",
        f"Ours over naive: {wall:.2f} by the clock, {process:.2f} by process time; round by round by the clock "
        f"{', '.join(f'{ratio:.2f}' for ratio in ratios)} (median {statistics.median(ratios):.2f}).",
        f"Encoding all clips once took {encode_s:.1f} s and is not counted: `stt-ft encode` does it once a dataset.",
        f"Peak memory of the process, both ways: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB.",
        "",
    ]


def gpu_lines(
    learner: Learner,
    clips: Sequence[Clip],
    model: ModelDir,
    recipe: Recipe,
    ours: Tally,
    device: torch.device,
    step: Callable[[Batch], None],
) -> list[str]:
    """Return FLOP utilisation, peak memory, and the time of the first attempt's job."""
    torch.cuda.reset_peak_memory_stats(device)
    job = Tally()
    run_steps(step, our_batches(clips, model, recipe), JOB_STEPS, device, job)
    all_frames = sum(b.codes.shape[0] * b.codes.shape[2] for b, _ in itertools.islice(our_batches(clips, model, recipe), 50))
    real_frames = sum(real for _, real in itertools.islice(our_batches(clips, model, recipe), 50))
    return [
        f"The first attempt's job, {NUM_CLIPS} clips, batch {BATCH_SIZE}, {JOB_STEPS} steps: {job.wall_s:.1f} s of training.",
        f"FLOP utilisation, padding counted: {flop_utilisation(learner, job, all_frames / real_frames, device)}.",
        f"Peak GPU memory of the job: {torch.cuda.max_memory_allocated(device) / 2**30:.2f} GiB.",
        "",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny", help="tiny, 1b (random weights), or a model directory")
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--steps", type=int, default=24, help="steps of ours a round; the naive way does a quarter")
    parser.add_argument("--warm-steps", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workdir", type=Path, default=None)
    parser.add_argument("--results", type=Path, default=None, help="Markdown file to append to")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as temporary:
        report = measure(arguments, arguments.workdir or Path(temporary))
    print(report)
    if arguments.results:
        with arguments.results.open("a", encoding="utf-8") as file:
            file.write(report + "\n")


if __name__ == "__main__":
    main()
