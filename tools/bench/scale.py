"""What each stage costs on datasets of growing size: time and memory.

    python tools/bench/scale.py --sizes 1000,10000,100000 --packed
    python tools/bench/scale.py --workers DATASET --base /tmp/served    one Ray worker and two, on a machine at rest

The clips of the first table are of tools/bench/scale_dataset.py: tiny sounds, true sidecars, codes drawn at random; so a row says what a
clip costs beside its sound and its model, and of `annotate` and `encode`, which find their work done, what it costs to go on. A row is
one whole process: its seconds on the clock and of processor time (with all its processes), and the memory of its largest process.

The second table is of a dataset with sound: the train split is annotated and encoded by whole commands, and its first two clips by the
same commands, which says what starting costs. A base with a codec of Mimi's true shape: `tools/make_random_base.py --shape served`.
"""

from __future__ import annotations

import argparse
import datetime
import math
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stt_ft.core.atomic import write_text
from stt_ft.core.progress import say
from stt_ft.dataset.manifest import Clip, Dataset

RECIPE = """dataset: {data}
run_dir: {run}
base: tiny
device: cpu
precision: float32
lora: {{rank: 4}}
schedule: {{max_steps: 1}}
validation: {{every_steps: 0}}
replay: {{kinds: [], text_weight: 0.0}}
calibration: {{method: "off"}}
labels: {{style: plain}}
"""

START_OF_TRAIN = """
from stt_ft.core.recipe import load_recipe
from stt_ft.training.beginning import at_the_beginning
from stt_ft.training.data.batches import TrainingBatches
from stt_ft.training.loop import prepare
inputs = prepare(load_recipe({recipe!r}))
at_the_beginning(inputs.model, train=inputs.train_clips, dev=inputs.dev_clips)
next(iter(TrainingBatches(inputs.train_clips, inputs.model, inputs.recipe).starting_at(0)))
"""

START_OF_EVALUATE = """
from stt_ft.dataset.manifest import Dataset
from stt_ft.evaluation.hearing import reference_words
from stt_ft.model.checkpoint_dir import open_model
from stt_ft.model.codes import codes_of
data, model = Dataset.open({data!r}), open_model("tiny")
clips = data.clips("train")
reference_words(data, clips, "train")
codes_of(model, data, clips, batch_size=16, device="cpu")
"""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one process took."""

    wall_s: float
    cpu_s: float
    peak_mb: float
    code: int


def cost_of(words: Sequence[str]) -> Cost:
    """Run `python WORDS` and return what it took; what it says goes nowhere.

    A process counts the memory of the one that started it, so this one loads no torch.
    """
    begin_s = time.monotonic()
    nothing = os.open(os.devnull, os.O_RDWR)
    actions = [(os.POSIX_SPAWN_DUP2, nothing, number) for number in range(3)]
    process = os.posix_spawn(sys.executable, [sys.executable, *words], os.environ, file_actions=actions)
    _, status, usage = os.wait4(process, 0)
    os.close(nothing)
    wall_s, cpu_s = time.monotonic() - begin_s, usage.ru_utime + usage.ru_stime
    return Cost(wall_s=wall_s, cpu_s=cpu_s, peak_mb=usage.ru_maxrss / 1024, code=os.waitstatus_to_exitcode(status))


def stages_of(data: Path, scratch: Path) -> dict[str, list[str]]:
    """Return the stages that are measured on `data`, by name, as words for Python."""
    recipe = scratch / "recipe.yaml"
    write_text(recipe, RECIPE.format(data=data, run=scratch / "run"))
    command = ["-m", "stt_ft"]
    return {
        "check": [*command, "check", str(data)],
        "annotate, all there": [*command, "annotate", str(data), "--aligner", "sphinx"],
        "encode, all there": [*command, "encode", str(data), "--base", "tiny", "--device", "cpu"],
        "split --by speaker": [*command, "split", str(data), "--dev", "0.01", "--heldout", "0.01"],
        "convert": [*command, "convert", str(data)],
        "start of train": ["-c", START_OF_TRAIN.format(recipe=str(recipe))],
        "start of evaluate": ["-c", START_OF_EVALUATE.format(data=str(data))],
    }


def rows_of_size(size: int, *, packed: bool, only: Sequence[str]) -> list[str]:
    """Make a dataset of `size` clips, and return a row for each stage, or for those whose name begins with one of `only`."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="scale-") as folder:
        scratch = Path(folder)
        data = scratch / "data"
        cost_of([str(Path(__file__).with_name("scale_dataset.py")), str(data), "--clips", str(size)])
        stages = {"pack": ["-m", "stt_ft", "pack", str(data)]} if packed else {}
        for name, words in (stages | stages_of(data, scratch)).items():
            if only and name != "pack" and not name.startswith(tuple(only)):
                continue
            cost = cost_of(words)
            assert cost.code == (name == "check"), f"{name} of {size} clips ended with {cost.code}"  # which finds the sounds too short
            form = "packed" if packed else "loose"
            ms = 1000 * cost.cpu_s / size
            rows.append(f"| {name} | {size:,} | {form} | {cost.wall_s:.1f} | {cost.cpu_s:.1f} | {ms:.2f} | {cost.peak_mb:.0f} |")
            say(rows[-1])
    return rows


