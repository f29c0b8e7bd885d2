"""convert on a dataset: spoken words with their own times, reversible, twice equals once, nothing left behind unnoticed."""

from __future__ import annotations

import dataclasses
import itertools
import json
import statistics
from collections.abc import Callable
from pathlib import Path

import pytest

from stt_ft.audio.files import write_wav
from stt_ft.audio.synthesis import Synthesizer, insert_silence
from stt_ft.core.errors import CheckFailed
from stt_ft.dataset.manifest import Clip, Dataset
from stt_ft.dataset.sidecar import Sidecar, Word
from stt_ft.stages.words import annotate, convert
from stt_ft.text.digit_words import digits_of_words
from stt_ft.text.spoken_forms import holds_digits


def test_numbers_become_words_with_their_own_times(annotated: Path) -> None:
    convert(str(annotated))
    data = Dataset.open(annotated)
    for clip in data.clips():
        sidecar = data.read_sidecar(clip)
        words = [word.text for word in sidecar.alignments]
        assert not any(holds_digits(word) for word in words)
        assert digits_of_words(words) == digits_of_words(str(clip.extra["script"]).split())
        assert all(word.end_s > word.start_s for word in sidecar.alignments)
        assert all(before.end_s <= after.start_s + 1e-6 for before, after in itertools.pairwise(sidecar.alignments))
        assert sidecar.written is not None


def test_twice_is_once_and_the_written_form_survives(annotated: Path, tree_hash: Callable[[Path], str]) -> None:
    data = Dataset.open(annotated)
    written = {clip.path: data.read_sidecar(clip).alignments for clip in data.clips()}
    convert(str(annotated))
    once = tree_hash(annotated)
    convert(str(annotated))
    assert tree_hash(annotated) == once
    assert {clip.path: data.read_sidecar(clip).written for clip in data.clips()} == written
    convert(str(annotated), style="auto")
    convert(str(annotated))
    assert tree_hash(annotated) == once


def test_words_corrected_by_hand_are_left_alone_until_annotated_anew(annotated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    convert(str(annotated))
    data = Dataset.open(annotated)
    clip = data.clips()[0]
    made = data.read_sidecar(clip)
    corrected = dataclasses.replace(made, alignments=(dataclasses.replace(made.alignments[0], text="sorry"), *made.alignments[1:]))
    data.write_sidecar(clip, corrected)
    convert(str(annotated))
    convert(str(annotated), style="auto")
    assert data.read_sidecar(clip) == corrected
    assert "the words of 1 clips were corrected since they were converted" in capsys.readouterr().err
    data.write_sidecar(clip, dataclasses.replace(corrected, provenance={}))
    annotate(str(annotated), aligner="sphinx")
    convert(str(annotated))
    assert data.read_sidecar(clip).alignments == made.alignments


def test_dry_run_shows_the_changes_and_writes_nothing(
    annotated: Path, capsys: pytest.CaptureFixture[str], tree_hash: Callable[[Path], str]
) -> None:
    before = tree_hash(annotated)
    convert(str(annotated), dry_run=True)
    assert tree_hash(annotated) == before
    said = capsys.readouterr().err
    numbers = [line for line in said.splitlines() if line.startswith("- ")]
    assert numbers
    assert all(holds_digits(line) for line in numbers)
    assert not any(holds_digits(line[2:]) for line in said.splitlines() if line.startswith("+ "))


def test_what_cannot_be_read_is_listed_by_clip_and_text(annotated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = annotated / "audio" / "train_ordinary_001.json"
    path.write_text(json.dumps({"alignments": [["5☃", [0.1, 0.5], "SPEAKER_MAIN"]]}))
    (annotated / "audio" / "train_ordinary_002.json").write_text("{broken")
    (annotated / "audio" / "train_number_001.json").write_text(json.dumps({"alignments": []}))
    with pytest.raises(CheckFailed, match="3 of 12 clips could not be converted"):
        convert(str(annotated))
    said = capsys.readouterr().err
    assert "train_ordinary_001.wav: '5☃' cannot be read aloud in en" in said
    assert "train_ordinary_002.json" in said
    assert "no words yet" in said
    assert json.loads(path.read_text()) == {"alignments": [["5☃", [0.1, 0.5], "SPEAKER_MAIN"]]}


def test_spans_that_annotate_did_not_time_are_aligned_on_the_sound(annotated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = Dataset.open(annotated)
    clip = next(clip for clip in data.clips() if holds_digits(str(clip.extra["script"])))
    convert(str(annotated))
    heard = data.read_sidecar(clip).alignments
    path = data.sidecar_path(clip)
    value = json.loads(path.read_text())
    value.pop("spoken")
    path.write_text(json.dumps(value))
    capsys.readouterr()
    convert(str(annotated))
    assert "timed by realigned" in capsys.readouterr().err
    again = data.read_sidecar(clip).alignments
    assert [word.text for word in again] == [word.text for word in heard]
    assert statistics.median(abs(one.start_s - other.start_s) for one, other in zip(again, heard, strict=True)) < 0.05
    convert(str(annotated), realign=False)
    said = [[word.text for word in words] for words in (data.read_sidecar(clip).alignments, heard)]
    assert digits_of_words(said[0]) == digits_of_words(said[1])


def test_french_readings_are_chosen_by_the_sound(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoken = insert_silence(Synthesizer().speak("zéro six un deux trois quatre cinq six sept huit", voice="fr+m1"), {}, tail_s=0.5)
    number = Word(text="0612345678", start_s=spoken.words[0].start_s, end_s=spoken.words[-1].end_s)
    data, clip = Dataset(tmp_path), Clip(path="said.wav", duration_s=spoken.duration_s)
    write_wav(data.audio_path(clip), spoken.samples)
    data.write_clips("train", [clip])

    def converted(*, realign: bool) -> list[str]:
        data.write_sidecar(clip, Sidecar(alignments=(number,)))
        convert(str(tmp_path), language="fr", style="auto", realign=realign)
        return [word.text for word in data.read_sidecar(clip).alignments]

    assert converted(realign=False)[2] == "douze"
    assert converted(realign=True) == [word.text for word in spoken.words]
    assert "1 timed by realigned" in capsys.readouterr().err
