"""Walk the whole README path on a random model of the 1b shape, and tell where time, memory and disk went.

    python tools/rehearsal.py                        on a GPU where there is one; `make rehearsal` does the same
    python tools/rehearsal.py --base tiny            the same path in a minute

Spoken takes come in by `ingest`; `annotate`, `convert`, `split`, `check`, `encode`, four steps of `train` by configs/stt_1b_digits.yaml,
`merge`, `export` and `evaluate` follow, each the command line itself in a process of its own. What a process took is the kernel's figure
for it (wait4): most resident memory, which counts the pages of files that it reads, and processor time. GPU memory is looked at while it
runs. Stages that were done are not done again: a rehearsal that was stopped goes on, and its figures are kept in DIR/measured.jsonl.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
SPEAKERS = ("en-us+m7", "en-us+f1", "en-gb-x-rp+steph", "en-us+Alex", "en-gb-scotland+m2", "en-us+linda")
TAKES_EACH = 2
"""A number and a sentence by each speaker: one speaker is set aside for dev, one is measured."""

NUM_STEPS = 4


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a stage took.

    Attributes:
        peak_gib: most resident memory.
        gpu_gib: most memory taken on the GPU, seen every fifth of a second; None without a GPU.
        disk_gib: what the folder grew by.
    """

    stage: str
    command: list[str]
    wall_s: float
    cpu_s: float
    peak_gib: float
    gpu_gib: float | None
    disk_gib: float


def stages(root: Path, base: str, *, device: str, precision: str, batch_size: int, steps: int) -> list[tuple[str, list[str]]]:
    """Return the stages of the path in order, each by its name and its command."""
    takes, data, run, model, export, report = (root / name for name in ("takes", "orders", "run", "model", "candle", "report"))
    recipe = [str(REPOSITORY / "configs" / "stt_1b_digits.yaml"), "--dataset", data, "--run_dir", run, "--base", base, "--device", device]
    recipe += ["--precision", precision, "--batch.batch_size", batch_size, "--schedule.max_steps", steps, "--validation.every_steps", steps]
    cli = [sys.executable, "-m", "stt_ft"]
    listed = [
        ("takes", [sys.executable, __file__, "--speak", takes]),
        ("ingest", [*cli, "ingest", takes, "--out", data]),
        ("annotate", [*cli, "annotate", data, "--aligner", "sphinx"]),
        ("convert", [*cli, "convert", data]),
        ("split", [*cli, "split", data, "--dev", 0.17, "--heldout", 0.17, "--by", "speaker"]),
        ("check", [*cli, "check", data, "--base", base]),
        ("encode", [*cli, "encode", data, "--base", base, "--speeds", "0.9,1.1", "--device", device]),
        ("train", [*cli, "train", *recipe]),
        ("merge", [*cli, "merge", run, "--out", model, "--overwrite"]),
        ("export", [*cli, "export", model, "--out", export, "--overwrite"]),
        ("evaluate", [*cli, "evaluate", model, data, "--out", report, "--baseline", base, "--device", device]),
    ]
    return [(name, [str(argument) for argument in command]) for name, command in listed]


def measure(stage: str, command: list[str], root: Path, *, watches_gpu: bool) -> Measured:
    """Run `command` to its end, its talk in ROOT/logs, and return what it took; ends the rehearsal where it fails."""
    log = root / "logs" / f"{stage}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    disk_before, gpu, is_over = folder_gib(root), GpuWatch(), threading.Event()
    watch = threading.Thread(target=gpu.look, args=(is_over,)) if watches_gpu else None
    if watch:
        watch.start()
    begin_s = time.perf_counter()
    with log.open("w") as talk:
        process = subprocess.Popen(command, stdout=talk, stderr=subprocess.STDOUT, env={**os.environ, "PYTHONPATH": str(REPOSITORY)})
        _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - begin_s
    is_over.set()
    if watch:
        watch.join()
    if code := os.waitstatus_to_exitcode(status):
        how = f"with exit code {code}" if code > 0 else f"by signal {-code}" + (" (no memory left?)" if code == -9 else "")
        raise SystemExit(f"{stage} ended {how}; {log} has its words, and the same command goes on from here:\n{log.read_text()[-2000:]}")
    maxrss_bytes = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Measured(
        stage=stage, command=command, wall_s=round(wall_s, 1), cpu_s=round(usage.ru_utime + usage.ru_stime, 1),
        peak_gib=round(maxrss_bytes / 2**30, 2), gpu_gib=gpu.most_gib if watches_gpu else None,
        disk_gib=round(folder_gib(root) - disk_before, 3),
    )  # fmt: skip


class GpuWatch:
    """Asks `nvidia-smi` how much memory of the first GPU is taken, beyond what was taken before."""

    def __init__(self) -> None:
        self.most_gib = 0.0

    def look(self, is_over: threading.Event) -> None:
        before = self._taken_gib()
        while not is_over.wait(0.2):
            self.most_gib = max(self.most_gib, round(self._taken_gib() - before, 2))

    @staticmethod
    def _taken_gib() -> float:
        query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "--id=0"]
        return float(subprocess.run(query, capture_output=True, text=True, check=True).stdout) / 1024


