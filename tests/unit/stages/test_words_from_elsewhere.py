"""ingest of what other people made: names of every script, two voices on two channels, words and times that are there already."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stt_ft.audio.files import write_wav
from stt_ft.core.errors import CheckFailed, DatasetError
from stt_ft.dataset.manifest import Dataset
from stt_ft.stages.dataset import check, split
from stt_ft.stages.recordings import ingest
from stt_ft.stages.words import annotate

RATE_HZ = 24_000
WHISPER = {"segments": [{"words": [{"word": " hello", "start": 0.2, "end": 0.6}, {"word": " there", "start": 0.7, "end": 1.1}]}]}


def noise(duration_s: float, seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(round(duration_s * RATE_HZ)) * 0.1).astype(np.float32)


def bursts(seed: int) -> np.ndarray:
    return noise(1.0, seed) * ((np.arange(RATE_HZ) // 3000) % 2)


def call(path: Path) -> np.ndarray:
    """Write one voice on the left, then another on the right; return the left channel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    left, right = np.append(bursts(1), np.zeros(RATE_HZ)), np.append(np.zeros(RATE_HZ), bursts(2))
    soundfile.write(path, np.stack([left, right], axis=1), RATE_HZ)
    return left


def test_names_keep_the_letters_of_every_script(tmp_path: Path):
    names = ["日本語.wav", "中文.wav", "Søren.wav", "Zoé.wav", "заказ №5.wav", "हिन्दी.wav", "a–b ☎.wav"]
    for index, name in enumerate(names):
        write_wav(tmp_path / "in" / name, noise(0.5, index))
    ingest(str(tmp_path / "in"), out=str(tmp_path / "out"))
    taken = {Path(clip.path).stem for clip in Dataset.open(tmp_path / "out").clips()}
    assert taken == {"日本語", "中文", "Søren", "Zoe", "заказ_No5", "हिन्दी", "ab"}


def test_very_long_names_fit_a_file_system_and_stay_apart(tmp_path: Path):
    for index in range(2):
        write_wav(tmp_path / "in" / f"{index}" / f"{'日' * 60}.wav", noise(0.5, index))
    ingest(str(tmp_path / "in"), out=str(tmp_path / "out"))
    assert len(Dataset.open(tmp_path / "out").clips()) == 2


def test_clips_too_short_for_a_word_are_left_out_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for name, num_samples in (("one_sample", 1), ("ten_ms", 240), ("word", 4800)):
        write_wav(tmp_path / "in" / f"{name}.wav", noise(1.0, num_samples)[:num_samples])
    ingest(str(tmp_path / "in"), out=str(tmp_path / "out"))
    assert [clip.path for clip in Dataset.open(tmp_path / "out").clips()] == ["audio/word.wav"]
    said = capsys.readouterr().err
    assert "one_sample.wav: left out" in said
    assert "0.0100 s long, too short for a word" in said


def test_two_voices_are_left_out_and_of_moshi_finetunes_the_left_one_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    left = call(tmp_path / "in" / "dialogue.wav")
    call(tmp_path / "in" / "call.wav")
    (tmp_path / "in" / "dialogue.json").write_text(json.dumps({"alignments": [["hello", [0.2, 0.4], "SPEAKER_MAIN"]]}))
    ingest(str(tmp_path / "in"), out=str(tmp_path / "out"))
    (clip,) = Dataset.open(tmp_path / "out").clips()
    assert clip.path == "audio/dialogue.wav"
    assert np.abs(soundfile.read(tmp_path / "out" / clip.path)[0] - left).max() < 1e-4
    assert "call.wav: left out" in capsys.readouterr().err


def test_a_dataset_of_dialogues_used_as_it_is_is_refused_by_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    call(tmp_path / "audio" / "dialogue.wav")
    (tmp_path / "audio" / "dialogue.json").write_text(json.dumps({"alignments": [["hello", [0.2, 0.4], "SPEAKER_MAIN"]]}))
    (tmp_path / "train.jsonl").write_text('{"path": "audio/dialogue.wav", "duration": 2.0}\n')
    with pytest.raises(CheckFailed):
        check(str(tmp_path))
    said = capsys.readouterr().err
    assert "dialogue.wav: audio:" in said
    assert "stt-ft ingest" in said


