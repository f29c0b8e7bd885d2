"""Changes of a dataset that lose nothing: each keeps what was there before, and can be undone, also after a restart.

    DATASET/.studio/words/000001/    change.json, before.json and after.json: a sidecar, byte for byte
    DATASET/.studio/aside/000002/    change.json, train.jsonl (the clip's line), audio/take.wav, audio/take.json
    DATASET/.studio/bin/000003/      the same: a clip set aside and one thrown away differ in what is meant by it

A change is written down before it is made: a killed studio leaves one that undoing finds half made, and ends or takes back. One that was
undone keeps its files as `000003.undone` until it is made again, and as `000003.past` once something else has been done; one whose files
others have changed meanwhile, as `000001.stale`.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from stt_ft.core.atomic import atomic_directory, atomic_path, write_json
from stt_ft.core.errors import DatasetError
from stt_ft.core.json_yaml import parse_json
from stt_ft.dataset.manifest import Clip, Dataset
from stt_ft.dataset.sidecar import Sidecar
from stt_ft.studio.tab import now, own_path

Kind = Literal["words", "aside", "bin"]
KINDS: tuple[Kind, ...] = ("words", "aside", "bin")

_NUMBERED = re.compile(r"(\d{6})(\.undone)?")


@dataclass(frozen=True, kw_only=True)
class Change:
    """One change, in its directory."""

    number: int
    kind: Kind
    clip: str
    directory: Path
    is_undone: bool


@dataclass(frozen=True)
class Changes:
    """The changes of a dataset. Whoever calls has the dataset to itself."""

    data: Dataset

    def known(self) -> list[Change]:
        """Return the changes made and undone, the oldest first."""
        found = []
        for kind in KINDS:
            for path in own_path(self.data, kind).glob("*"):
                match = _NUMBERED.fullmatch(path.name)
                if match is None:
                    continue
                try:
                    clip = parse_json((path / "change.json").read_bytes())["clip"]
                except (OSError, ValueError, KeyError, TypeError):
                    continue
                found.append(Change(number=int(match[1]), kind=kind, clip=str(clip), directory=path, is_undone=match[2] is not None))
        return sorted(found, key=lambda change: change.number)

    def next_undo(self) -> Change | None:
        """Return the latest change that stands."""
        return next((change for change in reversed(self.known()) if not change.is_undone), None)

    def next_redo(self) -> Change | None:
        """Return the change that was undone last."""
        return next((change for change in self.known() if change.is_undone), None)

    def change_words(self, clip: Clip, edit: Callable[[Sidecar], Sidecar]) -> None:
        """Replace the sidecar of `clip` by what `edit` makes of it; raises `DatasetError` where there is none, or it is malformed."""
        self.data.check_writable(clip)
        changed = edit(self.data.read_sidecar(clip))
        with self._new("words", clip) as directory:
            (directory / "before.json").write_bytes(self.data.sidecar_bytes(clip) or b"")
            write_json(directory / "after.json", changed.to_json(), is_swept=True)
            after = (directory / "after.json").read_bytes()
        self.data.put_sidecar(clip, after)

    def put_away(self, clip: Clip, kind: Literal["aside", "bin"]) -> None:
        """Take `clip` out of all splits, and move its sound and sidecar to where they can be brought back from."""
        self.data.sidecar_path(clip, to_write=True)
        with self._new(kind, clip) as directory:
            for split in self.data.splits():
                lines = [line for _, line in _lines_of(self.data.manifest_path(split), clip.path)]
                if lines:
                    _write(directory / f"{split}.jsonl", b"".join(lines))
        self._away(self._last())

    def undo(self, number: int | None = None) -> Change:
        """Take back the latest change, or a clip that was put away by change `number`.

        Raises:
            DatasetError: there is none, or somebody else has changed the same files since; the latest is then no longer in the way.
        """
        change = self.next_undo() if number is None else next((one for one in self.known() if one.number == number), None)
        if change is None or change.is_undone or (number is not None and change.kind == "words"):
            raise DatasetError(f"{self.data.directory}: no such change to undo")
        return self._put(change, is_undone=True)

    def redo(self) -> Change:
        """Make the change again that was undone last; raises as `undo` does."""
        change = self.next_redo()
        if change is None:
            raise DatasetError(f"{self.data.directory}: no change to make again")
        return self._put(change, is_undone=False)

    def _put(self, change: Change, *, is_undone: bool) -> Change:
        """Take a change back or make it again, and name its directory so."""
        if change.kind == "words":
            self._swap(change, *(("after.json", "before.json") if is_undone else ("before.json", "after.json")))
        elif is_undone:
            self._back(change)
        else:
            self._away(change)
        change.directory.rename(change.directory.with_name(f"{change.number:06d}{'.undone' if is_undone else ''}"))
        return change

    def put_away_clips(self) -> Iterator[tuple[Change, Dataset, Clip]]:
        """Yield each clip that is put away, and the dataset of one clip that it lies in."""
        for change in self.known():
            held = Dataset(change.directory)
            if change.kind != "words" and not change.is_undone and held.splits():
                yield change, held, held.clips()[0]

    @contextlib.contextmanager
    def _new(self, kind: Kind, clip: Clip) -> Iterator[Path]:
        """Yield the directory of a new change, which counts once the block has ended well."""
        numbers = [int(path.name[:6]) for name in KINDS for path in own_path(self.data, name).glob("[0-9]*") if path.name[:6].isdigit()]
        directory = own_path(self.data, kind) / f"{max(numbers, default=0) + 1:06d}"
        with atomic_directory(directory) as new:
            write_json(new / "change.json", _facts(clip), is_swept=True)
            yield new
        for change in self.known():
            if change.is_undone:
                change.directory.rename(change.directory.with_suffix(".past"))

    def _last(self) -> Change:
        change = self.next_undo()
        assert change is not None
        return change

    def _swap(self, change: Change, there: str, wanted: str) -> None:
        """Put the sidecar `wanted` in the place of `there`; one that is neither stays as it is."""
        clip = Clip(path=change.clip, duration_s=0.0)
        self.data.check_writable(clip)
        new = (change.directory / wanted).read_bytes()
        present = self.data.sidecar_bytes(clip) or b""
        if present not in (new, (change.directory / there).read_bytes()):
            stale = change.directory.with_name(f"{change.number:06d}.stale")
            change.directory.rename(stale)
            where = self.data.sidecar_path(clip)
            raise DatasetError(f"{where}: changed by something else since; it is left as it is, and {stale / wanted} has the other words")
        if present != new:
            self.data.put_sidecar(clip, new)

    def _away(self, change: Change) -> None:
        clip = Clip(path=change.clip, duration_s=0.0)
        found = {split: [place for place, _ in _lines_of(self.data.manifest_path(split), clip.path)] for split in self.data.splits()}
        places = {split: numbers for split, numbers in found.items() if numbers}
        write_json(change.directory / "change.json", {**_facts(clip), "places": places}, is_swept=True)
        for split, numbers in places.items():
            path = self.data.manifest_path(split)
            _write(path, b"".join(line for place, line in enumerate(_lines(path)) if place not in numbers))
        sidecar = self.data.sidecar_path(clip, to_write=True)
        is_shared = any(self.data.sidecar_path(other) == sidecar for other in self.data.clips())
        for path in {self.data.audio_path(clip, to_write=True), sidecar}:
            target = change.directory / path.relative_to(self.data.directory)
            target.parent.mkdir(parents=True, exist_ok=True)
            if path == sidecar and (is_shared or self.data.packed.are_there()):
                target.write_bytes(self.data.sidecar_bytes(clip) or b"")
            elif path.exists() or path.is_symlink():
                shutil.move(path, target)

    def _back(self, change: Change) -> None:
        clip, held = Clip(path=change.clip, duration_s=0.0), Dataset(change.directory)
        for find in (Dataset.audio_path, Dataset.sidecar_path):
            away, place = find(held, clip), find(self.data, clip, to_write=True)
            is_away, is_taken = (path.exists() or path.is_symlink() for path in (away, place))
            if not is_away:
                continue
            if is_taken and find is Dataset.audio_path:
                raise DatasetError(f"{place}: another clip has this name by now; the old one stays in {change.directory}")
            has_stayed = find is Dataset.sidecar_path and self.data.packed.are_there()
            if is_taken or has_stayed:  # a sidecar that two clips share, or a packed one
                away.unlink()
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(away, place)
        places = parse_json((change.directory / "change.json").read_bytes()).get("places", {})
        for split in held.splits():
            path = self.data.manifest_path(split)
            lines = _lines(path)
            if _lines_of(path, clip.path):
                continue
            for line, place in zip(_lines(held.manifest_path(split)), places.get(split, []), strict=False):
                lines.insert(min(int(place), len(lines)), line)
            _write(path, b"".join(line if line.endswith(b"\n") or line is lines[-1] else line + b"\n" for line in lines))


def _facts(clip: Clip) -> dict[str, Any]:
    return {"clip": clip.path, "at": now()}


def _write(path: Path, content: bytes) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def _lines(manifest: Path) -> list[bytes]:
    """Return the lines of a manifest as they stand; none of one that is not there."""
    return manifest.read_bytes().splitlines(keepends=True) if manifest.is_file() else []


def _lines_of(manifest: Path, clip_path: str) -> list[tuple[int, bytes]]:
    """Return place and bytes of the lines of a clip."""
    return [(place, line) for place, line in enumerate(_lines(manifest)) if line.strip() and parse_json(line).get("path") == clip_path]
