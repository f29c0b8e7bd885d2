import math

import numpy as np
import pytest

from stt_ft.core.timing import frame_heard_s
from stt_ft.dataset.sidecar import Word
from stt_ft.metrics.eot_bench import EotTally, Look, looks, silences


def words_at(*spans):
    return [Word(text="x", start_s=start_s, end_s=end_s) for start_s, end_s in spans]


def tallied(rows):
    """Return the tally of `rows`, clip after clip."""
    tally = EotTally()
    for clip in dict.fromkeys(row.id for row in rows):
        tally.add([row for row in rows if row.id == clip])
    return tally


def test_silences_are_those_between_words_and_the_one_after_them():
    words = words_at((0.5, 0.9), (0.95, 1.3), (1.7, 2.0))
    assert silences(words, 4.0) == [(1.3, 1.7), (2.0, 4.0)]  # 0.05 s is none


def test_a_word_inside_another_ends_no_silence():
    assert silences(words_at((0.0, 1.0), (0.2, 0.4), (1.5, 2.0)), 3.0) == [(1.0, 1.5), (2.0, 3.0)]


def test_a_look_sees_the_newest_frame_of_its_own_silence():
    """The case of eot-bench's own tests, in frames: what was said before the silence counts nothing in it."""
    probs = np.linspace(0.01, 0.5, 50)
    rows = looks("a", [(1.0, 1.34), (2.0, 2.3)], probs)
    assert [row.timestamp for row in rows] == [1.0, 1.1, 1.2, 1.3, 1.34, 2.0, 2.1, 2.2, 2.3]
    assert [row.label for row in rows] == ["hold"] * 5 + ["eot"] * 4
    assert [row.silence_dur for row in rows[:5]] == [0.0, 0.1, 0.2, 0.3, 0.34]
    for row in rows:
        start_s = round(row.timestamp - row.silence_dur, 6)
        seen = [probs[t] for t in range(50) if start_s <= frame_heard_s(t) + 1e-6 and frame_heard_s(t) <= row.timestamp + 1e-6]
        assert row.p_eot == (pytest.approx(seen[-1]) if seen else 0.0)


def by_hand(rows):
    """eot-bench's sweep, told look by look as an agent lives it: (cut-off rate, mean latency) of each policy. No code is shared."""
    spans = {}
    for row in rows:
        spans.setdefault((row.id, row.span_index), []).append(row)

    def acts_after(span, threshold, delay, timer):
        above = [row.silence_dur for row in span if row.p_eot > threshold]
        return min(timer, max(delay, above[0])) if above else timer

    points = []
    for threshold in [step / 100 for step in range(101)]:
        for delay in [step / 10 for step in range(2, 11)]:
            for timer in [1.0, 1.5, 2.0, 2.5, 3.0, 3.5]:
                cut, held, waits = 0, 0, []
                for span in spans.values():
                    lasts, acts = span[-1].silence_dur, acts_after(span, threshold, delay, timer)
                    if span[0].label == "eot":
                        waits.append(acts)
                    elif 0.2 - 1e-9 <= lasts <= 5.0 + 1e-9:
                        held += 1
                        cut += lasts > acts + 1e-9
                points.append((cut / held, sum(waits) / len(waits)))
    return points


@pytest.mark.parametrize("seed", range(3))
def test_operating_points_are_those_of_a_plain_script(seed):
    rng, rows = np.random.default_rng(seed), []
    for clip in range(20):
        starts_s = np.cumsum(rng.uniform(0.3, 1.5, size=6))
        words = words_at(*[(start_s, start_s + rng.uniform(0.15, 0.4)) for start_s in starts_s])
        until_s = words[-1].end_s + 4.0
        num_frames = int(until_s / 0.08)
        rising = np.array([frame_heard_s(t) > words[-1].end_s for t in range(num_frames)])
        probs = np.clip(rng.uniform(0.0, 0.7, num_frames) + 0.5 * rising, 0.0, 1.0)
        rows += looks(f"clip{clip}", silences(words, until_s), probs)
    found, points = tallied(rows).figures(), by_hand(rows)
    assert found is not None
    assert found.num_ends == 20
    for budget_s, rate in found.cut_offs_within_s.items():
        within = [one for one, latency_s in points if latency_s <= float(budget_s) + 1e-9]
        assert rate == (pytest.approx(min(within), abs=1e-12) if within else None)
    for budget, latency_s in found.latency_within_s.items():
        within = [one for rate, one in points if rate <= float(budget) + 1e-9]
        assert latency_s == (pytest.approx(min(within), abs=1e-12) if within else None)
    best = [min([one for rate, one in points if rate <= step / 1000 + 1e-9], default=math.nan) for step in range(101)]
    assert found.area_s == (pytest.approx(np.nanmean(best)) if not np.isnan(best).all() else None)


def test_a_timer_alone_is_a_detector_that_never_fires():
    rows = [Look(id="a", span_index=0, timestamp=1.0, silence_dur=0.7, p_eot=0.0, label="hold")]
    rows += [Look(id="b", span_index=0, timestamp=1.0, silence_dur=0.4, p_eot=0.0, label="hold")]
    rows += [Look(id="a", span_index=1, timestamp=9.0, silence_dur=4.0, p_eot=0.0, label="eot")]
    figures = tallied(rows).timer()
    assert figures is not None
    assert figures.cut_offs_within_s == {"0.3": 1.0, "0.6": 0.5}  # 0.4 to 0.6 s let the short one pass
    assert figures.latency_within_s == {"0.05": 0.7, "0.1": 0.7}


def test_without_holds_there_is_nothing_to_weigh():
    assert tallied(looks("a", [(1.0, 3.0)], np.zeros(50))).figures() is None
