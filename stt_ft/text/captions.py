"""Subtitles from words with times: captions short enough to read, and the SubRip format that players take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stt_ft.dataset.sidecar import Word

MAX_CHARACTERS = 42
"""Characters of a caption: one line of a subtitle (Netflix's and the BBC's limits are 42 and 37)."""

MAX_CAPTION_S = 6.0
MAX_GAP_S = 0.8
"""Silence between two words from which the second begins a new caption, in seconds."""

MIN_SHOWN_S = 0.7
"""A caption stays this long, unless the next one comes."""


@dataclass(frozen=True, kw_only=True)
class Caption:
    """A line of subtitles and when it is shown, in seconds."""

    text: str
    start_s: float
    end_s: float


def captions(words: Sequence[Word]) -> list[Caption]:
    """Gather `words`, which are in order of time, into captions that never overlap."""
    lines: list[list[Word]] = []
    for word in words:
        if not lines or _begins_anew(lines[-1], word):
            lines.append([])
        lines[-1].append(word)
    made = []
    for index, line in enumerate(lines):
        start_s = line[0].start_s
        next_start_s = lines[index + 1][0].start_s if index + 1 < len(lines) else float("inf")
        end_s = min(max(max(word.end_s for word in line), start_s + MIN_SHOWN_S), max(next_start_s, start_s))
        made.append(Caption(text=" ".join(word.text for word in line), start_s=start_s, end_s=end_s))
    return made


def to_srt(lines: Sequence[Caption]) -> str:
    """Return captions as a SubRip file."""
    return "".join(f"{number}\n{_clock(line.start_s)} --> {_clock(line.end_s)}\n{line.text}\n\n" for number, line in enumerate(lines, 1))


def _begins_anew(line: Sequence[Word], word: Word) -> bool:
    num_characters = sum(len(one.text) + 1 for one in line) + len(word.text)
    is_late = word.start_s - line[-1].end_s > MAX_GAP_S or word.end_s - line[0].start_s > MAX_CAPTION_S
    return num_characters > MAX_CHARACTERS or is_late


def _clock(time_s: float) -> str:
    milliseconds = round(time_s * 1000)
    minutes, seconds = divmod(milliseconds // 1000, 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02},{milliseconds % 1000:03}"
