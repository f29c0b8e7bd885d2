from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from random_models import random_codes
from test_loop import recipe, run_train

from stt_ft.core.config import dump_config
from stt_ft.core.errors import ConfigError
from stt_ft.core.recipe import CalibrationRecipe, LoraRecipe, ValidationRecipe
from stt_ft.metrics.endpointing import EndpointRule, Turn, judge_turn
from stt_ft.model.stt_lm import forward, load_lm
from stt_ft.training import calibrated_run
from stt_ft.training.calibration import HeadCorrection, constant_direction, fit_likelihood, hidden_of
from stt_ft.training.run_state import find_consolidated

__all__ = ["recipe"]

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


def test_without_a_bias_only_the_scale_is_fitted():
    logits = torch.randn(20_000, 6, dtype=torch.float64)
    odds = 2 * logits[:, 0] - (2 * logits[:, 1:]).logsumexp(-1)
    found = fit_likelihood(logits, torch.ones(20_000), torch.rand(20_000) < odds.sigmoid(), with_bias=False)
    assert (found.scale, found.bias) == (pytest.approx(2.0, abs=0.1), 0.0)


def test_heads_that_are_always_wrong_are_refused():
    logits = torch.randn(5000, 6, dtype=torch.float64)
    is_pause = logits[:, 0] < logits[:, 1:].logsumexp(-1)
    with pytest.raises(ConfigError, match="contradicts the pause heads"):
        fit_likelihood(logits, torch.ones(5000), is_pause)


def _turns(num_turns: int, seed: int) -> tuple[list[Turn], list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    turns = [
        Turn(
            pause_probs=rng.normal(0, 2, (60, 4)).cumsum(0) / 4,
            first_word_start_s=0.3,
            last_word_start_s=float(rng.uniform(2.0, 3.5)),
            last_word_end_s=3.8,
        )
        for _ in range(num_turns)
    ]
    return turns, [1 + 0.2 * rng.random(60) for _ in turns]


def _share_cut_off(turns: list[Turn], constants: list[np.ndarray], bias: float) -> float:
    verdicts = []
    for turn, constant in zip(turns, constants, strict=True):
        probs = 1 / (1 + np.exp(-(turn.pause_probs + bias * constant[:, None])))
        verdicts.append(judge_turn(dataclasses.replace(turn, pause_probs=probs), RULE).is_cut_off)
    return sum(verdicts) / len(verdicts)


@pytest.mark.parametrize(
    "lora", [LoraRecipe(rank=4), LoraRecipe(rank=4, heads="lora"), LoraRecipe(enable=False)], ids=["full", "lora", "all"]
)
def test_a_calibrated_run_merges_with_the_corrected_heads_and_nothing_else_changed(recipe, random_base, monkeypatch, lora):
    monkeypatch.setattr(calibrated_run, "fit_likelihood", lambda *_, **__: HeadCorrection(scale=0.7))  # random heads foresee nothing
    asked = dataclasses.replace(
        recipe,
        lora=lora,
        validation=ValidationRecipe(every_steps=0),
        schedule=dataclasses.replace(recipe.schedule, max_steps=3),
        calibration=CalibrationRecipe(method="likelihood"),
    )
    run = run_train(asked)
    record = json.loads((run.directory / "calibrated" / "calibration.json").read_text())
    scales = [head["scale"] for head in record["heads"]]
    assert find_consolidated(run.directory) == run.directory / "calibrated" / "consolidated"

    def opened(directory):
        weights = next(directory.glob("*.safetensors"))
        if lora.enable:
            return load_lm(random_base, lora_weights=weights)
        return load_lm(dataclasses.replace(random_base, lm_weights=weights))

    codes = torch.cat([torch.randint(0, 96, (1, 30)), torch.from_numpy(random_codes(random_base, 30)).long()])[None]
    with torch.no_grad():
        before = forward(opened(run.checkpoint(3) / "consolidated"), codes)
        after = forward(opened(find_consolidated(run.directory)), codes)
    torch.testing.assert_close(after.text_logits, before.text_logits)
    torch.testing.assert_close(after.head_logits, before.head_logits * torch.tensor(scales)[:, None], atol=1e-5, rtol=1e-4)

    made = (run.directory / "calibrated" / "calibration.json").stat().st_mtime_ns
    run_train(asked)  # done before: nothing to do
    assert (run.directory / "calibrated" / "calibration.json").stat().st_mtime_ns == made
    (run.directory / "args.yaml").write_text(dump_config(dataclasses.replace(asked, calibration=CalibrationRecipe())))
    assert find_consolidated(run.directory) == run.checkpoint(3) / "consolidated"


def test_what_the_heads_hear_is_what_the_server_hears(random_base):
    from stt_ft.model.streaming import stream_codes

    lm, codes = load_lm(random_base), random_codes(random_base, 40)
    stream = stream_codes(lm, [codes])[0]
    hidden = hidden_of(lm, stream.text_tokens, codes)
    logits = torch.stack([hidden @ head.weight.detach().double().T for head in lm.extra_heads], dim=1)
    np.testing.assert_allclose(logits.softmax(-1)[..., 0].numpy(), stream.pause_probs, atol=1e-5)
