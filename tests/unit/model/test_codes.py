from __future__ import annotations

import dataclasses
import gc
import os
import tracemalloc

import numpy as np
import pytest
import safetensors.numpy
import torch
from random_models import write_dataset

from stt_ft.audio.channel import channels_named
from stt_ft.audio.files import change_speed, read_audio
from stt_ft.audio.sounds import Sound, audio_key, sounds_of
from stt_ft.core.errors import AudioError, CheckpointError, DatasetError
from stt_ft.core.recipe import Version
from stt_ft.core.timing import SAMPLES_PER_FRAME
from stt_ft.dataset.manifest import Clip
from stt_ft.model import codes as codes_module
from stt_ft.model.codes import MimiCodec, TokenStore, codec_hash, codes_of
from stt_ft.model.safetensors_file import read_header
from stt_ft.stages.finetune import encode

HASH = "ab" * 32


def _sound(num_samples: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    loudness = np.abs(np.sin(np.arange(num_samples) / 3000))
    return (rng.standard_normal(num_samples) * loudness * 0.2).astype(np.float32)


@pytest.fixture(scope="module")
def codec(random_base):
    return MimiCodec.load(random_base)


def _assert_same(one: np.ndarray, other: np.ndarray) -> None:
    assert one.shape == other.shape
    assert np.array_equal(one, other)


def test_clips_encoded_together_have_the_codes_of_each_alone(codec):
    clips = [_sound(length, seed) for seed, length in enumerate((24_000, 51_234, 7, 70_000))]
    for together, clip in zip(codec.encode(clips), clips, strict=True):
        _assert_same(together, codec.encode([clip])[0])


def test_the_tiny_models_codec_gives_a_clip_the_same_codes_in_any_company(tiny_model):
    tiny_codec = MimiCodec.load(tiny_model)
    clips = [_sound(length, seed) for seed, length in enumerate((24_000, 51_234, 70_000))]
    for together, clip in zip(tiny_codec.encode(clips), clips, strict=True):
        _assert_same(together, tiny_codec.encode([clip])[0])


def test_clips_have_the_same_codes_through_any_number_of_threads(random_base, codec):
    """Beyond the attention's context too, of 250 steps: ten seconds, in which a module changes while it computes."""
    clips = [_sound(length, seed) for seed, length in enumerate((300_000, 24_000, 51_234, 300_000, 290_000, 7))]
    torch.set_num_threads(3)
    try:
        of_three = MimiCodec.load(random_base)
        for _ in range(3):
            for side_by_side, alone in zip(of_three.encode(clips), codec.encode(clips), strict=True):
                _assert_same(side_by_side, alone)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(1)


def test_what_is_padded_behind_a_clip_changes_none_of_its_codes(codec):
    clip = _sound(40_000, 5)
    longer = np.concatenate([clip, np.zeros(-len(clip) % SAMPLES_PER_FRAME, np.float32), _sound(60_000, 6)])
    alone, together = codec.encode([clip])[0], codec.encode([longer])[0]
    num_frames = -(-len(clip) // SAMPLES_PER_FRAME)
    assert (alone[:, :num_frames] != together[:, :num_frames]).mean() < 0.01  # kernels round by shape; near ties fall either way


@pytest.mark.parametrize("context", [250, 20])
def test_codes_are_those_of_upstreams_codec_fed_frame_by_frame(random_base, context):
    """Beyond the context too: 20 steps of its transformer, ten frames."""
    from moshi.models import loaders

    shape = random_base.mimi_config
    model = dataclasses.replace(random_base, mimi_config={**shape, "transformer": {**shape["transformer"], "context": context}})
    clip = _sound(100 * SAMPLES_PER_FRAME, 3)
    mimi = loaders.get_mimi(model.mimi_weights, model.mimi_config, num_codebooks=model.n_q)
    with torch.no_grad(), mimi.streaming(1):
        frames = [mimi.encode(torch.from_numpy(part)[None, None]) for part in clip.reshape(100, SAMPLES_PER_FRAME)]
    streamed = torch.cat(frames, dim=-1)[0].numpy()
    _assert_same(MimiCodec.load(model).encode([clip])[0][:, :100], streamed.astype(np.int16))


def test_a_clip_is_filled_to_whole_frames_and_followed_by_the_lag_and_two_and_a_half_seconds(codec):
    codes = codec.encode([_sound(SAMPLES_PER_FRAME * 10 + 1, 0)])[0]
    assert codes.dtype == np.int16
    assert codes.shape == (4, 11 + 38)  # 0.5 s + 2.5 s are 37.5 frames


def test_a_silence_prefix_shifts_a_clip_by_whole_frames(random_base, codec):
    stt_config = {"audio_delay_seconds": 0.5, "audio_silence_prefix_seconds": 1.0}
    prefixed = dataclasses.replace(random_base, config={**random_base.config, "stt_config": stt_config})
    late = MimiCodec.load(prefixed)
    assert prefixed.num_prefix_frames == 13
    clip = _sound(30_000, 1)
    silence_first = np.concatenate([np.zeros(13 * SAMPLES_PER_FRAME, np.float32), clip])
    _assert_same(late.encode([clip])[0], codec.encode([silence_first])[0])
    assert codec_hash(prefixed) != codec_hash(random_base)


def test_a_codec_of_another_size_than_the_model_takes_is_refused(random_base):
    with pytest.raises(CheckpointError, match="64 codes"):
        MimiCodec.load(dataclasses.replace(random_base, config={**random_base.config, "card": 63}))


def test_weights_that_are_not_the_codecs_are_refused(random_base):
    with pytest.raises(CheckpointError, match="cannot be used"):
        MimiCodec.load(dataclasses.replace(random_base, mimi_weights=random_base.lm_weights))


def _random_codes(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 64, (4, 5 + seed)).astype(np.int16)


def _lacks(store: TokenStore, keys) -> str:
    sounds = [Sound(key=key, clip=Clip(path=key, duration_s=1.0), version=Version()) for key in keys]
    return "".join(sound.key for sound in store.missing(sounds))


def test_codes_come_back_from_any_shard_after_reopening(tmp_path):
    store = TokenStore.open(tmp_path, HASH)
    assert _lacks(store, "aba") == "aba"
    store.add({"a": _random_codes(1), "b": _random_codes(2)})
    store.add({"c": _random_codes(3)})
    again = TokenStore.open(tmp_path, HASH)
    assert _lacks(again, "cda") == "d"
    for seed, key in enumerate("abc", start=1):
        assert np.array_equal(again.get(key), _random_codes(seed))
        assert again.get(key).dtype == np.int16


def test_codes_of_one_codec_are_not_found_under_another(tmp_path):
    TokenStore.open(tmp_path, HASH).add({"a": _random_codes(1)})
    assert _lacks(TokenStore.open(tmp_path, "cd" * 32), "a") == "a"


def test_two_that_encode_at_the_same_time_keep_all_that_either_made(tmp_path):
    one, other = TokenStore.open(tmp_path, HASH), TokenStore.open(tmp_path, HASH)
    for index, key in enumerate("abcdef"):
        (one if index % 2 else other).add({key: _random_codes(index)})
    one.add({"both": _random_codes(9)})
    other.add({"both": _random_codes(9)})
    again = TokenStore.open(tmp_path, HASH)
    assert _lacks(again, [*"abcdef", "both"]) == ""
    assert all(np.array_equal(again.get(key), _random_codes(index)) for index, key in enumerate("abcdef"))


def test_a_store_of_many_shards_is_added_to_in_a_time_that_does_not_grow(tmp_path, monkeypatch):
    store, reads = TokenStore.open(tmp_path, HASH), []
    monkeypatch.setattr(codes_module, "read_header", lambda path: reads.append(path) or read_header(path))
    for index in range(20):
        store.add({f"{index}": _random_codes(1)})
    assert len(reads) == 20
    assert {path.suffix for path in store.directory.iterdir()} == {".safetensors"}  # nothing is written anew for each shard


def test_shards_are_full_whatever_comes_and_what_came_before_an_error_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(codes_module, "SHARD_SIZE", 4)
    made = [(f"{index:02d}", _random_codes(index)) for index in range(11)]
    store = TokenStore.open(tmp_path, HASH)
    assert store.keep(made) == 11
    assert [len(read_header(path).tensors) for path in sorted(store.directory.iterdir())] == [4, 4, 3]

    def broken():
        yield from [(f"{index:02d}", _random_codes(index)) for index in range(20, 26)]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.keep(broken())
    again = TokenStore.open(tmp_path, HASH)
    assert _lacks(again, [f"{index:02d}" for index in (*range(11), *range(20, 27))]) == "26"


def test_the_codes_of_a_key_that_was_made_twice_are_the_later_ones(tmp_path):
    store = TokenStore.open(tmp_path, HASH)
    store.add({"a": _random_codes(1), "b": _random_codes(2)})
    store.add({"b": _random_codes(3), "c": _random_codes(4)})
    for one in (store, TokenStore.open(tmp_path, HASH)):
        assert [one.get(key).shape[1] for key in "abc"] == [6, 8, 9]


def test_a_store_takes_some_tens_of_bytes_a_clip(tmp_path):
    """Headers were held as objects, half a kilobyte for each clip."""
    num_clips = 4000
    store = TokenStore.open(tmp_path, HASH)
    codes = np.zeros((1, 1), dtype=np.int16)
    store.add({f"{index:016x}": codes for index in range(num_clips)})
    tracemalloc.start()
    again = TokenStore.open(tmp_path, HASH)
    assert _lacks(again, ["none"]) == "none"
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 60 * num_clips, held


def test_a_shard_that_lost_its_end_since_it_was_opened_is_named(tmp_path):
    store = TokenStore.open(tmp_path, HASH)
    store.add({"a": _random_codes(1)})
    shard = next(store.directory.iterdir())
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=rf"{shard.name}: damaged: a holds no codes"):
        store.get("a")
    shard.unlink()
    with pytest.raises(CheckpointError, match=rf"{shard.name}: a cannot be read: No such file"):
        store.get("a")


def test_a_clip_without_codes_is_an_error_with_the_way_out(tmp_path):
    with pytest.raises(DatasetError, match="stt-ft encode"):
        TokenStore.open(tmp_path, HASH).get("a")


def test_a_broken_shard_is_named(tmp_path):
    store = TokenStore.open(tmp_path, HASH)
    store.add({"a": _random_codes(1)})
    shard = next(store.directory.iterdir())
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=shard.name):
        TokenStore.open(tmp_path, HASH)


