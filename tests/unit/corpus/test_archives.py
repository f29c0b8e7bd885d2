"""Sharded archives: what lhotse 1.33.0, webdataset 1.0.2 and datasets 5.2.0 wrote (tests/golden/archives), and tars of every odd kind."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stt_ft.audio.files import read_audio, wav_of
from stt_ft.core.errors import DatasetError
from stt_ft.core.storage import Piece
from stt_ft.corpus.sources.formats import detect_format, read_source
from stt_ft.corpus.sources.shards import split_in
from stt_ft.corpus.sources.source_clip import SourceClip
from stt_ft.dataset.manifest import Clip, Dataset
from stt_ft.stages.recordings import ingest

GOLDEN = Path(__file__).parents[2] / "golden" / "archives"
RATE_HZ = 8000


def tone(number: int, duration_s: float = 0.3) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * (200 + 50 * number) * np.arange(round(duration_s * RATE_HZ)) / RATE_HZ)


def wav(number: int) -> bytes:
    return wav_of(tone(number), RATE_HZ)


def write_tar(path: Path, *files: tuple[str, bytes | str], mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:  # pyright: ignore[reportArgumentType, reportCallIssue]
        for name, content in files:
            header = tarfile.TarInfo(name)
            content = content.encode() if isinstance(content, str) else content
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
    return path


def taken(source: Path, out: Path, **options: bool) -> dict[str, Clip]:
    ingest(str(source), out=str(out), **options)
    return {Path(clip.path).name: clip for clip in Dataset.open(out).clips()}


def described(source: Path) -> dict[str, SourceClip]:
    return {clip.clip_id: clip for clip in read_source(source, "auto").clips()}


def test_lhotses_shar(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clips = taken(GOLDEN / "shar", tmp_path / "out")
    data = Dataset(tmp_path / "out")
    assert {clip.path for clip in data.clips("dev")} == {f"audio/{name}" for name in clips}
    assert list(clips) == ["cut_1.flac", "cut_2.flac", "cut_3.flac", "cut_out.flac"]
    first = clips["cut_1.flac"]
    assert {key: first.extra[key] for key in ("line", "mood", "speaker", "script")} == {
        "line": "a", "mood": "calm", "speaker": "s1", "script": "order 1",
    }  # fmt: skip
    words = data.read_sidecar(first).alignments
    assert [(word.text, round(word.start_s, 3), round(word.end_s, 3)) for word in words] == [("order", 0.06, 0.16), ("1", 0.18, 0.23)]
    assert data.read_sidecar(clips["cut_out.flac"]).alignments == ()  # timed from the start of a recording that is not here
    assert "cut.out: lhotse: its words lie outside their supervision" in capsys.readouterr().err
    for number in (1, 2):
        assert np.allclose(read_audio(data.sound(clips[f"cut_{number}.flac"]), RATE_HZ), tone(number, 0.3 * number), atol=1e-3)


def test_webdatasets_tars(tmp_path: Path) -> None:
    clips = taken(GOLDEN / "webdataset", tmp_path / "out")
    data = Dataset(tmp_path / "out")
    assert list(clips) == ["train-000000_a_one.wav", "train-000000_a_two.flac", "train-000001_one.wav"]
    assert [clip.extra.get("script") for clip in clips.values()] == ["order one", "order two", "order three"]
    assert [clip.extra.get("speaker") for clip in clips.values()] == ["anna", "bo", None]
    assert [word.text for word in data.read_sidecar(clips["train-000001_one.wav"]).alignments] == ["order", "three"]
    with tarfile.open(GOLDEN / "webdataset" / "train-000000.tar") as tar:
        member = tar.extractfile("a/one.wav")
        assert member is not None
        assert data.sound(clips["train-000000_a_one.wav"]).read_bytes() == member.read() == wav_bytes_of_golden()
    assert not list((tmp_path / "out" / "audio").glob("*.wav"))
    assert (tmp_path / "out" / "archives" / "train-000000.tar").resolve() == GOLDEN / "webdataset" / "train-000000.tar"


def wav_bytes_of_golden() -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, tone(1).astype(np.float32), RATE_HZ, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def test_parquet_of_hugging_faces_datasets(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    taken(GOLDEN / "huggingface", tmp_path / "out")
    data = Dataset(tmp_path / "out")
    first, second = data.clips("train")
    (third,) = data.clips("heldout")
    assert [clip.extra["script"] for clip in (first, second, third)] == ["order one", "order two", "order three"]
    assert [clip.extra["speaker"] for clip in (first, second, third)] == ["7", "8", "9"]
    assert (first.extra["gain"], "gain" in second.extra) == (0.5, False)
    assert [Path(clip.path).suffix for clip in (first, second, third)] == [".flac", ".wav", ".flac"]
    assert second.extra["inside"] == {"archive": "archives/train-00000-of-00001.parquet", "column": "audio", "row": 1}
    for number, clip in enumerate((first, second, third), start=1):
        assert np.allclose(read_audio(data.sound(clip), RATE_HZ), tone(number), atol=1e-3)


@pytest.mark.parametrize("name", ["shar", "webdataset", "huggingface"])
def test_an_archive_that_is_taken_again_or_has_moved_adds_nothing(name: str, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    shutil.copytree(GOLDEN / name, tmp_path / "here")
    out = tmp_path / "out"
    taken(tmp_path / "here", out)
    sidecars = {path: path.read_bytes() for path in out.rglob("*.json")}
    lines = {path: path.read_bytes() for path in out.glob("*.jsonl")}
    taken(tmp_path / "here", out)
    assert {path: path.read_bytes() for path in (*out.rglob("*.json"), *out.glob("*.jsonl"))} == sidecars | lines
    shutil.move(tmp_path / "here", tmp_path / "there")
    clips = taken(tmp_path / "there", out)
    data = Dataset(out)
    assert set(out.rglob("*.json")) == set(sidecars)
    assert all(len(data.sound(clip).read_bytes()) > 500 for clip in clips.values())


@pytest.mark.parametrize("packed", [False, True])
def test_a_dataset_whose_sound_is_in_archives_comes_through_whole(packed: bool, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    taken(GOLDEN / "webdataset", tmp_path / "one", packed=packed)
    taken(tmp_path / "one", tmp_path / "two", packed=packed)
    one, two = Dataset(tmp_path / "one"), Dataset(tmp_path / "two")
    assert [clip.to_json() for clip in two.clips()] == [clip.to_json() for clip in one.clips()]
    for clip in one.clips():
        assert two.sound(clip).read_bytes() == one.sound(clip).read_bytes()
        assert two.read_sidecar(clip).alignments == one.read_sidecar(clip).alignments
        assert (two.directory / "audio").is_dir() != packed
    shutil.rmtree(tmp_path / "one" / "archives")
    with pytest.raises(DatasetError, match=r"archive cannot be read.*none of 3 clips"):
        read_source(tmp_path / "one", "auto")


def test_the_readme_of_a_dataset_on_the_hub_tells_the_splits(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "in").mkdir()
    for name, new in (("train-00000-of-00001", "a"), ("test-00000-of-00001", "b")):
        shutil.copy(GOLDEN / "huggingface" / "data" / f"{name}.parquet", tmp_path / "in" / f"{new}.parquet")
    assert [clip.split for clip in described(tmp_path / "in").values()] == [None] * 3
    files = "[{split: validation, path: 'a*.parquet'}, {split: test, path: [b.parquet]}]"
    (tmp_path / "in" / "README.md").write_text(f"---\nconfigs:\n- config_name: default\n  data_files: {files}\n---\n# It\n")
    assert [clip.split for clip in described(tmp_path / "in").values()] == ["dev", "dev", "heldout"]


@pytest.mark.parametrize("name", ["shar", "webdataset", "huggingface"])
def test_copied_sound_needs_no_archive(name: str, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    data = Dataset(tmp_path / "out")
    taken(GOLDEN / name, data.directory)
    linked = {clip.path: data.sound(clip).read_bytes() for clip in data.clips()}
    taken(GOLDEN / name, data.directory, copy=True)
    assert {clip.path: data.sound(clip).read_bytes() for clip in data.clips()} == linked
    assert not any(isinstance(data.sound(clip), Piece) for clip in data.clips())
    taken(GOLDEN / name, data.directory)
    assert all(isinstance(data.sound(clip), Piece) for clip in data.clips())
    assert not [path for path in (data.directory / "audio").iterdir() if path.suffix != ".json"]


def test_sound_that_cannot_be_used_as_it_is_comes_out_of_its_tar(tmp_path: Path) -> None:
    stereo = io.BytesIO()
    soundfile.write(stereo, np.stack([tone(1), tone(1)], axis=1), RATE_HZ, format="WAV")
    write_tar(tmp_path / "a.tar", ("one.wav", stereo.getvalue()), ("two.wav", wav(2)))
    clips = taken(tmp_path / "a.tar", tmp_path / "out")
    assert ["inside" in clip.extra for clip in clips.values()] == [False, True]
    assert np.allclose(read_audio(tmp_path / "out" / "audio" / "a_one.wav", RATE_HZ), tone(1), atol=1e-3)


def test_files_of_a_clip_may_stand_apart_in_folders_and_under_names_with_dots(tmp_path: Path) -> None:
    write_tar(
        tmp_path / "a.tar",
        ("./x/utt.1.wav", wav(1)), ("./x/utt.2.wav", wav(2)), ("z.wav", wav(3)), ("only.WAV", wav(4)), ("._z.wav", b"AppleDouble"),
        ("lost.txt", "lost"), ("x/utt.1.txt", "one"), ("x/utt.2.TXT", "two"), ("z.json", '{"text": "three"}'),
    )  # fmt: skip
    clips = described(tmp_path / "a.tar")
    assert {clip_id: clip.script for clip_id, clip in clips.items()} == {
        "a/x/utt.1": "one", "a/x/utt.2": "two", "a/z": "three", "a/only": None, "a/lost": None,
    }  # fmt: skip
    assert "lost.txt: apart from a sound of this name" in clips["a/lost"].fault
    assert [clip.audio.read_bytes() for clip in clips.values() if not clip.fault] == [wav(1), wav(2), wav(3), wav(4)]


def test_a_text_of_which_sound_nobody_knows_is_not_guessed(tmp_path: Path) -> None:
    clips = described(write_tar(tmp_path / "a.tar", ("x.near.wav", wav(1)), ("x.far.wav", wav(2)), ("x.txt", "one"), ("y.mono.wav", wav(3)),
                                ("y.txt", "three")))  # fmt: skip
    assert "2 sounds have the key 'x'" in clips["a/x.near"].fault
    assert "2 sounds have the key 'x'" in clips["a/x.far"].fault
    assert clips["a/y.mono"].script == "three"


def test_an_id_that_stands_twice_is_taken_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tar(
        tmp_path / "a.tar", ("x.wav", wav(1)), ("x.txt", "one"), ("y.wav", wav(2)), ("y.txt", "y"), ("x.wav", wav(3)), ("x.txt", "two")
    )
    assert list(taken(tmp_path / "a.tar", tmp_path / "out")) == ["a_x.wav", "a_y.wav"]
    assert "a/x: left out: " in capsys.readouterr().err


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_sound_of_a_compressed_tar_is_copied(mode: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tar = write_tar(tmp_path / f"a.tar.{mode[2:]}", ("x.wav", wav(1)), ("x.txt", "one"), ("y.wav", wav(2)), mode=mode)
    clips = taken(tar, tmp_path / "out")
    assert [(clip.extra.get("script"), "inside" in clip.extra) for clip in clips.values()] == [("one", False), (None, False)]
    assert (tmp_path / "out" / "audio" / "a_x.wav").read_bytes() == wav(1)
    assert "compressed" in capsys.readouterr().err


def damaged(content: bytes, how: str) -> bytes:
    member = 2 * (512 + -(-len(wav(1)) // 512) * 512)
    return {
        "in a sound": content[: member + 1000],
        "between two": content[:member],
        "in a header": content[: member + 100],
        "a header of noise": content[:member] + bytes(range(256)) * 2 + content[member + 512 :],
        "put together with cat": content + content,
    }[how]


@pytest.mark.parametrize("how", ["in a sound", "between two", "in a header", "a header of noise", "put together with cat"])
def test_a_damaged_tar_costs_what_lies_behind_the_fault_and_says_so(how: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tar = write_tar(tmp_path / "in" / "a.tar", ("x.wav", wav(1)), ("y.wav", wav(2)), ("z.wav", wav(3)))
    tar.write_bytes(damaged(tar.read_bytes(), how))
    write_tar(tmp_path / "in" / "b.tar", ("q.wav", wav(4)))
    names = set(taken(tmp_path / "in", tmp_path / "out"))
    assert names == {"a_x.wav", "b_q.wav"} | ({"a_y.wav"} if how == "put together with cat" else set())
    assert f"{tar}: damaged or cut short" in (said := capsys.readouterr().err)
    assert f"and so is {'z' if how == 'put together with cat' else 'y'}.wav before it" in said


def test_shards_of_a_shar_may_be_damaged_disordered_or_alone(tmp_path: Path) -> None:
    recording = {"id": "r", "sources": [{"type": "shar", "channels": [0], "source": ""}], "duration": 0.3, "channel_ids": [0]}
    cuts = [{"id": f"c{n}", "start": 0, "duration": 0.3, "channel": 0, "supervisions": [{"id": "s", "text": f"{n}"}]} for n in range(5)]
    (tmp_path / "cuts.000000.jsonl").write_text("".join(json.dumps(cut) + "\n" for cut in cuts))
    told = json.dumps(recording)
    write_tar(
        tmp_path / "recording.000000.tar",
        ("c1.wav", wav(1)), ("c1.json", told), ("c0.wav", wav(0)), ("c0.json", told), ("c9.wav", wav(9)), ("c9.json", told),
        ("c3.nodata", ""), ("c3.nometa", ""), ("c4.wav", wav(4)), ("c4.json", "{"),
    )  # fmt: skip
    (tmp_path / "cuts.000001.jsonl").write_text(json.dumps({"id": "d"}) + "\n")
    clips = described(tmp_path)
    assert {clip_id: clip.script for clip_id, clip in clips.items() if not clip.fault} == {"c0": "0", "c1": "1"}
    for clip_id, fault in {
        "c9": "no cut of this id",
        "c3": "no sound",
        "c4": "",
        "c2": "its sound is not in",
        "d": "no recording.000001.tar",
    }.items():
        assert fault in clips[clip_id].fault


@pytest.mark.parametrize("table", ["metadata.csv", "metadata.jsonl"])
def test_an_audio_folder(table: str, tmp_path: Path) -> None:
    rows = [{"file_name": f"clips/{n}.wav", "transcription": f'order, "{n}"', "speaker_id": "anna", "room": "hall"} for n in (1, 2)]
    for split, row in zip(("train", "test"), rows, strict=True):
        folder = tmp_path / "in" / split
        (folder / "clips").mkdir(parents=True)
        (folder / row["file_name"]).write_bytes(wav(int(Path(row["file_name"]).stem)))
        quoted = ",".join('"' + value.replace('"', '""') + '"' for value in row.values())
        (folder / table).write_text(json.dumps(row) + "\n" if table.endswith("jsonl") else f"{','.join(row)}\n{quoted}\n")
    assert detect_format(tmp_path / "in") == "huggingface"
    taken(tmp_path / "in", tmp_path / "out")
    data = Dataset(tmp_path / "out")
    ((train,), (heldout,)) = data.clips("train"), data.clips("heldout")
    assert train.extra == {"room": "hall", "speaker": "anna", "script": 'order, "1"'}
    assert heldout.extra["script"] == 'order, "2"'
    assert (data.directory / train.path).is_symlink()


def test_shards_are_named_by_a_pattern_or_a_list(tmp_path: Path) -> None:
    for number in range(12):
        write_tar(tmp_path / f"train-{number:03d}.tar", (f"{number}.wav", wav(number)))
    (tmp_path / "some.txt").write_text("train-003.tar\ntrain-007.tar\n")
    for pattern, count in {"train-{000..010}.tar": 11, "train-00*.tar": 10, "some.txt": 2, "train-{001,011}.tar": 2}.items():
        assert len(described(tmp_path / pattern)) == count
    with pytest.raises(DatasetError, match=r"train-012\.tar: no such file"):
        read_source(tmp_path / "train-{010..012}.tar", "auto")


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("data/train-00000-of-00012.parquet", "train"), ("validation/000.tar", "dev"), ("clean.100/test.jsonl.gz", "heldout"),
        ("dev-clean/train_3.tar", "train"), ("latest/0001.tar", None), ("Eval-1.tar", "heldout"),
    ],
)  # fmt: skip
def test_names_of_shards_tell_the_split(name: str, split: str | None) -> None:
    assert split_in(name) == split


def test_no_archive_is_linked_behind_a_link_that_leads_out(tmp_path: Path) -> None:
    for folder in ("out", "elsewhere"):
        (tmp_path / folder).mkdir()
    (tmp_path / "out" / "archives").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DatasetError, match="none of its 1 clips"):
        taken(write_tar(tmp_path / "a.tar", ("x.wav", wav(1))), tmp_path / "out")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_folder_is_listed_once_and_not_for_every_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tar(tmp_path / "a.tar", *((f"{number}.wav", wav(number)) for number in range(12)))
    listed: list[Path] = []
    listing = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda path: (listed.append(path), listing(path))[1])
    for _ in range(2):
        taken(tmp_path / "a.tar", tmp_path / "out", copy=True)
    assert listed.count(tmp_path / "out" / "audio") <= 2


def test_clips_are_read_as_they_are_asked_for(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "a.tar", ("x.wav", wav(1)), ("x.txt", "one"), ("y.wav", wav(2)), ("y.txt", "two"))
    tar.write_bytes(tar.read_bytes()[:-6000])
    clip = next(read_source(tar, "auto").clips())
    assert (clip.clip_id, clip.fault) == ("a/x", "")
