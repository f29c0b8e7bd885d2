from __future__ import annotations

import numpy as np
import pytest

from stt_ft.core.errors import AudioError, DatasetError
from stt_ft.model.token_store import TokenStore, audio_key

HASH = "ab" * 32


def _codes(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 64, (4, 5 + seed)).astype(np.int16)


def test_codes_come_back_from_any_shard_after_reopening(tmp_path):
    store = TokenStore.open(tmp_path, HASH)
    assert store.missing(["a", "b", "a"]) == ["a", "b"]
    store.add({"a": _codes(1), "b": _codes(2)})
    store.add({"c": _codes(3)})
    again = TokenStore.open(tmp_path, HASH)
    assert again.missing(["c", "d", "a"]) == ["d"]
    for seed, key in enumerate("abc", start=1):
        assert np.array_equal(again.get(key), _codes(seed))
        assert again.get(key).dtype == np.int16


def test_codes_of_one_codec_are_not_found_under_another(tmp_path):
    TokenStore.open(tmp_path, HASH).add({"a": _codes(1)})
    assert TokenStore.open(tmp_path, "cd" * 32).missing(["a"]) == ["a"]


def test_a_shard_left_by_a_killed_run_is_not_overwritten(tmp_path):
    store = TokenStore.open(tmp_path, HASH)
    store.add({"a": _codes(1)})
    (store.directory / "index.json").unlink()  # killed between the shard and its index
    again = TokenStore.open(tmp_path, HASH)
    assert again.missing(["a"]) == ["a"]
    again.add({"b": _codes(2)})
    assert sorted(path.name for path in store.directory.glob("*.safetensors")) == ["00000.safetensors", "00001.safetensors"]


def test_a_clip_without_codes_is_an_error_with_the_way_out(tmp_path):
    with pytest.raises(DatasetError, match="stt-ft encode"):
        TokenStore.open(tmp_path, HASH).get("a")


def test_a_broken_index_is_named(tmp_path):
    store = TokenStore.open(tmp_path, HASH)
    store.add({"a": _codes(1)})
    (store.directory / "index.json").write_text('["a"]')
    with pytest.raises(DatasetError, match=r"index\.json"):
        TokenStore.open(tmp_path, HASH)


def test_the_key_follows_the_bytes_and_not_the_name(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"sound")
    (tmp_path / "b.wav").write_bytes(b"sound")
    (tmp_path / "c.wav").write_bytes(b"Sound")
    keys = [audio_key(tmp_path / f"{name}.wav") for name in "abc"]
    assert keys[0] == keys[1] != keys[2]
    with pytest.raises(AudioError, match=r"gone\.wav"):
        audio_key(tmp_path / "gone.wav")
