"""A directory goes to the Hugging Face hub with a model card: base, adapters, training data, measured figures, and how to run the model."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import stt_ft
from stt_ft.core.errors import CheckpointError, MissingExtra
from stt_ft.core.provenance import file_sha256
from stt_ft.core.storage import check_lies_inside, inside
from stt_ft.dataset.manifest import Dataset
from stt_ft.model.checkpoint_dir import EXPORTED_FROM, MOSHI_NAME, home_of, read_json_object
from stt_ft.model.output_dir import check_sums
from stt_ft.model.safetensors_file import read_header

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

BASE_LICENCE = "cc-by-4.0"
"""Licence of Kyutai's weights, which what is made of them carries on."""

RUNS_WITH = {
    "moshi": 'Opens with `moshi` (PyTorch): `CheckpointInfo.from_hf_repo("{repo}")`, and with `stt-ft transcribe {repo} take.wav`.',
    "candle": "For the Rust engine: `moshi-server worker --config moshi-server.toml` in this directory.",
    "gguf": "Big matrices in q8_0, for programs built on the Rust crate `moshi` (`moshi::lm::load_lm_model`).",
    "mlx": "For Apple's chips: `python -m moshi_mlx.run_inference --hf-repo {repo} IN.wav OUT.wav`.",
    "transformers": 'Opens with `KyutaiSpeechToTextForConditionalGeneration.from_pretrained("{repo}")`; the pause heads lie in '
    "`extra_heads.safetensors`, for which that class has no place.",
}
"""How each kind of directory is run."""


@dataclass(frozen=True, kw_only=True)
class PushedModel:
    """A directory that goes to the hub, described by its files.

    Attributes:
        kind: which engine it is for, a key of `RUNS_WITH`.
        base: name of the base model; None where the weights do not name it.
    """

    directory: Path
    kind: str
    config: dict[str, Any]
    base: str | None
    metadata: dict[str, str]

    @classmethod
    def open(cls, directory: Path, *, base: str | None = None) -> PushedModel:
        """Open a directory of `merge` or `export`; raises `CheckpointError` where it is something else."""
        path = directory / "config.json"
        if not path.is_file():
            raise CheckpointError(f"{path}: no such file; `stt-ft merge` and `stt-ft export` write directories that can be pushed")
        config = read_json_object(path)
        try:
            weights = inside(directory, str(config.get("moshi_name", MOSHI_NAME)))
            for file in files_to_push(directory):
                check_lies_inside(file, home_of(directory))
        except ValueError as error:
            raise CheckpointError(f"{directory}: {error}; a stranger would get what lies there") from None
        check_sums(directory)
        metadata = {} if weights.suffix == ".gguf" else read_header(weights).metadata
        if not weights.is_file():
            raise CheckpointError(f"{weights}: no such file; config.json names it")
        return cls(
            directory=directory,
            kind=_kind(directory, config, metadata),
            config=config,
            base=base or metadata.get("base"),
            metadata=metadata,
        )


def check_measured(model: PushedModel, measured_sha256: str | None, report: str) -> None:
    """Refuse figures of other weights (`CheckpointError`).

    Args:
        measured_sha256: of the weights that were evaluated, as the report's provenance has it; None where it does not say.
        report: its name.
    """
    if measured_sha256 is None:
        raise CheckpointError(f"{report}: does not say which weights it measured; `stt-ft evaluate` writes reports that do")
    weights = model.directory / str(model.config.get("moshi_name", MOSHI_NAME))
    if measured_sha256 not in (origin := _origin_sha256(model, weights), file_sha256(weights)):
        told = f"{origin[:12]}…, from which {weights.name} was exported" if origin else f"{weights.name}"
        raise CheckpointError(
            f"{report}: measured other weights ({measured_sha256[:12]}…) than {told} in {model.directory}; evaluate the one that is pushed"
        )


def _origin_sha256(model: PushedModel, weights: Path) -> str | None:
    """Return the SHA-256 of the weights that an export was made of; None where the file does not say, as merged weights do not."""
    if weights.suffix != ".gguf":
        return model.metadata.get(EXPORTED_FROM)
    try:
        from gguf import GGUFReader
    except ImportError:
        raise MissingExtra("gguf", "gguf", "push --report of a GGUF file") from None
    field = GGUFReader(weights).get_field(f"stt_ft.{EXPORTED_FROM}")
    return None if field is None else str(field.contents())


def _kind(directory: Path, config: dict[str, Any], metadata: dict[str, str]) -> str:
    if config.get("model_type") == "kyutai_speech_to_text":
        return "transformers"
    if str(config.get("moshi_name", "")).endswith(".gguf"):
        return "gguf"
    if metadata.get("format") == "mlx":
        return "mlx"
    return "candle" if (directory / "moshi-server.toml").is_file() else "moshi"


