"""What keeps numbers from being cut off, and what each part costs on ordinary speech: arms, seeds, intervals.

    python tools/ablation.py --workdir /tmp/ablation --seed 31 --people DIR      an hour on two cores; killed, it goes on where it was

Every arm adapts the tiny model to the same 200 simulated takes (150 numbers, half of them hesitant, and 50 ordinary sentences) for as many
steps, once a seed, and is heard on the same held-out takes by speakers that nothing has learnt from: natural and hesitant numbers,
sentences, and, where the Free Spoken Digit Dataset is at hand, numbers of two of its people (50 by the other four are learned too). A run
is scored as its recipe left it: nothing is chosen on held-out takes. Intervals are 95 %, by speaker and clip, all seeds of a clip together.
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
from stt_ft.core.recipe import Recipe
from stt_ft.core.steps import Step, run_steps
from stt_ft.dataset.manifest import Clip, Dataset
from stt_ft.evaluation.figures import FIGURES, SLICE_TITLES, resampling_of, sliced
from stt_ft.evaluation.frames import read_frames
from stt_ft.evaluation.hearing import Evaluation
from stt_ft.evaluation.scores import ClipScore
from stt_ft.metrics.endpointing import EndpointRule
from stt_ft.metrics.intervals import Estimate, estimate
from stt_ft.metrics.operating_points import latency_within, sweep
from stt_ft.simulation.casting import DEV_CAST, HELDOUT_CAST, TUNING_CAST
from stt_ft.simulation.glued import SpokenDigits
from stt_ft.simulation.takes import GluedPlan, TakePlan, write_glued, write_takes
from stt_ft.stages import stage

RECIPE = Path(__file__).parents[1] / "configs" / "tiny_cpu.yaml"
RESULTS = Path(__file__).parent / "bench" / "results"
SPEEDS = (0.9, 1.1)

TAKES: dict[str, Any] = {"augment.speeds": (1.0,), "augment.pause_prob": 0.0, "augment.renumber_prob": 0.0, "augment.join_prob": 0.0}
"""The takes as they were recorded."""

UNHELD: dict[str, Any] = {"replay.kinds": (), "replay.text_weight": 0.0}
"""Sentences are learned like numbers, and nothing is held to the base."""

PLAIN: dict[str, Any] = {**TAKES, **UNHELD, "labels.style": "plain"}
"""The recipe of configs/tiny_cpu.yaml without what this table is about."""

ARMS: dict[str, dict[str, Any]] = {
    "text only": {**PLAIN, "loss.pause_targets": "off", "lora.heads": "frozen"},
    "and pause heads": {**PLAIN, "loss.cut_off_cost": 1.0},
    "and a price on cutting off": PLAIN,
    "and other takes": {**UNHELD, "labels.style": "plain"},
    "and held to the base": {"labels.style": "plain"},
    "and labels as the base writes: the recipe": {},
}
"""What each arm changes of the recipe; each adds to the one above it, and the last is the recipe itself."""

MORE_VOICES = (300, 1200)
"""Clips of `stt-ft synthesize` learned beside the takes, each an arm of its own below the recipe."""

MERGED = "its seeds, merged into one"
"""One more row: the adapters of the last arm's seeds with equal weights (`merge --adapter`)."""

BUDGETS = (0.05, 0.02)
"""Shares of numbers cut off at which the latency of the curve is told, over all thresholds and holds."""

TABLES = {
    "numbers": ("false_cut_offs", "latency_p50_s", "latency_p95_s", "digit_strings_exact"),
    "hesitant": ("false_cut_offs", "latency_p50_s", "latency_p95_s", "digit_strings_exact"),
    "people": ("false_cut_offs", "latency_p50_s", "latency_p95_s", "digit_strings_exact"),
    "ordinary": ("word_error_rate", "false_cut_offs", "latency_p50_s", "sentence_style", "early_full_stops"),
}
"""Slice -> the figures of its table."""

FRAMES = "frames.jsonl"


