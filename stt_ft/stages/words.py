"""The words of a dataset: `stt-ft annotate` finds what was said and when, `stt-ft convert` writes numbers as they are spoken.

    stt-ft annotate datasets/orders --aligner sphinx         English, known scripts, no download
    stt-ft annotate datasets/orders --model large-v3         Whisper: any script, or none
    stt-ft annotate datasets/orders --verify                 both, for `check` to list the words on which they disagree
    stt-ft convert datasets/orders --dry_run                 show what would change
    stt-ft convert datasets/orders

`annotate` leaves the written form ("1296803"); `convert` replaces it by the spoken form ("one two nine six eight zero three"), each word
with its own time. The written form stays in the sidecar under `written`, and every conversion starts from there: a second run changes
nothing.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from stt_ft.core.atomic import sole_writer
from stt_ft.core.engine import LOCAL, Engine, SetAside, batched, spread
from stt_ft.core.errors import CheckFailed, ConfigError, MissingExtra
from stt_ft.core.progress import say, track
from stt_ft.dataset.doubts import disputes_of
from stt_ft.dataset.manifest import Clip, Dataset
from stt_ft.dataset.sidecar import Sidecar

if TYPE_CHECKING:
    from stt_ft.align.aligner import AlignmentResult
    from stt_ft.align.workers import AlignerOptions

_BATCH_CLIPS = {"sphinx": 12, "convert": 32}
"""Clips that a worker is given at once, where no flag says it."""


@spread
def annotate(
    dataset: str | Path,
    *,
    aligner: Literal["whisper", "sphinx"] = "whisper",
    model: str = "large-v3",
    language: str | None = None,
    device: str = "auto",
    batch_size: int = 8,
    verify: bool = False,
    replace: bool = False,
    dry_run: bool = False,
    engine: Engine = LOCAL,
) -> Dataset:
    """Find the words of every clip and when each is said. Clips done before with the same sound, script and options are left alone,
    and so are synthetic ones (`synthesize`), which come with their words, and those whose words and times `ingest` took from another tool
    or somebody corrected in the studio, unless --replace says otherwise.

    Args:
        dataset: dataset directory.
        aligner: whisper transcribes, or aligns the script where there is one; sphinx aligns known English scripts without any download.
        model: Whisper model: a name such as large-v3, or a local .pt file.
        language: language of the recordings; by default that of dataset.yaml.
        device: cpu, cuda, cuda:1 …; auto takes a GPU where there is one (whisper).
        batch_size: clips in one batch (whisper).
        verify: let the other aligner time the same words too (English); `stt-ft check` lists those that they put over 0.2 s apart.
        replace: find anew also the words that `ingest` took, with their times, from another tool, and those corrected by hand.
        dry_run: do a sample, write nothing, and say how much there is and how long it will take.
    """
    from stt_ft.align.workers import AlignerOptions, Annotator

    data = Dataset.open(dataset)
    if batch_size <= 0:
        raise ConfigError(f"--batch_size must be positive, got {batch_size}")
    language = data.language(language)
    clips = list({clip.path: clip for clip in data.clips() if not clip.is_synthetic}.values())
    other = "sphinx" if aligner == "whisper" else "whisper"
    how = {"model": model, "language": language, "device": device, "batch_size": batch_size}
    options = AlignerOptions(name=aligner, **how)
    if dry_run:
        make = functools.partial(Annotator, data, options, replace=replace)
        say(f"{data.directory}: {engine.estimate(make, _batches(clips, options), cores=aligner == 'sphinx')}")
        return data
    with sole_writer(data.directory):
        faults = _align(data, clips, options, engine, replace=replace)
        if verify:
            _verify(data, [clip for clip in clips if clip.path not in faults], AlignerOptions(name=other, **how), engine)
    if faults:
        many = f"{len(faults)} of {len(clips)} clips could not be annotated"
        raise CheckFailed(f"{data.directory}: {many}, the first is {min(faults)}; the reasons are above")
    return data


def _batches(clips: Sequence[Clip], aligner: AlignerOptions) -> list[Sequence[Clip]]:
    return batched(clips, _BATCH_CLIPS.get(aligner.name, aligner.batch_size))


def _align(data: Dataset, clips: Sequence[Clip], aligner: AlignerOptions, engine: Engine, *, replace: bool) -> dict[str, str]:
    """Annotate the clips that need it, and return the faults by clip."""
    from stt_ft.align.workers import Annotator

    make = functools.partial(Annotator, data, aligner, replace=replace)
    found = engine.results(make, _batches(clips, aligner), cores=aligner.name == "sphinx")
    faults: dict[str, str] = {}
    states: Counter[str] = Counter()
    num_differing = num_with_gaps = 0

    def changes() -> Iterator[tuple[Clip, Sidecar]]:
        nonlocal num_differing, num_with_gaps
        for clip, one in track(found, "aligning clips", total=len(clips)):
            if isinstance(one, SetAside) or one.fault:
                faults[clip.path] = one.fault
                continue
            states[one.state] += 1
            if one.sidecar is None or one.result is None:
                continue
            yield clip, one.sidecar
            num_differing += bool(one.result.mismatch)
            num_with_gaps += bool(one.result.left_out)
            _say_what_differs(one.result)

    data.write_sidecars(changes())
    for path, fault in sorted(faults.items()):
        say(f"{path}: {fault}")
    counts = f"{states['changed']} clips annotated by {aligner.name}, {states['done']} were done"
    counts += f", {states['kept']} have the words and times of other tools or were corrected by hand" if states["kept"] else ""
    say(f"{data.directory}: {counts}, {num_differing} differ from their script, {num_with_gaps} have stretches left out")
    return faults


def _say_what_differs(result: AlignmentResult) -> None:
    if result.mismatch:
        heard = f"heard {result.mismatch['heard']!r} (confidence {result.mismatch['confidence']})"
        say(f"{result.clip_id}: the script says {result.mismatch['script']!r}, {heard}; retake it or correct the script")
    for gap in result.left_out:
        texts = f"the script has {gap.script!r}, heard was {gap.heard!r}"
        say(f"{result.clip_id}: {gap.start_s:.1f}-{gap.end_s:.1f} s left out: {texts}; cut it out of the clip, or correct the script")


def _verify(data: Dataset, clips: Sequence[Clip], aligner: AlignerOptions, engine: Engine) -> None:
    """Let a second aligner time the spoken words of `clips`, keep its times in their sidecars, and count the words in dispute."""
    from stt_ft.align.workers import Annotator

    make = functools.partial(Annotator, data, aligner, verifies=True)
    found = engine.results(make, _batches(clips, aligner), cores=aligner.name == "sphinx")
    num_verified = num_disputes = num_disputed = 0

    def changes() -> Iterator[tuple[Clip, Sidecar]]:
        nonlocal num_verified, num_disputes, num_disputed
        for clip, one in track(found, f"timing the words by {aligner.name} too", total=len(clips)):
            if one.fault:
                say(f"{clip.path}: {aligner.name} cannot time it: {one.fault}")
            changed = None if isinstance(one, SetAside) else one.sidecar
            disputes = len(disputes_of(changed or data.read_sidecar(clip)))
            num_disputes += disputes
            num_disputed += bool(disputes)
            if changed is not None:
                num_verified += 1
                yield clip, changed

    data.write_sidecars(changes())
    where = f"{num_disputes} words in {num_disputed} clips are timed otherwise by more than 0.2 s"
    say(f"{data.directory}: {num_verified} clips verified by {aligner.name}; {where}; `stt-ft check` lists them")


@spread
def convert(
    dataset: str | Path,
    *,
    language: Literal["en", "fr", "fr-be", "fr-ch"] | None = None,
    style: Literal["digits", "auto"] = "digits",
    dry_run: bool = False,
    realign: bool = True,
    engine: Engine = LOCAL,
) -> Dataset:
    """Turn written numbers into the words that were said, each with its own time. Clips whose words somebody corrected since they were
    converted are left alone until `annotate` finds their words anew.

    Args:
        dataset: dataset directory, annotated.
        language: language of the number words, by default that of dataset.yaml; fr-be and fr-ch say septante and nonante.
        style: digits reads every number digit by digit; auto reads codes so and quantities as amounts, years, times, by context and by ear.
        dry_run: show the changes and write nothing.
        realign: where `annotate` has not heard how a number was said, choose the reading and the times of its words by the sound;
            otherwise the likeliest reading, timed by syllables. French is aligned with an English model: right for nine of ten readings
            of synthetic voices, never tried on people.
    """
    from stt_ft.align.workers import Converter
    from stt_ft.text.spoken_forms import LANGUAGES, language_named

    data = Dataset.open(dataset)
    speech = data.language(language, choices=LANGUAGES)
    language_named(speech)  # one that cannot be read aloud is refused here, once
    if realign:
        _say_how_spans_are_timed(speech)
    clips = data.clips()
    make = functools.partial(Converter, data, language=speech, style=style, realign=realign)
    faults: dict[str, str] = {}
    sources: Counter[str] = Counter()
    num_changed = num_corrected = 0

    def changes() -> Iterator[tuple[Clip, Sidecar]]:
        nonlocal num_changed, num_corrected, sources
        found = engine.results(make, batched(clips, _BATCH_CLIPS["convert"]), cores=True)
        for clip, one in track(found, "converting clips", total=len(clips)):
            if isinstance(one, SetAside) or one.fault:
                faults[clip.path] = one.fault
                continue
            sources += one.timed_by
            num_corrected += one.state == "kept"
            if one.sidecar is not None:
                num_changed += 1
                yield clip, one.sidecar

    if dry_run:
        for clip, converted in changes():
            _show(clip.path, converted)
    else:
        with sole_writer(data.directory):
            data.write_sidecars(changes())
    for path, fault in faults.items():
        say(f"{path}: {fault}")
    if num_corrected:
        say(f"{data.directory}: the words of {num_corrected} clips were corrected since they were converted; they are left alone")
    numbers = ", ".join(f"{count} timed by {source}" for source, count in sorted(sources.items()))
    say(f"{data.directory}: {num_changed} of {len(clips)} clips {'would change' if dry_run else 'converted'}; numbers: {numbers or 'none'}")
    if faults:
        many = f"{len(faults)} of {len(clips)} clips could not be converted"
        raise CheckFailed(f"{data.directory}: {many}, the first is {next(iter(faults))}; the reasons are above")
    return data


def _say_how_spans_are_timed(language: str) -> None:
    """Say it where pocketsphinx is not installed, so that spans that `annotate` has not timed are shared out by syllables."""
    from stt_ft.align.sphinx_aligner import SphinxAligner

    try:
        SphinxAligner(language)
    except MissingExtra as missing:
        say(f"new words are timed by syllables: {missing}")


def _show(path: str, converted: Sidecar) -> None:
    """Print the clip, its written form and its spoken form, where the two differ."""
    from rich.console import Console

    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    written, spoken = (" ".join(word.text for word in words or ()) for words in (converted.written, converted.alignments))
    if written != spoken:
        for line, style in ((path, "bold"), (f"- {written}", "red"), (f"+ {spoken}", "green")):
            console.print(line, style=style)
