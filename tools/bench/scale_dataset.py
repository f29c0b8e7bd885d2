"""A dataset of any size, to measure what a stage costs a clip: tiny sound files, sidecars as of `convert`, codes without a codec.

    python tools/bench/scale_dataset.py DIRECTORY --clips 100000

Nothing in it is worth learning: sound files are a few samples long, so that no two have the same bytes, and codes are drawn at random.
Four of five clips dictate a number of four to nine digits, the others are sentences; twenty are dev, twenty heldout, the rest train.
"""

from __future__ import annotations

import argparse
import itertools
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from stt_ft.align import work_named
from stt_ft.align.sidecars import provenance_of
from stt_ft.audio.sounds import sounds_of
from stt_ft.core.progress import track
from stt_ft.core.timing import num_frames_covering
from stt_ft.dataset.manifest import Clip, Dataset
from stt_ft.dataset.sidecar import Sidecar, Word
from stt_ft.model.checkpoint_dir import ModelDir, open_model
from stt_ft.model.codes import TokenStore

DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
SENTENCES = [
    "we have it in the shop",
    "please send it on friday",
    "the box came open and wet",
    "can you say that again slowly",
]
SPLITS = {"dev": 20, "heldout": 20}


def make_dataset(directory: Path, num_clips: int, model: ModelDir, *, seed: int = 0) -> Dataset:
    """Fill `directory`, which must not be there yet, with `num_clips` clips encoded for `model`."""
    data, rng = Dataset(directory), np.random.default_rng(seed)
    (directory / "audio").mkdir(parents=True)
    aligner = work_named("sphinx", model="", language="en", device="cpu", batch_size=1).provenance
    clips = [make_clip(data, index, rng, aligner) for index in track(range(num_clips), "clips made")]
    ends = {"train": num_clips - sum(SPLITS.values()), "dev": SPLITS["dev"], "heldout": SPLITS["heldout"]}
    for (split, size), first in zip(ends.items(), itertools.accumulate(ends.values(), initial=0), strict=False):
        data.write_clips(split, clips[first : first + size])
    store = TokenStore.of(data, model)
    around = model.num_prefix_frames + model.num_tail_frames()
    drawn = rng.integers(0, model.config["card"], (model.n_q, 100_000)).astype(np.int16)
    for first in track(range(0, num_clips, 512), "shards of codes made"):
        codes = {}
        for sound in sounds_of(data, clips[first : first + 512]):
            num_frames = around + num_frames_covering(sound.clip.duration_s)
            begin = int(rng.integers(drawn.shape[1] - num_frames))
            codes[sound.key] = drawn[:, begin : begin + num_frames]
        store.add(codes)
    return data


def make_clip(data: Dataset, index: int, rng: np.random.Generator, aligner: dict[str, Any]) -> Clip:
    """Write sound and sidecar of clip number `index`, as if `aligner` had found its words; a folder holds a thousand clips."""
    is_number = index % 5 != 4
    digits = [DIGITS[digit] for digit in rng.integers(0, 10, int(rng.integers(4, 10)))]
    texts = ["order", "number", *digits] if is_number else SENTENCES[int(rng.integers(len(SENTENCES)))].split()
    starts_s = (0.4 + np.cumsum(rng.uniform(0.3, 0.6, len(texts)))).round(3).tolist()
    words = tuple(Word(text=text, start_s=start_s, end_s=round(start_s + 0.28, 3)) for text, start_s in zip(texts, starts_s, strict=True))
    script, kind, speaker = " ".join(texts), "number" if is_number else "ordinary", f"speaker_{index // 200:05d}"
    clip = Clip(
        path=f"audio/{index // 1000:04d}/{index:07d}.wav",
        duration_s=round(starts_s[-1] + 0.8, 4),
        extra={"speaker": speaker, "prompt_id": f"{kind}_{index:07d}", "kind": kind, "script": script},
    )
    path = data.audio_path(clip)
    path.parent.mkdir(exist_ok=True)
    samples = struct.pack("<Q", index)  # four samples of 16 bits that no other clip has
    header = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 44, b"WAVE", b"fmt ", 16, 1, 1, 24000, 48000, 2, 16, b"data", len(samples))
    path.write_bytes(header + samples)
    record = provenance_of(path, script, aligner)
    sidecar = Sidecar(alignments=words, written=words, script=script, provenance={"annotate": record})
    data.sidecar_path(clip).write_text(json.dumps(sidecar.to_json(), indent=1), encoding="utf-8")
    return clip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--base", default="tiny")
    args = parser.parse_args()
    make_dataset(args.directory, args.clips, open_model(args.base))


if __name__ == "__main__":
    main()
