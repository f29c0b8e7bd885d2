"""How many texts of NeMo-text-processing's test suites are written again from their spoken form, a class a row.

    python tools/bench/written_numbers.py ../shared/data/number_texts

The suites are of the other direction (`written~spoken`, one a line): of "twelve kilograms" they know "12kg" and "12KG", and "$15000" and
"$15,000" are said alike, so no rule writes all of them. "Same digits" compares the digits alone. The table goes to tools/bench/results/.
"""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path

from stt_ft.core.atomic import write_text
from stt_ft.text.inverse.written_numbers import write_numbers

CLASSES = {
    "en": ("cardinal", "ordinal", "decimal", "fraction", "money", "measure", "date", "time", "telephone", "serial", "word"),
    "fr": ("cardinal", "ordinal", "decimal", "fraction", "date", "word"),
}


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", type=Path)
    arguments = parser.parse_args()
    lines = ["| language | class | texts | written the same | same digits |", "| --- | --- | --- | --- | --- |"]
    for language, names in CLASSES.items():
        for name in names:
            pairs = _pairs(arguments.suites / language / f"{name}.txt", language)
            same = sum(" ".join(written.split()) == read for written, read in pairs)
            digits = sum(_digits(written) == _digits(read) for written, read in pairs)
            lines.append(f"| {language} | {name} | {len(pairs)} | {same / len(pairs):.0%} | {digits / len(pairs):.0%} |")
    table = "\n".join(lines) + "\n"
    print(table)
    today = datetime.date.today().isoformat()
    command = "python tools/bench/written_numbers.py ../shared/data/number_texts"
    text = f"# Spoken numbers written again, {today}\n\n`{command}`\n\n{table}"
    write_text(Path(__file__).parent / "results" / f"{today}-written-numbers.md", text)


def _pairs(path: Path, language: str) -> list[tuple[str, str]]:
    """Return what each text of a suite was and what is written of its spoken form."""
    parted = (line.partition("~") for line in path.read_text(encoding="utf-8").splitlines())
    return [(written, write_numbers(spoken, language)) for written, _, spoken in parted if any(glyph.isalnum() for glyph in spoken)]


def _digits(text: str) -> str:
    return "".join(glyph for glyph in text if glyph.isdecimal())


if __name__ == "__main__":
    main()
