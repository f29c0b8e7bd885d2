"""Converting a sidecar: every word its own time inside the span, running twice equals once, the written form is kept."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stt_ft.align.aligner import AlignedWord
from stt_ft.align.sidecars import spoken_sidecar
from stt_ft.core.errors import AlignmentError, TextError
from stt_ft.dataset.doubts import Rival, doubts_of
from stt_ft.dataset.sidecar import Sidecar, Word
from stt_ft.text.lattice import Lattice


def sidecar(*words: tuple[str, float, float], **extra: object) -> Sidecar:
    return Sidecar(alignments=tuple(Word(text=text, start_s=start_s, end_s=end_s) for text, start_s, end_s in words), extra=dict(extra))


ORDER = sidecar(("order", 0.5, 0.9), ("1296803.", 1.0, 3.1), ("please", 3.2, 3.6))


class Ear:
    """An aligner that hears words at fixed places of the sound it is given."""

    def __init__(self, *words: tuple[str, float, float], deaf: bool = False, rival: Rival | None = None) -> None:
        self.words = words
        self.deaf = deaf
        self.rival = rival

    def align_with_rivals(self, samples: np.ndarray, lattices: Sequence[Lattice]) -> tuple[list[list[AlignedWord]], list[Rival | None]]:
        if self.deaf:
            raise AlignmentError("no path")
        words = [AlignedWord(text=text, start_s=start_s, end_s=end_s, confidence=1.0) for text, start_s, end_s in self.words]
        return [words], [self.rival]


def convert(before: Sidecar, **options: object) -> Sidecar:
    return spoken_sidecar(before, **{"language": "en", "style": "digits", "duration_s": 60.0, **options}).sidecar  # type: ignore[arg-type]


def test_without_sound_the_span_is_divided() -> None:
    after = convert(ORDER)
    assert [word.text for word in after.alignments] == "order one two nine six eight zero three please".split()  # noqa: SIM905
    assert after.written == ORDER.alignments
    assert after.alignments[0] == ORDER.alignments[0]
    assert after.alignments[-1] == ORDER.alignments[-1]
    assert after.alignments[1].start_s == 1.0
    assert after.alignments[-2].end_s == 3.1


def test_what_annotate_heard_is_used() -> None:
    heard = [
        ["one", [1.0, 1.2]],
        ["two", [1.3, 1.5]],
        ["nine", [1.5, 1.9]],
        ["six", [2.0, 2.2]],
        ["eight", [2.2, 2.4]],
        ["oh", [2.5, 2.7]],
        ["three", [2.7, 3.1]],
    ]
    result = spoken_sidecar(
        sidecar(("order", 0.5, 0.9), ("1296803.", 1.0, 3.1), spoken=[None, heard]), language="en", style="digits", duration_s=4.0
    )
    assert [(word.text, [word.start_s, word.end_s]) for word in result.sidecar.alignments[1:]] == [(text, times) for text, times in heard]
    assert result.sources == {"annotated": 1}


def test_a_reading_of_another_style_is_not_used() -> None:
    heard = [["twelve", [1.0, 1.5]], ["ninety", [1.5, 2.0]], ["six", [2.0, 2.5]]]
    before = sidecar(("1296", 1.0, 2.5), spoken=[heard])
    assert [word.text for word in convert(before, style="digits").alignments] == ["one", "two", "nine", "six"]
    assert [word.text for word in convert(before, style="auto").alignments] == ["twelve", "ninety", "six"]


def test_the_span_is_aligned_anew_where_annotate_said_nothing() -> None:
    ear = Ear(("four", 0.1, 0.3), ("oh", 0.4, 0.6), ("two", 0.7, 5.0))
    result = spoken_sidecar(
        sidecar(("402", 1.0, 2.0)),
        language="en",
        style="digits",
        duration_s=3.0,
        sound=lambda: np.zeros(72000, dtype=np.float32),
        aligner=ear,
    )
    assert [(word.text, round(word.start_s, 3), round(word.end_s, 3)) for word in result.sidecar.alignments] == [
        ("four", 1.0, 1.2), ("oh", 1.3, 1.5), ("two", 1.6, 2.0),
    ]  # fmt: skip
    assert result.sources == {"realigned": 1}


def test_a_span_that_cannot_be_aligned_is_divided() -> None:
    result = spoken_sidecar(
        sidecar(("402", 1.0, 2.0)),
        language="en",
        style="digits",
        duration_s=3.0,
        sound=lambda: np.zeros(72000, dtype=np.float32),
        aligner=Ear(deaf=True),
    )
    assert result.sources == {"syllables": 1}
    assert len(result.sidecar.alignments) == 3


def test_converting_starts_from_the_written_form_every_time() -> None:
    digits = convert(sidecar(("in", 0.0, 0.3), ("1996", 0.3, 1.5)), style="digits")
    auto = convert(digits, style="auto")
    assert [word.text for word in auto.alignments] == ["in", "nineteen", "ninety", "six"]
    assert convert(auto, style="digits") == digits


def test_a_zero_length_span_is_widened_into_the_gap_or_refused() -> None:
    after = convert(sidecar(("order", 0.5, 0.9), ("1296803", 1.0, 1.0), ("please", 1.5, 1.9)))
    spans = [(word.start_s, word.end_s) for word in after.alignments[1:-1]]
    assert all(0.9 <= start_s < end_s <= 1.5 for start_s, end_s in spans)
    with pytest.raises(AlignmentError, match="no room for 7 words"):
        convert(sidecar(("order", 0.5, 0.9), ("1296803", 0.9, 0.9), ("please", 0.9, 1.9)))


@pytest.mark.parametrize("style", ["digits", "auto"])
def test_marks_alone_go_and_the_times_of_the_words_beside_them_stay(style: str) -> None:
    before = sidecar(
        ("well", 0.5, 0.9), ("-", 0.9, 1.0), ("yes", 1.0, 1.4), ("...", 1.4, 2.0), ("room", 2.0, 2.3), ("/", 2.3, 2.4), ("no", 2.5, 2.8)
    )
    after = convert(before, style=style)
    assert [(word.text, word.start_s, word.end_s) for word in after.alignments] == [
        ("well", 0.5, 0.9),
        ("yes", 1.0, 1.4),
        ("room", 2.0, 2.3),
        ("no", 2.5, 2.8),
    ]
    assert after.written == before.alignments
    dialled = convert(
        sidecar(("call", 0.5, 0.9), ("1", 1.0, 1.2), ("-", 1.2, 1.3), ("800", 1.3, 2.0), ("...", 2.0, 2.2), ("now", 2.2, 2.4)), style=style
    )
    assert [word.text for word in dialled.alignments] == ["call", "one", "eight", "zero", "zero", "now"]
    assert (dialled.alignments[1].start_s, dialled.alignments[4].end_s) == (1.0, 2.0)
    assert convert(sidecar(("-", 0.5, 0.9))).alignments == ()


def test_what_cannot_be_read_is_refused() -> None:
    with pytest.raises(TextError, match="5☃"):
        convert(sidecar(("5☃", 0.0, 1.0)))


def test_damaged_spoken_entries_are_not_trusted() -> None:
    for damage in ([None], "text", [[["one", 1]]], [[["one", [0.0, "x"]]]], [7]):
        after = convert(sidecar(("1", 0.0, 1.0), spoken=damage))
        assert [word.text for word in after.alignments] == ["one"]


@settings(deadline=None, max_examples=80)
@given(
    st.lists(st.tuples(st.text("0123456789", min_size=1, max_size=8), st.floats(0.2, 3), st.floats(0, 1)), min_size=1, max_size=5),
    st.sampled_from(["digits", "auto"]),
)
def test_times_stay_ordered_and_inside_and_twice_is_once(numbers: list[tuple[str, float, float]], style: str) -> None:
    words, now_s = [], 0.0
    for text, length_s, gap_s in numbers:
        words.append((text, now_s + gap_s, now_s + gap_s + length_s))
        now_s += gap_s + length_s
    after = convert(sidecar(*words), style=style, duration_s=now_s + 1)
    edges = [edge for word in after.alignments for edge in (word.start_s, word.end_s)]
    assert all(before <= later + 1e-9 for before, later in itertools.pairwise(edges))
    assert all(word.end_s > word.start_s for word in after.alignments)
    assert edges[0] >= words[0][1] - 1e-9
    assert edges[-1] <= now_s + 1e-9
    assert convert(after, style=style, duration_s=now_s + 1) == after


HEARD = [None, [["four", [1.0, 1.3]], ["oh", [1.3, 1.6]], ["one", [1.6, 2.0]]]]


@pytest.mark.parametrize(("close", "doubts"), [(True, [(1, 4, "four zero one", 0.8)]), (False, [])])
def test_a_close_rival_becomes_a_doubt_about_the_converted_words(close: bool, doubts: list[tuple[int, int, str, float]]) -> None:
    rivals = [None, {"reading": "four zero one", "lead": 0.8, "close": close}]
    before = sidecar(("code", 0.5, 0.9), ("401", 1.0, 2.0), spoken=HEARD, rivals=rivals)
    after = convert(before)
    assert [word.text for word in after.alignments] == ["code", "four", "oh", "one"]
    assert [(doubt.start, doubt.stop, doubt.reading, doubt.lead) for doubt in doubts_of(after)] == doubts
    assert convert(after) == after
    assert len(doubts_of(before)) == len(doubts)


@pytest.mark.parametrize("broken", ["none", [None], [None, {"reading": 3}], [None, {"lead": 1.0}], [None, "four zero one"]])
def test_rivals_that_annotate_did_not_write_are_passed_over(broken: object) -> None:
    after = convert(sidecar(("code", 0.5, 0.9), ("401", 1.0, 2.0), spoken=HEARD, rivals=broken))
    assert [word.text for word in after.alignments] == ["code", "four", "oh", "one"]
    assert doubts_of(after) == []


def test_a_number_whose_readings_fit_alike_is_told() -> None:
    rival = Rival(words=("one", "oh"), lead=3.0, is_close=True)
    ear = Ear(("one", 0.1, 0.5), ("zero", 0.6, 1.0), rival=rival)
    after = convert(sidecar(("10", 1.0, 2.2)), sound=lambda: np.zeros(24_000 * 4, dtype=np.float32), aligner=ear)
    assert [(doubt.reading, doubt.lead) for doubt in doubts_of(after)] == [("one oh", 3.0)]
