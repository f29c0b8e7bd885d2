"""`stt-ft evaluate`: a model listens to held-out clips as the server would, and the report says what it did, beside a baseline."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def evaluate(
    model_dir: str | Path,
    dataset: str | Path,
    *,
    out: str | Path,
    baseline: str | Path | None = None,
    split: str = "heldout",
    rule: str = "kyutai",
    threshold: float | None = None,
    head: int | None = None,
    hold_frames: int | None = None,
    ignore_frames: int | None = None,
    set_on: str | None = "dev",
    silero: bool = True,
    twins: list[str] | None = None,
    all_classes: bool = False,
    run_dir: str | Path | None = None,
    batch_size: int = 32,
    device: str = "auto",
) -> dict[str, Any]:
    """Listen to a split of a dataset, frame by frame, and write report.json, report.html and frames.jsonl.

    Args:
        model_dir: the model to judge: a model directory, a hub repo id, or tiny.
        dataset: dataset directory, annotated and converted.
        out: directory for the report.
        baseline: a model to compare with, named as model_dir is.
        split: which clips: train, dev or heldout.
        rule: when an agent ends the turn: kyutai (head 2 above 0.6), or unmute, as that voice agent does it (only once a word is written).
        threshold: pause probability above which it ends the turn, in the place of the rule's (0.6).
        head: pause head that it listens to (0 to 3: within 0.5, 1, 2, 3 seconds), in the place of the rule's (2).
        hold_frames: frames of 80 ms for which the head must stay above, in the place of the rule's (1).
        ignore_frames: first frames of a clip that do not count, in the place of the rule's (12).
        set_on: split on which each model's best threshold and hold are chosen, for one more line each; none leaves them out.
        silero: compare with silence alone, as Silero VAD hears it (pip install 'stt-ft[vad]').
        twins: also hear every clip through a telephone line (phone) or in noise so far below the speech (20dB), such as phone,20dB,10dB.
        all_classes: keep all classes of the heads in frames.jsonl, and tell whether they count words.
        run_dir: the run that the model came from; its losses are drawn in the report.
        batch_size: clips listened to side by side.
        device: cpu, cuda, cuda:1 …; auto takes a GPU where there is one.

    Returns:
        The report, as report.json has it.
    """
    from stt_ft.report.build import build_report
    from stt_ft.report.evaluation import BASE, Hearing, leave, rule_of
    from stt_ft.report.report_file import FRAMES_NAME
    from stt_ft.report.training_course import training_course

    flags = {"head": head, "threshold": threshold, "hold_frames": hold_frames, "ignore_frames": ignore_frames}
    directory, agent = Path(out), rule_of(rule, **flags)
    model_dir, dataset, baseline = str(model_dir), str(dataset), None if baseline is None else str(baseline)  # report.json quotes them
    how = {"baseline": baseline, "twins": twins or [], "all_classes": all_classes, "batch_size": batch_size, "device": device}
    hearing = Hearing.open(model_dir, dataset, **how)
    about = hearing.about(split, {"model_dir": model_dir, "dataset": dataset, "split": split, "set_on": set_on, "silero": silero, **how})
    about |= {} if run_dir is None else {"training": training_course(Path(run_dir))}

    frames = hearing.hear(split, agent, directory / FRAMES_NAME, with_silence=silero)
    systems = hearing.systems(frames, agent, set_on=set_on, split=split, out=directory)
    report = build_report(frames, model=hearing.judged, baseline=baseline and BASE, rule=agent, systems=systems, about=about)
    leave(directory, report, frames, hearing.data)
    return report
