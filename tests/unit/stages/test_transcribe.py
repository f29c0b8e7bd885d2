import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from random_models import make_random_base

from stt_ft.audio.files import write_wav
from stt_ft.core.errors import AudioError, CheckpointError, ConfigError, TextError
from stt_ft.model.codes import MimiCodec
from stt_ft.model.transcriber import Transcriber, Transcript
from stt_ft.model.words import HeardWord
from stt_ft.stages.transcribe import transcribe


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(make_random_base(tmp_path_factory.mktemp("transcribe") / "random").directory)


@pytest.fixture
def takes(tmp_path):
    rng = np.random.default_rng(0)
    for name, seconds in (("a", 1.0), ("b", 1.5), ("shorter_than_a_frame", 0.02)):
        write_wav(tmp_path / f"{name}.wav", rng.normal(0, 0.2, round(seconds * 24_000)).astype(np.float32))
    return tmp_path


def test_a_pattern_gives_a_line_of_json_a_file(model, takes, capsys):
    transcribe(model, str(takes / "*.wav"), json=True, device="cpu", batch_size=2)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["audio"] for line in lines] == [str(takes / f"{name}.wav") for name in ("a", "b", "shorter_than_a_frame")]
    for line in lines:
        assert line["text"] == " ".join(word[0] for word in line["words"])
        assert len(line["pause"][0]) == 4
    assert len(lines[2]["pause"]) == 1 + len(lines[0]["pause"]) - 13  # a thirteenth of a second is one frame


def test_pauses_are_a_line_a_frame(model, takes, capsys):
    transcribe(model, str(takes / "a.wav"), pauses=True, device="cpu")
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["heard", "0.5", "s", "1", "s", "2", "s", "3", "s", "word"]
    assert lines[2].split()[0] == "0.08"


def test_subtitles_are_printed_for_one_file_and_written_beside_several(model, takes, capsys):
    transcribe(model, str(takes / "a.wav"), srt=True, device="cpu")
    printed = capsys.readouterr().out
    assert not (takes / "a.srt").exists()
    transcribe(model, str(takes / "a.wav"), str(takes / "b.wav"), srt=True, device="cpu")
    assert (takes / "a.srt").read_text() == printed
    assert (takes / "b.srt").exists()


def test_subtitles_of_files_that_share_a_name_do_not_take_each_others_place(model, takes):
    import soundfile

    soundfile.write(takes / "a.flac", np.random.default_rng(1).normal(0, 0.2, 12_000), 24_000)
    transcribe(model, *(str(takes / name) for name in ("a.wav", "a.flac", "b.wav")), srt=True, device="cpu")
    assert sorted(path.name for path in takes.glob("*.srt")) == ["a.flac.srt", "a.wav.srt", "b.srt"]


def test_one_unreadable_file_costs_the_others_nothing(model, takes, capsys):
    (takes / "b.wav").write_bytes(b"not a sound")
    with pytest.raises(AudioError, match="1 of 3 files could not be read"):
        transcribe(model, str(takes / "*.wav"), json=True, device="cpu")
    said = capsys.readouterr()
    assert [json.loads(line)["audio"] for line in said.out.splitlines()] == [
        str(takes / f"{name}.wav") for name in ("a", "shorter_than_a_frame")
    ]
    assert str(takes / "b.wav") in said.err


def test_a_file_whose_name_begins_with_a_dash_is_a_file(model, takes, capsys, monkeypatch):
    from stt_ft.cli import main

    monkeypatch.chdir(takes)
    (takes / "a.wav").rename("-dash.wav")
    assert main(["transcribe", model, "-dash.wav", "--json", "--device", "cpu"]) == 0
    assert json.loads(capsys.readouterr().out)["audio"] == "-dash.wav"
    assert main(["transcribe", model, "-other.wav"]) == 2
    assert "no such flag: -other.wav" in capsys.readouterr().err


