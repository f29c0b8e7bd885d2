"""`stt-ft push`: a model directory to the Hugging Face hub, with a card that says what it is and what it measured."""

from __future__ import annotations


def push(
    model_dir: str,
    repo: str,
    *,
    report: str | None = None,
    dataset: str | None = None,
    base: str | None = None,
    licence: str | None = None,
    private: bool = True,
    dry_run: bool = False,
) -> None:
    """Upload what merge or export wrote, with a generated model card.

    Args:
        model_dir: directory that merge or export wrote.
        repo: OWNER/NAME on the hub; made if it is not there. HF_TOKEN or `huggingface-cli login` says who you are, HF_ENDPOINT which hub.
        report: what `stt-ft evaluate` wrote; its figures go into the card.
        dataset: what it was trained on; the card tells clips, hours and number of speakers, and no text.
        base: the base model, where the weights do not say it.
        licence: of the upload; by default cc-by-4.0, the licence of Kyutai's weights.
        private: make a new repository private.
        dry_run: print the card and what would be uploaded, and upload nothing.
    """
    from pathlib import Path

    from stt_ft.core.manifest import Dataset
    from stt_ft.core.progress import say
    from stt_ft.evaluation.report import read_report
    from stt_ft.evaluation.verdict import markdown_table
    from stt_ft.export.hub import check_repo, files_to_push, push_directory
    from stt_ft.export.model_card import BASE_LICENCE, PushedModel, model_card

    check_repo(repo)
    model = PushedModel.open(Path(model_dir), base=base)
    card = model_card(
        model,
        repo,
        licence=licence or BASE_LICENCE,
        dataset=None if dataset is None else Dataset.open(dataset),
        measured=None if report is None else markdown_table(read_report(Path(report))),
    )
    files = files_to_push(model.directory)
    size = f"{len(files)} files, {sum(path.stat().st_size for path in files) / 1e6:,.1f} MB"
    if dry_run:
        print(card, end="")
        say(f"{repo}: nothing uploaded; it would be {size}: README.md, {', '.join(path.name for path in files)}")
        return
    say(f"{repo}: uploaded {size}: {push_directory(model.directory, repo, card, private=private)}")
