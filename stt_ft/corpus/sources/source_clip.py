"""A clip as another corpus describes it, and what stands beside its sound: the script, a sidecar, the words and times of another tool.

The readers of the formats put these together; `corpus/importing.py` takes them into a dataset.
"""

from __future__ import annotations

import collections
import contextlib
import gzip
import json
import math
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from stt_ft.core.errors import AudioError, DatasetError
from stt_ft.core.json_yaml import parse_json
from stt_ft.core.storage import Piece, is_local, read_many
from stt_ft.corpus.sources.word_times import TimedWords, is_transcript, transcript_words, words_beside
from stt_ft.dataset.manifest import INSIDE, SYNTHETIC, Clip, speaker_name
from stt_ft.dataset.sidecar import Sidecar
from stt_ft.text.written_style import scoring_words

BESIDE = (".txt", ".lab", ".json", ".TextGrid", ".ctm")
"""Suffixes of the files beside a sound that tell of it."""

RECORD = "stt_ft"
"""Key under which `stt-ft archive` keeps a clip whole, beside what other programs read (`record_of`)."""

INDEX = "shards.json"
"""File in which `stt-ft archive` says what it has written, and in which language it is."""

_PLACED = frozenset(("path", "duration", "script", INSIDE, RECORD))
"""Keys of a manifest's line that mean something else than what a corpus calls so."""

_HTK_TIMES = re.compile(r"\d+\s+\d+\s+\S")


@dataclass(frozen=True, kw_only=True)
class HeldPiece(Piece):
    """A sound of an archive whose bytes are at hand, so that nobody asks the archive for them again while the clip is taken.

    `stays` says whether the sound can be read where it lies: not in a compressed archive.
    """

    content: bytes = field(default=b"", repr=False, compare=False)
    stays: bool = True

    @classmethod
    def of(cls, piece: Piece) -> HeldPiece:
        """Fetch a piece; raises `AudioError` where the archive is another than it was."""
        held = {one.name: getattr(piece, one.name) for one in fields(Piece)}
        return cls(**held, content=Piece.read_bytes(piece))

    def read_bytes(self) -> bytes:
        return self.content


@dataclass(frozen=True, kw_only=True)
class SourceClip:
    """One clip as its corpus describes it; nothing of it has been read or checked.

    Attributes:
        clip_id: unique in the corpus.
        audio: the sound file or member of an archive that it is, or is a part of.
        start_s: where it begins in the file.
        duration_s: how long it lasts; None to the end of the file.
        channel: channel of the file; None averages them.
        script: its text, where the corpus has one.
        sidecar: its words and times, where the corpus has them, kept as they are.
        words_by: the tool that found the words of `sidecar`; empty where there are none, and where they came in a sidecar like ours.
        notice: why words and times that the corpus has are not taken.
        split: where the corpus puts it, None where it does not say.
        extra: keys for the manifest: speaker, prompt_id …
        path: what its path is to be, where the corpus is an archive of a dataset of ours; `extra` is all of its line then.
        fault: why it cannot be taken, where the corpus itself already shows that.
    """

    clip_id: str
    audio: Path | HeldPiece
    start_s: float = 0.0
    duration_s: float | None = None
    channel: int | None = None
    script: str | None = None
    sidecar: Sidecar | None = None
    words_by: str = ""
    notice: str = ""
    split: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    path: str = ""
    fault: str = ""

    @property
    def is_whole_file(self) -> bool:
        return self.start_s == 0 and self.duration_s is None and self.channel is None

    @property
    def origin(self) -> str:
        """The file that the sound is, or lies in."""
        file = self.audio.archive if isinstance(self.audio, Piece) else self.audio
        return str(file.resolve()) if is_local(file) else str(file)

    def told_by(self, beside: Mapping[str, bytes], stem: str) -> SourceClip:
        """Return the clip with what the files beside its sound tell, suffix of `BESIDE` -> content; a malformed one is the clip's fault.

        `stem` is what they are called without suffix, for messages.
        """
        clip, at = replace(self, script=as_text(self.extra.get("script"))), ""
        try:
            timed = words_beside(beside, PurePosixPath(stem).name)
            for at in (".txt", ".lab"):
                if at in beside:
                    clip = replace(clip, script=as_text(beside[at].decode("utf-8-sig")))
                    if at == ".lab" and _HTK_TIMES.match(clip.script or ""):
                        raise ValueError("a label file of HTK with times; expected a text")
                    break
            at = ".json"
            if at in beside:
                value = parse_json(beside[at])
                if is_transcript(value):
                    timed = timed or _of_script(transcript_words(value), clip.script)
                    clip = replace(clip, script=clip.script or timed.text)
                elif isinstance(value, dict) and RECORD in value:
                    return clip.recorded(value[RECORD])
                else:
                    clip = _with_json(clip, value)
        except (ValueError, RecursionError) as error:
            return replace(clip, fault=f"{stem}{f'{at}: ' if at else ''}{error}")
        return clip if timed is None or (clip.sidecar is not None and clip.sidecar.alignments) else clip.with_words(timed)

    def recorded(self, record: Any) -> SourceClip:
        """Return the clip as `stt-ft archive` wrote it down (`record_of`); raises `ValueError` for anything else."""
        line: Any = record.get("clip") if isinstance(record, dict) else None
        path = line.get("path") if isinstance(line, dict) else None
        if not isinstance(path, str) or not path or any(part.startswith(".") for part in PurePosixPath(path).parts):
            raise ValueError(f'{RECORD} must be {{"clip": {{"path": …}}, "sidecar": …}}, got {str(record)[:60]}')
        told = record.get("sidecar")
        sidecar = Sidecar() if told is None else Sidecar.from_json(told)
        extra = {key: value for key, value in line.items() if key not in ("path", "duration", INSIDE)}
        return replace(
            self, clip_id=path.removeprefix("audio/"), path=path, extra=extra, sidecar=sidecar, script=sidecar.script,
            words_by=sidecar.words_by,
        )  # fmt: skip

    def with_words(self, timed: TimedWords) -> SourceClip:
        """Return the clip with the words, times and channel that a tool tells."""
        sidecar = replace(self.sidecar or Sidecar(), alignments=timed.words) if timed.words else self.sidecar
        notice = f"{timed.tool}: {timed.notice}: no times are taken; `stt-ft annotate` finds them" if timed.notice else ""
        channel = timed.channel if self.channel is None else self.channel
        return replace(self, sidecar=sidecar, words_by=timed.tool if timed.words else "", notice=notice, channel=channel)