def model_card(
    model: PushedModel,
    repo: str,
    *,
    licence: str = BASE_LICENCE,
    dataset: Dataset | None = None,
    measured: str | None = None,
    results: Sequence[EvalResult] = (),
    settings: str | None = None,
) -> str:
    """Return README.md of the repository: front matter that the hub reads, then the card.

    Args:
        licence: of the upload.
        dataset: the training data.
        measured: the headline figures as Markdown (`markdown_table` of evaluation/verdict.py).
        results: the same for the hub's `model-index` (`eval_results` there).
        settings: how agents are set for this model, as Markdown (`settings_markdown` of evaluation/agents.py).
    """
    from huggingface_hub import ModelCardData

    language = [str(dataset.info().get("language", "en"))] if dataset is not None else ["en"]
    title = repo.split("/")[-1]
    front = ModelCardData(
        license=licence,
        language=language,
        base_model=model.base if model.base and "/" in model.base and not Path(model.base).exists() else None,
        library_name="transformers" if model.kind == "transformers" else "moshi",
        pipeline_tag="automatic-speech-recognition",
        tags=["speech-to-text", "streaming", "voice-activity-detection", "stt-ft"],
        model_name=title if results else None,
        eval_results=list(results) or None,
    )
    sections = [
        f"---\n{front.to_yaml()}\n---\n",
        f"# {title}\n",
        f"Kyutai's streaming speech-to-text, fine-tuned with stt-ft {stt_ft.__version__} so that dictated numbers come out as words, "
        "promptly, and the pause heads do not take a number for the end of a turn.\n",
        "## What it is made of\n",
        *_facts(model, licence),
        "\n## Trained on\n",
        *(_data(dataset) if dataset is not None else ["Not told."]),
        "\n## Measured\n",
        measured or "Not told: `stt-ft push --report DIR` puts the figures of `stt-ft evaluate` here.",
        *([] if settings is None else ["\n## Settings for agents\n", settings.rstrip()]),
        "\n## How to run it\n",
        RUNS_WITH[model.kind].format(repo=repo),
    ]
    return "\n".join(sections) + "\n"


def _facts(model: PushedModel, licence: str) -> Iterator[str]:
    yield f"- base: {model.base or 'not told'}" + (f" (sha256 {sha[:16]}…)" if (sha := model.metadata.get("base_sha256")) else "")
    try:
        for adapter in json.loads(model.metadata.get("adapters", "[]")):
            yield f"- adapter: sha256 {adapter['sha256'][:16]}…, scaling {adapter['scaling']:g}, weight {adapter['weight']:g}"
    except (ValueError, LookupError, TypeError):
        raise CheckpointError(f"{model.directory}: what its weights' metadata say of adapters is not what `stt-ft merge` writes") from None
    stt_config = model.config.get("stt_config")
    lag = (stt_config if isinstance(stt_config, dict) else {}).get("audio_delay_seconds", model.config.get("stt_ft_text_lag_s"))
    yield f"- text lag: {f'{lag:g} s' if isinstance(lag, (int, float)) else 'not told'}"
    heads = model.config.get("extra_heads_num_heads", model.config.get("stt_ft_num_extra_heads", 0))
    yield f"- pause heads: {heads}"
    yield f"- licence: {licence}" + (" (that of the base)" if licence == BASE_LICENCE else "")


def _data(dataset: Dataset) -> Iterator[str]:
    """Yield a line a split: clips, hours, speakers; those of synthetic voices apart. No text and no speaker's name leaves the dataset."""
    yield "| split | clips | hours | speakers |"
    yield "|---|---|---|---|"
    for split in dataset.splits():
        clips = dataset.clips(split)
        spoken = ((split, [c for c in clips if not c.is_synthetic]), (f"{split}, synthetic", [c for c in clips if c.is_synthetic]))
        for name, part in spoken:
            speakers = {clip.extra["speaker"] for clip in part if clip.extra.get("speaker") is not None}
            if part or name == split:
                yield f"| {name} | {len(part)} | {sum(clip.duration_s for clip in part) / 3600:.2f} | {len(speakers) or 'not told'} |"


def check_repo(repo: str) -> None:
    """Refuse what is no name of a repository."""
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", repo):
        raise CheckpointError(f"{repo}: not a repository of the hub; expected OWNER/NAME, such as yourname/stt-1b-orders")


def files_to_push(directory: Path) -> list[Path]:
    """Return the files of a model directory, without hidden ones and without a README.md, whose place the card takes."""
    return sorted(path for path in directory.iterdir() if path.is_file() and not path.name.startswith(".") and path.name != "README.md")


def push_directory(directory: Path, repo: str, card: str, *, private: bool) -> str:
    """Make the repository where there is none, upload files and card in one commit, and return its address.

    Raises `CheckpointError`: the hub refuses (no token, no right to write there) or cannot be reached; with its own words.
    """
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled
    from requests.exceptions import RequestException

    api = HfApi()
    with tempfile.TemporaryDirectory() as scratch:
        readme = Path(scratch) / "README.md"
        readme.write_text(card, encoding="utf-8")
        files = {"README.md": readme} | {path.name: path for path in files_to_push(directory)}
        operations = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=str(path)) for name, path in files.items()]
        try:
            api.create_repo(repo, private=private, exist_ok=True)
            return str(api.create_commit(repo, operations, commit_message="Upload by stt-ft").commit_url)
        except LocalTokenNotFoundError:
            raise CheckpointError(f"{repo}: the hub wants a token; `huggingface-cli login`, or set HF_TOKEN") from None
        except (HfHubHTTPError, OfflineModeIsEnabled, RequestException) as error:
            raise CheckpointError(f"{repo}: not uploaded: {' '.join(str(error).split())[:300]}") from None
