"""Measure the tiny model on voices, speeds and numbers that it was never trained on, and write its model card.

    python tools/measure_tiny_model.py --model stt_ft/assets/tiny --workdir /tmp/tiny_measured

It records simulated takes (150 numbers of 6 to 10 digits, 50 of 3 to 5, 100 ordinary sentences), lets `stt-ft evaluate` hear them, and
writes `README.md` beside the weights with every figure and its 95 % interval.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from stt_ft.core.manifest import Dataset
from stt_ft.core.provenance import file_sha256
from stt_ft.simulation.casting import BASE_CAST, HELDOUT_CAST
from stt_ft.simulation.takes import TakePlan, write_takes
from stt_ft.stages import stage

SEED = 1

CARD = Path(__file__).with_name("tiny_model_card.md")


def record(workdir: Path, name: str, plans: list[TakePlan]) -> Path:
    """Record a held-out dataset with true word times; an existing one is taken as it is."""
    dataset = Dataset(workdir / name)
    if not dataset.manifest_path("heldout").exists():
        used: set[str] = set()
        dataset.write_clips(
            "heldout", [clip for plan in plans for clip in write_takes(dataset, plan, seed=SEED, used_digits=used, with_times=True)]
        )
    return dataset.directory


def row(label: str, target: str, figure: dict[str, Any], unit: str) -> str:
    """A line of the table."""

    def show(value: float | None) -> str:
        return "never" if value is None else f"{value:.2f} s" if unit == "s" else f"{value:.1%}"

    return f"| {label} | {target} | **{show(figure['value'])}** ({show(figure['low'])} to {show(figure['high'])}) | {figure['num_clips']} |"


def main() -> None:
    """Record, listen, write the card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("stt_ft/assets/tiny"))
    parser.add_argument("--workdir", type=Path, required=True)
    arguments = parser.parse_args()
    model, workdir = arguments.model, arguments.workdir
    long_numbers = TakePlan(split="heldout", kind="number", count=150, cast=HELDOUT_CAST, min_digits=6)
    sentences = TakePlan(split="heldout", kind="ordinary", count=100, cast=HELDOUT_CAST)
    short_numbers = TakePlan(split="heldout", kind="number", count=50, cast=HELDOUT_CAST, max_digits=5)
    figures = {}
    for name, plans in (("long", [long_numbers, sentences]), ("short", [short_numbers])):
        stage("evaluate")(str(model), str(record(workdir, name, plans)), out=str(workdir / f"report_{name}"))
        figures[name] = next(iter(json.loads((workdir / f"report_{name}" / "report.json").read_text())["figures"].values()))
    numbers, ordinary, short = figures["long"]["numbers"], figures["long"]["ordinary"], figures["short"]["numbers"]
    rows = [
        row("word error rate, ordinary sentences", "≤ 5 %", ordinary["word_error_rate"], "rate"),
        row("digit strings exact, 6 to 10 digits", "≥ 60 %", numbers["digit_strings_exact"], "share"),
        row("digit strings exact, 3 to 5 digits", "≥ 60 %", short["digit_strings_exact"], "share"),
        row("numbers written in digits, 6 to 10 digits", "(all)", numbers["written_as_digits"], "share"),
        row("false cut-offs, numbers of 6 to 10 digits", "≥ 60 %", numbers["false_cut_offs"], "share"),
        row("false cut-offs, ordinary sentences", "≤ 5 %", ordinary["false_cut_offs"], "share"),
        row("end of speech to head 2 above 0.6, ordinary sentences, median", "≤ 0.8 s", ordinary["latency_p50_s"], "s"),
        row("end of speech to head 2 above 0.6, numbers, median", "≤ 0.8 s", numbers["latency_p50_s"], "s"),
    ]
    config = json.loads((model / "config.json").read_text())
    build = json.loads((model / "build.json").read_text())
    (model / "README.md").write_text(
        CARD.read_text(encoding="utf-8").format(
            rows="\n".join(rows),
            num_voices=len(BASE_CAST.voices),
            num_pieces=config["text_card"],
            n_q=config["n_q"],
            card=config["card"],
            measure_seed=SEED,
            lm_hash=file_sha256(model / "model.safetensors"),
            mimi_hash=file_sha256(model / "mimi.safetensors"),
            **build,
        ),
        encoding="utf-8",
    )
    print((model / "README.md").read_text())


if __name__ == "__main__":
    main()
