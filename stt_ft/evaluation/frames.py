"""frames.jsonl: the outputs of each model for each clip, frame by frame. Every figure of a report is computed from this file alone.

One line a clip and model (times in seconds of the clip; row t of `pause` is what the server would have sent after frame t):

    {"model": "tuned", "clip": "audio/x.wav", "frame_s": 0.08, "text_tokens": [3, …], "words": [["order", 0.58, 0.94, 1.12], …],
     "pause": [[p0, p1, p2, p3], …], "reference": [["order", 0.44, 0.71], …], "number_spans": [[2.1, 5.9]], "speech_end_s": 5.9,
     "duration_s": 7.5, "kind": "number", "speaker": "en-gb+m2"}

A word is its text, start, end and the time it appeared. `kind` is "number" or "ordinary". Optional keys: from the manifest, `speaker`,
`manner` ("natural" or "hesitant": how the number was dictated) and `voices` ("people": digits of real people, glued into numbers);
`channel` of the clip ("phone", "noise 10 dB"); `draw` (1, 2, …), of lines that hear the same clip again where the serving draws tokens;
`text_lag_s` of the model; in frames.calls.jsonl, `call_s`, the second of a long call at which the clip begins, and `silence`, the rows of
`pause` between the clip before and this one, so that the rows of a call are all there; `reply`, what an agent that flushes has in hand when
it answers ({"words": [[…]], "wait_s": 0.125}: the words sent by then, and how long the flush took); `classes`, the heads' probabilities of
the classes 1 and up [row][head][class - 1]; and `late_s`, how long after the end of its sound a running server told of each row. A voice
activity detector writes no text, so its lines (model "silero") have no tokens and no words; its rows are 1 once there have been 0.2, 0.3,
0.5, 0.8, 1, 1.5 and 2 seconds of silence. Of a server (model "server") the tokens are not known; "expected" is what our engine says it
would tell.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from stt_ft.core.atomic import atomic_path
from stt_ft.core.errors import DatasetError
from stt_ft.core.timing import FRAME_S
from stt_ft.dataset.sidecar import Word
from stt_ft.metrics.endpointing import Turn
from stt_ft.model.words import HeardWord
from stt_ft.text.inverse.said_digits import number_runs

KINDS = ("number", "ordinary")
MANNERS = ("natural", "hesitant")
VOICES = ("people",)

_OPTIONAL = ("speaker", "manner", "voices", "channel", "draw", "text_lag_s", "call_s", "late_s")
"""Keys of a line that are left out where nothing is known."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What an agent has in hand when it answers for the first time: the words sent by then (none where it never answers).

    `wait_s` is how long its flush keeps the caller waiting, in seconds.
    """

    words: tuple[HeardWord, ...]
    wait_s: float


@dataclass(frozen=True, kw_only=True)
class ClipFrames:
    """The outputs of one model for one clip. What is not known is None.

    Attributes:
        text_tokens: one a frame; none from a voice activity detector.
        pause: the heads' pause probabilities [T, H], rounded to five decimals as on disk.
        reference: the words that were said; never empty.
        manner: how the number was dictated, one of `MANNERS`.
        voices: one of `VOICES` for a clip whose sound is made of recordings of real people; None for any other.
        channel: "phone", "noise 10 dB"; None for the recording itself.
        draw: how often the clip was heard before by a serving that draws tokens; None for the first time, of which figures are told.
        call_s: where in a long call the clip begins, in seconds of the call; None for a clip that was heard alone.
        silence: the pause probabilities [S, H] of a call between the rows of the clip before and these.
        classes: the heads' probabilities of the classes 1 and up [T, H, C - 1], where they were kept.
        reply: of an agent that flushes.
        late_s: seconds by the clock on the wall until a running server told of each row [T].
    """

    model: str
    clip: str
    kind: str
    text_tokens: tuple[int, ...]
    words: tuple[HeardWord, ...]
    pause: np.ndarray
    reference: tuple[Word, ...]
    duration_s: float
    speaker: str | None = None
    manner: str | None = None
    voices: str | None = None
    channel: str | None = None
    draw: int | None = None
    text_lag_s: float | None = None
    call_s: float | None = None
    silence: np.ndarray | None = None
    classes: np.ndarray | None = None
    reply: Reply | None = None
    late_s: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        if self.manner not in (None, *MANNERS):
            raise ValueError(f"manner must be one of {', '.join(MANNERS)}, got {self.manner!r}")
        if self.voices not in (None, *VOICES):
            raise ValueError(f"voices must be {' or '.join(VOICES)}, got {self.voices!r}")
        if not self.reference:
            raise ValueError("the reference has no words")
        if self.pause.ndim != 2 or not np.isfinite(self.pause).all():
            raise ValueError(f"pause must be rows of finite probabilities, got shape {self.pause.shape}")
        if self.text_tokens and len(self.text_tokens) != len(self.pause):
            raise ValueError(f"{len(self.text_tokens)} text tokens and {len(self.pause)} pause rows: one of each belongs to a frame")

    @cached_property
    def turn(self) -> Turn:
        """The clip as the input of a rule."""
        starts_s = [word.start_s for word in self.reference]
        return Turn(
            pause_probs=self.pause,
            first_word_start_s=min(starts_s),
            last_word_start_s=max(starts_s),
            last_word_end_s=self.speech_end_s,
            written=tuple((word.text, word.appeared_s) for word in self.words),
        )

    @property
    def speech_end_s(self) -> float:
        return max(word.end_s for word in self.reference)

    @property
    def reference_texts(self) -> list[str]:
        return [word.text for word in self.reference]

    @property
    def word_texts(self) -> list[str]:
        return [word.text for word in self.words]

    @cached_property
    def number_runs(self) -> list[tuple[int, int]]:
        """The words of the reference that dictate a number of three digits or more: first, last + 1."""
        return number_runs(self.reference_texts)

    @property
    def number_spans(self) -> list[tuple[float, float]]:
        """Where those words are, in seconds."""
        return [(self.reference[start].start_s, self.reference[stop - 1].end_s) for start, stop in self.number_runs]

    def to_json(self) -> dict[str, Any]:
        value: dict[str, Any] = {
            "model": self.model,
            "clip": self.clip,
            "frame_s": FRAME_S,
            "text_tokens": list(self.text_tokens),
            "words": _heard_rows(self.words),
            "pause": _prob_rows(self.pause),
            "reference": [timed_text(word) for word in self.reference],
            "number_spans": [[round(start_s, 4), round(end_s, 4)] for start_s, end_s in self.number_spans],
            "speech_end_s": round(self.speech_end_s, 4),
            "duration_s": round(self.duration_s, 4),
            "kind": self.kind,
        }
        optional: dict[str, Any] = {name: getattr(self, name) for name in _OPTIONAL}
        if self.silence is not None:
            optional["silence"] = _prob_rows(self.silence)
        if self.classes is not None:
            optional["classes"] = np.round(self.classes.astype(np.float64), 4).tolist()
        if self.reply is not None:
            optional["reply"] = {"words": _heard_rows(self.reply.words), "wait_s": round(self.reply.wait_s, 4)}
        return {**value, **{key: one for key, one in optional.items() if one is not None}}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> ClipFrames:
        """Read one line; raises `ValueError`, `KeyError` or `TypeError` when it is not one."""
        if value["frame_s"] != FRAME_S:
            raise ValueError(f"frame_s must be {FRAME_S}, got {value['frame_s']}")
        reply = value.get("reply")
        return cls(
            model=value["model"],
            clip=value["clip"],
            kind=value["kind"],
            text_tokens=tuple(int(token) for token in value["text_tokens"]),
            words=_heard_words(value["words"]),
            pause=_probs(value["pause"]),
            reference=tuple(Word(text=t, start_s=s, end_s=e) for t, s, e in value["reference"]),
            duration_s=float(value["duration_s"]),
            **{name: value.get(name) for name in _OPTIONAL if name != "late_s"},
            late_s=None if value.get("late_s") is None else tuple(float(late_s) for late_s in value["late_s"]),
            silence=None if value.get("silence") is None else _probs(value["silence"]),
            classes=None if value.get("classes") is None else np.array(value["classes"], dtype=np.float64),
            reply=None if reply is None else Reply(words=_heard_words(reply["words"]), wait_s=float(reply["wait_s"])),
        )


def _prob_rows(probs: np.ndarray) -> list[list[float]]:
    return np.round(probs.astype(np.float64), 5).tolist()


def _probs(rows: list[list[float]]) -> np.ndarray:
    return np.array(rows, dtype=np.float64).reshape(len(rows), -1)


def _heard_rows(words: Iterable[HeardWord]) -> list[list[Any]]:
    return [[*timed_text(word), round(word.appeared_s, 4)] for word in words]


def _heard_words(rows: Iterable[Any]) -> tuple[HeardWord, ...]:
    return tuple(HeardWord(text=t, start_s=s, end_s=e, appeared_s=a) for t, s, e, a in rows)


def timed_text(word: Word) -> list[Any]:
    """Return [text, start, end] of a word, as frames.jsonl and the report page have it."""
    return [word.text, round(word.start_s, 4), round(word.end_s, 4)]


def kind_of(reference: Iterable[str], stated: Any = None) -> str:
    """Return a clip's kind: as the manifest states it, else "number" when three digits or more are said in a row."""
    if stated in KINDS:
        return str(stated)
    return "number" if number_runs(list(reference)) else "ordinary"


def write_frames(path: Path, frames: Iterable[ClipFrames]) -> None:
    """Write `frames` to `path` as they come, whole or not at all."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for clip in frames:
            file.write(json.dumps(clip.to_json(), ensure_ascii=False, allow_nan=False) + "\n")


def read_frames(path: Path) -> list[ClipFrames]:
    """Read all of `path`; raises `DatasetError` by file and line."""
    if not path.is_file():
        raise DatasetError(f"{path}: no such file; `stt-ft evaluate` writes it")
    frames: list[ClipFrames] = []
    references: dict[str, tuple[Word, ...]] = {}  # of a clip, whose models share it
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                one = ClipFrames.from_json(json.loads(line))
            except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
                raise DatasetError(f"{path}, line {number}: not a line of frames ({type(error).__name__}: {error})") from None
            reference = references.setdefault(one.clip, one.reference)
            frames.append(replace(one, reference=reference) if reference is not one.reference and reference == one.reference else one)
    if not frames:
        raise DatasetError(f"{path}: holds no frames")
    return frames
