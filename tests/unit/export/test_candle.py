from __future__ import annotations

import dataclasses
import shutil
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch

from stt_ft.core.errors import CheckpointError, ConfigError
from stt_ft.core.serving import KYUTAI, SERVINGS, Serving
from stt_ft.export.candle import delay_in_tokens, export_candle, feedforward_dim, server_toml
from stt_ft.model.checkpoint_dir import open_model
from stt_ft.model.safetensors_file import pytorch_name
from stt_ft.model.stt_lm import load_lm

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib
from stt_ft.stages.handover import export

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


@pytest.fixture
def pytorch_named(random_base, tmp_path):
    directory = shutil.copytree(random_base.directory, tmp_path / "pytorch")
    weights = {pytorch_name(name): tensor for name, tensor in safetensors.torch.load_file(random_base.lm_weights).items()}
    safetensors.torch.save_file(weights, directory / "model.safetensors")
    return open_model(directory)


def test_pytorch_names_become_candles_and_no_number_changes(random_base, pytorch_named, tmp_path):
    names = export_candle(pytorch_named, tmp_path / "out")
    exported = safetensors.torch.load_file(tmp_path / "out" / "model.safetensors")
    original = safetensors.torch.load_file(random_base.lm_weights)
    assert sorted(names) == sorted(exported) == sorted(original)
    assert all(torch.equal(exported[name], tensor) for name, tensor in original.items())


def test_the_export_is_a_model_directory_with_all_heads_and_a_server_config(random_base, tmp_path):
    out = tmp_path / "out"
    export_candle(random_base, out)
    model = open_model(out)
    assert sum(name.startswith("extra_heads.") for name in model.lm_header().tensors) == 4
    assert 'lm_model_file = "model.safetensors"' in (out / "moshi-server.toml").read_text()
    assert torch.equal(load_lm(model).text_linear.weight, load_lm(random_base).text_linear.weight)


def _rewritten(random_base, tmp_path, change):
    directory = shutil.copytree(random_base.directory, tmp_path / "changed")
    weights = safetensors.torch.load_file(random_base.lm_weights)
    change(weights)
    safetensors.torch.save_file(weights, directory / "model.safetensors")
    return open_model(directory)


def test_a_missing_tensor_is_named(random_base, tmp_path):
    model = _rewritten(random_base, tmp_path, lambda weights: weights.pop("transformer.layers.1.norm2.alpha"))
    with pytest.raises(CheckpointError, match=r"lacks transformer\.layers\.1\.norm2\.alpha"):
        export_candle(model, tmp_path / "out")


def test_a_tensor_left_over_is_named(random_base, tmp_path):
    model = _rewritten(random_base, tmp_path, lambda weights: weights.update({"depformer_in.0.weight": torch.zeros(2, 2)}))
    with pytest.raises(CheckpointError, match=r"depformer_in\.0\.weight, which the engine does not know"):
        export_candle(model, tmp_path / "out")


def test_what_the_engine_cannot_build_is_refused_with_every_reason(random_base, tmp_path):
    model = dataclasses.replace(random_base, config={**random_base.config, "norm": "layer_norm", "delays": [0, 0, 1, 1, 1]})
    with pytest.raises(CheckpointError, match=r"norm is 'layer_norm'.*delays are not all 0"):
        export_candle(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_existing_directory_is_kept_unless_asked(random_base, tmp_path):
    export_candle(random_base, tmp_path / "out")
    with pytest.raises(CheckpointError, match="exists already"):
        export_candle(random_base, tmp_path / "out")
    export_candle(random_base, tmp_path / "out", overwrite=True, absolute_paths=True)
    assert str(tmp_path / "out" / "model.safetensors") in (tmp_path / "out" / "moshi-server.toml").read_text()


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


def test_both_servers_have_a_file_and_ours_reads_them_back(random_base, tmp_path):
    """Unmute's published numbers for the 1b shape (its stt.toml at 84aa28d), and the same serving from the file."""
    text = server_toml(_with(random_base, **PUBLISHED_1B), directory=None, serving=SERVINGS["unmute"])
    asr = tomllib.loads(text)["modules"]["asr"]
    assert (asr["temperature"], asr["model"]["audio_codebooks"]) == (0.25, 20)
    export_candle(random_base, tmp_path / "out")
    kyutai, unmute = (Serving.named(str(tmp_path / "out" / name)) for name in ("moshi-server.toml", "moshi-server-unmute.toml"))
    assert kyutai == dataclasses.replace(KYUTAI, codebooks=random_base.n_q)
    heard = SERVINGS["unmute"].num_codebooks(random_base.n_q)
    assert unmute == dataclasses.replace(SERVINGS["unmute"], codebooks=heard, of_codebooks=None)


def test_one_serving_asked_for_has_the_servers_file_alone(random_base, tmp_path):
    export(str(random_base.directory), out=tmp_path / "out", serving="unmute")
    assert [path.name for path in (tmp_path / "out").glob("*.toml")] == ["moshi-server.toml"]
    assert "temperature = 0.25" in (tmp_path / "out" / "moshi-server.toml").read_text()
    with pytest.raises(ConfigError, match="mlx has no server's file"):
        export(str(random_base.directory), out=tmp_path / "mlx", format="mlx", serving="unmute")


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
