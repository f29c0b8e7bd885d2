"""Stages in order, skipping what is up to date: `stt-ft run` on your recordings by a recipe, `stt-ft demo` on speech that anyone can make.

    stt-ft run configs/stt_1b_digits.yaml
    stt-ft demo --workdir demo
    stt-ft demo --workdir demo --people recordings/      with people's voices, from a copy of the Free Spoken Digit Dataset

In the demo espeak-ng stands in for people at a microphone, and a tiny model of the same architecture for Kyutai's; everything between is
the product itself, called as the command line calls it. No other stage has the speakers, speeds and numbers that are measured.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from stt_ft.assets import shipped
from stt_ft.core.atomic import write_text
from stt_ft.core.config import dump_config, load_config, to_dict
from stt_ft.core.errors import DatasetError
from stt_ft.core.progress import say, track
from stt_ft.core.recipe import Recipe
from stt_ft.core.steps import Step, run_steps
from stt_ft.core.storage import place
from stt_ft.dataset.manifest import Dataset
from stt_ft.stages import stage, stage_step

if TYPE_CHECKING:
    from stt_ft.simulation.glued import SpokenDigits


def run(config: str, **overrides: Any) -> None:
    """Run every stage of a recipe in order, skipping what is up to date.

    The dataset must exist (`stt-ft record` or `stt-ft ingest` make one) and be split (`stt-ft split`). A stage runs again when its options,
    the dataset's files (by size and time of change) or the stage before it changed.

    Args:
        config: recipe file, such as configs/stt_1b_digits.yaml.
        overrides: keys of the recipe given as flags; they win over the file.
    """
    recipe = load_config(Recipe, config, overrides)
    dataset = Dataset.open(recipe.dataset)
    if "heldout" not in dataset.splits():
        raise DatasetError(f"{recipe.dataset}: no heldout split to evaluate on; make it first: stt-ft split {recipe.dataset}")
    run_dir = Path(recipe.run_dir)
    model, export, report = (run_dir / name for name in ("merged", "candle", "evaluation"))
    run_steps(_steps(recipe, config, overrides, model=model, export=export, report=report), records=run_dir / ".stages")
    say(f"report     {report / 'report.html'}")
    say(f"model      {model}")
    say(f"for Rust   {export}")


def _steps(recipe: Recipe, config: str, overrides: dict[str, Any], *, model: Path, export: Path, report: Path) -> list[Step]:
    """Return the chain from a dataset's recordings to the directories of model, export and report.

    `recipe` is the file `config`, which `train` reads itself, with `overrides`.
    """
    name, run_dir = recipe.dataset, Path(recipe.run_dir)
    beside = [directory for directory in (recipe.replay.dataset, recipe.synthetic.dataset) if directory is not None]
    channels = [version.channel for version in recipe.augment.versions if version.channel is not None]
    versions = {"speeds": list(recipe.augment.speeds), "channels": channels}
    return [
        stage_step("annotate", name, inputs=Dataset(place(name)).files, aligner=recipe.annotate.aligner, model=recipe.annotate.model),
        stage_step("convert", name, style=recipe.convert.style),
        stage_step("check", name, base=recipe.base, tail_s=recipe.batch.tail_s),
        stage_step("encode", name, base=recipe.base, **versions),
        Step(
            name="train",
            action=lambda: stage("train")(config, **overrides),
            options=to_dict(recipe),
            inputs=lambda: (path for directory in beside for path in Dataset.open(directory).files()),
            outputs=[run_dir / "checkpoints"],
        ),
        stage_step("merge", recipe.run_dir, out=str(model), overwrite=True, outputs=[model]),
        stage_step("export", str(model), out=str(export), overwrite=True, outputs=[export]),
        stage_step(
            "evaluate", str(model), name, out=str(report), baseline=recipe.base, run_dir=recipe.run_dir, outputs=[report / "report.json"]
        ),
    ]


NUM_TRAIN, NUM_TRAIN_ORDINARY, NUM_DEV, NUM_HELDOUT, NUM_HELDOUT_ORDINARY = 160, 60, 24, 100, 40
"""Half of the numbers are dictated in the natural manner, half hesitantly."""

NUM_TRAIN_PEOPLE, NUM_HELDOUT_PEOPLE = 60, 60


def demo(*, workdir: str = "demo", seed: int = 0, people: str | None = None) -> None:
    """Run every stage on simulated recordings and the tiny model, and show before and after on speakers never heard.

    Finished stages are skipped, so an interrupted demo goes on where it stopped.

    Args:
        workdir: directory for everything the demo makes.
        seed: decides numbers, speakers and the order of training.
        people: folder of the Free Spoken Digit Dataset's recordings (github.com/Jakobovski/free-spoken-digit-dataset). Numbers glued from
            the digits of its speakers are learned and measured beside the others, lucas and theo kept apart to be measured alone.
    """
    from stt_ft.simulation.glued import SpokenDigits

    digits = None if people is None else SpokenDigits(Path(people))
    if digits is not None:
        digits.groups()  # refuses a folder without people to learn from, or without others to measure on, before anything begins
    root = Path(workdir)
    dataset, recipe, run_dir, model, export, report = (
        root / name for name in ("dataset", "recipe.yaml", "run", "model", "candle", "report")
    )
    changes = {"dataset": str(dataset), "run_dir": str(run_dir), "seed": seed}
    resolved = load_config(Recipe, shipped("configs") / "tiny_cpu.yaml", changes)
    write_text(recipe, dump_config(resolved))

    speak = Step(
        name="speak",
        action=lambda: _speak(dataset, seed, digits),
        options={"seed": seed, "people": people},
        outputs=[dataset / "heldout.jsonl"],
    )
    run_steps([speak, *_steps(resolved, str(recipe), {}, model=model, export=export, report=report)], records=root / ".stages")
    say(f"report     {report / 'report.html'}  (open it in a browser)")
    say(f"model      {model}  (stt-ft transcribe {model} {dataset / 'audio'}/heldout_number_001.wav --pauses)")
    say(f"for Rust   {export}  (moshi-server worker --config {export / 'moshi-server.toml'})")


def _speak(directory: Path, seed: int, people: SpokenDigits | None) -> None:
    """Write the takes of the simulated speakers: numbers and ordinary sentences to learn from, and others of both to measure on."""
    from stt_ft.simulation.casting import DEV_CAST, HELDOUT_CAST, TUNING_CAST
    from stt_ft.simulation.takes import GluedPlan, TakePlan, write_plan

    dataset = Dataset(directory)
    plans: list[TakePlan | GluedPlan] = [
        TakePlan(split="train", kind="number", count=NUM_TRAIN, cast=TUNING_CAST),
        TakePlan(split="train", kind="ordinary", count=NUM_TRAIN_ORDINARY, cast=TUNING_CAST),
        TakePlan(split="dev", kind="number", count=NUM_DEV, cast=DEV_CAST),
        TakePlan(split="heldout", kind="number", count=NUM_HELDOUT, cast=HELDOUT_CAST, min_digits=6),
        TakePlan(split="heldout", kind="ordinary", count=NUM_HELDOUT_ORDINARY, cast=HELDOUT_CAST),
    ]
    if people is not None:
        learnt, measured = people.groups()
        plans += [
            GluedPlan(split="train", count=NUM_TRAIN_PEOPLE, digits=people, speakers=learnt, shares=TUNING_CAST.digit_shares),
            GluedPlan(split="heldout", count=NUM_HELDOUT_PEOPLE, digits=people, speakers=measured, shares=HELDOUT_CAST.digit_shares),
        ]
    used_digits: set[str] = set()
    takes = ((plan.split, clip) for plan in plans for clip in write_plan(dataset, plan, seed=seed, used_digits=used_digits))
    spoken = list(track(takes, "takes spoken", total=sum(plan.count for plan in plans)))
    for split in ("train", "dev", "heldout"):
        dataset.write_clips(split, [clip for clip_split, clip in spoken if clip_split == split])
    dataset.write_info({"name": "demo", "language": "en", "sample_rate_hz": 24_000, "made_by": f"stt-ft demo, espeak-ng, seed {seed}"})
