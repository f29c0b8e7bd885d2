"""Detectors beside the model's heads: pipecat's way of asking Smart Turn, and rows of any other detector."""

import dataclasses
import importlib.util
import json
from types import SimpleNamespace

import numpy as np
import pytest
from real import people_dir

from stt_ft.audio.files import read_audio, resample
from stt_ft.audio.silero_vad import CHUNK_S
from stt_ft.audio.smart_turn import MODEL_RATE_HZ, SmartTurn, shipped_weights
from stt_ft.core.errors import CheckpointError, DatasetError
from stt_ft.core.timing import frame_heard_s
from stt_ft.dataset.manifest import Clip
from stt_ft.evaluation import detectors
from stt_ft.evaluation.build import build_report
from stt_ft.evaluation.detectors import pipecat_probs, read_turn_probs, sound_frames, write_eot_predictions
from stt_ft.evaluation.scores import Scores
from stt_ft.metrics.eot_bench import Look

SPEECH, SILENCE = 0.9, 0.05


def steps(*spans):
    """Return Silero's probabilities for (probability, seconds) after each other."""
    return np.concatenate([np.full(round(seconds / CHUNK_S), prob) for prob, seconds in spans])


def asked_about(speech_probs, answers):
    """Return what pipecat would know in each step, and the lengths in seconds of the sounds that it asked about."""
    lengths_s, left = [], iter(answers)

    def prob_over(sound):
        lengths_s.append(len(sound) / MODEL_RATE_HZ)
        return next(left)

    sound = np.zeros(round(len(speech_probs) * CHUNK_S * 24_000), np.float32)
    return pipecat_probs(speech_probs, sound, prob_over), lengths_s


def test_it_is_asked_once_in_each_silence_of_a_fifth_of_a_second():
    probs, lengths_s = asked_about(
        steps((SILENCE, 1.024), (SPEECH, 0.96), (SILENCE, 0.16), (SPEECH, 0.64), (SILENCE, 0.96), (SPEECH, 0.64), (SILENCE, 4.8)),
        [0.3, 0.7],
    )
    assert len(lengths_s) == 2
    first_silence_s, second_silence_s = 1.024 + 0.96 + 0.16 + 0.64, 1.024 + 0.96 + 0.16 + 0.64 + 0.96 + 0.64
    begins_s = 1.024 - 0.7  # 0.7 s before speech begins
    assert lengths_s == pytest.approx([first_silence_s + 0.224 - begins_s, second_silence_s + 0.224 - begins_s], abs=0.04)
    known_s = (np.arange(len(probs)) + 1) * CHUNK_S
    assert not probs[known_s < first_silence_s + 0.2].any()
    assert set(probs[(known_s > first_silence_s + 0.26) & (known_s < first_silence_s + 0.95)]) == {0.3}
    assert set(probs[(known_s > second_silence_s + 0.26) & (known_s < second_silence_s + 2.95)]) == {0.7}
    assert set(probs[known_s > second_silence_s + 3.05]) == {1.0}  # the timer


def test_nobody_speaking_is_not_asked_about():
    probs, lengths_s = asked_about(steps((SILENCE, 5.0)), [])
    assert not probs.any()
    assert lengths_s == []


@pytest.fixture
def weights():
    path = shipped_weights()
    if path is None:
        pytest.skip("pipecat-ai is not installed; make real")
    pytest.importorskip("onnxruntime")
    return path