@dataclass(frozen=True, kw_only=True)
class Takes:
    """The simulated recordings of one ablation, and the synthetic clips that some arms learn beside them."""

    recordings: Dataset
    synthetic: dict[int, Dataset]

    @classmethod
    def under(cls, workdir: Path) -> Takes:
        return cls(
            recordings=Dataset(workdir / "recordings"), synthetic={count: Dataset(workdir / f"synthetic_{count}") for count in MORE_VOICES}
        )

    def record(self, seed: int, people: Path | None) -> None:
        """Speak everything, align it as a user would, and encode it."""
        used: set[str] = set()
        plans = (
            TakePlan(split="train", kind="number", count=150, cast=TUNING_CAST),
            TakePlan(split="train", kind="ordinary", count=50, cast=TUNING_CAST),
            TakePlan(split="dev", kind="number", count=24, cast=DEV_CAST),
            TakePlan(split="heldout", kind="number", count=400, cast=HELDOUT_CAST, min_digits=6),
            TakePlan(split="heldout", kind="ordinary", count=150, cast=HELDOUT_CAST),
        )
        spoken: dict[str, list[Clip]] = {}
        for plan in plans:
            spoken.setdefault(plan.split, []).extend(write_takes(self.recordings, plan, seed=seed, used_digits=used))
        if people is not None:
            digits = SpokenDigits(people)
            learnt, measured = digits.groups()
            for glued in (
                GluedPlan(split="train", count=50, digits=digits, speakers=learnt, shares=TUNING_CAST.digit_shares),
                GluedPlan(split="heldout", count=200, digits=digits, speakers=measured),
            ):
                spoken[glued.split] += write_glued(self.recordings, glued, seed=seed, used_digits=used)
        for split, clips in spoken.items():
            self.recordings.write_clips(split, clips)
        directory = str(self.recordings.directory)
        stage("annotate")(directory, aligner="sphinx")
        stage("convert")(directory)
        stage("encode")(directory, base="tiny", speeds=list(SPEEDS))

    def synthesize(self, count: int, seed: int) -> None:
        """Let espeak-ng say other numbers in the carriers of the recordings, and encode them."""
        directory = str(self.synthetic[count].directory)
        stage("synthesize")(str(self.recordings.directory), out=directory, count=count, seed=seed)
        stage("encode")(directory, base="tiny", speeds=list(SPEEDS))


def tune(takes: Takes, changes: dict[str, Any], seed: int, directory: Path) -> None:
    """Train an adapter by the recipe with these changes and merge it into `directory`/model."""
    where = {"dataset": str(takes.recordings.directory), "run_dir": str(directory / "run"), "seed": seed}
    recipe = load_config(Recipe, RECIPE, {**where, "threads": torch.get_num_threads(), **changes})
    write_text(directory / "recipe.yaml", dump_config(recipe))
    stage("train")(str(directory / "recipe.yaml"))
    stage("merge")(str(directory / "run"), out=str(directory / "model"), dtype="bfloat16", overwrite=True)


def merge_seeds(directories: Sequence[Path], out: Path) -> None:
    """Fold the adapters of several runs into the base, each with the same weight."""
    entries = [f"{directory / 'run'}:{1 / len(directories)}" for directory in directories]
    stage("merge")(str(directories[0] / "run"), out=str(out), adapter=entries, dtype="bfloat16", overwrite=True)


def listen(takes: Takes, model: str, directory: Path) -> None:
    """Let `model` hear all held-out takes."""
    data = str(takes.recordings.directory)
    Evaluation.open(model, data, device="cpu").listen("heldout", EndpointRule(), directory / FRAMES, with_others=False)


def tune_and_listen(takes: Takes, changes: dict[str, Any], seed: int, directory: Path) -> None:
    tune(takes, changes, seed, directory)
    listen(takes, str(directory / "model"), directory)


def merge_and_listen(takes: Takes, directories: Sequence[Path], directory: Path) -> None:
    merge_seeds(directories, directory / "model")
    listen(takes, str(directory / "model"), directory)


