"""Packed sidecars: what is written is read back in any order, the later file counts, and putting files together changes nothing."""

from __future__ import annotations

import contextlib
import functools
import random
from pathlib import Path

import numpy as np
import pytest

from stt_ft.core.errors import DatasetError, NoSidecar
from stt_ft.dataset import packed
from stt_ft.dataset.manifest import Clip, Dataset
from stt_ft.dataset.sidecar import Sidecar

pytest.importorskip("pyarrow")

CLIPS = [Clip(path=f"audio/take_{number:03d}.wav", duration_s=1.0) for number in range(300)]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    monkeypatch.setattr(packed, "_GROUP_ROWS", 16)  # several row groups and windows with few clips
    monkeypatch.setattr(packed, "_TOGETHER", 50)
    dataset = Dataset(tmp_path)
    dataset.write_clips("train", CLIPS)
    return dataset


def script(data: Dataset, clip: Clip) -> str | None:
    return data.read_sidecar(clip).script


def test_sidecars_are_read_back_in_any_order(data: Dataset):
    data.write_sidecars(((clip, Sidecar(script=clip.path)) for clip in CLIPS), packed=True)
    assert len(data.packed.files()) == 6
    shuffled = random.Random(1).sample(CLIPS, len(CLIPS))
    assert [(clip, found) for clip, found in data.sidecars(shuffled)] == [(clip, Sidecar(script=clip.path)) for clip in shuffled]
    assert not (data.directory / "audio").exists()


def test_the_later_file_counts_and_a_packed_sidecar_before_a_loose_one(data: Dataset):
    data.write_sidecar(CLIPS[0], Sidecar(script="loose"))
    data.write_sidecars([(CLIPS[0], Sidecar(script="first")), (CLIPS[1], Sidecar(script="other"))], packed=True)
    data.write_sidecar(CLIPS[0], Sidecar(script="later"))
    assert (script(data, CLIPS[0]), script(data, CLIPS[1])) == ("later", "other")
    with pytest.raises(NoSidecar, match="take_002"):
        data.read_sidecar(CLIPS[2])
    assert [data.has_sidecar(clip) for clip in CLIPS[:3]] == [True, True, False]


def test_many_small_files_are_put_together_and_nothing_changes(data: Dataset, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(packed, "_MANY", 8)
    monkeypatch.setattr(packed, "_FULL_ROWS", 64)
    expected: dict[str, str] = {}
    draw = random.Random(2)
    for step in range(60):
        some = draw.sample(CLIPS, draw.choice((1, 3, 70)))
        data.packed.add({data.packed_name(clip): f'{{"script": "{step} {clip.path}"}}' for clip in some})
        expected |= {clip.path: f"{step} {clip.path}" for clip in some}
    assert len(data.packed.files()) < 30
    found = {clip.path: sidecar.script for clip, sidecar in data.sidecars(CLIPS) if isinstance(sidecar, Sidecar)}
    assert found == expected
    assert dict(data.packed.items()).keys() == {data.packed_name(clip) for clip in CLIPS if clip.path in expected}


def test_a_file_that_is_added_does_not_sort_all_the_others_anew(data: Dataset, monkeypatch: pytest.MonkeyPatch):
    """Or what a stage costs grows with the square of the clips: it adds a file for every thousand of them, and reads in between."""
    monkeypatch.setattr(packed, "_MANY", 8)
    monkeypatch.setattr(packed, "_FULL_ROWS", 64)
    sorted_rows = []
    newest = packed._newest.__wrapped__

    @functools.lru_cache(maxsize=4)
    def counted(files: tuple[Path, ...]) -> tuple[np.ndarray, np.ndarray]:
        found = newest(files)
        sorted_rows.append(len(found[0]))
        return found

    monkeypatch.setattr(packed, "_newest", counted)
    for first in range(0, len(CLIPS), 2):
        some = CLIPS[first : first + 2]
        data.write_sidecars(((clip, Sidecar(script=clip.path)) for clip in some), packed=True)
        assert script(data, some[0]) == some[0].path
    assert [found.script for _, found in data.sidecars(CLIPS) if isinstance(found, Sidecar)] == [clip.path for clip in CLIPS]
    everything = sum(range(0, len(CLIPS), 2))
    assert sum(sorted_rows) < everything / 2


def test_a_kill_between_the_new_file_and_the_old_ones_loses_nothing(data: Dataset, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(packed, "_MANY", 4)

    def killed(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(packed, "remove_many", killed)
    for step in range(5):
        with contextlib.suppress(KeyboardInterrupt):
            data.packed.add({data.packed_name(clip): f'{{"script": "{step}"}}' for clip in CLIPS[step : step + 5]})
    assert len(data.packed.files()) == 6
    assert [script(data, clip) for clip in CLIPS[:9]] == ["0", "1", "2", "3", "4", "4", "4", "4", "4"]


def test_what_came_before_an_error_is_kept(data: Dataset):
    def pairs():
        for clip in CLIPS[:60]:
            yield clip, Sidecar(script="x")
        raise DatasetError("the 61st")

    with pytest.raises(DatasetError, match="61st"):
        data.write_sidecars(pairs(), packed=True)
    assert sum(isinstance(found, Sidecar) for _, found in data.sidecars(CLIPS)) == 60


@pytest.mark.parametrize("damage", ["cut", "no parquet", "foreign"])
def test_a_damaged_file_is_told_by_name(data: Dataset, damage: str):
    import pyarrow
    import pyarrow.parquet

    data.write_sidecars([(CLIPS[0], Sidecar())], packed=True)
    (path,) = data.packed.files()
    if damage == "foreign":
        pyarrow.parquet.write_table(pyarrow.table({"path": ["audio/take_000.json"], "words": ["x"]}), path)
    else:
        path.write_bytes(path.read_bytes()[:-20] if damage == "cut" else b"PK")
    packed._hashes.cache_clear()
    packed._Index.of.cache_clear()
    with pytest.raises(DatasetError, match="packed sidecars that cannot be read") as told:
        data.read_sidecar(CLIPS[0])
    assert path.name in str(told.value)
    assert "\n" not in str(told.value)


def test_a_malformed_packed_sidecar_is_the_fault_of_its_clip_alone(data: Dataset):
    data.packed.add({data.packed_name(CLIPS[0]): '{"alignments": 3}', data.packed_name(CLIPS[1]): "{}"})
    (_, first), (_, second) = data.sidecars(CLIPS[:2])
    assert isinstance(first, DatasetError)
    assert second == Sidecar()


def test_a_clip_outside_the_dataset_hides_no_other(data: Dataset):
    found = [sidecar for _, sidecar in data.sidecars([Clip(path="../x.wav", duration_s=1.0), CLIPS[0]])]
    assert [type(one) for one in found] == [DatasetError, NoSidecar]
