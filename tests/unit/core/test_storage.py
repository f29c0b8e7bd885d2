"""Where files lie: pieces of tar and Parquet archives are the bytes that other programs put there, and a wrong place is told by name."""

from __future__ import annotations

import io
import logging
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stt_ft.audio.files import probe, read_audio, wav_of, write_wav
from stt_ft.core.errors import AudioError, DatasetError, DiskError, MissingExtra, SttFtError
from stt_ft.core.provenance import file_sha256
from stt_ft.core.storage import Piece, claim, is_local, place
from stt_ft.dataset.manifest import Clip, Dataset

SOUNDS = [wav_of(np.sin(np.arange(2400 + 240 * index) / 9).astype(np.float32)) for index in range(5)]


def clip_in(**inside: Any) -> Clip:
    return Clip(path="audio/take.wav", duration_s=0.1, extra={"inside": inside})


def tar_of(path: Path, format: int) -> list[tarfile.TarInfo]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=format) as tar:
        for index, sound in enumerate(SOUNDS):
            is_long = index == 3 and format != tarfile.USTAR_FORMAT  # beyond 100 letters the name has a header of its own
            member = tarfile.TarInfo(f"{'long_name_' * 12 * is_long}{index}.wav")
            member.size = len(sound)
            tar.addfile(member, io.BytesIO(sound))
    with tarfile.open(path) as tar:
        return tar.getmembers()


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_member_of_a_tar_is_read_as_the_file_that_it_was(tmp_path: Path, format: int):
    data = Dataset(tmp_path)
    members = tar_of(tmp_path / "archives" / "a.tar", format)
    for member, sound in zip(members, SOUNDS, strict=True):
        source = data.sound(clip_in(archive="archives/a.tar", offset=member.offset_data, size=member.size))
        (tmp_path / "plain.wav").write_bytes(sound)
        assert isinstance(source, Piece)
        assert source.read_bytes() == sound
        assert np.array_equal(read_audio(source), read_audio(tmp_path / "plain.wav"))
        assert probe(source) == probe(tmp_path / "plain.wav")
        assert file_sha256(source) == file_sha256(tmp_path / "plain.wav")


@pytest.mark.parametrize("is_struct", [True, False])
def test_a_row_of_a_parquet_file_is_read_as_the_file_that_it_was(tmp_path: Path, is_struct: bool):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    values = [{"bytes": sound, "path": "x.wav"} if is_struct else sound for sound in SOUNDS]
    (tmp_path / "archives").mkdir()
    parquet.write_table(pyarrow.table({"audio": values, "n": range(5)}), tmp_path / "archives" / "a.parquet", row_group_size=2)
    data = Dataset(tmp_path)
    for row in (4, 0, 3, 1, 2):
        source = data.sound(clip_in(archive="archives/a.parquet", column="audio", row=row))
        assert isinstance(source, Piece)
        assert source.read_bytes() == SOUNDS[row]
    for column, row, fault in (("audio", 5, "rows 0 to 4"), ("audoi", 0, "audoi"), ("n", 0, "no bytes")):
        with pytest.raises(AudioError, match=fault) as told:
            read_audio(data.sound(clip_in(archive="archives/a.parquet", column=column, row=row)))
        assert "audio/take.wav" in str(told.value)


def test_a_place_that_is_no_member_is_never_guessed_at(tmp_path: Path):
    member = tar_of(tmp_path / "archives" / "a.tar", tarfile.GNU_FORMAT)[1]
    data = Dataset(tmp_path)
    at = {"archive": "archives/a.tar", "offset": member.offset_data, "size": member.size}
    content = (tmp_path / "archives" / "a.tar").read_bytes()
    (tmp_path / "archives" / "cut.tar").write_bytes(content[: member.offset_data + 100])
    for change, fault in (
        ({"offset": member.offset_data + 1}, "no member of"),
        ({"offset": 0}, "no member of"),
        ({"size": member.size - 2}, "no member of"),
        ({"offset": len(content) + 5000}, "no member of"),
        ({"archive": "archives/cut.tar"}, "cut short"),
        ({"archive": "archives/none.tar"}, "cannot be read"),
    ):
        with pytest.raises(AudioError, match=fault) as told:
            read_audio(data.sound(clip_in(**{**at, **change})))
        assert "audio/take.wav" in str(told.value)
        assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "inside",
    [
        {"archive": "../a.tar", "offset": 512, "size": 9},
        {"archive": "/etc/passwd", "offset": 512, "size": 9},
        {"archive": "a.tar", "offset": True, "size": 9},
        {"archive": "a.tar", "offset": -512, "size": 9},
        {"archive": "a.tar", "offset": 512},
        {"archive": "a.parquet", "column": "audio", "row": "3"},
        {"archive": 3, "offset": 512, "size": 9},
        "a.tar",
        None,
    ],
)
def test_a_line_that_names_no_piece_inside_the_dataset_is_told_by_clip(tmp_path: Path, inside: object):
    with pytest.raises(DatasetError, match=r"audio/take\.wav"):
        Dataset(tmp_path).sound(Clip(path="audio/take.wav", duration_s=1.0, extra={"inside": inside}))


