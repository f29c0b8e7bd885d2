"""What pause heads that a model never had are worth: the tiny model with its heads taken away and given new ones, beside its own.

    stt-ft demo && python tools/new_heads.py --dataset demo/dataset --workdir /tmp/new_heads --seeds 0 1      three minutes a run

Every arm is trained by configs/tiny_cpu.yaml on the same takes, once a seed, and heard on the same held-out ones. Beside zeros, which
`lora.heads: new` begins with, stand heads fitted to what the base lets hear of the training clips before any of it is trained. A second
table is of heads that learn alone, from zeros, from a fit and from random weights; a third of heads that are always right, by how far their
clock runs behind the sound. Killed, it goes on where it was.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import functools
import itertools
import json
import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from ablation import FRAMES, RECIPE, RESULTS, SLICE_TITLES, TABLES, Takes, cell, listen, scores_of, tune_and_listen
from safetensors.torch import load_file, save_file
from torch import nn

from stt_ft.core.atomic import atomic_directory, write_json, write_text
from stt_ft.core.config import load_config
from stt_ft.core.recipe import Recipe
from stt_ft.core.steps import Step, run_steps
from stt_ft.core.timing import num_frames_covering
from stt_ft.dataset.manifest import Dataset
from stt_ft.evaluation.scores import ClipScore
from stt_ft.metrics.endpointing import EndpointRule, Turn, judge_turn
from stt_ft.model.checkpoint_dir import NUM_HEAD_CLASSES, TAIL_S, TINY_DIR, ModelDir, open_model
from stt_ft.model.stt_lm import forward, load_lm
from stt_ft.targets.interleave import END_PADDING_ID, PADDING_ID, build_text_stream
from stt_ft.targets.pause_targets import HORIZONS_S, pause_targets
from stt_ft.training.data.batches import TrainingBatches
from stt_ft.training.data.loading import training_clips
from stt_ft.training.loop import BETAS, MAX_GRAD_NORM, learning_rate
from stt_ft.training.losses import pause_loss, pause_weights

ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    "its own heads": ("tiny", {}),
    "new heads, from zeros: lora.heads new": ("headless", {"lora.heads": "new"}),
    "new heads, from a fit to the base": ("fitted", {}),
}
"""Arm -> the base, and what is changed of the recipe."""

FIT_BATCHES, MEASURED_BATCHES = 40, 8
"""Batches of training clips that heads are fitted to, and, after them, on which such heads are measured."""

RATES = ((8e-4, 200), (2e-4, 500))
"""Learning rate and steps of heads that learn alone: those of the tiny model's recipe, and what those of configs/stt_2_6b_digits.yaml
(2e-5, 500) come to here, where the hidden state is a tenth as wide: a step moves a logit by rate times width."""


def write_base(out: Path, heads: Sequence[torch.Tensor]) -> None:
    """Write the tiny model with these heads [C, D] in the place of its own, or without any."""
    config = json.loads((TINY_DIR / "config.json").read_bytes()) | {"extra_heads_num_heads": len(heads)}
    tensors = {name: tensor for name, tensor in load_file(TINY_DIR / "model.safetensors").items() if not name.startswith("extra_heads.")}
    tensors |= {f"extra_heads.{index}.weight": head.bfloat16().contiguous() for index, head in enumerate(heads)}
    with atomic_directory(out, replace=True) as directory:
        for name in ("mimi.safetensors", "mimi_config.json", "tokenizer.model"):
            shutil.copyfile(TINY_DIR / name, directory / name)
        save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
        (directory / "config.json").write_text(json.dumps(config, indent=1) + "\n")


def random_heads(model: ModelDir) -> torch.Tensor:
    """Return heads [H, C, D] as `nn.Linear` draws them."""
    torch.manual_seed(0)
    return torch.stack([nn.Linear(width, classes, bias=False).weight.detach() for classes, width in model.head_shapes().values()])


@torch.no_grad()
def heard_frames(model: ModelDir, dataset: Path) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return what the untrained model lets its heads hear of the training clips [N, D], and their targets [N, 4], batch by batch."""
    recipe = load_config(Recipe, RECIPE, {"dataset": str(dataset), "run_dir": "unused", "labels.style": "plain"})
    lm, heard = load_lm(model), []
    batches = TrainingBatches(training_clips(Dataset.open(dataset), model, recipe), model, recipe).starting_at(0)
    for batch in itertools.islice(batches, FIT_BATCHES + MEASURED_BATCHES):
        is_there = batch.codes[:, 0] >= 0
        heard.append((forward(lm, batch.inputs).hidden[is_there], batch.pause_targets[is_there]))
    return heard


