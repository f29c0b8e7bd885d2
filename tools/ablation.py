"""Which part of the recipe keeps callers from being cut off, and what each costs on ordinary speech: arms, seeds, intervals.

    python tools/ablation.py --workdir /tmp/ablation --seed 11        about an hour on two cores; killed, it goes on where it was

Every arm adapts the tiny model to the same 200 simulated takes (150 numbers, 50 ordinary sentences), once a seed, and is heard on the same
held-out takes: numbers and sentences by speakers that nothing has learnt from, and numbers by the voices that were trained on. A run is
scored as its recipe left it: nothing is chosen on held-out takes. Intervals are 95 %, by speaker and clip, all seeds of a clip together.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stt_ft.core.atomic import write_text
from stt_ft.core.config import dump_config, load_config
from stt_ft.core.manifest import Clip, Dataset
from stt_ft.core.recipe import Recipe
from stt_ft.core.steps import Step, run_steps
from stt_ft.metrics.endpointing import EndpointRule, latency_within, sweep
from stt_ft.metrics.intervals import Estimate, estimate
from stt_ft.report.evaluation import Hearing
from stt_ft.report.figures import FIGURES, resampling_of
from stt_ft.report.frames import ClipFrames, read_frames
from stt_ft.report.scores import ClipScore, score_clip
from stt_ft.simulation.casting import DEV_CAST, HELDOUT_CAST, TUNING_CAST
from stt_ft.simulation.takes import TakePlan, write_takes
from stt_ft.stages import stage

RECIPE = Path(__file__).parents[1] / "configs" / "tiny_cpu.yaml"
RESULTS = Path(__file__).parent / "bench" / "results"
SPEEDS = (0.9, 1.1)

PLAIN: dict[str, Any] = {
    "replay.kinds": (), "replay.text_weight": 0.0, "loss.cut_off_cost": 1.0,
    "augment.speeds": (1.0,), "augment.pause_prob": 0.0, "augment.renumber_prob": 0.0, "augment.join_prob": 0.0,
}  # fmt: skip
"""The recipe of configs/tiny_cpu.yaml without what this table is about."""

REPLAY: dict[str, Any] = {"replay.dataset": "SENTENCES", "replay.text_weight": 2.0}

ARMS: dict[str, dict[str, Any]] = {
    "text only": {**PLAIN, "loss.pause_targets": "off", "lora.heads": "frozen"},
    "text and pause heads": PLAIN,
    "and replay": {**PLAIN, **REPLAY},
    "and other takes": {**PLAIN, **REPLAY, "augment.speeds": (1.0, *SPEEDS), "augment.pause_prob": 0.4, "augment.renumber_prob": 0.3},
    "and a price on cutting off": {"replay.kinds": (), **REPLAY},
}
"""What each arm changes of the recipe; the last is the recipe itself, which also joins a tenth of the clips with another (`join_prob`)."""

MERGED = "its seeds, merged into one"
"""One more row: the adapters of the last arm's seeds with equal weights (`merge --adapter`)."""

BUDGETS = (0.05, 0.02)
"""Shares of numbers cut off at which the latency of the curve is told, over all thresholds and holds."""

COLUMNS = (
    ("numbers", "false_cut_offs", "cut-offs in numbers"),
    ("numbers", "latency_p50_s", "end of turn after numbers, p50"),
    ("numbers", "digit_strings_exact", "digit strings exact"),
    ("known", "digit_strings_exact", "digit strings exact, known voices"),
    ("known", "false_cut_offs", "cut-offs in numbers, known voices"),
    ("ordinary", "word_error_rate", "word errors, sentences"),
    ("ordinary", "false_cut_offs", "cut-offs in sentences"),
    ("ordinary", "latency_p50_s", "end of turn after sentences, p50"),
)
"""Slice, figure, heading."""


