"""Comparing two engines: what counts as the same, and what is said where they part."""

from __future__ import annotations

import numpy as np
import pytest

from stt_ft.core.errors import CheckFailed
from stt_ft.export.agreement import Heard, compare


def _heard(tokens, pauses) -> Heard:
    return Heard(text_tokens=np.array(tokens, np.int32), pause_probs=np.array(pauses, np.float32).reshape(len(tokens), -1))


def test_the_same_is_the_same():
    agreement = compare({"a": _heard([3, 7], [0.1, 0.2])}, {"a": _heard([3, 7], [0.1, 0.2005])})
    agreement.require("it")
    assert (agreement.num_frames, agreement.same_tokens) == (2, 1.0)
    assert agreement.max_pause_difference == pytest.approx(5e-4, rel=1e-3)


def test_the_first_frame_that_differs_is_named():
    ours = {"a": _heard([3, 7, 9], [0, 0, 0]), "b": _heard([1, 2], [0, 0])}
    theirs = {"a": _heard([3, 7, 9], [0, 0, 0]), "b": _heard([1, 5], [0, 0])}
    with pytest.raises(CheckFailed, match=r"80\.00% of 5 frames, 100% are asked for; they part at frame 1 of b"):
        compare(ours, theirs).require("it")


@pytest.mark.parametrize("off", [0.2, float("nan")])
def test_pauses_that_differ_or_are_no_numbers_fail(off):
    with pytest.raises(CheckFailed, match="pause probabilities differ"):
        compare({"a": _heard([3], [0.1])}, {"a": _heard([3], [0.1 + off])}).require("it")


@pytest.mark.parametrize("theirs", [{}, {"a": _heard([3], [0.1])}])
def test_a_clip_that_was_not_heard_to_its_end_fails_by_name(theirs):
    with pytest.raises(CheckFailed, match=r"a: the engine told of [01] frames, 2 were played"):
        compare({"a": _heard([3, 3], [0.1, 0.1])}, theirs)


def test_an_engine_without_pause_heads_is_judged_by_its_words():
    agreement = compare(
        {"a": _heard([3], [0.1])}, {"a": Heard(text_tokens=np.array([3], np.int32), pause_probs=np.zeros((1, 0), np.float32))}
    )
    agreement.require("it")
    assert agreement.max_pause_difference is None
