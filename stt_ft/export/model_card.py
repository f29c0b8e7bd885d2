"""The model card of a hub repository: what was made of which base, on what data, what it measured, and how to run it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import stt_ft
from stt_ft.core.errors import CheckpointError
from stt_ft.core.json_yaml import dump_yaml
from stt_ft.core.manifest import Dataset
from stt_ft.model.safetensors_file import read_header

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
    """A directory that goes to the hub, as far as its files tell what it is.

    Attributes:
        kind: which engine it is for, a key of `RUNS_WITH`.
        base: what it was made of, by name; None where the weights do not say.
    """

    directory: Path
    kind: str
    config: dict[str, Any]
    base: str | None
    metadata: dict[str, str]

    @classmethod
    def open(cls, directory: Path, *, base: str | None = None) -> PushedModel:
        """Look at what `merge` or `export` wrote; raises `CheckpointError` where it is something else."""
        path = directory / "config.json"
        try:
            config = json.loads(path.read_bytes())
        except FileNotFoundError:
            raise CheckpointError(
                f"{path}: no such file; `stt-ft merge` and `stt-ft export` write directories that can be pushed"
            ) from None
        except ValueError as error:
            raise CheckpointError(f"{path}: not JSON: {error}") from None
        weights = directory / str(config.get("moshi_name", "model.safetensors"))
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


def _kind(directory: Path, config: dict[str, Any], metadata: dict[str, str]) -> str:
    if config.get("model_type") == "kyutai_speech_to_text":
        return "transformers"
    if str(config.get("moshi_name", "")).endswith(".gguf"):
        return "gguf"
    if metadata.get("format") == "mlx":
        return "mlx"
    return "candle" if (directory / "moshi-server.toml").is_file() else "moshi"


def model_card(
    model: PushedModel, repo: str, *, licence: str = BASE_LICENCE, dataset: Dataset | None = None, measured: str | None = None
) -> str:
    """Return README.md of the repository: front matter that the hub reads, then the card.

    Args:
        repo: name of the repository, for the lines that say how to run it.
        dataset: what it was trained on.
        measured: what its evaluation found, as Markdown (`markdown_table` in evaluation/verdict.py).
    """
    language = [str(dataset.info().get("language", "en"))] if dataset is not None else ["en"]
    front = {
        "license": licence,
        "language": language,
        **({"base_model": model.base} if model.base and "/" in model.base and not Path(model.base).exists() else {}),
        "library_name": "transformers" if model.kind == "transformers" else "moshi",
        "pipeline_tag": "automatic-speech-recognition",
        "tags": ["speech-to-text", "streaming", "voice-activity-detection", "stt-ft"],
    }
    sections = [
        f"---\n{dump_yaml(front)}---\n",
        f"# {repo.split('/')[-1]}\n",
        f"Kyutai's streaming speech-to-text, fine-tuned with stt-ft {stt_ft.__version__} so that dictated numbers come out as words, "
        "promptly, and the pause heads do not take a number for the end of a turn.\n",
        "## What it is made of\n",
        *_facts(model, licence),
        "\n## Trained on\n",
        *(_data(dataset) if dataset is not None else ["Not told."]),
        "\n## Measured\n",
        measured or "Not told: `stt-ft push --report DIR` puts the figures of `stt-ft evaluate` here.",
        "\n## How to run it\n",
        RUNS_WITH[model.kind].format(repo=repo),
    ]
    return "\n".join(sections) + "\n"


def _facts(model: PushedModel, licence: str) -> Iterator[str]:
    yield f"- base: {model.base or 'not told'}" + (f" (sha256 {sha[:16]}…)" if (sha := model.metadata.get("base_sha256")) else "")
    for adapter in json.loads(model.metadata.get("adapters", "[]")):
        yield f"- adapter: sha256 {adapter['sha256'][:16]}…, scaling {adapter['scaling']:g}, weight {adapter['weight']:g}"
    lag = model.config.get("stt_config", {}).get("audio_delay_seconds", model.config.get("stt_ft_text_lag_s"))
    yield f"- text lag: {'not told' if lag is None else f'{lag:g} s'}"
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
