"""Sidecars in a few files instead of one beside each sound, for datasets of very many clips: `stt-ft pack`.

    stt-ft pack datasets/calls             audio/*.json into sidecars/*.parquet
    stt-ft pack datasets/calls --loose     back beside the sound, byte for byte as they were

Either way every sidecar is in its new place before it leaves the old one, so a killed run loses none, and the same command goes on.
"""

from __future__ import annotations

from pathlib import Path

from stt_ft.core.atomic import sole_writer, write_text
from stt_ft.core.manifest import Clip, Dataset
from stt_ft.core.packed import WINDOW
from stt_ft.core.progress import say, track
from stt_ft.core.storage import check_lies_inside, read_many, remove_many


def pack(dataset: str | Path, *, loose: bool = False) -> Dataset:
    """Put the sidecars of a dataset into a few Parquet files, which a million clips are read from in a minute. Every command then reads and
    writes them there; a sidecar that lies beside its sound nevertheless counts only for a clip that has none in the files.

    Args:
        dataset: dataset directory.
        loose: put them back, a file beside each sound, as other programs for moshi-finetune's format need them.
    """
    data = Dataset.open(dataset)
    with sole_writer(data.directory):
        if loose:
            _unpack(data)
        else:
            _pack(data)
    return data


def _pack(data: Dataset) -> None:
    clips = data.clips()
    num_packed = num_left = 0
    for first in track(range(0, len(clips), WINDOW), "packing sidecars"):
        some = {data.packed_name(clip): clip for clip in clips[first : first + WINDOW]}
        known = dict(zip(some, data.packed.get(list(some)), strict=True))
        paths = [data.sidecar_path(clip) for clip in some.values()]
        beside = dict(zip(some, read_many(paths), strict=True))
        new: dict[str, str] = {}
        for name, content in beside.items():
            if content is not None and known[name] is None:
                try:
                    new[name] = content.decode()
                except UnicodeDecodeError:
                    num_left += 1
                    say(f"{data.directory / name}: not UTF-8; it stays beside its sound")
        data.packed.add(new)
        num_packed += len(new)
        done = []
        for path, (name, content) in zip(paths, beside.items(), strict=True):
            text = new.get(name, known[name])
            if content is not None and text is not None:
                if text.encode() == content:
                    done.append(path)
                else:
                    num_left += 1
                    say(f"{path}: says something else than the packed sidecar, which counts; remove it, or the words that you do not want")
        remove_many([path for path in done if _is_own(path, data)])
    left = f", {num_left} stay beside their sound" if num_left else ""
    say(f"{data.directory}: {num_packed} sidecars packed{left}; `stt-ft pack {data.directory} --loose` puts them back")


def _is_own(path: Path, data: Dataset) -> bool:
    """Whether a sidecar lies in the dataset, and not behind a link that leads out, where nothing is changed."""
    try:
        check_lies_inside(path.parent, data.directory)
    except ValueError:
        return False
    return True


def _unpack(data: Dataset) -> None:
    files = data.packed.files()
    num_written = 0
    for name, text in track(data.packed.items(), "putting sidecars back"):
        path = data.sidecar_path(Clip(path=name, duration_s=0.0), to_write=True)
        if not path.is_file() or path.read_bytes() != text.encode():
            write_text(path, text, is_swept=True)
        num_written += 1
    remove_many(files)
    say(f"{data.directory}: {num_written} sidecars lie beside their sound")
