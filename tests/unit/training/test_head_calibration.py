from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from random_models import random_codes
from training_runs import run_train

from stt_ft.core.config import dump_config
from stt_ft.core.errors import ConfigError
from stt_ft.core.recipe import CalibrationRecipe, LoraRecipe, ValidationRecipe
from stt_ft.dataset.sidecar import Word
from stt_ft.metrics.endpointing import EndpointRule
from stt_ft.model.stt_lm import forward, load_lm
from stt_ft.training import calibration
from stt_ft.training.calibration import HeadCorrection, HeardHeads, constant_direction, fit_likelihood, hidden_of
from stt_ft.training.checkpoints import find_consolidated
from stt_ft.training.data.clips import TrainingClip
from stt_ft.training.validation import Listener

RULE = EndpointRule()


def _frames(num_frames: int = 4000, dim: int = 24, noise: float = 0.1) -> torch.Tensor:
    """Frames of constant length, as a norm leaves them, around a common mean."""
    frames = torch.randn(num_frames, dim, dtype=torch.float64) * noise + torch.linspace(-1, 1, dim, dtype=torch.float64)
    return frames / frames.norm(dim=1, keepdim=True) * dim**0.5


def test_a_direction_that_carries_a_constant_is_found_and_folds_a_bias_into_the_weight():
    frames = _frames()
    direction = constant_direction([frames[:2000]])
    constant = frames[2000:] @ direction
    assert constant.mean().item() == pytest.approx(1.0, abs=0.05)
    assert constant.std().item() < 0.1
    weight = torch.randn(6, 24)
    corrected = HeadCorrection(scale=0.8, bias=-1.5).apply(weight, direction)
    logits, expected = frames[2000:] @ corrected.double().T, 0.8 * frames[2000:] @ weight.double().T
    expected[:, 0] -= 1.5
    assert (logits - expected)[:, 0].abs().mean() < 0.15
    torch.testing.assert_close(logits[:, 1:], expected[:, 1:], atol=1e-5, rtol=1e-5)


def test_the_likelihood_fit_finds_a_planted_scale_and_bias():
    logits = torch.randn(40_000, 6, dtype=torch.float64) * 2
    constant = 1 + 0.1 * torch.randn(40_000, dtype=torch.float64)
    scaled = 0.5 * logits
    odds = scaled[:, 0] - scaled[:, 1:].logsumexp(-1) - 0.8 * constant
    is_pause = torch.rand(40_000, dtype=torch.float64) < odds.sigmoid()
    found = fit_likelihood(logits, constant, is_pause)
    assert (found.scale, found.bias) == (pytest.approx(0.5, abs=0.03), pytest.approx(-0.8, abs=0.06))

    def loss(scale: float, bias: float) -> float:  # written out in NumPy
        z = scale * logits.numpy()
        x = z[:, 0] - np.log(np.exp(z[:, 1:]).sum(1)) + bias * constant.numpy()
        return float(np.mean(np.where(is_pause.numpy(), np.log1p(np.exp(-x)), np.log1p(np.exp(x)))))

    best = loss(found.scale, found.bias)
    for scale, bias in ((0.01, 0), (-0.01, 0), (0, 0.01), (0, -0.01)):
        assert loss(found.scale + scale, found.bias + bias) > best


def test_heads_that_are_always_wrong_are_refused():
    logits = torch.randn(5000, 6, dtype=torch.float64)
    is_pause = logits[:, 0] < logits[:, 1:].logsumexp(-1)
    with pytest.raises(ConfigError, match="contradicts the pause heads"):
        fit_likelihood(logits, torch.ones(5000), is_pause)


