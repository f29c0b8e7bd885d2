"""Whatever a dataset's files say, no command reads or writes sidecars and sound outside it; what the user named may be anywhere."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from stt_ft.core.errors import CheckFailed, DatasetError, SttFtError
from stt_ft.dataset.manifest import Dataset
from stt_ft.dataset.sidecar import Sidecar, Word
from stt_ft.stages.dataset import check
from stt_ft.stages.finetune import encode
from stt_ft.stages.recordings import ingest
from stt_ft.stages.words import annotate, convert


@pytest.fixture
def outside(recorded: Path, tmp_path: Path) -> Path:
    """A take beside the dataset, with words to convert."""
    sound = next((recorded / "audio").glob("*.wav"))
    outside = tmp_path / "victim"
    outside.mkdir()
    shutil.copy(sound, outside / "secret.wav")
    sidecar = Sidecar(alignments=(Word(text="number", start_s=0.1, end_s=0.4), Word(text="12345", start_s=0.5, end_s=2.0)))
    (outside / "secret.json").write_text(json.dumps(sidecar.to_json()))
    return outside


def _hashes(directory: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(directory.iterdir())}


def _add_line(dataset: Path, path: str) -> None:
    with (dataset / "train.jsonl").open("a") as manifest:
        manifest.write(json.dumps({"path": path, "duration": 2.5, "speaker": "a", "script": "number 12345"}) + "\n")


@pytest.mark.parametrize("path", ["../victim/secret.wav", "audio/../../victim/secret.wav", "ABSOLUTE"])
def test_a_manifest_cannot_lead_a_command_outside(recorded, outside, capsys, path):
    path = str(outside / "secret.wav") if path == "ABSOLUTE" else path
    before = _hashes(outside)
    _add_line(recorded, path)
    encoding = {"base": "tiny", "device": "cpu"}
    for command, options in ((annotate, {"aligner": "sphinx"}), (convert, {"realign": False}), (check, {}), (encode, encoding)):
        with pytest.raises(CheckFailed):
            command(str(recorded), **options)
        said = "".join(capsys.readouterr())
        assert f"clip {path!r}: the name leads out of the directory; `stt-ft ingest`" in said
    assert _hashes(outside) == before
    others = Dataset(recorded).clips()[:-1]
    assert all(Dataset(recorded).read_sidecar(clip).alignments for clip in others if clip.path != path)


def test_ingest_takes_over_what_the_user_named_wherever_it_lies(recorded, outside, tmp_path):
    (tmp_path / "theirs.jsonl").write_text(json.dumps({"path": str(outside / "secret.wav"), "duration": 2.5}) + "\n")
    ingest(str(tmp_path / "theirs.jsonl"), out=str(tmp_path / "mine"))
    (clip,) = Dataset(tmp_path / "mine").clips()
    assert Dataset(tmp_path / "mine").read_sidecar(clip).alignments[0].text == "number"


def test_a_linked_folder_of_sound_is_encoded_and_never_written_into(recorded, tmp_path):
    shutil.move(recorded / "audio", tmp_path / "big_disk")
    (recorded / "audio").symlink_to(tmp_path / "big_disk")
    before = _hashes(tmp_path / "big_disk")
    encode(str(recorded), base="tiny", device="cpu")
    folder = tmp_path / "more"
    folder.mkdir()
    shutil.copy(next((tmp_path / "big_disk").glob("*.wav")), folder / "new.wav")
    for command in (lambda: annotate(str(recorded), aligner="sphinx"), lambda: ingest(str(folder), out=str(recorded))):
        with pytest.raises(SttFtError):
            command()
    assert _hashes(tmp_path / "big_disk") == before


def test_codes_are_not_written_through_a_link(recorded, tmp_path):
    (tmp_path / "victim").mkdir()
    (recorded / "tokens").symlink_to(tmp_path / "victim")
    with pytest.raises(DatasetError, match=r"tokens/[0-9a-f]{16} is a link that leads out of the directory"):
        encode(str(recorded), base="tiny", device="cpu")
    assert list((tmp_path / "victim").iterdir()) == []


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
def test_a_playlist_in_a_sound_files_clothes_brings_nothing_in(tmp_path):
    (tmp_path / "folder").mkdir()
    subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "sine=440:d=2", str(tmp_path / "private.mp3")], check=True)
    subprocess.run(["ffmpeg", "-v", "error", "-i", str(tmp_path / "private.mp3"), str(tmp_path / "folder" / "good.m4a")], check=True)
    (tmp_path / "folder" / "hls.m4a").write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile://{tmp_path}/private.mp3\n#EXT-X-ENDLIST\n"
    )
    (tmp_path / "folder" / "concat.m4a").write_text("ffconcat version 1.0\nfile ../private.mp3\n")
    ingest(str(tmp_path / "folder"), out=str(tmp_path / "data"))
    assert [clip.path for clip in Dataset(tmp_path / "data").clips()] == ["audio/good.wav"]
