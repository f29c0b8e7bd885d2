"""A caller who stays on the line: three minutes in one stream, nine times past the context of the tiny model."""

import numpy as np
import pytest

from stt_ft.audio.files import read_audio
from stt_ft.dataset.manifest import Dataset
from stt_ft.metrics.transcripts import scoring_form, word_errors
from stt_ft.model.transcriber import Transcriber
from stt_ft.simulation.casting import HELDOUT_CAST
from stt_ft.simulation.takes import TakePlan, write_takes

GAP_S = 1.5
MINUTES = 3


@pytest.mark.slow
def test_three_minutes_in_one_stream_are_heard_as_well_as_clip_by_clip(tmp_path):
    data, transcriber = Dataset(tmp_path), Transcriber.open("tiny", device="cpu")
    takes = list(
        write_takes(
            data, TakePlan(split="heldout", kind="ordinary", count=70, cast=HELDOUT_CAST), seed=3, used_digits=set(), with_times=True
        )
    )
    sounds, references, gap, seconds = [], [], np.zeros(round(GAP_S * 24_000), np.float32), 0.0
    for take in takes:
        if seconds > MINUTES * 60:
            break
        sounds.append(read_audio(data.audio_path(take)))
        references.append(scoring_form([word.text for word in data.read_sidecar(take).alignments]))
        seconds += len(sounds[-1]) / 24_000 + GAP_S
    assert seconds > MINUTES * 60
    alone = [scoring_form([word.text for word in one.words]) for one in transcriber.transcribe(sounds)]
    stream = transcriber.transcribe([np.concatenate([part for sound in sounds for part in (sound, gap)])])[0]
    assert len(stream.pause_probs) > 9 * 250
    num_words = sum(map(len, references))
    alone_errors = sum(word_errors(reference, heard).num_errors for reference, heard in zip(references, alone, strict=True)) / num_words
    everything = [word for reference in references for word in reference]
    stream_errors = word_errors(everything, scoring_form([word.text for word in stream.words])).num_errors / num_words
    print(f"word errors: {alone_errors:.1%} clip by clip, {stream_errors:.1%} in one stream of {seconds:.0f} s")
    # Four draws of voices (seeds 3 to 6): 5.7, 3.6, -1.3 and 2.8 points more in the stream than clip by clip; lost, it would be 100.
    assert stream_errors <= alone_errors + 0.08
    last_minute_s = seconds - 60
    assert sum(word.start_s > last_minute_s for word in stream.words) > 0.2 * len(stream.words)
