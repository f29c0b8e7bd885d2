"""`stt-ft check`: every problem of a dataset at once, by clip id, with counts; exit 1 if there is any, doubts aside.

stt-ft check datasets/orders --base kyutai/stt-1b-en_fr-candle
stt-ft check datasets/orders --html orders.html                    a page to listen and look
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stt_ft.core.manifest import Dataset
    from stt_ft.corpus.problems import Problem


def check(dataset: str, *, base: str | None = None, html: str | None = None, json: bool = False) -> None:
    """List every problem of a dataset by clip, and count them by kind.

    Args:
        dataset: dataset directory.
        base: model at whose text lag and tokenizer the words must find room on the text stream; without one that check is left out.
        html: write a page to this file, which plays every clip offline and shows its words and problems, the gravest first.
        json: write the problems to stdout as JSON, one a line.
    """
    from stt_ft.core.errors import CheckFailed, ConfigError
    from stt_ft.core.manifest import Dataset
    from stt_ft.core.progress import emit_json, say, track
    from stt_ft.corpus.inspection import inspect
    from stt_ft.corpus.problems import ADVICE
    from stt_ft.model.checkpoint_dir import open_model

    if html is not None and not html.lower().endswith((".html", ".htm")):
        raise ConfigError(f"--html {html}: expected the name of a file that ends in .html")
    data = Dataset.open(dataset)
    if base is None:
        say("no --base given: whether the words find room on the text stream is not checked")
    model = None if base is None else open_model(base, require_extra_heads=False)
    problems = inspect(data, model=model, track=lambda clips: track(clips, "checking clips"))
    for problem in problems:
        if json:
            emit_json({"clip": problem.clip_id, "kind": problem.kind, "message": problem.message})
        else:
            say(f"{problem.clip_id}: {problem.kind}: {problem.message}")
    num_clips = len(data.clips())
    if html is not None:
        _write_page(html, data, problems, stream_checked=base is not None)
    if not problems:
        say(f"{data.directory}: {num_clips} clips, no problems")
        return
    _say_counts(problems)
    faults = [problem for problem in problems if problem.kind not in ADVICE]
    if not faults:
        say(f"{data.directory}: {num_clips} clips, no problems; {len(problems)} places to listen to, listed above")
        return
    num_faulty = len({problem.clip_id for problem in faults})
    raise CheckFailed(f"{data.directory}: {len(faults)} problems in {num_faulty} of {num_clips} clips, listed above")


def _write_page(html: str, data: Dataset, problems: list[Problem], *, stream_checked: bool) -> None:
    from pathlib import Path

    from stt_ft.core.progress import say, track
    from stt_ft.report.dataset_page import write_dataset_page

    write_dataset_page(Path(html), data, problems, stream_checked=stream_checked, track=lambda clips: track(clips, "drawing clips"))
    say(f"{html}: open it in a browser to listen and look")


def _say_counts(problems: list[Problem]) -> None:
    from collections import Counter

    from stt_ft.core.progress import say
    from stt_ft.corpus.problems import KINDS

    counts = Counter(problem.kind for problem in problems)
    for kind, meaning in KINDS.items():
        if counts[kind]:
            say(f"{counts[kind]:6d} {kind}: {meaning}")
