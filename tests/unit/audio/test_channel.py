"""The channels against other programs' codecs, and against tones whose power is known."""

import io
import shutil
import subprocess

import numpy as np
import pytest
import soundfile

from stt_ft.audio.channel import Channel, add_pink_noise, channels_named, from_mu_law, phone_line, speech_power, to_mu_law

RATE_HZ = 24_000


def tone(frequency_hz, seconds=1.0, level=0.3, rate_hz=RATE_HZ):
    return (level * np.sin(2 * np.pi * frequency_hz * np.arange(round(seconds * rate_hz)) / rate_hz)).astype(np.float32)


def gain_db(frequency_hz):
    """How much of a tone's own frequency comes through, noise of the code left out."""
    sent = tone(frequency_hz)
    heard = phone_line(sent)
    middle, probe = slice(4800, -4800), np.exp(-2j * np.pi * frequency_hz * np.arange(len(sent)) / RATE_HZ)
    through, sent_whole = (abs(np.vdot(sound[middle], probe[middle])) for sound in (heard, sent))
    return 20 * np.log10(max(through, 1e-9) / sent_whole)


@pytest.mark.parametrize("frequency_hz", [400, 1000, 2000, 3200])
def test_the_band_of_speech_passes(frequency_hz):
    assert abs(gain_db(frequency_hz)) < 1.0


@pytest.mark.parametrize("frequency_hz", [50, 100, 180, 3700, 5000, 9000])
def test_what_no_telephone_carries_is_gone(frequency_hz):
    assert gain_db(frequency_hz) < -25


def test_mu_law_codes_are_libsndfiles():
    samples = np.concatenate([np.linspace(-1, 1, 40_001), tone(700, rate_hz=8000)]).astype(np.float32)
    samples = np.round(samples * 8191) / 8192  # exact fourteen-bit values: how a program rounds to them is its own affair
    file = io.BytesIO()
    soundfile.write(file, samples, 8000, format="RAW", subtype="ULAW")
    theirs = np.frombuffer(file.getvalue(), np.uint8)
    decoded, _ = soundfile.read(io.BytesIO(file.getvalue()), format="RAW", subtype="ULAW", channels=1, samplerate=8000)
    np.testing.assert_allclose(from_mu_law(theirs), decoded, atol=1e-7)
    ours = from_mu_law(to_mu_law(samples))
    assert np.abs(ours - decoded).max() <= np.abs(samples - decoded).max() + 2 / 8192
    assert (to_mu_law(samples) == theirs).mean() > 0.97  # libsndfile truncates to fourteen bits where G.711 says nothing


def test_every_code_of_mu_law_survives_the_round_trip():
    codes = np.arange(256, dtype=np.uint8)
    again = to_mu_law(from_mu_law(codes))
    assert np.array_equal(again[codes != 0x7F], codes[codes != 0x7F])  # 0x7f is minus zero
    assert from_mu_law(codes)[0x7F] == from_mu_law(codes)[0xFF] == 0


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
def test_ffmpeg_hears_the_same_codes():
    codes = bytes(range(256))
    command = ["ffmpeg", "-v", "error", "-f", "mulaw", "-ar", "8000", "-ac", "1", "-i", "-", "-f", "s16le", "-"]
    decoded = np.frombuffer(subprocess.run(command, input=codes, capture_output=True, check=True).stdout, np.int16)
    np.testing.assert_array_equal(from_mu_law(np.frombuffer(codes, np.uint8)) * 32768, decoded)


def test_a_line_is_not_a_sample_late():
    rng = np.random.default_rng(0)
    speech = np.convolve(rng.normal(0, 0.1, RATE_HZ), np.sinc(np.linspace(-4, 4, 65)), mode="same").astype(np.float32)
    heard = phone_line(speech)
    assert heard.shape == speech.shape
    lags = range(-240, 241)
    best = max(lags, key=lambda lag: float(np.dot(speech[2400:-2400], heard[2400 + lag : len(heard) - 2400 + lag])))
    assert best == 0


@pytest.mark.parametrize("count", [0, 1, 100, 1919])
def test_the_shortest_sounds_keep_their_length(count):
    assert phone_line(np.full(count, 0.1, np.float32)).shape == (count,)


@pytest.mark.parametrize("snr_db", [20.0, 10.0, 0.0])
def test_noise_lies_so_far_below_the_speech_and_pauses_do_not_count(snr_db):
    speech = np.concatenate([np.zeros(2 * RATE_HZ), tone(500, seconds=1.0), np.zeros(3 * RATE_HZ)]).astype(np.float32)
    noise = add_pink_noise(speech, snr_db, seed=1) - speech
    tone_power = 0.3**2 / 2
    assert speech_power(speech) == pytest.approx(tone_power, rel=0.02)
    assert 10 * np.log10(tone_power / np.mean(noise.astype(float) ** 2)) == pytest.approx(snr_db, abs=0.1)


def test_noise_has_equal_power_in_every_octave():
    noise = (add_pink_noise(tone(440, seconds=8), 0.0, seed=2) - tone(440, seconds=8)).astype(float)
    power, frequency = np.abs(np.fft.rfft(noise)) ** 2, np.fft.rfftfreq(len(noise), 1 / RATE_HZ)
    octaves = [power[(frequency >= low) & (frequency < 2 * low)].sum() for low in (100, 200, 400, 800, 1600, 3200)]
    assert 10 * np.log10(max(octaves) / min(octaves)) < 1.5


def test_a_twin_is_the_same_every_time_and_another_for_another_clip():
    channel, sound = Channel(name="noise 5 dB", snr_db=5.0), tone(300)
    assert np.array_equal(channel.carry(sound, "audio/a.wav"), channel.carry(sound, "audio/a.wav"))
    assert not np.array_equal(channel.carry(sound, "audio/a.wav"), channel.carry(sound, "audio/b.wav"))


def test_silence_gets_no_noise():
    assert not add_pink_noise(np.zeros(5000, np.float32), 10.0, seed=0).any()


def test_channels_by_the_words_of_the_flag():
    assert [channel.name for channel in channels_named(["phone", "20dB", "2.5 db", "20dB"])] == ["phone", "noise 20 dB", "noise 2.5 dB"]
    assert channels_named([]) == []
    with pytest.raises(ValueError, match="'radio' is no channel; give phone, or noise as 20dB"):
        channels_named(["phone", "radio"])
