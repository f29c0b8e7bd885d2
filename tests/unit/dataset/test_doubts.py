"""Words that a second source times otherwise are found, before and after `convert`; other words, or times nearby, are no dispute."""

from __future__ import annotations

from typing import Any

import pytest

from stt_ft.corpus.problems import word_problems
from stt_ft.dataset.doubts import disputes_of
from stt_ft.dataset.manifest import Clip
from stt_ft.dataset.sidecar import Sidecar, Word

WRITTEN = (Word(text="order", start_s=0.5, end_s=0.9), Word(text="47", start_s=1.0, end_s=1.8))
SPOKEN = [["four", [1.0, 1.4]], ["seven", [1.4, 1.8]]]


def sidecar(times_by: Any, *, converted: bool = False) -> Sidecar:
    said = tuple(Word(text=text, start_s=start_s, end_s=end_s) for text, (start_s, end_s) in SPOKEN)
    extra = {"times_by": times_by, "spoken": [None, SPOKEN]}
    if converted:
        return Sidecar(alignments=(WRITTEN[0], *said), written=WRITTEN, extra=extra)
    return Sidecar(alignments=WRITTEN, extra=extra)


@pytest.mark.parametrize("converted", [False, True])
def test_a_word_in_dispute_is_told_with_both_times(converted: bool) -> None:
    told = sidecar({"whisper": [["Order,", [0.52, 0.88]], ["four", [1.0, 1.35]], ["seven", [1.65, 1.8]]]}, converted=converted)
    (dispute,) = disputes_of(told)
    assert (dispute.place, dispute.text, dispute.source) == (2, "seven", "whisper")
    problems = [problem for problem in word_problems(Clip(path="audio/a.wav", duration_s=2.0), told) if problem.kind == "times"]
    assert [problem.message for problem in problems] == ["'seven' is at 1.40-1.80 s, by whisper at 1.65-1.80 s"]
    assert problems[0].words == ((2,) if converted else ())


@pytest.mark.parametrize(
    "times_by",
    [
        None,
        [],
        {"whisper": "nonsense"},
        {"whisper": [["order", [0.5]]]},
        {"whisper": [["order", [0.5, 0.9]], ["four", [1.19, 1.4]], ["seven", [1.4, 1.6]]]},
        {"whisper": [["other", [5.0, 5.9]], ["four", [1.0, 1.4]], ["seven", [1.4, 1.8]]]},
    ],
)
def test_times_nearby_other_words_and_nonsense_are_no_dispute(times_by: Any) -> None:
    assert disputes_of(sidecar(times_by)) == []
