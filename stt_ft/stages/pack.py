"""Sidecars in a few files instead of one beside each sound, for datasets of very many clips: `stt-ft pack`.

    stt-ft pack datasets/calls             audio/*.json into sidecars/*.parquet
    stt-ft pack datasets/calls --loose     back beside the sound, byte for byte as they were

Either way every sidecar is in its new place before it leaves the old one, so a killed run loses none, and the same command goes on.
"""

from __future__ import annotations

from pathlib import Path

from stt_ft.core.atomic import sole_writer, write_text
from stt_ft.core.progress import say, track
from stt_ft.core.storage import check_lies_inside, read_many, remove_many
from stt_ft.dataset.manifest import Clip, Dataset
from stt_ft.dataset.packed import WINDOW


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
    some: dict[str, Clip] = {}
    for number, clip in enumerate(track(clips, "packing sidecars"), start=1):
        some[data.packed_name(clip)] = clip
        if len(some) == WINDOW or number == len(clips):
            packed, left = _pack_some(data, some)
            num_packed, num_left, some = num_packed + packed, num_left + left, {}
    left = f", {num_left} stay beside their sound" if num_left else ""
    say(f"{data.directory}: {num_packed} sidecars packed{left}; `stt-ft pack {data.directory} --loose` puts them back")


def _pack_some(data: Dataset, some: dict[str, Clip]) -> tuple[int, int]:
    """Pack the sidecars of `some` clips, by the names they have then, and return how many there were, and how many stay where they are."""
    known = dict(zip(some, data.packed.get(list(some)), strict=True))
    paths = {name: data.sidecar_path(clip) for name, clip in some.items()}
    beside = {name: content for name, content in zip(paths, read_many(list(paths.values())), strict=True) if content is not None}
    new: dict[str, str] = {}
    faults: dict[str, str] = {}
    for name, content in beside.items():
        try:
            text = content.decode()
        except UnicodeDecodeError:
            faults[name] = "not UTF-8; it stays beside its sound"
            continue
        if known[name] is None:
            new[name] = text
        elif known[name] != text:
            faults[name] = "says something else than the packed sidecar, which counts; remove it"
    for name, fault in faults.items():
        say(f"{paths[name]}: {fault}")
    data.packed.add(new)
    remove_many([paths[name] for name in beside if name not in faults and _is_own(paths[name], data)])
    return len(new), len(faults)


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
    data.packed.remove(files)
    say(f"{data.directory}: {num_written} sidecars lie beside their sound")
