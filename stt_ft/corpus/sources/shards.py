"""Sharded archives: where their shards are, a tar read once from front to back, and the clips of WebDataset's tars.

    shards/train-000000.tar                    a shard, a folder of them, `shards/train-{000000..000011}.tar`, `s3://bucket/shards`
    KEY.wav KEY.json KEY.txt                   members of a WebDataset; those of one key stand together

Sound that can be used as it is stays in its tar: a clip then says where it lies there. Nothing of a tar is kept but the clip at hand and
the places of those whose files stand apart.
"""

from __future__ import annotations

import lzma
import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from stt_ft.audio.files import AUDIO_SUFFIXES
from stt_ft.core.errors import DatasetError
from stt_ft.core.progress import say
from stt_ft.core.storage import answered, is_url, kind_of, place
from stt_ft.corpus.sources.source_clip import BESIDE, HeldPiece, SourceClip, or_fault

TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")

_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("dev", "valid", "validation", "val"), "dev"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation", "heldout"), "heldout"),
}

_TOLD_BY = {suffix.lower(): suffix for suffix in BESIDE} | {".text": ".txt", ".transcript": ".txt"}
"""Suffix of a member, in small letters -> what it is called beside a file of sound."""

_BRACES = re.compile(r"\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}")


def split_named(name: str) -> str | None:
    """Return this program's name for the split that a corpus calls `name`; None for anything that is no split."""
    return _SPLITS.get(name.lower())


def split_in(name: str) -> str | None:
    """Return the split that a word of a path tells, that of the file before those of its folders: data/train-00000-of-00012.parquet."""
    words = [word for part in reversed(PurePosixPath(name).parts) for word in re.split(r"[^a-z]+", part.lower())]
    return next(filter(None, map(split_named, words)), None)


def shards(source: Path, suffixes: tuple[str, ...]) -> list[tuple[Path, str]]:
    """Return the shards that `source` names, each with its name below it: a folder, a shard, a pattern, or a list (.txt, one a line).

    A pattern has `*`, `?` or `[0-9]` in its last part, or `{000..012}` or `{a,b}` anywhere.
    """
    with answered(source):
        if source.is_dir():
            found = [(path, str(path)[len(str(source)) :].strip("/")) for path in source.rglob("*") if path.name.endswith(suffixes)]
            return sorted((one for one in found if not _is_hidden(one[1]) and kind_of(one[0]) == "file"), key=lambda one: one[1])
        if source.suffix == ".txt" and source.is_file():
            lines = source.read_text(encoding="utf-8-sig").split("\n")
            paths = [place(line) if is_url(line) else source.parent / line for line in map(str.strip, lines) if line]
        else:
            paths = [path for one in _unfolded(str(source)) for path in _matches(place(one))]
        missing = [path for path in paths if kind_of(path) != "file"]
    if missing:
        raise DatasetError(f"{missing[0]}: no such file or directory")
    return [(path, path.name) for path in paths]


def _unfolded(pattern: str) -> Iterator[str]:
    """Yield what a pattern with braces stands for."""
    match = _BRACES.search(pattern)
    if match is None:
        yield pattern
        return
    first, last, words = match.groups()
    options = words.split(",") if words is not None else [f"{n:0{len(first)}d}" for n in range(int(first), int(last) + 1)]
    for option in options:
        yield from _unfolded(pattern[: match.start()] + option + pattern[match.end() :])


def _matches(path: Path) -> list[Path]:
    if path.is_file() or not any(mark in path.name for mark in "*?["):
        return [path]
    return sorted(path.parent.glob(path.name)) or [path]


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in PurePosixPath(name).parts)


# --- A tar, from front to back --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Member:
    """A file in a tar: its name, its bytes, and where they begin (None in a compressed tar, and where they do not lie in one piece)."""

    name: str
    content: bytes
    offset: int | None

    def piece(self, archive: Path) -> HeldPiece:
        size, stays = len(self.content), self.offset is not None
        return HeldPiece(archive=archive, name=self.name, offset=self.offset, size=size, content=self.content, stays=stays)


