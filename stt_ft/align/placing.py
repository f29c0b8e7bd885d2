"""Where known words lie in a sound, and where a long sound can be cut: both by how far each step stands out of the background.

An aligner knows roughly which stretch of sound belongs to which word; the sound itself tells within hundredths of a second where something
is said. `place_words` weighs both in one Viterbi pass over steps of 10 ms: every step belongs to a piece of a word, or to the silence
between two words. `windows_of` cuts a sound that is too long for Whisper, where nobody speaks if there is such a place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stt_ft.core.errors import AlignmentError
from stt_ft.core.timing import SAMPLE_RATE_HZ, num_samples, samples_to_s

STEP_S = 0.01

_FINE_STEP_S = 0.005
_WINDOW_S, _FINE_WINDOW_S = 0.02, 0.012
_NUM_BANDS, _LOWEST_HZ, _HIGHEST_HZ = 24, 100.0, 7600.0
_FFT_SAMPLES = 1024
_FRAMES_AT_ONCE = 128  # few enough that the memory of one spectrum is used again for the next, twice as fast as all frames at once
_FLOOR_PERCENTILE, _SPEECH_PERCENTILE = 10, 95
_DEAF_DB = 8.0  # a band whose speech stands less above its floor tells nothing
_KNEE_DB, _FULL_DB = 4.0, 14.0  # above the floor: nothing heard yet, and surely heard
_SMOOTHING = (0.25, 0.5, 0.25)

_HEARD = 0.1  # presence at which a step is as likely sound as silence
_SLOPE, _MOST_EVIDENCE = 20.0, 2.0  # nats a step that loudness may speak for or against a word
_ALIGNER_WEIGHT = 0.1  # of the aligner's log shares; steps near to one another say nearly the same
_PAUSE_COST = 1.0
_LEAST_WORD_STEPS = 6
_LONGEST_TRIM_S = 0.025
_FAR_LOG_SHARE, _NATS_PER_S = -12.0, 120.0  # a segment is surer than attention

SHORTEST_S, LONGEST_S = 6.0, 15.0
"""A window ends at the longest silence within these bounds. In longer windows attention now and then loses its way by seconds."""

REAL_SILENCE_S = 0.15
"""A silence of this length parts two words; the closure of a "t" is shorter."""

_LONG_SILENCE_S = 3.0  # always ends a window: Whisper makes up text for silence
_EDGE_S = 0.3  # silence kept around a window's sound
_LEAST_SOUND_S = 0.15  # less is a click


@dataclass(frozen=True, kw_only=True)
class Window:
    """A stretch of a clip, in seconds; `cuts_speech` where no silence was found to end it in."""

    start_s: float
    end_s: float
    cuts_speech: bool = False

    def of(self, samples: np.ndarray) -> np.ndarray:
        return samples[num_samples(self.start_s) : num_samples(self.end_s)]


def presence(samples: np.ndarray, *, step_s: float = STEP_S, window_s: float = _WINDOW_S) -> np.ndarray:
    """Return how far the sound stands out of the recording's own background, from 0 to 1 in each step: float64 [T].

    The mean over frequency bands of the level above the band's floor, so that a hiss counts against hum and a vowel against traffic.
    A recording without any contrast counts as present throughout.
    """
    level_db = _band_levels_db(samples, step_s, window_s)
    if len(level_db) == 0:
        return np.zeros(0)
    floor_db, speech_db = np.percentile(level_db, [_FLOOR_PERCENTILE, _SPEECH_PERCENTILE], axis=0)
    telling = speech_db - floor_db > _DEAF_DB
    if not telling.any():
        return np.ones(len(level_db))
    return np.clip((level_db - floor_db - _KNEE_DB) / (_FULL_DB - _KNEE_DB), 0, 1)[:, telling].mean(axis=1)


def place_words(
    samples: np.ndarray, log_shares: np.ndarray, pieces_of_word: Sequence[int], *, shares_per_s: float
) -> list[tuple[float, float]]:
    """Return the span of each word in seconds: in order, apart or touching, edges refined to where the sound begins and ends.

    Args:
        samples: mono sound at 24 kHz.
        log_shares: log of how likely each piece (token) of the text is the one spoken [L, F].
        pieces_of_word: how many pieces each word has; they add up to L.
        shares_per_s: columns of `log_shares` per second.

    Raises:
        AlignmentError: the sound is too short for the words.
    """
    heard = np.convolve(np.pad(presence(samples), 1, mode="edge"), _SMOOTHING, mode="valid")
    num_steps = len(heard)
    least = next((least for least in range(_LEAST_WORD_STEPS, 0, -1) if _num_states(pieces_of_word, least) <= num_steps), None)
    if least is None:
        raise AlignmentError(f"{len(pieces_of_word)} words do not fit into {samples_to_s(len(samples)):.2f} s of sound")
    share_places = (np.arange(num_steps) + 0.5) * STEP_S * shares_per_s - 0.5
    shares = np.array([np.interp(share_places, np.arange(log_shares.shape[1]), row) for row in log_shares])
    loudness = np.clip(_SLOPE * (heard - _HEARD), -_MOST_EVIDENCE, _MOST_EVIDENCE)
    spans = _best_path(loudness, _ALIGNER_WEIGHT * shares, pieces_of_word, least)
    return _refined(spans, presence(samples, step_s=_FINE_STEP_S, window_s=_FINE_WINDOW_S), samples_to_s(len(samples)))


def shares_of_spans(spans: Sequence[tuple[float, float]], duration_s: float) -> np.ndarray:
    """Return log shares of words that an aligner placed by spans in seconds: 0 inside a span, falling with the distance from it [L, T]."""
    middle_s = (np.arange(max(1, int(duration_s / STEP_S))) + 0.5) * STEP_S
    outside_s = [np.maximum(np.maximum(start_s - middle_s, middle_s - end_s), 0.0) for start_s, end_s in spans]
    return np.maximum(-_NATS_PER_S * np.array(outside_s), _FAR_LOG_SHARE)


def _repeats(pieces: int, least: int) -> int:
    """Return how many steps each piece of a word lasts at least, for the word to last `least`."""
    return max(1, -(-least // pieces))


def _num_states(pieces_of_word: Sequence[int], least: int) -> int:
    return sum(pieces * _repeats(pieces, least) for pieces in pieces_of_word)


def _best_path(loudness: np.ndarray, shares: np.ndarray, pieces_of_word: Sequence[int], least: int) -> list[tuple[int, int]]:
    """Return the steps of each word, first and behind the last, on the likeliest path through silence, word, silence, word … silence."""
    evidence, word_of_state, piece = [-loudness], [-1], 0
    for word, pieces in enumerate(pieces_of_word):
        repeats = _repeats(pieces, least)
        for _ in range(pieces):
            evidence += [shares[piece] + loudness] * repeats
            word_of_state += [word] * repeats
            piece += 1
        evidence.append(-loudness)
        word_of_state.append(-1)
    steps = np.array(evidence).T  # [T, states]
    owner = np.array(word_of_state)
    silent = owner < 0
    cost = np.where(silent, _PAUSE_COST, 0.0)
    skip_cost = np.full(len(owner), np.inf)
    skip_cost[2:][silent[1:-1] & ~silent[2:]] = 0.0  # from a word into the next, past the silence between them
    padded = np.full(2 + len(owner), -np.inf)  # two states from which nothing comes, and the best total in each state
    total, total_before, total_skipped = padded[2:], padded[1:-1], padded[:-2]
    total[:2] = steps[0, :2]
    moved, skipped = np.zeros((2, *steps.shape), dtype=bool)  # one state on since the step before, or two
    for step in range(1, len(steps)):
        from_before, from_skip = total_before - cost, total_skipped - skip_cost
        np.greater(from_before, total, out=moved[step])
        best = np.maximum(total, from_before)
        np.greater(from_skip, best, out=skipped[step])
        np.add(np.maximum(best, from_skip), steps[step], out=total)
    state = len(owner) - 1 if total[-1] >= total[-2] else len(owner) - 2
    path = np.empty(len(steps), dtype=np.int64)
    for step in range(len(steps) - 1, -1, -1):
        path[step] = state
        state -= 2 if skipped[step, state] else int(moved[step, state])
    on = owner[path]
    places = [np.flatnonzero(on == word) for word in range(len(pieces_of_word))]
    return [(int(place[0]), int(place[-1]) + 1) for place in places]


def _refined(spans: Sequence[tuple[int, int]], heard: np.ndarray, duration_s: float) -> list[tuple[float, float]]:
    """Return the spans in seconds, edges at a silence moved inwards to the first and last fine step in which something is heard."""
    per_step = round(STEP_S / _FINE_STEP_S)
    longest = round(_LONGEST_TRIM_S / _FINE_STEP_S)
    edges = [(start * per_step, stop * per_step) for start, stop in spans]
    refined = []
    for word, (start, stop) in enumerate(edges):
        loud = np.flatnonzero(heard[start:stop] >= _HEARD) + start
        leading, trailing = (int(loud[0]) - start, min(stop, len(heard)) - 1 - int(loud[-1])) if len(loud) else (longest, longest)
        if (word == 0 or edges[word - 1][1] < start) and leading < longest:
            start += leading
        if (word == len(edges) - 1 or edges[word + 1][0] > stop) and trailing < longest:
            stop -= trailing
        refined.append((start * _FINE_STEP_S, min(stop * _FINE_STEP_S, duration_s)))
    return refined


def _band_levels_db(samples: np.ndarray, step_s: float, window_s: float) -> np.ndarray:
    """Return the level in each of `_NUM_BANDS` mel bands around every step, in decibels: float64 [T, bands]."""
    step, window = round(step_s * SAMPLE_RATE_HZ), round(window_s * SAMPLE_RATE_HZ)
    num_steps = -(-len(samples) // step)
    padded = np.pad(samples.astype(np.float64), ((window - step) // 2, window + step))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::step][:num_steps]
    power = np.empty((num_steps, _FFT_SAMPLES // 2 + 1))
    for first in range(0, num_steps, _FRAMES_AT_ONCE):
        some = slice(first, first + _FRAMES_AT_ONCE)
        np.square(np.abs(np.fft.rfft(frames[some] * np.hanning(window), _FFT_SAMPLES, axis=1)), out=power[some])
    return 10 * np.log10(power @ _mel_bands().T + 1e-9)


def _mel_bands() -> np.ndarray:
    """Return triangular bands, equally wide on the mel scale: float64 [bands, frequencies]."""
    mel = 2595 * np.log10(1 + np.fft.rfftfreq(_FFT_SAMPLES, 1 / SAMPLE_RATE_HZ) / 700)
    lowest, highest = (2595 * np.log10(1 + hz / 700) for hz in (_LOWEST_HZ, _HIGHEST_HZ))
    edges = np.linspace(lowest, highest, _NUM_BANDS + 2)
    rising = (mel - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - mel) / (edges[2:] - edges[1:-1])[:, None]
    return np.clip(np.minimum(rising, falling), 0, None)


def windows_of(samples: np.ndarray) -> list[Window]:
    """Return the windows of a sound, in order, apart or touching; none holds nothing but silence."""
    heard = np.convolve(np.pad(presence(samples), 2, mode="edge"), np.full(5, 0.2), mode="valid")
    is_loud = heard >= _HEARD
    windows = []
    begin, end = 0, len(heard)
    while begin < end:
        stop, cuts_speech = _stop(heard, begin)
        loud = begin + np.flatnonzero(is_loud[begin:stop])
        if len(loud) * STEP_S >= _LEAST_SOUND_S:
            first = max(begin, int(loud[0]) - round(_EDGE_S / STEP_S))
            last = min(stop, int(loud[-1]) + 1 + round(_EDGE_S / STEP_S))
            windows.append(Window(start_s=round(first * STEP_S, 2), end_s=round(last * STEP_S, 2), cuts_speech=cuts_speech))
        begin = stop
    return windows


def _stop(heard: np.ndarray, begin: int) -> tuple[int, bool]:
    """Return the step at which a window that begins at `begin` ends, and whether that is no silence."""
    shortest, longest = (round(seconds / STEP_S) for seconds in (SHORTEST_S, LONGEST_S))
    quiet = np.flatnonzero(np.diff(np.concatenate([[0], heard[begin : begin + longest] < _HEARD, [0]])))
    silences = [(int(first), int(last)) for first, last in zip(quiet[::2], quiet[1::2], strict=True)]
    for first, last in silences:
        if first > 0 and (last - first) * STEP_S >= _LONG_SILENCE_S:
            return begin + (first + last) // 2, False
    if begin + longest >= len(heard):
        return len(heard), False
    late = [(first, last) for first, last in silences if last > shortest and (last - first) * STEP_S >= REAL_SILENCE_S]
    if late:
        first, last = max(late, key=lambda silence: silence[1] - silence[0])
        return begin + (first + last) // 2, False
    quietest = np.convolve(heard[begin + shortest : begin + longest], np.ones(5), mode="same")
    return begin + shortest + int(np.argmin(quietest)), True
