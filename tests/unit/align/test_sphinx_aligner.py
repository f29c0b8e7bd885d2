"""pocketsphinx against the synthesiser's own word times, in several voices; readings, unknown words, and sounds that do not fit."""

from __future__ import annotations

import random

import numpy as np
import pytest

from stt_ft.align.aligner import ScriptWord, script_tokens, script_words
from stt_ft.align.sphinx_aligner import SphinxAligner, french_pronunciations, pronounced
from stt_ft.audio.synthesis import Synthesizer, Utterance, add_noise, insert_silence
from stt_ft.core.errors import AlignmentError
from stt_ft.text.lattice import either, fixed

VOICES = (
    "en-us+m1",
    "en-us+f2",
    "en-us+steph",
    "en-gb-x-rp+m3",
    "en-gb-x-rp+f4",
    "en-gb-scotland+m2",
    "en-gb-scotland+linda",
    "en-us+Andy",
)


@pytest.fixture(scope="module")
def synthesizer() -> Synthesizer:
    return Synthesizer()


@pytest.fixture(scope="module")
def aligner() -> SphinxAligner:
    return SphinxAligner()


def say(synthesizer: Synthesizer, words: str, voice: str, rng: random.Random) -> Utterance:
    """Speak with pauses before some words, silence around, and a little noise."""
    spoken = synthesizer.speak(words, voice=voice, words_per_minute=rng.choice([130, 160, 190]), pitch=rng.randint(25, 75))
    pauses = {index: rng.choice([0.2, 0.6, 1.2]) for index in range(1, len(spoken.words)) if rng.random() < 0.12}
    spoken = insert_silence(spoken, pauses, lead_s=rng.uniform(0.1, 0.8), tail_s=rng.uniform(0.2, 1.0))
    noisy = add_noise(spoken.samples, gain=rng.uniform(0.3, 1.0), noise_rms=0.001, rng=np.random.default_rng(rng.randrange(1000)))
    return Utterance(samples=noisy, words=spoken.words)


def align_script(aligner: SphinxAligner, spoken: Utterance, script: str) -> tuple[ScriptWord, ...]:
    tokens = script_tokens(script, language="en")
    return script_words(tokens, *aligner.align_with_rivals(spoken.samples, [token.lattice for token in tokens]))


def test_onsets_are_those_of_the_synthesiser(synthesizer: Synthesizer, aligner: SphinxAligner) -> None:
    rng = random.Random(4)
    errors_s: list[float] = []
    for voice in VOICES:
        digits = " ".join(rng.choice("zero one two three four five six seven eight nine".split()) for _ in range(7))  # noqa: SIM905
        spoken = say(synthesizer, f"my order number is {digits}", voice, rng)
        aligned = aligner.align(spoken.samples, [fixed([word.text]) for word in spoken.words])
        assert [[word.text] for word in spoken.words] == [[word.text for word in words] for words in aligned]
        errors_s += [abs(words[0].start_s - truth.start_s) for words, truth in zip(aligned, spoken.words, strict=True)]
    assert np.median(errors_s) <= 0.06
    assert np.quantile(errors_s, 0.9) <= 0.15


def test_a_written_number_is_one_entry_that_holds_its_words(synthesizer: Synthesizer, aligner: SphinxAligner) -> None:
    spoken = say(synthesizer, "order number one two nine six eight zero three please", "en-us+m1", random.Random(1))
    words = align_script(aligner, spoken, "order number 1296803, please")
    assert [word.text for word in words] == ["order", "number", "1296803,", "please"]
    number = words[2]
    assert number.spoken is not None
    assert [word.text for word in number.spoken] == ["one", "two", "nine", "six", "eight", "zero", "three"]
    assert number.start_s == number.spoken[0].start_s
    assert number.end_s == number.spoken[-1].end_s
    assert number.start_s == pytest.approx(spoken.words[2].start_s, abs=0.1)


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("the code is five oh seven oh two nine", "507029"),
        ("the code is five zero seven zero two nine", "507029"),
        ("the code is six double four nine one", "64491"),
        ("the code is six four four nine one", "64491"),
        ("it was in nineteen ninety six", "1996"),
        ("the room is twelve oh four", "1204"),
    ],
)
def test_the_reading_that_was_said_is_chosen(synthesizer: Synthesizer, aligner: SphinxAligner, said: str, written: str) -> None:
    spoken = synthesizer.speak(said, voice="en-us+m1", words_per_minute=150)  # of six voices one of the clearest
    script = " ".join([*said.split()[:3], written])
    *_, number = align_script(aligner, spoken, script)
    assert number.spoken is not None
    assert [word.text for word in number.spoken] == said.split()[3:]


def test_the_same_clip_gives_the_same_times_whatever_came_before(synthesizer: Synthesizer) -> None:
    first = synthesizer.speak("please call me back today", voice="en-us+f1")
    other = synthesizer.speak("seven eight nine", voice="en-us+m1")
    words = [fixed([word]) for word in "please call me back today".split()]  # noqa: SIM905
    fresh = SphinxAligner().align(first.samples, words)
    used = SphinxAligner()
    used.align(other.samples, [fixed(["seven"]), fixed(["eight"]), fixed(["nine"])])
    assert used.align(first.samples, words) == fresh


