"""synthesize: as many numbers as clips, none that is measured on, the same after a kill; marked, in train, and refused anywhere else."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import real

pytest.importorskip("espeakng_loader")
pytest.importorskip("pocketsphinx")

import stt_ft
from stt_ft.audio.files import read_audio
from stt_ft.audio.levels import bandwidth_hz
from stt_ft.core.errors import AlignmentError, AudioError, CheckFailed, ConfigError, DatasetError
from stt_ft.dataset.manifest import Clip, Dataset
from stt_ft.simulation import engines
from stt_ft.simulation.casting import DEV_CAST, HELDOUT_CAST
from stt_ft.stages.dataset import check, split
from stt_ft.stages.recordings import ingest
from stt_ft.stages.synthesize import _spoken, synthesize
from stt_ft.stages.words import annotate, convert
from stt_ft.text.digit_words import digit_runs

SCRIPT = """
language: en
prompts:
  - {id: order, kind: number, say: "My order number is 3562049, thank you"}
  - {id: phone, kind: number, say: "call me at 310 555 1720"}
  - {id: pause, kind: number, say: "the code is 12 … 34"}
  - {id: sentence, kind: ordinary, say: "We need four more chairs"}
"""


@pytest.fixture
def script(tmp_path: Path) -> str:
    path = tmp_path / "script.yaml"
    path.write_text(SCRIPT)
    return str(path)


@pytest.fixture
def out(tmp_path: Path) -> str:
    return str(tmp_path / "synthetic")


def numbers_of(data: Dataset, *splits: str) -> list[str]:
    words = [[word.text for word in data.read_sidecar(clip).alignments] for clip in data.clips(*splits)]
    return [run.digits for clip_words in words for run in digit_runs(clip_words) if len(run.digits) >= 3]


def test_every_clip_says_another_number_and_comes_with_its_words(script: str, out: str, capsys: pytest.CaptureFixture[str]) -> None:
    synthesize(script, out=out, count=40)
    data = Dataset.open(out)
    clips = data.clips("train")
    numbers = numbers_of(data)
    assert len(clips) == 40
    assert len(numbers) == len(set(numbers)) == 30
    assert [clip.extra["prompt_id"] for clip in clips[:4]] == ["order", "phone", "pause", "sentence"]
    assert all(clip.extra["synthetic"] is True and clip.extra["engine"] == "espeak" for clip in clips)
    assert len({clip.extra["voice"] for clip in clips}) > 25
    assert not {clip.extra["voice"] for clip in clips} & {*DEV_CAST.voices, *HELDOUT_CAST.voices}
    manners = {(clip.extra["prompt_id"], clip.extra.get("manner")) for clip in clips}
    assert manners == {
        ("order", "natural"), ("order", "hesitant"), ("phone", "natural"), ("phone", "hesitant"), ("pause", "hesitant"), ("sentence", None),
    }  # fmt: skip
    assert [word.text for word in data.read_sidecar(clips[0]).alignments][-2:] == ["thank", "you"]
    for clip in clips:
        samples = read_audio(data.audio_path(clip))
        words = data.read_sidecar(clip).alignments
        assert 0.05 < np.abs(samples).max() <= 0.99
        assert 0 < words[0].start_s < words[-1].end_s < clip.duration_s
        inside = np.concatenate([samples[int(word.start_s * 24_000) : int(word.end_s * 24_000)] for word in words])
        assert np.square(inside).mean() > 10 * np.square(samples[: int(words[0].start_s * 24_000)]).mean()
    capsys.readouterr()
    check(out)
    assert "40 clips, no problems" in capsys.readouterr().err


@pytest.mark.slow
def test_a_kill_loses_nothing_and_the_same_clips_come_out(script: str, tmp_path: Path, tree_hash: Callable[[Path], str]) -> None:
    calm, killed = tmp_path / "calm" / "synthetic", tmp_path / "killed" / "synthetic"
    command = [sys.executable, "-m", "stt_ft", "synthesize", script, "--count", "150"]
    environment = {**os.environ, "PYTHONPATH": str(Path(stt_ft.__file__).parents[1])}
    subprocess.run([*command, "--out", str(calm)], env=environment, check=True, capture_output=True)
    for _ in range(2):
        process = subprocess.Popen([*command, "--out", str(killed)], env=environment, stderr=subprocess.DEVNULL)
        before = len(list(killed.glob("audio/*.wav")))
        while len(list(killed.glob("audio/*.wav"))) < before + 10 and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run([*command, "--out", str(killed)], env=environment, check=True, capture_output=True)
    assert tree_hash(killed) == tree_hash(calm)


def test_clips_that_are_there_stay_and_more_are_added(script: str, out: str, capsys: pytest.CaptureFixture[str]) -> None:
    synthesize(script, out=out, count=6)
    data = Dataset.open(out)
    first = {clip.path: data.audio_path(clip).stat().st_mtime_ns for clip in data.clips()}
    data.audio_path(data.clips()[2]).unlink()
    capsys.readouterr()
    synthesize(script, out=out, count=9)
    assert "4 clips spoken by espeak, 5 were there" in capsys.readouterr().err
    assert [clip.path for clip in data.clips()][:6] == list(first)
    assert len(data.clips()) == 9
    with pytest.raises(ConfigError, match=r"synthetic_espeak_0_00001\.wav was made otherwise \(channels differ\); give another --seed"):
        synthesize(script, out=out, count=9, channels=["phone"])
    synthesize(script, out=out, count=2, channels=["phone"], seed=1)
    assert len(data.clips()) == 11


def test_a_datasets_numbers_are_said_anew_and_those_it_measures_on_are_not(recorded: Path, tmp_path: Path) -> None:
    source = Dataset.open(recorded)
    annotate(str(recorded), aligner="sphinx")
    convert(str(recorded))
    aside = Dataset(tmp_path / "aside")
    say = "the code is 123"
    aside.write_clips(
        "heldout", [Clip(path=f"audio/{n}.wav", duration_s=1.0, extra={"script": f"code {n:03d}"}) for n in range(0, 1000, 2)]
    )
    out = tmp_path / "synthetic"
    synthesize(str(recorded), out=str(out), count=24)
    spoken = Dataset.open(out)
    assert not {*numbers_of(spoken)} & {*numbers_of(source)}
    carriers = {clip.extra["script"].split()[0] for clip in source.clips("train") if clip.extra["kind"] == "number"}
    assert {clip.extra["script"].split()[0] for clip in spoken.clips()} == carriers
    script = tmp_path / "short.yaml"
    script.write_text(f'prompts: [{{id: code, say: "{say}"}}]')
    synthesize(str(script), out=str(tmp_path / "short"), count=60, apart_from=[str(aside.directory)])
    short = [number for number in numbers_of(Dataset.open(tmp_path / "short")) if len(number) == 3]
    assert len(short) > 20
    assert all(int(number) % 2 for number in short)


def test_clips_whose_number_is_measured_on_since_are_made_again(script: str, out: str, tmp_path: Path) -> None:
    synthesize(script, out=out, count=3)
    data = Dataset.open(out)
    number, *others = numbers_of(data)
    aside = Dataset(tmp_path / "aside")
    aside.write_clips("dev", [Clip(path="audio/1.wav", duration_s=1.0, extra={"script": f"order {number}"})])
    synthesize(script, out=out, count=3, apart_from=[str(aside.directory)])
    assert number not in numbers_of(data)
    assert numbers_of(data)[1:] == others


def test_a_phone_line_is_heard_and_is_no_problem(script: str, out: str) -> None:
    synthesize(script, out=out, count=12, channels=["phone"])
    data = Dataset.open(out)
    widths = {True: [], False: []}
    for clip in data.clips():
        widths["channel" in clip.extra].append(bandwidth_hz(read_audio(data.audio_path(clip)), 24_000))
    assert max(widths[True]) < 4500 < max(widths[False])
    check(out)


@pytest.mark.slow
def test_a_program_speaks_and_what_it_misspeaks_is_made_anew(
    script: str, out: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The program lends espeak's voice; now and then it says nothing."""
    program = tmp_path / "say.py"
    program.write_text(
        "import sys\n"
        "from stt_ft.audio.files import write_wav\n"
        "from stt_ft.audio.synthesis import Synthesizer\n"
        "samples = Synthesizer().speak(sys.argv[1], voice='en-us+m3', words_per_minute=int(150 * float(sys.argv[3]))).samples\n"
        "write_wav(sys.argv[2], samples * (int(sys.argv[4]) % 3 > 0))\n"
    )
    command = f"'{sys.executable}' '{program}' {{text}} {{wav}} {{speed}} {{seed}}"
    synthesize(script, out=out, count=8, synthesizer="command", command=command, voice=["lent"])
    told = capsys.readouterr().err
    assert "draws could not be aligned and were made anew" in told
    data = Dataset.open(out)
    assert {clip.extra["speaker"] for clip in data.clips()} == {"command lent"}
    assert all(len(clip.extra["script"]) for clip in data.clips())
    check(out)
    silent = (
        f"""'{sys.executable}' -c 'import sys; from stt_ft.audio.files import *; write_wav(sys.argv[2], np.zeros(9))' {{text}} {{wav}}"""
    )
    with pytest.raises(
        AlignmentError, match=r"clip audio/synthetic_command_1_00001\.wav: 8 draws in a row could not be aligned; .*nothing"
    ):
        synthesize(script, out=out, count=1, synthesizer="command", command=silent, seed=1)
    with pytest.raises(AudioError, match=r"clip audio/synthetic_command_2_00001\.wav: .*exited with 1"):
        synthesize(script, out=out, count=1, synthesizer="command", command=f"'{sys.executable}' -c 'nonsense' {{text}} {{wav}}", seed=2)
    assert len(Dataset.open(out).clips()) == 8


