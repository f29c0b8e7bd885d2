"""Are the readings of NeMo-text-processing's test suites among ours, and does `convert --style auto` write the one that is spoken?

    python tools/bench/readings_of_others.py ../shared/data/number_texts

A case is `written~spoken`. Three questions, a class a row: do our readings hold the case's own; is it the one that is written without
sound; and where espeak-ng speaks it, do `annotate --aligner sphinx` and `convert --style auto` write it (in French: does convert's aligner,
over the whole text)? Hyphens, capitals,
"and" and the borders of words do not count: "PM" is "p m". Texts without digits are left as they are, by design, and are not counted.
The table goes to tools/bench/results/.
"""

from __future__ import annotations

import argparse
import datetime
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stt_ft.core.atomic import write_text
from stt_ft.core.errors import TextError
from stt_ft.text.lattice import Lattice, chain
from stt_ft.text.spoken_forms import holds_digits, spoken_tokens

sys.path.insert(0, str(Path(__file__).parent))

RESULTS = Path(__file__).parent / "results"
CLASSES = {
    "en": (
        *("cardinal", "ordinal", "decimal", "money", "date", "time", "telephone", "measure", "fraction", "range", "serial"),
        *("address", "electronic", "word"),
    ),
    "fr": ("cardinal", "ordinal", "decimal", "date", "fraction", "word"),
}
VOICE = "en-us"


@dataclass(frozen=True, kw_only=True)
class Case:
    """A text of a suite and how its authors read it."""

    written: str
    spoken: str

    @property
    def lattice(self) -> Lattice | None:
        """Our readings of it in English; None where it cannot be read aloud."""
        return lattice_of(self.written, "en")


def cases_of(path: Path) -> list[Case]:
    """Return the cases of a suite's class that hold digits."""
    parted = (line.partition("~") for line in path.read_text(encoding="utf-8").splitlines())
    return [Case(written=written.strip(), spoken=spoken.strip()) for written, _, spoken in parted if holds_digits(written)]


def lattice_of(written: str, language: str) -> Lattice | None:
    """Return our readings of a text; None where it cannot be read aloud."""
    try:
        return chain([token.lattice for token in spoken_tokens(written.split(), language=language, style="auto")])
    except TextError:
        return None


def letters_of(words: Sequence[str]) -> str:
    """Return what is compared: letters and digits alone, without "and"."""
    kept = " ".join(word for word in words if word.strip(",.").lower() not in ("and", "et"))
    return re.sub(r"[\W_]", "", kept.lower())


def says(lattice: Lattice, spoken: str) -> bool:
    """Return whether a way of the lattice is what is spoken, as `letters_of` compares."""
    target = letters_of(re.split(r"[\s-]", spoken))
    reached: dict[int, set[int]] = {0: {0}}
    for node in range(lattice.last):
        for arc in lattice.arcs:
            if arc.start == node:
                said = letters_of(arc.words)
                ends = {at + len(said) for at in reached.get(node, ()) if target.startswith(said, at)}
                reached.setdefault(arc.stop, set()).update(ends)
    return len(target) in reached.get(lattice.last, ())


def written_by_ear(cases: Sequence[Case]) -> list[str]:
    """Return what `annotate --aligner sphinx` and `convert --style auto` write for each case, spoken as its authors read it."""
    from readings import Line, outcomes_of

    from stt_ft.align.sphinx_aligner import SphinxWork
    from stt_ft.audio.files import write_wav
    from stt_ft.audio.synthesis import Synthesizer

    synthesizer = Synthesizer()
    with tempfile.TemporaryDirectory() as folder:
        clips = []
        for index, case in enumerate(cases):
            text = re.sub(r"[^\w\s',.]|_", " ", case.spoken)
            text = re.sub(r"\b(?!(?:NVIDIA|HAUL|PART)\b)[A-Z]{2,5}\b", lambda match: " ".join(match.group()), text)
            path = Path(folder) / f"{index}.wav"
            synthesizer.forget()
            write_wav(path, synthesizer.speak(" ".join(text.split()), voice=VOICE, words_per_minute=150).samples)
            clips.append((Line(kind="", script=case.written, said=case.spoken), VOICE, path))
        return [outcome.written for outcome in outcomes_of(SphinxWork(), clips, "clean")]


def french_by_ear(cases: Sequence[Case]) -> list[str]:
    """Return the readings that convert's aligner hears in each case, spoken as its authors read it."""
    from stt_ft.align.sphinx_aligner import SphinxAligner
    from stt_ft.audio.synthesis import Synthesizer

    synthesizer, aligner = Synthesizer(), SphinxAligner("fr")
    heard = []
    for case in cases:
        synthesizer.forget()
        spoken = " ".join(re.sub(r"[^\w\s',.]|_", " ", case.spoken).split())
        lattice = lattice_of(case.written, "fr")
        samples = synthesizer.speak(spoken, voice="fr", words_per_minute=150).samples
        words = aligner.align(samples, [lattice])[0] if lattice is not None else []
        heard.append(" ".join(word.text for word in words))
    return heard


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", type=Path)
    parser.add_argument("--languages", default="en,fr")
    parser.add_argument("--silent", action="store_true", help="ask the first two questions only")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    rows = ["| language | class | cases | among our readings | first without sound | written by ear |", "|" + " --- |" * 6]
    missed = []
    for language in arguments.languages.split(","):
        for name in CLASSES[language]:
            cases = cases_of(arguments.suites / language / f"{name}.txt")
            lattices = [lattice_of(case.written, language) for case in cases]
            held = [lattice is not None and says(lattice, case.spoken) for case, lattice in zip(cases, lattices, strict=True)]
            firsts = ["cannot be read" if lattice is None else " ".join(lattice.words) for lattice in lattices]
            heard = firsts if arguments.silent else written_by_ear(cases) if language == "en" else french_by_ear(cases)
            by_ear = [
                letters_of(text.split()) == letters_of(re.split(r"[\s-]", case.spoken)) for case, text in zip(cases, heard, strict=True)
            ]
            plain = [
                letters_of(text.split()) == letters_of(re.split(r"[\s-]", case.spoken)) for case, text in zip(cases, firsts, strict=True)
            ]
            ear = f"{sum(by_ear) / len(cases):.0%}" if heard is not firsts else ""
            rows.append(f"| {language} | {name} | {len(cases)} | {sum(held) / len(cases):.0%} | {sum(plain) / len(cases):.0%} | {ear} |")
            print(rows[-1], flush=True)
            for case, is_held, is_heard, text in zip(cases, held, by_ear, heard, strict=True):
                if not is_held or (heard is not firsts and not is_heard):
                    why = "misheard" if is_held else "no such reading"
                    missed.append(f"| {name} | {case.written} | {case.spoken} | {text} | {why} |".replace("*", "\\*"))
    today = datetime.date.today().isoformat()
    report = [
        f"# The readings of others, {today}",
        "",
        "`python tools/bench/readings_of_others.py ../shared/data/number_texts`",
        "",
        *rows,
        "",
        "## Missed",
        "",
        "| class | written | spoken | we write | why |",
        "|" + " --- |" * 5,
        *missed,
    ]
    write_text(arguments.results / f"{today}-readings-of-others.md", "\n".join(report) + "\n")


if __name__ == "__main__":
    main()
