"""A French dataset stays French: dataset.yaml alone says so, from the prompts to `run`, and no recipe or second source changes it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stt_ft.align.aligner import AlignmentJob, AlignmentResult, ScriptWord
from stt_ft.audio.files import write_wav
from stt_ft.core.errors import CheckFailed, ConfigError, DatasetError, SttFtError
from stt_ft.corpus.prompt_script import load_prompt_script
from stt_ft.corpus.recording import Session
from stt_ft.dataset.manifest import Clip, Dataset
from stt_ft.dataset.sidecar import Sidecar, Word
from stt_ft.stages.chains import run
from stt_ft.stages.recordings import ingest, record
from stt_ft.text.inverse.said_digits import said_digits


class Writing:
    """An aligner that finds every word of a script where it wants to, and keeps the languages that it was asked in."""

    provenance: dict[str, Any] = {"aligner": "whisper"}  # noqa: RUF012

    def __init__(self, languages: list[str]) -> None:
        self.languages = languages

    def results(self, jobs: Sequence[AlignmentJob]) -> Iterator[AlignmentResult]:
        for job in jobs:
            self.languages.append(job.language)
            words = enumerate((job.script or "").split())
            yield AlignmentResult(
                clip_id=job.clip_id,
                words=tuple(ScriptWord(text=word, start_s=0.1 + 1.2 * at, end_s=1.2 + 1.2 * at, confidence=0.9) for at, word in words),
            )


@pytest.fixture
def french(tmp_path: Path) -> Dataset:
    data = Dataset(tmp_path / "commandes")
    for split in ("train", "heldout"):
        clip = Clip(path=f"audio/{split}.wav", duration_s=3.0, extra={"speaker": split, "script": "code 75001"})
        write_wav(data.audio_path(clip), np.random.default_rng(len(split)).normal(0, 0.1, 72_000).astype(np.float32))
        data.write_clips(split, [clip])
    data.write_info({"name": "commandes", "language": "fr"})
    return data


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    languages: list[str] = []

    def work_named(name: str, *, language: str, **options: Any) -> Writing:
        languages.append(language)
        return Writing(languages)

    monkeypatch.setattr("stt_ft.align.workers.work_named", work_named)
    return languages


def test_run_annotates_and_converts_in_the_language_of_the_dataset(french: Dataset, tmp_path: Path, asked: list[str]) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"base: tiny\ndataset: {french.directory}\nrun_dir: {tmp_path / 'run'}\n")
    with pytest.raises(CheckFailed):  # the tiny model cannot write "é", which is where a run of it ends
        run(str(recipe))
    assert set(asked) == {"fr"}
    for clip in french.clips():
        sidecar = french.read_sidecar(clip)
        words = [word.text for word in sidecar.alignments]  # in one reading or another: noise tells none
        assert words[:3] == ["code", "sept", "cinq"]
        assert "".join(token.digits for token in said_digits(words[1:])) == "75001"
        assert sidecar.provenance["convert"]["language"] == "fr"


@pytest.mark.parametrize("key", ["annotate.language", "convert.language"])
def test_a_recipe_has_no_language_of_its_own(french: Dataset, tmp_path: Path, key: str) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"base: tiny\ndataset: {french.directory}\nrun_dir: {tmp_path / 'run'}\n{key.split('.')[0]}: {{language: en}}\n")
    with pytest.raises(ConfigError, match=rf"{key}.*dataset\.yaml says the language"):
        run(str(recipe))


def test_prompts_give_a_dataset_their_language_even_one_that_had_none(tmp_path: Path) -> None:
    script = tmp_path / "chiffres.yaml"
    record(script=str(script), make_script="digits", count=2, language="fr")
    prompts = load_prompt_script(script)
    assert prompts.language == "fr"
    for name, info in (("new", None), ("split", {"splits": {"by": "speaker"}})):
        data = Dataset(tmp_path / name)
        if info is not None:
            data.write_info(info)
        Session.open(data, prompts, {"speaker": "anna"}, sample_rate_hz=24_000)
        assert data.language() == "fr"
        assert data.info().get("splits") == (None if info is None else info["splits"])
    english = Dataset(tmp_path / "english")
    english.write_info({"language": "en"})
    with pytest.raises(DatasetError, match="its language is en, the script's is fr"):
        Session.open(english, prompts, {"speaker": "anna"}, sample_rate_hz=24_000)


def test_ingest_writes_the_language_once_and_only_confirms_it_later(tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_wav(tmp_path / name / "take.wav", np.random.default_rng(len(name)).normal(0, 0.1, 24_000).astype(np.float32))
    out = tmp_path / "data"
    Dataset(out).write_info({"splits": {"by": "number"}})
    ingest(str(tmp_path / "first"), out=str(out), language="fr")
    ingest(str(tmp_path / "second"), out=str(out))
    ingest(str(tmp_path / "second"), out=str(out), language="fr-FR")
    assert Dataset(out).info()["language"] == "fr"
    assert Dataset(out).info()["splits"] == {"by": "number"}
    before = (out / "train.jsonl").read_bytes()
    with pytest.raises(SttFtError, match="its language is fr, not en; give another --out"):
        ingest(str(tmp_path / "second"), out=str(out), language="en")
    assert (out / "train.jsonl").read_bytes() == before


def test_a_french_number_in_pairs_is_converted_and_seen(french: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    clip = french.clips("train")[0]
    words = tuple(Word(text=text, start_s=0.1 + at, end_s=1.0 + at) for at, text in enumerate(("le", "06", "12")))
    french.write_sidecar(clip, Sidecar(alignments=words))
    from stt_ft.corpus.problems import numbers_in
    from stt_ft.stages.words import convert

    french.write_clips("heldout", [])
    convert(str(french.directory), style="auto", realign=False)
    sidecar = french.read_sidecar(clip)
    assert numbers_in(sidecar, min_digits=4) == {"0612"}
    assert json.loads(french.sidecar_path(clip).read_text())["written"][1][0] == "06"
