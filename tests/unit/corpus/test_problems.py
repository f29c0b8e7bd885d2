"""Every kind of problem is found where it is, and a good clip has none."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stt_ft.core.engine import Engine, SetAside
from stt_ft.corpus.inspecting import Inspected, SetFaults, inspect
from stt_ft.corpus.problems import GRAVE, KINDS, Problem, numbers_in, sound_problems, word_problems
from stt_ft.dataset.manifest import Clip, Dataset
from stt_ft.dataset.sidecar import Sidecar, Word

RATE_HZ = 24_000


def clip(name: str = "a", duration_s: float = 4.0, **extra: object) -> Clip:
    return Clip(path=f"audio/{name}.wav", duration_s=duration_s, extra=dict(extra))


def said(text: str, *, start_s: float = 0.5, word_s: float = 0.3, **fields: object) -> Sidecar:
    words = tuple(
        Word(text=word, start_s=start_s + index * word_s, end_s=start_s + (index + 1) * word_s) for index, word in enumerate(text.split())
    )
    return Sidecar(alignments=words, **fields)  # type: ignore[arg-type]


def entries(*texts: str) -> Sidecar:
    """Words a second apart, each of half a second."""
    return Sidecar(alignments=tuple(Word(text=text, start_s=0.1 + index, end_s=0.6 + index) for index, text in enumerate(texts)))


def noise(duration_s: float = 4.0, level: float = 0.1) -> np.ndarray:
    return (np.random.default_rng(0).standard_normal(round(duration_s * RATE_HZ)) * level).astype(np.float32)


def between(clips: dict[str, list[Clip]], hashes: dict[str, str], sidecars: dict[str, Sidecar], *, split_by: str = "both") -> list[Problem]:
    """Return the faults between clips, of which `hashes` and `sidecars` are known by clip."""
    faults = SetFaults(split_by=split_by)
    for split, members in clips.items():
        for one in members:
            numbers = tuple(sorted(numbers_in(sidecars.get(one.path))))
            faults.add(split, one, Inspected(sha256=hashes.get(one.path, ""), numbers=numbers))
    return list(faults.problems())


def kinds(problems: list) -> set[str]:
    return {problem.kind for problem in problems}


def test_a_good_clip_has_no_problems() -> None:
    good = said("the code is four five six", script="the code is 456", written=said("the code is 456").alignments)
    assert word_problems(clip(), good) == []
    assert sound_problems(clip(), noise(), RATE_HZ) == []


@pytest.mark.parametrize(
    ("samples", "kind"),
    [
        (noise(3.5), "duration"),
        (noise() * 1e-3, "silent"),
        (np.clip(noise() * 100, -1, 1), "clipped"),
        (np.sin(2 * np.pi * 900 * np.arange(4 * RATE_HZ) / RATE_HZ).astype(np.float32) * 0.3, "narrow_band"),
    ],
)
def test_sound_problems(samples: np.ndarray, kind: str) -> None:
    assert kinds(sound_problems(clip(), samples, RATE_HZ)) == {kind}


@pytest.mark.parametrize(
    ("sidecar", "kind"),
    [
        (Sidecar(), "no_words"),
        (said("order 1296803"), "digits_left"),
        (said("one two three four", start_s=3.2), "word_times"),
        (Sidecar(alignments=(Word(text="a", start_s=1.0, end_s=1.0),)), "word_times"),
        (Sidecar(alignments=(Word(text="a", start_s=-0.2, end_s=1.0),)), "word_times"),
        (Sidecar(alignments=(Word(text="a", start_s=1.0, end_s=1.5), Word(text="b", start_s=0.2, end_s=0.5))), "word_times"),
        (Sidecar(alignments=(Word(text="a", start_s=1.0, end_s=1.5), Word(text="b", start_s=1.3, end_s=1.8))), "overlap"),
        (said("one two three four five", word_s=0.1), "speed"),
        (said("one two three", script="one two four"), "script"),
        (said("one two three", extra={"mismatch": {"script": "124", "heard": "one two three"}}), "script"),
        (said("one two three", script="one two three 99999", extra={"left_out": [[[2.0, 3.5], "99999", ""]]}), "left_out"),
        (said("one two three", extra={"left_out": ["spoilt"]}), "left_out"),
        (entries("my order number is one two nine six"), "not_one_word"),
        (entries("order number", "is"), "not_one_word"),
        (entries("or\0der"), "not_one_word"),
        (entries("order\nnumber"), "not_one_word"),
        (entries("order\tnumber"), "not_one_word"),
        (entries("\x1border"), "not_one_word"),
        (entries("\ufefforder"), "not_one_word"),
        (entries("caf\ufffd"), "not_one_word"),
        (entries("  "), "not_one_word"),
        (entries(""), "not_one_word"),
        (entries("call", "-"), "not_one_word"),
        (entries("call", "..."), "not_one_word"),
        (entries("numéro", "«"), "not_one_word"),
        (Sidecar(alignments=(Word(text="order", start_s=0.2, end_s=3.6),)), "long_word"),
        (Sidecar(alignments=(Word(text="two", start_s=1.0, end_s=1.5),) * 2), "word_times"),
        (Sidecar(alignments=(Word(text="two", start_s=1.0, end_s=1.5, speaker="SPEAKER_00"),)), "no_words"),
        (Sidecar(alignments=(*said("one two").alignments, Word(text="hi", start_s=2.0, end_s=2.5, speaker="B"))), "other_speakers"),
    ],
)
def test_word_problems(sidecar: Sidecar, kind: str) -> None:
    assert kinds(word_problems(clip(), sidecar)) == {kind}


def test_a_stretch_left_out_is_told_by_its_times_and_both_texts() -> None:
    (problem,) = word_problems(clip(), said("one two three", extra={"left_out": [[[2.0, 3.5], "99999", "four"]]}))
    assert problem.message.startswith("its script does not fit the sound at 2.0-3.5 s: it has '99999', annotate heard 'four'")
    assert problem.kind in GRAVE


def test_speakers_numbers_and_sounds_may_not_be_on_two_sides() -> None:
    clips = {"train": [clip("a", speaker="x"), clip("b", speaker="y")], "heldout": [clip("c", speaker="x"), clip("d", speaker="z")]}
    sidecars = {"audio/b.wav": said("code one two three four five"), "audio/d.wav": said("it is one two three four five")}
    hashes = {"audio/a.wav": "01", "audio/b.wav": "02", "audio/c.wav": "03", "audio/d.wav": "01"}
    found = {(problem.clip_id, problem.kind) for problem in between(clips, hashes, sidecars)}
    assert found == {("audio/c.wav", "split_speaker"), ("audio/d.wav", "split_number"), ("audio/d.wav", "duplicate")}
    by_number = {problem.kind for problem in between(clips, hashes, sidecars, split_by="number")}
    assert by_number == {"split_number", "duplicate"}


def test_numbers_come_from_the_words_or_else_the_script() -> None:
    assert numbers_in(said("code one double two three four")) == {"12234"}
    assert numbers_in(None, "code 12234, please") == {"12234"}
    assert numbers_in(said("no one was there")) == set()


@pytest.mark.parametrize(
    ("words", "number"),
    [
        ("zéro six douze trente quatre cinquante six soixante dix huit", "0612345678"),
        ("call twenty one sixty nine forty", "216940"),
        ("code seven eighty eight nine hundred five", "788905"),
        ("a one b two c three", "a1b2c3"),
        ("mon numéro est le un double sept zéro quatre vingt dix", "177090"),
    ],
)
def test_pairs_and_codes_are_numbers(words: str, number: str) -> None:
    assert numbers_in(said(words)) == {number}
    assert numbers_in(None, f"it is {number}") == {number}


@pytest.mark.parametrize("script", ["06 12 34 56 78", "06.12.34.56.78", "06-12-34-56-78", "0612345678,"])
def test_a_number_is_the_same_however_its_script_groups_it(script: str) -> None:
    assert numbers_in(None, f"mon numéro est le {script}") == {"0612345678"}


def test_a_code_is_known_by_its_digits_and_by_all_of_it() -> None:
    assert numbers_in(said("reference e m three nine eight five seven")) == {"39857", "em39857"}


def test_words_of_others_are_told_by_their_label_and_are_in_no_number() -> None:
    mine = said("code four five six").alignments
    theirs = tuple(Word(text=text, start_s=2.0 + index / 3, end_s=2.2 + index / 3, speaker="AGENT") for index, text in enumerate("12345"))
    sidecar = Sidecar(alignments=(*mine, *theirs))
    (problem,) = word_problems(clip(), sidecar)
    assert problem.kind == "other_speakers"
    assert problem.kind not in GRAVE
    assert "5 by AGENT" in problem.message
    assert numbers_in(sidecar) == set()
    (problem,) = word_problems(clip(), Sidecar(alignments=theirs))
    assert problem.message.startswith("it has no words by SPEAKER_MAIN, but 5 by AGENT; name the speaker to learn SPEAKER_MAIN")


def test_signs_that_are_said_are_words() -> None:
    assert word_problems(clip(), entries("R&B", "&", "twenty", "%")) == []


def test_wild_times_are_told_in_few_digits() -> None:
    problems = word_problems(clip(), Sidecar(alignments=(Word(text="a", start_s=1e308, end_s=1.1e308),)))
    assert {problem.kind for problem in problems} == {"word_times", "long_word"}
    assert all(len(problem.message) < 80 for problem in problems)


def test_a_line_that_stands_twice_is_told_with_or_without_its_sound() -> None:
    (problem,) = between({"train": [clip("a"), clip("b"), clip("a")]}, {}, {})
    assert (problem.clip_id, problem.kind) == ("audio/a.wav", "duplicate")
    assert problem.message.startswith("it stands in train and again in train")


def test_every_kind_that_is_found_is_explained() -> None:
    for sidecar in (Sidecar(), said("order 5 5 5 5", start_s=9, word_s=0.01, script="x")):
        assert kinds(word_problems(clip(), sidecar)) <= set(KINDS)


@dataclass(frozen=True, kw_only=True)
class Killed(Engine):
    """An engine in which the second clip kills whoever inspects it."""

    def results(self, make_worker: Any, batches: Any, *, cores: bool = False) -> Iterator[Any]:
        worker = pickle.loads(pickle.dumps(make_worker))()
        for place, one in enumerate(one for batch in batches for one in batch):
            yield one, SetAside(fault="killed") if place == 1 else worker([one])[0]


def test_a_clip_that_kills_its_process_is_told_by_name_and_hides_no_other(tmp_path: Path) -> None:
    data = Dataset(tmp_path)
    data.write_clips("train", [clip("a"), clip("b"), clip("c")])
    found = [(problem.clip_id, problem.kind) for problem in inspect(data, engine=Killed())]
    unread = [(f"audio/{name}.wav", kind) for name in "ac" for kind in ("audio", "sidecar")]
    assert found == [*unread[:2], ("audio/b.wav", "set_aside"), *unread[2:]]
    assert "set_aside" in GRAVE
