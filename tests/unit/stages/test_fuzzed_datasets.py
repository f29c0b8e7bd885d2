"""Five thousand broken sidecars and manifests: every stage either copes or says in one line what is wrong, and never crashes."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stt_ft.align.sidecars import spoken_sidecar
from stt_ft.audio.files import write_wav
from stt_ft.core.errors import SttFtError
from stt_ft.corpus.problems import KINDS, word_problems
from stt_ft.dataset.manifest import Clip, Dataset
from stt_ft.dataset.sidecar import Sidecar, Word
from stt_ft.stages.dataset import check, split
from stt_ft.stages.recordings import ingest
from stt_ft.stages.words import annotate, convert

NUM_CLIPS = 50
NUM_SIDECAR_ROUNDS, NUM_MANIFEST_ROUNDS = 88, 600  # 88 * 50 sidecars and 600 manifests are 5,000 files
PIECES = ("null", "[]", "{}", '"x"', "NaN", "1e999", "-1", "true", "-Infinity", "1" * 30, '"\\ud800"', "[[[[", '{"a":' * 40)


def broken(rng: random.Random, text: str) -> str:
    """Return `text` with one mutation: cut, a character changed, a value replaced, or a piece repeated."""
    at = rng.randrange(len(text))
    return rng.choice(
        [
            text[:at],
            text[:at] + rng.choice('{}[]",:\\x00é9-N\n') + text[at + 1 :],
            text[:at] + rng.choice(PIECES) + text[at + rng.randrange(12) :],
            text[:at] + text[max(0, at - 30) : at] * 3 + text[at:],
        ]
    )


def broken_value(rng: random.Random, text: str) -> str:
    """Return the JSON `text` with one of its values, however deep, replaced by another: well-formed, and wrong."""
    value = json.loads(text)
    places: list[tuple[Any, str | int]] = []
    stack = [value]
    while stack:
        inner = stack.pop()
        for key in inner if isinstance(inner, dict) else range(len(inner)):
            places.append((inner, key))
            if isinstance(inner[key], (dict, list)) and inner[key]:
                stack.append(inner[key])
    container, key = rng.choice(places)
    container[key] = rng.choice([None, [], {}, "x", "", -1, 1e300, True, float("nan"), "٣", "\ud800", ["x", [0, 1]], [None] * 3])
    return json.dumps(value)


@pytest.fixture
def fuzzed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """Fifty clips of a tenth of a second, in all three splits, converted."""
    monkeypatch.setattr("os.fsync", lambda _file: None)  # thousands of writes need not survive a power cut
    data = Dataset(tmp_path / "data")
    rng = np.random.default_rng(0)
    clips = []
    for index in range(NUM_CLIPS):
        extra = {"speaker": f"voice{index % 9}", "kind": "number", "script": "order 41"}
        clip = Clip(path=f"audio/take_{index:02d}.wav", duration_s=0.1, extra=extra)
        write_wav(data.audio_path(clip), rng.standard_normal(2400) * 0.1)
        words = tuple(Word(text=text, start_s=0.03 * at, end_s=0.03 * at + 0.03) for at, text in enumerate(("order", "four", "one")))
        written = (words[0], Word(text="41", start_s=0.03, end_s=0.09))
        spoken = [None, [["four", [0.03, 0.06]], ["one", [0.06, 0.09]]]]
        made = {"annotate": {"aligner": "sphinx"}, "convert": {"style": "digits"}}
        known = {
            "confidence": [0.5, 0.5],
            "spoken": spoken,
            "mismatch": {"script": "order 41", "heard": "order four nine", "confidence": 0.9},
        }
        data.write_sidecar(clip, Sidecar(alignments=words, written=written, script="order 41", provenance=made, extra=known))
        clips.append(clip)
    for name, part in (("train", clips[:40]), ("dev", clips[40:45]), ("heldout", clips[45:])):
        data.write_clips(name, part)
    return data


def runs_or_refuses(stage: Callable[[], object]) -> None:
    try:
        stage()
    except SttFtError as error:
        assert "\n" not in str(error)  # noqa: PT017
        assert str(error)  # noqa: PT017


def look_through(data: Dataset, clip: Clip) -> None:
    """Do with one sidecar what check and convert do with it, without its sound."""
    sidecar = data.read_sidecar(clip)
    assert all(problem.kind in KINDS for problem in word_problems(clip, sidecar))
    data.write_sidecar(clip, spoken_sidecar(sidecar, language="en", style="auto", duration_s=clip.duration_s).sidecar)


def test_five_thousand_broken_files_yield_only_clean_errors(fuzzed: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(7)
    name, clips = str(fuzzed.directory), fuzzed.clips()
    stages: list[Callable[[], None]] = [
        lambda: check(name),
        lambda: convert(name, realign=False),
        lambda: split(name, by="both"),
        lambda: ingest(name, out=str(tmp_path / "again")),
    ]
    sidecars = [(clip, fuzzed.sidecar_path(clip).read_text()) for clip in clips]
    manifests = {path: path.read_text() for path in sorted(fuzzed.directory.glob("*.jsonl"))}
    for round_number in range(NUM_SIDECAR_ROUNDS):
        for clip, text in sidecars:
            fuzzed.sidecar_path(clip).write_text(rng.choice([broken, broken_value])(rng, text), errors="surrogatepass")
        if round_number % 8 == 0:
            runs_or_refuses(stages[round_number // 8 % len(stages)])
        else:
            for clip in clips:
                runs_or_refuses(lambda clip=clip: look_through(fuzzed, clip))
        for path, text in manifests.items():
            path.write_text(text)
    for round_number in range(NUM_MANIFEST_ROUNDS):
        path = rng.choice(list(manifests))
        lines = manifests[path].splitlines()
        at = rng.randrange(len(lines))
        lines[at] = rng.choice([broken, broken_value])(rng, lines[at])
        path.write_text("\n".join(lines), errors="surrogatepass")
        runs_or_refuses((lambda: split(name, by="clip")) if round_number % 20 == 0 else fuzzed.clips)
        for each in manifests if round_number % 20 == 0 else [path]:
            each.write_text(manifests[each])
    assert "Traceback" not in capsys.readouterr().err


def test_annotate_names_broken_sidecars_and_does_the_rest(fuzzed: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    """The sidecars that cannot be read are named by clip; a broken one does not keep the others from being annotated."""
    rng = random.Random(3)
    for clip in fuzzed.clips()[:10]:
        path = fuzzed.sidecar_path(clip)
        path.write_text(path.read_text()[: rng.randrange(5, 90)])
    runs_or_refuses(lambda: annotate(str(fuzzed.directory), aligner="sphinx"))
    said = capsys.readouterr().err
    assert all(clip.path in said for clip in fuzzed.clips()[:10])
