from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from random_models import make_random_base

from stt_ft.core.errors import CheckpointError
from stt_ft.model.checkpoint_dir import open_model


@pytest.fixture
def directory(random_base, tmp_path: Path) -> Path:
    return shutil.copytree(random_base.directory, tmp_path / "model")


def _change_config(directory: Path, **changes) -> None:
    config = json.loads((directory / "config.json").read_text())
    config.update(changes)
    (directory / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def test_a_directory_opens_with_its_facts(random_base):
    model = open_model(random_base.directory)
    assert (model.text_lag_s, model.silence_prefix_s, model.num_prefix_frames) == (0.5, 0.0, 0)
    assert (model.n_q, model.num_heads, model.context) == (4, 4, 250)
    assert "mimi_name" not in model.lm_kwargs
    assert model.lm_kwargs["dim"] == 64
    assert model.tokenizer.decode(model.tokenizer.encode("order number one")) == "order number one"


def test_a_model_without_pause_heads_is_refused_by_name_unless_none_are_asked_for(tmp_path):
    model = make_random_base(tmp_path / "plain", extra_heads=False)
    with pytest.raises(CheckpointError, match=r"plain.*no extra heads.*kyutai/stt-1b-en_fr-candle"):
        open_model(model.directory)
    assert open_model(model.directory, require_extra_heads=False).num_heads == 0


def test_heads_promised_by_the_config_but_absent_from_the_weights_are_named(tmp_path):
    directory = make_random_base(tmp_path / "plain", extra_heads=False).directory
    _change_config(directory, extra_heads_num_heads=4)
    with pytest.raises(CheckpointError, match=r"no tensor extra_heads\.0\.weight"):
        open_model(directory)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"dim": None, "card": "many"}, r"config\.json: dim: missing; card: must be a whole number, got the text 'many'"),
        ({"stt_config": None}, "no speech-to-text model"),
        ({"lora": True}, "config of an adapter"),
        ({"dep_q": 3}, "dep_q is 3: the model speaks; only models that listen"),
        ({"mimi_name": "../mimi.safetensors"}, "leads out of the directory"),
        ({"tokenizer_name": "gone.model"}, r"gone\.model: no such file"),
        ({"text_card": 95}, r"text_emb\.weight has shape \[97, 64\], config\.json says \[96, 64\]"),
        ({"n_q": 5}, r"no tensor emb\.4\.weight"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(directory, changes, reason):
    _change_config(directory, **changes)
    with pytest.raises(CheckpointError, match=reason):
        open_model(directory)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe"])
def test_a_config_that_is_no_json_object_is_refused(directory, content):
    (directory / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        open_model(directory)


def test_truncated_weights_are_found_without_loading_them(directory):
    weights = directory / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        open_model(directory)


def test_a_broken_tokenizer_is_named(directory):
    (directory / "tokenizer.model").write_bytes(b"no model")
    with pytest.raises(CheckpointError, match=r"tokenizer\.model: not a sentencepiece model"):
        open_model(directory).tokenizer.encode("one")


@pytest.mark.parametrize("name", ["./nowhere", "a/b/c", "nowhere"])
def test_what_is_neither_directory_nor_repository_is_refused(name):
    with pytest.raises(CheckpointError, match="no such model directory"):
        open_model(name)


def test_a_hub_that_cannot_be_reached_is_one_plain_line():
    with pytest.raises(CheckpointError, match=r"someone/some-model.*config\.json could not be fetched") as caught:
        open_model("someone/some-model")
    assert "\n" not in str(caught.value)
