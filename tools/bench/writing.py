"""What is written for clips without a script, and how long it takes: `annotate --aligner whisper` against what it did before, and others.

    python tools/bench/writing.py --model "$(python tools/real_whisper.py)" --digits ../shared/data/fsdd --sentences ../shared/data/librivox

The same clips for all: numbers glued from single digits that people spoke, simulated sentences of voices that nothing was chosen on, and
sentences that a person read. A string is right when its digits are, once numbers are read aloud digit by digit as `convert` does.
Processor time is measured, from sound to text. The table goes to tools/bench/results/. faster-whisper, where it is installed (`pip install
faster-whisper`, no part of this project), hears with the weights that CTranslate2 keeps in the folder `--ctranslate2`.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import importlib.util
import os
import platform
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import whisper
from whisper.decoding import DecodingTask

from stt_ft.align.whisper_model import WhisperModel
from stt_ft.align.whisper_writing import Writer, trusted
from stt_ft.audio.files import read_audio, resample
from stt_ft.core.atomic import write_text
from stt_ft.core.errors import SttFtError
from stt_ft.core.timing import SAMPLE_RATE_HZ, samples_to_s
from stt_ft.dataset.manifest import Dataset
from stt_ft.metrics.intervals import wilson
from stt_ft.metrics.transcripts import scoring_form, word_errors
from stt_ft.simulation.casting import DEV_CAST, HELDOUT_CAST
from stt_ft.simulation.glued import SpokenDigits, mixed_gaps
from stt_ft.simulation.takes import TakePlan, write_takes
from stt_ft.text.digit_words import digits_of_words
from stt_ft.text.spoken_forms import spoken_words

RESULTS = Path(__file__).parent / "results"
HELDOUT_SPEAKERS = ("lucas", "theo")
RATE_HZ = 16_000
BATCH_SIZE = 8  # as `annotate` does unless told otherwise
OTHERS_PROMPT = "one two three four five six seven eight nine zero"

Sounds = Sequence[np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Said:
    """A clip: its kind, its samples at 24 kHz, and the words said in it."""

    kind: str
    samples: np.ndarray
    words: tuple[str, ...]


def glued_numbers(folder: Path, speakers: Sequence[str] | None, count: int, seed: int) -> list[Said]:
    """Glue `count` numbers of 6 to 10 digits, speaker after speaker; of all speakers where none is named."""
    people, rng = SpokenDigits(folder), random.Random(seed)
    made = []
    for index in range(count):
        among = speakers or people.speakers
        digits = "".join(rng.choices("0123456789", k=rng.randint(6, 10)))
        number = people.number(among[index % len(among)], digits, mixed_gaps(rng, len(digits) - 1), rng)
        made.append(Said(kind="glued numbers", samples=number.samples, words=tuple(word.text for word in number.words)))
    return made


def simulated_sentences(cast: Any, count: int, seed: int) -> list[Said]:
    with tempfile.TemporaryDirectory() as scratch:
        data = Dataset(Path(scratch) / "clips")
        plan = TakePlan(split="heldout", kind="ordinary", count=count, cast=cast)
        return [
            Said(
                kind="simulated sentences",
                samples=read_audio(data.audio_path(clip)),
                words=tuple(word.text for word in data.read_sidecar(clip).alignments),
            )
            for clip in write_takes(data, plan, seed=seed, used_digits=set(), with_times=True)
        ]


def read_sentences(folder: Path) -> list[Said]:
    """Return the recordings in `folder` that have a text beside them."""
    return [
        Said(kind="read sentences", samples=read_audio(path), words=tuple(path.with_suffix(".txt").read_text("utf-8").split()))
        for path in sorted(folder.glob("*.wav"))
    ]


def one_by_one(model: str) -> Callable[[Sounds], list[str]]:
    """Return what `annotate` did before: beam search of openai-whisper, clip after clip, over 30 s each."""
    loaded = whisper.load_model(model, device="cpu")

    def write(sounds: Sounds) -> list[str]:
        options = whisper.DecodingOptions(language="en", beam_size=5, without_timestamps=True, fp16=False)
        texts = []
        for sound in sounds:
            audio = whisper.pad_or_trim(torch.from_numpy(resample(sound, SAMPLE_RATE_HZ, RATE_HZ)))
            (heard,) = DecodingTask(loaded, options).run(whisper.log_mel_spectrogram(audio, loaded.dims.n_mels)[None])
            texts.append(heard.text)
        return texts

    return write


def as_annotate(model: str) -> Callable[[Sounds], list[str]]:
    """Return what `annotate` does now; a clip whose transcript it refuses is written as nothing."""
    loaded = WhisperModel(model, language="en", device=torch.device("cpu"))
    writer = Writer(loaded.model, loaded.tokenizer)

    def write(sounds: Sounds) -> list[str]:
        texts = []
        for first in range(0, len(sounds), BATCH_SIZE):
            batch = sounds[first : first + BATCH_SIZE]
            with torch.inference_mode():
                features = loaded.encode(batch)
            texts += [trusted(written) for written in writer.write(features, [samples_to_s(len(sound)) for sound in batch])]
        return ["" if isinstance(text, SttFtError) else text for text in texts]

    return write


def by_faster_whisper(folder: Path) -> Callable[[Sounds], list[str]]:
    import faster_whisper  # pyright: ignore[reportMissingImports]  # no part of this project

    loaded = faster_whisper.WhisperModel(str(folder), device="cpu", compute_type="float32", cpu_threads=torch.get_num_threads())

    def write(sounds: Sounds) -> list[str]:
        texts = []
        for sound in sounds:
            audio = resample(sound, SAMPLE_RATE_HZ, RATE_HZ)
            segments, _ = loaded.transcribe(
                audio, language="en", beam_size=5, initial_prompt=OTHERS_PROMPT, condition_on_previous_text=False
            )
            texts.append(" ".join(segment.text.strip() for segment in segments))
        return texts

    return write


def spoken(text: str) -> list[str]:
    try:
        return spoken_words(text, style="digits")
    except SttFtError:
        return text.split()


def row(name: str, clips: Sequence[Said], texts: Sequence[str], seconds: dict[str, float]) -> str:
    """Return a line of the table."""
    cells = [name]
    for kind in dict.fromkeys(clip.kind for clip in clips):
        pairs = [(clip.words, spoken(text)) for clip, text in zip(clips, texts, strict=True) if clip.kind == kind]
        if kind == "glued numbers":
            right = sum(digits_of_words(said) == digits_of_words(words) for said, words in pairs)
            low, high = wilson(right, len(pairs))
            cells.append(f"{right}/{len(pairs)}: {right / len(pairs):.1%} ({low:.1%} to {high:.1%})")
        else:
            errors = [word_errors(scoring_form(said), scoring_form(words)) for said, words in pairs]
            cells.append(f"{sum(one.num_errors for one in errors) / sum(one.num_reference for one in errors):.1%}")
        cells.append(f"{seconds[kind]:.1f} s")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", required=True, help="Whisper checkpoint, a .pt file")
    parser.add_argument("--digits", type=Path, required=True, help="folder of DIGIT_SPEAKER_INDEX.wav")
    parser.add_argument("--sentences", type=Path, required=True, help="folder of .wav with .txt beside them")
    parser.add_argument("--ctranslate2", type=Path, help="folder of the same weights for faster-whisper")
    parser.add_argument("--count", type=int, default=60, help="numbers, and half as many simulated sentences")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dev", action="store_true", help="the voices on which things are chosen, not those that only measure")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="Markdown file; by default a dated one in tools/bench/results/")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    speakers = [name for name in SpokenDigits(arguments.digits).speakers if name not in HELDOUT_SPEAKERS] if arguments.dev else None
    clips = glued_numbers(arguments.digits, speakers, arguments.count, arguments.seed)
    clips += simulated_sentences(DEV_CAST if arguments.dev else HELDOUT_CAST, arguments.count // 2, arguments.seed)
    clips += read_sentences(arguments.sentences)
    ways = {"before: openai-whisper, beams, clip by clip": one_by_one(arguments.model), "**`annotate`**": as_annotate(arguments.model)}
    versions = [f"torch {torch.__version__}", f"openai-whisper {importlib.metadata.version('openai-whisper')}"]
    if arguments.ctranslate2 is not None and importlib.util.find_spec("faster_whisper"):
        ways[f'faster-whisper, prompt "{OTHERS_PROMPT}"'] = by_faster_whisper(arguments.ctranslate2)
        versions.append(f"faster-whisper {importlib.metadata.version('faster-whisper')}")
    kinds = list(dict.fromkeys(clip.kind for clip in clips))
    rows = []
    for name, write in ways.items():
        write([clips[0].samples])  # what is done once
        seconds, texts = {}, []
        for kind in kinds:
            sounds = [clip.samples for clip in clips if clip.kind == kind]
            begin_s = time.process_time()
            texts += write(sounds)
            seconds[kind] = time.process_time() - begin_s
        rows.append(row(name, clips, texts, seconds))
        print(rows[-1], flush=True)
    hidden = {"--model": "tiny.en.pt", "--digits": "fsdd", "--sentences": "librivox", "--ctranslate2": "model", "--out": "FILE"}
    command = [hidden.get(before, word) for before, word in zip(["", *sys.argv[1:]], sys.argv[1:], strict=False)]
    lengths = [f"{sum(clip.kind == kind for clip in clips)} {kind}" for kind in kinds]
    lines = [
        "# Whisper without a script: right numbers, word errors, time",
        "",
        f"- Command: `python tools/bench/writing.py {' '.join(command)}`",
        f"- Machine: {os.cpu_count()} cores of {platform.machine()}, {arguments.threads} threads of torch; {', '.join(versions)}.",
        f"- Clips: {', '.join(lengths)}; {np.mean([samples_to_s(len(clip.samples)) for clip in clips]):.1f} s on average.",
        "- Numbers: strings with every digit right and 95 % interval; sentences: word errors a word of the reference. Seconds of processor",
        "  time for all the clips of a kind, from samples to text. What `annotate` refuses to write counts as nothing written.",
        "",
        "| | " + " | ".join(f"{kind} | time" for kind in kinds) + " |",
        "| --- |" + " --- | --- |" * len(kinds),
        *rows,
    ]
    today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    path = arguments.out or RESULTS / f"{today}-writing.md"
    write_text(path, "\n".join(lines) + "\n")
    print(path)


if __name__ == "__main__":
    main()