class _Header(tarfile.TarInfo):
    """A header that says what is wrong with it: tarfile takes a damaged one behind the first for the end of the archive."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> tarfile.TarInfo:
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.HeaderError as error:
            if type(error).__name__ == "EOFHeaderError":  # the block of zeros at the end
                raise
            raise tarfile.ReadError(str(error)) from None


def members(archive: Path) -> Iterator[Member]:
    """Yield the files of a tar, compressed or not, in their order; hidden ones are passed over.

    Raises:
        DatasetError: what follows cannot be read, when the files before have been yielded.
    """
    with answered(archive), archive.open("rb") as file:
        is_plain = file.read(512)[257:262] == b"ustar"
        file.seek(0)
        if not is_plain:
            say(f"{archive}: compressed, or a tar of an old kind: its clips have no place of their own in it, and are copied")
        try:
            with tarfile.open(fileobj=file, mode="r|*", tarinfo=_Header) as tar:
                for header in tar:
                    vars(tar)["members"] = []  # it would keep them all
                    name = header.name.removeprefix("./")
                    content = tar.extractfile(header) if header.isreg() and not _is_hidden(name) else None
                    if content is not None:
                        stays = is_plain and not header.issparse()
                        readable = name.encode(errors="surrogateescape").decode(errors="replace")
                        yield Member(name=readable, content=content.read(), offset=header.offset_data if stays else None)
                rest = tar.fileobj
                while rest is not None and (block := rest.read(1 << 20)):
                    if block.strip(b"\0"):
                        raise tarfile.ReadError("more follows behind its end: tars put together with `cat`?")
        except (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
            reason = " ".join(str(error).split())
            raise DatasetError(f"{archive}: damaged or cut short ({reason}); what lies behind that place is left out") from None


# --- WebDataset -----------------------------------------------------------------------------------------------------------------------


def read_webdataset(source: Path) -> Iterator[SourceClip]:
    """Yield the clips of a WebDataset: KEY.wav (or another sound) and what the files of the same key tell, as beside a file of sound.

    Keys count anew in every shard, so that a clip's id begins with its shard's name.
    """
    for archive, name in shards(source, TARS):
        stem = name[: -len(next(suffix for suffix in TARS if name.endswith(suffix)))] if name.endswith(TARS) else name
        for clip in _shard_clips(archive):
            yield replace(clip, clip_id=clip.clip_id if clip.path else f"{stem}/{clip.clip_id}", split=split_in(name))


def _shard_clips(archive: Path) -> Iterator[SourceClip]:
    """Yield the clips of one tar: first those whose files stand together, then those whose files stand apart, paired by name."""
    sounds: dict[str, HeldPiece] = {}
    texts: dict[str, dict[str, bytes]] = {}
    has_texts, damage = False, ""
    try:
        for group in _groups(members(archive)):
            found = [file for file in group if _suffix(file.name) in AUDIO_SUFFIXES]
            told: dict[str, dict[str, bytes]] = {}
            for file in group:
                if (suffix := _TOLD_BY.get(_suffix(file.name))) is not None:
                    told.setdefault(_stem(file.name), {})[suffix] = file.content
            has_texts |= bool(told)
            key = _key(group[0].name)
            shared = told.pop(key, None) if found and all(_stem(sound.name) != key for sound in found) else None
            for sound in found:
                stem, piece = _stem(sound.name), sound.piece(archive)
                beside = told.pop(stem, None) or (shared if len(found) == 1 else None)
                if beside is None and shared:
                    fault = f"{archive}: {len(found)} sounds have the key {key!r}, and which of them its text is of cannot be known"
                    yield SourceClip(clip_id=stem, audio=piece, fault=fault)
                elif beside is None and piece.stays:
                    sounds[stem] = replace(piece, content=b"")
                else:
                    yield SourceClip(clip_id=stem, audio=piece).told_by(beside or {}, f"{archive}/{stem}")
            texts |= told
    except DatasetError as error:
        damage = str(error)
        yield SourceClip(clip_id=archive.name, audio=archive, fault=damage)
    for stem, piece in sounds.items():
        if damage and has_texts and stem not in texts:
            yield SourceClip(clip_id=stem, audio=piece, fault=f"{archive}: what tells of {piece.name} may lie behind the damage")
        else:
            yield or_fault(stem, piece, _told_apart, stem, piece, texts.pop(stem, {}))
    for stem, beside in texts.items():
        names = ", ".join(f"{stem}{suffix}" for suffix in beside)
        yield SourceClip(
            clip_id=stem, audio=archive, fault=f"{archive}: {names}: apart from a sound of this name, or without one; not read"
        )


def _told_apart(stem: str, piece: HeldPiece, beside: dict[str, bytes]) -> SourceClip:
    return SourceClip(clip_id=stem, audio=HeldPiece.of(piece)).told_by(beside, f"{piece.archive}/{stem}")


def _groups(files: Iterable[Member]) -> Iterator[list[Member]]:
    """Yield the members that stand together and have one key: all before the first dot of the file's name (`webdataset.tariterators`)."""
    group: list[Member] = []
    try:
        for file in files:
            if group and _key(file.name) != _key(group[0].name):
                yield group
                group = []
            group.append(file)
    except DatasetError as error:
        raise DatasetError(f"{error}; and so is {group[0].name} before it, of which more may follow" if group else str(error)) from None
    if group:
        yield group


def _key(name: str) -> str:
    folder, slash, file = name.rpartition("/")
    return folder + slash + file.partition(".")[0]


def _stem(name: str) -> str:
    return name[: len(name) - len(_suffix(name))]


def _suffix(name: str) -> str:
    """Return the last suffix of a name in small letters; webdataset takes no notice of capitals."""
    return PurePosixPath(name).suffix.lower()