@pytest.mark.parametrize("lora", [LoraRecipe(rank=4), LoraRecipe(rank=4, heads="lora"), LoraRecipe(rank=None)], ids=["full", "lora", "all"])
def test_a_calibrated_run_merges_with_the_corrected_heads_and_nothing_else_changed(recipe, random_base, lora, monkeypatch):
    monkeypatch.setattr(calibration, "MAX_SPREAD", 1.0)  # of random weights no direction is that constant
    asked = dataclasses.replace(
        recipe, lora=lora, validation=ValidationRecipe(every_steps=0), calibration=CalibrationRecipe(method="likelihood")
    )
    run = run_train(asked)
    record = json.loads((run.directory / "calibrated" / "calibration.json").read_text())
    scales, biases = (torch.tensor([head[name] for head in record["heads"]])[:, None] for name in ("scale", "bias"))
    assert find_consolidated(run.directory) == run.directory / "calibrated" / "consolidated"

    def opened(directory):
        weights = next(directory.glob("*.safetensors"))
        if lora.enable:
            return load_lm(random_base, lora_weights=weights)
        return load_lm(dataclasses.replace(random_base, lm_weights=weights))

    codes = torch.cat([torch.randint(0, 96, (1, 30)), torch.from_numpy(random_codes(random_base, 30)).long()])[None]
    with torch.no_grad():
        before = forward(opened(run.checkpoint(12) / "consolidated"), codes)
        after = forward(opened(find_consolidated(run.directory)), codes)
    torch.testing.assert_close(after.text_logits, before.text_logits)
    torch.testing.assert_close(after.head_logits[..., 1:], before.head_logits[..., 1:] * scales, atol=1e-5, rtol=1e-4)
    added = (after.head_logits - before.head_logits * scales)[..., 0] / biases[:, 0]  # u . h, alike for all heads
    torch.testing.assert_close(added, added[..., :1].expand_as(added), atol=1e-3, rtol=1e-3)
    assert added.mean() > 0.2

    made = (run.directory / "calibrated" / "calibration.json").stat().st_mtime_ns
    run_train(asked)  # done before: nothing to do
    assert (run.directory / "calibrated" / "calibration.json").stat().st_mtime_ns == made
    (run.directory / "args.yaml").write_text(dump_config(dataclasses.replace(asked, calibration=CalibrationRecipe())))
    assert find_consolidated(run.directory) == run.checkpoint(12) / "consolidated"


def test_what_the_heads_hear_is_what_the_server_hears(random_base):
    from stt_ft.model.streaming import stream_codes

    lm, codes = load_lm(random_base), random_codes(random_base, 40)
    stream = stream_codes(lm, [codes])[0]
    hidden = hidden_of(lm, stream.text_tokens, codes)
    logits = torch.stack([hidden @ weight.detach().double().T for weight in lm.extra_heads.parameters()], dim=1)
    np.testing.assert_allclose(logits.softmax(-1)[..., 0].numpy(), stream.pause_probs, atol=1e-5)


def test_the_silence_prefix_is_no_part_of_a_calibrated_turn(random_base):
    """A turn begins with the recording, and so does what is measured of it; the fit hears the prefix as the server does."""
    prefixed = dataclasses.replace(
        random_base, config={**random_base.config, "stt_config": {"audio_delay_seconds": 0.5, "audio_silence_prefix_seconds": 0.4}}
    )
    clip = TrainingClip(
        clip_id="a",
        codes=random_codes(random_base, 60),
        words=(Word(text="one", tokens=(9,), start_s=1.0, end_s=1.3), Word(text="two", tokens=(10,), start_s=2.0, end_s=2.3)),
        in_number=(True, True),
        num_recorded_frames=30,
    )
    hidden = torch.ones(60, 8, dtype=torch.float64)
    hidden[:5] = 100.0  # in the prefix nothing is constant
    heard = HeardHeads(
        clips=[clip],
        hidden=[hidden],
        weights=[torch.randn(6, 8) for _ in range(4)],
        direction=torch.full((8,), 1 / 8, dtype=torch.float64),
        listener=Listener(model=prefixed),
    )
    turn = heard.turns(heard.weights)[0]
    assert turn.pause_probs.shape == (55, 4)
    assert (turn.first_word_start_s, turn.last_word_start_s, turn.last_word_end_s) == pytest.approx((0.6, 1.6, 1.9))
    assert heard.spread() == pytest.approx(0.0, abs=1e-9)
    assert heard.is_pause().shape == (60, 4)


def test_a_calibration_that_is_killed_between_the_old_and_the_new_loses_neither(recipe, monkeypatch):
    monkeypatch.setattr(calibration, "MAX_SPREAD", 1.0)
    asked = dataclasses.replace(recipe, validation=ValidationRecipe(every_steps=0), calibration=CalibrationRecipe(method="likelihood"))
    run = run_train(asked)
    kept = (run.directory / "calibrated" / "calibration.json").read_bytes()
    (run.directory / "calibrated" / "calibration.json").write_text("{}")  # of another checkpoint: to be made anew

    def killed(*_args, **_options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(calibration, "write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            run_train(asked)
    assert (run.directory / "calibrated" / "consolidated" / "lora.safetensors").is_file()
    run_train(asked)
    assert (run.directory / "calibrated" / "calibration.json").read_bytes() == kept
