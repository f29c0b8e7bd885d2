"""Take the silence out of words: an aligner that must put a pause somewhere sometimes gives it to a word."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from stt_ft.align.aligned_word import AlignedWord
from stt_ft.audio.levels import level_steps_db
from stt_ft.core.timing import SAMPLE_RATE_HZ

_STEP_S = 0.01
_FLOOR_PERCENTILE, _SPEECH_PERCENTILE = 10, 95
_LEVEL = 0.25  # silence reaches up to this share, in decibels, of the way from the floor to speech
_LEAST_DB = 6.0  # a clip whose speech stands less above its floor is left as it is
_LONGEST_CLOSURE_S = 0.15  # silence up to this long is part of a word ("t" before its release)


def trim_silence(aligned: Sequence[Sequence[AlignedWord]], samples: np.ndarray) -> list[list[AlignedWord]]:
    """Return the words with silence longer than a stop consonant's closure cut from either end; words that are all silence stay."""
    silent = silent_steps(samples)
    return [[_trim(word, silent) for word in words] for words in aligned]


def silent_steps(samples: np.ndarray) -> np.ndarray:
    """Return for each 10 ms whether it is silent, judged by the level of the clip's own pauses and speech: bool [T]."""
    level_db = level_steps_db(samples, SAMPLE_RATE_HZ)
    if len(level_db) == 0:
        return np.zeros(0, dtype=bool)
    floor_db, speech_db = np.percentile(level_db, [_FLOOR_PERCENTILE, _SPEECH_PERCENTILE])
    if speech_db - floor_db < _LEAST_DB:
        return np.zeros(len(level_db), dtype=bool)
    return level_db < floor_db + _LEVEL * (speech_db - floor_db)


def _trim(word: AlignedWord, silent: np.ndarray) -> AlignedWord:
    first, last = round(word.start_s / _STEP_S), round(word.end_s / _STEP_S)
    loud = np.flatnonzero(~silent[first:last])
    if len(loud) == 0:
        return word
    lead_s, tail_s = loud[0] * _STEP_S, (last - first - 1 - loud[-1]) * _STEP_S
    start_s = word.start_s + lead_s if lead_s > _LONGEST_CLOSURE_S else word.start_s
    end_s = word.end_s - tail_s if tail_s > _LONGEST_CLOSURE_S else word.end_s
    return dataclasses.replace(word, start_s=round(start_s, 4), end_s=round(max(end_s, start_s + _STEP_S), 4))
