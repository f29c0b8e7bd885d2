"""The proof: `stt-ft evaluate` runs a model on held-out clips as the server would and reports its figures beside a baseline's; `stt-ft
gate` holds a report to limits, exit 1 when one is broken.
"""

from __future__ import annotations

from pathlib import Path

from stt_ft.core.atomic import remove_leftovers, write_text
from stt_ft.core.engine import LOCAL, Engine, spread
from stt_ft.core.errors import CheckFailed, CheckpointError, ConfigError
from stt_ft.core.progress import say
from stt_ft.evaluation.report import (
    CALL_FRAMES_NAME,
    FRAMES_NAME,
    PAGE_NAME,
    MeasuredSplit,
    Report,
    TrainingCourse,
    read_report,
    write_report,
)

MIN_CALL_S, MAX_CALL_S = 60, 3600
"""Seconds of a call of `--calls`: figures are told by minute, and the sound of a call lies in memory."""


@spread
def evaluate(
    model_dir: str | Path,
    dataset: str | Path,
    *,
    out: str | Path,
    baseline: str | Path | None = None,
    split: str = "heldout",
    serving: str = "kyutai",
    draws: int = 3,
    rule: str | None = None,
    threshold: float | None = None,
    head: int | None = None,
    hold_frames: int | None = None,
    ignore_frames: int | None = None,
    set_on: str | None = "dev",
    silero: bool = True,
    smart_turn: str = "auto",
    turn_probs: list[str] | None = None,
    channels: list[str] | None = None,
    all_classes: bool = False,
    calls: float | None = None,
    eot_bench: str | Path | None = None,
    run_dir: str | Path | None = None,
    batch_size: int = 32,
    device: str = "auto",
    server: str | None = None,
    streams: int = 1,
    real_time: bool = False,
    dry_run: bool = False,
    engine: Engine = LOCAL,
) -> Report | None:
    """Run a model on a split of a dataset, frame by frame, and write report.json, report.html and frames.jsonl.

    Of a model without pause heads (kyutai/stt-2.6b-en-candle), words, digits and delays are measured, and no ends of turns; training with
    lora.heads: new gives it some.

    Args:
        model_dir: the model to judge: a model directory, a hub repo id, or tiny.
        dataset: dataset directory, annotated and converted.
        out: directory for the report.
        baseline: a model to compare with, named as model_dir is.
        split: train, dev or heldout.
        serving: as which server hears and writes, and which agent answers: kyutai (all codebooks, the likeliest token, no agent), unmute
            (20 of 32 codebooks, temperature 0.25, and Unmute with its flush), or moshi-server's file, perhaps with a table [client].
        draws: how often each recording is heard where the serving draws its tokens (unmute): the report tells how far figures lie apart.
        rule: when an agent ends the turn, in the place of the serving's: kyutai (head 2 above 0.6), unmute, as that voice agent does it
            (only once a word is written), two_heads (heads 2 and 0 since the last word), text_tail (the same, and the end of the text), or
            NAME.yaml (docs/evaluate.md).
        threshold: pause probability above which it ends the turn, in the place of the rule's (0.6).
        head: pause head of the rule (0 to 3: within 0.5, 1, 2, 3 seconds), in the place of its own (2).
        hold_frames: frames of 80 ms for which the head must stay above, in the place of the rule's (1).
        ignore_frames: first frames of a clip that do not count, in the place of the rule's (12).
        set_on: split on which each model's best threshold and hold are chosen, for one more line each; none leaves them out.
        silero: compare with agents that wait for silence, as Silero VAD detects it (pip install 'stt-ft[vad]').
        smart_turn: compare with Smart Turn: auto where it is installed (pip install 'stt-ft[smart_turn]'), none, or its ONNX file.
        turn_probs: compare with other detectors: files of {"id": CLIP, "timestamp": SECONDS, "p_eot": PROBABILITY} a line, as eot-bench's.
        channels: also run on every clip through a telephone line (phone) or with noise, by its level below the speech (20dB).
        all_classes: keep all classes of the heads in frames.jsonl, and report whether they count words.
        calls: also glue the clips into calls of so many seconds (600), each heard as one stream, and tell figures by minute of the call.
        eot_bench: also write livekit's eot-bench's rows under this directory (pip install 'stt-ft[eot_bench]').
        run_dir: the run that the model came from; its losses are drawn in the report.
        batch_size: clips in one batch.
        device: cpu, cuda, cuda:1 …; auto takes a GPU where there is one.
        server: judge a running moshi-server (ws://HOST:PORT) that serves this model, beside our own engine (pip install 'stt-ft[server]').
        streams: clips that the server hears at once.
        real_time: send the server 80 ms of sound every 80 ms; else each frame as soon as the one before is told of.
        dry_run: let each model hear a sample, write nothing, and say how much there is to hear and how long it will take.
    """
    from stt_ft.core.serving import Serving
    from stt_ft.evaluation.build import build_calls, build_report
    from stt_ft.evaluation.detectors import require_parquet, write_eot_predictions
    from stt_ft.evaluation.hearing import Evaluation, endpoint_rule
    from stt_ft.evaluation.scores import Scores
    from stt_ft.evaluation.served import served_of
    from stt_ft.evaluation.verdict import print_report
    from stt_ft.pages.report_page import write_report_page

    model_dir, dataset, baseline = str(model_dir), str(dataset), None if baseline is None else str(baseline)  # report.json quotes them
    directory = Path(out)
    agent = endpoint_rule(
        rule or Serving.named(serving).rule, head=head, threshold=threshold, hold_frames=hold_frames, ignore_frames=ignore_frames
    )
    how = {"baseline": baseline, "channels": channels or [], "all_classes": all_classes, "batch_size": batch_size, "device": device}
    how |= {"silero": silero, "smart_turn": smart_turn, "turn_probs": turn_probs or [], "serving": serving, "draws": draws}
    how |= {"server": server, "streams": streams, "real_time": real_time}
    if calls is not None and not MIN_CALL_S <= calls <= MAX_CALL_S:
        raise ConfigError(f"--calls takes the seconds of a call, {MIN_CALL_S} to {MAX_CALL_S}, got {calls:g}")
    if eot_bench is not None:
        require_parquet()
    evaluation = Evaluation.open(model_dir, dataset, **how, engine=engine)
    if dry_run:
        for line in evaluation.estimates(split, set_on=set_on):
            say(line)
        return None
    remove_leftovers(directory)
    options = {"model_dir": model_dir, "dataset": dataset, "split": split, "set_on": set_on, "calls": calls, **how}
    provenance = evaluation.provenance(split, options)
    training = None if run_dir is None else _training_course(run_dir)
    for name, model in evaluation.models.items():
        if not model.num_heads:
            line = "has no pause heads (training with lora.heads: new gives it some), so words, digits and delays are measured"
            say(f"{name}, {model.name}: {line}, and no ends of turns")

    frames = evaluation.listen(split, agent, directory / FRAMES_NAME)
    systems = evaluation.systems(frames, agent, set_on=set_on, split=split, out=directory)
    scores = Scores.of(frames, agent)
    in_calls = None if calls is None else evaluation.listen_to_calls(split, calls, directory / CALL_FRAMES_NAME)
    report = build_report(
        scores,
        model=evaluation.judged,
        baseline=evaluation.baseline,
        systems=systems,
        dataset=MeasuredSplit(name=str(evaluation.data.directory), split=split),
        provenance=provenance,
        training=training,
        calls=None if in_calls is None or calls is None else build_calls(scores, in_calls, calls),
        served=None if evaluation.server is None else served_of(scores, evaluation.server),
    )
    write_report(directory, report)
    if eot_bench is not None:
        for written in write_eot_predictions(Path(eot_bench), scores, report, language=evaluation.data.language()):
            say(f"{written}: eot-harness compute-metrics --predictions {written} --output-dir {written.parent / 'metrics'}")
    write_report_page(directory / PAGE_NAME, report, scores, dataset=evaluation.data.directory)
    print_report(report)
    say(f"{directory / PAGE_NAME}: open it in a browser; every frame is in {directory / FRAMES_NAME}")
    return report


