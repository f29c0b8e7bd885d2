"""The voices of simulated speakers are the same in every process, so that equal runs have equal sound."""

from __future__ import annotations

import subprocess
import sys

from stt_ft.simulation.casting import DEV_CAST, HELDOUT_CAST, NEVER_TWICE_THE_SAME, SYNTHETIC_CAST, TUNING_CAST

SPEAK = """
import hashlib
from stt_ft.audio.synthesis import Synthesizer
from stt_ft.simulation.casting import DEV_CAST, HELDOUT_CAST, TUNING_CAST

synthesizer = Synthesizer()
for cast in (TUNING_CAST, DEV_CAST, HELDOUT_CAST):
    for voice in cast.voices:
        utterance = synthesizer.speak("four one five", voice=voice)
        print(voice, hashlib.sha256(utterance.samples.tobytes()).hexdigest())
"""


def test_every_voice_sounds_the_same_in_another_process():
    spoken = [subprocess.run([sys.executable, "-c", SPEAK], capture_output=True, text=True, check=True).stdout for _ in range(2)]
    assert spoken[0] == spoken[1]
    assert len(spoken[0].splitlines()) == sum(len(cast.voices) for cast in (TUNING_CAST, DEV_CAST, HELDOUT_CAST))


def test_no_cast_that_is_learned_from_or_measured_by_has_a_voice_that_never_sounds_twice_the_same():
    for cast in (TUNING_CAST, DEV_CAST, HELDOUT_CAST, SYNTHETIC_CAST):
        assert not NEVER_TWICE_THE_SAME & set(cast.variants)
