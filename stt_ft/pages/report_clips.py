"""The clips of report.html: which of them have a card, and what it shows: words with times, pause curves, verdicts, the outline of its
sound, and what changed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stt_ft.audio.files import read_audio
from stt_ft.core.progress import track
from stt_ft.core.timing import frame_heard_s
from stt_ft.dataset.manifest import Clip, Dataset
from stt_ft.evaluation.figures import SLICES
from stt_ft.evaluation.frames import timed_text
from stt_ft.evaluation.scores import ClipScore
from stt_ft.metrics.endpointing import level_of
from stt_ft.metrics.transcripts import scoring_form
from stt_ft.pages.offline_page import MAX_DATA_BYTES, PageSounds, in_turn, outline
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


@dataclass(frozen=True, kw_only=True, eq=False)
class _Heard:
    """A clip as every model heard it, the judged one last; what changed since the baseline; and how far apart the rule's head came in the
    turn (`swing`)."""

    by_model: Mapping[str, ClipScore]
    change: str
    swing: float

    @property
    def judged(self) -> ClipScore:
        return list(self.by_model.values())[-1]

    @property
    def rank(self) -> tuple[int, float, str]:
        """The place of the clip on the page: the greatest change first."""
        return _CHANGE_ORDER.index(self.change), -self.swing, self.judged.frames.clip


_FILTERS: dict[str, Callable[[_Heard], bool]] = {
    "All": lambda clip: True,
    "Numbers": lambda clip: SLICES["numbers"](clip.judged.frames),
    "Hesitant": lambda clip: SLICES["hesitant"](clip.judged.frames),
    "People": lambda clip: SLICES["people"](clip.judged.frames),
    "Ordinary": lambda clip: SLICES["ordinary"](clip.judged.frames),
    "Better": lambda clip: clip.change in ("no longer cut off", "number newly right"),
    "Worse": lambda clip: clip.change in ("newly cut off", "number newly wrong"),
    "Cut off": lambda clip: any(score.turn.is_cut_off for score in clip.by_model.values()),
}
"""The buttons above the clips: name -> whether it keeps a clip."""

RULE_OF_CARDS = (
    "in turn a clip that is newly cut off, one whose number is newly wrong, one no longer cut off, one whose number is newly right, one "
    "still cut off, one in other words, one with wrong digits, the longest wait, "
    "the pause probabilities furthest apart, one drawn at random"
)
"""Which clips have a card where not all have one, in words: what `_reasons` returns."""


@dataclass(frozen=True, kw_only=True)
class ClipCards:
    """The cards of the page, greatest change first: data for the page's script, the source of each one's sound (a data URI or a relative
    path), and filter -> how many of all clips it keeps."""

    payloads: list[dict[str, Any]]
    sounds: list[str]
    totals: dict[str, int]


def clip_cards(scores: Mapping[str, Sequence[ClipScore]], *, baseline: str | None, dataset: Path, page_dir: Path) -> ClipCards:
    """Return a card of every clip or, of more than a page holds, of those that matter most (`RULE_OF_CARDS`).

    Args:
        scores: model -> its clips, all in the same order, the judged model last.
        dataset: directory that the clips' paths start from; raises `AudioError` for sound that is missing or unreadable there.
        page_dir: directory of the page.
    """
    clips = [_heard(dict(zip(scores, members, strict=True)), baseline) for members in zip(*scores.values(), strict=True)]
    totals = {name: sum(map(keep, clips)) for name, keep in _FILTERS.items()}
    data, chosen = Dataset(dataset), {clip.judged.frames.clip: clip for clip in in_turn(_reasons(clips))}
    lines = {line.path: line for line in data.each_clip() if line.path in chosen}
    cards, sounds, num_bytes = [], PageSounds(page_dir), 0
    for name, clip in track(chosen.items(), "drawing clips", len(chosen)):
        sound = data.sound(lines.get(name) or Clip(path=name, duration_s=clip.judged.frames.duration_s))
        samples = read_audio(sound)
        payload = _payload(clip, samples)
        num_bytes += len(json.dumps(payload))
        if cards and num_bytes > MAX_DATA_BYTES:
            break
        cards.append((clip.rank, payload, sounds.source(sound, samples)))
    cards.sort(key=lambda card: card[0])
    return ClipCards(payloads=[card[1] for card in cards], sounds=[card[2] for card in cards], totals=totals)


def _heard(by_model: Mapping[str, ClipScore], baseline: str | None) -> _Heard:
    after, highest = list(by_model.values())[-1], [_highest_while_speaking(one) for one in by_model.values()]
    change = _change(after, None if baseline is None else by_model[baseline])
    return _Heard(by_model=by_model, change=change, swing=round(max(highest) - min(highest), 3))


def _reasons(clips: Sequence[_Heard]) -> list[list[_Heard]]:
    """Return the clips in the order of each reason to look at one; with the last, each clip has one."""
    ranked = sorted(clips, key=lambda clip: clip.rank)
    changed = [[clip for clip in ranked if clip.change == change] for change in _CHANGE_ORDER[:-1]]
    wrong = [clip for clip in ranked if clip.judged.frames.kind == "number" and not clip.judged.digits.is_exact]
    slow = sorted((clip for clip in ranked if clip.judged.has_heads), key=lambda clip: -clip.judged.turn.latency_s)
    drawn = sorted(clips, key=lambda clip: clip.judged.frames.clip)
    random.Random(0).shuffle(drawn)
    return [*changed, wrong, slow, sorted(ranked, key=lambda clip: -clip.swing), drawn]


def _payload(clip: _Heard, samples: np.ndarray) -> dict[str, Any]:
    frames = clip.judged.frames
    return {
        "clip": frames.clip,
        "kind": frames.kind,
        "slices": [name for name, keep in SLICES.items() if keep(frames)],
        "speaker": frames.speaker,
        "duration": frames.duration_s,
        "filters": [name for name, keep in _FILTERS.items() if keep(clip)],
        "viewEnd": _view_end_s(clip.by_model),
        "reference": [timed_text(word) for word in frames.reference],
        "spans": frames.number_spans,
        "lastWord": frames.turn.last_word_start_s,
        "speechEnd": frames.speech_end_s,
        "change": clip.change,
        "models": {name: _model_payload(one) for name, one in clip.by_model.items()},
        "peaks": outline(samples),
    }


def _view_end_s(by_model: Mapping[str, ClipScore]) -> float:
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
    if not score.has_heads:
        return 0.0
    return float(level_of(turn, score.rule)[turn.speaking_rows].max(initial=0.0))
