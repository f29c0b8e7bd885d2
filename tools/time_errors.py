"""What wrong word times cost: the tiny model trained on the same takes, with word times from different sources, all else equal.

    make real && python tools/time_errors.py --workdir DIR --seed 31 --people DIGITS     an hour on two cores; killed, it goes on

The takes are simulated, so their true times are known. Each arm has the same sound, words, recipe (configs/tiny_cpu.yaml) and seeds; all
are heard on the same held-out takes, whose times are true. From DIGITS (the Free Spoken Digit Dataset, `0_george_0.wav` …) come the errors
that `annotate` makes in noise on people. The last step of a run is heard. The table is written anew after each seed of all arms.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import json
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ablation import RECIPE, RESULTS, at_budget, cell, shown
from bench.alignment import by_work, glued_numbers
from real_whisper import checkpoint

from stt_ft.align.sphinx_aligner import SphinxWork
from stt_ft.align.whisper_aligner import WhisperWork
from stt_ft.core.atomic import write_json, write_text
from stt_ft.core.config import dump_config, load_config
from stt_ft.core.errors import CheckFailed
from stt_ft.core.progress import say
from stt_ft.core.recipe import Recipe
from stt_ft.core.steps import Step, run_steps
from stt_ft.dataset.manifest import Clip, Dataset
from stt_ft.dataset.sidecar import Sidecar, Word
from stt_ft.evaluation.figures import FIGURES, resampling_of, sliced
from stt_ft.evaluation.frames import read_frames
from stt_ft.evaluation.hearing import Evaluation
from stt_ft.evaluation.scores import ClipScore
from stt_ft.metrics.endpointing import EndpointRule
from stt_ft.metrics.intervals import Statistic, paired_difference
from stt_ft.simulation.casting import HELDOUT_CAST, TUNING_CAST
from stt_ft.simulation.glued import SpokenDigits
from stt_ft.simulation.takes import TakePlan, write_takes
from stt_ft.stages import stage

NUM_NUMBERS, NUM_SENTENCES, NUM_HELDOUT_NUMBERS, NUM_HELDOUT_SENTENCES = 150, 50, 200, 100
NUM_PEOPLE = 60  # glued numbers on which the errors of the arms "people" are measured
SHORTEST_S = 0.02  # no word is made shorter than this by an error

TRUE = "true times"
ALIGNED = {"annotate, sphinx": "sphinx", "annotate, Whisper tiny.en": "whisper"}
LATE = "each word at the next one's time"
PEOPLE = {"errors of Whisper, people at 15 dB": "whisper", "errors of sphinx, people at 15 dB": "sphinx"}
ARMS = (TRUE, *ALIGNED, LATE, *PEOPLE)

COLUMNS = (  # slice, figure, heading
    ("numbers", "false_cut_offs", "cut-offs in numbers"),
    ("numbers", "latency_p50_s", "end of turn after numbers, p50"),
    ("numbers", "latency_p95_s", "p95"),
    ("numbers", "digit_strings_exact", "digit strings exact"),
    ("ordinary", "word_error_rate", "word errors, sentences"),
)

Scores = dict[str, list[ClipScore]]  # of one run, by slice
Errors = list[list[tuple[float, float]]]  # told minus true onset and end of each word in seconds, clip by clip


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Where everything of one comparison lies; `people` is the folder of spoken digits, if there is one."""

    workdir: Path
    seed: int
    steps: int
    people: Path | None

    @property
    def takes(self) -> Dataset:
        """What is learnt from and what is heard, with true times."""
        return Dataset(self.workdir / "takes")

    def arm(self, name: str) -> Dataset:
        return Dataset(self.workdir / "arms" / name.replace(" ", "_").replace(",", ""))

    def record(self) -> None:
        """Speak everything with its true times, and encode it once."""
        plans = (
            TakePlan(split="train", kind="number", count=NUM_NUMBERS, cast=TUNING_CAST),
            TakePlan(split="train", kind="ordinary", count=NUM_SENTENCES, cast=TUNING_CAST),
            TakePlan(split="heldout", kind="number", count=NUM_HELDOUT_NUMBERS, cast=HELDOUT_CAST, min_digits=6),
            TakePlan(split="heldout", kind="ordinary", count=NUM_HELDOUT_SENTENCES, cast=HELDOUT_CAST),
        )
        used, clips = set[str](), {"train": list[Clip](), "heldout": list[Clip]()}
        for plan in plans:
            clips[plan.split] += write_takes(self.takes, plan, seed=self.seed, used_digits=used, with_times=True)
        for split, members in clips.items():
            self.takes.write_clips(split, members)
        speeds = [speed for speed in load_config(Recipe, RECIPE, {}).augment.speeds if speed != 1.0]
        stage("encode")(str(self.takes.directory), base="tiny", speeds=speeds)

    def time_words(self, name: str) -> None:
        """Make the arm's dataset: the sound and codes of the takes, and sidecars with times of its own."""
        clips, data = self.takes.clips("train"), self.arm(name)
        errors = measured_on_people(self, PEOPLE[name]) if name in PEOPLE else []
        rng = random.Random(f"{self.seed} {name}")
        (data.directory / "audio").mkdir(parents=True, exist_ok=True)
        for path in ("tokens", *(clip.path for clip in clips)):
            if not (data.directory / path).is_symlink():
                (data.directory / path).symlink_to((self.takes.directory / path).resolve())
        data.write_clips("train", clips)
        for clip in clips:
            true = self.takes.read_sidecar(clip)
            if name not in ALIGNED:
                words = moved(true.alignments, name, clip.duration_s, errors, rng)
                data.write_sidecar(clip, Sidecar(alignments=words, script=true.script))
            elif not data.sidecar_path(clip).is_file():  # what was aligned before a run was killed stays
                data.write_sidecar(clip, Sidecar(script=true.script))
        if name in ALIGNED:
            align(data, ALIGNED[name])

    def listen(self, model: str, path: Path) -> None:
        """Let `model` hear the held-out takes."""
        evaluation = Evaluation.open(model, str(self.takes.directory), device="cpu")
        evaluation.listen("heldout", EndpointRule(), path, with_others=False)

    def train(self, data: Dataset, seed: int, directory: Path) -> None:
        """Train on an arm's dataset, merge, and listen."""
        changes = {"dataset": str(data.directory), "run_dir": str(directory / "run"), "seed": seed, "threads": torch.get_num_threads()}
        changes |= {"schedule.max_steps": self.steps, "validation.every_steps": 0}
        write_text(directory / "recipe.yaml", dump_config(load_config(Recipe, RECIPE, changes)))
        stage("train")(str(directory / "recipe.yaml"))
        stage("merge")(str(directory / "run"), out=str(directory / "model"), dtype="bfloat16", overwrite=True)
        self.listen(str(directory / "model"), directory / "frames.jsonl")


