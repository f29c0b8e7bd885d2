"""A dataset as sharded archives for other programs, and for moving it: `stt-ft archive`.

stt-ft archive datasets/orders --out archives/orders --format webdataset
stt-ft archive datasets/orders --out s3://calls/orders --format shar --shard_size 5000
stt-ft ingest archives/orders --out datasets/again                                      the same dataset
"""

from __future__ import annotations

from typing import Literal

from stt_ft.core.atomic import sole_writer
from stt_ft.core.errors import ConfigError, DatasetError
from stt_ft.core.progress import say, track
from stt_ft.core.storage import place
from stt_ft.dataset.manifest import Dataset


def archive(dataset: str, *, out: str, format: Literal["shar", "webdataset", "huggingface"], shard_size: int = 1000) -> None:
    """Write a dataset as sharded archives: sound as it is, text, speaker and words with their times, and each sidecar whole.

    Shards are written whole or not at all, and those that are there are not written again. Lhotse reads `shar`
    (`CutSet.from_shar(in_dir=OUT/train)`), webdataset `OUT/train-*.tar`, and `datasets.load_dataset(OUT)` the Parquet files of
    `huggingface`; `stt-ft ingest` gives the same dataset back from each.

    Args:
        dataset: dataset directory.
        out: directory for the archives, here or in an object store (s3://BUCKET/NAME).
        format: Lhotse's Shar, tars of a WebDataset, or Parquet for Hugging Face's `datasets`.
        shard_size: clips of a shard.
    """
    from stt_ft.corpus.archiving import archive_clips

    if shard_size < 1:
        raise ConfigError(f"--shard_size must be 1 or more, got {shard_size}")
    data = Dataset.open(dataset)
    target = place(out)
    num_clips = sum(len(data.clips(split)) for split in data.splits())
    if num_clips == 0:
        raise DatasetError(f"{dataset}: no clips here")
    num_old = num_left_out = 0
    with sole_writer(target):
        for archived in track(archive_clips(data, target, format, shard_size), "archiving clips", total=num_clips):
            num_old += archived.is_old
            if archived.fault:
                num_left_out += 1
                say(f"{archived.clip.path}: left out: {archived.fault}")
    there = f", {num_old} of them there already" if num_old else ""
    say(f"{out}: {num_clips - num_left_out} clips{there}, {num_left_out} left out")
