"""Foreign corpora: each format is recognised and read, and what is malformed is named."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stt_ft.core.errors import DatasetError
from stt_ft.corpus.sources import formats
from stt_ft.corpus.sources.formats import detect_format
from stt_ft.corpus.sources.source_clip import SourceClip


def read_source(source: Path, corpus_format: str) -> list[SourceClip]:
    return list(formats.read_source(source, corpus_format).clips())


def write_lines(path: Path, *entries: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(entry) + "\n" for entry in entries)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def test_folder_takes_scripts_and_sidecars_beside_the_sound(tmp_path: Path) -> None:
    for name in ("a.wav", "sub/b.flac", "c.mp3", "notes.pdf", ".hidden/d.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a.txt").write_text("order 5\n")
    (tmp_path / "sub" / "b.json").write_text(json.dumps({"text": "hello", "speaker": "anna"}))
    (tmp_path / "c.json").write_text("{broken")
    clips = {clip.clip_id: clip for clip in read_source(tmp_path, "auto")}
    assert sorted(clips) == ["a.wav", "c.mp3", "sub/b.flac"]
    assert clips["a.wav"].script == "order 5"
    assert clips["sub/b.flac"].script == "hello"
    assert clips["sub/b.flac"].extra == {"speaker": "anna"}
    assert "c.json" in clips["c.mp3"].fault


def test_moshi_finetune_manifest_keeps_words_and_splits(tmp_path: Path) -> None:
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio" / "x.json").write_text(json.dumps({"alignments": [["hi", [0.1, 0.3], "SPEAKER_MAIN"]], "other": 1}))
    write_lines(tmp_path / "heldout.jsonl", {"path": "audio/x.wav", "duration": 1.0, "speaker": "bo"})
    (clip,) = read_source(tmp_path, "auto")
    assert (clip.clip_id, clip.split, clip.extra) == ("x.wav", "heldout", {"speaker": "bo"})
    assert clip.sidecar is not None
    assert clip.sidecar.alignments[0].text == "hi"
    assert clip.sidecar.extra == {"other": 1}


def test_nemo_manifest(tmp_path: Path) -> None:
    manifest = write_lines(
        tmp_path / "train_manifest.json",
        {"audio_filepath": "a.wav", "duration": 2.0, "text": "one"},
        {"audio_filepath": "a.wav", "duration": 2.0, "offset": 1.5, "text": "two", "speaker": "s1"},
    )
    assert detect_format(manifest) == "nemo"
    whole, part = read_source(manifest, "auto")
    assert (whole.start_s, whole.duration_s) == (0.0, 2.0)
    assert (part.start_s, part.duration_s, part.script, part.extra) == (1.5, 2.0, "two", {"speaker": "s1"})
    assert whole.clip_id != part.clip_id
    assert whole.split == "train"


def test_nemo_speakers_may_be_numbers_and_a_file_may_stand_twice(tmp_path: Path) -> None:
    entry = {"audio_filepath": "a.wav", "duration": 2.0, "text": "one", "speaker": 7}
    first, second = read_source(write_lines(tmp_path / "train.json", entry, {**entry, "duration": 1.0}), "nemo")
    assert first.extra == {"speaker": "7"}
    assert first.clip_id != second.clip_id


def test_kaldi_tables_may_be_parted_by_tabs(tmp_path: Path) -> None:
    (tmp_path / "wav.scp").write_text("rec1\ta.wav\n\nrec2  b c.wav\n")
    (tmp_path / "text").write_text("rec1\thello there\n")
    first, second = read_source(tmp_path, "kaldi")
    assert (first.clip_id, first.audio, first.script) == ("rec1", tmp_path / "a.wav", "hello there")
    assert second.audio == tmp_path / "b c.wav"


def test_kaldi_directory_with_segments(tmp_path: Path) -> None:
    (tmp_path / "wav.scp").write_text("rec1 a.wav\nrec2 sph2pipe -f wav b.sph |\n")
    (tmp_path / "segments").write_text("utt1 rec1 0.5 1.75\nutt2 rec2 0 1\n")
    (tmp_path / "text").write_text("utt1 hello there\n")
    (tmp_path / "utt2spk").write_text("utt1 anna\n")
    first, second = read_source(tmp_path, "auto")
    assert (first.clip_id, first.start_s, first.duration_s, first.script, first.extra) == (
        "utt1",
        0.5,
        1.25,
        "hello there",
        {"speaker": "anna"},
    )
    assert "output of a command" in second.fault


def test_common_voice_tables(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    header = "client_id\tpath\tsentence\n"
    (tmp_path / "train.tsv").write_text(header + 'abcdefabcdefabcdef\tone.mp3\tSay "hi"\n')
    (tmp_path / "test.tsv").write_text(header + "b\ttwo\tBye\n")
    first, second = read_source(tmp_path, "auto")
    assert (first.script, first.split, first.extra) == ('Say "hi"', "train", {"speaker": "abcdefabcdefabcd"})
    assert (second.audio, second.split) == (tmp_path / "clips" / "two.mp3", "heldout")


def test_lhotse_cuts(tmp_path: Path) -> None:
    recording = {"id": "r", "sources": [{"type": "file", "channels": [0, 1], "source": "r.wav"}], "duration": 9.0, "channel_ids": [0, 1]}
    said = {"text": "one two", "speaker": "s", "alignment": {"word": [["one", 2.2, 0.3], ["two", 2.6, 0.3]]}}  # from the recording's start
    cuts = write_lines(
        tmp_path / "cuts_dev.jsonl.gz",
        {"id": "c1", "start": 2.0, "duration": 1.5, "channel": 1, "supervisions": [said], "recording": recording, "type": "MonoCut"},
        {"id": "c2", "type": "MixedCut", "tracks": [], "supervisions": []},
    )
    first, second = read_source(cuts, "auto")
    assert (first.start_s, first.duration_s, first.channel, first.split, first.script) == (2.0, 1.5, 1, "dev", "one two")
    assert first.sidecar is not None
    assert [(word.text, round(word.end_s, 3)) for word in first.sidecar.alignments] == [("one", 0.5), ("two", 0.9)]
    assert "not one file" in second.fault


def test_one_bad_entry_is_left_out_and_the_others_stay(tmp_path: Path) -> None:
    good = {"audio_filepath": "a.wav", "duration": 2.0, "text": "one", "speaker": 0}
    bad = [{**good, "duration": -1}, {**good, "offset": "soon"}, {"duration": 1.0}, {**good, "text": 5}]
    clips = read_source(write_lines(tmp_path / "train.json", good, *bad), "nemo")
    assert [bool(clip.fault) for clip in clips] == [False, True, True, True, True]
    assert clips[0].extra == {"speaker": "0"}
    assert "line 2: duration must be seconds, got -1" in clips[1].fault
    jsonl = read_source(write_lines(tmp_path / "train.jsonl", {"path": "a.wav", "speaker": 7}, {"path": 5}), "jsonl")
    assert (jsonl[0].extra, jsonl[0].fault, "line 2" in jsonl[1].fault) == ({"speaker": "7"}, "", True)


def test_kaldis_tables_with_a_mark_at_their_beginning_an_open_end_and_bad_lines(tmp_path: Path) -> None:
    mark = "\ufeff"
    (tmp_path / "wav.scp").write_text(f"{mark}rec1 a.wav\nrec2 b.wav\n", encoding="utf-8")
    (tmp_path / "segments").write_text(
        f"{mark}utt1 rec1 0.5 -1\nutt2 rec9 0 1\nutt3 rec1 0 soon\nutt4 rec1\nutt5 rec2 0 1 1\nutt6 rec1 0 1\nutt6 rec1 1 2\n",
        encoding="utf-8",
    )
    (tmp_path / "text").write_text(f"{mark}utt1 hello\n", encoding="utf-8")
    (tmp_path / "utt2spk").write_text(f"{mark}utt1 anna\n", encoding="utf-8")
    clips = {clip.clip_id: clip for clip in read_source(tmp_path, "auto")}
    first = clips["utt1"]
    assert (first.start_s, first.duration_s, first.script, first.extra, first.fault) == (0.5, None, "hello", {"speaker": "anna"}, "")
    assert [name for name, clip in clips.items() if clip.fault] == ["utt2", "utt3", "utt4", "utt6"]
    assert "expected a recording of wav.scp" in clips["utt2"].fault
    assert "stands here twice" in clips["utt6"].fault
    assert clips["utt5"].channel == 1


def test_marks_at_the_beginning_of_texts_and_tables_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "train.tsv").write_text("\ufeffclient_id\tpath\tsentence\nx1\ta.mp3\tHi\nx2\t\tHo\n", encoding="utf-8")
    first, second = read_source(tmp_path, "commonvoice")
    assert first.extra == {"speaker": "x1"}
    assert "line 3: no path" in second.fault
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "a.wav").touch()
    (tmp_path / "f" / "a.txt").write_text("\ufeff091212161 is my number", encoding="utf-8")
    assert read_source(tmp_path / "f", "auto")[0].script == "091212161 is my number"


def test_ljspeech_and_pipers_tables(tmp_path: Path) -> None:
    (tmp_path / "wavs").mkdir()
    table = tmp_path / "metadata.csv"
    table.write_text('\ufeffLJ1|in 1455 "so"|in fourteen fifty-five "so"\nLJ2|Yes.|Yes.\n', encoding="utf-8")
    first, second = read_source(tmp_path, "auto")
    assert (first.clip_id, first.audio, first.script) == ("LJ1", tmp_path / "wavs" / "LJ1.wav", 'in fourteen fifty-five "so"')
    assert second.extra == {}
    table.write_text("a|anna|order 12\nb.flac|bo|order 34\n")
    first, second = read_source(table, "auto")
    assert (first.extra, first.script, second.audio.name) == ({"speaker": "anna"}, "order 12", "b.flac")
    table.write_text("1|order 12\n2\n")
    first, second = read_source(table, "ljspeech")
    assert (first.extra, first.script) == ({}, "order 12")
    assert "line 2: expected id|text" in second.fault


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.jsonl", '{"path": 5}\n', "line 1: expected"),
        ("x.jsonl", '{"path": "a.wav"}\n{broken\n', "line 2: not JSON"),
        ("x.jsonl", '{"audio_filepath": "a.wav", "offset": "soon"}\n', "offset must be seconds, got 'soon'"),
        ("x.jsonl", '{"audio_filepath": "a.wav", "offset": 1, "duration": NaN}\n', "line 1: it holds NaN"),
        ("x.jsonl", "[1]\n", "expected an object, got list"),
        ("x.jsonl", '{"something": 1}\n', "say which with --format"),
        ("x.tsv", "a\tb\n1\t2\n", "no column path and sentence"),
        ("x.gz", "not gzip", "cannot be read"),
    ],
)
def test_what_is_malformed_is_named_by_line(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DatasetError, match=message) as refused:
        read_source(tmp_path / name, "auto")
    assert str(tmp_path / name) in str(refused.value)


def test_an_empty_source_and_an_unknown_format_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no clips here"):
        read_source(tmp_path, "auto")
    with pytest.raises(DatasetError, match="no such file or directory"):
        read_source(tmp_path / "missing", "auto")
    with pytest.raises(DatasetError, match="no corpus format 'mp3'"):
        read_source(tmp_path, "mp3")


KEYS = (
    "audio_filepath", "duration", "offset", "text", "id", "recording", "sources", "supervisions", "start", "channel", "path", "type",
    "alignment", "word", "channel_ids",
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=12,
)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(entry=JSON, corpus_format=st.sampled_from(["nemo", "jsonl", "lhotse", "auto"]))
def test_any_manifest_line_is_read_or_refused_cleanly(tmp_path: Path, entry: object, corpus_format: str) -> None:
    path = write_lines(tmp_path / "x.jsonl", entry)
    try:
        read_source(path, corpus_format)
    except DatasetError as error:
        assert "\n" not in str(error)  # noqa: PT017