def align(data: Dataset, aligner: str) -> None:
    """Time the words as a user would; clips that are refused keep no words."""
    options = {"model": str(checkpoint()), "device": "cpu"} if aligner == "whisper" else {}
    for name, how in (("annotate", {"aligner": aligner, **options}), ("convert", {})):
        try:
            stage(name)(str(data.directory), **how)
        except CheckFailed as refused:
            say(str(refused))


def moved(words: Sequence[Word], name: str, duration_s: float, errors: Errors, rng: random.Random) -> tuple[Word, ...]:
    """Return true `words` with the times that the arm `name` gives them."""
    spans = [(word.start_s, word.end_s) for word in words]
    if name == LATE:
        start_s, end_s = spans[-1]
        spans = [*spans[1:], (end_s, 2 * end_s - start_s)]
    elif name in PEOPLE:
        drawn = [error for _ in words for error in rng.choice(errors)]  # as they came in a clip, clip after clip: neighbours err together
        spans = [(start_s + onset_s, end_s + late_s) for (start_s, end_s), (onset_s, late_s) in zip(spans, drawn, strict=False)]
    placed: list[Word] = []
    for word, (start_s, end_s) in zip(words, spans, strict=True):
        earliest_s = placed[-1].start_s + SHORTEST_S if placed else 0.0
        start_s = min(max(start_s, earliest_s), duration_s - SHORTEST_S)
        placed.append(Word(text=word.text, start_s=start_s, end_s=min(max(end_s, start_s + SHORTEST_S), duration_s)))
    return tuple(placed)


