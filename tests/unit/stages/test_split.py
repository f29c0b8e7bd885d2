"""split on a dataset: no voice or number on two sides, the same seed gives the same splits, and no clip is lost."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from stt_ft.core.errors import ConfigError, DatasetError
from stt_ft.dataset.manifest import Clip, Dataset
from stt_ft.dataset.sidecar import Sidecar, Word
from stt_ft.stages.dataset import split


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    """Sixty takes by ten speakers; every number is dictated by two of them."""
    dataset = Dataset(tmp_path / "dataset")
    clips = []
    for index in range(60):
        extra = {"speaker": f"s{index % 10}", "kind": "number", "script": f"order {10_000_000 + index // 2 * 7919}"}
        clips.append(Clip(path=f"audio/{index:02d}.wav", duration_s=2.0, extra=extra))
        dataset.write_sidecar(clips[-1], Sidecar(script=str(extra["script"])))
    dataset.write_clips("train", clips)
    return dataset


def owners(data: Dataset, key: str) -> dict[str, set[str]]:
    """Return value of `key` -> the splits it is in."""
    found: dict[str, set[str]] = {}
    for name in data.splits():
        for clip in data.clips(name):
            found.setdefault(str(clip.extra[key]), set()).add(name)
    return found


@pytest.mark.parametrize(("by", "key"), [("speaker", "speaker"), ("number", "script")])
def test_what_is_split_by_stays_on_one_side(data: Dataset, by: str, key: str) -> None:
    split(str(data.directory), dev=0.1, heldout=0.2, by=by)  # type: ignore[arg-type]
    assert all(len(splits) == 1 for splits in owners(data, key).values())
    assert {name: len(data.clips(name)) for name in data.splits()} == {"train": 42, "dev": 6, "heldout": 12}
    assert data.info()["splits"] == {"by": by, "dev": 0.1, "heldout": 0.2, "seed": 0}


def test_the_seed_decides_and_no_clip_is_lost(data: Dataset) -> None:
    split(str(data.directory), seed=3)
    first = {name: [clip.path for clip in data.clips(name)] for name in data.splits()}
    split(str(data.directory), by="clip", seed=4)
    split(str(data.directory), seed=3)
    assert {name: [clip.path for clip in data.clips(name)] for name in data.splits()} == first
    assert len({clip.path for clip in data.clips()}) == 60


def test_a_kill_between_manifests_is_mended_by_running_again(data: Dataset) -> None:
    split(str(data.directory))
    before = {name: data.clips(name) for name in data.splits()}
    data.write_clips("train", [clip for clips in before.values() for clip in clips])
    split(str(data.directory))
    assert {name: data.clips(name) for name in data.splits()} == before


def test_no_dev_split_leaves_no_dev_manifest(data: Dataset) -> None:
    split(str(data.directory))
    split(str(data.directory), dev=0.0, heldout=0.5)
    assert data.splits() == ["train", "heldout"]


def test_five_speakers_of_equally_many_clips_fill_three_splits(data: Dataset) -> None:
    data.write_clips("train", [replace(clip, extra={**clip.extra, "speaker": f"s{at % 5}"}) for at, clip in enumerate(data.clips())])
    split(str(data.directory))
    speakers = {name: {clip.extra["speaker"] for clip in data.clips(name)} for name in data.splits()}
    assert {name: len(those) for name, those in speakers.items()} == {"train": 3, "dev": 1, "heldout": 1}
    assert len(set().union(*speakers.values())) == 5


@pytest.mark.parametrize(
    "ways",
    [
        ("mon numéro est le zéro six douze trente quatre cinquante six", "c'est le 06 12 34 56"),
        ("call twenty one sixty nine forty", "it is 216940"),
        ("code a one b two c three", "code A1B2C3"),
    ],
)
def test_a_number_in_pairs_or_letters_stays_on_one_side(data: Dataset, ways: tuple[str, str]) -> None:
    clips = data.clips()
    for clip in clips[::7]:
        texts = ways[0].split()
        words = tuple(Word(text=text, start_s=0.1 * at, end_s=0.1 * at + 0.1) for at, text in enumerate(texts))
        data.write_sidecar(clip, Sidecar(alignments=words))
    for clip in clips[1::7]:
        data.sidecar_path(clip).unlink()
    data.write_clips("train", [replace(clip, extra={"script": ways[1]} if at % 7 == 1 else clip.extra) for at, clip in enumerate(clips)])
    split(str(data.directory), by="number", seed=1)
    same = {clip.path for clip in (*clips[::7], *clips[1::7])}
    assert len({name for name in data.splits() for clip in data.clips(name) if clip.path in same}) == 1


def test_mistakes_are_refused_and_nothing_is_written(data: Dataset) -> None:
    before = (data.directory / "train.jsonl").read_bytes()
    with pytest.raises(ConfigError, match=r"--dev 0\.5 and --heldout 0\.6"):
        split(str(data.directory), dev=0.5, heldout=0.6)
    clips = data.clips()
    data.write_clips("train", [Clip(path=clip.path, duration_s=2.0, extra={**clip.extra, "speaker": "one"}) for clip in clips])
    with pytest.raises(DatasetError, match="1 groups by speaker cannot fill 3 splits"):
        split(str(data.directory))
    data.write_clips("train", [Clip(path=clip.path, duration_s=2.0) for clip in clips])
    with pytest.raises(DatasetError, match=r"audio/00\.wav has no speaker"):
        split(str(data.directory))
    data.write_clips("train", clips)
    assert (data.directory / "train.jsonl").read_bytes() == before
    assert json.loads(before.splitlines()[0])["path"] == "audio/00.wav"
