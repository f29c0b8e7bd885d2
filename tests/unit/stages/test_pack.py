"""`pack`: there and back byte for byte, killed anywhere, and what two places say differently is told and left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from stt_ft.dataset.manifest import Clip, Dataset
from stt_ft.dataset.sidecar import Sidecar
from stt_ft.stages import pack as pack_stage
from stt_ft.stages.pack import pack

pytest.importorskip("pyarrow")


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(pack_stage, "WINDOW", 4)
    data = Dataset(tmp_path / "dataset")
    clips = [Clip(path=f"audio/take {number}.a.wav", duration_s=1.0) for number in range(10)]
    data.write_sidecars((clip, Sidecar(script="é")) for clip in clips[:8])
    (data.directory / "audio" / "take 8.a.json").write_bytes(b'{"alignments": [],\r\n "script": "by another program"}')
    (data.directory / "audio" / "take 9.a.json").write_bytes(b"no JSON")
    data.write_clips("train", clips)
    return data.directory


def test_there_and_back_nothing_changes(dataset: Path, tree_hash: Callable[[Path], str]):
    before = tree_hash(dataset)
    pack(dataset)
    assert list(dataset.rglob("*.json")) == []
    assert len(Dataset(dataset).packed.files()) == 3
    pack(dataset, loose=True)
    assert tree_hash(dataset) == before
    assert not (dataset / "sidecars").exists()


@pytest.mark.parametrize("loose", [False, True])
@pytest.mark.parametrize("where", ["write_text", "remove_many", "add"])
def test_killed_anywhere_it_loses_nothing(
    dataset: Path, tree_hash: Callable[[Path], str], monkeypatch: pytest.MonkeyPatch, where: str, loose: bool
):
    before = tree_hash(dataset)
    expected = list(Dataset(dataset).sidecar_texts(Dataset(dataset).clips()))
    if loose:
        pack(dataset)
    target = type(Dataset(dataset).packed) if where == "add" else pack_stage
    work, calls = getattr(target, where), []

    def killed(*words: object, **flags: object) -> object:
        calls.append(words)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return work(*words, **flags)

    with monkeypatch.context() as patch:
        patch.setattr(target, where, killed)
        try:
            pack(dataset, loose=loose)
        except KeyboardInterrupt:
            found = list(Dataset(dataset).sidecar_texts(Dataset(dataset).clips()))
            assert [(clip, _bytes(text)) for clip, text in found] == [(clip, _bytes(text)) for clip, text in expected]
    pack(dataset, loose=loose)
    if not loose:
        assert list(dataset.rglob("*.json")) == []
    pack(dataset, loose=True)
    assert tree_hash(dataset) == before


def _bytes(text: object) -> object:
    return text.encode() if isinstance(text, str) else text


def test_two_places_that_differ_are_told_and_both_stay(dataset: Path, capsys: pytest.CaptureFixture[str]):
    pack(dataset)
    beside = dataset / "audio" / "take 0.a.json"
    beside.write_text("{}")
    (dataset / "audio" / "take 1.a.json").write_bytes(b"\xff")
    pack(dataset)
    told = capsys.readouterr().err
    assert f"{beside}: says something else than the packed sidecar, which counts; remove it" in told
    assert "take 1.a.json: not UTF-8" in told
    assert beside.read_text() == "{}"
    assert Dataset(dataset).read_sidecar(Dataset(dataset).clips()[0]).script == "é"


def test_behind_a_link_that_leads_out_nothing_is_removed(dataset: Path, tmp_path: Path):
    (dataset / "audio").rename(tmp_path / "elsewhere")
    (dataset / "audio").symlink_to(tmp_path / "elsewhere")
    pack(dataset)
    assert len(list((tmp_path / "elsewhere").glob("*.json"))) == 10
    data = Dataset.open(dataset)
    data.write_sidecar(data.clips()[0], Sidecar(script="new"))  # a loose one could not be written there
    assert data.read_sidecar(data.clips()[0]).script == "new"
