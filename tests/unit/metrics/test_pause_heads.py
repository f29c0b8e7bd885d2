import math

import numpy as np
import pytest
import torch

from stt_ft.metrics.pause_heads import (
    CLOCKS,
    HeadEvidence,
    best_hypothesis,
    calibration_error,
    drift_nats,
    explained,
    fit_hypotheses,
    pause_is_coming,
    reliability,
    squared_errors,
)
from stt_ft.targets.pause_targets import pause_targets


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


NUM_FRAMES, LAG_FRAMES = 150, 6


def clips_taught(clock, kind, *, certainty=0.9, keep_classes=True, num_clips=12):
    rng = np.random.default_rng(0)
    made = []
    for _ in range(num_clips):
        sound = np.sort(rng.choice(np.arange(5, 100), size=12, replace=False))
        late = np.sort(np.concatenate([sound[:4] + LAG_FRAMES, np.full(8, sound[-1] + LAG_FRAMES + 3)]))  # the last eight in one lump
        onsets = {"sound": sound, "text": sound + LAG_FRAMES, "written": late}
        labels = pause_targets(onsets[clock], onsets[clock], NUM_FRAMES, kind="count")
        probs = np.full((NUM_FRAMES, 4, 6), (1 - certainty) / 5)
        if kind == "count":
            np.put_along_axis(probs, labels[..., None], certainty, axis=2)
        else:
            probs[..., 0] = np.where(labels == 0, certainty, 1 - certainty)
            probs[..., 1:] = (1 - probs[..., :1]) / 5
        made.append(HeadEvidence(pause=probs[..., 0], word_classes=probs[..., 1:] if keep_classes else None, onset_frames=onsets))
    return made


@pytest.mark.parametrize("kind", ["binary", "count"])
@pytest.mark.parametrize("clock", CLOCKS)
def test_what_the_heads_were_taught_is_found_again(clock, kind):
    assert best_hypothesis(fit_hypotheses(clips_taught(clock, kind))) == (clock, kind)


def test_without_the_other_classes_only_the_clock_is_told():
    assert best_hypothesis(fit_hypotheses(clips_taught("text", "count", keep_classes=False))) == ("text", None)


def test_heads_that_say_the_same_in_every_frame_keep_to_no_clock():
    assert best_hypothesis(fit_hypotheses(clips_taught("text", "count", certainty=1 / 6))) == (None, None)


def test_share_explained_is_one_minus_torchs_loss_over_the_entropy_of_the_labels():
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(size=(400, 5)), rng.integers(0, 5, size=400)
    loss = torch.nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels)).item()
    entropy = torch.distributions.Categorical(torch.from_numpy(np.bincount(labels) / 400)).entropy().item()
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert explained(probs, labels) == pytest.approx(1 - loss / entropy)


def test_a_constant_guess_explains_nothing_and_certainty_everything():
    labels = np.array([0, 0, 0, 1])
    assert explained(np.tile([0.75, 0.25], (4, 1)), labels) == pytest.approx(0)
    assert explained(np.eye(2)[labels], labels) == pytest.approx(1)
    assert np.isnan(explained(np.tile([0.5, 0.5], (4, 1)), np.zeros(4, int)))
