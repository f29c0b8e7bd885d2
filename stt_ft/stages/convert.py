"""`stt-ft convert`: numbers as they are spoken. "1296803" becomes "one two nine six eight zero three", every word with its own time.

    stt-ft convert datasets/orders --dry_run         show what would change
    stt-ft convert datasets/orders

What is replaced is kept in each sidecar under `written`, from where every conversion starts: running twice equals running once.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from stt_ft.core.manifest import Dataset

if TYPE_CHECKING:
    from stt_ft.align.aligned_word import Aligner
    from stt_ft.core.manifest import Sidecar


def convert(
    dataset: str | Path,
    *,
    language: Literal["en", "fr", "fr-be", "fr-ch"] | None = None,
    style: Literal["digits", "auto"] = "digits",
    dry_run: bool = False,
    realign: bool = True,
) -> Dataset:
    """Turn written numbers into the words that were said, each with its own time.

    Args:
        dataset: dataset directory, annotated.
        language: language of the number words, by default that of dataset.yaml; fr-be and fr-ch say septante and nonante.
        style: digits reads every number digit by digit; auto reads codes so and quantities as amounts, years, times, by context and by ear.
        dry_run: show the changes and write nothing.
        realign: time new words by aligning them on the sound where `annotate` has not (English); otherwise by syllables.

    Returns:
        The dataset.
    """
    from stt_ft.align.spoken_sidecar import spoken_sidecar
    from stt_ft.audio.files import read_audio
    from stt_ft.core.errors import CheckFailed, DatasetError, SttFtError
    from stt_ft.core.progress import say
    from stt_ft.corpus.dataset_language import language_of
    from stt_ft.text.spoken_forms import LANGUAGES, language_named

    data = Dataset.open(dataset) if dry_run else Dataset.open_for_writing(dataset)
    speech = language_of(data, language, choices=LANGUAGES)
    language_named(speech)  # one that cannot be read aloud is refused here, once
    clips = data.clips()
    aligner = _span_aligner() if realign and speech == "en" else None
    faults: dict[str, str] = {}
    sources: Counter[str] = Counter()
    num_changed = 0
    for clip in clips:
        try:
            sidecar = data.read_sidecar(clip)
            if not (sidecar.written or sidecar.alignments):
                raise DatasetError(f"{data.sidecar_path(clip)}: no words yet; run `stt-ft annotate {dataset}`")
            result = spoken_sidecar(
                sidecar,
                language=speech,
                style=style,
                duration_s=clip.duration_s,
                sound=lambda clip=clip: read_audio(data.audio_path(clip)),
                aligner=aligner,
            )
        except SttFtError as error:
            faults[clip.path] = str(error)
            continue
        sources += result.sources
        converted = result.sidecar.with_provenance("convert", _provenance(speech, style, result.sources))
        if converted == sidecar:
            continue
        num_changed += 1
        if dry_run:
            _show(clip.path, converted)
        else:
            data.write_sidecar(clip, converted)
    for path, fault in faults.items():
        say(f"{path}: {fault}")
    numbers = ", ".join(f"{count} timed by {source}" for source, count in sorted(sources.items()))
    say(f"{data.directory}: {num_changed} of {len(clips)} clips {'would change' if dry_run else 'converted'}; numbers: {numbers or 'none'}")
    if faults:
        many = f"{len(faults)} of {len(clips)} clips could not be converted"
        raise CheckFailed(f"{data.directory}: {many}, the first is {next(iter(faults))}; the reasons are above")
    return data


def _span_aligner() -> Aligner | None:
    """Return the aligner for spans that `annotate` has not timed, or None where pocketsphinx is not installed."""
    from stt_ft.align.sphinx_aligner import SphinxAligner
    from stt_ft.core.errors import MissingExtra
    from stt_ft.core.progress import say

    try:
        return SphinxAligner()
    except MissingExtra as missing:
        say(f"new words are timed by syllables: {missing}")
        return None


def _provenance(language: str, style: str, sources: Counter[str]) -> dict[str, object]:
    import stt_ft

    return {"stt_ft": stt_ft.__version__, "language": language, "style": style, "timed_by": dict(sorted(sources.items()))}


def _show(path: str, converted: Sidecar) -> None:
    """Print what a conversion changes: the clip, the written form, the spoken form."""
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, soft_wrap=True, highlight=False)
    written = " ".join(word.text for word in converted.written or ())
    spoken = " ".join(word.text for word in converted.alignments)
    if written != spoken:
        console.print(Text(path, style="bold"))
        console.print(Text(f"- {written}", style="red"))
        console.print(Text(f"+ {spoken}", style="green"))