def scores_of(directory: Path) -> dict[str, list[ClipScore]]:
    """Return the scores of one run by slice."""
    return sliced([ClipScore(frames=one, rule=EndpointRule()) for one in read_frames(directory / FRAMES)])


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
    """Return a table a slice, an arm a row, as Markdown."""
    first = next(iter(results.values()))[0]
    seeds = {arm: len(runs) for arm, runs in results.items()}
    lines = [
        "# What removes cut-offs: the tiny model",
        "",
        f"`{command}`; {datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}. Arms with their number of seeds; each of the first",
        f"{len(ARMS)} adds to the one above it. Intervals 95 %, by speaker and clip, all seeds together; then the",
        "lowest and the highest seed. The last columns are of each seed's curve over all thresholds and holds, on these clips.",
    ]
    for slice_name, figures in TABLES.items():
        if slice_name not in first:
            continue
        speakers = len({score.frames.speaker for score in first[slice_name]})
        headings = [FIGURES[figure].label for figure in figures]
        budgets = BUDGETS if slice_name != "ordinary" else ()
        headings += [f"p50 at {budget:.0%} cut-offs" for budget in budgets]
        lines += ["", f"## {SLICE_TITLES[slice_name]}: {len(first[slice_name])} clips, {speakers} speakers", ""]
        lines += ["| | " + " | ".join(headings) + " |", "|---|" + "---|" * len(headings)]
        for arm, runs in results.items():
            members = [run[slice_name] for run in runs]
            cells = [cell(figure, members) for figure in figures] + [at_budget(members, budget) for budget in budgets]
            lines.append(f"| {arm} ({seeds[arm]}) | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Record, tune every arm with every seed, listen, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True, help="decides what is said by whom; take one that nobody has looked at")
    parser.add_argument("--people", type=Path, help="folder of the Free Spoken Digit Dataset's recordings")
    parser.add_argument("--runs", type=int, default=3, help="seeds an arm")
    parser.add_argument("--recipe_runs", type=int, default=3, help="seeds of the recipe itself, if more")
    parser.add_argument("--arms", nargs="*", choices=ARMS, default=list(ARMS))
    parser.add_argument("--more_voices", nargs="*", type=int, choices=MORE_VOICES, default=list(MORE_VOICES), help="synthetic clips")
    parser.add_argument("--out", type=Path, help="Markdown file; by default a dated one in tools/bench/results/")
    arguments = parser.parse_args()
    workdir, takes = arguments.workdir, Takes.under(arguments.workdir)
    options = {"seed": arguments.seed, "people": None if arguments.people is None else str(arguments.people)}
    recorded = Step(
        name="takes",
        action=lambda: takes.record(arguments.seed, arguments.people),
        options=options,
        outputs=[takes.recordings.directory],
    )
    base = workdir / "base"
    heard = Step(name="the base", action=lambda: listen(takes, "tiny", base), outputs=[base / FRAMES])
    run_steps([recorded, heard], records=workdir / ".stages")
    arms = {arm: ARMS[arm] for arm in arguments.arms}
    for count in arguments.more_voices:
        spoken = Step(
            name=f"{count} synthetic clips",
            action=functools.partial(takes.synthesize, count, arguments.seed),
            options=options,
            outputs=[takes.synthetic[count].directory],
        )
        run_steps([spoken], records=workdir / ".stages")
        arms[f"the recipe and {count:,} synthetic clips"] = {"synthetic.dataset": str(takes.synthetic[count].directory)}
    results = {"the base": [scores_of(base)]}
    for arm, changes in arms.items():
        runs = max(arguments.runs, arguments.recipe_runs) if arm == list(ARMS)[-1] else arguments.runs
        directories = [workdir / "".join(c if c.isalnum() else "_" for c in arm) / str(run) for run in range(runs)]
        for run, directory in enumerate(directories):
            action = functools.partial(tune_and_listen, takes, changes, run, directory)
            step = Step(name=f"{arm}, seed {run}", action=action, options=changes, outputs=[directory / FRAMES])
            run_steps([step], records=directory / ".stages")
        results[arm] = [scores_of(one) for one in directories]
        if arm == list(ARMS)[-1] and runs > 1:
            merged = workdir / "merged"
            action = functools.partial(merge_and_listen, takes, directories, merged)
            run_steps([Step(name=MERGED, action=action, options={"runs": runs}, outputs=[merged / FRAMES])], records=merged / ".stages")
            results[MERGED] = [scores_of(merged)]
    today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    counts = f"--runs {arguments.runs} --recipe_runs {arguments.recipe_runs}"
    command = f"python tools/ablation.py --workdir DIR --seed {arguments.seed} --people DIR {counts}"
    path = arguments.out or RESULTS / f"{today}-ablation.md"
    write_text(path, page(results, command))
    print(path.read_text())


if __name__ == "__main__":
    main()
