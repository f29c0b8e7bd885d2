import pytest

from stt_ft.audio.files import sound_files
from stt_ft.core.errors import AudioError


@pytest.fixture
def takes(tmp_path, monkeypatch):
    for name in ("takes/b.wav", "takes/a.wav", "takes/notes.txt", "takes/deep/c.flac", "odd [1].wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["takes/*.wav"], ["takes/a.wav", "takes/b.wav"]),
        (["takes"], ["takes/a.wav", "takes/b.wav"]),
        (["takes/**/*.flac"], ["takes/deep/c.flac"]),
        (["takes/b.wav", "takes/*.wav"], ["takes/b.wav", "takes/a.wav"]),
        (["odd [1].wav"], ["odd [1].wav"]),
        (["missing.wav"], ["missing.wav"]),  # reading it says so by name
    ],
)
def test_names_patterns_and_directories(takes, words, found):
    assert [str(path) for path in sound_files(words)] == found


@pytest.mark.parametrize(("word", "reason"), [("takes/*.mp3", "match this pattern"), ("takes/empty", "in this directory")])
def test_a_word_that_names_nothing_is_named(takes, tmp_path, word, reason):
    (tmp_path / "takes/empty").mkdir()
    with pytest.raises(AudioError, match=f"no sound files {reason}"):
        sound_files([word])
