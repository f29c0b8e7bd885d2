"""Simulated takes: casts share no voice and no number, and the same seed records the same takes."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

pytest.importorskip("espeakng_loader")

from stt_ft.audio.files import probe
from stt_ft.core.manifest import Dataset
from stt_ft.simulation.casting import BASE_CAST, DEV_CAST, HELDOUT_CAST, TUNING_CAST
from stt_ft.simulation.takes import TakePlan, write_takes


def test_casts_share_no_voice() -> None:
    for one, other in itertools.combinations((BASE_CAST, TUNING_CAST, DEV_CAST, HELDOUT_CAST), 2):
        assert not set(one.voices) & set(other.voices)


def test_measuring_shares_no_speed_or_number_with_learning() -> None:
    for cast in (BASE_CAST, TUNING_CAST, DEV_CAST):
        assert not set(cast.words_per_minute) & set(HELDOUT_CAST.words_per_minute)
        assert not set(cast.digit_shares) & set(HELDOUT_CAST.digit_shares)


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
