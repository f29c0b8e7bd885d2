"""Numbers glued from digits that people spoke: the words lie where the takes were put."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from stt_ft.audio.files import read_audio, write_wav
from stt_ft.core.errors import DatasetError
from stt_ft.dataset.manifest import Dataset
from stt_ft.simulation.glued import LEAD_S, TAIL_S, SpokenDigits, natural_gaps, sounding
from stt_ft.simulation.takes import GluedPlan, write_glued
from stt_ft.stages.chains import demo
from stt_ft.text.prompts import belongs_to

RATE_HZ = 24_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two people; the digit d is a tone of 0.1 + d / 100 s."""
    for speaker in ("ann", "bob"):
        for digit in range(10):
            time_s = np.arange(round((0.1 + digit / 100) * RATE_HZ)) / RATE_HZ
            write_wav(tmp_path / f"{digit}_{speaker}_0.wav", 0.3 * np.sin(2000 * time_s).astype(np.float32), RATE_HZ)
    return tmp_path


def test_words_lie_where_their_takes_were_put(folder: Path):
    number = SpokenDigits(folder).number("bob", "305", [0.25, 0.05], random.Random(1))
    assert [word.text for word in number.words] == ["three", "zero", "five"]
    edges = [edge for word in number.words for edge in (word.start_s, word.end_s)]
    np.testing.assert_allclose(edges, np.cumsum([LEAD_S, 0.13, 0.25, 0.10, 0.05, 0.15]), atol=1e-3)
    assert number.duration_s == pytest.approx(LEAD_S + 0.13 + 0.25 + 0.10 + 0.05 + 0.15 + TAIL_S, abs=1e-4)
    loud = np.abs(number.samples) > 0.05
    for word in number.words:
        inside = loud[round(word.start_s * RATE_HZ) : round(word.end_s * RATE_HZ)]
        assert inside.mean() > 0.5
        loud[round(word.start_s * RATE_HZ) : round(word.end_s * RATE_HZ)] = False
    assert not loud.any()


def test_the_quiet_at_a_files_edges_is_no_part_of_its_word(folder: Path):
    take = read_audio(folder / "3_bob_0.wav")
    noise = np.random.default_rng(0).normal(0, 10 ** (-45 / 20) * 0.2, 2 * RATE_HZ).astype(np.float32)
    write_wav(folder / "3_bob_0.wav", np.concatenate([noise[: RATE_HZ // 5], take, noise[RATE_HZ:]]), RATE_HZ)
    (word,) = SpokenDigits(folder).number("bob", "3", [], random.Random(1)).words
    assert (word.start_s, word.end_s) == pytest.approx((LEAD_S, LEAD_S + 0.13), abs=2e-3)


def test_a_folder_that_lacks_a_digit_is_named_with_it(folder: Path):
    (folder / "7_ann_0.wav").unlink()
    with pytest.raises(DatasetError, match="nobody says 7_ann"):
        SpokenDigits(folder)
    with pytest.raises(DatasetError, match=r"no file is named DIGIT_SPEAKER_INDEX\.wav"):
        SpokenDigits(folder / "none")


def test_people_speak_every_digit(spoken_digits: SpokenDigits):
    assert len(spoken_digits.speakers) == 6
    number = spoken_digits.number("theo", "0123456789", [0.1] * 9, random.Random(0))
    lengths_s = [word.end_s - word.start_s for word in number.words]
    assert 0.1 < min(lengths_s) < max(lengths_s) < 1.2


def test_a_person_whose_files_hold_quiet_gets_words_without_it(spoken_digits: SpokenDigits):
    """Lucas's files hold 0.06 s and more of quiet at either end, nicolas's none."""
    lost_s = {speaker: [_quiet_s(path) for path in _folder(spoken_digits, speaker)] for speaker in ("lucas", "nicolas")}
    assert np.median(lost_s["lucas"]) > 0.1
    assert np.median(lost_s["nicolas"]) < 0.02


def _folder(spoken_digits: SpokenDigits, speaker: str) -> list[Path]:
    return [path for (name, _), paths in spoken_digits._paths.items() if name == speaker for path in paths[:5]]


def _quiet_s(path: Path) -> float:
    take = read_audio(path)
    first, last = sounding(take)
    return (len(take) - (last - first)) / RATE_HZ


def test_gaps_are_those_of_a_number_that_a_person_reads_out():
    rng = random.Random(2)
    by_number = [natural_gaps(rng, "".join(rng.choices("0123456789", k=rng.randrange(6, 11)))) for _ in range(1500)]
    gaps_s, longest_s = np.concatenate(by_number), np.array([max(gaps) for gaps in by_number])
    assert (gaps_s > 0.5).mean() == pytest.approx(0.024, abs=0.01)
    assert (longest_s > 0.5).mean() == pytest.approx(0.10, abs=0.04)
    assert (longest_s > 1.0).mean() == pytest.approx(0.03, abs=0.015)


def test_glued_takes_say_whose_they_are_and_no_string_twice(folder: Path, tmp_path_factory: pytest.TempPathFactory):
    dataset, used = Dataset(tmp_path_factory.mktemp("glued")), {"123456"}
    plan = GluedPlan(split="heldout", count=6, digits=SpokenDigits(folder), speakers=("ann", "bob"), shares=(4,))
    clips = list(write_glued(dataset, plan, seed=1, used_digits=used))
    assert [clip.extra["speaker"] for clip in clips] == ["ann", "bob"] * 3
    assert {(clip.extra["kind"], clip.extra["manner"], clip.extra["voices"]) for clip in clips} == {("number", "natural", "people")}
    scripts = [clip.extra["script"] for clip in clips]
    assert len(set(scripts)) == 6
    assert used == {"123456", *scripts}
    assert all(belongs_to(script, (4,)) and 6 <= len(script) <= 10 for script in scripts)
    assert [len(dataset.read_sidecar(clip).alignments) for clip in clips] == [len(script) for script in scripts]


def test_a_demo_without_people_to_measure_on_says_so_before_it_begins(folder: Path, tmp_path_factory: pytest.TempPathFactory):
    workdir = tmp_path_factory.mktemp("work") / "demo"
    with pytest.raises(DatasetError, match="need lucas or theo, to be measured on, and others to learn from; it holds ann, bob"):
        demo(workdir=str(workdir), people=str(folder))
    assert not workdir.exists()
