import numpy as np

from stt_ft.metrics.silence import silent_for_s, turn_rows


def test_silence_counts_from_the_first_quiet_step_after_speech():
    probs = [0.0, 0.1, 0.9, 0.9, 0.1, 0.1, 0.1, 0.9, 0.2]
    assert silent_for_s(probs, 1.0).tolist() == [0, 0, 0, 0, 0, 1, 2, 0, 0]


def test_a_step_between_the_two_thresholds_neither_begins_nor_ends_a_silence():
    assert silent_for_s([0.9, 0.4, 0.4, 0.1, 0.4, 0.1], 1.0).tolist() == [0, 0, 0, 0, 1, 2]


def test_nobody_speaking_is_no_turn_to_end():
    assert not silent_for_s([0.1] * 50, 0.032).any()
    assert not turn_rows(silent_for_s([0.1] * 50, 0.032), 0.032, 20).any()


def test_a_row_knows_the_steps_that_ended_before_it_did():
    silent_s = np.arange(30) * 0.04
    rows = turn_rows(silent_s, 0.04, 10, rules_s=(0.2,))[:, 0]
    by_hand = [silent_s[round((row + 1) * 0.08 / 0.04) - 1] >= 0.2 - 1e-9 for row in range(10)]
    assert rows.tolist() == [float(passed) for passed in by_hand]


def test_rows_past_the_sound_keep_its_last_word():
    assert turn_rows(np.array([0.0, 0.6]), 0.032, 5)[:, 0].tolist() == [1.0] * 5
    assert turn_rows(np.zeros(0), 0.032, 3).tolist() == [[0, 0, 0]] * 3