def test_unknown_words_marks_and_hyphens_are_aligned_or_left_out(synthesizer: Synthesizer, aligner: SphinxAligner) -> None:
    spoken = synthesizer.speak("the blorptastic twenty three", voice="en-us+m1")
    aligned = aligner.align(spoken.samples, [fixed(["The"]), fixed(["blorptastic,"]), fixed(["—"]), fixed(["twenty-three."])])
    assert [[word.text for word in words] for words in aligned] == [["The"], ["blorptastic,"], [], ["twenty-three."]]


def test_words_that_were_not_said_are_refused(aligner: SphinxAligner) -> None:
    short = np.random.default_rng(0).standard_normal(4800).astype(np.float32) * 0.1
    with pytest.raises(AlignmentError, match="do not fit the sound"):
        aligner.align(short, [fixed([word]) for word in "this is a rather long sentence for a fifth of a second".split()])  # noqa: SIM905


def test_words_of_another_script_are_refused_by_name(aligner: SphinxAligner) -> None:
    with pytest.raises(AlignmentError, match="'привет'"):
        aligner.align(np.zeros(24000, dtype=np.float32), [fixed(["привет"])])


def test_silence_and_nothing_do_not_crash(aligner: SphinxAligner) -> None:
    assert aligner.align(np.zeros(24000, dtype=np.float32), []) == []
    assert aligner.align(np.zeros(24000, dtype=np.float32), [fixed(["…"])]) == [[]]
    with pytest.raises(AlignmentError):
        aligner.align(np.zeros(0, dtype=np.float32), [either([("one",), ("two",)])])


@pytest.mark.parametrize(
    ("word", "phones"),
    [("blip", "B L IH P"), ("shade", "SH EY D"), ("xyz", "K S IY Z"), ("btw", "B IY T IY D AH B AH L Y UW"), ("é", "IY")],
)
def test_pronunciations_by_rule(word: str, phones: str) -> None:
    assert pronounced(word) == phones


@pytest.mark.parametrize("word", ["", "日本", "a1", "-"])
def test_no_pronunciation_without_latin_letters(word: str) -> None:
    assert pronounced(word) is None


def test_the_reading_that_came_second_is_told_with_its_lead_and_never_the_one_chosen(
    synthesizer: Synthesizer, aligner: SphinxAligner
) -> None:
    spoken = synthesizer.speak("room twelve oh four", voice="en-us+m1", words_per_minute=140)
    samples = insert_silence(spoken, {}, lead_s=0.3, tail_s=0.3).samples
    ways = [("twelve", "zero", "four"), ("one", "two", "oh", "four"), ("twelve", "oh", "four"), ("five", "hundred", "eighty")]
    clear = [fixed(["room"]), either(ways)]
    aligned, (no_rival, rival) = aligner.align_with_rivals(samples, clear)
    assert [word.text for word in aligned[1]] == ["twelve", "oh", "four"]
    assert no_rival is None
    assert rival is not None
    assert rival.words in ways
    assert rival.words != ("twelve", "oh", "four")
    assert rival.lead > 20
    assert not rival.is_close
    homophones = [fixed(["room"]), either([("twelve", "oh", "four"), ("twelve", "oh", "for")])]
    _, (_, rival) = aligner.align_with_rivals(samples, homophones)
    assert rival is not None
    assert rival.is_close


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("0612345678", "zéro six, douze, trente quatre, cinquante six, soixante dix huit"),
        ("0612345678", "zéro six un deux trois quatre cinq six sept huit"),
        ("9h45", "dix heures moins le quart"),
        ("9h45", "neuf heures quarante cinq"),
        ("1998", "dix neuf cent quatre vingt dix huit"),
        ("1998", "mille neuf cent quatre vingt dix huit"),
        ("12€50", "douze euros cinquante"),
    ],
)
@pytest.mark.parametrize("voice", ["fr+m1", "fr-be+f2"])
def test_the_french_reading_that_was_said_is_chosen_and_timed(synthesizer: Synthesizer, written: str, said: str, voice: str) -> None:
    spoken = insert_silence(synthesizer.speak(said, voice=voice, words_per_minute=150), {}, lead_s=0.3, tail_s=0.3)
    (words,) = SphinxAligner("fr").align(spoken.samples, [script_tokens(written, language="fr")[0].lattice])
    assert [word.text for word in words] == [word.text for word in spoken.words]
    assert np.median([abs(word.start_s - truth.start_s) for word, truth in zip(words, spoken.words, strict=True)]) < 0.06


def test_french_words_sound_as_they_do_before_other_words(synthesizer: Synthesizer) -> None:
    assert french_pronunciations("six", synthesizer) == ["S IY S", "S IY", "S IY Z"]
    assert "K AA T" in french_pronunciations("quatre", synthesizer)
    assert french_pronunciations("d'euros", synthesizer)
    assert french_pronunciations("!", synthesizer) == []
