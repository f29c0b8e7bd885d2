"""Names that a file gives stay in its directory; sizes that it gives are bounded before anything of that size is made."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from stt_ft.core.atomic import remove_leftovers
from stt_ft.core.errors import ConfigError, DatasetError
from stt_ft.core.json_yaml import dump_yaml, parse_json, parse_value, read_yaml
from stt_ft.core.storage import check_lies_inside, inside
from stt_ft.dataset.manifest import Clip, Dataset
from stt_ft.dataset.sidecar import Sidecar, Word

BEYOND_A_DOUBLE = "1" + "0" * 400


@pytest.mark.parametrize("name", ["audio/a.wav", "./a.wav", "a/./b.wav", "..a", "a..b/c...", "é/日本.wav", "a" * 255])
def test_a_relative_name_is_found_in_the_directory(name):
    assert inside(Path("data"), name) == Path("data") / name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../a.wav", "leads out"),
        ("a/../../b", "leads out"),
        ("a/../b", "leads out"),
        ("/etc/passwd", "leads out"),
        ("/", "leads out"),
        ("//x", "leads out"),
        ("", "no file"),
        (".", "no file"),
        ("a\0b", "NUL"),
        ("a" * 256, "too long"),
        ("é" * 128, "too long"),
        ("a/" * 2500, "too long"),
    ],
)
def test_any_other_name_is_refused_for_a_dataset_and_says_why(tmp_path, name, reason):
    with pytest.raises(ValueError, match=reason):
        inside(tmp_path, name)
    with pytest.raises(DatasetError, match=f"clip .*{reason}.*ingest") as refusal:
        Dataset(tmp_path).read_sidecar(Clip(path=name, duration_s=1.0))
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 500


def test_links_count_where_they_lead_and_those_to_the_directory_itself_are_the_users(tmp_path):
    home, other = tmp_path / "home", tmp_path / "other"
    (home / "real").mkdir(parents=True)
    other.mkdir()
    (home / "within").symlink_to("real")
    (home / "out").symlink_to(other)
    (home / "loop").symlink_to("loop")
    (tmp_path / "mine").symlink_to(home)
    for root in (home, tmp_path / "mine"):
        check_lies_inside(root / "within" / "new" / "file", root)
        check_lies_inside(root / "loop", root)
        with pytest.raises(ValueError, match=f"out is a link that leads out of the directory, to {other}"):
            check_lies_inside(root / "out", root)


def test_sound_is_read_through_a_link_and_nothing_is_written_through_it(tmp_path):
    data, elsewhere = Dataset(tmp_path / "data"), tmp_path / "elsewhere"
    data.directory.mkdir()
    elsewhere.mkdir()
    (elsewhere / "a.json").write_text('{"alignments": []}')
    (data.directory / "audio").symlink_to(elsewhere)
    clip = Clip(path="audio/a.wav", duration_s=1.0)
    assert data.read_sidecar(clip) == Sidecar()
    with pytest.raises(DatasetError, match=r"audio is a link that leads out of the directory, to .*elsewhere; `stt-ft ingest`"):
        data.write_sidecar(clip, Sidecar(script="new"))
    assert [path.name for path in elsewhere.iterdir()] == ["a.json"]
    assert data.read_sidecar(clip) == Sidecar()


def test_a_leftover_that_is_a_link_is_removed_and_what_it_leads_to_stays(tmp_path):
    data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    data.mkdir()
    (elsewhere / "aside").mkdir(parents=True)
    (data / ".model.0123abcd.tmp").symlink_to(elsewhere)
    assert remove_leftovers(data) == 1
    assert (elsewhere / "aside").is_dir()
    assert list(data.iterdir()) == []


@pytest.mark.parametrize("duration", [BEYOND_A_DOUBLE, "1e12", "86401", "-1", "1e999", '"x"', "[]"])
def test_a_duration_that_no_clip_has_is_refused_by_line(tmp_path, duration):
    (tmp_path / "train.jsonl").write_text(f'{{"path": "a.wav", "duration": 2}}\n{{"path": "b.wav", "duration": {duration}}}\n')
    with pytest.raises(DatasetError, match=r"train\.jsonl, line 2: ") as refusal:
        Dataset(tmp_path).clips()
    assert len(str(refusal.value)) < 400


def test_numbers_beyond_a_double_are_no_json_and_no_yaml(tmp_path):
    for text in (BEYOND_A_DOUBLE, f"[-{BEYOND_A_DOUBLE}]", "1" * 5000):
        with pytest.raises(ValueError, match="no JSON number") as refusal:
            parse_json(text)
        assert len(str(refusal.value)) < 100
        assert isinstance(parse_value(text.strip("[]")), str)
        (tmp_path / "x.yaml").write_text(f"a: {text}\n")
        with pytest.raises(ConfigError, match=r"x\.yaml"):
            read_yaml(tmp_path / "x.yaml")
    assert parse_json(str(2**60)) == 2**60
    assert parse_value("1_000") == 1000
    with pytest.raises(ValueError, match="is not"):
        Word.from_json(["a", [0, 10**400], "SPEAKER_MAIN"])


def test_an_alias_is_refused_before_it_unfolds(tmp_path):
    lines = (f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]" for old, new in itertools.pairwise("abcdefghij"))
    bomb = "\n".join(["a: &a [x, x]", *lines])
    (tmp_path / "bomb.yaml").write_text(bomb + "\ndataset: *j\n")
    with pytest.raises(ConfigError, match=r"bomb\.yaml, line 2: not YAML: \*a is an alias; write the value itself"):
        read_yaml(tmp_path / "bomb.yaml")
    shared = ["one"]
    (tmp_path / "own.yaml").write_text(dump_yaml({"a": shared, "b": shared}))
    assert read_yaml(tmp_path / "own.yaml") == {"a": ["one"], "b": ["one"]}


def test_the_manifest_keeps_what_it_cannot_use_for_check_to_name(tmp_path):
    lines = [{"path": path, "duration": 1.0} for path in ("ok.wav", "../out.wav", "/abs.wav")]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [clip.path for clip in Dataset(tmp_path).clips()] == ["ok.wav", "../out.wav", "/abs.wav"]
