"""Simulated takes: casts share no voice and no number, and the same seed records the same takes."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("espeakng_loader")

from stt_ft.audio.files import probe
from stt_ft.audio.synthesis import Synthesizer
from stt_ft.dataset.manifest import Dataset
from stt_ft.simulation.casting import BASE_CAST, DEV_CAST, HELDOUT_CAST, SYNTHETIC_CAST, TUNING_CAST, perform
from stt_ft.simulation.takes import TakePlan, write_takes
from stt_ft.text.prompts import Manner, number_prompt, pauses


def test_casts_share_no_voice() -> None:
    for one, other in itertools.combinations((BASE_CAST, TUNING_CAST, DEV_CAST, HELDOUT_CAST), 2):
        assert not set(one.voices) & set(other.voices)


def test_measuring_shares_no_speed_or_number_with_learning() -> None:
    for cast in (BASE_CAST, TUNING_CAST, DEV_CAST, SYNTHETIC_CAST):
        assert not set(cast.words_per_minute) & set(HELDOUT_CAST.words_per_minute)
        assert not set(cast.digit_shares) & set(HELDOUT_CAST.digit_shares)
    assert not set(SYNTHETIC_CAST.voices) & {*TUNING_CAST.voices, *DEV_CAST.voices, *HELDOUT_CAST.voices}


def test_takes_are_what_their_sidecars_say(tmp_path: Path) -> None:
    dataset, used = Dataset(tmp_path), set[str]()
    plans = [TakePlan(split="train", kind=kind, count=5, cast=TUNING_CAST) for kind in ("number", "ordinary")]
    clips = [clip for plan in plans for clip in write_takes(dataset, plan, seed=1, used_digits=used, with_times=True)]
    assert len(used) == 5
    assert len({clip.path for clip in clips}) == 10
    for clip in clips:
        sidecar = dataset.read_sidecar(clip)
        assert probe(dataset.audio_path(clip)).duration_s == pytest.approx(clip.duration_s, abs=1e-3)
        assert sidecar.script == clip.extra["script"]
        assert sidecar.alignments[0].start_s > 0
        assert sidecar.alignments[-1].end_s < clip.duration_s
        assert clip.extra["speaker"] in TUNING_CAST.voices


def test_the_seed_decides_what_is_said_and_by_whom(tmp_path: Path) -> None:
    plan = TakePlan(split="dev", kind="number", count=3, cast=DEV_CAST)
    scripts = [
        [
            (clip.extra["script"], clip.extra["speaker"])
            for clip in write_takes(Dataset(tmp_path / name), plan, seed=seed, used_digits=set())
        ]
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert scripts[0] == scripts[1] != scripts[2]


def test_natural_numbers_pause_as_a_person_did() -> None:
    """Of 200 numbers that a person read out: 7.1, 2.4, 0.5 % of the gaps above 0.3, 0.5, 1 s; 29, 10, 3 % of the numbers hold one."""
    synthesizer, rng = Synthesizer(), random.Random(5)
    gaps_s, lengths_s = [], []
    for _ in range(400):
        prompt = number_prompt(rng, min_digits=6)
        spoken, _ = perform(synthesizer, prompt.text, pauses(rng, prompt, Manner.NATURAL), HELDOUT_CAST, rng, pace=Manner.NATURAL.pace)
        assert prompt.number_span is not None
        number = spoken.words[slice(*prompt.number_span)]
        gaps_s.append([after.start_s - before.end_s for before, after in itertools.pairwise(number)])
        lengths_s += [word.end_s - word.start_s for word in number]
    of_gaps, of_numbers = np.concatenate(gaps_s), np.array([max(gaps) for gaps in gaps_s])
    for longer_than_s, share_of_gaps, share_of_numbers in ((0.3, 0.071, 0.29), (0.5, 0.024, 0.10), (1.0, 0.005, 0.03)):
        assert (of_gaps > longer_than_s).mean() == pytest.approx(share_of_gaps, rel=0.4, abs=0.005)
        assert (of_numbers > longer_than_s).mean() == pytest.approx(share_of_numbers, rel=0.4, abs=0.03)
    assert np.median(lengths_s) == pytest.approx(0.35, abs=0.03)  # a person's words
