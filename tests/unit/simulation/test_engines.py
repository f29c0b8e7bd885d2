"""Engines: what piper and any program say is found word by word, dressed like espeak's, and a program that fails is one line."""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import real

pytest.importorskip("espeakng_loader")
pytest.importorskip("pocketsphinx")

from stt_ft.align.aligner import known_word_times
from stt_ft.align.sphinx_aligner import SphinxWork
from stt_ft.core import timing
from stt_ft.core.errors import AlignmentError, AudioError, ConfigError
from stt_ft.simulation.casting import SYNTHETIC_CAST
from stt_ft.simulation.engines import AlignedEngine, EspeakEngine, PiperSpeaker, ProgramSpeaker
from stt_ft.text.prompts import Prompt

PROMPT = Prompt(words=("order", "number", "five", "one", "nine", "six"), kind="number", digits="5196", number_span=(2, 6))

BEEPS = """
import sys, wave, array, math
text, path = sys.argv[1:3]
samples = array.array("h")
for word in text.split():
    samples.extend([0] * 1600)
    samples.extend(int(9000 * math.sin(i / 8)) for i in range(4800))
with wave.open(path, "wb") as file:
    file.setnchannels(1), file.setsampwidth(2), file.setframerate(16000)
    file.writeframes(samples.tobytes())
"""
"""A program that says every word as 0.3 s of tone after 0.1 s of nothing."""


def beep_times(samples: np.ndarray, words: Sequence[str]) -> list[tuple[float, float]]:
    assert timing.samples_to_s(len(samples)) == pytest.approx(0.4 * len(words), abs=1e-3)
    return [(0.4 * index + 0.1, 0.4 * index + 0.4) for index in range(len(words))]


@pytest.fixture
def beeps(tmp_path: Path) -> ProgramSpeaker:
    program = tmp_path / "beeps.py"
    program.write_text(BEEPS)
    return ProgramSpeaker(f"'{sys.executable}' '{program}' {{text}} {{wav}}", voice="beeps", time_limit_s=20)


def test_what_a_program_says_gets_pauses_and_its_words_move_along(beeps: ProgramSpeaker) -> None:
    engine = AlignedEngine(beeps, SYNTHETIC_CAST, beep_times)
    utterance, voice = engine.perform(PROMPT, {3: 0.7}, random.Random(1), pace=1.0)
    assert voice == "beeps"
    assert [word.text for word in utterance.words] == list(PROMPT.words)
    gaps = np.array([after.start_s - before.end_s for before, after in zip(utterance.words, utterance.words[1:], strict=False)])
    scale = 0.3 / (utterance.words[0].end_s - utterance.words[0].start_s)
    assert 0.86 < scale < 1.16
    assert gaps == pytest.approx(np.array([0.1, 0.1, 0.1, 0.1, 0.1]) / scale + np.array([0, 0, 0.7, 0, 0]), abs=2e-3)
    level = {True: [], False: []}
    for word, gap in zip(utterance.words[:-1], gaps, strict=True):
        inside = utterance.samples[timing.num_samples(word.start_s + 0.05) : timing.num_samples(word.end_s - 0.05)]
        between = utterance.samples[timing.num_samples(word.end_s + 0.03) : timing.num_samples(word.end_s + gap - 0.03)]
        level[True].append(np.square(inside).mean())
        level[False].append(np.square(between).mean())
    assert min(level[True]) > 10 * max(level[False])


def test_text_and_path_are_arguments_whatever_they_hold(tmp_path: Path) -> None:
    """No shell reads them, and what a text holds is no place for something else."""
    program = tmp_path / "echo.py"
    program.write_text("import sys; sys.exit(repr(sys.argv[1:4]))")
    speaker = ProgramSpeaker(f"'{sys.executable}' '{program}' {{text}} --rate={{speed}} {{seed}} {{wav}}", voice=None, time_limit_s=20)
    with pytest.raises(AudioError, match=r"exited with 1: \['\$\(touch x\); \{wav\}', '--rate=0\.900', '\d+'\]"):
        speaker.say("$(touch x); {wav}", 0.9, random.Random(0))


