"""How late or early is every part that bears a time? Each told time against a known one, in milliseconds; positive is late.

    python tools/bench/offsets.py                        four minutes on one core; writes a dated table into tools/bench/results/
    python tools/bench/offsets.py --only placing,references         those parts alone, printed and not kept

People's voices are glued digits (`stt_ft.simulation.glued`; STT_FT_SPEECH_DATA or beside the checkout), Whisper's weights those of
`make real`; what needs a thing that is not there is left out.
"""

from __future__ import annotations

import argparse
import datetime
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from offset_parts import codec, edges, pauses, placed, spans, text_stream, transcripts
from offset_sounds import Offsets, Sounds, digits_folder
from offset_truths import channels, files, references, truths

from stt_ft.core.atomic import write_text
from stt_ft.simulation.glued import SOUNDING_DB

RESULTS = Path(__file__).parent / "results"
PARTS: dict[str, Callable[[Sounds], Iterator[Offsets]]] = {
    "codec": codec,
    "pauses": pauses,
    "vad": edges,
    "spans": spans,
    "placing": placed,
    "text": text_stream,
    "transcripts": transcripts,
    "channels": channels,
    "files": files,
    "references": references,
    "truths": truths,
}


def report(rows: list[Offsets], *, command: str, count: int) -> str:
    """Return the Markdown of a run."""
    lines = [
        "# Offsets of every part that bears a time",
        "",
        "What the part told minus the truth, in milliseconds; positive is late.",
        "p90 and worst are of the size of the offset, bias is its mean.",
        "",
        f"- Command: `{command}`",
        f"- people: {count} numbers glued from the digits of six speakers (FSDD); a word lies where its take sounds, to "
        f"{SOUNDING_DB:g} dB.",
        f"- espeak: {count} numbers and {count} sentences by held-out voices, word times by espeak's events.",
        "- tiny: the model of `stt_ft/assets/tiny`, which has heard espeak alone. random: the true shape, weights drawn.",
        "",
        "| part | sound | weights | n | median | p90 | worst | bias | |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        *(row.row() for row in rows),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", help=f"parts, with commas between: {','.join(PARTS)}")
    parser.add_argument("--count", type=int, default=60, help="takes of people; numbers and sentences of simulated speakers")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="Markdown file; by default a dated one in tools/bench/results/ when all parts run")
    arguments = parser.parse_args()
    chosen = arguments.only.split(",") if arguments.only else list(PARTS)
    if unknown := [name for name in chosen if name not in PARTS]:
        parser.error(f"no part is called {', '.join(unknown)}; there are {', '.join(PARTS)}")
    torch.set_num_threads(1)
    rows: list[Offsets] = []
    with tempfile.TemporaryDirectory() as scratch:
        sounds = Sounds(Path(scratch), count=arguments.count, seed=arguments.seed)
        if sounds.digits is None:
            print(f"no people's digits in {digits_folder()}; their rows are left out", file=sys.stderr)
        for name in chosen:
            begin_s = time.perf_counter()
            for row in PARTS[name](sounds):
                rows.append(row)
                print(row.row(), flush=True)
            print(f"{name}: {time.perf_counter() - begin_s:.0f} s", file=sys.stderr)
    today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    path = arguments.out or (RESULTS / f"{today}-offsets.md" if not arguments.only else None)
    if path is not None:
        command = f"python tools/bench/offsets.py --count {arguments.count} --seed {arguments.seed}"
        write_text(path, report(rows, command=command, count=arguments.count))
        print(path)


if __name__ == "__main__":
    main()
