"""Listening through the real model room, on a model of random weights."""

import functools
import gc
import re
import weakref

import numpy as np
import pytest
import torch
from random_models import make_random_base

from stt_ft.core.errors import CheckFailed, ConfigError, DatasetError
from stt_ft.dataset.manifest import Clip, Dataset
from stt_ft.dataset.sidecar import Sidecar, Word
from stt_ft.evaluation.frames import read_frames
from stt_ft.evaluation.hearing import reference_words
from stt_ft.evaluation.model_frames import model_frames
from stt_ft.evaluation.report import read_report
from stt_ft.model.checkpoint_dir import open_model
from stt_ft.model.codes import codes_of
from stt_ft.model.streaming import stream_codes
from stt_ft.model.stt_lm import load_lm
from stt_ft.stages.evaluate import evaluate, gate


@pytest.fixture(scope="module")
def random_models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return [str(make_random_base(root / str(seed), seed=seed).directory) for seed in (0, 1)]


@pytest.fixture
def data(dataset, frames):
    """Three numbers and two sentences, annotated."""
    few = [frames[2 * index] for index in (0, 1, 2, 12, 13)]
    dataset.write_clips("heldout", [Clip(path=one.clip, duration_s=one.duration_s, extra={"speaker": one.speaker}) for one in few])
    for one in few:
        words = tuple(Word(text=word.text, start_s=word.start_s, end_s=word.end_s) for word in one.reference)
        dataset.write_sidecar(Clip(path=one.clip, duration_s=one.duration_s), Sidecar(alignments=words))
    return dataset


def test_frames_are_the_streams_of_the_model(data, random_models):
    model, clips = open_model(random_models[0]), data.clips("heldout")
    codes = codes_of(model, data, clips, batch_size=3, device=torch.device("cpu"))
    lm = load_lm(model, device="cpu", dtype=torch.float32)
    hear = functools.partial(stream_codes, lm, batch_size=2)
    frames = model_frames("tuned", model, hear, clips, reference_words(data, clips, "heldout"), codes)
    for one, clip, clip_codes in zip(frames, clips, codes, strict=True):
        stream = stream_codes(lm, [clip_codes])[0]
        assert (one.clip, one.speaker, one.kind) == (clip.path, clip.extra["speaker"], "number" if "number" in clip.path else "ordinary")
        assert np.allclose(one.pause, stream.pause_probs, atol=1e-4)
        assert one.text_tokens == tuple(stream.text_tokens)
        assert len(one.pause) > clip.duration_s * 12.5


@pytest.mark.parametrize(
    ("alignments", "reason"),
    [
        ((), "has no words; run `stt-ft annotate"),
        ((Word(text="1296803", start_s=0.1, end_s=0.9),), "'1296803' as one word"),
        ((Word(text="order", start_s=0.1, end_s=99.0),), "lies outside the clip"),
        ((Word(text="order number", start_s=0.1, end_s=0.9),), "holds 2 words"),
        ((Word(text="order", start_s=0.1, end_s=0.9, speaker="SPEAKER_01"),), "no words by SPEAKER_MAIN, but 1 by SPEAKER_01"),
    ],
)
def test_a_clip_that_cannot_be_judged_is_named(data, alignments, reason):
    clip = data.clips("heldout")[3]
    data.write_sidecar(clip, Sidecar(alignments=alignments))
    with pytest.raises(DatasetError, match=reason) as error:
        reference_words(data, data.clips("heldout"), "heldout")
    assert clip.path in str(error.value)


def test_words_of_another_speaker_are_no_reference(data):
    """They would be missed by every model, and put the end of the turn off."""
    clip = data.clips("heldout")[0]
    own = data.read_sidecar(clip).alignments
    last_s = own[-1].end_s
    theirs = tuple(Word(text=text, start_s=last_s, end_s=last_s + 0.01, speaker="SPEAKER_01") for text in ("how", "are"))
    data.write_sidecar(clip, Sidecar(alignments=(*own, *theirs)))
    assert reference_words(data, [clip], "heldout") == [own]


