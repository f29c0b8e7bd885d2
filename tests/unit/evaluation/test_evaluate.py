"""`evaluate` with all it can hear: channels, silence alone, settings chosen on dev, the training, clips that cannot be judged."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from random_models import make_random_base, write_dataset

from stt_ft.audio import silero_vad
from stt_ft.audio.files import read_audio
from stt_ft.core.errors import AudioError, CheckpointError, ConfigError, DatasetError
from stt_ft.dataset.manifest import Clip, Dataset
from stt_ft.dataset.sidecar import Sidecar, Word
from stt_ft.evaluation.agents import AGENTS, agent_systems
from stt_ft.evaluation.detectors import TIMERS_S
from stt_ft.evaluation.figures import FIGURES
from stt_ft.evaluation.frames import read_frames
from stt_ft.evaluation.gate import check_report, load_gate
from stt_ft.evaluation.hearing import endpoint_rule
from stt_ft.evaluation.report import read_report
from stt_ft.evaluation.systems import CUT_OFF_BUDGET, tuned_systems
from stt_ft.metrics.endpointing import EndpointRule, judge_turn
from stt_ft.metrics.operating_points import SWEEP_HOLDS, SWEEP_THRESHOLDS, best_point, sweep
from stt_ft.stages.evaluate import evaluate
from stt_ft.stages.finetune import encode, merge, train
from stt_ft.stages.transcribe import transcribe

needs_silero = pytest.mark.skipif(not silero_vad.is_installed(), reason="needs silero-vad")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return [str(make_random_base(root / str(seed), seed=seed).directory) for seed in (0, 1)]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("data") / "orders", {"dev": 5, "heldout": 6})


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    directory = tmp_path_factory.mktemp("run")
    rows = [{"step": step, "text_loss": 10 / step, "pause_loss": None if step == 3 else 5 / step} for step in range(1, 1001)]
    (directory / "metrics.train.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows) + '{"step": 1001, "text_'
    )  # killed while writing
    (directory / "metrics.eval.jsonl").write_text('{"step": 500, "text_loss": 0.4, "pause_loss": 0.2}\n')
    return directory


@pytest.fixture(scope="module")
def out(tmp_path_factory, models, data, run_dir):
    directory = tmp_path_factory.mktemp("out")
    flags = {"channels": ["phone", "10dB"], "all_classes": True, "run_dir": str(run_dir), "batch_size": 8, "device": "cpu"}
    evaluate(models[1], str(data.directory), out=str(directory), baseline=models[0], **flags)
    return directory


def test_a_synthetic_clip_is_no_measure_and_is_refused_by_name(models, data, tmp_path):
    heldout = [
        Clip(path=clip.path, duration_s=clip.duration_s, extra={"synthetic": index == 2})
        for index, clip in enumerate(data.clips("heldout"))
    ]
    mixed = Dataset(tmp_path)
    mixed.write_clips("heldout", heldout)
    with pytest.raises(DatasetError, match=r"heldout\.jsonl: clip audio/heldout_2\.wav is synthetic, and only train may hold such clips"):
        evaluate(models[0], str(tmp_path), out=str(tmp_path / "out"), device="cpu")
    assert not (tmp_path / "out").exists()


def test_channels_stand_beside_the_recordings_and_leave_the_figures_alone(out, data):
    report, frames = read_report(out), read_frames(out / "frames.jsonl")
    channels = [one.channel for one in frames if one.model == "tuned"]
    assert {channel: channels.count(channel) for channel in channels} == {None: 6, "phone": 6, "noise 10 dB": 6}
    assert report.num_clips["all"] == 6
    parts = {group.part: group for group in report.groups if group.by == "channel"}
    assert list(parts) == ["as recorded", "phone", "noise 10 dB"]
    assert parts["as recorded"].figures["tuned"]["false_cut_offs"] == report.figures["tuned"]["numbers"]["false_cut_offs"]
    phone = [one for one in frames if one.model == "tuned" and one.channel == "phone"]
    cut_off = np.mean([judge_turn(one.turn, EndpointRule()).is_cut_off for one in phone])
    assert parts["phone"].figures["tuned"]["false_cut_offs"].value == pytest.approx(cut_off)


def test_a_setting_is_chosen_on_dev_and_measured_on_the_clips(out):
    report = read_report(out)
    for model in ("base", "tuned"):
        system = report.systems[f"{model}_set_on_dev"]
        dev = [one.turn for one in read_frames(out / "frames.dev.jsonl") if one.model == model]
        assert system.chosen_on.num_clips == len(dev) == 5
        slow = []
        for hold in SWEEP_HOLDS:
            for threshold in SWEEP_THRESHOLDS:
                verdicts = [judge_turn(turn, EndpointRule(threshold=threshold, hold_frames=hold)) for turn in dev]
                slow.append((np.mean([v.is_cut_off for v in verdicts]), sorted(v.latency_s for v in verdicts)[2]))
        ending = [(rate, latency_s) for rate, latency_s in slow if math.isfinite(latency_s)]
        within = [latency_s for rate, latency_s in ending if rate <= CUT_OFF_BUDGET]
        fewest = min(rate for rate, _ in ending)
        expected_s = min(within) if within else min(latency_s for rate, latency_s in ending if rate == fewest)
        assert system.chosen_on.latency_p50_s == pytest.approx(expected_s)
        rule = system.rule
        heldout = [one.turn for one in read_frames(out / "frames.jsonl") if one.model == model and one.channel is None]
        measured = np.mean([judge_turn(turn, rule).is_cut_off for turn in heldout])
        assert report.figures[f"{model}_set_on_dev"]["all"]["false_cut_offs"].value == pytest.approx(measured)


@needs_silero
def test_silence_alone_is_judged_on_the_same_clips_from_the_same_file(out, data):
    report, frames = read_report(out), read_frames(out / "frames.jsonl")
    lines = [one for one in frames if one.model == "silero"]
    rows = {one.clip: len(one.pause) for one in frames if one.model == "tuned" and one.channel is None}
    assert {one.clip: len(one.pause) for one in lines} == rows
    for head, name in enumerate(f"silero_{timer_s:g}s" for timer_s in TIMERS_S):
        rows = {one.clip: (np.arange(len(one.pause)) + 1) * 0.08 for one in lines}
        cut_offs = [
            bool((one.pause[(rows[one.clip] >= one.reference[0].start_s) & (rows[one.clip] < one.speech_end_s - 0.1), head] > 0).any())
            for one in lines
        ]
        assert report.figures[name]["all"]["false_cut_offs"].value == pytest.approx(np.mean(cut_offs))
        assert "word_error_rate" not in report.figures[name]["all"]
    assert report.provenance["versions"]["silero-vad"]


def test_all_classes_are_kept_and_add_up(out):
    models = read_report(out).models  # beside them: Silero, and Smart Turn where its weights are
    for one in read_frames(out / "frames.jsonl"):
        if one.model in models:
            assert one.classes.shape == (len(one.pause), 4, 5)
            np.testing.assert_allclose(one.classes.sum(axis=-1) + one.pause, 1, atol=1e-3)


def test_hypotheses_of_the_labels_are_told_for_every_model_clock_and_head(out):
    for found in read_report(out).label_hypotheses.values():
        assert {(fit.clock, fit.head) for fit in found.fits} == {(c, h) for c in ("sound", "text", "written") for h in range(4)}
        assert (found.clock, found.classes) == (None, None)  # heads of random weights


def test_who_asks_for_all_classes_is_told_on_the_terminal(tmp_path, models, data, capsys):
    evaluate(models[0], str(data.directory), out=str(tmp_path), all_classes=True, set_on=None, silero=False, device="cpu")
    assert "What the heads of model seem to have been taught: none of these labels." in capsys.readouterr().out.replace("\n", " ")


def test_every_head_has_its_line_and_the_rules_head_has_the_figures_of_the_rule(out):
    report = read_report(out)
    lines = report.heads["tuned"]["all"]
    assert [(line.head, line.horizon_s) for line in lines] == [(0, 0.5), (1, 1.0), (2, 2.0), (3, 3.0)]
    assert lines[2].at_rule.cut_off_rate == pytest.approx(report.figures["tuned"]["all"]["false_cut_offs"].value)
    assert lines[2].area_s == report.curves["tuned"]["all"].area_s


def test_the_course_of_the_training_is_thinned_and_drawn(out, run_dir):
    course = read_report(out).training
    assert len(course.train) <= 240
    assert course.train[0]["text_loss"] == pytest.approx(np.mean([10 / step for step in range(1, 6)]))
    assert course.train[0]["pause_loss"] == pytest.approx(np.mean([5 / step for step in (1, 2, 4, 5)]))
    html = (out / "report.html").read_text()
    assert "The course of the training" in html
    assert html.count("over optimizer steps") == 2


@pytest.mark.parametrize(("set_on", "line"), [("train", "has no clips"), ("heldout", "is what is measured")])
def test_no_thresholds_are_chosen_where_there_is_nothing_to_choose_on(tmp_path, models, data, capsys, set_on, line):
    evaluate(models[0], str(data.directory), out=str(tmp_path), set_on=set_on, silero=False, device="cpu")
    assert line in capsys.readouterr().err
    systems = read_report(tmp_path).systems
    assert not any(system.chosen_on or system.settings for system in systems.values())
    assert list(systems) == ["model_by_two_heads", "model_by_text_tail"]


def test_without_silero_a_line_names_the_way_out(tmp_path, models, data, capsys, monkeypatch):
    monkeypatch.setattr(silero_vad, "is_installed", lambda: False)
    evaluate(models[0], str(data.directory), out=str(tmp_path), set_on=None, device="cpu")
    assert "pip install 'stt-ft[vad]'" in capsys.readouterr().err


def test_a_model_that_ends_no_turns_has_no_best_setting(out):
    frames = read_frames(out / "frames.dev.jsonl")
    for one in frames:
        one.pause[:] = 0.0
    assert tuned_systems(frames, EndpointRule(), "dev") == {}


def write_clip(data, name, samples, words=("one", "two")):
    clip = Clip(path=f"audio/{name}.wav", duration_s=len(samples) / 24_000)
    data.audio_path(clip).parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(str(data.audio_path(clip)), samples, 24_000, subtype="FLOAT")
    spoken = tuple(Word(text=text, start_s=0.01 * at, end_s=0.01 * at + 0.005) for at, text in enumerate(words))
    data.write_sidecar(clip, Sidecar(alignments=spoken))
    data.write_clips("heldout", [clip])


@pytest.mark.parametrize(
    ("name", "samples", "words", "error", "reason"),
    [
        ("empty", np.zeros(0, np.float32), ("one",), AudioError, r"audio/empty\.wav: holds no sound"),
        ("nan", np.array([0.0, np.nan] * 4000), ("one",), AudioError, r"audio/nan\.wav: holds samples that are not finite"),
        ("silent", np.zeros(24_000, np.float32), (), DatasetError, r"clip audio/silent\.wav: it has no words"),
    ],
)
def test_a_clip_that_cannot_be_heard_is_named(tmp_path, models, name, samples, words, error, reason):
    data = Dataset(tmp_path / "data")
    write_clip(data, name, samples, words)
    with pytest.raises(error, match=reason):
        evaluate(models[0], str(data.directory), out=str(tmp_path / "out"), device="cpu")
    assert not (tmp_path / "out").exists()


def test_a_clip_shorter_than_a_frame_is_heard(tmp_path, models):
    data = Dataset(tmp_path / "data")
    write_clip(data, "short", np.full(700, 0.1, np.float32))
    evaluate(models[0], str(data.directory), out=str(tmp_path / "out"), channels=["phone"], device="cpu")
    (line,) = (one for one in read_frames(tmp_path / "out" / "frames.jsonl") if (one.model, one.channel) == ("model", None))
    assert len(line.pause) == 1 + math.ceil(3.0 / 0.08)
    assert len(read_audio(data.directory / line.clip)) == 700


@pytest.fixture(scope="module")
def headless(tmp_path_factory):
    root = tmp_path_factory.mktemp("headless")
    return [str(make_random_base(root / str(seed), seed=seed, extra_heads=False).directory) for seed in (0, 1)]


def test_models_without_heads_are_measured_by_what_they_write(tmp_path, headless, data, capsys):
    report = evaluate(headless[1], str(data.directory), out=str(tmp_path), baseline=headless[0], channels=["phone"], device="cpu")
    assert f"tuned, {headless[1]}: has no pause heads (training with lora.heads: new gives it some), so words" in capsys.readouterr().err
    of_turns = {name for name, figure in FIGURES.items() if figure.needs_heads}
    assert of_turns == {name for name in FIGURES if name.startswith(("latency", "missed", "false", "cut_offs", "brier"))}
    for figures in (*report.figures["base"].values(), *report.figures["tuned"].values(), *report.differences.values()):
        assert "word_error_rate" in figures
        assert not of_turns & set(figures)
    assert "digit_strings_exact" in report.figures["tuned"]["numbers"]
    assert (report.systems, report.drift_nats, set(report.figures)) == ({}, {}, {"base", "tuned"})
    assert not any(report.has_heads(model) for model in report.models)
    assert {frozenset(figures) & of_turns for group in report.groups for figures in group.figures.values()} == {frozenset()}
    page = (tmp_path / "report.html").read_text()
    for heading in ("Latency against cut-offs", "Ways to end the turn", "Calibration of the pause head", "Every head"):
        assert heading not in page
    results = {result.name: result for result in check_report(read_report(tmp_path), load_gate(), strict=True)}
    told = results["numbers.false_cut_offs max_ratio"]
    assert (told.outcome, told.line) == ("skipped", "numbers.false_cut_offs max_ratio: no pause heads in base and tuned")
    assert results["numbers.digit_strings_exact min"].outcome == "failed"  # of random weights


def test_a_model_that_has_lost_its_heads_does_not_pass_the_gate(tmp_path, models, headless, data):
    report = evaluate(headless[1], str(data.directory), out=str(tmp_path), baseline=models[0], silero=False, device="cpu")
    assert report.figure("base", "numbers", "false_cut_offs") is not None
    assert report.figure("tuned", "numbers", "false_cut_offs") is None
    assert report.difference("numbers", "false_cut_offs") is None
    results = {result.name: result for result in check_report(report, load_gate())}
    told = results["numbers.false_cut_offs max"]
    assert (told.outcome, told.line) == ("failed", "numbers.false_cut_offs max: no pause heads in tuned")


@pytest.mark.slow
def test_the_recipe_of_the_model_without_heads_goes_from_training_to_a_report(tmp_path, data):
    """configs/stt_2_6b_digits.yaml on random weights of that lag: encode, train, merge, evaluate, transcribe."""
    base = make_random_base(tmp_path / "base", extra_heads=False, text_lag_s=2.5)
    dataset = write_dataset(tmp_path / "orders", {"train": 4, "dev": 2, "heldout": 3})
    encode(str(dataset.directory), base=str(base.directory), device="cpu")
    overrides = {
        "dataset": str(dataset.directory), "run_dir": str(tmp_path / "run"), "base": str(base.directory), "device": "cpu",
        "precision": "float32", "threads": 1, "lora.rank": 2, "schedule.max_steps": 2, "validation.every_steps": 2,
        "augment.speeds": [1.0], "batch.max_clip_s": 12.0, "replay.kinds": [], "replay.text_weight": 0.0,
    }  # fmt: skip
    train(str(Path(__file__).parents[3] / "configs" / "stt_2_6b_digits.yaml"), **overrides)
    merge(str(tmp_path / "run"), out=str(tmp_path / "model"))
    options = {"run_dir": str(tmp_path / "run"), "device": "cpu"}
    report = evaluate(str(tmp_path / "model"), str(dataset.directory), out=str(tmp_path / "out"), baseline=str(base.directory), **options)
    assert report.difference("numbers", "word_error_rate") is not None
    assert report.figure("tuned", "numbers", "false_cut_offs") is not None
    sound = str(dataset.audio_path(dataset.clips("heldout")[0]))
    transcribe(str(tmp_path / "model"), sound, device="cpu", pauses=True)
    with pytest.raises(CheckpointError, match=r"no pause heads .* `train` with lora\.heads: new gives it some"):
        transcribe(str(base.directory), sound, device="cpu", pauses=True)


def test_a_channel_or_run_that_is_not_there_is_refused_before_anything_is_heard(tmp_path, models, data):
    with pytest.raises(ConfigError, match="--channels: 'radio' is no channel"):
        evaluate(models[0], str(data.directory), out=str(tmp_path / "out"), channels=["radio"], device="cpu")
    with pytest.raises(CheckpointError, match=r"metrics\.train\.jsonl: no such file; --run_dir"):
        evaluate(models[0], str(data.directory), out=str(tmp_path / "out"), run_dir=str(tmp_path), device="cpu")
    assert not (tmp_path / "out").exists()


def test_a_rule_has_a_name_and_flags_put_others_in_its_place(tmp_path, models, data):
    evaluate(models[0], str(data.directory), out=str(tmp_path), rule="unmute", threshold=0.1, set_on=None, silero=False, device="cpu")
    rule = EndpointRule(threshold=0.1, half_life_s=0.01, after_text=True)
    report = read_report(tmp_path)
    assert report.rule == rule
    turns = [one.turn for one in read_frames(tmp_path / "frames.jsonl")]
    assert report.figures["model"]["all"]["missed_ends"].value == np.mean([judge_turn(turn, rule).is_missed for turn in turns])
    assert endpoint_rule("kyutai", threshold=None, head=None) == EndpointRule()
    with pytest.raises(ConfigError, match=r"--rule must be one of kyutai, unmute, two_heads, text_tail, or a file .*, got 'moshi'"):
        endpoint_rule("moshi")
    with pytest.raises(ConfigError, match="--threshold must lie between 0 and 1, got 6"):
        endpoint_rule("kyutai", threshold=6.0)


def test_a_rule_comes_from_a_file_too_and_its_mistakes_name_it(tmp_path):
    path = tmp_path / "ours.yaml"
    path.write_text("and_heads: [0]\nhold_frames: 6\nsince_last_word: true\n")
    assert endpoint_rule(str(path), threshold=0.7) == EndpointRule(and_heads=(0,), threshold=0.7, hold_frames=6, since_last_word=True)
    path.write_text("heads: [2]\n")
    with pytest.raises(ConfigError, match=r"ours\.yaml: heads: no such key"):
        endpoint_rule(str(path))
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        endpoint_rule(str(tmp_path / "none.yaml"))


def test_agents_get_the_best_threshold_at_the_hold_they_have(out):
    dev = read_frames(out / "frames.dev.jsonl")
    for name, system in agent_systems(dev, "tuned", "dev").items():
        agent = AGENTS[name.removesuffix("_set_on_dev")]
        points = sweep([one.turn for one in dev if one.model == "tuned"], agent.rule, holds=agent.holds)
        best = best_point(points, 0.05)
        assert (system.rule.threshold, system.rule.hold_frames) == (best.threshold, agent.holds[0])
        assert f"{best.threshold:g}" in system.settings
    for one in dev:
        one.pause[:] = 0.0
    assert agent_systems(dev, "tuned", "dev") == {}


def test_manner_and_voices_come_from_the_manifest(tmp_path, models):
    data = write_dataset(tmp_path / "data", {"heldout": 3})
    clips = data.clips("heldout")
    told = ({"manner": "hesitant"}, {"voices": "people"}, {"manner": "natural"})
    data.write_clips(
        "heldout", [replace(clip, extra={**clip.extra, "kind": "number", **one}) for clip, one in zip(clips, told, strict=True)]
    )
    evaluate(models[0], str(data.directory), out=str(tmp_path / "out"), device="cpu")
    assert read_report(tmp_path / "out").num_clips == {"numbers": 1, "hesitant": 1, "people": 1, "ordinary": 0, "all": 3}
    lines = {one.clip: (one.manner, one.voices) for one in read_frames(tmp_path / "out" / "frames.jsonl") if one.model == "model"}
    assert list(lines.values()) == [("hesitant", None), (None, "people"), ("natural", None)]
    data.write_clips("heldout", [replace(clips[0], extra={"manner": "slow"})])
    with pytest.raises(DatasetError, match=f"clip {clips[0].path}: manner must be natural or hesitant, got 'slow'"):
        evaluate(models[0], str(data.directory), out=str(tmp_path / "out"), device="cpu")