def test_names_without_a_scheme_are_paths_and_others_are_places_in_a_store(tmp_path: Path):
    assert place(str(tmp_path)) == tmp_path
    assert place("a:b") == Path("a:b")
    pytest.importorskip("upath")
    assert not is_local(place("memory://calls/orders"))
    assert place(f"file://{tmp_path}") == tmp_path
    with pytest.raises(DiskError, match="no such kind of store"):
        place("nonsense://calls")


def test_a_store_whose_package_is_missing_is_told_with_the_extra(monkeypatch: pytest.MonkeyPatch):
    upath = pytest.importorskip("upath")

    def without_package(*_: object, **__: object) -> None:
        raise ImportError("Please install gcsfs to access Google Storage")

    monkeypatch.setattr(upath, "UPath", without_package)
    with pytest.raises(MissingExtra, match=r"gs://calls needs gcsfs: pip install 'stt-ft\[cloud\]'"):
        place("gs://calls")


def test_the_package_of_a_store_that_no_extra_brings_is_told_by_itself(monkeypatch: pytest.MonkeyPatch):
    upath = pytest.importorskip("upath")

    def without_package(*_: object, **__: object) -> None:
        raise ImportError("Install adlfs to access Datalake Gen2 and Azure Blob Storage")

    monkeypatch.setattr(upath, "UPath", without_package)
    with pytest.raises(DiskError, match=r"^az://calls needs adlfs: pip install adlfs$"):
        place("az://calls")


def test_a_store_that_does_not_answer_is_not_taken_for_an_empty_one(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("upath")
    memory = pytest.importorskip("fsspec.implementations.memory")
    data = Dataset.to_fill("memory://silent/orders")

    class NoAnswer(OSError):
        __module__ = "aiohttp.client_exceptions"

    def refuse(*_: object, **__: object) -> None:
        raise NoAnswer("Cannot connect")

    monkeypatch.setattr(memory.MemoryFileSystem, "info", refuse)
    for ask in (
        data.packed.are_there,
        lambda: data.has_sound(Clip(path="a.wav", duration_s=1.0)),
        lambda: Dataset.open(str(data.directory)),
    ):
        with pytest.raises(DiskError, match=r"silent/orders.*the store cannot be asked: Cannot connect"):
            ask()


def test_a_store_that_puts_without_looking_still_tells_of_the_writer_before(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("upath")
    memory = pytest.importorskip("fsspec.implementations.memory")
    put = memory.MemoryFileSystem.pipe_file
    monkeypatch.setattr(memory.MemoryFileSystem, "pipe_file", lambda store, path, value, **_: put(store, path, value))
    assert [claim(place("memory://careless/lock"), owner) for owner in ("first", "second")] == [None, "first"]


def test_what_a_stores_package_logs_stays_off_the_terminal(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("upath")
    place("memory://calls")
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    logging.getLogger("gcsfs.retry").warning("out of retries")
    assert capfd.readouterr().err == ""


def test_sound_of_a_store_is_read_from_memory_as_a_file_is(tmp_path: Path):
    pytest.importorskip("upath")
    data = Dataset.to_fill("memory://sounds/orders")
    clip = Clip(path="audio/take.wav", duration_s=0.1)
    write_wav(data.audio_path(clip, to_write=True), np.zeros(2400, np.float32) + 0.25)
    write_wav(tmp_path / "take.wav", np.zeros(2400, np.float32) + 0.25)
    assert np.array_equal(read_audio(data.sound(clip)), read_audio(tmp_path / "take.wav"))
    assert probe(data.sound(clip)) == probe(tmp_path / "take.wav")
    with pytest.raises(SttFtError, match=r"audio/none.wav: no such audio file"):
        read_audio(data.sound(Clip(path="audio/none.wav", duration_s=0.1)))
    cut = data.audio_path(clip).read_bytes()[:-2000]
    data.audio_path(clip).write_bytes(cut)
    with pytest.raises(AudioError, match="cut off"):
        read_audio(data.sound(clip))
