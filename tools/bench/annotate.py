"""How much faster is aligning a known script than having Whisper transcribe with word times? Both on the same checkpoint, in one run.

    python tools/bench/annotate.py --dims tiny --clips 16 --repeats 3

The weights are random, for none can be downloaded here; time depends on shapes and lengths alone, once two things are held to what
trained weights do. Random weights end a text anywhere or never: beam search is kept from ending, and stopped after as many tokens as the
clip's script has. And `whisper.transcribe` hears a clip again from where it takes the last word to end, which means nothing here: it is
kept to one window a clip. Processor time is measured, since that is the same on a crowded machine. The result goes to
tools/bench/results/.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import whisper
from whisper.model import ModelDimensions, Whisper
from whisper.tokenizer import get_tokenizer

from stt_ft.align.aligner import AlignmentJob
from stt_ft.align.whisper_aligner import WhisperWork
from stt_ft.audio.files import read_audio, resample
from stt_ft.core.atomic import write_text
from stt_ft.core.manifest import Dataset
from stt_ft.core.timing import SAMPLE_RATE_HZ
from stt_ft.simulation.casting import HELDOUT_CAST
from stt_ft.simulation.takes import TakePlan, write_takes

# Width, heads and layers of OpenAI's checkpoints; encoder and decoder are alike but in large-v3-turbo.
SHAPES = {"tiny": (384, 6, 4), "base": (512, 8, 6), "small": (768, 12, 12), "medium": (1024, 16, 24), "large-v3": (1280, 20, 32)}
NUM_OTHER_TOKENS = 3  # two times and the end, which transcribing writes beside the text
REQUIRED = 8.0
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, kw_only=True)
class Times:
    """Seconds a clip in one repeat: aligning its script, and transcribing it."""

    forced_s: float
    transcribed_s: float


def make_checkpoint(path: Path, dims: str) -> None:
    """Write a randomly initialised checkpoint of the shape called `dims` in openai-whisper's format."""
    torch.manual_seed(0)
    width, heads, layers = SHAPES[dims]
    n_mels, n_vocab = (128, 51866) if dims == "large-v3" else (80, 51865)
    shape = ModelDimensions(
        n_mels=n_mels, n_audio_ctx=1500, n_audio_state=width, n_audio_head=heads, n_audio_layer=layers, n_vocab=n_vocab,
        n_text_ctx=448, n_text_state=width, n_text_head=heads, n_text_layer=layers,
    )  # fmt: skip
    model = Whisper(shape)
    torch.nn.init.normal_(model.decoder.positional_embedding, std=0.02)
    torch.save({"dims": shape.__dict__, "model_state_dict": model.state_dict()}, path)


def make_jobs(directory: Path, num_clips: int) -> list[AlignmentJob]:
    """Record simulated takes of numbers, and return them with their scripts."""
    data = Dataset(directory)
    plan = TakePlan(split="heldout", kind="number", count=num_clips, cast=HELDOUT_CAST, min_digits=6, max_digits=10)
    clips = list(write_takes(data, plan, seed=1, used_digits=set()))
    return [
        AlignmentJob(clip_id=clip.path, audio_path=data.audio_path(clip), script=str(clip.extra["script"]), language="en") for clip in clips
    ]


def time_forced(work: WhisperWork, jobs: Sequence[AlignmentJob]) -> float:
    """Return the seconds a clip that `stt-ft annotate --aligner whisper` takes, reading the sound included."""
    begin_s = _now_s()
    results = list(work.results(jobs))
    seconds = _now_s() - begin_s
    assert all(result.words for result in results), [result.fault for result in results]
    return seconds / len(jobs)


def time_transcribed(model: Any, jobs: Sequence[AlignmentJob]) -> float:
    """Return the seconds a clip that `whisper.transcribe` takes, reading the sound included."""
    tokenizer = get_tokenizer(model.is_multilingual, num_languages=model.num_languages, language="en", task="transcribe")
    begin_s = _now_s()
    with mock.patch.object(sys.modules["whisper.transcribe"], "get_end", return_value=None):  # one window a clip
        for job in jobs:
            whisper.transcribe(
                model,
                resample(read_audio(job.audio_path), SAMPLE_RATE_HZ, whisper.audio.SAMPLE_RATE),
                language="en",
                beam_size=5,
                word_timestamps=True,
                temperature=0.0,
                no_speech_threshold=None,
                condition_on_previous_text=False,
                without_timestamps=True,
                suppress_tokens=[-1, tokenizer.eot],
                sample_len=len(tokenizer.encode(f" {job.script}")) + NUM_OTHER_TOKENS,
                fp16=model.device.type == "cuda",
            )
    return (_now_s() - begin_s) / len(jobs)