def measured_on_people(bench: Bench, aligner: str) -> Errors:
    """Return the errors of an aligner on people's glued digits in noise at 15 dB, measured once."""
    path = bench.workdir / f"people-{aligner}.json"
    if not path.is_file():
        assert bench.people is not None
        work = SphinxWork() if aligner == "sphinx" else WhisperWork(str(checkpoint()), language="en", device="cpu", batch_size=8)
        with tempfile.TemporaryDirectory() as folder:
            clips = dict(glued_numbers(SpokenDigits(bench.people), NUM_PEOPLE, bench.seed, Path(folder)))["people's digits, noise 15 dB"]
            found = by_work(work)(clips)
        pairs = [(times, clip.words) for times, clip in zip(found, clips, strict=True) if times is not None]
        write_json(path, [apart(times, words) for times, words in pairs])
    return [[(onset_s, end_s) for onset_s, end_s in clip] for clip in json.loads(path.read_text())]


def apart(told: Sequence[tuple[float, float]], said: Sequence[Any]) -> list[tuple[float, float]]:
    """Return told minus true onset and end of each word."""
    return [(start_s - word.start_s, end_s - word.end_s) for (start_s, end_s), word in zip(told, said, strict=True)]


def keep_common(bench: Bench, arms: Sequence[str]) -> None:
    """Leave every arm the same clips: those whose words are as said in all of them."""

    def said(data: Dataset, clip: Clip) -> list[str]:
        return [word.text.lower() for word in data.read_sidecar(clip).alignments]

    kept = [clip for clip in bench.takes.clips("train") if all(said(bench.arm(name), clip) == said(bench.takes, clip) for name in arms)]
    for name in arms:
        bench.arm(name).write_clips("train", kept)


def errors_of(bench: Bench, name: str, kind: str) -> Errors:
    """Return how far an arm's times lie from the true ones, over the clips of a kind that are trained on."""
    data = bench.arm(name)
    clips = (clip for clip in data.clips("train") if clip.extra["kind"] == kind)
    pairs = [(data.read_sidecar(clip).alignments, bench.takes.read_sidecar(clip).alignments) for clip in clips]
    return [apart([(word.start_s, word.end_s) for word in told], said) for told, said in pairs]


def error_row(name: str, errors: Errors) -> list[str]:
    """A row of the table of errors: onsets, then ends; median, p90 and p99 of the size, then median and mean with sign."""
    flat_ms = 1000 * np.array([one for clip in errors for one in clip])
    sizes = [[f"{size:.0f}" for size in np.percentile(np.abs(column), (50, 90, 99))] for column in flat_ms.T]
    signed = [[f"{np.median(column):+.0f}", f"{column.mean():+.0f}"] for column in flat_ms.T]
    return [name, str(len(flat_ms)), *(", ".join(both[0] + both[1]) for both in zip(sizes, signed, strict=True))]


def scores_of(path: Path) -> Scores:
    return sliced([ClipScore(frames=one, rule=EndpointRule()) for one in read_frames(path)])


def beside(figure: str, runs: Sequence[Sequence[ClipScore]], others: Sequence[Sequence[ClipScore]]) -> str:
    """Return how much `runs` differ from `others` on the same clips, with the paired interval."""

    def of(group: Sequence[Sequence[ClipScore]]) -> Statistic:
        statistic = FIGURES[figure].of([score for scores in group for score in scores])
        return lambda times: statistic(np.tile(times, (1, len(group))))

    found = paired_difference(of(runs), of(others), resampling_of(runs[0]))
    value, low, high = (shown(one, figure) for one in (found.value, found.low, found.high))
    return f"{'+' if found.value > 0 else ''}{value} ({low} to {high})"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (headings, ["---"] * len(headings), *rows)] + [""]


