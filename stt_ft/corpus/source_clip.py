"""A clip as another corpus describes it, and what stands beside its sound: the script, a sidecar, the words and times of another tool.

The readers of the formats (`corpus/formats.py`) put these together; `corpus/importing.py` takes them into a dataset.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stt_ft.core.errors import DatasetError
from stt_ft.core.json_yaml import parse_json
from stt_ft.core.manifest import SYNTHETIC, Sidecar, speaker_name
from stt_ft.corpus.word_times import TimedWords, is_transcript, transcript_words, words_beside
from stt_ft.text.written_style import scoring_words

_HTK_TIMES = re.compile(r"\d+\s+\d+\s+\S")


@dataclass(frozen=True, kw_only=True)
class SourceClip:
    """One clip as its corpus describes it; nothing of it has been read or checked.

    Attributes:
        clip_id: unique in the corpus.
        audio: the sound file it is, or is a part of.
        start_s: where it begins in the file.
        duration_s: how long it lasts; None to the end of the file.
        channel: channel of the file; None averages them.
        script: its text, where the corpus has one.
        sidecar: its words and times, where the corpus has them, kept as they are.
        words_by: the tool that found the words of `sidecar`; empty where there are none, and where they came in a sidecar like ours.
        notice: why words and times that the corpus has are not taken.
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
    words_by: str = ""
    notice: str = ""
    split: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    fault: str = ""

    @property
    def is_whole_file(self) -> bool:
        return self.start_s == 0 and self.duration_s is None and self.channel is None

    def with_words(self, timed: TimedWords) -> SourceClip:
        """Return the clip with the words, times and channel that a tool tells."""
        sidecar = replace(self.sidecar or Sidecar(), alignments=timed.words) if timed.words else self.sidecar
        notice = f"{timed.tool}: {timed.notice}: no times are taken; `stt-ft annotate` finds them" if timed.notice else ""
        channel = timed.channel if self.channel is None else self.channel
        return replace(self, sidecar=sidecar, words_by=timed.tool if timed.words else "", notice=notice, channel=channel)


def or_fault(clip_id: str, audio: Path, read: Callable[..., SourceClip], *told: Any) -> SourceClip:
    """Return the clip that `read` makes of what is `told` of it, or, where that is malformed, one that says so."""
    try:
        return read(*told)
    except (DatasetError, ValueError) as error:
        return SourceClip(clip_id=clip_id, audio=audio, fault=str(error))


def clip_beside(audio: Path, clip_id: str, *, extra: dict[str, Any], split: str | None = None) -> SourceClip:
    """Put a clip together from a sound file and the files beside it; a malformed file among them is the clip's fault."""
    clip = SourceClip(clip_id=clip_id, audio=audio, script=as_text(extra.get("script")), extra=extra, split=split)
    json_path = audio.with_suffix(".json")
    texts = [path for path in (audio.with_suffix(".txt"), audio.with_suffix(".lab")) if path.is_file()]
    try:
        timed = words_beside(audio)
        if texts:
            path = texts[0]
            clip = replace(clip, script=as_text(path.read_text(encoding="utf-8-sig")))
            if path.suffix == ".lab" and _HTK_TIMES.match(clip.script or ""):
                raise ValueError("a label file of HTK with times; expected a text")
        if json_path.is_file():
            path = json_path
            value = parse_json(json_path.read_bytes())
            if is_transcript(value):
                timed = timed or _of_script(transcript_words(value), clip.script)
                clip = replace(clip, script=clip.script or timed.text)
            else:
                clip = _with_json(clip, value)
    except (ValueError, RecursionError) as error:
        told = str(error)
        return replace(clip, fault=told if told.startswith(str(audio.parent)) else f"{path}: {told}")
    return clip if timed is None or (clip.sidecar is not None and clip.sidecar.alignments) else clip.with_words(timed)


def _with_json(clip: SourceClip, value: Any) -> SourceClip:
    """Return the clip with the sidecar `value` and its keys that are of use in a manifest; raises `ValueError` for a malformed one."""
    if isinstance(value, dict) and isinstance(value.get("transcript"), str):
        value.setdefault("text", value["transcript"])
    sidecar = Sidecar.from_json(value)
    told = {"speaker": speaker_name(value.get("speaker")), **{key: value.get(key) for key in ("text", "kind", "prompt_id")}}
    extra = clip.extra | {key: one for key, one in told.items() if isinstance(one, str)}
    if sidecar.extra.get(SYNTHETIC) is True:
        extra[SYNTHETIC] = True
    script = sidecar.script or extra.pop("text", None) or clip.script
    return replace(clip, sidecar=sidecar, script=as_text(script), words_by=sidecar.words_by, extra=extra)


def _of_script(timed: TimedWords, script: str | None) -> TimedWords:
    """Return what a recogniser heard, without its words where a script says that others were said."""
    if script is None or timed.text is None or scoring_words(script) == scoring_words(timed.text):
        return timed
    return replace(timed, words=(), notice=f"it heard {timed.text[:60]!r}, and the script is {script[:60]!r}")


def as_text(value: Any) -> str | None:
    """Return a text without space around it, None for an empty one and for anything else."""
    return (value.strip() or None) if isinstance(value, str) else None


def json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, object) of a JSON-lines file, gzipped or not; raises `DatasetError` by line for anything else."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
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
