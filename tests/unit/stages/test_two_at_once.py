"""Two real processes at once on one dataset or one run: nothing is lost, and the one that has to wait is told so in one line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from random_models import encoded_dataset, random_base

import stt_ft
from stt_ft import cli
from stt_ft.core.atomic import sole_writer
from stt_ft.dataset.manifest import Dataset

__all__ = ["encoded_dataset", "random_base"]


def at_once(*lines: list[str], **environment: str) -> list[tuple[int, str]]:
    """Run command lines side by side; return how each ended and what it said."""
    known = {**os.environ, "PYTHONPATH": str(Path(stt_ft.__file__).parents[1]), **environment}
    command = [sys.executable, "-m", "stt_ft"]
    begun = [subprocess.Popen([*command, *line], env=known, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for line in lines]
    said = [process.communicate(timeout=300)[1] for process in begun]
    return [(process.returncode, text) for process, text in zip(begun, said, strict=True)]


def assert_done_or_refused(ended: list[tuple[int, str]]) -> None:
    """One at least is done; any other says who was at work, in one line, and exits with 2."""
    assert 0 in [code for code, _ in ended], ended
    for code, said in ended:
        assert "Traceback" not in said
        if code:
            assert code == 2
            assert said.splitlines()[-1].startswith("stt-ft: ")
            assert "has been writing here for" in said.splitlines()[-1]


@pytest.mark.parametrize(
    "line",
    [
        "ingest {takes} --out {data}",
        "annotate {data} --aligner sphinx",
        "convert {data}",
        "split {data} --by clip",
        "synthesize {script} --out {data} --count 1",
        "record --script {script} --out {data} --speaker zoe",
    ],
)
def test_who_writes_a_dataset_waits_for_nobody_and_changes_nothing(line, recorded, recorded_once, tree_hash, tmp_path, capsys):
    script = tmp_path / "script.yaml"
    script.write_text('language: en\nprompts:\n  - {id: a, kind: number, say: "order 4107382"}\n')
    before = tree_hash(recorded)
    with sole_writer(recorded):
        code = cli.main(line.format(data=recorded, takes=recorded_once, script=script).split())
    said = capsys.readouterr().err
    assert (code, said.count("stt-ft: ")) == (2, 1)
    assert f"stt-ft: {recorded}: `" in said
    assert f"process {os.getpid()}" in said
    assert tree_hash(recorded) == before


def test_who_only_reads_is_not_kept_out(recorded, capsys):
    with sole_writer(recorded):
        assert cli.main(["check", str(recorded)]) == 1
        assert cli.main(["convert", str(recorded), "--dry_run"]) == 1
    assert "has been writing" not in capsys.readouterr().err


def test_two_ingests_of_different_sources_lose_no_clip(recorded_once, tmp_path):
    sources = [tmp_path / "first", tmp_path / "second"]
    for index, path in enumerate(sorted((recorded_once / "audio").glob("*.wav"))):
        place = sources[index % 2]
        place.mkdir(exist_ok=True)
        shutil.copy(path, place)
    lines = [["ingest", str(source), "--out", str(tmp_path / "data")] for source in sources]
    assert_done_or_refused(at_once(*lines))
    for line in lines:  # who was refused comes again; who was not changes nothing
        assert cli.main(line) == 0
    assert len(Dataset(tmp_path / "data").clips()) == 12


@pytest.mark.slow
def test_two_encodes_leave_a_whole_store(recorded, random_base, tmp_path):
    line = ["encode", str(recorded), "--base", str(random_base.directory), "--batch_size", "1", "--device", "cpu"]
    for _ in range(3):
        shutil.rmtree(recorded / "tokens", ignore_errors=True)
        assert [code for code, _ in at_once(line, line)] == [0, 0]
        from stt_ft.audio.sounds import sounds_of
        from stt_ft.model.codes import TokenStore

        data = Dataset(recorded)
        store = TokenStore.of(data, random_base)
        sounds = sounds_of(data, data.clips())
        assert store.missing(sounds) == []
        assert all(store.get(sound.key).shape[0] == random_base.n_q for sound in sounds)
    assert [path.name for path in recorded.rglob(".*")] == []


@pytest.mark.slow
def test_two_trainings_in_one_run_count_no_step_twice(encoded_dataset, random_base, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    places = f"dataset: {encoded_dataset.directory}\nrun_dir: {tmp_path / 'run'}\nbase: {random_base.directory}\n"
    recipe.write_text(places + "precision: float32\ndevice: cpu\nlora: {rank: 2}\nschedule: {max_steps: 6}\nvalidation: {every_steps: 2}\n")
    for _ in range(2):
        assert_done_or_refused(at_once(["train", str(recipe)], ["train", str(recipe)]))
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.train.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 7))


@pytest.mark.slow
def test_five_stages_at_once_leave_a_dataset_that_a_quiet_rerun_finishes(recorded, recorded_once, tmp_path):
    stages = [
        ["annotate", str(recorded), "--aligner", "sphinx"],
        ["convert", str(recorded)],
        ["split", str(recorded), "--by", "clip"],
        ["ingest", str(recorded_once), "--out", str(recorded)],
        ["check", str(recorded)],
    ]
    for code, said in at_once(*stages):
        assert "Traceback" not in said
        assert code in (0, 1, 2)
    data = Dataset(recorded)
    assert len({clip.path for clip in data.clips()}) == len(data.clips()) == 12
    for line in stages[:3]:
        assert cli.main(line) == 0
    assert all(data.read_sidecar(clip).written for clip in data.clips())
