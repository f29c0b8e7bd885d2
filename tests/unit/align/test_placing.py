"""Words are put where the sound is: pauses between them, edges at the sound's own, order kept, the aligner asked where words touch."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from stt_ft.align import placing
from stt_ft.align.placing import STEP_S, place_words, presence, shares_of_spans
from stt_ft.core.errors import AlignmentError

RATE_HZ = 24_000


def sound(*parts: tuple[float, float]) -> np.ndarray:
    """Return noise of (seconds, level) one after the other."""
    rng = np.random.default_rng(0)
    return np.concatenate([rng.standard_normal(round(length_s * RATE_HZ)) * level for length_s, level in parts]).astype(np.float32)


def placed(samples: np.ndarray, spans: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Place one word a span, as an aligner that gave these spans would."""
    shares = shares_of_spans(spans, len(samples) / RATE_HZ)
    return place_words(samples, shares, [1] * len(spans), shares_per_s=1 / STEP_S)


def test_edges_move_to_where_the_sound_begins_and_ends() -> None:
    samples = sound((1.0, 2e-3), (0.5, 0.2), (1.0, 2e-3))
    for told in ((0.9, 1.6), (1.1, 1.4), (0.2, 2.3)):
        ((start_s, end_s),) = placed(samples, [told])
        assert start_s == pytest.approx(1.0, abs=0.021)
        assert end_s == pytest.approx(1.5, abs=0.021)


def test_a_pause_lies_between_two_words_and_in_neither() -> None:
    samples = sound((0.5, 2e-3), (0.3, 0.2), (0.6, 2e-3), (0.4, 0.2), (0.5, 2e-3))
    first, second = placed(samples, [(0.4, 1.1), (1.1, 1.9)])
    np.testing.assert_allclose([*first, *second], [0.5, 0.8, 1.4, 1.8], atol=0.021)


def test_the_aligner_decides_where_words_touch() -> None:
    samples = sound((0.5, 2e-3), (0.8, 0.2), (0.5, 2e-3))
    for boundary_s in (0.7, 0.9, 1.1):
        first, second = placed(samples, [(0.5, boundary_s), (boundary_s, 1.3)])
        assert first[1] == second[0] == pytest.approx(boundary_s, abs=0.021)


def test_a_closure_inside_a_word_stays_inside() -> None:
    samples = sound((0.5, 2e-3), (0.2, 0.2), (0.07, 2e-3), (0.2, 0.2), (0.5, 2e-3), (0.3, 0.2), (0.5, 2e-3))
    first, second = placed(samples, [(0.5, 0.97), (1.5, 1.77)])
    np.testing.assert_allclose([*first, *second], [0.5, 0.97, 1.47, 1.77], atol=0.021)


def test_equal_words_share_as_many_islands_of_sound() -> None:
    """In "two two two" attention cannot tell one from the next; the pauses can."""
    parts = [(0.4, 2e-3)]
    for _ in range(3):
        parts += [(0.3, 0.2), (0.15, 2e-3)]
    samples = sound(*parts, (0.4, 2e-3))
    alike = np.full((3, round(len(samples) / RATE_HZ / 0.02)), np.log(1 / 3))
    spans = place_words(samples, alike, [1, 1, 1], shares_per_s=50)
    np.testing.assert_allclose(np.array(spans), [[0.4, 0.7], [0.85, 1.15], [1.3, 1.6]], atol=0.021)


def test_noise_is_no_word_and_a_quiet_hiss_is_one() -> None:
    steady = sound((0.5, 0.02), (0.4, 0.2), (0.6, 0.02))
    heard = presence(steady)
    assert heard[5:45].mean() < 0.1 < 0.5 < heard[55:85].mean()
    assert (presence(sound((2.0, 0.1))) == 1).all() or presence(sound((2.0, 0.1))).mean() < 0.2
    assert len(presence(np.zeros(0, dtype=np.float32))) == 0


def test_presence_is_the_same_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = sound((1.0, 2e-3), (0.5, 0.2), (1.0, 2e-3))
    in_pieces = presence(samples)
    monkeypatch.setattr(placing, "_FRAMES_AT_ONCE", len(samples))
    np.testing.assert_array_equal(in_pieces, presence(samples))


@pytest.mark.parametrize("seed", range(4))
def test_the_path_is_the_best_of_all(seed: int) -> None:
    """Against every path through silence, word, silence, word, silence, over random evidence."""
    rng = np.random.default_rng(seed)
    num_steps, least = 9, 2
    loudness, shares = rng.standard_normal(num_steps), rng.standard_normal((2, num_steps)) * 0.5

    def worth(first: tuple[int, int], second: tuple[int, int]) -> float:
        voiced = np.zeros(num_steps, dtype=bool)
        total = 0.0
        for word, (start, stop) in enumerate((first, second)):
            voiced[start:stop] = True
            total += shares[word, start:stop].sum()
        pauses = (first[1] < second[0]) + (second[1] < num_steps)
        return total + loudness[voiced].sum() - loudness[~voiced].sum() - placing._PAUSE_COST * pauses

    spans = [(start, stop) for start in range(num_steps) for stop in range(start + least, num_steps + 1)]
    best = max((pair for pair in itertools.product(spans, spans) if pair[0][1] <= pair[1][0]), key=lambda pair: worth(*pair))
    found = placing._best_path(loudness, shares, [1, 1], least)
    assert worth(*found) == pytest.approx(worth(*best))


def test_more_words_than_fit_are_refused_and_few_steps_are_enough() -> None:
    with pytest.raises(AlignmentError, match=r"30 words do not fit into 0\.20 s of sound"):
        placed(sound((0.2, 0.1)), [(0.0, 0.2)] * 30)
    spans = placed(sound((0.2, 0.1)), [(0.0, 0.2)] * 10)
    edges = [edge for span in spans for edge in span]
    assert edges == sorted(edges)
    assert all(end_s > start_s for start_s, end_s in spans)
