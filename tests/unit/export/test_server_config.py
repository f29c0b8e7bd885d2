from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest

from stt_ft.core.errors import CheckpointError
from stt_ft.export.server_config import delay_in_tokens, feedforward_dim, server_toml

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PUBLISHED_1B = {
    "dim": 2048,
    "num_heads": 16,
    "num_layers": 16,
    "n_q": 32,
    "card": 2048,
    "text_card": 8000,
    "context": 750,
    "max_period": 100000.0,
}


def _with(model, **changes):
    return dataclasses.replace(model, config={**model.config, **changes})


def test_the_1b_shape_gives_kyutais_published_numbers(random_base):
    toml = tomllib.loads(server_toml(_with(random_base, **PUBLISHED_1B), directory=None))
    asr = toml["modules"]["asr"]
    assert asr["asr_delay_in_tokens"] == 6
    model = asr["model"]
    assert model["extra_heads"] == {"num_heads": 4, "dim": 6}
    assert {key: model[key] for key in ("audio_vocab_size", "text_in_vocab_size", "text_out_vocab_size", "audio_codebooks")} == {
        "audio_vocab_size": 2049,
        "text_in_vocab_size": 8001,
        "text_out_vocab_size": 8000,
        "audio_codebooks": 32,
    }
    expected = {"d_model": 2048, "num_heads": 16, "num_layers": 16, "dim_feedforward": 8192, "context": 750, "max_period": 100000}
    assert {key: model["transformer"][key] for key in expected} == expected


def test_a_model_without_heads_gets_no_heads_section(random_base):
    toml = tomllib.loads(server_toml(_with(random_base, extra_heads_num_heads=0), directory=None))
    assert "extra_heads" not in toml["modules"]["asr"]["model"]


def test_paths_are_relative_or_absolute_by_choice(random_base):
    relative = tomllib.loads(server_toml(random_base, directory=None))["modules"]["asr"]
    absolute = tomllib.loads(server_toml(random_base, directory=Path('/models/a "b"')))["modules"]["asr"]
    assert relative["lm_model_file"] == "model.safetensors"
    assert absolute["lm_model_file"] == '/models/a "b"/model.safetensors'


@pytest.mark.parametrize(("lag_s", "tokens"), [(0.5, 6), (2.5, 32), (1.0, 12), (0.8, 10)])
def test_the_delay_is_the_published_one_or_the_nearest(lag_s, tokens):
    assert delay_in_tokens(lag_s) == tokens


@pytest.mark.parametrize(("hidden_scale", "expected"), [(4.125, 4 * 64), (3.0, 3 * 64)])
def test_rust_and_python_make_gates_of_one_width(random_base, hidden_scale, expected):
    assert feedforward_dim(_with(random_base, hidden_scale=hidden_scale)) == expected


def test_a_width_that_rust_cannot_make_is_refused(random_base):
    with pytest.raises(CheckpointError, match="cannot build gates"):
        feedforward_dim(_with(random_base, hidden_scale=4))