def folder_gib(root: Path) -> float:
    """Return what the files under `root` take, links not followed."""
    return sum(path.lstat().st_size for path in root.rglob("*") if path.is_file() and not path.is_symlink()) / 2**30


def speak(folder: Path) -> None:
    """Write a number and a sentence by each speaker into `folder`, with what was said beside them, as `ingest` takes them."""
    from stt_ft.audio.files import write_wav
    from stt_ft.audio.synthesis import Synthesizer, insert_silence
    from stt_ft.text.prompts import Manner, number_prompt, ordinary_prompt, pauses

    synthesizer, rng, used = Synthesizer(), random.Random(0), set()
    folder.mkdir(parents=True, exist_ok=True)
    for speaker in SPEAKERS:
        number = number_prompt(rng, allowed=lambda digits: digits not in used, min_digits=6, max_digits=8)
        used.add(number.digits)
        for kind, prompt in (("number", number), ("ordinary", ordinary_prompt(rng))):
            spoken = synthesizer.speak(prompt.text, voice=speaker, words_per_minute=150, pitch=50, pitch_range=50)
            utterance = insert_silence(spoken, pauses(rng, prompt, Manner.NATURAL), lead_s=0.3, tail_s=0.7, fade_s=0.0)
            path = folder / f"{speaker.replace('+', '_')}_{kind}.wav"
            write_wav(path, utterance.samples, 24_000)
            path.with_suffix(".json").write_text(json.dumps({"text": " ".join(prompt.words), "speaker": speaker, "kind": kind}))


def table(rows: list[Measured]) -> str:
    """Return what the stages took as Markdown."""
    with_gpu = any(row.gpu_gib is not None for row in rows)
    lines = [
        f"| stage | time, s | processor, s | memory, GiB |{' GPU, GiB |' if with_gpu else ''} disk, GiB |",
        f"|---|---|---|---|{'---|' if with_gpu else ''}---|",
    ]
    for row in rows:
        gpu = f" {row.gpu_gib:.2f} |" if row.gpu_gib is not None else ""
        lines.append(f"| {row.stage} | {row.wall_s:.1f} | {row.cpu_s:.1f} | {row.peak_gib:.2f} |{gpu} {row.disk_gib:.3f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, default=Path("rehearsal"), help="folder for all that is made, 7 GB for 1b")
    parser.add_argument("--base", default="1b", help="1b (random weights of that shape, made here), tiny, or a model directory")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default=None, help="by default bfloat16 on a GPU, float32 elsewhere")
    parser.add_argument("--batch-size", type=int, default=None, help="by default the recipe's 8 on a GPU, 2 elsewhere")
    parser.add_argument("--steps", type=int, default=NUM_STEPS)
    parser.add_argument("--speak", type=Path, default=None, help=argparse.SUPPRESS)  # the stage "takes", a process like the others
    arguments = parser.parse_args()
    if arguments.speak is not None:
        speak(arguments.speak)
        return
    root: Path = arguments.workdir
    root.mkdir(parents=True, exist_ok=True)
    # Another process asks torch: what its parent holds would count in the memory of each stage.
    ask = "import torch; print(torch.cuda.is_available())"
    has_gpu = "True" in subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True).stdout
    on_gpu = arguments.device.startswith("cuda") or (arguments.device == "auto" and has_gpu)
    base = str(root / "base") if arguments.base == "1b" else arguments.base
    planned = stages(
        root, base, device=arguments.device, precision=arguments.precision or ("bfloat16" if on_gpu else "float32"),
        batch_size=arguments.batch_size or (8 if on_gpu else 2), steps=arguments.steps,
    )  # fmt: skip
    if arguments.base == "1b":
        make = [sys.executable, str(REPOSITORY / "tools" / "make_random_base.py"), "--shape", "1b", "--out", base]
        planned.insert(0, ("base", make))
    records = root / "measured.jsonl"
    done = [Measured(**json.loads(line)) for line in records.read_text().splitlines()] if records.exists() else []
    rows = []
    for stage, command in planned:
        row = next((one for one in done if one.command == command and (one.stage != "base" or Path(base).is_dir())), None)
        if row is None:
            done = []  # what follows depends on it
            print(f"{stage} ...", file=sys.stderr, flush=True)
            if stage == "base":
                shutil.rmtree(base, ignore_errors=True)
            row = measure(stage, command, root, watches_gpu=on_gpu)
            with records.open("a") as file:
                file.write(json.dumps(asdict(row)) + "\n")
        rows.append(row)
    print(
        f"{platform.machine()}, {os.cpu_count()} CPUs, {'a GPU' if on_gpu else 'no GPU'}; {sum(row.wall_s for row in rows):.0f} s in all\n"
    )
    print(table(rows))


if __name__ == "__main__":
    main()
