"""Record what the gate's own test stands on: frames of the tiny model, of one tuned from it, and of four that must not pass.

    python tools/record_gate_frames.py --workdir /tmp/gate --out tests/golden/gate_frames.jsonl.gz

Every line comes from the real engine listening to simulated takes that no stage has learnt from. The models that must not pass:

    base       nothing tuned
    zeroed     tuned, its pause heads' weights set to zero
    drifted    tuned, its text as it was, but with the base's heads, which cut off what the tuned ones wait for
    glyphs     the base's text, which writes digits, under the tuned heads
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import safetensors.torch
import torch

from stt_ft.core.config import dump_config, load_config
from stt_ft.core.recipe import Recipe
from stt_ft.dataset.manifest import Dataset
from stt_ft.evaluation.frames import ClipFrames, read_frames
from stt_ft.model.checkpoint_dir import open_model
from stt_ft.simulation.casting import DEV_CAST, HELDOUT_CAST, TUNING_CAST
from stt_ft.simulation.takes import TakePlan, write_takes
from stt_ft.stages import stage

SEED = 7
RECIPE = Path(__file__).parents[1] / "configs" / "tiny_cpu.yaml"
SABOTAGES = ("zeroed", "drifted", "glyphs")

Weights = dict[str, torch.Tensor]


def speak(directory: Path, *, num_train: int = 160, num_heldout: int = 24) -> Dataset:
    """Write simulated takes with their true word times: no aligner is on trial here."""
    data, used = Dataset(directory), set()
    plans = (
        TakePlan(split="train", kind="number", count=num_train, cast=TUNING_CAST),
        TakePlan(split="train", kind="ordinary", count=num_train // 2, cast=TUNING_CAST),
        TakePlan(split="dev", kind="number", count=12, cast=DEV_CAST),
        TakePlan(split="heldout", kind="number", count=num_heldout, cast=HELDOUT_CAST, min_digits=6),
        TakePlan(split="heldout", kind="ordinary", count=num_heldout * 2 // 3, cast=HELDOUT_CAST),
    )
    takes = [(plan.split, clip) for plan in plans for clip in write_takes(data, plan, seed=SEED, used_digits=used, with_times=True)]
    for split in ("train", "dev", "heldout"):
        data.write_clips(split, [clip for of_split, clip in takes if of_split == split])
    return data


def tune(workdir: Path, data: Dataset, *, steps: int) -> Path:
    """Fine-tune the tiny model by the shipped recipe and merge it."""
    overrides = {
        "dataset": str(data.directory), "run_dir": str(workdir / "run"), "seed": SEED, "threads": torch.get_num_threads(),
        "schedule.max_steps": steps, "validation.every_steps": steps,
    }  # fmt: skip
    recipe = load_config(Recipe, RECIPE, overrides)
    (workdir / "recipe.yaml").write_text(dump_config(recipe))
    stage("encode")(str(data.directory), base="tiny", speeds=list(recipe.augment.speeds))
    stage("train")(str(workdir / "recipe.yaml"))
    stage("merge")(str(workdir / "run"), out=str(workdir / "tuned"), overwrite=True)
    return workdir / "tuned"


def sabotaged(tuned: Path, out: Path, change: Callable[[Weights], Weights]) -> Path:
    """Copy a model directory with its weights changed."""
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(tuned, out)
    (out / "SHA256SUMS").unlink(missing_ok=True)  # it would rightly refuse what is done here
    weights = open_model(out).lm_weights
    safetensors.torch.save_file(change(safetensors.torch.load_file(weights)), weights, metadata={"format": "pt"})
    return out


def zeroed(weights: Weights) -> Weights:
    return {name: torch.zeros_like(one) if name.startswith("extra_heads.") else one for name, one in weights.items()}


def drifted(weights: Weights) -> Weights:
    return {**weights, **heads_of(safetensors.torch.load_file(open_model("tiny").lm_weights))}


def glyphs(weights: Weights) -> Weights:
    return {**safetensors.torch.load_file(open_model("tiny").lm_weights), **heads_of(weights)}


def heads_of(weights: Weights) -> Weights:
    return {name: one for name, one in weights.items() if name.startswith("extra_heads.")}


def models_of(workdir: Path, tuned: Path) -> dict[str, Path]:
    """Return the tuned model and the sabotaged ones by name."""
    changes = {"zeroed": zeroed, "drifted": drifted, "glyphs": glyphs}
    return {"tuned": tuned, **{name: sabotaged(tuned, workdir / name, changes[name]) for name in SABOTAGES}}


def hear(workdir: Path, data: Dataset, models: dict[str, Path]) -> list[ClipFrames]:
    """Let the base and every model hear the held-out takes; return their frames under their names."""
    frames = []
    for name, model in models.items():
        out = workdir / f"report_{name}"
        stage("evaluate")(str(model), str(data.directory), out=str(out), baseline="tiny", set_on=None, silero=False)
        heard = read_frames(out / "frames.jsonl")
        frames += [one for one in heard if one.model == "base"] if not frames else []
        frames += [ClipFrames.from_json({**one.to_json(), "model": name}) for one in heard if one.model == "tuned"]
    return frames


def main() -> None:
    """Speak, tune, sabotage, listen, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--tuned", type=Path, help="a tuned tiny model that exists, such as demo/model, in place of tuning one")
    arguments = parser.parse_args()
    data = Dataset(arguments.workdir / "dataset")
    if not data.manifest_path("heldout").exists():
        speak(data.directory)
    models = models_of(arguments.workdir, arguments.tuned or tune(arguments.workdir, data, steps=arguments.steps))
    lines = [json.dumps(one.to_json(), ensure_ascii=False) + "\n" for one in hear(arguments.workdir, data, models)]
    arguments.out.write_bytes(gzip.compress("".join(lines).encode(), mtime=0))
    print(f"{arguments.out}: {len(lines)} lines, {arguments.out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