def test_a_store_of_an_earlier_version_is_read(tmp_path):
    """Shards were numbered, and an index beside them named what they held."""
    directory = tmp_path / "tokens" / HASH[:16]
    directory.mkdir(parents=True)
    safetensors.numpy.save_file({"a": _random_codes(1)}, directory / "00000.safetensors")
    (directory / "index.json").write_text('{"clips": {"a": "00000"}}')
    assert np.array_equal(TokenStore.open(tmp_path, HASH).get("a"), _random_codes(1))


def test_the_key_follows_the_bytes_and_not_the_name(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"sound")
    (tmp_path / "b.wav").write_bytes(b"sound")
    (tmp_path / "c.wav").write_bytes(b"Sound")
    keys = [audio_key(tmp_path / f"{name}.wav") for name in "abc"]
    assert keys[0] == keys[1] != keys[2]
    with pytest.raises(AudioError, match=r"gone\.wav"):
        audio_key(tmp_path / "gone.wav")


def test_kept_codes_are_read_and_the_missing_are_made_and_kept(random_base, tmp_path):
    data = write_dataset(tmp_path / "orders", {"train": 5})
    clips, codec = data.clips(), MimiCodec.load(random_base)
    expected = [codec.encode([read_audio(data.audio_path(clip))])[0] for clip in clips]
    marked = np.zeros((4, 5), dtype=np.int16)
    TokenStore.of(data, random_base).add({sounds_of(data, clips)[1].key: marked})
    codes = codes_of(random_base, data, clips, batch_size=8, device="cpu")
    assert np.array_equal(codes[1], marked)
    assert all(np.array_equal(codes[index], expected[index]) for index in (0, 2, 3, 4))
    assert TokenStore.of(data, random_base).missing(sounds_of(data, clips)) == []