def test_evaluate_leaves_three_files_and_a_table(tmp_path, data, random_models, capsys):
    out = tmp_path / "out"
    evaluate(random_models[1], str(data.directory), out=str(out), baseline=random_models[0], silero=False, device="cpu")
    report = read_report(out)
    assert report.num_clips == {"numbers": 3, "hesitant": 0, "people": 0, "ordinary": 2, "all": 5}
    assert {one.model for one in read_frames(out / "frames.jsonl")} == {"base", "tuned"}
    assert report.provenance["options"]["baseline"] == random_models[0]
    assert set(report.provenance["inputs"]) == {"manifest", "base", "tuned"}
    assert (out / "report.html").stat().st_size > 50_000
    assert "False cut-offs" in capsys.readouterr().out
    with pytest.raises(CheckFailed, match="limits broken"):
        gate(str(out))


def test_a_dry_run_says_how_much_there_is_and_writes_nothing(tmp_path, data, random_models, capsys):
    tokens = data.directory / "tokens"
    before = sorted(tokens.rglob("*"))
    asked = {"out": tmp_path / "out", "baseline": random_models[0], "silero": False, "device": "cpu", "batch_size": 2}
    assert evaluate(random_models[1], data.directory, channels=["phone"], dry_run=True, **asked) is None
    base, tuned = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"base listens: 10 to do, [0-9.]+ a second by 1 worker: about .+", base)
    assert tuned.startswith("tuned listens: 10 to do")
    assert not (tmp_path / "out").exists()
    assert sorted(tokens.rglob("*")) == before


def test_evaluating_again_writes_the_same_bytes(tmp_path, data, random_models):
    for out in ("one", "two"):
        evaluate(random_models[0], str(data.directory), out=str(tmp_path / out), device="cpu")
    for name in ("frames.jsonl", "report.json", "report.html"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ({"threshold": 60.0}, "--threshold must lie between 0 and 1, got 60.0"),
        ({"head": 4}, "--head 4: .* has 4 pause heads"),
        ({"batch_size": 0}, "--batch_size must be positive"),
        ({"draws": 0}, "--draws must be positive, got 0"),
        ({"device": "tpu"}, "device 'tpu'"),
    ],
)
def test_flags_that_make_no_sense_leave_nothing_behind(tmp_path, data, random_models, flags, reason):
    with pytest.raises(ConfigError, match=reason):
        evaluate(random_models[0], str(data.directory), out=str(tmp_path / "out"), **{"device": "cpu", **flags})
    assert not (tmp_path / "out").exists()


def test_an_empty_split_is_named(tmp_path, random_models):
    empty = Dataset(tmp_path / "empty")
    empty.write_clips("heldout", [])
    with pytest.raises(DatasetError, match=r"heldout\.jsonl: no clips to evaluate"):
        evaluate(random_models[0], str(empty.directory), out=str(tmp_path / "out"))


def test_no_model_stays_in_memory_while_the_next_is_loaded(tmp_path, data, random_models, monkeypatch):
    """A base and a tuned 1b, on heldout and dev, would otherwise be 16 GB of float32 at once."""
    loaded, alive_at_load = [], []

    def load(*arguments, **how):
        alive_at_load.append(sum(weight() is not None for weight in loaded))
        lm = load_lm(*arguments, **how)
        loaded.append(weakref.ref(lm.text_linear.weight))
        return lm

    monkeypatch.setattr("stt_ft.evaluation.model_frames.load_lm", load)
    gc.disable()  # what is left to chance otherwise
    try:
        evaluate(random_models[1], str(data.directory), out=str(tmp_path / "out"), baseline=random_models[0], silero=False, device="cpu")
    finally:
        gc.enable()
    assert alive_at_load == [0] * len(alive_at_load)
    assert len(alive_at_load) >= 2
