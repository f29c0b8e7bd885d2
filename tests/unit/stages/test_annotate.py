"""annotate: words and times in every sidecar, nothing done twice, faults by id, and the same bytes whatever the number of processes."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import ClassVar

import pytest

from stt_ft.align.aligner import AlignmentJob, AlignmentResult, LeftOut, ScriptWord
from stt_ft.core.errors import CheckFailed, ConfigError
from stt_ft.corpus.problems import word_problems
from stt_ft.dataset.doubts import disputes_of, spoken_words_of
from stt_ft.dataset.manifest import Dataset
from stt_ft.stages.words import annotate, convert

annotate_stage = import_module("stt_ft.stages.words")


def sidecar_of(directory: Path, name: str) -> dict:
    return json.loads((directory / "audio" / f"{name}.json").read_text())


def test_every_clip_gets_its_script_in_written_form(annotated: Path) -> None:
    data = Dataset.open(annotated)
    for clip in data.clips():
        sidecar = data.read_sidecar(clip)
        assert [word.text for word in sidecar.alignments] == str(clip.extra["script"]).split()
        assert len(sidecar.extra["confidence"]) == len(sidecar.alignments)
        assert all(0 <= confidence <= 1 for confidence in sidecar.extra["confidence"])
        assert sidecar.provenance["annotate"]["aligner"] == "sphinx"
        assert sidecar.script == clip.extra["script"]


def test_running_again_changes_nothing_and_a_new_script_only_its_clip(
    annotated: Path, capsys: pytest.CaptureFixture[str], tree_hash: Callable[[Path], str]
) -> None:
    before = tree_hash(annotated)
    annotate(str(annotated), aligner="sphinx")
    assert tree_hash(annotated) == before
    assert "0 clips annotated by sphinx, 12 were done" in capsys.readouterr().err
    path = annotated / "audio" / "train_ordinary_001.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "script": "something else"}))
    annotate(str(annotated), aligner="sphinx")
    assert "1 clips annotated by sphinx, 11 were done" in capsys.readouterr().err


def test_a_stretch_left_out_is_told_kept_in_the_sidecar_and_found_by_check(
    recorded: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Dataset.open(recorded)
    clip = data.clips()[0]

    class Faultfinder:
        provenance: ClassVar = {"aligner": "a test"}

        def results(self, jobs: Sequence[AlignmentJob]) -> Iterator[AlignmentResult]:
            word = ScriptWord(text="hello", start_s=0.2, end_s=0.6, confidence=0.9)
            gap = LeftOut(start_s=0.7, end_s=1.25, script="12345", heard="nine")
            for job in jobs:
                yield AlignmentResult(clip_id=job.clip_id, words=(word,), left_out=(gap,) if job.clip_id == clip.path else ())

    monkeypatch.setattr("stt_ft.align.workers.work_named", lambda *_, **__: Faultfinder())
    annotate(str(recorded))
    told = capsys.readouterr().err
    assert f"{clip.path}: 0.7-1.2 s left out: the script has '12345', heard was 'nine'" in told
    assert "1 have stretches left out" in told
    sidecar = data.read_sidecar(clip)
    assert sidecar.left_out_s() == [(0.7, 1.25)]
    assert {problem.kind for problem in word_problems(clip, sidecar)} == {"left_out"}
    monkeypatch.undo()
    annotate(str(recorded), aligner="sphinx")
    assert data.read_sidecar(clip).left_out_s() == []


def test_annotating_anew_forgets_the_conversion(recorded: Path) -> None:
    path = recorded / "audio" / "train_ordinary_001.json"
    script = json.loads(path.read_text())["script"]
    path.write_text(
        json.dumps(
            {"alignments": [], "written": [["5", [0, 1], "SPEAKER_MAIN"]], "script": script, "provenance": {"convert": {}}, "mine": 7}
        )
    )
    annotate(str(recorded), aligner="sphinx")
    sidecar = sidecar_of(recorded, "train_ordinary_001")
    assert "written" not in sidecar
    assert "convert" not in sidecar["provenance"]
    assert sidecar["mine"] == 7


def test_faults_are_named_by_clip_and_the_rest_is_done(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (recorded / "audio" / "train_number_001.wav").write_bytes(b"no sound")
    (recorded / "audio" / "train_number_002.wav").unlink()
    for name, script in (("003", None), ("004", "привет"), ("005", "5☃"), ("006", "…")):
        manifest = recorded / "train.jsonl"
        lines = [json.loads(line) for line in manifest.read_text().splitlines()]
        entry = next(line for line in lines if line["path"].endswith(f"number_{name}.wav"))
        entry.pop("script")
        manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
        (recorded / "audio" / f"train_number_{name}.json").write_text(
            json.dumps({"alignments": [], **({"script": script} if script else {})})
        )
    with pytest.raises(CheckFailed, match=r"6 of 12 clips could not be annotated, the first is audio/train_number_001\.wav"):
        annotate(str(recorded), aligner="sphinx")
    said = capsys.readouterr().err
    for fault in (
        "number_001.wav: cannot be read",
        "number_002.wav: no such audio file",
        "number_003.wav: no script",
        "'привет'",
        "'5☃'",
        "holds no words",
    ):
        assert fault in said
    assert sidecar_of(recorded, "train_number_007")["alignments"]


def test_processes_do_not_change_the_result(recorded: Path, tmp_path: Path, tree_hash: Callable[[Path], str]) -> None:
    shutil.copytree(recorded, tmp_path / "alone")
    shutil.copytree(recorded, tmp_path / "together")
    for name, workers in (("alone", 1), ("together", 2)):
        annotate(str(tmp_path / name), aligner="sphinx", **{"workers": workers})
        convert(str(tmp_path / name), **{"workers": workers})
    assert tree_hash(tmp_path / "together") == tree_hash(tmp_path / "alone")


def test_a_dry_run_writes_nothing_and_says_how_long_it_takes(recorded, tree_hash, capsys) -> None:
    before = tree_hash(recorded)
    annotate(str(recorded), aligner="sphinx", dry_run=True)
    assert tree_hash(recorded) == before
    assert "12 to do" in capsys.readouterr().err


def test_sphinx_refuses_other_languages_and_whisper_unknown_models(recorded: Path) -> None:
    with pytest.raises(ConfigError, match="--aligner sphinx knows English only, these recordings are in 'fr'"):
        annotate(str(recorded), aligner="sphinx", language="fr")
    Dataset.open(recorded).write_info({"language": "fr-BE"})
    with pytest.raises(ConfigError, match="--aligner sphinx knows English only, these recordings are in 'fr'"):
        annotate(str(recorded), aligner="sphinx")
    with pytest.raises(ConfigError, match="--model tiny-ish"):
        annotate(str(recorded), model="tiny-ish", device="cpu")
    with pytest.raises(ConfigError, match="--batch_size"):
        annotate(str(recorded), aligner="sphinx", batch_size=0)


def test_a_second_aligner_times_the_same_words_once(
    recorded: Path, tiny_en: Path, tree_hash: Callable[[Path], str], capsys: pytest.CaptureFixture[str]
) -> None:
    annotate(str(recorded), aligner="sphinx", model=str(tiny_en), device="cpu", verify=True)
    assert "12 clips verified by whisper" in capsys.readouterr().err
    data = Dataset.open(recorded)
    for clip in data.clips():
        sidecar = data.read_sidecar(clip)
        assert set(sidecar.extra["times_by"]) == {"synthesiser", "whisper"}
        told = sidecar.extra["times_by"]["whisper"]
        assert [text for text, _ in told] == [word.text for word in spoken_words_of(sidecar)]
    disputes = [dispute for clip in data.clips() for dispute in disputes_of(data.read_sidecar(clip))]
    assert len(disputes) <= 15  # of about 200 comparisons of words
    before = tree_hash(recorded)
    annotate(str(recorded), aligner="sphinx", model=str(tiny_en), device="cpu", verify=True)
    assert tree_hash(recorded) == before
    assert "0 clips verified by whisper" in capsys.readouterr().err
    annotate(str(recorded), aligner="whisper", model=str(tiny_en), device="cpu")
    assert set(data.read_sidecar(data.clips()[0]).extra["times_by"]) == {"synthesiser"}


def test_an_archive_that_is_cut_short_leaves_out_its_clip_by_name(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = Dataset.open(recorded)
    (recorded / "archives").mkdir()
    (recorded / "archives" / "a.tar").write_bytes(b"cut short")
    first, second = data.clips("train")[:2]
    inside = {"archive": "archives/a.tar", "offset": 512, "size": 4800}
    data.write_clips("train", [dataclasses.replace(first, extra={**first.extra, "inside": inside}), second])
    data.manifest_path("heldout").unlink()
    with pytest.raises(CheckFailed, match="1 of 2 clips"):
        annotate(str(recorded), aligner="sphinx")
    assert f"{first.path}: {recorded}/archives/a.tar: {first.path}: no member of 4800 bytes" in capsys.readouterr().err
    assert data.read_sidecar(second).alignments