def _now_s() -> float:
    """Return processor seconds, or on a GPU seconds of the clock when its work is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def report(arguments: argparse.Namespace, jobs: Sequence[AlignmentJob], times: Sequence[Times]) -> tuple[str, float]:
    """Return the Markdown of a run, and how many times faster aligning is (the median over repeats)."""
    duration_s = sum(len(read_audio(job.audio_path)) / SAMPLE_RATE_HZ for job in jobs)
    ratio = statistics.median(one.transcribed_s / one.forced_s for one in times)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    command = f"python tools/bench/annotate.py --dims {arguments.dims} --clips {arguments.clips}"
    command += f" --repeats {arguments.repeats} --batch_size {arguments.batch_size} --threads {arguments.threads}"
    rows = [
        f"| {number} | {one.forced_s:.3f} s | {one.transcribed_s:.3f} s | {one.transcribed_s / one.forced_s:.1f} |"
        for number, one in enumerate(times, start=1)
    ]
    lines = [
        f"# Whisper `{arguments.dims}`: aligning a known script against transcribing with word times",
        "",
        f"{ratio:.1f} times faster (the median of {len(times)} repeats). Required: {REQUIRED:g} times; {_verdict(ratio)}.",
        "",
        f"- Machine: {os.cpu_count()} cores of {platform.machine()}, {device}; torch {torch.__version__}, {arguments.threads} threads.",
        f"- Command: `{command}`",
        f"- Checkpoint: the shape of Whisper `{arguments.dims}`, random weights, the same file for both.",
        f"- Clips: {len(jobs)} simulated takes of numbers of 6 to 10 digits, {duration_s / len(jobs):.1f} s on average, scripts known.",
        "- Aligned: `stt-ft annotate --aligner whisper`, from sound file to words: one encoder pass in a window as short as the clip, one",
        "  decoder pass over all readings of its numbers, one over the chosen words; the checkpoint is measured before the clock starts.",
        "- Transcribed: `whisper.transcribe(word_timestamps=True, beam_size=5)` at temperature 0, no second attempts, stopped after as",
        f"  many tokens as the script has and {NUM_OTHER_TOKENS} more, kept to one window a clip.",
        "- Seconds are processor time a clip." if not torch.cuda.is_available() else "- Seconds are by the clock, a clip.",
        "",
        "| repeat | aligned | transcribed | times faster |",
        "| --- | --- | --- | --- |",
        *rows,
    ]
    return "\n".join(lines) + "\n", ratio


def _verdict(ratio: float) -> str:
    return "met" if ratio >= REQUIRED else "not met"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--dims", choices=SHAPES, default="tiny", help="shape of the checkpoint")
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--out", type=Path, help="Markdown file; by default a dated one in tools/bench/results/")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as scratch:
        make_checkpoint(Path(scratch) / f"{arguments.dims}.pt", arguments.dims)
        jobs = make_jobs(Path(scratch) / "clips", arguments.clips)
        path = f"{scratch}/{arguments.dims}.pt"
        work = WhisperWork(path, language="en", device="auto", batch_size=arguments.batch_size)
        model = whisper.load_model(path, device="cuda" if torch.cuda.is_available() else "cpu")
        time_forced(work, jobs[:1])
        time_transcribed(model, jobs[:1])
        times = []
        for _ in range(arguments.repeats):
            times.append(Times(forced_s=time_forced(work, jobs), transcribed_s=time_transcribed(model, jobs)))
            print(times[-1], flush=True)
        text, ratio = report(arguments, jobs, times)
    today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    path = arguments.out or RESULTS / f"{today}-annotate-{arguments.dims}.md"
    write_text(path, text)
    print(f"{path}: {ratio:.1f} times faster")
    raise SystemExit(0 if ratio >= REQUIRED else 1)


if __name__ == "__main__":
    main()
