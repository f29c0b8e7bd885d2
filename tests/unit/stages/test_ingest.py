"""ingest: usable clips become a dataset without copies, unusable ones are named and left out, and running again adds nothing twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stt_ft.audio.files import read_audio, write_wav
from stt_ft.core.errors import ConfigError, DatasetError
from stt_ft.dataset.manifest import Dataset
from stt_ft.stages.recordings import ingest


def noise(duration_s: float, seed: int, rate_hz: int = 24_000) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(round(duration_s * rate_hz)) * 0.1).astype(np.float32)


@pytest.fixture
def takes(tmp_path: Path) -> Path:
    """A folder with good takes of several kinds, and one of every fault."""
    folder = tmp_path / "takes"
    write_wav(folder / "good.wav", noise(1.0, 1))
    (folder / "good.txt").write_text("order 12345")
    write_wav(folder / "anna" / "good.wav", noise(1.0, 2, 16_000), 16_000)
    soundfile.write(folder / "stereo.flac", np.stack([noise(1.0, 3), noise(1.0, 4)], axis=1), 24_000)
    write_wav(folder / "same.wav", noise(1.0, 1))
    write_wav(folder / "silent.wav", np.zeros(24_000))
    write_wav(folder / "long.wav", noise(11.0, 5))
    (folder / "empty.wav").touch()
    (folder / "broken.mp3").write_bytes(b"\x00" * 100)
    soundfile.write(folder / "nan.wav", np.array([0.1, np.nan]), 24_000, subtype="FLOAT")
    write_wav(folder / "bad_sidecar.wav", noise(1.0, 6))
    (folder / "bad_sidecar.json").write_text("[1]")
    return folder


def test_good_clips_are_taken_and_the_others_named(takes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ingest(str(takes), out=str(tmp_path / "out"), max_duration=10.0)
    data = Dataset.open(tmp_path / "out")
    assert sorted(clip.path for clip in data.clips()) == ["audio/anna_good.wav", "audio/good.wav", "audio/stereo.wav"]
    said = capsys.readouterr().err
    for fault in (
        "same.wav: left out", "the same sound as good.wav", "silent.wav: left out", "long.wav: left out", "11 s long, more than 10 s",
        "empty.wav: left out", "broken.mp3: left out", "nan.wav: left out", "bad_sidecar.wav: left out", "3 clips taken, 7 left out",
    ):  # fmt: skip
        assert fault in said
    assert data.read_sidecar(data.clips()[1]).script == "order 12345"
    assert data.info()["language"] == "en"


def test_usable_sound_is_linked_and_copied_on_request(takes: Path, tmp_path: Path) -> None:
    ingest(str(takes), out=str(tmp_path / "linked"))
    ingest(str(takes), out=str(tmp_path / "copied"), copy=True)
    linked, copied = (tmp_path / name / "audio" / "good.wav" for name in ("linked", "copied"))
    assert linked.resolve() == (takes / "good.wav").resolve()
    assert not copied.is_symlink()
    assert copied.read_bytes() == linked.read_bytes()


def test_a_channel_of_stereo_sound_can_be_chosen(takes: Path, tmp_path: Path) -> None:
    ingest(str(takes / ".."), out=str(tmp_path / "out"), format="folder", channel=0)
    right = soundfile.read(takes / "stereo.flac")[0][:, 0]
    assert np.allclose(read_audio(next((tmp_path / "out" / "audio").glob("*stereo.wav"))), right, atol=1e-3)


def test_running_again_keeps_what_later_stages_wrote(takes: Path, tmp_path: Path, tree_hash: Callable[[Path], str]) -> None:
    out = tmp_path / "out"
    ingest(str(takes), out=str(out))
    before = tree_hash(out)
    ingest(str(takes), out=str(out))
    assert tree_hash(out) == before
    sidecar = out / "audio" / "good.json"
    later = json.dumps({**json.loads(sidecar.read_text()), "alignments": [["order", [0.1, 0.2], "SPEAKER_MAIN"]]})
    sidecar.write_text(later)
    (out / "train.jsonl").rename(out / "heldout.jsonl")
    write_wav(takes / "new.wav", noise(1.0, 9))
    ingest(str(takes), out=str(out))
    data = Dataset.open(out)
    assert [clip.path for clip in data.clips("train")] == ["audio/new.wav"]
    assert len(data.clips("heldout")) == 4
    assert sidecar.read_text() == later


def test_our_own_dataset_and_moshi_finetunes_come_through_whole(recorded: Path, tmp_path: Path) -> None:
    ingest(str(recorded), out=str(tmp_path / "out"))
    theirs, ours = Dataset.open(recorded), Dataset.open(tmp_path / "out")
    assert [clip.to_json() for clip in ours.clips()] == [clip.to_json() for clip in theirs.clips()]
    for clip in theirs.clips():
        one, other = theirs.read_sidecar(clip), ours.read_sidecar(clip)
        assert (one.alignments, one.written, one.script, one.extra) == (other.alignments, other.written, other.script, other.extra)


def test_parts_of_files_are_cut_out(tmp_path: Path) -> None:
    write_wav(tmp_path / "long.wav", noise(3.0, 1))
    manifest = tmp_path / "train_manifest.jsonl"
    manifest.write_text(json.dumps({"audio_filepath": "long.wav", "offset": 1.0, "duration": 0.5, "text": "one"}) + "\n")
    ingest(str(manifest), out=str(tmp_path / "out"))
    (clip,) = Dataset.open(tmp_path / "out").clips()
    assert clip.duration_s == 0.5
    cut = read_audio(tmp_path / "out" / clip.path)
    assert np.allclose(cut, read_audio(tmp_path / "long.wav")[24_000:36_000], atol=1e-4)


def test_a_source_without_a_usable_clip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.wav").touch()
    with pytest.raises(DatasetError, match="none of its 1 clips can be used"):
        ingest(str(tmp_path / "in"), out=str(tmp_path / "out"))
    assert not (tmp_path / "out" / "train.jsonl").exists()


def test_a_clip_of_the_same_name_from_elsewhere_gets_its_own(tmp_path: Path, tree_hash: Callable[[Path], str]) -> None:
    for number, speaker in enumerate(("anna", "bo")):
        write_wav(tmp_path / speaker / "take.wav", noise(1.0 + number, number))
    out = tmp_path / "out"
    for speaker in ("anna", "bo"):
        ingest(str(tmp_path / speaker), out=str(out))
    data = Dataset.open(out)
    assert [(clip.path, clip.duration_s) for clip in data.clips()] == [("audio/take.wav", 1.0), ("audio/take_2.wav", 2.0)]
    assert np.array_equal(read_audio(out / "audio" / "take.wav"), read_audio(tmp_path / "anna" / "take.wav"))
    before = tree_hash(out)
    for speaker in ("bo", "anna"):
        ingest(str(tmp_path / speaker), out=str(out))
    assert tree_hash(out) == before


def test_a_recording_made_here_is_not_replaced(recorded: Path, tmp_path: Path) -> None:
    clip = Dataset.open(recorded).clips()[0]
    sound = (recorded / clip.path).read_bytes()
    write_wav(tmp_path / "takes" / Path(clip.path).name, noise(1.0, 3))
    ingest(str(tmp_path / "takes"), out=str(recorded))
    assert (recorded / clip.path).read_bytes() == sound
    assert (recorded / "audio" / f"{Path(clip.path).stem}_2.wav").exists()


def test_a_corpus_that_moved_is_the_same_corpus(tmp_path: Path) -> None:
    write_wav(tmp_path / "here" / "take.wav", noise(1.0, 1))
    ingest(str(tmp_path / "here"), out=str(tmp_path / "out"))
    (tmp_path / "here").rename(tmp_path / "there")
    ingest(str(tmp_path / "there"), out=str(tmp_path / "out"))
    (clip,) = Dataset.open(tmp_path / "out").clips()
    assert len(read_audio(tmp_path / "out" / clip.path)) == 24_000


def test_a_source_that_changed_renews_its_line_and_keeps_what_was_added(tmp_path: Path) -> None:
    write_wav(tmp_path / "in" / "take.wav", noise(1.0, 1))
    (tmp_path / "in" / "take.txt").write_text("order 123")
    out = tmp_path / "out"
    ingest(str(tmp_path / "in"), out=str(out))
    (line,) = (out / "train.jsonl").read_text().splitlines()
    (out / "train.jsonl").write_text(json.dumps({**json.loads(line), "room": "kitchen"}) + "\n")
    soundfile.write(tmp_path / "in" / "take.wav", np.stack([noise(2.0, 2), noise(2.0, 3)], axis=1), 24_000)
    (tmp_path / "in" / "take.txt").write_text("order 456")
    ingest(str(tmp_path / "in"), out=str(out))
    (clip,) = Dataset.open(out).clips()
    assert (clip.path, clip.duration_s, clip.extra) == ("audio/take.wav", 2.0, {"script": "order 456", "room": "kitchen"})
    assert Dataset.open(out).read_sidecar(clip).script == "order 456"


def test_a_file_that_was_cut_off_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    for name in ("whole.flac", "half.flac"):
        soundfile.write(tmp_path / "in" / name, noise(4.0, len(name)), 24_000)
    whole = (tmp_path / "in" / "half.flac").read_bytes()
    (tmp_path / "in" / "half.flac").write_bytes(whole[: len(whole) // 2])
    ingest(str(tmp_path / "in"), out=str(tmp_path / "out"))
    assert [clip.path for clip in Dataset.open(tmp_path / "out").clips()] == ["audio/whole.flac"]
    assert "half.flac: left out" in capsys.readouterr().err


def test_a_channel_is_chosen_of_stereo_files_only(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "stereo.flac", np.stack([noise(1.0, 3), noise(1.0, 4)], axis=1), 24_000)
    write_wav(tmp_path / "mono.wav", noise(1.0, 5))
    ingest(str(tmp_path), out=str(tmp_path / "out"), channel=1)
    assert [clip.path for clip in Dataset.open(tmp_path / "out").clips()] == ["audio/mono.wav", "audio/stereo.wav"]
    assert (tmp_path / "out" / "audio" / "mono.wav").is_symlink()


@pytest.mark.parametrize("duration_s", [2.96, 3.2])
def test_a_part_from_the_very_beginning_is_cut_and_the_whole_is_linked(tmp_path: Path, duration_s: float) -> None:
    write_wav(tmp_path / "long.wav", noise(3.0, 1))
    entries = [{"audio_filepath": "long.wav", "offset": 0.0, "duration": one, "text": "one"} for one in (0.5, duration_s)]
    (tmp_path / "train.json").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    ingest(str(tmp_path / "train.json"), out=str(tmp_path / "out"))
    part, whole = Dataset.open(tmp_path / "out").clips()
    assert (part.duration_s, whole.duration_s) == (0.5, 3.0)
    assert (tmp_path / "out" / whole.path).is_symlink()


def test_a_file_is_no_place_for_a_dataset(takes: Path) -> None:
    with pytest.raises(ConfigError, match="expected a directory, this is a file"):
        ingest(str(takes), out=str(takes / "good.wav"))


def test_words_that_another_program_wrote_are_kept(tmp_path: Path) -> None:
    write_wav(tmp_path / "in" / "take.wav", noise(1.0, 1))
    for _ in range(2):
        ingest(str(tmp_path / "in"), out=str(tmp_path / "out"))
        theirs = json.dumps({"alignments": [["order", [0.1, 0.2], "SPEAKER_MAIN"]]})
        (tmp_path / "out" / "audio" / "take.json").write_text(theirs)
    ingest(str(tmp_path / "in"), out=str(tmp_path / "out"))
    assert [path.read_text() for path in (tmp_path / "out" / "audio").glob("*.json")] == [theirs]