def test_smart_turn_says_what_it_says_in_pipecat(weights):
    """The same weights on the features of pipecat's own code, on people's sentences, whole and cut in the middle."""
    import onnxruntime

    spec = importlib.util.spec_from_file_location("whisper_features", weights.parents[1] / "_whisper_features.py")
    features = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(features)
    model, session = SmartTurn.load(), onnxruntime.InferenceSession(str(weights), providers=["CPUExecutionProvider"])
    probs = []
    for path in sorted(people_dir("librivox").glob("*.wav"))[:3]:
        sound = resample(read_audio(path), 24_000, MODEL_RATE_HZ)
        for heard in (sound[: len(sound) // 2], sound):
            last = np.pad(heard[-128_000:], (max(0, 128_000 - len(heard)), 0))
            (theirs,) = session.run(None, {"input_features": features.compute_whisper_log_mel_features(last)[None]})
            assert model.prob_over(heard) == pytest.approx(float(theirs.reshape(-1)[0]), abs=1e-3)
            probs.append(model.prob_over(heard))
    assert max(probs[1::2]) > 0.9  # a sentence that ended
    assert min(probs) < 0.1


def test_a_file_that_is_not_smart_turn_is_refused(tmp_path):
    pytest.importorskip("onnxruntime")
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(CheckpointError, match=r"model\.onnx: not an ONNX model"):
        SmartTurn.load(tmp_path / "model.onnx")
    with pytest.raises(CheckpointError, match="no such file; --smart_turn takes"):
        SmartTurn.load(tmp_path / "other.onnx")


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_row_of_another_detector_holds_until_the_next(tmp_path, frames):
    heard = [one for one in frames if one.model == "tuned"]
    rows = [{"id": one.clip, "timestamp": time_s, "p_eot": p} for one in heard for time_s, p in ((2.0, 0.9), (0.5, 0.2))]
    (first, *_) = read_turn_probs(write_rows(tmp_path / "flux.jsonl", rows), heard)
    known_s = np.array([frame_heard_s(row) for row in range(len(first.pause))])
    assert (first.model, first.words, first.text_tokens) == ("flux", (), ())
    np.testing.assert_allclose(first.pause[:, 0], np.where(known_s >= 2.0 - 1e-9, 0.9, np.where(known_s >= 0.5 - 1e-9, 0.2, 0.0)))


def test_rows_of_eot_bench_say_nothing_of_what_lies_between_silences(tmp_path, frames):
    (one, *_) = [one for one in frames if one.model == "tuned"]
    rows = [
        {"id": one.clip, "span_index": span, "timestamp": t, "silence_dur": 0.0, "p_eot": 0.8} for span, t in ((0, 0.4), (0, 0.5), (1, 2.0))
    ]
    (found,) = read_turn_probs(write_rows(tmp_path / "rows.jsonl", rows), [one])
    known_s = np.array([frame_heard_s(row) for row in range(len(found.pause))])
    assert not found.pause[(known_s > 0.52) & (known_s < 1.99)].any()
    assert (found.pause[known_s > 2.0] == 0.8).all()


@pytest.mark.parametrize("row", ["[]", '{"id": "a", "timestamp": 1.0}', '{"id": "a", "timestamp": 1.0, "p_eot": 1.2}', "p_eot"])
def test_a_row_that_cannot_be_read_is_named_by_its_line(tmp_path, frames, row):
    (tmp_path / "rows.jsonl").write_text('{"id": "a", "timestamp": 0.5, "p_eot": 0.2}\n' + row)
    with pytest.raises(DatasetError, match=r"rows.jsonl, line 2: expected \{"):
        read_turn_probs(tmp_path / "rows.jsonl", frames)


def test_a_clip_without_rows_is_named(tmp_path, frames):
    with pytest.raises(DatasetError, match=f"no row of clip {frames[0].clip}"):
        read_turn_probs(write_rows(tmp_path / "rows.jsonl", [{"id": "a", "timestamp": 0.5, "p_eot": 0.2}]), frames)


def test_rows_for_eot_bench_are_those_of_the_report(tmp_path, frames):
    parquet = pytest.importorskip("pyarrow.parquet")
    scores = Scores.of([one for one in frames if one.model == "tuned"])
    paths = write_eot_predictions(tmp_path, scores, build_report(scores, model="tuned"), language="en")
    assert paths == [tmp_path / "en" / "tuned" / "predictions.parquet"]
    rows = parquet.read_table(paths[0]).to_pylist()
    assert list(rows[0]) == ["language", "id", "span_index", "timestamp", "silence_dur", "p_eot", "label"]
    assert {row.pop("language") for row in rows} == {"en"}
    assert [Look(**row) for row in rows] == [look for score in scores.scores for look in score.looks]


def test_silero_hears_clips_of_like_length_together_and_tells_of_them_in_order(frames, tmp_path, monkeypatch):
    lengths, batches = {"b": 30, "d": 10, "a": 25, "c": 12}, []
    heard = [dataclasses.replace(frames[0], clip=name, text_tokens=(), pause=np.zeros((length, 4))) for name, length in lengths.items()]

    class Vad:
        def speech_probs(self, sounds):
            batches.append([len(sound) // 1920 for sound in sounds])
            return [np.full(round(len(sound) / 24_000 / CHUNK_S), SILENCE) for sound in sounds]

    monkeypatch.setattr(detectors.SileroVad, "load", Vad)
    monkeypatch.setattr(detectors, "_CLIPS_AT_A_TIME", 2)
    monkeypatch.setattr(detectors, "read_audio", lambda source: np.zeros(1920 * 5, np.float32))
    data = SimpleNamespace(clips=lambda: [Clip(path=name, duration_s=0.4) for name in lengths], sound=lambda clip: clip.path)
    monkeypatch.setattr(detectors.SmartTurn, "load", lambda path: SimpleNamespace(prob_over=lambda sound: 0.5))
    told = sound_frames(data, heard, tmp_path / "weights.onnx")
    assert sorted(batches) == [[10, 12], [25, 30]]
    assert [(one.model, one.clip, len(one.pause)) for one in told] == [
        (model, name, length) for model in ("silero", "smart_turn") for name, length in lengths.items()
    ]
    assert len(sound_frames(data, heard, None)) == len(heard)
