"""archive: other programs read what it writes, ingest gives the same dataset back, and a run that was killed goes on."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from stt_ft.audio.files import write_wav
from stt_ft.core.errors import ConfigError, DatasetError
from stt_ft.corpus import archiving
from stt_ft.dataset.manifest import Clip, Dataset
from stt_ft.dataset.sidecar import Sidecar, Word
from stt_ft.stages.archive import archive
from stt_ft.stages.recordings import ingest

FORMATS = ("shar", "webdataset", "huggingface")
RATE_HZ = 16_000


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    """Five clips of two splits: WAV and FLAC, a folder, a name with dots, one without a sidecar; sidecars with all that a sidecar holds."""
    data = Dataset(tmp_path / "data")
    rng = np.random.default_rng(0)
    clips = []
    for number, name in enumerate(("one.wav", "sub/été.2.flac", "sub/été_2.wav", "bare.wav", "last.wav")):
        extra = {"speaker": f"s{number}", "kind": "number", "prompt_id": f"p{number}", "room": {"size": [2, 3]}}
        clip = Clip(path=f"audio/{name}", duration_s=0.5 + 0.1 * number, extra=extra if name != "bare.wav" else {})
        samples = (rng.standard_normal(round(clip.duration_s * RATE_HZ)) * 0.1).astype(np.float32)
        if name.endswith("flac"):
            (data.directory / clip.path).parent.mkdir(parents=True)
            soundfile.write(data.directory / clip.path, samples, RATE_HZ)
        else:
            write_wav(data.directory / clip.path, samples, RATE_HZ)
        words = (Word(text="one", start_s=0.05, end_s=0.2), Word(text="two", start_s=0.21, end_s=0.4))
        other = Word(text="hm", start_s=0.41, end_s=0.45, speaker="SPEAKER_1")
        written = (Word(text="12", start_s=0.05, end_s=0.4),)
        provenance = {"annotate": {"aligner": "whisper"}, "convert": {"words_sha256": "x"}}
        made = Sidecar(alignments=(*words, other), written=written, script="12", provenance=provenance, extra={"confidence": [0.9]})
        if name != "bare.wav":
            data.write_sidecar(clip, made)
        clips.append(clip)
    data.write_clips("train", clips[:4])
    data.write_clips("heldout", clips[4:])
    data.write_info({"name": "data", "language": "fr"})
    return data


def tree(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def without_ingest(sidecar: Sidecar) -> dict[str, Any]:
    value = sidecar.to_json()
    value.get("provenance", {}).pop("ingest", None)
    return {key: one for key, one in value.items() if one != {}}


@pytest.mark.parametrize("corpus_format", FORMATS)
def test_ingest_gives_the_same_dataset_back(corpus_format: Any, data: Dataset, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    archive(str(data.directory), out=str(tmp_path / "out"), format=corpus_format, shard_size=2)
    ingest(str(tmp_path / "out"), out=str(tmp_path / "back"))
    back = Dataset.open(tmp_path / "back")
    assert back.language() == "fr"
    assert back.splits() == data.splits()
    for split in data.splits():
        lines = [{key: value for key, value in clip.to_json().items() if key != "inside"} for clip in back.clips(split)]
        assert list(map(json.dumps, lines)) == [json.dumps(clip.to_json()) for clip in data.clips(split)]
    for theirs, ours in zip(back.clips(), data.clips(), strict=True):
        assert "inside" in theirs.extra
        assert back.sound(theirs).read_bytes() == data.sound(ours).read_bytes()
        sidecar = data.read_sidecar(ours) if data.has_sidecar(ours) else Sidecar()
        assert without_ingest(back.read_sidecar(theirs)) == without_ingest(sidecar)


@pytest.mark.parametrize("corpus_format", FORMATS)
def test_a_killed_run_goes_on_where_it_was(
    corpus_format: Any, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pyarrow")
    archive(str(data.directory), out=str(tmp_path / "whole"), format=corpus_format, shard_size=2)
    asked: list[object] = []

    def die(sound: Any) -> Any:
        asked.append(sound)
        if len(asked) == 4:
            raise KeyboardInterrupt
        return probe(sound)

    probe = archiving.probe
    monkeypatch.setattr(archiving, "probe", die)
    with pytest.raises(KeyboardInterrupt):
        archive(str(data.directory), out=str(tmp_path / "out"), format=corpus_format, shard_size=2)
    there = {name for name in tree(tmp_path / "out") if not name.endswith((".json", ".md"))}
    assert len(there) == (2 if corpus_format == "shar" else 1)
    capsys.readouterr()
    archive(str(data.directory), out=str(tmp_path / "out"), format=corpus_format, shard_size=2)
    assert "5 clips, 2 of them there already, 0 left out" in capsys.readouterr().err
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_only_shards_of_what_has_changed_are_written_again(data: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    archive(str(data.directory), out=str(out), format="webdataset", shard_size=2)
    before = tree(out)
    clip = data.clips("train")[2]
    data.write_sidecar(clip, Sidecar(script="13"))
    archive(str(data.directory), out=str(out), format="webdataset", shard_size=2)
    assert {name for name, digest in tree(out).items() if before[name] != digest} == {"train-000001.tar", "shards.json"}
    data.write_clips("train", data.clips("train")[:2])
    archive(str(data.directory), out=str(out), format="webdataset", shard_size=2)
    assert set(tree(out)) == {"train-000000.tar", "heldout-000000.tar", "shards.json"}
    assert "3 clips, 3 of them there already" in capsys.readouterr().err


def test_a_clip_that_cannot_be_read_is_named_and_asked_for_again(data: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = data.directory / "audio" / "one.wav"
    sound = path.read_bytes()
    path.write_bytes(b"RIFF")
    (data.directory / "audio" / "last.json").write_text("{")
    archive(str(data.directory), out=str(tmp_path / "out"), format="shar")
    said = capsys.readouterr().err
    assert "audio/one.wav: left out: " in said
    assert "audio/last.wav: left out: " in said
    assert "3 clips, 2 left out" in said
    path.write_bytes(sound)
    data.write_sidecar(data.clips("heldout")[0], Sidecar())
    archive(str(data.directory), out=str(tmp_path / "out"), format="shar")
    assert "5 clips, 0 left out" in capsys.readouterr().err


def test_what_is_no_archive_is_left_alone(data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds other files, and no shards\.json"):
        archive(str(data.directory), out=str(data.directory), format="webdataset")
    archive(str(data.directory), out=str(tmp_path / "out"), format="webdataset")
    with pytest.raises(ConfigError, match="holds an archive in the format webdataset, not shar"):
        archive(str(data.directory), out=str(tmp_path / "out"), format="shar")
    (tmp_path / "out" / "shards.json").write_text('{"format": "webdataset", "shards": 3}')
    with pytest.raises(ConfigError, match=r"shards\.json: damaged"):
        archive(str(data.directory), out=str(tmp_path / "out"), format="webdataset")
    with pytest.raises(ConfigError, match="--shard_size must be 1 or more, got 0"):
        archive(str(data.directory), out=str(tmp_path / "new"), format="webdataset", shard_size=0)
    Dataset(tmp_path / "empty").write_clips("train", [])
    with pytest.raises(DatasetError, match="no clips here"):
        archive(str(tmp_path / "empty"), out=str(tmp_path / "new"), format="webdataset")


def test_a_record_that_leads_elsewhere_is_refused(data: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, path in enumerate(("../x.wav", ".studio/x.wav", "/x.wav", "audio/ok.wav")):
        data.write_clips("train", [data.clips("train")[0]])
        line = {"path": path, "duration": 0.5, "inside": {"archive": "/etc/passwd"}}
        folder = tmp_path / "in" / str(number)
        folder.mkdir(parents=True)
        (folder / "x.wav").write_bytes(
            (data.directory / "audio" / "one.wav").read_bytes() if number == 3 else data.sound(data.clips()[-1]).read_bytes()
        )
        (folder / "x.json").write_text(json.dumps({"stt_ft": {"clip": line, "sidecar": None}}))
    ingest(str(tmp_path / "in"), out=str(tmp_path / "new" / "out"))
    (clip,) = Dataset.open(tmp_path / "new" / "out").clips()
    assert (clip.path, clip.extra) == ("audio/ok.wav", {})
    assert capsys.readouterr().err.count("left out") >= 3
    assert sorted(path.name for path in (tmp_path / "new").rglob("*") if path.is_file()) == [
        "dataset.yaml",
        "ok.json",
        "ok.wav",
        "train.jsonl",
    ]


def test_lhotse_reads_the_shar(data: Dataset, tmp_path: Path) -> None:
    lhotse = pytest.importorskip("lhotse", reason="lhotse is not installed; make real")
    from lhotse.qa import validate  # pyright: ignore[reportMissingImports]

    archive(str(data.directory), out=str(tmp_path / "out"), format="shar", shard_size=3)
    for split in data.splits():
        cuts = list(lhotse.CutSet.from_shar(in_dir=str(tmp_path / "out" / split)))
        for cut, clip in zip(cuts, data.clips(split), strict=True):
            validate(cut)
            assert np.array_equal(cut.load_audio()[0], soundfile.read(data.directory / clip.path, dtype="float32")[0])
            (said,) = cut.supervisions
            assert said.speaker == clip.extra.get("speaker")
            if data.has_sidecar(clip):
                assert said.text == "one two"
                spans = [(item.symbol, item.start, round(item.end, 4)) for item in said.alignment["word"]]
                assert spans == [("one", 0.05, 0.2), ("two", 0.21, 0.4)]


def test_webdataset_reads_the_tars(data: Dataset, tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset", reason="webdataset is not installed; make real")
    archive(str(data.directory), out=str(tmp_path / "out"), format="webdataset", shard_size=3)
    for split in data.splits():
        paths = sorted(map(str, (tmp_path / "out").glob(f"{split}-*.tar")))
        samples = list(webdataset.WebDataset(paths, shardshuffle=False))
        for sample, clip in zip(samples, data.clips(split), strict=True):
            assert sample[Path(clip.path).suffix[1:]] == (data.directory / clip.path).read_bytes()
            assert sample["txt"].decode() == ("one two" if data.has_sidecar(clip) else "")
            assert json.loads(sample["json"])["speaker"] == clip.extra.get("speaker")
        assert len({sample["__key__"] for sample in samples}) == len(samples)


def test_datasets_reads_the_parquet_files(data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    pytest.importorskip("datasets.arrow_dataset", reason="Hugging Face's datasets is not installed; make real")
    import datasets  # pyright: ignore[reportMissingImports]

    archive(str(data.directory), out=str(tmp_path / "out"), format="huggingface", shard_size=3)
    loaded: Any = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    for split in data.splits():
        assert isinstance(loaded[split].features["audio"], datasets.Audio)
        rows = loaded[split].cast_column("audio", datasets.Audio(decode=False))
        for row, clip in zip(rows, data.clips(split), strict=True):
            assert row["audio"]["bytes"] == (data.directory / clip.path).read_bytes()
            assert (row["speaker"], row["duration"]) == (clip.extra.get("speaker"), clip.duration_s)
            assert [word["word"] for word in row["words"]] == (["one", "two"] if data.has_sidecar(clip) else [])


def test_archives_in_an_object_store_stay_there(data: Dataset, tmp_path: Path, bucket: str, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        archive(str(data.directory), out=f"{bucket}/out", format="webdataset", shard_size=2)
    assert "5 clips, 5 of them there already" in capsys.readouterr().err
    ingest(f"{bucket}/out/train-{{000000..000001}}.tar", out=str(tmp_path / "back"))
    ingest(f"{bucket}/out", out=f"{bucket}/back")
    for back in (Dataset.open(tmp_path / "back"), Dataset.open(f"{bucket}/back")):
        assert [back.sound(clip).read_bytes() for clip in back.clips("train")] == [
            data.sound(clip).read_bytes() for clip in data.clips("train")
        ]
        assert back.clips("train")[0].extra["inside"]["archive"] == f"{bucket}/out/train-000000.tar"
    assert not (tmp_path / "back" / "archives").exists()


@pytest.mark.parametrize("address", ["http://127.0.0.1/a.tar", "file:///etc/passwd", "../a.tar", "/etc/passwd", "memory://a.tar"])
def test_an_archive_that_nobody_named_is_not_read(address: str, tmp_path: Path) -> None:
    clip = Clip(path="audio/x.wav", duration_s=1.0, extra={"inside": {"archive": address, "offset": 512, "size": 8}})
    with pytest.raises(DatasetError, match=r"audio/x\.wav.*ingest it again"):
        Dataset(tmp_path).sound(clip)