def workers_rows(dataset: Path, base: str) -> list[str]:
    """Annotate and encode the train split of `dataset` by this process, by one Ray worker and by two; return a row for each."""
    data = Dataset.open(dataset)
    clips = data.clips("train")
    rows, work_s = [], dict[tuple[str, str], float]()
    engines = {"local": [], "ray, 1 worker": ["--engine", "ray", "--workers", "1"], "ray, 2 workers": ["--engine", "ray", "--workers", "2"]}
    for stage, flags in {"annotate": ["--aligner", "sphinx"], "encode": ["--base", base, "--device", "cpu"]}.items():
        for name, words in engines.items():
            start_s, all_s = (_cost_of_stage(data, part, [stage, *flags, *words]).wall_s for part in (clips[:2], clips))
            work_s[stage, name] = all_s - start_s
            ratio = work_s.get((stage, "ray, 1 worker"), math.nan) / work_s[stage, name]
            times = "" if math.isnan(ratio) else f"{ratio:.2f}"
            rows.append(f"| {stage} | {name} | {len(clips)} | {start_s:.1f} | {all_s:.1f} | {times} |")
            say(rows[-1])
    return rows


def _cost_of_stage(data: Dataset, clips: Sequence[Clip], words: Sequence[str]) -> Cost:
    """Return what a stage costs on some clips of `data`, without their sidecars and codes."""
    with tempfile.TemporaryDirectory(prefix="scale-") as folder:
        part = Dataset(Path(folder) / "data")
        for clip in clips:
            part.audio_path(clip).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(data.audio_path(clip), part.audio_path(clip))
        part.write_clips("train", clips)
        cost = cost_of(["-m", "stt_ft", words[0], str(part.directory), *words[1:]])
        assert cost.code == 0, f"{words} ended with {cost.code}"
        return cost


def main() -> None:
    """Measure and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="", help="numbers of clips, with commas between")
    parser.add_argument("--packed", action="store_true", help="with packed sidecars")
    parser.add_argument("--only", nargs="*", default=[], metavar="STAGE", help="of the first table, as 'convert' or 'start of train'")
    parser.add_argument("--workers", type=Path, metavar="DATASET", help="a dataset with sound, for the second table")
    parser.add_argument("--base", default="tiny", help="whose codec to encode with")
    parser.add_argument("--out", type=Path, help="Markdown file; by default a dated one in tools/bench/results/")
    arguments = parser.parse_args()
    today = datetime.date.today().isoformat()
    lines = [f"# Scale, {today}", "", f"{os.cpu_count()} cores, Python {platform.python_version()}; {' '.join(sys.argv[1:])}", ""]
    if arguments.sizes:
        lines += ["| stage | clips | sidecars | seconds | processor s | ms a clip | peak MB |", "|---|---|---|---|---|---|---|"]
        for size in arguments.sizes.split(","):
            lines += rows_of_size(int(size), packed=arguments.packed, only=arguments.only)
    if arguments.workers:
        lines += ["", "| stage | engine | clips | two clips, s | all, s | work of one Ray worker |", "|---|---|---|---|---|---|"]
        lines += workers_rows(arguments.workers, arguments.base)
    out = arguments.out or Path(__file__).parent / "results" / f"{today}-scale.md"
    write_text(out, "\n".join([*lines, ""]))
    say(f"{out}: written")


if __name__ == "__main__":
    main()