def page(bench: Bench, arms: Sequence[str], results: dict[str, list[Scores]], note: str) -> str:
    """Return the tables as Markdown: the errors of the times, what each arm scores, and its difference from true times."""
    num_clips, headings = len(bench.arm(TRUE).clips("train")), [heading for _, _, heading in COLUMNS]
    wrong = [error_row(f"{name}, {kind}", errors_of(bench, name, kind)) for name in arms if name != TRUE for kind in ("number", "ordinary")]
    scored, less = [], []
    for name, runs in results.items():
        cells = [cell(figure, [run[part] for run in runs]) for part, figure, _ in COLUMNS]
        scored.append([name, str(len(runs)), *cells, at_budget([run["numbers"] for run in runs], 0.05)])
        if name in ARMS and name != TRUE and TRUE in results:
            others = results[TRUE][: len(runs)]
            less.append([name, *(beside(figure, [r[part] for r in runs], [r[part] for r in others]) for part, figure, _ in COLUMNS)])
    command = (
        f"python tools/time_errors.py --workdir DIR --seed {bench.seed} --steps {bench.steps}{' --people DIGITS' * bool(bench.people)}"
    )
    lines = [
        "# What wrong word times cost: the tiny model", "", f"`{command}`", f"{note}.", "",
        f"- Learnt from: {num_clips} of {NUM_NUMBERS + NUM_SENTENCES} takes ({NUM_NUMBERS} numbers, {NUM_SENTENCES} sentences) by tuning",
        f"  voices, whose words are as said in every arm; {bench.steps} steps of configs/tiny_cpu.yaml, no dev takes.",
        f"- Held out: {NUM_HELDOUT_NUMBERS} numbers of 6 to 10 digits, {NUM_HELDOUT_SENTENCES} sentences, new speakers, true times.",
        "- Intervals 95 % by speaker and clip, all seeds of a clip together.", "",
        "Errors of the times learnt from, in ms: median, p90, p99 of the size; median and mean with sign", "(positive is late).", "",
        *table(["times, kind of take", "words", "onsets", "ends"], wrong),
        *table(["times", "seeds", *headings, "p50 at 5 % cut-offs, each seed"], scored),
        "The last column is of each seed's curve over all thresholds and holds, on these clips. Below: more",
        "or less than with true times, same seeds and clips, paired.", "",
        *table(["times", *headings], less),
    ]  # fmt: skip
    return "\n".join(lines).replace("inf s", "never")


def main() -> None:
    """Record, time the words by every source, train every arm with every seed, listen, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True, help="decides what is said by whom; take one that nobody has looked at")
    parser.add_argument("--people", type=Path, help="folder of DIGIT_SPEAKER_INDEX.wav")
    parser.add_argument("--runs", type=int, default=2, help="training seeds an arm")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--arms", nargs="*", choices=ARMS, default=list(ARMS), help="those to train; times are made for all")
    parser.add_argument("--note", default="one go", help="what else is to be known of this run")
    parser.add_argument("--out", type=Path, help="Markdown file; by default a dated one in tools/bench/results/")
    arguments = parser.parse_args()
    if checkpoint() is None:
        raise SystemExit("Whisper's real weights are not installed: make real")
    workdir, today = arguments.workdir, f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}"
    bench = Bench(workdir=workdir, seed=arguments.seed, steps=arguments.steps, people=arguments.people)
    arms = [name for name in ARMS if name not in PEOPLE or arguments.people is not None]
    steps = [
        Step(name="takes", action=bench.record, options={"seed": bench.seed}, outputs=[bench.takes.manifest_path("heldout")]),
        *(Step(name=name, action=functools.partial(bench.time_words, name), outputs=[bench.arm(name).directory]) for name in arms),
        Step(name="common clips", action=lambda: keep_common(bench, arms)),
        Step(name="the base", action=lambda: bench.listen("tiny", workdir / "base.jsonl"), outputs=[workdir / "base.jsonl"]),
    ]
    run_steps(steps, records=workdir / ".stages")
    results: dict[str, list[Scores]] = {"the base": [scores_of(workdir / "base.jsonl")]}
    for run in range(arguments.runs):
        for data, name in ((bench.arm(name), name) for name in arms if name in arguments.arms):
            directory = data.directory.with_name(f"{data.directory.name}.{run}")
            action = functools.partial(bench.train, data, run, directory)
            step = Step(name="train", action=action, options={"steps": bench.steps}, outputs=[directory / "frames.jsonl"])
            run_steps([step], records=directory / ".stages")
            results.setdefault(name, []).append(scores_of(directory / "frames.jsonl"))
        write_text(arguments.out or RESULTS / f"{today}-time-errors.md", page(bench, arms, results, f"{today}, {arguments.note}"))
        say(f"seed {run}: the table is written")


if __name__ == "__main__":
    main()