@dataclass(frozen=True, kw_only=True)
class Takes:
    """The simulated recordings of one ablation: numbers to learn from with dev and held-out takes, sentences, and known voices."""

    numbers: Dataset
    sentences: Dataset
    known: Dataset

    @classmethod
    def under(cls, workdir: Path) -> Takes:
        return cls(numbers=Dataset(workdir / "numbers"), sentences=Dataset(workdir / "sentences"), known=Dataset(workdir / "known"))

    def plans(self) -> tuple[tuple[Dataset, TakePlan], ...]:
        return (
            (self.numbers, TakePlan(split="train", kind="number", count=150, cast=TUNING_CAST)),
            (self.numbers, TakePlan(split="dev", kind="number", count=24, cast=DEV_CAST)),
            (self.numbers, TakePlan(split="heldout", kind="number", count=200, cast=HELDOUT_CAST, min_digits=6)),
            (self.numbers, TakePlan(split="heldout", kind="ordinary", count=150, cast=HELDOUT_CAST)),
            (self.sentences, TakePlan(split="train", kind="ordinary", count=50, cast=TUNING_CAST)),
            (self.known, TakePlan(split="heldout", kind="number", count=100, cast=TUNING_CAST, min_digits=6)),
        )

    def record(self, seed: int) -> None:
        """Speak everything, align it as a user would, and encode it."""
        used: set[str] = set()
        spoken: dict[tuple[Path, str], list[Clip]] = {}
        for data, plan in self.plans():
            spoken.setdefault((data.directory, plan.split), []).extend(write_takes(data, plan, seed=seed, used_digits=used))
        for (directory, split), clips in spoken.items():
            Dataset(directory).write_clips(split, clips)
        for data in (self.numbers, self.sentences, self.known):
            stage("annotate")(str(data.directory), aligner="sphinx")
            stage("convert")(str(data.directory))
            stage("encode")(str(data.directory), base="tiny", speeds=list(SPEEDS) if "train" in data.splits() else None)


def tune(takes: Takes, arm: str, seed: int, directory: Path) -> None:
    """Train the arm's adapter and merge it into `directory`/model."""
    changes = {key: str(takes.sentences.directory) if value == "SENTENCES" else value for key, value in ARMS[arm].items()}
    where = {"dataset": str(takes.numbers.directory), "run_dir": str(directory / "run"), "seed": seed, "threads": torch.get_num_threads()}
    recipe = load_config(Recipe, RECIPE, {**where, **changes})
    write_text(directory / "recipe.yaml", dump_config(recipe))
    stage("train")(str(directory / "recipe.yaml"))
    stage("merge")(str(directory / "run"), out=str(directory / "model"), dtype="bfloat16", overwrite=True)


def merge_seeds(directories: Sequence[Path], out: Path) -> None:
    """Fold the adapters of several runs into the base, each with the same weight."""
    entries = [f"{directory / 'run'}:{1 / len(directories)}" for directory in directories]
    stage("merge")(str(directories[0] / "run"), out=str(out), adapter=entries, dtype="bfloat16", overwrite=True)


def listen(takes: Takes, model: str, directory: Path) -> None:
    """Let `model` hear all held-out takes."""
    for name, data in (("new", takes.numbers), ("known", takes.known)):
        hearing = Hearing.open(model, str(data.directory), baseline=None, twins=(), all_classes=False, batch_size=32, device="cpu")
        hearing.hear("heldout", EndpointRule(), directory / f"{name}.jsonl", with_silence=False)


def tune_and_listen(takes: Takes, arm: str, seed: int, directory: Path) -> None:
    tune(takes, arm, seed, directory)
    listen(takes, str(directory / "model"), directory)


def scores_of(directory: Path) -> dict[str, list[ClipScore]]:
    """Return the scores of one run by slice."""

    def scored(frames: Sequence[ClipFrames]) -> list[ClipScore]:
        return [score_clip(one, EndpointRule()) for one in frames]

    new, known = (read_frames(directory / f"{name}.jsonl") for name in ("new", "known"))
    by_kind = {name: scored([one for one in new if one.kind == kind]) for name, kind in (("numbers", "number"), ("ordinary", "ordinary"))}
    return {**by_kind, "known": scored(known)}


def over_seeds(figure: str, runs: Sequence[Sequence[ClipScore]]) -> Estimate:
    """Return a figure over all runs of an arm, its interval by resampling speakers and their clips, each with the scores of all seeds."""
    statistic = FIGURES[figure].of([score for scores in runs for score in scores])

    def together(times: np.ndarray) -> np.ndarray:
        return statistic(np.tile(times, (1, len(runs))))

    return estimate(together, resampling_of(runs[0]), is_share=FIGURES[figure].unit in ("share", "rate"))


def shown(value: float, figure: str) -> str:
    return f"{value:.2f} s" if FIGURES[figure].unit == "s" else f"{100 * value:.1f} %"


