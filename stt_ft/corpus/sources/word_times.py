"""Words and their times as other tools leave them beside a sound: Whisper's and whisperX's JSON, TextGrids, CTM, Lhotse's alignments.

    NAME.json       openai-whisper with --word_timestamps True, whisper-timestamped, stable-ts, whisperX
    NAME.TextGrid   Praat, the Montreal Forced Aligner: the tier called "words" (or "SPEAKER - words")
    NAME.ctm        NIST's format, as Kaldi and NeMo write it: file, channel, start, duration, word

A word without a time is never given one: such a clip comes without words, with its text where the tool tells it, and `annotate` finds them.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stt_ft.dataset.sidecar import Word

NO_WORDS = frozenset({"", "<eps>", "sil", "sp", "spn", "<sil>", "!sil"})
"""What aligners write where nothing is said."""

_FREE = re.compile(r'"((?:[^"]|"")*)"|(?<!\S)([-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)(?!\S)')
"""A text or a number of a TextGrid. Praat reads those that stand free, and takes all else (`xmin =`, `intervals [1]:`) for remarks."""


@dataclass(frozen=True, kw_only=True)
class TimedWords:
    """What a tool says about a sound.

    Attributes:
        tool: its name, for the sidecar's provenance.
        words: the words with their times, in order; empty where they cannot be relied on, for which `notice` has the reason.
        text: all that was said, where the tool tells it.
        channel: the channel of the sound that the words are of, counted from 0, where the tool tells it.
    """

    tool: str
    words: tuple[Word, ...] = ()
    text: str | None = None
    channel: int | None = None
    notice: str = ""


def words_beside(files: Mapping[str, bytes], name: str) -> TimedWords | None:
    """Return what NAME.TextGrid or else NAME.ctm says, None where there is neither; raises `ValueError` that begins with the suffix.

    `files` are those beside a sound, suffix -> content; `name` is the sound's, without suffix.
    """
    for suffix, read in ((".TextGrid", _read_textgrid), (".ctm", _read_ctm)):
        if suffix in files:
            try:
                return read(files[suffix], name)
            except ValueError as error:
                raise ValueError(f"{suffix}: {error}") from None
    return None


def is_transcript(value: Any) -> bool:
    """Whether the JSON `value` is what Whisper or one of its kin writes, and no sidecar."""
    return isinstance(value, dict) and isinstance(value.get("segments"), list) and "alignments" not in value


def transcript_words(value: dict[str, Any]) -> TimedWords:
    """Return the words of a transcript by Whisper or whisperX; raises `ValueError` where it is malformed or several people speak."""
    segments = [segment for segment in value["segments"] if isinstance(segment, dict)]
    entries = [entry for segment in segments for entry in segment.get("words") or [] if isinstance(entry, dict)]
    tool = "whisperx" if "word_segments" in value else "whisper"
    text = value.get("text")
    if not isinstance(text, str):
        text = " ".join(str(segment.get("text", "")).strip() for segment in segments)
    speakers = {str(one["speaker"]) for one in (*segments, *entries) if one.get("speaker") is not None}
    if len(speakers) > 1:
        raise ValueError(f"{len(speakers)} people speak ({', '.join(sorted(speakers))}); cut the sound so that each clip has one")
    told: list[tuple[str, Any, Any]] = []
    for entry in entries:
        name = str(entry.get("word", entry.get("text", "")))
        if told and told[-1][0].startswith(" ") and not (name[:1].isalnum() or name[:1].isspace()):  # Whisper: " ill", "-disposed"
            told[-1] = (told[-1][0] + name, told[-1][1], entry.get("end"))
        else:
            told.append((name, entry.get("start"), entry.get("end")))
    return _relied_on(tool, told, text=" ".join(text.split()) or None)


def alignment_words(items: Sequence[Any], *, cut_start_s: float) -> Iterator[tuple[str, Any, Any]]:
    """Yield the words of a Lhotse alignment as (text, start, end) from the start of the cut: Lhotse counts from that of the recording.

    (lhotse 1.33, `supervision.py`: "start time (w.r.t. the start of recording)", and `with_offset` leaves alignments as they are.)
    """
    for item in items:
        try:
            text, begin_s, length_s = item[:3] if isinstance(item, list) else (item["symbol"], item["start"], item["duration"])
            yield str(text), float(begin_s) - cut_start_s, float(begin_s) + float(length_s) - cut_start_s
        except (KeyError, TypeError, ValueError):
            raise ValueError(f"{str(item)[:60]} is no word alignment") from None


def lhotse_words(said: Sequence[dict[str, Any]], *, cut_start_s: float) -> TimedWords:
    """Return the words of all supervisions of a cut; none where one of them has no alignment. Raises `ValueError` for a malformed one."""
    told: list[tuple[str, Any, Any]] = []
    for entry in said:
        alignment = entry.get("alignment")
        items = alignment.get("word") if isinstance(alignment, dict) else None
        if not isinstance(items, list) or not items:
            return TimedWords(tool="lhotse")
        told += alignment_words(items, cut_start_s=cut_start_s)
    return _relied_on("lhotse", told)


def _relied_on(tool: str, told: Sequence[tuple[str, Any, Any]], *, text: str | None = None, channel: int | None = None) -> TimedWords:
    """Return the words that a tool told as (text, start, end); none of them where one has no time, or times that cannot be."""
    words: list[Word] = []
    for name, start_s, end_s in told:
        if name.strip().lower() in NO_WORDS:
            continue
        is_timed = all(isinstance(time_s, (int, float)) and not isinstance(time_s, bool) for time_s in (start_s, end_s))
        fault = ""
        if not is_timed:
            fault = "has no time"
        elif not start_s < end_s < 1e7 or (words and start_s < words[-1].start_s):
            fault = f"lies at {start_s:.2f}-{end_s:.2f} s"
        elif name.strip() == "<unk>" or len(name.split()) > 1:
            fault = "is no single word"
        if fault:
            return TimedWords(tool=tool, text=text, channel=channel, notice=f"its word {name.strip()[:60]!r} {fault}")
        words.append(Word(text=name.strip(), start_s=float(start_s), end_s=float(end_s)))
    return TimedWords(tool=tool, words=tuple(words), text=text, channel=channel, notice="" if words else "it has no words with times")


def _read_ctm(content: bytes, audio_name: str) -> TimedWords:
    told: list[tuple[str, float, float]] = []
    channels: set[str] = set()
    for number, line in enumerate(content.decode("utf-8-sig").splitlines(), start=1):
        if not line.strip() or line.startswith(";;"):
            continue
        try:
            name, channel, begin_s, length_s, word, *_ = line.split()
            told.append((word, float(begin_s), float(begin_s) + float(length_s)))
        except ValueError:
            raise ValueError(f"line {number}: expected file, channel, start, duration and word, got {line[:60]!r}") from None
        if name != audio_name:
            raise ValueError(f"line {number} is about {name!r}, another file than this one")
        channels.add(channel)
    if len(channels) > 1:
        raise ValueError(f"its words are of the channels {', '.join(sorted(channels))}; a clip has the words of one")
    channel = {"1": 0, "A": 0, "2": 1, "B": 1}.get("".join(channels).upper())
    return _relied_on("ctm", sorted(told, key=lambda one: one[1]), channel=channel)


def _read_textgrid(content: bytes, _name: str) -> TimedWords:
    """Read the words tier of a TextGrid in either of Praat's text formats (praat.org, "TextGrid file formats")."""
    is_utf_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    values = _free_values(content.decode("utf-16" if is_utf_16 else "utf-8-sig"))
    tiers: dict[str, list[tuple[str, float, float]]] = {}
    try:
        kind, what = next(values), next(values)
        if (kind, what) != ("ooTextFile", "TextGrid"):
            raise ValueError("no TextGrid in a text format")
        _, _, num_tiers = (float(next(values)) for _ in range(3))
        for _ in range(int(num_tiers)):
            kind, name = next(values), next(values)
            _, _, size = (float(next(values)) for _ in range(3))
            if kind == "IntervalTier":
                spans = [(float(next(values)), float(next(values)), next(values)) for _ in range(int(size))]
                tiers[name] = [(text, start_s, end_s) for start_s, end_s, text in spans]
            else:
                for _ in range(2 * int(size)):
                    next(values)
    except StopIteration:
        raise ValueError("it ends in the middle of a tier") from None
    names = [name for name in tiers if name.lower() in ("word", "words") or name.lower().endswith(" - words")]
    if len(names) > 1:
        raise ValueError(f"several people speak: the tiers {', '.join(names)}; cut the sound so that each clip has one")
    if not names:
        return TimedWords(tool="textgrid", notice=f"no tier is called words; it has {', '.join(tiers) or 'none'}")
    return _relied_on("textgrid", tiers[names[0]])


def _free_values(text: str) -> Iterator[str]:
    for match in _FREE.finditer(text):
        yield match[1].replace('""', '"') if match[1] is not None else match[2]
