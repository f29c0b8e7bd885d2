"""The baseline that needs no model: Silero VAD and a timer, heard on the same clips, in the same lines of frames.jsonl."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stt_ft.audio.files import read_audio
from stt_ft.audio.silero_vad import CHUNK_S, SileroVad
from stt_ft.core.manifest import Dataset
from stt_ft.core.progress import track
from stt_ft.core.timing import frame_start_s, num_samples
from stt_ft.metrics.silence import silent_for_s, turn_rows
from stt_ft.report.frames import ClipFrames

SILERO = "silero"
"""What frames.jsonl calls it."""

_CLIPS_AT_A_TIME = 32


def silero_frames(data: Dataset, heard: Sequence[ClipFrames]) -> list[ClipFrames]:
    """Return what Silero VAD makes of the clips that a model heard, over as many rows, the silence after the clip included.

    Raises:
        MissingExtra: it is not installed.
        AudioError: a clip's sound is missing or unreadable.
    """
    vad, frames = SileroVad.load(), []
    batches = [heard[first : first + _CLIPS_AT_A_TIME] for first in range(0, len(heard), _CLIPS_AT_A_TIME)]
    for batch in track(batches, "Silero VAD listens"):
        sounds = []
        for one in batch:
            sound = read_audio(data.directory / one.clip)
            sounds.append(np.pad(sound, (0, max(num_samples(frame_start_s(len(one.pause))) - len(sound), 0))))
        for one, probs in zip(batch, vad.speech_probs(sounds), strict=True):
            rows = turn_rows(silent_for_s(probs, CHUNK_S), CHUNK_S, len(one.pause))
            frames.append(
                ClipFrames(
                    model=SILERO,
                    clip=one.clip,
                    kind=one.kind,
                    text_tokens=(),
                    words=(),
                    pause=rows,
                    reference=one.reference,
                    duration_s=one.duration_s,
                    speaker=one.speaker,
                    manner=one.manner,
                    voices=one.voices,
                )
            )
    return frames
