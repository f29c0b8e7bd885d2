"""What `tools/fuzz` found, one of each kind: a message that names the file, and no traceback."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stt_ft import cli
from stt_ft.audio.files import _count_frames, _File, read_audio
from stt_ft.core.errors import AudioError, CheckpointError, DatasetError, SttFtError
from stt_ft.core.json_yaml import parse_json, read_yaml
from stt_ft.corpus.sources import formats
from stt_ft.dataset.manifest import Dataset
from stt_ft.model.codes import TokenStore
from stt_ft.pages.charts import ticks
from stt_ft.training.checkpoints import RunDir, newest_consolidated

HUGE = "1" + "0" * 400


def test_an_integer_beyond_a_double_is_refused_where_it_is_read(tmp_path: Path):
    with pytest.raises(ValueError, match="it holds 1000000000000000000000000000000000000000, which is no JSON number"):
        parse_json(f'{{"duration": {HUGE}}}')
    (tmp_path / "x.yaml").write_text(f"seed: {HUGE}\n")
    with pytest.raises(SttFtError, match=r"x\.yaml, line 1: .*it holds 1000"):
        read_yaml(tmp_path / "x.yaml")


@pytest.mark.parametrize("duration", ["1e12", HUGE, "1e6"])
def test_a_clip_of_weeks_is_no_clip(duration: str, tmp_path: Path):
    (tmp_path / "train.jsonl").write_text(f'{{"path": "audio/a.wav", "duration": {duration}}}\n')
    with pytest.raises(DatasetError, match=r"train\.jsonl, line 1: "):
        Dataset(tmp_path).clips()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["ingest", "x", "--out", "y", f"--channel={HUGE}"], "ingest: --channel: expected"),
        (["check", "x", "--tail_s", "9e18"], "--tail_s must be 0 to 2.5"),
        (["check", "x", "--tail_s", "-1"], "--tail_s must be 0 to 2.5"),
        (["train", "r.yaml", "--seed", "-1"], "r.yaml: --seed: must be"),
        (["train", "r.yaml", "--seed", "99999999999999999999"], "r.yaml: --seed: must be"),
    ],
)
def test_a_number_beyond_all_bounds_is_one_line(words, complaint, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.yaml").write_text("dataset: x\nrun_dir: y\n")
    assert cli.main(words) == 2
    assert capsys.readouterr().err.startswith(f"stt-ft: {complaint}")


@pytest.mark.parametrize("key", ["supervisions", "recording", "sources", "alignment", "channel_ids"])
@pytest.mark.parametrize("value", [True, 3.5, "x", {"a": 1}, [1]])
def test_a_lhotse_cut_of_other_types_is_left_out_or_read_without(key, value, tmp_path):
    said = {"text": "order", "alignment": {"word": [["order", 0.1, 0.2]]}}
    recording = {"sources": [{"type": "file", "source": "a.wav"}], "duration": 2.0, "channel_ids": [0]}
    cut = {"id": "c", "duration": 1.0, "supervisions": [said], "recording": recording}
    for place in (cut, recording, said):
        if key in place:
            place[key] = value
    whole = {"id": "d", "duration": 1.0, "recording": {"sources": [{"type": "file", "source": "a.wav"}]}}
    (tmp_path / "cuts.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, (cut, whole))).encode()))
    assert formats.read_source(tmp_path / "cuts.jsonl.gz", "lhotse").num_clips == 2


def test_a_gzip_that_is_damaged_inside_is_one_line(tmp_path: Path):
    content = bytearray(gzip.compress(b'{"path": "a.wav"}\n' * 50))
    content[12:20] = b"\xff" * 8
    (tmp_path / "cuts.jsonl.gz").write_bytes(content)
    with pytest.raises(DatasetError, match=r"cuts\.jsonl\.gz: cannot be read"):
        formats.read_source(tmp_path / "cuts.jsonl.gz", "lhotse")


@pytest.mark.parametrize("line", [b'{"st\xff\x8e": 2}', b'{"loss": 0.1}', b"[2]", b'{"step": "2"}', b'{"step": 2, "text_loss": "0.1"}'])
def test_metrics_end_with_the_first_line_that_is_no_row(line: bytes, tmp_path: Path):
    (tmp_path / "metrics.train.jsonl").write_bytes(b'{"step": 1}\n' + line + b"\n")
    assert RunDir(tmp_path).read_rows("metrics.train.jsonl") == [{"step": 1}]


@pytest.mark.parametrize("wrong", [np.full((2, 3), 2048, np.int16), np.full((2, 3), -1, np.int16), np.zeros((2, 3), np.int16)[0]])
def test_codes_that_no_codec_makes_are_refused_with_the_way_out(wrong, tmp_path):
    TokenStore(tmp_path).add({"a": wrong})
    with pytest.raises(CheckpointError, match=r"\.safetensors: damaged: a holds no codes from 0 to 2047; remove it, `stt-ft encode` again"):
        TokenStore(tmp_path, card=2048).get("a")


def test_memory_that_does_not_suffice_is_one_line(capsys, monkeypatch):
    def greedy(argv: list[str]) -> None:
        raise MemoryError("Unable to allocate 200. GiB")

    monkeypatch.setattr(cli, "_run", greedy)
    assert cli.main(["check"]) == 2
    assert capsys.readouterr().err == "stt-ft: out of memory: Unable to allocate 200. GiB\n"


@pytest.mark.parametrize(("low", "high"), [(0.0, 300.0), (0.0, 2e5), (0.0, 1e300), (0.0, 0.07), (-3.0, 4.0)])
def test_an_axis_has_some_ticks_however_long_it_is(low: float, high: float):
    found = ticks(low, high)
    assert 3 <= len(found) <= 8
    assert low <= found[0] < found[-1] <= high * 1.001


def test_a_chunk_that_promises_more_than_numbers_hold_ends_the_header(tmp_path: Path):
    head = b"riff" + b"\0" * 20 + b"wave" + b"\0" * 12
    (tmp_path / "a.w64").write_bytes(head + struct.pack("<4s12xQ", b"fmt ", 2**63 + 24) + b"\0" * 64)
    with pytest.raises(AudioError, match=r"a\.w64"):
        read_audio(tmp_path / "a.w64")


def test_more_checkpoints_than_a_machine_counts_are_more_than_there_are(tmp_path: Path):
    with pytest.raises(CheckpointError, match="asks for more checkpoints than there are, 0"):
        newest_consolidated(tmp_path, 10**30)


def test_a_weight_beyond_float32_is_refused_before_anything_is_loaded(capsys):
    assert cli.main(["train", "configs/tiny_cpu.yaml", "--loss.pad_weight=1e+300"]) != 0
    assert "pad_weight" in capsys.readouterr().err


def test_a_compressed_sound_that_breaks_off_while_it_is_counted_is_one_line(tmp_path, monkeypatch):
    def refuse(path: str) -> None:
        raise soundfile.LibsndfileError(1)

    monkeypatch.setattr(soundfile, "SoundFile", refuse)
    with pytest.raises(AudioError, match=r"a\.mp3: cannot be read as audio"):
        _count_frames(_File(tmp_path / "a.mp3"))
