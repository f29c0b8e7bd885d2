"""What one model did with one clip, judged by every metric: the step between frames and figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stt_ft.metrics.calibration import pause_is_coming, squared_errors
from stt_ft.metrics.digit_strings import DigitScore, score_digits
from stt_ft.metrics.endpointing import EndpointRule, TurnVerdict, judge_turn
from stt_ft.metrics.style import is_written_as_sentence, num_early_stops
from stt_ft.metrics.word_errors import EditCounts, character_errors, scoring_form, word_errors
from stt_ft.report.frames import ClipFrames, HeardWord, SpokenWord
from stt_ft.targets.pause_targets import HORIZONS_S
from stt_ft.text.digit_words import digits_of_words


@dataclass(frozen=True, kw_only=True)
class ClipScore:
    """One clip under one model.

    Attributes:
        words: errors in scoring form; `raw_words` on the transcript as it is written, `characters` in scoring form.
        word_delays_s: for each word that agrees with the reference, the time from the end of its sound to its appearance; a number in
            glyphs agrees digit by digit, each digit appearing with the whole.
        is_sentence: whether the transcript begins with a capital and ends with a full stop or its like.
        num_early_stops: full stops and their like that appeared before the sound of the last word had ended.
        squared_error: sum over the counted rows of the terms of the rule's head's Brier score; `num_rows` is how many rows there are.
    """

    frames: ClipFrames
    turn: TurnVerdict
    words: EditCounts
    raw_words: EditCounts
    characters: EditCounts
    digits: DigitScore
    word_delays_s: tuple[float, ...]
    is_sentence: bool
    num_early_stops: int
    squared_error: float
    num_rows: int


def score_clip(frames: ClipFrames, rule: EndpointRule) -> ClipScore:
    """Judge one clip; raises `ValueError` when the heads lack the rule's."""
    reference, transcript = scoring_form(frames.reference_texts), scoring_form(frames.word_texts)
    probs = counted_probs(frames, rule)
    return ClipScore(
        frames=frames,
        turn=judge_turn(frames.turn, rule),
        words=word_errors(reference, transcript),
        raw_words=word_errors(frames.reference_texts, frames.word_texts),
        characters=character_errors(reference, transcript),
        digits=score_digits(frames.reference_texts, frames.word_texts),
        word_delays_s=_word_delays_s(frames.reference, frames.words),
        is_sentence=is_written_as_sentence(frames.word_texts),
        num_early_stops=num_early_stops([(word.text, word.appeared_s) for word in frames.words], frames.speech_end_s),
        squared_error=float(squared_errors(probs, counted_truth(frames, rule)).sum()),
        num_rows=len(probs),
    )


def counted_probs(frames: ClipFrames, rule: EndpointRule) -> np.ndarray:
    """Return the pause probabilities of the rule's head, the ignored first rows left out."""
    return frames.pause[rule.ignore_frames :, rule.head]


def counted_truth(frames: ClipFrames, rule: EndpointRule) -> np.ndarray:
    """Return for the same rows whether no word begins within the head's horizon, by the clock of the sound."""
    starts_s = [word.start_s for word in frames.reference]
    return pause_is_coming(starts_s, len(frames.pause), HORIZONS_S[min(rule.head, len(HORIZONS_S) - 1)])[rule.ignore_frames :]


def _word_delays_s(reference: Sequence[SpokenWord], words: Sequence[HeardWord]) -> tuple[float, ...]:
    """Return the delays of the words that agree, in the order of the reference."""
    said = [(unit, word) for word in reference for unit in _units(word.text)]
    heard = [(unit, word) for word in words for unit in _units(word.text)]
    matched = word_errors([unit for unit, _ in said], [unit for unit, _ in heard]).matched
    return tuple(heard[right][1].appeared_s - said[left][1].end_s for left, right in matched)


def _units(text: str) -> Sequence[str]:
    """Return what a word has to agree in: its digits, in words or in glyphs, or its scoring form; nothing for a lone dash."""
    return digits_of_words([text]) or [form for form in [" ".join(scoring_form([text]))] if form]
