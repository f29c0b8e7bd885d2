"""The detector against its own package's loop, on speech."""

import numpy as np
import pytest
import torch

from stt_ft.audio import silero_vad
from stt_ft.audio.files import resample
from stt_ft.audio.silero_vad import CHUNK_S, CHUNK_SAMPLES, SileroVad
from stt_ft.audio.synthesis import Synthesizer
from stt_ft.core.errors import MissingExtra
from stt_ft.evaluation.detectors import TIMERS_S
from stt_ft.metrics.endpointing import silent_for_s, turn_rows


@pytest.fixture(scope="module")
def clips():
    synthesizer = Synthesizer()
    texts = ("please send it to the office", "my number is one two nine")
    spoken = [synthesizer.speak(text, voice="en-us+m3", words_per_minute=150, pitch=50, pitch_range=50).samples for text in texts]
    pause = np.zeros(24_000 * 3, np.float32)
    return [np.concatenate([spoken[0], pause, spoken[1], pause]), np.concatenate([spoken[1], pause])]


@pytest.fixture
def vad():
    pytest.importorskip("silero_vad")
    return SileroVad.load()


def test_clips_side_by_side_are_what_each_is_alone(vad, clips):
    together = vad.speech_probs(clips)
    for clip, probs in zip(clips, together, strict=True):
        np.testing.assert_allclose(vad.speech_probs([clip])[0], probs, atol=1e-3)
        assert len(probs) == -(-len(resample(clip, 24_000, 16_000)) // CHUNK_SAMPLES)
        assert probs.max() > 0.9
    assert vad.speech_probs([]) == []


@pytest.mark.parametrize("rule_s", TIMERS_S)
def test_turns_end_where_the_packages_own_iterator_ends_them(vad, clips, rule_s):
    threads = torch.get_num_threads()
    from silero_vad import VADIterator, load_silero_vad

    torch.set_num_threads(threads)
    for clip in clips:
        iterator = VADIterator(load_silero_vad(), min_silence_duration_ms=round(rule_s * 1000))
        sound = torch.from_numpy(resample(clip, 24_000, 16_000))
        ends = [
            index
            for index in range(len(sound) // CHUNK_SAMPLES)
            if "end" in (iterator(sound[index * CHUNK_SAMPLES : (index + 1) * CHUNK_SAMPLES]) or {})
        ]
        silent_s = silent_for_s(vad.speech_probs([clip])[0], CHUNK_S)
        fulfilled = silent_s >= rule_s - 1e-6
        ours = [index for index in range(len(fulfilled)) if fulfilled[index] and (index == 0 or not fulfilled[index - 1])]
        assert ours == ends
        assert ends
        rows = turn_rows(silent_s, CHUNK_S, round(len(clip) / 1920), TIMERS_S)[:, TIMERS_S.index(rule_s)]
        first_s = (int(rows.argmax()) + 1) * 0.08
        known_s = (ends[0] + 1) * CHUNK_S
        assert known_s <= first_s + 1e-9 < known_s + 0.08 + 1e-9


def test_loading_it_leaves_torchs_threads_alone(vad):
    assert torch.get_num_threads() == 1  # as tests/conftest.py sets it; the package itself sets it at import


def test_without_the_package_the_way_out_is_named(monkeypatch):
    monkeypatch.setattr(silero_vad.importlib.util, "find_spec", lambda name: None)
    assert not silero_vad.is_installed()
    with pytest.raises(MissingExtra, match=r"needs silero-vad: pip install 'stt-ft\[vad\]'"):
        SileroVad.load()
