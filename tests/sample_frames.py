"""Synthetic frames in the shape of the real thing: a base that writes numbers late and in one lump, and a tuned model that does not.

The fixtures are for the conftest files of the rooms that read frames or reports.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from stt_ft.audio.files import write_wav
from stt_ft.dataset.manifest import Clip, Dataset
from stt_ft.dataset.sidecar import Word
from stt_ft.evaluation.build import build_report
from stt_ft.evaluation.frames import ClipFrames
from stt_ft.evaluation.report import Report
from stt_ft.evaluation.scores import Scores
from stt_ft.model.words import HeardWord

SUFFIX_FRAMES = 38
DIGIT_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SENTENCES = (
    "please send it to the office",
    "i would like to change my order",
    "can you call me back tomorrow morning",
    "thanks that is all",
)


def _spoken(texts, rng, start_s=0.35):
    words, now_s = [], start_s
    for text in texts:
        length_s = 0.16 + 0.045 * len(text)
        words.append(Word(text=text, start_s=round(now_s, 3), end_s=round(now_s + length_s, 3)))
        now_s += length_s + rng.uniform(0.03, 0.12) + (0.45 if rng.uniform() < 0.12 else 0)
    return words


def _heard(word, delay_s):
    return HeardWord(text=word.text, start_s=word.start_s, end_s=word.end_s, appeared_s=round(word.start_s + delay_s, 3))


def _frames(model, clip, kind, reference, words, busy_until_s, dips, duration_s, rng, **told):
    known_s = (np.arange(math.ceil(duration_s * 12.5) + SUFFIX_FRAMES) + 1) / 12.5
    level = 1 / (1 + np.exp(-(known_s - busy_until_s - 0.3) * 14))
    for start_s, end_s, height in dips:
        level = np.maximum(level, height * np.exp(-(((known_s - (start_s + end_s) / 2) / (0.35 * (end_s - start_s))) ** 4)))
    pause = np.stack([np.clip(level * scale + rng.normal(0, 0.02, len(level)) + 0.02, 0, 1) for scale in (1, 0.98, 0.95, 0.9)], axis=1)
    return ClipFrames(
        model=model,
        clip=clip,
        kind=kind,
        text_tokens=(3,) * len(pause),
        words=tuple(words),
        pause=np.round(pause, 5),
        reference=tuple(reference),
        duration_s=duration_s,
        speaker=f"voice {rng.integers(4)}",
        **told,
    )


def make_frames(num_numbers=12, num_ordinary=9, seed=0, num_hesitant=0, num_people=0):
    """Return frames of "base" and "tuned" on the same clips; hesitant numbers and people's come after the others."""
    rng = np.random.default_rng(seed)
    frames = []
    for index in range(num_numbers + num_ordinary + num_hesitant + num_people):
        is_hesitant, is_people = 0 <= index - num_numbers - num_ordinary < num_hesitant, index >= num_numbers + num_ordinary + num_hesitant
        is_number = index < num_numbers or is_hesitant or is_people
        lead = ["order", "number"] if is_number else SENTENCES[index % len(SENTENCES)].split()
        digits = [DIGIT_WORDS[d] for d in rng.integers(0, 10, size=rng.integers(6, 9))] if is_number else []
        reference = _spoken([*lead, *digits], rng)
        end_s = reference[-1].end_s
        duration_s = round(end_s + rng.uniform(0.3, 0.8), 2)
        sort = "hesitant" if is_hesitant else "people" if is_people else "number" if is_number else "sentence"
        clip, kind = f"audio/{sort}_{index:03d}.wav", "number" if is_number else "ordinary"
        told = {"manner": "hesitant" if is_hesitant else None, "voices": "people" if is_people else None}
        base_words = [_heard(word, 0.58) for word in reference[: len(lead)]]
        cuts = []
        if is_number:
            lump = "".join(str(DIGIT_WORDS.index(word)) for word in digits)
            lump = lump if index % 5 else lump[:-2] + lump[-1] + lump[-2]
            base_words.append(HeardWord(text=lump, start_s=end_s - 0.3, end_s=end_s, appeared_s=round(end_s + 0.55, 3)))
            if index % 7 != 3:
                cuts = [(reference[3].start_s + 0.2, reference[-2].start_s, 0.92)]
        tuned_words = [_heard(word, 0.58) for word in reference]
        if index == 4:
            tuned_words[-1] = HeardWord(text="five", start_s=tuned_words[-1].start_s, end_s=end_s, appeared_s=tuned_words[-1].appeared_s)
        late = 0.55 if is_number else 0.25
        frames.append(_frames("base", clip, kind, reference, base_words, end_s + late, cuts, duration_s, rng, **told))
        frames.append(_frames("tuned", clip, kind, reference, tuned_words, end_s + 0.2, [], duration_s, rng, **told))
    return frames


def placed_in_calls(frames, seconds):
    """Return `frames` of one model as if heard one after the other in calls of at most `seconds`, with a quiet room between them."""
    placed, stop = [], 0
    for number, one in enumerate(frames):
        start = stop + number % 5 if stop else 0
        if start + len(one.pause) > seconds * 12.5:
            start = stop = 0
        silence = np.full((start - stop, one.pause.shape[1]), 0.97) if start > stop else None
        placed.append(replace(one, call_s=start / 12.5, silence=silence))
        stop = start + len(one.pause)
    return placed


def make_dataset(directory, frames):
    """Write a dataset whose clips sound when the frames' words do: a tone for each."""
    rng = np.random.default_rng(0)
    clips = {clip.clip: clip for clip in frames}
    for clip in clips.values():
        samples = rng.normal(0, 0.002, round(clip.duration_s * 24_000)).astype(np.float32)
        for number, word in enumerate(clip.reference):
            span = slice(round(word.start_s * 24_000), round(word.end_s * 24_000))
            time_s = np.arange(span.stop - span.start) / 24_000
            envelope = np.sin(np.pi * time_s / time_s[-1]) * (0.7 + 0.3 * np.sin(40 * time_s + number))
            samples[span] += (0.35 * envelope * np.sin(2 * np.pi * (140 + 17 * (number % 5)) * time_s)).astype(np.float32)
        write_wav(directory / clip.clip, samples)
    dataset = Dataset(directory)
    dataset.write_clips("heldout", [Clip(path=clip.clip, duration_s=clip.duration_s) for clip in clips.values()])
    return dataset


def report_on(frames, baseline="base", rule=None, **told):
    """Return the report on the tuned model of `frames`."""
    return build_report(Scores.of(frames, rule), model="tuned", baseline=baseline, **told)


def told_otherwise(report, changes):
    """Return `report` with other values: "figures.tuned.numbers.missed_ends.value" -> value."""
    value = report.to_json()
    for path, new in changes.items():
        *parents, key = path.split(".")
        place = value
        for parent in parents:
            place = place[parent]
        place[key] = new
    return Report.model_validate(value)


@pytest.fixture
def frames():
    return make_frames()


@pytest.fixture
def mixed_frames():
    """Frames of every slice: 12 numbers, 9 hesitant ones, 8 of people, 9 sentences."""
    return make_frames(num_hesitant=9, num_people=8)


@pytest.fixture(scope="session")
def report():
    return report_on(make_frames())


@pytest.fixture
def dataset(tmp_path, frames):
    return make_dataset(tmp_path / "dataset", frames)
