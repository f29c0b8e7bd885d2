"""A clip as another corpus describes it, and the text files in which corpora do."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stt_ft.core.errors import DatasetError
from stt_ft.core.json_yaml import parse_json
from stt_ft.core.manifest import Sidecar


@dataclass(frozen=True, kw_only=True)
class SourceClip:
    """One clip as its corpus describes it; nothing of it has been read or checked.

    Attributes:
        clip_id: unique in the corpus.
        audio: the sound file it is, or is a part of.
        start_s: where it begins in the file.
        duration_s: how long it lasts; None to the end of the file.
        channel: channel of the file; None averages them.
        script: what is said, where that is known.
        sidecar: what is known of its words already, kept as it is.
        split: where the corpus puts it, None where it does not say.
        extra: keys for the manifest: speaker, prompt_id …
        fault: why it cannot be taken, where the corpus itself already shows that.
    """

    clip_id: str
    audio: Path
    start_s: float = 0.0
    duration_s: float | None = None
    channel: int | None = None
    script: str | None = None
    sidecar: Sidecar | None = None
    split: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    fault: str = ""

    @property
    def is_whole_file(self) -> bool:
        return self.start_s == 0 and self.duration_s is None and self.channel is None


def json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, object) of a JSON-lines file, gzipped or not; raises `DatasetError` by line for anything else."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise DatasetError(f"{path}: cannot be read ({error})") from None
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            entry = parse_json(line)
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
            raise DatasetError(f"{path}, line {number}: not JSON") from None
        except ValueError as error:
            raise DatasetError(f"{path}, line {number}: {error}") from None
        if not isinstance(entry, dict):
            raise DatasetError(f"{path}, line {number}: expected an object, got {type(entry).__name__}")
        yield number, entry


def split_named(name: str) -> str | None:
    """Return this program's name for the split that a corpus calls `name`; None for anything that is no split."""
    return {"train": "train", "dev": "dev", "valid": "dev", "validation": "dev", "test": "heldout", "heldout": "heldout"}.get(name.lower())


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