def _training_course(run_dir: str | Path) -> TrainingCourse:
    """Return the losses of a run; raises `CheckpointError` where there are none."""
    from stt_ft.training.checkpoints import DEV_METRICS, TRAIN_METRICS, RunDir

    run = RunDir(Path(run_dir))
    train_rows = run.read_rows(TRAIN_METRICS)
    if not train_rows:
        raise CheckpointError(f"{run.directory / TRAIN_METRICS}: no such file; --run_dir takes the directory that `stt-ft train` wrote")
    return TrainingCourse.of(str(run_dir), train_rows, run.read_rows(DEV_METRICS))


_MARKS = {"passed": "ok  ", "failed": "FAIL", "skipped": "skip"}


def gate(report_dir: str, *, config: str | None = None, junit: str | None = None, strict: bool = False) -> None:
    """Hold a report to limits on its figures, absolute and against the baseline, and exit 1 when one is broken.

    Args:
        report_dir: directory that `stt-ft evaluate` wrote.
        config: limits as YAML; the shipped ones (stt_ft/evaluation/gate.yaml) when not given.
        junit: also write the results to this file as JUnit XML.
        strict: the bad end of each figure's 95 % interval must keep the limit too.
    """
    from stt_ft.evaluation.gate import check_report, junit_xml, load_gate

    limits = load_gate(config)
    results = check_report(read_report(Path(report_dir)), limits, strict=strict)
    for result in results:
        print(f"{_MARKS[result.outcome]}  {result.line}")
    if junit is not None:
        write_text(Path(junit), junit_xml(results))
    failed = [result for result in results if result.failed]
    if failed:
        raise CheckFailed(f"{report_dir}: {len(failed)} of {len(results)} limits broken: " + "; ".join(result.line for result in failed))