def test_codes_through_a_channel_and_at_a_speed_are_those_of_encode(random_base, tmp_path):
    data = write_dataset(tmp_path / "orders", {"train": 5})
    clips, codec = data.clips(), MimiCodec.load(random_base)
    sounds = [read_audio(data.audio_path(clip)) for clip in clips]
    carried = [channels_named(["phone"])[0].carry(sound, clip.path) for sound, clip in zip(sounds, clips, strict=True)]
    phone = codes_of(random_base, data, clips, [Version(channel="phone")], batch_size=2, device="cpu")
    fast = codes_of(random_base, data, clips, [Version(speed=1.1)], batch_size=2, device="cpu")
    assert all(map(np.array_equal, phone, codec.encode(carried)))
    assert all(map(np.array_equal, fast, codec.encode([change_speed(sound, 1.1) for sound in sounds])))
    encode(str(data.directory), base=str(random_base.directory), channels=["phone"], speeds=[1.1], device="cpu")
    assert len(list((data.directory / "tokens").rglob("*.safetensors"))) == 3  # a shard each: nothing was encoded twice


def test_a_dataset_that_cannot_be_written_to_is_encoded_all_the_same(random_base, tmp_path, monkeypatch):
    data = write_dataset(tmp_path / "orders", {"train": 5})
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert len(codes_of(random_base, data, data.clips(), batch_size=2, device="cpu")) == 5
    assert not (data.directory / "tokens").exists()
