"""eot-bench's adapter of the tiny model tells the rows from which a report on the same clip is computed."""

import asyncio
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from stt_ft.audio.files import read_audio
from stt_ft.core.timing import frame_heard_s
from stt_ft.dataset.manifest import Dataset
from stt_ft.evaluation.scores import ClipScore
from stt_ft.metrics.endpointing import EndpointRule
from stt_ft.metrics.eot_bench import Look, silences
from stt_ft.simulation.casting import HELDOUT_CAST
from stt_ft.simulation.takes import TakePlan, write_takes


@pytest.fixture
def adapter():
    spec = importlib.util.spec_from_file_location("eot_bench_kyutai", Path(__file__).parents[2] / "tools" / "eot_bench_kyutai.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.KyutaiStreamingAdapter(model="tiny")


@pytest.mark.slow
def test_adapter_rows_are_those_of_the_report(tmp_path, adapter):
    from stt_ft.evaluation.hearing import Evaluation

    data = Dataset(tmp_path / "data")
    plan = TakePlan(split="heldout", kind="ordinary", count=2, cast=HELDOUT_CAST)
    data.write_clips("heldout", list(write_takes(data, plan, seed=3, used_digits=set(), with_times=True)))
    evaluation = Evaluation.open("tiny", str(data.directory), silero=False, smart_turn="none", device="cpu")
    for frames in evaluation.listen("heldout", EndpointRule(), tmp_path / "frames.jsonl"):
        spans = [{"start": start_s, "end": end_s} for start_s, end_s in silences(frames.reference, frame_heard_s(len(frames.pause) - 1))]
        path = data.directory / frames.clip
        for audio in ({"bytes": path.read_bytes()}, {"array": read_audio(path), "sampling_rate": 24_000}):
            row = {"id": frames.clip, "language": "en", "audio": audio, "silence_spans": spans}
            told = asyncio.run(adapter.predict_turn(row, inference_interval=0.1))
            rows = [Look(**one) for one in told["prediction_rows"]]
            expected = ClipScore(frames=frames, rule=EndpointRule()).looks
            assert [(one.span_index, one.timestamp, one.label) for one in rows] == [(o.span_index, o.timestamp, o.label) for o in expected]
            # The report hears clips side by side: kernels round otherwise, by a unit of the fifth decimal.
            np.testing.assert_allclose([one.p_eot for one in rows], [one.p_eot for one in expected], atol=2.1e-5)


def test_languages_are_those_of_kyutais_model(adapter):
    assert [adapter.supports_language(one) for one in ("en", "fr-FR", "de")] == [True, True, False]