def test_a_neural_voice_speaks(script: str, out: str) -> None:
    synthesize(script, out=out, count=3, synthesizer="piper", voice=[str(real.piper_voice())])
    check(out)
    assert {clip.extra["voice"] for clip in Dataset.open(out).clips()} == {"en_US-joe-medium"}


def test_synthetic_clips_are_left_as_they_are_by_annotate_and_convert(script: str, out: str) -> None:
    synthesize(script, out=out, count=4)
    data = Dataset.open(out)
    before = [data.read_sidecar(clip).alignments for clip in data.clips()]
    annotate(out, aligner="sphinx")
    convert(out)
    assert [data.read_sidecar(clip).alignments for clip in data.clips()] == before


def test_synthetic_clips_stay_in_train_and_are_refused_by_name_elsewhere(recorded: Path, script: str) -> None:
    synthesize(script, out=str(recorded), count=12)
    data = Dataset.open(recorded)
    split(str(recorded), dev=0.3, heldout=0.3, by="clip")
    assert sum(clip.is_synthetic for clip in data.clips("train")) == 12
    assert [len(data.clips(name)) for name in ("train", "dev", "heldout")] == [12 + 5, 4, 3]
    first = next(clip for clip in data.clips("train") if clip.is_synthetic)
    data.write_clips("dev", [*data.clips("dev"), first])
    data.write_clips("train", [clip for clip in data.clips("train") if clip.path != first.path])
    with pytest.raises(DatasetError, match=r"dev\.jsonl: clip audio/synthetic_espeak_0_00001\.wav is synthetic, and only train may"):
        synthesize(script, out=str(recorded), count=12)
    with pytest.raises(CheckFailed):
        check(str(recorded))
    split(str(recorded), dev=0.3, heldout=0.3, by="clip")
    assert sum(clip.is_synthetic for clip in data.clips("train")) == 12


