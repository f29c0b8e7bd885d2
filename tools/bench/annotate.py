"""How fast are known scripts aligned, on real weights and people's speech? In short windows, in those of 30 s, and beside Whisper itself.

    make real && python tools/bench/annotate.py --speech DIR           a quarter of an hour on two cores
    python tools/bench/annotate.py --speech DIR --numbers 4 --repeats 1 --threads 1                    a look

DIR holds `fsdd/` (the Free Spoken Digit Dataset, glued to numbers with known word times) and `librivox/` (read sentences, whose word times
an aligner made), as for the tests. Every way hears the same clips, from sound file to words, in turn, again and again: on a machine that
others use too, trust processor seconds, and of them the least. The result goes to tools/bench/results/, anew after each repeat.
"""

# ruff: noqa: E402

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import os
import platform
import statistics
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from stt_ft.core.cores import settle_threads

settle_threads()  # as the command line does, before torch is loaded

import numpy as np
import torch
import whisper
from alignment import WHISPER_RATE_HZ, Clip, Times, by_work, figures, glued_numbers, plain, read_sentences

from stt_ft.align import whisper_aligner
from stt_ft.align.whisper_aligner import WhisperWork
from stt_ft.align.whisper_model import WINDOW_S
from stt_ft.audio.files import read_audio, resample
from stt_ft.core.atomic import write_text
from stt_ft.core.timing import SAMPLE_RATE_HZ, samples_to_s
from stt_ft.simulation.glued import SpokenDigits

sys.path.insert(0, str(Path(__file__).parents[1]))
from real_whisper import checkpoint

