"""The whole path on the tiny model, on a CPU, in a few minutes: what `stt-ft` does, shown on speech that anyone can make.

    stt-ft demo --workdir demo
    stt-ft demo --workdir demo --people recordings/      with people's voices, from a copy of the Free Spoken Digit Dataset

espeak-ng stands in for people at a microphone, and a tiny model of the same architecture for Kyutai's; everything between is the product
itself, called as the command line calls it. Speakers, speeds and numbers that the result is measured on are heard in no other stage.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from stt_ft.stages import stage_step

if TYPE_CHECKING:
    from stt_ft.core.recipe import Recipe
    from stt_ft.simulation.glued import SpokenDigits

NUM_TRAIN, NUM_TRAIN_ORDINARY, NUM_DEV, NUM_HELDOUT, NUM_HELDOUT_ORDINARY = 160, 60, 24, 100, 40
"""Half of the numbers are dictated in the natural manner, half hesitantly."""

NUM_TRAIN_PEOPLE, NUM_HELDOUT_PEOPLE = 60, 60
PEOPLE_HELD_OUT = ("lucas", "theo")
"""Speakers of the Free Spoken Digit Dataset whom neither the tiny model nor its adapter has heard."""


def demo(*, workdir: str = "demo", seed: int = 0, people: str | None = None) -> None:
    """Run every stage on simulated recordings and the tiny model, and show before and after on speakers never heard.

    Finished stages are skipped, so an interrupted demo goes on where it stopped.

    Args:
        workdir: directory for everything the demo makes.
        seed: decides what is said, by whom, and the order of training.
        people: folder of the Free Spoken Digit Dataset's recordings (github.com/Jakobovski/free-spoken-digit-dataset). Numbers glued from
            the digits of its speakers are learned and measured beside the others, lucas and theo kept apart to be measured alone.
    """
    from stt_ft.core.atomic import write_text
    from stt_ft.core.config import dump_config
    from stt_ft.core.progress import say
    from stt_ft.core.steps import Step, run_steps
    from stt_ft.simulation.glued import SpokenDigits

    digits = None if people is None else _two_groups(SpokenDigits(Path(people)), people)
    root = Path(workdir)
    dataset, recipe, run_dir, model, export, report = (
        root / name for name in ("dataset", "recipe.yaml", "run", "model", "candle", "report")
    )
    resolved = _recipe(dataset, run_dir, seed)
    write_text(recipe, dump_config(resolved))

    run_steps(
        [
            Step(
                name="speak",
                action=lambda: _speak(dataset, seed, digits),
                options={"seed": seed, "people": people},
                outputs=[dataset / "heldout.jsonl"],
            ),
            stage_step("annotate", str(dataset), aligner="sphinx"),
            stage_step("convert", str(dataset)),
            stage_step("check", str(dataset), base="tiny"),
            stage_step("encode", str(dataset), base="tiny", speeds=list(resolved.augment.speeds)),
            stage_step("train", str(recipe), outputs=[run_dir / "checkpoints"]),
            stage_step("merge", str(run_dir), out=str(model), dtype="bfloat16", overwrite=True, outputs=[model]),
            stage_step("export", str(model), out=str(export), overwrite=True, outputs=[export]),
            stage_step(
                "evaluate",
                str(model),
                str(dataset),
                out=str(report),
                baseline="tiny",
                run_dir=str(run_dir),
                outputs=[report / "report.json"],
            ),
        ],
        records=root / ".stages",
    )
    say(f"report     {report / 'report.html'}  (open it in a browser)")
    say(f"model      {model}  (stt-ft transcribe {model} {dataset / 'audio'}/heldout_number_001.wav --pauses)")
    say(f"for Rust   {export}  (moshi-server worker --config {export / 'moshi-server.toml'})")


def _two_groups(digits: SpokenDigits, folder: str) -> SpokenDigits:
    """Return `digits` where there are speakers to learn from and speakers to measure on; else raise `DatasetError`."""
    from stt_ft.core.errors import DatasetError

    measured = set(digits.speakers) & set(PEOPLE_HELD_OUT)
    if not measured or measured == set(digits.speakers):
        raise DatasetError(
            f"{folder}: --people needs {' or '.join(PEOPLE_HELD_OUT)}, to be measured on, and others to learn from; "
            f"it holds {', '.join(digits.speakers)}"
        )
    return digits


def _speak(directory: Path, seed: int, people: SpokenDigits | None) -> None:
    """Record the simulated speakers: numbers to learn from, ordinary sentences to keep, and others of both to be measured on."""
    from stt_ft.core.manifest import Dataset
    from stt_ft.core.progress import track
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
        learnt = tuple(speaker for speaker in people.speakers if speaker not in PEOPLE_HELD_OUT)
        measured = tuple(speaker for speaker in people.speakers if speaker in PEOPLE_HELD_OUT)
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


def _recipe(dataset: Path, run_dir: Path, seed: int) -> Recipe:
    """The recipe of configs/tiny_cpu.yaml, resolved for this demo's directories."""
    from stt_ft.assets import shipped
    from stt_ft.core.config import load_config
    from stt_ft.core.recipe import Recipe

    return load_config(Recipe, shipped("configs") / "tiny_cpu.yaml", {"dataset": str(dataset), "run_dir": str(run_dir), "seed": seed})
