import math

import numpy as np
import pytest
import torch

from stt_ft.metrics.calibration import calibration_error, drift_nats, pause_is_coming, reliability, squared_errors


def test_pause_is_coming_is_no_word_beginning_within_the_horizon():
    starts_s = [0.5, 1.0, 2.6]
    got = pause_is_coming(starts_s, 40, 1.0)
    for row in range(40):
        known_s = round((row + 1) * 0.08, 6)
        assert got[row] == (not any(known_s < start_s <= known_s + 1.0 for start_s in starts_s)), row


def test_brier_terms_are_the_mean_squared_error_of_torch():
    rng = np.random.default_rng(0)
    probs, truth = rng.uniform(size=200), rng.uniform(size=200) < 0.3
    expected = torch.nn.functional.mse_loss(torch.from_numpy(probs), torch.from_numpy(truth).double()).item()
    assert squared_errors(probs, truth).mean() == pytest.approx(expected)


def test_calibrated_probabilities_have_no_calibration_error_and_shifted_ones_have_the_shift():
    rng = np.random.default_rng(1)
    chance = rng.uniform(0.2, 0.7, size=200_000)
    truth = rng.uniform(size=len(chance)) < chance
    assert calibration_error(reliability(chance, truth)) < 0.01
    assert calibration_error(reliability(chance + 0.2, truth)) == pytest.approx(0.2, abs=0.01)


def test_bins_hold_every_row_once_ends_included():
    probs = np.array([0.0, 0.05, 0.1, 0.5, 0.999, 1.0])
    bins = reliability(probs, probs > 0.4)
    assert [one.num_rows for one in bins] == [2, 1, 1, 2]
    assert [one.share_true for one in bins] == [0.0, 0.0, 1.0, 1.0]


def test_drift_is_torchs_divergence_of_two_coins():
    p, q = np.array([0.1, 0.5, 0.9]), np.array([0.2, 0.5, 0.4])
    coins = [torch.distributions.Bernoulli(torch.from_numpy(probs)) for probs in (p, q)]
    assert drift_nats(p, q) == pytest.approx(torch.distributions.kl_divergence(*coins).numpy())
    assert drift_nats(p, p) == pytest.approx([0, 0, 0])
    assert math.isfinite(drift_nats(np.array([0.0, 1.0]), np.array([1.0, 0.0])).max())
