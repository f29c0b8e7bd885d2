"""Frame by frame against the whole: the same sound gives the same rows and words."""

import numpy as np
import pytest

from stt_ft.core.timing import SAMPLES_PER_FRAME
from stt_ft.model.checkpoint_dir import ModelDir
from stt_ft.model.transcriber import Transcriber


def live_rows(transcriber, sound):
    with transcriber.live() as listener:
        frames = [listener.hear(sound[start : start + SAMPLES_PER_FRAME]) for start in range(0, len(sound), SAMPLES_PER_FRAME)]
        return [*frames, *listener.finish()]


@pytest.fixture(scope="module")
def transcriber(random_base):
    return Transcriber.open(str(random_base.directory), device="cpu")


def test_live_rows_are_those_of_the_file(transcriber):
    sound = np.random.default_rng(0).normal(0, 0.2, 30 * SAMPLES_PER_FRAME).astype(np.float32)
    whole, frames = transcriber.transcribe([sound])[0], live_rows(transcriber, sound)
    np.testing.assert_allclose(np.stack([frame.pause_probs for frame in frames]), whole.pause_probs, atol=2e-4)
    assert [round(frame.heard_s / 0.08) for frame in frames] == list(range(1, len(whole.pause_probs) + 1))
    written = "".join(word.text for frame in frames for word in frame.words)
    assert "".join(word.text for word in whole.words).startswith(written)  # a word that no padding closes is never sent


def test_a_prefix_of_silence_is_heard_before_the_sound_and_not_counted(transcriber, random_base):
    config = {**random_base.config, "stt_config": {**random_base.config["stt_config"], "audio_silence_prefix_seconds": 0.4}}
    fields = {name: getattr(random_base, name) for name in ModelDir.__dataclass_fields__}
    model = ModelDir(**{**fields, "config": config})
    from stt_ft.model.codes import MimiCodec

    padded = Transcriber(model=model, codec=MimiCodec.load(model), lm=transcriber.lm)
    sound = np.random.default_rng(1).normal(0, 0.2, 12 * SAMPLES_PER_FRAME).astype(np.float32)
    whole, frames = padded.transcribe([sound])[0], live_rows(padded, sound)
    assert frames[0].heard_s == pytest.approx(0.08)
    np.testing.assert_allclose(np.stack([frame.pause_probs for frame in frames]), whole.pause_probs, atol=2e-4)


def test_words_of_live_speech_have_the_times_of_the_file(tiny_model):
    from stt_ft.audio.synthesis import Synthesizer

    tiny = Transcriber.open("tiny", device="cpu")
    text = "please check the order number four one five"
    sound = Synthesizer().speak(text, voice="en-us+m3", words_per_minute=150, pitch=50, pitch_range=50).samples
    sound = np.pad(sound, (0, -len(sound) % SAMPLES_PER_FRAME))
    whole = tiny.transcribe([sound])[0]
    live = [word for frame in live_rows(tiny, sound) for word in frame.words]
    assert [word.text for word in live] == [word.text for word in whole.words]
    assert live
    for ours, theirs in zip(live, whole.words, strict=True):
        assert (ours.start_s, ours.appeared_s) == pytest.approx((theirs.start_s, theirs.appeared_s))
        assert ours.end_s >= theirs.end_s - 1e-6  # live, nobody knows yet when the next word begins