def test_two_voices_are_refused_and_one_of_them_is_transcribed(model, takes, capsys):
    import soundfile

    bursts = 0.3 * np.random.default_rng(2).normal(size=24_000) * ((np.arange(24_000) // 3000) % 2)
    soundfile.write(takes / "call.wav", np.stack([np.append(bursts, 0 * bursts), np.append(0 * bursts, bursts)], axis=1), 24_000)
    with pytest.raises(AudioError, match="different voices"):
        transcribe(model, str(takes / "call.wav"), device="cpu")
    transcribe(model, str(takes / "call.wav"), json=True, device="cpu", channel=1)
    assert json.loads(capsys.readouterr().out)["audio"].endswith("call.wav")


def test_numbers_are_written_in_digits_with_the_times_of_their_words(model, takes, capsys, monkeypatch):
    said = [
        HeardWord(text=text, start_s=at, end_s=at + 0.5, appeared_s=at + 1) for at, text in enumerate(["Code", "one,", "two,", "nine."])
    ]
    monkeypatch.setattr(
        Transcriber, "transcribe_codes", lambda self, codes: [Transcript(words=tuple(said), pause_probs=np.zeros((1, 4), np.float32))]
    )
    transcribe(model, str(takes / "a.wav"), json=True, written=True, device="cpu")
    heard = json.loads(capsys.readouterr().out)
    assert heard["text"] == "Code 129."
    assert heard["words"] == [["Code", 0, 0.5, 1], ["129.", 1, 3.5, 4]]


def test_a_language_without_numbers_is_refused_before_the_model_is_loaded(takes):
    with pytest.raises(TextError, match="languages are"):
        transcribe("no/such/model", str(takes / "a.wav"), written=True, language="de")


@pytest.mark.parametrize("flags", [{}, {"mic": True, "srt": True}, {"mic": True, "written": True}])
def test_neither_files_nor_a_microphone_is_refused(model, flags):
    with pytest.raises(ConfigError, match="give sound files"):
        transcribe(model, **flags)


def test_files_and_a_microphone_together_are_refused(model, takes):
    with pytest.raises(ConfigError, match="give sound files"):
        transcribe(model, str(takes / "a.wav"), mic=True)


@pytest.mark.parametrize(
    ("name", "samples", "reason"),
    [
        ("empty", np.zeros(0, np.float32), r"empty\.wav: holds no sound"),
        ("nan", np.array([0.1, np.nan]), r"nan\.wav: holds samples that are not"),
    ],
)
def test_a_file_without_sound_is_named(model, tmp_path, name, samples, reason):
    import soundfile

    soundfile.write(str(tmp_path / f"{name}.wav"), samples, 24_000, subtype="FLOAT")
    with pytest.raises(AudioError, match=reason):
        transcribe(model, str(tmp_path / f"{name}.wav"))


def test_pauses_of_a_model_without_heads_are_refused_and_its_words_are_not(tmp_path, takes, capsys):
    headless = str(make_random_base(tmp_path / "headless", extra_heads=False).directory)
    with pytest.raises(CheckpointError, match="no extra heads"):
        transcribe(headless, str(takes / "a.wav"), pauses=True, device="cpu")
    transcribe(headless, str(takes / "a.wav"), json=True, device="cpu")
    assert json.loads(capsys.readouterr().out)["pause"][0] == []


@pytest.fixture(scope="module")
def other(model, tmp_path_factory):
    """Other weights behind the same codec, as a tuned model has."""
    directory = make_random_base(tmp_path_factory.mktemp("other") / "random", seed=1).directory
    shutil.copy(next(Path(model).glob("mimi.safetensors")), directory)
    return str(directory)


def test_another_model_hears_the_same_file(model, other, takes, capsys):
    alone = []
    for name in (model, other):
        transcribe(name, str(takes / "a.wav"), json=True, device="cpu")
        alone.append(json.loads(capsys.readouterr().out))
    transcribe(model, str(takes / "a.wav"), against=other, json=True, device="cpu")
    told = json.loads(capsys.readouterr().out)
    assert {key: told[key] for key in ("text", "words", "pause")} == {key: alone[0][key] for key in ("text", "words", "pause")}
    assert told["against"] == {key: alone[1][key] for key in ("text", "words", "pause")}
    assert alone[0]["pause"] != alone[1]["pause"]
    transcribe(Path(model), str(takes / "a.wav"), against=Path(other), device="cpu")
    assert [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()] == [model, other]


class FakeMicrophone:
    """Gives the frames of a sound as LiveMicrophone gives those that it hears."""

    sound = np.random.default_rng(3).normal(0, 0.2, 20 * 1920).astype(np.float32)

    def __init__(self, **_options):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        pass

    def frames(self):
        return iter(self.sound.reshape(-1, 1920))


def test_two_live_models_hear_what_each_hears_alone_and_the_sound_is_encoded_once(model, other, capsys, monkeypatch):
    monkeypatch.setattr("stt_ft.audio.microphone.LiveMicrophone", FakeMicrophone)
    alone = []
    for name in (model, other):
        transcribe(name, mic=True, json=True, device="cpu")
        alone.append([json.loads(line) for line in capsys.readouterr().out.splitlines()])
    encoded = []
    encode = MimiCodec._codes
    monkeypatch.setattr(MimiCodec, "_codes", lambda self, *args: encoded.append(1) or encode(self, *args))
    transcribe(model, mic=True, against=other, json=True, device="cpu")
    both = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(encoded) == len(both) == len(alone[0])
    assert [frame.pop("against") for frame in both] == [{key: frame[key] for key in ("words", "pause")} for frame in alone[1]]
    assert both == alone[0]


@pytest.mark.parametrize(
    ("options", "unlike"),
    [({"text_lag_s": 2.5}, "text lag"), ({"seed": 2}, "codec")],
)
def test_a_model_that_hears_other_codes_is_refused_beside(model, tmp_path, takes, options, unlike):
    stranger = str(make_random_base(tmp_path / "stranger", **options).directory)
    with pytest.raises(CheckpointError, match=f"does not hear the codes that .*: its {unlike} is another.*evaluate --baseline") as refusal:
        transcribe(model, str(takes / "a.wav"), against=stranger, device="cpu")
    assert "\n" not in str(refusal.value)


def test_subtitles_of_two_models_are_refused(model, takes):
    with pytest.raises(ConfigError, match="leave out --against"):
        transcribe(model, str(takes / "a.wav"), against=model, srt=True)
