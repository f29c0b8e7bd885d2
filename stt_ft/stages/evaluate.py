"""`stt-ft evaluate`: a model listens to held-out clips as the server would, and the report says what it did, beside a baseline."""

from __future__ import annotations


def evaluate(
    model_dir: str,
    dataset: str,
    *,
    out: str,
    baseline: str | None = None,
    split: str = "heldout",
    threshold: float = 0.6,
    head: int = 2,
    hold_frames: int = 1,
    ignore_frames: int = 12,
    batch_size: int = 32,
    device: str = "auto",
) -> None:
    """Listen to a split of a dataset, frame by frame, and write report.json, report.html and frames.jsonl.

    Args:
        model_dir: the model to judge: a model directory, a hub repo id, or tiny.
        dataset: dataset directory, annotated and converted.
        out: directory for the report.
        baseline: a model to compare with, named as model_dir is.
        split: which clips: train, dev or heldout.
        threshold: pause probability above which an agent ends the turn.
        head: pause head that the agent listens to (0 to 3: within 0.5, 1, 2, 3 seconds).
        hold_frames: frames of 80 ms for which it must stay above.
        ignore_frames: first frames of a clip that do not count.
        batch_size: clips listened to side by side.
        device: cpu, cuda, cuda:1 …; auto takes a GPU where there is one.
    """
    from pathlib import Path

    from stt_ft.core.errors import ConfigError, DatasetError
    from stt_ft.core.manifest import Dataset
    from stt_ft.core.progress import say
    from stt_ft.core.provenance import record
    from stt_ft.metrics.endpointing import EndpointRule
    from stt_ft.model.checkpoint_dir import open_model
    from stt_ft.model.device import pick_device
    from stt_ft.report.build import build_report
    from stt_ft.report.frames import read_frames, write_frames
    from stt_ft.report.listening import listen, references_of
    from stt_ft.report.page import write_page
    from stt_ft.report.report_file import FRAMES_NAME, PAGE_NAME, write_report
    from stt_ft.report.table import print_report

    if batch_size <= 0:
        raise ConfigError(f"--batch_size must be positive, got {batch_size}")
    try:
        rule = EndpointRule(head=head, threshold=threshold, hold_frames=hold_frames, ignore_frames=ignore_frames)
    except ValueError as error:
        raise ConfigError("; ".join(f"--{mistake}" for mistake in error.args)) from None
    data, directory, target = Dataset.open(dataset), Path(out), pick_device(device)
    clips = data.clips(split)
    if not clips:
        raise DatasetError(f"{data.manifest_path(split)}: no clips to evaluate")
    references = references_of(data, clips)
    models = {name: open_model(base) for name, base in (("base", baseline), ("tuned", model_dir)) if base is not None}
    for model in models.values():
        if head >= model.num_heads:
            raise ConfigError(f"--head {head}: {model.name} has {model.num_heads} pause heads, counted from 0")

    frames = []
    for name, model in models.items():
        frames += listen(name, model, data, clips, references, batch_size=batch_size, device=target)
    write_frames(directory / FRAMES_NAME, frames)
    frames = read_frames(directory / FRAMES_NAME)  # as rounded on disk: a stranger with the file gets the same figures

    inputs = {"manifest": data.manifest_path(split), **{name: model.lm_weights for name, model in models.items()}}
    options = {"model_dir": model_dir, "dataset": dataset, "baseline": baseline, "split": split, "device": device, "batch_size": batch_size}
    about = {"dataset": {"name": dataset, "split": split}, "provenance": record("evaluate", options, inputs)}
    report = build_report(frames, model="tuned", baseline=None if baseline is None else "base", rule=rule, about=about)
    write_report(directory, report)
    write_page(directory / PAGE_NAME, report, frames, dataset=data.directory)
    print_report(report)
    say(f"{directory / PAGE_NAME}: open it in a browser; every frame is in {directory / FRAMES_NAME}")
