"""A dataset before training: `stt-ft check` lists every problem by clip, `stt-ft split` sets clips aside to be measured on.

stt-ft check datasets/orders --base kyutai/stt-1b-en_fr-candle
stt-ft check datasets/orders --html orders.html                    a page to listen and look
stt-ft split datasets/orders --dev 0.1 --heldout 0.2 --by speaker
"""

from __future__ import annotations

import functools
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from stt_ft.core.atomic import sole_writer
from stt_ft.core.engine import LOCAL, Engine, batched, spread
from stt_ft.core.errors import CheckFailed, ConfigError, DatasetError
from stt_ft.core.progress import emit_json, say
from stt_ft.core.recipe import BatchRecipe
from stt_ft.dataset.manifest import SPLITS, Clip, Dataset

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence


@spread
def check(
    dataset: str,
    *,
    base: str | None = None,
    tail_s: float = BatchRecipe.tail_s,
    html: str | None = None,
    json: bool = False,
    dry_run: bool = False,
    engine: Engine = LOCAL,
) -> None:
    """List every problem of a dataset by clip, and count them by kind.

    Args:
        dataset: dataset directory.
        base: model at whose text lag and tokenizer the words must find room on the text stream; without one that check is left out.
        tail_s: seconds of silence after each clip that training sees, as batch.tail_s of the recipe says; for --base.
        html: write a page to this file, which plays clips offline and shows their words and problems, the gravest first; 500 clips at most,
            chosen by kind of problem.
        json: write the problems to stdout as JSON, one a line.
        dry_run: go through a sample, list nothing, and say how much there is and how long it will take.
    """
    from stt_ft.corpus.inspecting import CLIPS_IN_BATCH, Inspector, inspect
    from stt_ft.corpus.problems import ADVICE, KINDS, Problem
    from stt_ft.model.checkpoint_dir import TAIL_S, open_model

    if not 0 <= tail_s <= TAIL_S:
        raise ConfigError(f"--tail_s must be 0 to {TAIL_S}, got {tail_s}")
    if html is not None and not html.lower().endswith((".html", ".htm")):
        raise ConfigError(f"--html {html}: expected the name of a file that ends in .html")
    data = Dataset.open(dataset)
    if base is None:
        say("no --base given: whether the words find room on the text stream is not checked")
    else:
        open_model(base, require_extra_heads=False)  # refused here, before anything is spread
    if dry_run:
        make = functools.partial(Inspector, data, base=base, tail_s=tail_s)
        say(f"{data.directory}: {engine.estimate(make, batched(data.clips(), CLIPS_IN_BATCH), cores=True)}")
        return
    counts, faulty, drawn = Counter[str](), set[str](), list[Problem]()
    for problem in inspect(data, base=base, tail_s=tail_s, engine=engine):
        if json:
            emit_json({"clip": problem.clip_id, "kind": problem.kind, "message": problem.message})
        else:
            say(f"{problem.clip_id}: {problem.kind}: {problem.message}")
        counts[problem.kind] += 1
        if problem.kind not in ADVICE:
            faulty.add(problem.clip_id)
        if html is not None:
            drawn.append(problem)
    num_clips = len(data.clips())
    if html is not None:
        from stt_ft.pages.dataset_page import write_dataset_page

        write_dataset_page(Path(html), data, drawn, stream_checked=base is not None)
        say(f"{html}: open it in a browser to listen and look")
    if not counts:
        say(f"{data.directory}: {num_clips} clips, no problems")
        return
    for kind, meaning in KINDS.items():
        if counts[kind]:
            say(f"{counts[kind]:6d} {kind}: {meaning}")
    num_faults = sum(count for kind, count in counts.items() if kind not in ADVICE)
    if not num_faults:
        say(f"{data.directory}: {num_clips} clips, no problems; {counts.total()} places to listen to, listed above")
        return
    raise CheckFailed(f"{data.directory}: {num_faults} problems in {len(faulty)} of {num_clips} clips, listed above")


def split(
    dataset: str,
    *,
    dev: float = 0.1,
    heldout: float = 0.2,
    by: Literal["speaker", "number", "both", "clip"] = "speaker",
    seed: int = 0,
) -> None:
    """Deal all clips of a dataset out to train, dev and heldout anew. The same clips, shares and seed give the same splits.

    Synthetic clips (`synthesize`) stay in train, and so does what they must not be parted from.

    Args:
        dataset: dataset directory.
        dev: share of the recordings for validation during training.
        heldout: share of the recordings for the final evaluation.
        by: what stays on one side: speaker (a voice), number (a dictated digit string), both, or clip (nothing beyond the clip).
        seed: decides among equals.
    """
    from stt_ft.corpus.splitting import assign, groups_of

    if dev < 0 or heldout < 0 or dev + heldout >= 1:
        raise ConfigError(f"--dev {dev} and --heldout {heldout} must not be negative and must leave something to train on")
    data = Dataset.open(dataset)
    with sole_writer(data.directory):
        clips = sorted({clip.path: clip for clip in data.clips()}.values(), key=lambda clip: clip.path)
        all_groups = groups_of(clips, _keys(data, clips, by))
        groups = [group for group in all_groups if not any(clip.is_synthetic for clip in group)]
        to_train = [clip for group in all_groups if any(clip.is_synthetic for clip in group) for clip in group]
        shares = {"train": 1 - dev - heldout, "dev": dev, "heldout": heldout}
        wanted = sum(share > 0 for share in shares.values())
        if len(groups) < wanted:
            raise DatasetError(
                f"{data.directory}: {len(groups)} groups by {by} cannot fill {wanted} splits; record more, or split --by number or clip"
            )
        chosen = assign(groups, shares, kind_of=lambda clip: str(clip.extra.get("kind", "")), seed=seed)
        parts: dict[str, list[Clip]] = {name: [] for name in SPLITS}
        for name, group in zip(chosen, groups, strict=True):
            parts[name] += group
        parts["train"] += to_train
        data.deal(parts)
        data.write_info({**data.info(), "splits": {"by": by, "dev": dev, "heldout": heldout, "seed": seed}})
    counts = ", ".join(f"{name} {len(part)} clips" for name, part in parts.items() if part)
    num_synthetic = sum(clip.is_synthetic for clip in clips)
    counts += f" ({num_synthetic} synthetic, all in train)" if num_synthetic else ""
    say(f"{data.directory}: {counts}; {len(groups)} groups by {by}")


def _keys(data: Dataset, clips: Sequence[Clip], by: str) -> Iterator[list[Hashable]]:
    """Yield the keys that join each clip to a group; raises `DatasetError` for a clip that lacks one. Numbers alone need sidecars."""
    from stt_ft.corpus.problems import numbers_of

    for clip, numbers in numbers_of(data, clips) if by in ("number", "both") else ((clip, set[str]()) for clip in clips):
        found: list[Hashable] = []
        if by in ("speaker", "both"):
            speaker = clip.extra.get("speaker")
            if not isinstance(speaker, str) or not speaker:
                raise DatasetError(
                    f"{data.directory}: clip {clip.path} has no speaker in its manifest; add one, or split --by number or clip"
                )
            found.append(("speaker", speaker))
        yield [*found, *(("number", number) for number in sorted(numbers))]
