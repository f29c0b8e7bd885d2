"""What report.html is told of each clip: words with times, pause curves, verdicts, the outline of its sound, and what changed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stt_ft.audio.files import read_audio
from stt_ft.core.timing import frame_heard_s
from stt_ft.evaluation.figures import SLICES
from stt_ft.evaluation.frames import timed_text
from stt_ft.evaluation.scores import ClipScore
from stt_ft.metrics.endpointing import level_of
from stt_ft.metrics.transcripts import scoring_form
from stt_ft.pages.offline_page import PageSounds, outline
from stt_ft.text.digit_words import is_digit_word

VIEW_MARGIN_S = 0.8
"""Seconds drawn after the last event of a clip."""

_CHANGE_ORDER = (
    "newly cut off",
    "number newly wrong",
    "no longer cut off",
    "number newly right",
    "still cut off",
    "other words",
    "as before",
)


@dataclass(frozen=True, kw_only=True)
class PageClip:
    """One clip as the page shows it: `payload` for its script, `audio` the source of its sound (a data URI or a relative path)."""

    payload: dict[str, Any]
    audio: str


def page_clips(scores: dict[str, list[ClipScore]], *, model: str, baseline: str | None, dataset: Path, page_dir: Path) -> list[PageClip]:
    """Return the clips of a report, what changed most first.

    Args:
        scores: model -> its clips, all in the same order.
        dataset: directory that the clips' paths start from.
        page_dir: directory that the page will lie in.

    Raises:
        AudioError: a clip's sound is missing or unreadable.
    """
    clips, sounds = [], PageSounds(page_dir)
    for position, score in enumerate(scores[model]):
        path = dataset / score.frames.clip
        samples = read_audio(path)
        before = None if baseline is None else scores[baseline][position]
        by_model = {name: members[position] for name, members in scores.items()}
        payload = _payload(score, by_model, change=_change(score, before), samples=samples)
        clips.append(PageClip(payload=payload, audio=sounds.source(path, samples)))
    clips.sort(key=lambda clip: (_CHANGE_ORDER.index(clip.payload["change"]), -clip.payload["swing"], clip.payload["clip"]))
    return clips


def _payload(score: ClipScore, by_model: dict[str, ClipScore], *, change: str, samples: np.ndarray) -> dict[str, Any]:
    frames = score.frames
    highest = [_highest_while_speaking(one) for one in by_model.values()]
    return {
        "clip": frames.clip,
        "kind": frames.kind,
        "slices": [name for name, keep in SLICES.items() if keep(frames)],
        "speaker": frames.speaker,
        "duration": frames.duration_s,
        "viewEnd": _view_end_s(by_model),
        "reference": [timed_text(word) for word in frames.reference],
        "spans": frames.number_spans,
        "lastWord": frames.turn.last_word_start_s,
        "speechEnd": frames.speech_end_s,
        "change": change,
        "swing": round(max(highest) - min(highest), 3),
        "models": {name: _model_payload(one) for name, one in by_model.items()},
        "peaks": outline(samples),
    }


def _view_end_s(by_model: dict[str, ClipScore]) -> float:
    """Return where the drawing ends: with the clip, or a little after the last thing that any model did, silence appended or not."""
    heard_s = [word.appeared_s for score in by_model.values() for word in score.frames.words]
    ended_s = [score.turn.ended_s for score in by_model.values() if score.turn.ended_s is not None]
    frames = next(iter(by_model.values())).frames
    last_row_s = frame_heard_s(len(frames.pause) - 1)
    return round(max(frames.duration_s, min(last_row_s, max([0.0, *heard_s, *ended_s]) + VIEW_MARGIN_S)), 3)


def _model_payload(score: ClipScore) -> dict[str, Any]:
    latency_s = score.turn.latency_s
    return {
        "words": [[word.text, round(word.appeared_s, 3), right] for word, right in zip(score.frames.words, _are_right(score), strict=True)],
        "cutOff": score.turn.cut_off_s,
        "cutsLastWord": score.turn.is_inside_last_word,
        "ended": score.turn.ended_s,
        "latency": None if score.turn.is_missed else round(latency_s, 3),
        "pause": np.round(score.frames.pause, 3).T.tolist(),
    }


def _are_right(score: ClipScore) -> list[bool]:
    """Return for each word of the transcript whether it agrees with the reference, digits being right in either form."""
    right_forms = {right for _, right in score.words.matched}
    flags, position = [], 0
    for word in score.frames.words:
        num_forms = len(scoring_form([word.text]))
        agrees = all(index in right_forms for index in range(position, position + num_forms))
        flags.append(agrees or (is_digit_word(word.text) and score.digits.is_exact))
        position += num_forms
    return flags


def _change(after: ClipScore, before: ClipScore | None) -> str:
    if before is None:
        return "as before"
    if after.turn.is_cut_off != before.turn.is_cut_off:
        return "newly cut off" if after.turn.is_cut_off else "no longer cut off"
    if after.frames.kind == "number" and after.digits.is_exact != before.digits.is_exact:
        return "number newly right" if after.digits.is_exact else "number newly wrong"
    if after.turn.is_cut_off:
        return "still cut off"
    return "as before" if after.frames.word_texts == before.frames.word_texts else "other words"


def _highest_while_speaking(score: ClipScore) -> float:
    """Return the level that the rule's head kept while the turn was not over: how near a cut-off was."""
    turn = score.frames.turn
    return float(level_of(turn, score.rule)[turn.speaking_rows].max(initial=0.0))
