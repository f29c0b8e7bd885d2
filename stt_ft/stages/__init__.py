"""The commands, one file a theme; each calls the rooms below.

`COMMANDS` is the table of them all, in the order of the path. The command line reads it, and `run` and `demo` chain stages through
`stage`, since no stage imports another.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stt_ft.core.steps import Step


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command: the function `name` of `stt_ft.stages.MODULE`, imported when it is called.

    Attributes:
        name: the word on the command line.
        module: the file of this folder that holds it.
        group: heading under which the overview shows it.
        summary: its purpose in one line.
        example: a command line that works as it stands once the one before it has run.
        takes_recipe: whether its first argument is a recipe file whose keys can be given as flags.
    """

    name: str
    module: str
    group: str
    summary: str
    example: str
    takes_recipe: bool = False


_SEE = "See it work"
_DATA = "1. Make a dataset"
_TRAIN = "2. Fine-tune"
_PROVE = "3. Prove it and hand it over"
_REST = "All at once, and when something is wrong"

COMMANDS = {
    command.name: command
    for command in (
        Command(
            name="demo", module="chains", group=_SEE, example="stt-ft demo --workdir demo",
            summary="the whole path on the tiny model: a CPU, a few minutes, a table of before and after",
        ),
        Command(
            name="init", module="init", group=_SEE, example="stt-ft init orders",
            summary="write out the recipes and prompt scripts that come with stt-ft, to work in and to edit",
        ),
        Command(
            name="record", module="recordings", group=_DATA,
            example="stt-ft record --script recordings/scripts/digits_en.yaml --out datasets/orders",
            summary="read prompts into the microphone, one clip each",
        ),
        Command(
            name="ingest", module="recordings", group=_DATA, example="stt-ft ingest ~/takes --out datasets/orders",
            summary="take over recordings that exist: a folder, corpora in other formats, sharded archives",
        ),
        Command(
            name="studio", module="studio", group=_DATA,
            example="stt-ft studio datasets/orders --script recordings/scripts/digits_en.yaml",
            summary="record, look through and try out in a browser, also from another machine and by several speakers",
        ),
        Command(
            name="annotate", module="words", group=_DATA, example="stt-ft annotate datasets/orders --aligner whisper --device cuda",
            summary="find the words of every clip and when each is said",
        ),
        Command(
            name="convert", module="words", group=_DATA, example="stt-ft convert datasets/orders --style digits",
            summary='write numbers as they are spoken: "1296803" becomes "one two nine six eight zero three"',
        ),
        Command(
            name="check", module="dataset", group=_DATA, example="stt-ft check datasets/orders",
            summary="list every problem of a dataset by clip; exit 1 if there is any",
        ),
        Command(
            name="split", module="dataset", group=_DATA, example="stt-ft split datasets/orders --dev 0.1 --heldout 0.2 --by speaker",
            summary="set clips aside for validation and for the final evaluation",
        ),
        Command(
            name="pack", module="pack", group=_DATA, example="stt-ft pack datasets/orders",
            summary="put the sidecars of very many clips into a few files; --loose puts them back beside the sound",
        ),
        Command(
            name="archive", module="archive", group=_DATA,
            example="stt-ft archive datasets/orders --out archives/orders --format webdataset",
            summary="write a dataset as sharded archives: Lhotse Shar, WebDataset, Parquet for Hugging Face",
        ),
        Command(
            name="synthesize", module="synthesize", group=_DATA,
            example="stt-ft synthesize recordings/scripts/digits_en.yaml --out datasets/synthetic --count 1000",
            summary="numbers by synthetic voices, to be learned beside recordings and never measured on",
        ),
        Command(
            name="encode", module="finetune", group=_TRAIN, example="stt-ft encode datasets/orders",
            summary="turn sound into codec tokens, once, so that training never runs the codec",
        ),
        Command(
            name="train", module="finetune", group=_TRAIN, takes_recipe=True,
            example="stt-ft train configs/stt_1b_digits.yaml --optim.lr 1e-5",
            summary="train an adapter on text and pause heads; goes on by itself where it was interrupted",
        ),
        Command(
            name="merge", module="finetune", group=_TRAIN, example="stt-ft merge runs/orders --out models/orders",
            summary="fold the adapter into the base: a model directory like the one you started from",
        ),
        Command(
            name="transcribe", module="transcribe", group=_PROVE, example="stt-ft transcribe models/orders take.wav --pauses",
            summary="hear a file as the server would: words, the times they appear, pause probabilities",
        ),
        Command(
            name="evaluate", module="evaluate", group=_PROVE,
            example="stt-ft evaluate models/orders datasets/orders --out report --baseline kyutai/stt-1b-en_fr-candle",
            summary="cut-offs, latency, digit strings and word errors on held-out clips, beside the base's",
        ),
        Command(
            name="gate", module="evaluate", group=_PROVE, example="stt-ft gate report",
            summary="exit 1 when an evaluation shows that the pauses or the words got worse",
        ),
        Command(
            name="export", module="handover", group=_PROVE, example="stt-ft export models/orders --out export/orders --format candle",
            summary="write the weights for moshi-server (Candle), GGUF, MLX or transformers, and prove them there",
        ),
        Command(
            name="push", module="handover", group=_PROVE,
            example="stt-ft push models/orders yourname/stt-1b-orders --report report --dry_run",
            summary="upload a model to the Hugging Face hub, with a card of what it is and what it measured",
        ),
        Command(
            name="run", module="chains", group=_REST, takes_recipe=True, example="stt-ft run configs/stt_1b_digits.yaml",
            summary="annotate to evaluate in order, skipping what is up to date",
        ),
        Command(
            name="doctor", module="doctor", group=_REST, example="stt-ft doctor --base kyutai/stt-1b-en_fr-candle",
            summary="what is installed, which devices there are, what would fail and the way out",
        ),
    )
}  # fmt: skip


def stage(name: str) -> Callable[..., Any]:
    """Return the function behind command `name`, importing its module now."""
    return getattr(importlib.import_module(f"{__name__}.{COMMANDS[name].module}"), name)


def stage_step(name: str, *words: Any, inputs: Callable[[], Iterable[Path]] = tuple, outputs: Sequence[Path] = (), **flags: Any) -> Step:
    """Return command `name` with these words and flags as a step of a chain (`core.steps.run_steps`)."""
    options = {"words": [str(word) for word in words], **flags}
    return Step(name=name, action=lambda: stage(name)(*words, **flags), options=options, inputs=inputs, outputs=outputs)
