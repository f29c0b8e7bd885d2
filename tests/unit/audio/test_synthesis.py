"""The synthesiser's word times are where the sound is, and inserted silence moves them along."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("espeakng_loader")

from stt_ft.audio.synthesis import Synthesizer, Utterance, add_noise, insert_silence, scale_formants, tilt_spectrum
from stt_ft.core import timing
from stt_ft.core.errors import AudioError
from stt_ft.dataset.sidecar import Word


@pytest.fixture(scope="module")
def synthesizer() -> Synthesizer:
    return Synthesizer()


def energy(samples: np.ndarray, start_s: float, end_s: float) -> float:
    return float(np.square(samples[timing.num_samples(start_s) : timing.num_samples(end_s)]).mean())


def test_every_word_has_a_time_with_sound_in_it(synthesizer: Synthesizer) -> None:
    utterance = synthesizer.speak("please help with the order, four one five.", voice="en-us+f2")
    assert [word.text for word in utterance.words] == ["please", "help", "with", "the", "order", "four", "one", "five"]
    assert all(before.end_s <= after.start_s + 1e-9 for before, after in zip(utterance.words, utterance.words[1:], strict=False))
    assert all(energy(utterance.samples, word.start_s, word.end_s) > 1e-4 for word in utterance.words)
    comma = utterance.words[4].end_s, utterance.words[5].start_s
    assert comma[1] - comma[0] > 0.1
    before_comma = energy(utterance.samples, utterance.words[4].start_s, utterance.words[4].end_s)
    assert energy(utterance.samples, comma[0] + 0.08, comma[1]) < 0.01 * before_comma


def test_the_same_words_take_the_same_time_and_faster_ones_less(synthesizer: Synthesizer) -> None:
    """The wave itself differs from call to call: the library's oscillators carry on where they stopped."""
    once, again = (synthesizer.speak("one two three.", voice="en-us+m3", words_per_minute=150) for _ in range(2))
    assert [word.start_s for word in once.words] == pytest.approx([word.start_s for word in again.words], abs=5e-3)
    assert synthesizer.speak("one two three.", voice="en-us+m3", words_per_minute=200).duration_s < once.duration_s


def test_inserted_silence_is_silent_and_moves_words(synthesizer: Synthesizer) -> None:
    utterance = synthesizer.speak("four one five, five five five.", voice="en-gb-x-rp+m1")
    paused = insert_silence(utterance, {3: 0.8}, lead_s=0.5, tail_s=1.0)
    assert paused.duration_s == pytest.approx(utterance.duration_s + 0.8 + 0.5 + 1.0, abs=1e-3)
    for index, (before, after) in enumerate(zip(utterance.words, paused.words, strict=True)):
        shift = 0.5 if index < 3 else 1.3
        assert after.start_s == pytest.approx(before.start_s + shift, abs=1e-3)
        length = timing.num_samples(0.1)
        sound = [
            samples[timing.num_samples(word.start_s) :][:length] for samples, word in ((utterance.samples, before), (paused.samples, after))
        ]
        np.testing.assert_allclose(sound[0], sound[1], atol=0.05)
    gap = paused.words[2].end_s, paused.words[3].start_s
    assert gap[1] - gap[0] >= 0.8
    assert energy(paused.samples, 0, 0.49) == 0


def test_a_cut_between_words_that_flow_fades_out_and_in() -> None:
    tone = np.sin(2 * np.pi * 200 * np.arange(24_000) / 24_000).astype(np.float32)
    words = (Word(text="one", start_s=0.0, end_s=0.5), Word(text="two", start_s=0.5, end_s=1.0))
    hard, soft = (insert_silence(Utterance(samples=tone, words=words), {1: 0.2}, fade_s=fade_s).samples for fade_s in (0.0, 0.01))
    assert len(hard) == len(soft)
    for edge in (11_999, 16_800):
        assert np.abs(soft[edge - 5 : edge + 6]).max() < 0.05
    untouched = np.r_[: 12_000 - 240, 16_800 + 240 : len(soft)]
    np.testing.assert_array_equal(hard[untouched], soft[untouched])


def test_a_library_that_forgets_says_the_same_to_the_last_bit_whatever_came_before(synthesizer: Synthesizer) -> None:
    sounds = []
    for before in ("hello there.", "nine eight seven, six."):
        synthesizer.speak(before, voice="en-gb-x-rp+f3")
        synthesizer.forget()
        sounds.append(synthesizer.speak("one two three.", voice="en-us+m3"))
    assert sounds[0].samples.tobytes() == sounds[1].samples.tobytes()
    assert sounds[0].words == sounds[1].words


def test_scaled_formants_move_every_frequency_and_every_time_by_the_same_factor() -> None:
    seconds = np.arange(24_000) / 24_000
    tone = Utterance(samples=np.sin(2 * np.pi * 500 * seconds).astype(np.float32), words=(Word(text="a", start_s=0.25, end_s=0.75),))
    higher = scale_formants(tone, 1.25)
    assert higher.duration_s == pytest.approx(0.8, abs=1e-3)
    assert (higher.words[0].start_s, higher.words[0].end_s) == pytest.approx((0.2, 0.6))
    frequencies_hz = np.fft.rfftfreq(len(higher.samples), 1 / 24_000)
    assert frequencies_hz[np.abs(np.fft.rfft(higher.samples)).argmax()] == pytest.approx(625, abs=2)


def test_a_tilt_changes_the_colour_and_not_the_loudness_of_white_noise() -> None:
    noise = np.random.default_rng(3).standard_normal(2**16).astype(np.float32)
    tilted = tilt_spectrum(Utterance(samples=noise, words=()), 0.4).samples
    assert np.std(tilted) == pytest.approx(np.std(noise), rel=0.02)
    gain = np.abs(np.fft.rfft(tilted)) / np.abs(np.fft.rfft(noise))
    assert np.median(gain[:500]) == pytest.approx(1.4 / 1.16**0.5, rel=0.02)
    assert np.median(gain[-500:]) == pytest.approx(0.6 / 1.16**0.5, rel=0.02)


def test_noise_has_the_asked_level() -> None:
    noisy = add_noise(np.zeros(48_000, dtype=np.float32), gain=1.0, noise_rms=0.01, rng=np.random.default_rng(0))
    assert float(np.sqrt(np.square(noisy).mean())) == pytest.approx(0.01, rel=0.02)


def test_an_unknown_voice_is_named(synthesizer: Synthesizer) -> None:
    with pytest.raises(AudioError, match="tlh"):
        synthesizer.speak("hello.", voice="tlh+m1")


def test_a_synthesiser_alone_disturbs_no_other_and_is_not_disturbed() -> None:
    speaking = Synthesizer(is_alone=True)
    before = speaking.speak("dix sept juin", voice="fr")
    alone = Synthesizer(is_alone=True)
    for _ in range(3):
        speaking.forget()
        assert alone.phonemes("six", voice="fr") == ["s", "i", "s"]
        again = speaking.speak("dix sept juin", voice="fr")
    assert [word.text for word in again.words] == [word.text for word in before.words]
    with pytest.raises(AudioError, match="no voice"):
        alone.phonemes("six", voice="nowhere")