@pytest.mark.parametrize(
    ("command", "error", "reason"),
    [
        ("prog {wav}", ConfigError, r"no \{text\} after the program's name"),
        ("{text} {wav}", ConfigError, r"no \{text\} after"),
        ("prog 'x", ConfigError, "No closing quotation"),
        ("no-such-program-here {text} {wav}", ConfigError, "no such program: no-such-program-here"),
        ("PYTHON -c 1 {text} {wav}", AudioError, "left no sound"),
        ("PYTHON -c 'import sys; sys.exit(\"no voice today\")' {text} {wav}", AudioError, "exited with 1: no voice today"),
        ("PYTHON -c 'import time; time.sleep(600)' {text} {wav}", AudioError, "not done within 0.5 s and was stopped"),
    ],
)
def test_a_program_that_does_not_work_is_one_line(command: str, error: type[Exception], reason: str) -> None:
    time_limit_s = 0.5 if "was stopped" in reason else 60  # on a busy machine Python alone may need half a second to start
    command = command.replace("PYTHON", f"'{sys.executable}'")
    with pytest.raises(error, match=reason) as raised:
        ProgramSpeaker(command, voice=None, time_limit_s=time_limit_s).say("one", 1.0, random.Random(0))
    assert "\n" not in str(raised.value)


def test_words_that_were_not_said_are_not_timed() -> None:
    timer = partial(known_word_times, work=SphinxWork(), language="en")
    noise = np.random.default_rng(0).normal(0, 0.1, 12_000).astype(np.float32)
    with pytest.raises(AlignmentError):
        timer(noise, ["my", "order", "number", "is", "four", "one", "five", "five", "five", "nine"])


def test_a_digit_that_was_not_said_is_noticed() -> None:
    utterance, _ = EspeakEngine(SYNTHETIC_CAST).perform(PROMPT, {}, random.Random(3), pace=0.86)
    with pytest.raises(AlignmentError, match="'eight' was not heard"):
        known_word_times(utterance.samples, ["order", "number", "five", "eight", "nine", "six"], work=SphinxWork(), language="en")


def test_sphinx_finds_the_words_that_espeak_timed() -> None:
    utterance, _ = EspeakEngine(SYNTHETIC_CAST).perform(PROMPT, {}, random.Random(3), pace=0.86)
    spans = known_word_times(utterance.samples, PROMPT.words, work=SphinxWork(), language="en")
    for word, (start_s, _) in zip(utterance.words, spans, strict=True):
        assert start_s == pytest.approx(word.start_s, abs=0.08)


def test_piper_says_the_same_for_the_same_seed_and_other_words_for_another() -> None:
    engine = AlignedEngine(PiperSpeaker([real.piper_voice()]), SYNTHETIC_CAST, partial(known_word_times, work=SphinxWork(), language="en"))
    one, again, other = (engine.perform(PROMPT, {4: 0.5}, random.Random(seed), pace=0.9) for seed in (1, 1, 2))
    assert one[0].samples.tobytes() == again[0].samples.tobytes()
    assert one[0].words == again[0].words != other[0].words
    assert one[1] == "en_US-joe-medium"
    words = one[0].words
    assert words[4].start_s - words[3].end_s > 0.45
    assert 1.2 < words[-1].end_s - words[0].start_s < 6
    assert np.abs(one[0].samples).max() <= 1.0


def test_a_file_that_is_no_piper_voice_is_refused_by_name(tmp_path: Path) -> None:
    pytest.importorskip("piper")
    voice = tmp_path / "voice.onnx"
    with pytest.raises(ConfigError, match=r"no such file .*voice\.onnx; a piper voice is NAME\.onnx beside NAME\.onnx\.json"):
        PiperSpeaker([voice])
    voice.write_text("nothing")
    Path(f"{voice}.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"voice\.onnx: not a piper voice"):
        PiperSpeaker([voice])