def record_of(clip: Clip, sidecar: Sidecar | None) -> dict[str, Any]:
    """Return all that a dataset knows of a clip, for an archive; `SourceClip.recorded` reads it."""
    line = {key: value for key, value in clip.to_json().items() if key != INSIDE}
    return {"clip": line, "sidecar": None if sidecar is None else sidecar.to_json()}


def or_fault(clip_id: str, audio: Path | HeldPiece, read: Callable[..., SourceClip], *told: Any) -> SourceClip:
    """Return the clip that `read` makes of what is `told` of it, or, where that is malformed, one that says so."""
    try:
        return read(*told)
    except (AudioError, DatasetError, ValueError, RecursionError) as error:
        return SourceClip(clip_id=clip_id, audio=audio, fault=str(error))


def files_beside(audio: Path) -> dict[str, bytes]:
    """Return the files beside a sound that tell of it, suffix of `BESIDE` -> content."""
    paths = {suffix: path for suffix in BESIDE if not is_local(path := audio.with_suffix(suffix)) or path.is_file()}
    contents = read_many(list(paths.values()))
    return {suffix: content for suffix, content in zip(paths, contents, strict=True) if content is not None}


def _with_json(clip: SourceClip, value: Any) -> SourceClip:
    """Return the clip with the sidecar `value` and its keys that are of use in a manifest; raises `ValueError` for a malformed one."""
    if isinstance(value, dict) and isinstance(value.get("transcript"), str):
        value.setdefault("text", value["transcript"])
    sidecar = Sidecar.from_json(value)
    told = {"speaker": speaker_name(value.get("speaker")), **{key: value.get(key) for key in ("text", "kind", "prompt_id")}}
    extra = clip.extra | {key: one for key, one in told.items() if isinstance(one, str)}
    if sidecar.extra.get(SYNTHETIC) is True:
        extra[SYNTHETIC] = True
    if not sidecar.script or sidecar.script == extra.get("text"):
        script = extra.pop("text", None) or clip.script
    else:
        script = sidecar.script
    return replace(clip, sidecar=sidecar, script=as_text(script), words_by=sidecar.words_by, extra=extra)


def _of_script(timed: TimedWords, script: str | None) -> TimedWords:
    """Return what a recogniser heard, without its words where a script says that others were said."""
    if script is None or timed.text is None or scoring_words(script) == scoring_words(timed.text):
        return timed
    return replace(timed, words=(), notice=f"it heard {timed.text[:60]!r}, and the script is {script[:60]!r}")


def kept(told: Mapping[Any, Any]) -> dict[str, Any]:
    """Return what a corpus tells of a clip beyond what has a place here, as far as a manifest's line can hold it."""
    return {
        key: value
        for key, value in told.items()
        if isinstance(key, str)
        and key not in _PLACED
        and (isinstance(value, (str, int)) or (isinstance(value, float) and math.isfinite(value)))
    }


def as_text(value: Any) -> str | None:
    """Return a text without space around it, None for an empty one and for anything else."""
    return (value.strip() or None) if isinstance(value, str) else None


def json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, object) of a JSON-lines file, gzipped or not; raises `DatasetError` by line for anything else."""
    try:
        with contextlib.ExitStack() as opened:
            file: IO[bytes] = opened.enter_context(path.open("rb"))
            lines = cast("IO[bytes]", opened.enter_context(gzip.open(file))) if path.suffix == ".gz" else file
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    try:
                        entry = _object(line, f"{path}, line {number}")
                    except DatasetError:
                        collections.deque(lines, maxlen=0)  # a gzip file that is damaged says so at the place, or at its end
                        raise
                    yield number, entry
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{path}: cannot be read ({error})") from None


def _object(line: bytes, where: str) -> dict[str, Any]:
    try:
        entry = parse_json(line)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        raise DatasetError(f"{where}: not JSON") from None
    except ValueError as error:
        raise DatasetError(f"{where}: {error}") from None
    if not isinstance(entry, dict):
        raise DatasetError(f"{where}: expected an object, got {type(entry).__name__}")
    return entry


def seconds(value: Any, *, what: str, where: str) -> float:
    """Return `value` as seconds, not negative; raises `DatasetError` saying `where` for anything else."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = -1.0
    if not 0 <= number < 1e7:
        raise DatasetError(f"{where}: {what} must be seconds, got {value!r}")
    return number


def text_or_none(value: Any, *, what: str, where: str) -> str | None:
    """Return a text as it is, None for none; raises `DatasetError` saying `where` for anything else."""
    if value is None or isinstance(value, str):
        return value
    raise DatasetError(f"{where}: {what} must be a text, got {value!r}")
