"""Heads that were made to keep to one hypothesis, and the hypothesis found again."""

import numpy as np
import pytest
import torch

from stt_ft.metrics.label_hypotheses import CLOCKS, HeadEvidence, best_hypothesis, explained, fit_hypotheses
from stt_ft.targets.pause_targets import pause_targets

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