def test_a_stream_with_a_length_of_nothing_is_written_anew(tmp_path: Path):
    write_wav(tmp_path / "in" / "a.wav", noise(1.0, 1))
    content = bytearray((tmp_path / "in" / "a.wav").read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = bytes(4)
    (tmp_path / "in" / "a.wav").write_bytes(content)
    ingest(str(tmp_path / "in"), out=str(tmp_path / "out"))
    assert soundfile.info(tmp_path / "out" / "audio" / "a.wav").frames == RATE_HZ


def test_a_truncated_wav_is_left_out_by_ingest_and_named_by_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for name in ("whole", "half"):
        write_wav(tmp_path / "audio" / f"{name}.wav", noise(2.52, len(name)))
    path = tmp_path / "audio" / "half.wav"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    ingest(str(tmp_path / "audio"), out=str(tmp_path / "out"))
    assert [clip.path for clip in Dataset.open(tmp_path / "out").clips()] == ["audio/whole.wav"]
    (tmp_path / "train.jsonl").write_text('{"path": "audio/half.wav", "duration": 1.26}\n')
    with pytest.raises(CheckFailed):
        check(str(tmp_path))
    assert capsys.readouterr().err.count("cut off: its header promises 2.52 s, 1.26 s can be read") == 2


def test_speakers_that_are_numbers_are_the_same_everywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for index in range(4):
        write_wav(tmp_path / "audio" / f"{index}.wav", noise(1.0, index))
    lines = [{"path": f"audio/{index}.wav", "duration": 1.0, "speaker": speaker} for index, speaker in enumerate((7, "7", 8, 9))]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines[:1]))
    (tmp_path / "heldout.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines[1:]))
    with pytest.raises(CheckFailed):
        check(str(tmp_path))
    assert "speaker 7 is in train and heldout" in capsys.readouterr().err
    split(str(tmp_path), dev=0.25, heldout=0.25)
    (shared,) = [one for one in ("train", "dev", "heldout") if any(clip.extra["speaker"] == "7" for clip in Dataset(tmp_path).clips(one))]
    assert sum(clip.extra["speaker"] == "7" for clip in Dataset(tmp_path).clips(shared)) == 2


@pytest.fixture
def with_words(tmp_path: Path) -> Path:
    """A dataset of one take with Whisper's words, whose script the aligner cannot find in the noise, and one without words."""
    write_wav(tmp_path / "in" / "take.wav", noise(2.0, 1))
    (tmp_path / "in" / "take.json").write_text(json.dumps({**WHISPER, "text": " hello there"}))
    ingest(str(tmp_path / "in"), out=str(tmp_path / "out"))
    return tmp_path / "out"


def test_words_of_another_tool_stay_until_annotate_is_told_to_replace_them(with_words: Path, capsys: pytest.CaptureFixture[str]):
    data = Dataset.open(with_words)
    (clip,) = data.clips()
    before = data.read_sidecar(clip)
    assert [(word.text, word.start_s) for word in before.alignments] == [("hello", 0.2), ("there", 0.7)]
    assert (before.words_by, before.provenance["ingest"]["words_by"], before.script) == ("whisper", "whisper", "hello there")
    annotate(with_words, aligner="sphinx")
    assert data.read_sidecar(clip) == before
    assert "1 have the words and times of other tools" in capsys.readouterr().err
    annotate(with_words, aligner="sphinx", replace=True)
    after = data.read_sidecar(clip)
    assert (after.words_by, "annotate" in after.provenance) == ("", True)
    assert after.alignments != before.alignments
    annotate(with_words, aligner="sphinx")
    assert data.read_sidecar(clip) == after


def test_ingest_again_keeps_words_and_takes_changed_ones(with_words: Path, tmp_path: Path):
    data = Dataset.open(with_words)
    (clip,) = data.clips()
    before = data.sidecar_path(clip).read_bytes()
    ingest(str(tmp_path / "in"), out=str(with_words))
    assert data.sidecar_path(clip).read_bytes() == before
    (tmp_path / "in" / "take.ctm").write_text("take 1 0.3 0.2 hello\ntake 1 0.9 0.3 there\n")
    ingest(str(tmp_path / "in"), out=str(with_words))
    sidecar = data.read_sidecar(clip)
    assert (sidecar.words_by, [word.start_s for word in sidecar.alignments]) == ("ctm", [0.3, 0.9])


def test_words_that_lie_outside_the_sound_belong_to_another_one(tmp_path: Path):
    write_wav(tmp_path / "in" / "take.wav", noise(1.0, 1))
    (tmp_path / "in" / "take.ctm").write_text("take 1 0.3 0.2 hello\ntake 1 1.9 0.3 there\n")
    with pytest.raises(DatasetError, match="none of its 1 clips"):
        ingest(str(tmp_path / "in"), out=str(tmp_path / "out"))


def test_why_times_are_not_taken_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_wav(tmp_path / "in" / "take.wav", noise(1.0, 1))
    transcript = {
        "segments": [{"text": "order 5", "words": [{"word": "order", "start": 0.1, "end": 0.3}, {"word": "5"}]}],
        "word_segments": [],
    }
    (tmp_path / "in" / "take.json").write_text(json.dumps(transcript))
    ingest(str(tmp_path / "in"), out=str(tmp_path / "out"))
    assert "whisperx: its word '5' has no time" in capsys.readouterr().err
    (clip,) = Dataset.open(tmp_path / "out").clips()
    assert (clip.extra["script"], Dataset(tmp_path / "out").read_sidecar(clip).alignments) == ("order 5", ())