RESULTS = Path(__file__).parent / "results"
SHORT, WHOLE = "annotate, script, short windows", f"annotate, script, windows of {WINDOW_S:.0f} s"
WRITES, TRANSCRIBES = "annotate, no script", "openai-whisper, no script"


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way from sound files to words, and what it took: seconds of processor and clock for all clips, by number of threads."""

    name: str
    times_of: Callable[[Sequence[Clip]], list[Times]]
    processor_s: dict[int, list[float]] = field(default_factory=dict)
    clock_s: dict[int, list[float]] = field(default_factory=dict)

    def hear(self, clips: Sequence[Clip], threads: int) -> list[Times]:
        """Return the word times of `clips`, and keep how long it took."""
        torch.set_num_threads(threads)
        processor_s, clock_s = time.process_time(), time.perf_counter()
        found = self.times_of(clips)
        self.processor_s.setdefault(threads, []).append(time.process_time() - processor_s)
        self.clock_s.setdefault(threads, []).append(time.perf_counter() - clock_s)
        return found


def in_whole_windows(times_of: Callable[[Sequence[Clip]], list[Times]]) -> Callable[[Sequence[Clip]], list[Times]]:
    def times(clips: Sequence[Clip]) -> list[Times]:
        with mock.patch.object(whisper_aligner, "short_window_s", return_value=WINDOW_S):
            return times_of(clips)

    return times


def by_transcribe(model: str, device: str) -> Callable[[Sequence[Clip]], list[Times]]:
    """Return what `whisper.transcribe` does for word times: beam search, then its own alignment; without its random second attempts."""
    loaded = whisper.load_model(model, device=device)

    def times(clips: Sequence[Clip]) -> list[Times]:
        found: list[Times] = []
        for clip in clips:
            heard: Any = whisper.transcribe(
                loaded,
                resample(read_audio(clip.path), SAMPLE_RATE_HZ, WHISPER_RATE_HZ),
                language="en",
                beam_size=5,
                temperature=0.0,
                word_timestamps=True,
                fp16=loaded.device.type == "cuda",
            )
            words = [word for segment in heard["segments"] for word in segment["words"]]
            is_right = [plain(word["word"]) for word in words] == [plain(word.text) for word in clip.words]
            found.append([(float(word["start"]), float(word["end"])) for word in words] if is_right else None)
        return found

    return times


def edges_ms(clips: Sequence[Clip], told: Sequence[Times]) -> tuple[np.ndarray, np.ndarray]:
    """Return told minus known onsets and ends of the words of all clips that came out as said."""
    pairs = [pair for clip, times in zip(clips, told, strict=True) if times for pair in zip(times, clip.words, strict=True)]
    return tuple(np.array([1000 * (times[edge] - (word.start_s, word.end_s)[edge]) for times, word in pairs]) for edge in (0, 1))  # pyright: ignore[reportReturnType]


def apart_ms(some: Sequence[Times], others: Sequence[Times], edge: int) -> np.ndarray:
    """Return how far onsets (edge 0) or ends (1) lie apart in clips that came out as said both times."""
    pairs = [pair for one, other in zip(some, others, strict=True) if one and other for pair in zip(one, other, strict=True)]
    return np.array([1000 * abs(one[edge] - other[edge]) for one, other in pairs])


def times_table(ways: Sequence[Way], num_clips: int, sound_s: float) -> list[str]:
    """Return how long each way took; speeds are by the least processor seconds."""
    lines = ["| | threads | processor: least, median | clock: least, median | clips a second | times real time | times as fast |"]
    lines.append("| --- |" + " --- |" * 6)
    for threads in ways[0].processor_s:
        slowest_s = min(ways[-1].processor_s[threads])
        for way in ways:
            taken_s = min(way.processor_s[threads])
            both = [f"{min(each):.2f} s, {statistics.median(each):.2f} s" for each in (way.processor_s[threads], way.clock_s[threads])]
            speeds = [f"{num_clips / taken_s:.1f}", f"{sound_s / taken_s:.0f}", f"{slowest_s / taken_s:.1f}"]
            lines.append(f"| {' | '.join([way.name, str(threads), *both, *speeds])} |")
    return lines


def words_table(ways: Sequence[Way], sets: dict[str, list[Clip]], told: dict[str, list[Times]]) -> list[str]:
    """Return how exact each way is on each set of clips; `told` has the times of all sets, one after the other."""
    lines = ["| clips | | as said | onset | end |", "| --- | --- | --- | --- | --- |"]
    first = 0
    for name, clips in sets.items():
        for way in ways:
            own = told[way.name][first : first + len(clips)]
            cells = [name, way.name, f"{sum(times is not None for times in own)}/{len(clips)}", *map(figures, edges_ms(clips, own))]
            lines.append(f"| {' | '.join(cells)} |")
        first += len(clips)
    return lines


def wrapped(text: str) -> list[str]:
    """Return the lines of a text in Markdown, behind a bullet set in."""
    return textwrap.wrap(text, 100, subsequent_indent="  " if text.startswith("- ") else "", break_on_hyphens=False)


def report(ways: Sequence[Way], sets: dict[str, list[Clip]], told: dict[str, list[Times]], command: str, device: str) -> str:
    """Return the Markdown of a run."""
    clips = [clip for some in sets.values() for clip in some]
    sound_s = sum(samples_to_s(len(read_audio(clip.path))) for clip in clips)
    apart = [apart_ms(told[SHORT], told[WHOLE], edge) for edge in (0, 1)]
    versions = [f"torch {torch.__version__}", f"openai-whisper {importlib.metadata.version('openai-whisper')}"]
    lines = [
        "# `annotate` with Whisper: how fast, and how exact",
        "",
        f"- Command: `{command}`",
        f"- Machine: {os.cpu_count()} cores of {platform.machine()}, {device}; {', '.join(versions)}.",
        *wrapped(
            f"- Clips: {', '.join(f'{len(some)} {name}' for name, some in sets.items())}; {sound_s:.0f} s of sound, half of the scripts of "
            "numbers in digits. Each way goes from sound files to words; openai-whisper's is beam search and its own word times."
        ),
        "- Seconds are for all the clips; speeds are by the least processor seconds of "
        f"{len(next(iter(ways[0].processor_s.values())))} repeats.",
        "",
        *times_table(ways, len(clips), sound_s),
        "",
        "Milliseconds, told minus known: median, 90th and 99th percentile of the size of the error, then",
        "its median with its sign, over the words of clips that came out as said.",
        "",
        *words_table(ways, sets, told),
        "",
        *wrapped(
            f"Between short windows and {WINDOW_S:.0f} s, of {len(apart[0])} words: "
            + "; ".join(
                f"{what} {np.median(each):.0f} ms apart at the median, {np.percentile(each, 90):.0f} at p90, {each.max():.0f} at most"
                for what, each in zip(("onsets", "ends"), apart, strict=True)
            )
            + "."
        ),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    speech = os.environ.get("STT_FT_SPEECH_DATA")
    parser.add_argument("--speech", type=Path, default=speech, required=not speech, help="folder of fsdd/ and librivox/")
    parser.add_argument("--model", default="tiny.en", help="a model of Whisper by name, or a .pt file")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--numbers", type=int, default=24)
    parser.add_argument("--heldout", action="store_true", help="numbers by the people who only measure, not by those to choose things on")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="threads of torch, one run with each")
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--seed", type=int, default=2027)
    parser.add_argument("--out", type=Path, help="Markdown file; by default a dated one in tools/bench/results/")
    arguments = parser.parse_args()
    model = str(checkpoint() or "tiny.en") if arguments.model == "tiny.en" else arguments.model
    people = SpokenDigits(arguments.speech / "fsdd")
    work = WhisperWork(model, language="en", device=arguments.device, batch_size=arguments.batch_size)
    ways = [
        Way(name=SHORT, times_of=by_work(work)),
        Way(name=WHOLE, times_of=in_whole_windows(by_work(work))),
        Way(name=WRITES, times_of=by_work(work, with_script=False)),
        Way(name=TRANSCRIBES, times_of=by_transcribe(model, arguments.device)),
    ]
    today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    path = arguments.out or RESULTS / f"{today}-annotate.md"
    hidden = {"--speech": "DIR", "--out": "FILE"}
    words = [hidden.get(before, word) for before, word in zip(["", *sys.argv[1:]], sys.argv[1:], strict=False)]
    device = torch.cuda.get_device_name() if arguments.device == "cuda" else "on the CPU"
    told: dict[str, list[Times]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        speakers = people.groups()[arguments.heldout]
        numbers = next(glued_numbers(people, arguments.numbers, arguments.seed, Path(scratch), speakers=speakers))
        sets = dict([numbers, *read_sentences(arguments.speech / "librivox")])
        clips = [clip for some in sets.values() for clip in some]
        for way in ways:
            way.times_of(clips[:1])  # what is done once
        for repeat in range(arguments.repeats):
            for threads in arguments.threads:
                for way in ways:
                    told[way.name] = way.hear(clips, threads)
                    print(f"{repeat + 1}, {threads} threads, {way.name}: {way.processor_s[threads][-1]:.2f} s", flush=True)
            write_text(path, report(ways, sets, told, f"python tools/bench/annotate.py {' '.join(words)}", device))
    print(path)


if __name__ == "__main__":
    main()
