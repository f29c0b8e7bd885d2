from __future__ import annotations

import os

import numpy as np
import pytest

import stt_ft.audio.sounds as sounds_module
from stt_ft.audio.sounds import SoundKeys, audio_key, sounds_of
from stt_ft.core.errors import AudioError
from stt_ft.core.recipe import Version
from stt_ft.dataset.manifest import Clip, Dataset


@pytest.fixture
def data(tmp_path) -> Dataset:
    """Five sounds that were changed long ago, as far as `SoundKeys` can tell."""
    data = Dataset(tmp_path / "orders")
    (data.directory / "audio").mkdir(parents=True)
    clips = [Clip(path=f"audio/{name}.wav", duration_s=1.0) for name in "abcdé"]
    for clip in clips:
        data.audio_path(clip).write_bytes(f"sound of {clip.path}".encode())
    data.write_clips("train", clips)
    return data


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """The names of the files that are read to find their keys; a change of a moment ago counts as settled."""
    names: list[str] = []
    monkeypatch.setattr(sounds_module, "audio_key", lambda path: names.append(path.name) or audio_key(path))
    monkeypatch.setattr(sounds_module, "SETTLED_S", -1.0)
    return names


def keys_of(data: Dataset) -> list[str]:
    return [sound.key for sound in sounds_of(data, data.clips())]


def test_a_sound_is_read_once_and_not_again_until_it_changes(data, reads):
    keys = keys_of(data)
    assert keys == [audio_key(data.audio_path(clip)) for clip in data.clips()]
    assert reads == ["a.wav", "b.wav", "c.wav", "d.wav", "é.wav"]
    assert keys_of(data) == keys
    assert len(reads) == 5
    path = data.audio_path(data.clips()[2])
    path.write_bytes(path.read_bytes().replace(b"sound", b"SOUND"))  # of the same size
    changed = keys_of(data)
    assert reads[5:] == ["c.wav"]
    assert [a == b for a, b in zip(keys, changed, strict=True)] == [True, True, False, True, True]


def test_a_sound_of_the_same_size_whose_time_was_set_back_is_read_again(data, reads):
    path = data.audio_path(data.clips()[0])
    before, key = path.stat(), keys_of(data)[0]
    path.write_bytes(path.read_bytes().replace(b"sound", b"SOUND"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert keys_of(data)[0] == audio_key(path) != key


def test_a_sound_that_has_just_changed_is_not_trusted_the_next_time(data, reads, monkeypatch):
    monkeypatch.setattr(sounds_module, "SETTLED_S", 3600.0)
    assert keys_of(data) == keys_of(data)
    assert len(reads) == 10
    assert not (data.directory / "tokens").exists()


@pytest.mark.parametrize("content", [b"", b"no array", "text", [1, 2, 3]])
def test_kept_keys_that_cannot_be_read_are_found_anew(content, data, reads):
    keys = keys_of(data)
    kept = data.directory / "tokens" / "sounds.npy"
    if isinstance(content, bytes):
        kept.write_bytes(content)
    else:
        np.save(kept, np.array(content))
    assert keys_of(data) == keys
    assert len(reads) == 10
    assert keys_of(data) == keys
    assert len(reads) == 10


def test_two_that_find_keys_at_once_keep_those_of_both(data, reads):
    one, other = SoundKeys(data), SoundKeys(data)
    one.of(data.clips()[:3])
    other.of(data.clips()[2:])
    one.keep()
    other.keep()
    del reads[:]
    keys_of(data)
    assert reads == []


def test_keys_are_kept_nowhere_outside_the_dataset_and_training_goes_on(data, reads, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (data.directory / "tokens").symlink_to(tmp_path / "elsewhere")
    assert len(keys_of(data)) == 5
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_missing_sound_is_named(data):
    data.audio_path(data.clips()[1]).unlink()
    with pytest.raises(AudioError, match=r"b\.wav: No such file"):
        sounds_of(data, data.clips())


def test_every_version_has_a_key_of_its_own(data):
    versions = (Version(), Version(speed=0.9), Version(channel="phone"), Version(serving="unmute"))
    keys = [sound.key for sound in sounds_of(data, data.clips()[:1], versions)]
    assert [key.partition("@")[2] for key in keys] == ["", "0.9", "phone", ""]
    assert len({key.partition("@")[0] for key in keys}) == 1