def heads_loss(heads: torch.Tensor, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the recipe's pause loss of heads [H, C, D] on frames [N, D]."""
    recipe = load_config(Recipe, RECIPE, {"dataset": "unused", "run_dir": "unused"}).loss
    logits = torch.einsum("nd,hcd->nhc", hidden, heads)
    return pause_loss(logits, targets, recipe).sum() / pause_weights(targets, recipe).sum()


def fitted_heads(heard: list[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    """Return the heads [H, C, D] of the least loss on the frames heard, by L-BFGS with a little decay."""
    frames, labels = (torch.cat(each) for each in zip(*heard[:FIT_BATCHES], strict=True))
    heads = torch.zeros(len(HORIZONS_S), NUM_HEAD_CLASSES, frames.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([heads], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = heads_loss(heads, frames, labels) + 1e-4 * heads.square().sum()
        value.backward()
        return value

    optimizer.step(loss)  # pyright: ignore[reportArgumentType]
    return heads.detach()


def learned_alone(heads: torch.Tensor, heard: list[tuple[torch.Tensor, torch.Tensor]], rate: float, num_steps: int) -> float:
    """Let heads learn by AdamW as in training while the model stands still, and return their loss on frames that they have not seen."""
    weight = heads.clone().requires_grad_(True)
    optimizer = torch.optim.AdamW([weight], lr=rate, betas=BETAS, weight_decay=0.0)
    for step in range(num_steps):
        optimizer.param_groups[0]["lr"] = learning_rate(step, rate, num_steps)
        optimizer.zero_grad()
        heads_loss(weight, *heard[step % FIT_BATCHES]).backward()
        nn.utils.clip_grad_norm_([weight], MAX_GRAD_NORM)
        optimizer.step()
    with torch.no_grad():
        return statistics.mean(float(heads_loss(weight, *frames)) for frames in heard[FIT_BATCHES:])


def least_wait(dataset: Dataset, lag_s: float) -> tuple[float, float]:
    """Return the median wait in seconds, and the share cut off, of heads that are always right on a clock `lag_s` behind the sound."""
    verdicts, ids = [], {"padding_id": PADDING_ID, "end_padding_id": END_PADDING_ID}
    for clip in dataset.clips("heldout"):
        if clip.extra["kind"] != "number":
            continue
        words = [dataclasses.replace(word, tokens=(PADDING_ID,)) for word in dataset.read_sidecar(clip).main_words]
        num_frames = num_frames_covering(clip.duration_s + lag_s + TAIL_S)
        stream = build_text_stream(words, num_frames=num_frames, text_lag_s=lag_s, **ids)
        targets = pause_targets(stream.onset_frames, stream.sound_end_frames, num_frames)
        first, last = words[0], max(words, key=lambda word: word.end_s)
        probs = (targets == 0).astype(float)
        turn = Turn(pause_probs=probs, first_word_start_s=first.start_s, last_word_start_s=last.start_s, last_word_end_s=last.end_s)
        verdicts.append(judge_turn(turn, EndpointRule()))
    waits_s = [verdict.latency_s for verdict in verdicts]
    return statistics.median(waits_s), sum(verdict.is_cut_off for verdict in verdicts) / len(verdicts)


def page(
    results: dict[str, list[dict[str, list[ClipScore]]]],
    losses: dict[str, list[float]],
    alone: dict[str, list[float]],
    oracle: dict[float, tuple[float, float]],
    command: str,
) -> str:
    """Return a table a slice, an arm a row, as Markdown."""
    lines = [
        "# Pause heads for a model without: the tiny model",
        "",
        f"`{command}`; {datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}. Arms with their number of seeds. Intervals 95 %,",
        "by speaker and clip, all seeds together; then the lowest and the highest seed.",
        "",
        "| | pause loss on dev, best checkpoint of each seed |",
        "|---|---|",
        *(f"| {arm} | {', '.join(f'{value:.3f}' for value in values)} |" for arm, values in losses.items()),
    ]
    for slice_name, figures in TABLES.items():
        if slice_name in next(iter(results.values()))[0]:
            lines += ["", f"## {SLICE_TITLES[slice_name]}", "", "| | " + " | ".join(figures) + " |", "|---|" + "---|" * len(figures)]
            for arm, runs in results.items():
                cells = [cell(figure, [run[slice_name] for run in runs]) for figure in figures]
                lines.append(f"| {arm} ({len(runs)}) | " + " | ".join(cells) + " |")
    lines += ["", "## Heads that learn alone, the base standing still: loss on frames that they have not seen", ""]
    lines += [
        "| begun as | before | " + " | ".join(f"{num} steps at {rate:g}" for rate, num in RATES) + " |",
        "|---|" + "---|" * (len(RATES) + 1),
    ]
    lines += [f"| {name} | " + " | ".join(f"{value:.3f}" for value in values) + " |" for name, values in alone.items()]
    lines += ["", "## Heads that are always right, by the lag of their clock behind the sound: dictated numbers of both manners", ""]
    lines += ["| lag | end of turn, p50 | cut off |", "|---|---|---|"]
    lines += [f"| {lag_s:.1f} s | {wait_s:.2f} s | {100 * share:.1f} % |" for lag_s, (wait_s, share) in oracle.items()]
    return "\n".join(lines) + "\n"


def best_pause_loss(run: Path) -> float:
    """Return the dev split's pause loss where its loss was least."""
    rows = [json.loads(line) for line in (run / "metrics.eval.jsonl").read_text().splitlines()]
    return min(rows, key=lambda row: row["loss"])["pause_loss"]


def main() -> None:
    """Write the bases, tune every arm with every seed, listen, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, required=True, help="dataset of the demo, aligned, converted and encoded")
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1])
    parser.add_argument("--arms", nargs="*", choices=ARMS, default=list(ARMS))
    parser.add_argument("--out", type=Path, help="Markdown file; by default a dated one in tools/bench/results/")
    arguments = parser.parse_args()
    workdir, takes = arguments.workdir, Takes(recordings=Dataset(arguments.dataset), synthetic={})
    headless = workdir / "headless"
    if not headless.exists():
        write_base(headless, [])
        new = open_model(headless, require_extra_heads=False).with_new_heads()
        heard = heard_frames(new, arguments.dataset)
        fitted = fitted_heads(heard)
        write_base(workdir / "fitted", list(fitted))
        begun = {"zeros": torch.zeros_like(fitted), "random weights": random_heads(new), "a fit to the base": fitted}
        alone = {name: [learned_alone(heads, heard, *rate) for rate in ((0.0, 1), *RATES)] for name, heads in begun.items()}
        write_json(workdir / "alone.json", alone)
    base = workdir / "base"
    heard_base = Step(name="the base", action=lambda: listen(takes, "tiny", base), outputs=[base / FRAMES])
    run_steps([heard_base], records=workdir / ".stages")
    results, losses = {"the base, untrained": [scores_of(base)]}, {}
    for arm in arguments.arms:
        name, changes = ARMS[arm]
        changes = {**changes, "base": name if name == "tiny" else str(workdir / name)}
        directories = [workdir / "".join(c if c.isalnum() else "_" for c in arm) / str(seed) for seed in arguments.seeds]
        for seed, directory in zip(arguments.seeds, directories, strict=True):
            action = functools.partial(tune_and_listen, takes, changes, seed, directory)
            step = Step(name=f"{arm}, seed {seed}", action=action, options=changes, outputs=[directory / FRAMES])
            run_steps([step], records=directory / ".stages")
        results[arm] = [scores_of(one) for one in directories]
        losses[arm] = [best_pause_loss(one / "run") for one in directories]
    today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    command = f"python tools/new_heads.py --dataset demo/dataset --workdir DIR --seeds {' '.join(map(str, arguments.seeds))}"
    path = arguments.out or RESULTS / f"{today}-new-heads.md"
    oracle = {lag_s: least_wait(takes.recordings, lag_s) for lag_s in (0.5, 2.5)}
    alone = json.loads((workdir / "alone.json").read_bytes())
    write_text(path, page(results, losses, alone, oracle, command))
    print(path.read_text())


if __name__ == "__main__":
    main()
