"""The way of a dataset in an object store: a local S3 server, asked as the real one is."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from stt_ft.core.atomic import sole_writer
from stt_ft.core.errors import BusyError, DatasetError, DiskError
from stt_ft.core.manifest import Dataset
from stt_ft.core.storage import place
from stt_ft.model.checkpoint_dir import open_model
from stt_ft.model.codes import TokenStore, sounds_of
from stt_ft.stages.dataset import check
from stt_ft.stages.finetune import encode
from stt_ft.stages.pack import pack
from stt_ft.stages.recordings import ingest
from stt_ft.stages.words import annotate, convert

s3fs = pytest.importorskip("s3fs")
pytest.importorskip("pyarrow")


def test_a_dataset_is_made_and_measured_in_a_store_as_on_a_disk(recorded: Path, bucket: str, tmp_path: Path):
    takes = tmp_path / "takes"
    takes.mkdir()
    for clip in Dataset.open(recorded).clips("train")[:2]:
        shutil.copy(recorded / clip.path, takes)
        (takes / Path(clip.path).with_suffix(".txt").name).write_text(str(clip.extra["script"]))
    made = []
    for out in (tmp_path / "local", f"{bucket}/orders"):
        ingest(takes, out=out)
        annotate(out, aligner="sphinx")
        convert(out)
        made.append(Dataset.open(out))
    local, there = made
    assert there.clips() == local.clips()
    assert [sidecar for _, sidecar in there.sidecars(there.clips())] == [sidecar for _, sidecar in local.sidecars(local.clips())]
    loose = {path.name: path.read_bytes() for path in (there.directory / "audio").iterdir()}

    pack(f"{bucket}/orders")
    assert not any(path.suffix == ".json" for path in (there.directory / "audio").iterdir())
    check(f"{bucket}/orders")
    annotate(f"{bucket}/orders", aligner="sphinx")  # finds all of it done, and writes nothing
    assert len(there.packed.files()) == 1
    model = open_model("tiny")
    for data in made:
        encode(str(data.directory), base="tiny")
    codes = [[TokenStore.of(data, model).get(sound.key) for sound in sounds_of(data, data.clips())] for data in made]
    assert all(np.array_equal(one, other) for one, other in zip(*codes, strict=True))
    pack(f"{bucket}/orders", loose=True)
    assert {path.name: path.read_bytes() for path in (there.directory / "audio").iterdir()} == loose
    assert not place(f"{bucket}/orders/.stt-ft.lock").exists()


def test_a_second_writer_in_a_store_is_told_of_the_first(bucket: str):
    directory = place(f"{bucket}/orders")
    with sole_writer(directory):
        with (
            pytest.raises(BusyError, match=r"process \d+ on .* is writing here; if that process is gone, remove s3://"),
            sole_writer(directory),
        ):
            pass
        assert (directory / ".stt-ft.lock").exists()
    with sole_writer(directory):
        pass
    assert not (directory / ".stt-ft.lock").exists()


def test_what_a_store_refuses_is_one_line_that_names_the_place(bucket: str, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(DatasetError, match="s3://no-such-bucket/orders: no such dataset directory"):
        Dataset.open("s3://no-such-bucket/orders")
    with pytest.raises(DiskError, match=r"s3://no-such-bucket/orders.*cannot be written to"):
        Dataset.to_fill("s3://no-such-bucket/orders").write_info({"language": "en"})
    s3fs.S3FileSystem.clear_instance_cache()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(DiskError, match=r"^s3://calls/orders: the store cannot be asked: [^\n]*127.0.0.1:9[^\n]*$"):
        Dataset.open("s3://calls/orders")
    s3fs.S3FileSystem.clear_instance_cache()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(DiskError, match=r"^s3://calls/orders: the store refuses: [^\n]*AWS_PROFILE[^\n]*$"):
        Dataset.open("s3://calls/orders")
