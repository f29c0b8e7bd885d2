"""The way of a dataset in an object store: local servers that speak as S3 and Google's do, asked as the real ones are."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from stt_ft.align.aligner import AlignmentJob, AlignmentResult
from stt_ft.align.workers import AlignerOptions, Annotator
from stt_ft.audio.files import read_audio, write_wav
from stt_ft.core.atomic import local_copy, sole_writer
from stt_ft.core.errors import BusyError, DatasetError, DiskError
from stt_ft.core.storage import place, read_bytes
from stt_ft.corpus.inspecting import Inspector
from stt_ft.dataset.manifest import Clip, Dataset
from stt_ft.dataset.sidecar import Sidecar
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


@pytest.mark.parametrize("store", ["bucket", "gs_bucket"])
def test_a_second_writer_in_a_store_is_told_of_the_first(store: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    directory = place(f"{request.getfixturevalue(store)}/orders")
    told = r"process \d+ on .* is writing here; if that process is gone, remove (s3|gs)://"
    with sole_writer(directory):
        with pytest.raises(BusyError, match=told), sole_writer(directory):
            pass
        with monkeypatch.context() as patched:
            patched.setattr(directory.fs, "exists", lambda _: False)  # both have looked before either puts
            with pytest.raises(BusyError, match=told), sole_writer(directory):
                pass
        assert (directory / ".stt-ft.lock").exists()
    with sole_writer(directory):
        pass
    assert not (directory / ".stt-ft.lock").exists()
    nowhere = place(f"{directory.protocol}://no-such-bucket/orders")
    with (
        pytest.raises(DiskError, match=r"no-such-bucket/orders/\S+: cannot be written to: the store has no such bucket"),
        sole_writer(nowhere),
    ):
        pass


def test_what_is_written_into_googles_store_is_read_again(gs_bucket: str, tmp_path: Path):
    data = Dataset.to_fill(f"{gs_bucket}/orders")
    clips = [Clip(path=f"audio/{index}.wav", duration_s=0.1, extra={"script": f"one {index}"}) for index in range(3)]
    for clip in clips:
        write_wav(data.audio_path(clip, to_write=True), np.full(2400, 0.25, np.float32))
    with sole_writer(data.directory):
        data.write_clips("train", clips)
        data.write_sidecars((clip, Sidecar(script=clip.extra["script"])) for clip in clips[:2])
    for loose in (False, True):
        pack(f"{gs_bucket}/orders", loose=loose)
        opened = Dataset.open(f"{gs_bucket}/orders")
        assert opened.clips() == clips
        assert opened.packed.are_there() != loose
        assert [sidecar and sidecar.script for _, sidecar in opened.known_sidecars(clips)] == ["one 0", "one 1", None]
        assert np.array_equal(read_audio(opened.sound(clips[2])), np.full(2400, 0.25, np.float32))
    copy = local_copy(data.audio_path(clips[0]))
    assert copy.is_relative_to(tmp_path)
    assert copy.read_bytes() == read_bytes(data.audio_path(clips[0]))


def test_each_sound_and_each_sidecar_is_asked_for_once(bucket: str, monkeypatch: pytest.MonkeyPatch):
    data = Dataset.to_fill(f"{bucket}/orders")
    clips = [Clip(path=f"audio/{index}.wav", duration_s=0.1) for index in range(4)]
    for clip in clips[:3]:
        write_wav(data.audio_path(clip, to_write=True), np.full(2400, 0.25, np.float32))
        data.write_sidecar(clip, Sidecar(script="one"))
    asked = Counter[tuple[str, str]]()
    call = s3fs.S3FileSystem._call_s3

    async def counted(store: Any, method: str, *told: Any, **named: Any) -> Any:
        asked[method, named.get("Key")] += 1
        return await call(store, method, *told, **named)

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", counted)
    monkeypatch.setattr("stt_ft.align.workers.work_named", lambda *_, **__: Listening())
    annotator = Annotator(data, AlignerOptions(name="sphinx", model="", language="en", device="cpu", batch_size=1))
    for worker in (Inspector(data, base=None, tail_s=1.0), annotator):
        asked.clear()
        found = worker(clips)
        there = {f"orders/{path}" for clip in clips[:3] for path in (clip.path, data.packed_name(clip))}
        assert {key for method, key in asked if method == "get_object"} == there
        assert max(count for (_, key), count in asked.items() if key is not None and "/audio/" in key) == 1  # s3fs itself asks for the size
        assert "3.wav: no such audio file" in str(found[3])


class Listening:
    """An aligner that reads each sound, and hears nothing."""

    provenance: ClassVar = {"aligner": "none"}

    def results(self, jobs: list[AlignmentJob]) -> list[AlignmentResult]:
        return [AlignmentResult(clip_id=job.clip_id, fault=f"{len(read_audio(job.audio_path))} samples") for job in jobs]


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
