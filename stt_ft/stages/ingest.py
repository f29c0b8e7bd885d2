"""`stt-ft ingest`: a corpus that exists becomes a dataset.

    stt-ft ingest ~/takes --out datasets/orders                       a folder of sound, with .txt or .json beside each file
    stt-ft ingest cv-corpus/en --out datasets/cv --format commonvoice

Sound is linked, not copied, where it can be used as it is: mono, and in a format that libsndfile reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from stt_ft.core.manifest import Clip


def ingest(
    source: str,
    *,
    out: str,
    format: Literal["auto", "folder", "jsonl", "nemo", "kaldi", "commonvoice", "lhotse"] = "auto",
    copy: bool = False,
    channel: int | None = None,
    max_duration: float = 120.0,
    language: str = "en",
) -> None:
    """Make a dataset of recordings that exist. Clips that cannot be used are named and left out.

    Running again adds what is new and keeps what later stages have written.

    Args:
        source: folder, manifest or corpus directory.
        out: dataset directory.
        format: format of the source; auto finds out.
        copy: copy sound files instead of linking to them.
        channel: channel of stereo files to take, counted from 0; by default all are averaged. Mono files are taken as they are.
        max_duration: seconds beyond which a clip is left out.
        language: language of the recordings, for dataset.yaml.
    """
    from dataclasses import replace
    from pathlib import Path

    from stt_ft.core.atomic import remove_leftovers
    from stt_ft.core.errors import ConfigError, DatasetError
    from stt_ft.core.manifest import SPLITS, Dataset
    from stt_ft.core.progress import say, track
    from stt_ft.corpus.formats import read_source
    from stt_ft.corpus.importing import ImportOptions, import_clips

    if max_duration <= 0:
        raise ConfigError(f"--max_duration must be positive, got {max_duration}")
    if Path(out).exists() and not Path(out).is_dir():
        raise ConfigError(f"--out {out}: expected a directory, this is a file")
    sources = read_source(Path(source), format)
    data = Dataset(Path(out))
    remove_leftovers(data.directory)
    by_split: dict[str, list[Clip]] = {split: data.clips(split) for split in data.splits()}
    places = {_stem(clip): (split, index) for split, clips in by_split.items() for index, clip in enumerate(clips)}
    options = ImportOptions(copy=copy, channel=channel, max_duration_s=max_duration)
    num_taken = num_left_out = 0
    for imported in track(import_clips(data, sources, options), "ingesting clips", total=len(sources)):
        if imported.clip is None:
            num_left_out += 1
            say(f"{imported.source.clip_id}: left out: {imported.fault}")
        else:
            num_taken += 1
            split, index = places.get(_stem(imported.clip), ("", 0))
            if not split:
                by_split.setdefault(imported.source.split or "train", []).append(imported.clip)
            elif imported.is_new or by_split[split][index].path != imported.clip.path:
                by_split[split][index] = replace(imported.clip, extra={**by_split[split][index].extra, **imported.clip.extra})
    if num_taken == 0:
        raise DatasetError(f"{source}: none of its {len(sources)} clips can be used; the reasons are above")
    if not data.info():
        data.write_info({"name": data.directory.name, "language": language, "made_by": f"stt-ft ingest {source}"})
    for split in SPLITS:
        if split in by_split:
            data.write_clips(split, by_split[split])
    counts = ", ".join(f"{split} {len(clips)}" for split, clips in by_split.items())
    say(f"{data.directory}: {num_taken} clips taken, {num_left_out} left out; it holds {counts}")


def _stem(clip: Clip) -> str:
    """Return a clip's path without suffix: sound that was linked may come again as a WAV, when a channel of it is chosen."""
    from pathlib import Path

    return str(Path(clip.path).with_suffix(""))