def cell(figure: str, runs: Sequence[Sequence[ClipScore]]) -> str:
    """A figure with its interval, and the lowest and highest of the seeds where there are several."""
    whole = over_seeds(figure, runs)
    text = f"**{shown(whole.value, figure)}** ({shown(whole.low, figure)} to {shown(whole.high, figure)})"
    if len(runs) == 1:
        return text
    alone = sorted(over_seeds(figure, [run]).value for run in runs)
    return f"{text}; seeds {shown(alone[0], figure)} to {shown(alone[-1], figure)}"


def at_budget(runs: Sequence[Sequence[ClipScore]], budget: float) -> str:
    """The median latency of the fastest setting that keeps a budget of cut-offs on these very clips: the curve, not a choice."""
    points = [latency_within(sweep([score.frames.turn for score in run], EndpointRule()), budget) for run in runs]
    latencies_s = sorted(math.inf if point is None else point.latency_p50_s for point in points)
    return " / ".join("never" if math.isinf(latency_s) else f"{latency_s:.2f} s" for latency_s in latencies_s)


def page(results: dict[str, list[dict[str, list[ClipScore]]]], command: str) -> str:
    """Return the table, an arm a row, as Markdown."""
    first = next(iter(results.values()))[0]
    counts = f"{len(first['numbers'])} numbers of 6 to 10 digits and {len(first['ordinary'])} sentences by new speakers"
    headings = [heading for _, _, heading in COLUMNS] + [f"p50 at {budget:.0%} cut-offs" for budget in BUDGETS]
    lines = [
        f"# What removes cut-offs: the tiny model, {max(map(len, results.values()))} seeds an arm",
        "",
        f"`{command}`; {datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}. Held out: {counts}, {len(first['known'])} numbers by",
        "voices that were trained on. Intervals 95 % by speaker and clip, all seeds together; then the lowest and the highest seed. The",
        "last columns are of each seed's curve over all thresholds and holds, on these clips.",
        "",
        "| | " + " | ".join(headings) + " |",
        "|---|" + "---|" * len(headings),
    ]
    for arm, runs in results.items():
        cells = [cell(figure, [run[slice_name] for run in runs]) for slice_name, figure, _ in COLUMNS]
        cells += [at_budget([run["numbers"] for run in runs], budget) for budget in BUDGETS]
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    last = "The last is the recipe of configs/tiny_cpu.yaml, which also joins a tenth of the clips with another."
    lines += ["", f"Each arm adds to the one above it. {last}"]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Record, tune every arm with every seed, listen, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True, help="decides what is said by whom; take one that nobody has looked at")
    parser.add_argument("--runs", type=int, default=3, help="seeds an arm")
    parser.add_argument("--arms", nargs="*", choices=ARMS, default=list(ARMS))
    parser.add_argument("--out", type=Path, help="Markdown file; by default a dated one in tools/bench/results/")
    arguments = parser.parse_args()
    workdir, takes = arguments.workdir, Takes.under(arguments.workdir)
    places = {arm: [workdir / arm.replace(" ", "_") / str(run) for run in range(arguments.runs)] for arm in arguments.arms}
    base = workdir / "base"
    recorded = Step(
        name="takes", action=lambda: takes.record(arguments.seed), options={"seed": arguments.seed}, outputs=[takes.known.directory]
    )
    heard = Step(name="the base", action=lambda: listen(takes, "tiny", base), outputs=[base / "known.jsonl"])
    run_steps([recorded, heard], records=workdir / ".stages")
    for arm, directories in places.items():
        for run, directory in enumerate(directories):
            action = functools.partial(tune_and_listen, takes, arm, run, directory)
            step = Step(name=f"{arm}, seed {run}", action=action, options=ARMS[arm], outputs=[directory / "known.jsonl"])
            run_steps([step], records=directory / ".stages")
    results = {"the base": [scores_of(base)], **{arm: [scores_of(one) for one in directories] for arm, directories in places.items()}}
    if arguments.runs > 1:
        merged = workdir / "merged"
        merge_seeds(places[arguments.arms[-1]], merged / "model")
        listen(takes, str(merged / "model"), merged)
        results[MERGED] = [scores_of(merged)]
    today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    command = f"python tools/ablation.py --workdir DIR --seed {arguments.seed} --runs {arguments.runs}"
    path = arguments.out or RESULTS / f"{today}-ablation.md"
    write_text(path, page(results, command))
    print(path.read_text())


if __name__ == "__main__":
    main()
