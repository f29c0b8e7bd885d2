"""A model leaves: `stt-ft export` writes it for an engine and proves that the engine agrees with PyTorch, `stt-ft push`
uploads it to the Hugging Face hub with a card of its origin and its figures.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from stt_ft.core.errors import CheckFailed, ConfigError
from stt_ft.core.progress import emit_json, say
from stt_ft.dataset.manifest import Dataset

if TYPE_CHECKING:
    import numpy as np

    from stt_ft.evaluation.report import Report
    from stt_ft.model.checkpoint_dir import ModelDir


def export(
    model_dir: str | Path,
    *,
    out: str | Path,
    format: str = "candle",
    serving: str | None = None,
    absolute_paths: bool = False,
    overwrite: bool = False,
    verify: bool = False,
    dataset: str | Path | None = None,
    split: str = "heldout",
    num_clips: int = 20,
) -> Path:
    """Write a model directory that a production engine takes as it is.

    Args:
        model_dir: a merged model directory, a hub repo id, or tiny.
        out: directory to write.
        format: candle (moshi-server and stt-rs, with the server's files), gguf (q8_0, for programs on the Rust crate moshi), mlx
            (moshi_mlx, for Apple's chips) or transformers (KyutaiSpeechToTextForConditionalGeneration).
        serving: write moshi-server.toml for this alone: kyutai, unmute, or a file of moshi-server whose codebooks and temperature to take.
            Without it, moshi-server.toml is Kyutai's and moshi-server-unmute.toml Unmute's (20 of 32 codebooks, temperature 0.25).
        absolute_paths: name the files in moshi-server.toml by absolute paths; otherwise the server is started in the directory.
        overwrite: replace an existing model directory.
        verify: run the engine itself on clips and compare its tokens and pause probabilities with PyTorch's; exit 1 where they
            differ. candle and gguf build tools/candle_probe with cargo, once, in ~/.cache/stt-ft.
        dataset: dataset to verify on; without it, random codes, which test the arithmetic as well.
        split: split of that dataset.
        num_clips: number of clips to verify on.
    """
    from stt_ft.core.serving import KYUTAI, Serving
    from stt_ft.export.formats import FORMATS, engine_of, how_to_run, verify_export, write_format
    from stt_ft.model.checkpoint_dir import open_model

    if format not in FORMATS:
        raise ConfigError(f"--format {format}: no such format; expected {', '.join(FORMATS)}")
    if serving is not None and format not in ("candle", "gguf"):
        raise ConfigError(f"--serving is for the formats candle and gguf; {format} has no server's file")
    if num_clips < 1:
        raise ConfigError(f"--num_clips {num_clips}: at least one")
    if dataset is not None and not verify:
        raise ConfigError("--dataset is for --verify; give --verify too")
    served = None if serving is None else Serving.named(serving)
    model = open_model(model_dir, require_extra_heads=False)
    engine = engine_of(format) if verify else None
    codes = _codes(model, dataset, split=split, num_clips=num_clips) if verify else {}
    names = write_format(format, model, Path(out), absolute_paths=absolute_paths, overwrite=overwrite, serving=served)
    heads = sum("extra_heads." in name for name in names)
    say(f"{out}: {len(names)} tensors, {heads} of them pause heads; {how_to_run(format, model, Path(out))}")
    if engine is not None:
        result = verify_export(engine, model, Path(out), codes, served or KYUTAI)
        say(f"{out}: verified: {result}")
        emit_json(result.to_json())
    return Path(out)


def _codes(model: ModelDir, dataset: str | Path | None, *, split: str, num_clips: int) -> dict[str, np.ndarray]:
    """Return codec codes by clip: of the first clips of a split, or made up where there is no dataset."""
    from stt_ft.export.formats import random_clips
    from stt_ft.model.codes import codes_of

    if dataset is None:
        return random_clips(model, num_clips)
    data = Dataset.open(dataset)
    clips = data.clips(split)[:num_clips]
    codes = codes_of(model, data, clips, batch_size=num_clips, device="cpu")
    return dict(zip((clip.path for clip in clips), codes, strict=True))


def push(
    model_dir: str,
    repo: str,
    *,
    report: str | None = None,
    gate: str = "shipped",
    dataset: str | None = None,
    base: str | None = None,
    licence: str | None = None,
    private: bool = True,
    dry_run: bool = False,
) -> None:
    """Upload what merge or export wrote, with a generated model card. A model whose report breaks a limit of the gate stays here.

    Args:
        model_dir: directory that merge or export wrote.
        repo: OWNER/NAME on the hub; made if it is not there. HF_TOKEN or `huggingface-cli login` says who you are, HF_ENDPOINT which hub.
        report: directory of `stt-ft evaluate` on these weights; its figures go into the card, with the settings for agents.
        gate: limits that the report must keep: shipped (those of `stt-ft gate`), a file of others, or none to upload whatever it says.
        dataset: training dataset; the card gives its clips, hours and number of speakers, and no text.
        base: the base model, where the weights do not say it.
        licence: of the upload; by default cc-by-4.0, the licence of Kyutai's weights.
        private: make a new repository private.
        dry_run: print the card and what would be uploaded, and upload nothing.
    """
    from stt_ft.evaluation.agents import settings_markdown
    from stt_ft.evaluation.report import read_report
    from stt_ft.evaluation.verdict import eval_results, markdown_table
    from stt_ft.export.hub import BASE_LICENCE, PushedModel, check_measured, check_repo, files_to_push, model_card, push_directory

    check_repo(repo)
    model = PushedModel.open(Path(model_dir), base=base)
    told: dict[str, Any] = {}
    if report is not None:
        measured = read_report(Path(report))
        check_measured(model, measured.weights_sha256, report)
        _hold_to_gate(report, measured, gate)
        told = {"measured": markdown_table(measured), "results": eval_results(measured), "settings": settings_markdown(measured)}
    data = None if dataset is None else Dataset.open(dataset)
    card = model_card(model, repo, licence=licence or BASE_LICENCE, dataset=data, **told)
    files = files_to_push(model.directory)
    size = f"{len(files)} files, {sum(path.stat().st_size for path in files) / 1e6:,.1f} MB"
    if dry_run:
        print(card, end="")
        say(f"{repo}: nothing uploaded; it would be {size}: README.md, {', '.join(path.name for path in files)}")
        return
    say(f"{repo}: uploaded {size}: {push_directory(model.directory, repo, card, private=private)}")


def _hold_to_gate(directory: str, report: Report, gate: str) -> None:
    """Refuse to go on (`CheckFailed`) where `report` breaks a limit of `gate`: "shipped", a file of limits, or "none"."""
    from stt_ft.evaluation.gate import check_report, load_gate

    if gate == "none":
        return
    way_out = "--gate none uploads it nevertheless"
    try:
        failed = [result.line for result in check_report(report, load_gate(None if gate == "shipped" else gate)) if result.failed]
    except CheckFailed as error:
        raise CheckFailed(f"{directory}: {error}; {way_out}") from None
    if failed:
        raise CheckFailed(f"{directory}: not uploaded, {len(failed)} limits of the gate broken: {'; '.join(failed)}; {way_out}")
