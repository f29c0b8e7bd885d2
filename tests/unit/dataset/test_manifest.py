"""Manifests and sidecars: what is written is read back, moshi-finetune's files are read, and any other bytes raise `DatasetError`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stt_ft.core.errors import ConfigError, DatasetError
from stt_ft.dataset.manifest import Clip, Dataset
from stt_ft.dataset.sidecar import Sidecar, Word

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
times = st.integers(min_value=0, max_value=360_000_000).map(lambda count: count / 10_000)
words = st.builds(lambda text, a, b: Word(text=text, start_s=min(a, b), end_s=max(a, b)), st.text(max_size=12), times, times)
on_disk = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def dataset_of(directory: Path, manifest: bytes) -> Dataset:
    (directory / "train.jsonl").write_bytes(manifest)
    return Dataset.open(directory)


@given(
    st.lists(st.builds(Clip, path=st.text(min_size=1, max_size=20), duration_s=times, extra=st.just({"speaker": "é", "kind": "number"})))
)
@on_disk
def test_clips_are_read_back_as_written(tmp_path: Path, clips: list[Clip]):
    dataset = Dataset(tmp_path)
    dataset.write_clips("train", clips)
    assert dataset.clips("train") == clips


@given(
    words=st.lists(words, max_size=6).map(tuple), written=st.none() | st.lists(words, max_size=3).map(tuple), script=st.none() | st.text()
)
@on_disk
def test_a_sidecar_is_read_back_as_written(tmp_path: Path, words: tuple[Word, ...], written: tuple[Word, ...] | None, script: str | None):
    dataset, clip = Dataset(tmp_path), Clip(path="audio/a.wav", duration_s=1.0)
    sidecar = Sidecar(
        alignments=words, written=written, script=script, provenance={"annotate": {"aligner": "x"}}, extra={"unknown": [1, None]}
    )
    dataset.write_sidecar(clip, sidecar)
    assert dataset.read_sidecar(clip) == sidecar


def test_a_word_moves_and_changes_speed_with_its_sound_and_keeps_its_tokens_to_itself():
    word = Word(text="four", start_s=1.0, end_s=1.5, speaker="B", tokens=(3, 7))
    assert word.moved(0.25) == Word(text="four", start_s=1.25, end_s=1.75, speaker="B", tokens=(3, 7))
    assert word.at_speed(2.0) == Word(text="four", start_s=0.5, end_s=0.75, speaker="B", tokens=(3, 7))
    assert word.to_json() == ["four", [1.0, 1.5], "B"]


def test_a_dataset_of_moshi_finetune_is_read(tmp_path: Path):
    dataset = dataset_of(tmp_path, b'{"path": "data_stereo/a.wav", "duration": 24.521950113378686}\n\n')
    clip = dataset.clips()[0]
    (tmp_path / "data_stereo").mkdir()
    (tmp_path / "data_stereo" / "a.json").write_text('{"alignments": [["hello", [0.44, 0.71], "SPEAKER_MAIN"]]}')
    assert clip == Clip(path="data_stereo/a.wav", duration_s=24.521950113378686)
    assert dataset.read_sidecar(clip).alignments == (Word(text="hello", start_s=0.44, end_s=0.71),)


@given(st.lists(json_values.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40), min_size=1, max_size=4).map(b"\n".join))
@on_disk
def test_any_bytes_for_a_manifest_are_clips_or_a_dataset_error(tmp_path: Path, manifest: bytes):
    clips, message = [], None
    try:
        clips = dataset_of(tmp_path, manifest).clips()
    except DatasetError as error:
        message = str(error)
    assert message is None or ("train.jsonl, line " in message and "\n" not in message)
    assert all(clip.path and clip.duration_s >= 0 for clip in clips)


@given(json_values.map(lambda value: json.dumps(value).encode()) | st.dictionaries(
    st.sampled_from(["alignments", "written", "script", "provenance"]), json_values, min_size=1
).map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60))  # fmt: skip
@on_disk
def test_any_bytes_for_a_sidecar_are_words_or_a_dataset_error(tmp_path: Path, sidecar: bytes):
    (tmp_path / "a.json").write_bytes(sidecar)
    read, message = Sidecar(), None
    try:
        read = Dataset(tmp_path).read_sidecar(Clip(path="a.wav", duration_s=1.0))
    except DatasetError as error:
        message = str(error)
    assert message is None or message.startswith(str(tmp_path / "a.json"))
    assert all(isinstance(word.text, str) for word in read.alignments)


@pytest.mark.parametrize(
    "line",
    [
        '{"path": "a.wav"}',
        '{"duration": 1}',
        '{"path": "", "duration": 1}',
        '{"path": 3, "duration": 1}',
        '{"path": "a.wav", "duration": "long"}',
        '{"path": "a.wav", "duration": NaN}',
        '{"path": "a.wav", "duration": -1}',
        '{"path": "a.wav", "duration": null}',
        '["a.wav", 1]',
        '{"path": "a.wav", "duration": 1',
        "[" * 100_000,
    ],
)
def test_a_malformed_line_is_named_by_file_and_line(tmp_path: Path, line: str):
    dataset = dataset_of(tmp_path, b'{"path": "good.wav", "duration": 1}\n' + line.encode())
    with pytest.raises(DatasetError, match=r"train\.jsonl, line 2"):
        dataset.clips()


@pytest.mark.parametrize(
    "entry",
    [
        "word",
        ["word"],
        ["word", [0.1], "A"],
        ["word", [0.1, "x"], "A"],
        [3, [0, 1], "A"],
        ["word", [0, 1], None],
        ["word", [0, float("nan")], "A"],
    ],
)
def test_a_malformed_word_is_quoted(entry: Any):
    with pytest.raises(ValueError, match=r"is not|must be|has the times"):
        Word.from_json(entry)


def test_what_is_missing_is_named(tmp_path: Path):
    with pytest.raises(DatasetError, match="no such dataset directory"):
        Dataset.open(tmp_path / "nothing")
    with pytest.raises(DatasetError, match=r"no manifest here \(expected one of train\.jsonl"):
        Dataset.open(tmp_path)
    dataset = dataset_of(tmp_path, b"")
    with pytest.raises(DatasetError, match=r"dev\.jsonl: no such manifest"):
        dataset.clips("dev")
    with pytest.raises(DatasetError, match="no split named 'test'"):
        dataset.clips("test")
    with pytest.raises(DatasetError, match=r"a\.json: clip a\.wav has no sidecar; run `stt-ft annotate"):
        dataset.read_sidecar(Clip(path="a.wav", duration_s=1.0))
    (tmp_path / "dataset.yaml").write_text("- a list")
    with pytest.raises(ConfigError, match=r"dataset\.yaml: expected keys and values"):
        dataset.info()


@pytest.mark.parametrize("time", ["true", "1" + "0" * 400, "1" + "0" * 5000, "NaN", "1e999", "[]", '"soon"', "null"])
def test_a_time_that_is_no_number_is_named_by_file_and_place(tmp_path: Path, time: str):
    (tmp_path / "a.json").write_text(f'{{"alignments": [["hi", [0.1, 0.2], "SPEAKER_MAIN"], ["order", [0.3, {time}], "SPEAKER_MAIN"]]}}')
    with pytest.raises(DatasetError) as error:
        Dataset(tmp_path).read_sidecar(Clip(path="a.wav", duration_s=1.0))
    message = str(error.value)
    assert message.startswith(f"{tmp_path / 'a.json'}: ")
    assert len(message) < len(str(tmp_path)) + 160
    assert "alignments, entry 2: " in message or "no JSON number" in message or "4300 digits" in message


@pytest.mark.parametrize("duration", ["true", "1" + "0" * 400, "1" + "0" * 5000])
def test_a_duration_that_is_no_number_is_named_by_line(tmp_path: Path, duration: str):
    with pytest.raises(DatasetError, match=r"train\.jsonl, line 1"):
        dataset_of(tmp_path, f'{{"path": "a.wav", "duration": {duration}}}'.encode()).clips()


def test_the_words_to_write_are_those_of_the_main_speaker():
    mine, theirs = Word(text="a", start_s=0.0, end_s=0.1), Word(text="b", start_s=0.2, end_s=0.3, speaker="SPEAKER_01")
    assert Sidecar(alignments=(theirs, mine)).main_words == (mine,)
    assert Sidecar(alignments=(theirs,)).main_words == ()