def test_a_recording_that_says_a_synthetic_number_stays_in_train_when_numbers_are_split(recorded: Path, script: str) -> None:
    synthesize(script, out=str(recorded), count=4)
    data = Dataset.open(recorded)
    convertible = next(clip for clip in data.clips("train") if not clip.is_synthetic)
    number = numbers_of(data, "train")[0]
    data.write_clips(
        "train",
        [
            dataclasses.replace(clip, extra={**clip.extra, "script": f"order {number}"}) if clip.path == convertible.path else clip
            for clip in data.clips("train")
        ],
    )
    for seed in range(6):
        split(str(recorded), dev=0.3, heldout=0.4, by="number", seed=seed)
        assert convertible.path in {clip.path for clip in data.clips("train")}


@pytest.mark.parametrize("part", ["", "train.jsonl", "audio"])
def test_the_mark_goes_along_when_a_dataset_is_ingested(script: str, out: str, tmp_path: Path, part: str) -> None:
    synthesize(script, out=out, count=3)
    ingest(str(Path(out, part)), out=str(tmp_path / "taken"))
    assert [clip.is_synthetic for clip in Dataset.open(tmp_path / "taken").clips("train")] == [True] * 3


def test_check_lists_a_synthetic_clip_outside_train(script: str, out: str, capsys: pytest.CaptureFixture[str]) -> None:
    synthesize(script, out=out, count=4)
    Path(out, "train.jsonl").rename(Path(out, "heldout.jsonl"))
    capsys.readouterr()
    with pytest.raises(CheckFailed):
        check(out, json=True)
    problems = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {problem["kind"] for problem in problems} == {"split_synthetic"}
    assert len(problems) == 4


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ({"source": None}, "what shall be said"),
        ({"count": 0}, "--count must be positive"),
        ({"time_limit": 0.0}, "--time_limit must be positive"),
        ({"channels": ["fax"]}, "'fax' is no channel"),
        ({"synthesizer": "piper"}, r"needs --voice NAME\.onnx"),
        ({"synthesizer": "command"}, "needs --command"),
        ({"synthesizer": "command", "command": "x {text} {wav}", "voice": ["a", "b"]}, "one voice"),
        ({"command": "x {text} {wav}"}, "--command goes with --synthesizer command"),
        ({"voice": ["en-us+m1"]}, "espeak takes its voices in turns"),
    ],
)
def test_flags_that_cannot_be_are_refused_and_nothing_is_written(script: str, out: str, flags: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        synthesize(**{"source": script, "out": out, "count": 2, **flags})  # type: ignore[arg-type]
    assert not Path(out).exists()


def test_prompts_of_another_language_are_refused(script: str, out: str, tmp_path: Path) -> None:
    synthesize(script, out=out, count=1)
    french = tmp_path / "french.yaml"
    french.write_text('language: fr\nprompts: [{id: a, say: "mon code est 12345"}]')
    with pytest.raises(ConfigError, match="its language is en, the prompts' is fr"):
        synthesize(str(french), out=out, count=1)
    synthesize(str(french), out=str(tmp_path / "french"), count=3)
    assert all(clip.extra["voice"].startswith("fr") for clip in Dataset.open(tmp_path / "french").clips())
    with pytest.raises(ConfigError, match="sphinx knows English only"):
        synthesize(str(french), out=str(tmp_path / "b"), synthesizer="command", command="x {text} {wav}")


def test_a_dataset_without_numbers_has_nothing_to_say(tmp_path: Path) -> None:
    data = Dataset(tmp_path / "plain")
    data.write_clips("train", [Clip(path="audio/1.wav", duration_s=1.0, extra={"script": "good morning"})])
    with pytest.raises(DatasetError, match=r"train\.jsonl: no recording here dictates a number"):
        synthesize(str(data.directory), out=str(tmp_path / "out"))


def test_what_no_engine_does_well_names_the_clip(script: str, out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AlignmentError("no time for a word")

    monkeypatch.setattr(engines, "perform", fail)
    with pytest.raises(AlignmentError, match=r"clip audio/synthetic_espeak_0_00001\.wav: 8 draws in a row .*no time for a word"):
        synthesize(script, out=out, count=1)


def test_the_manifest_takes_a_twentieth_of_the_time_however_long_it_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s, saved_s = 0.0, list[float]()

    def save(data: Dataset, split: str, clips: Collection[Clip]) -> None:
        nonlocal now_s
        saved_s.append(0.01 * len(clips))
        now_s += saved_s[-1]

    def spoken() -> Iterator[SimpleNamespace]:
        nonlocal now_s
        for index in range(3000):
            now_s += 1
            yield SimpleNamespace(clip=Clip(path=f"{index}.wav", duration_s=1.0), was_there=False, num_failed=0)

    monkeypatch.setattr(Dataset, "write_clips", save)
    monkeypatch.setattr("stt_ft.stages.synthesize.time", SimpleNamespace(monotonic=lambda: now_s))
    _spoken(SimpleNamespace(data=Dataset(tmp_path), language="en"), spoken(), 3000)
    assert sum(saved_s[:-1]) < 0.05 * now_s  # the last one ends it
    assert len(saved_s) > 10
