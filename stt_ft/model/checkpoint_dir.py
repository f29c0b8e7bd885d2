"""A model directory, on disk or on the hub, with the files of `kyutai/stt-1b-en_fr-candle`.

    config.json            shape of the model, names of the other files, stt_config: text lag and silence prefix
    model.safetensors      the language model
    TOKENIZER.model        sentencepiece: 0 end-of-padding, 3 padding
    MIMI.safetensors       the codec (and, where its shape is not Mimi's own, its config)

Opening one checks that the files belong together and loads no weights.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stt_ft.core.errors import AlignmentError, CheckpointError
from stt_ft.core.manifest import Word
from stt_ft.core.recipe import DEFAULT_BASE
from stt_ft.core.timing import frame_start_s, num_frames_covering
from stt_ft.model.safetensors_file import SafetensorsHeader, read_header
from stt_ft.model.words import HeardWord, words_from_tokens
from stt_ft.targets.interleave import TextStream, build_text_stream

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

TINY_DIR = Path(__file__).parent.parent / "assets" / "tiny"
"""The model that `--base tiny` means."""

MOSHI_NAME = "model.safetensors"
"""Name of the language model's file where config.json gives none (upstream `moshi.models.loaders.MOSHI_NAME`)."""

NOT_FOR_THE_LM = (
    "moshi_name", "mimi_name", "mimi_config_name", "tokenizer_name", "lora_name", "model_type", "lm_gen_config", "tts_config", "stt_config",
    "model_id",
)  # fmt: skip
"""Keys of config.json that upstream takes out before it builds the language model (`CheckpointInfo.from_hf_repo`)."""

TAIL_S = 2.5
"""Silence after a clip and the text lag, in seconds, in which the last words get written and the heads learn that the turn is over."""

REQUIRED_SIZES = ("dim", "num_heads", "num_layers", "n_q", "card", "text_card", "context")
"""Keys of config.json without which nothing can be built; all are counts."""

_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True, kw_only=True)
class ModelDir:
    """An opened model: the paths of its files, and its config. No weights are loaded.

    Attributes:
        name: as the user gave it: `tiny`, a directory, or a hub repo id.
        directory: where config.json lies.
        mimi_config: shape of the codec; None for Mimi's own.
    """

    name: str
    directory: Path
    config: dict[str, Any]
    lm_weights: Path
    mimi_weights: Path
    mimi_config: dict[str, Any] | None
    tokenizer_path: Path

    @property
    def text_lag_s(self) -> float:
        """Delay of the text behind the sound, in seconds."""
        return float(self.config["stt_config"]["audio_delay_seconds"])

    @property
    def silence_prefix_s(self) -> float:
        """Silence that the model needs before speech, in seconds."""
        return float(self.config["stt_config"].get("audio_silence_prefix_seconds", 0.0))

    @property
    def num_prefix_frames(self) -> int:
        """Whole codec frames that hold the silence prefix."""
        return num_frames_covering(self.silence_prefix_s)

    @property
    def n_q(self) -> int:
        """Codebooks the language model takes in."""
        return int(self.config["n_q"])

    @property
    def num_heads(self) -> int:
        """Number of extra (pause) heads."""
        return int(self.config.get("extra_heads_num_heads", 0))

    @property
    def context(self) -> int:
        """Frames that the attention looks back over."""
        return int(self.config["context"])

    @property
    def padding_id(self) -> int:
        """Text token of a frame in which no word is written."""
        return int(self.config.get("existing_text_padding_id", 3))

    @property
    def end_padding_id(self) -> int:
        """Text token of the last frame without a word before one begins."""
        return int(self.config.get("existing_text_end_padding_id", 0))

    @property
    def lm_kwargs(self) -> dict[str, Any]:
        """The part of the config from which upstream builds its `LMModel`."""
        return {key: value for key, value in self.config.items() if key not in NOT_FOR_THE_LM}

    @functools.cached_property
    def tokenizer(self) -> SentencePieceProcessor:
        """The sentencepiece model, loaded when first asked for; raises `CheckpointError` when it cannot be read."""
        from sentencepiece import SentencePieceProcessor

        try:
            return SentencePieceProcessor(str(self.tokenizer_path))  # pyright: ignore[reportCallIssue]
        except (OSError, RuntimeError) as error:
            raise CheckpointError(f"{self.tokenizer_path}: not a sentencepiece model: {error}") from None

    def tokens_of(self, word: str) -> tuple[int, ...]:
        """Return the text tokens of a word.

        Raises:
            AlignmentError: it has none, or letters that the tokenizer lacks: their token is 0, which on the text stream ends the padding.
        """
        tokens = tuple(self.tokenizer.encode(word.strip()))
        if self.tokenizer.unk_id() in tokens:
            lacking = dict.fromkeys(glyph for glyph in word.strip() if self.tokenizer.unk_id() in self.tokenizer.encode(glyph))
            raise AlignmentError(f"word {word!r} holds {(''.join(lacking) or word)!r}, which the tokenizer of {self.name} cannot write")
        if not tokens:
            raise AlignmentError(f"word {word!r} has no text tokens")
        return tokens

    def num_tail_frames(self, tail_s: float = TAIL_S) -> int:
        """Return the whole frames of silence that follow a clip: the text lag and `tail_s` seconds more."""
        return num_frames_covering(self.text_lag_s + tail_s)

    def text_stream(self, words: Sequence[Word], num_frames: int) -> TextStream:
        """Place `words`, which have tokens and times in seconds of the stream, on a text stream of `num_frames` frames.

        Raises:
            AlignmentError: a word has no tokens, begins before the stream, or does not fit before its end.
        """
        ids = {"padding_id": self.padding_id, "end_padding_id": self.end_padding_id}
        return build_text_stream(words, num_frames=num_frames, text_lag_s=self.text_lag_s, **ids)

    def words_of(self, tokens: Sequence[int] | np.ndarray, *, num_before: int | None = None) -> list[HeardWord]:
        """Return the words of a text stream `tokens` [T], with times in seconds of the clip.

        `num_before` tokens come before the clip's first frame (negative where `tokens` begins inside the clip), by default the prefix.
        """
        return words_from_tokens(
            tokens,
            self.tokenizer,
            text_lag_s=self.text_lag_s,
            prefix_s=frame_start_s(self.num_prefix_frames if num_before is None else num_before),
            padding_id=self.padding_id,
            end_padding_id=self.end_padding_id,
        )

    def lm_header(self) -> SafetensorsHeader:
        """Read the table of contents of the language model's file."""
        return read_header(self.lm_weights)


def open_model(base: str | Path, *, require_extra_heads: bool = True) -> ModelDir:
    """Open `tiny`, a directory, or a hub repo id, and check that its files belong together. No weights are loaded.

    Raises `CheckpointError`: no such model, a file missing or broken, or no pause heads where `require_extra_heads` asks for them.
    """
    name = str(base)
    directory = TINY_DIR if name == "tiny" else Path(base)
    if not directory.is_dir() and name == "tiny":
        raise CheckpointError(f"{directory}: the tiny model is missing here; make it with `python tools/make_tiny_model.py`")
    if not directory.is_dir() and not _REPO_ID.fullmatch(name):
        raise CheckpointError(f"{name}: no such model directory (give a directory, a hub repo id such as {DEFAULT_BASE}, or 'tiny')")
    file = functools.partial(_local_file, directory) if directory.is_dir() else functools.partial(_hub_file, name)
    config = _read_config(file("config.json"))
    if require_extra_heads and not config.get("extra_heads_num_heads"):
        raise CheckpointError(
            f"{name}: config.json has no extra heads (extra_heads_num_heads), so there is no pause detection to train; use {DEFAULT_BASE}, "
            "or a recipe with loss.pause_targets: off"
        )
    mimi_config_name = config.get("mimi_config_name")
    model = ModelDir(
        name=name,
        config=config,
        directory=file("config.json").parent,
        lm_weights=file(config.get("moshi_name", MOSHI_NAME)),
        mimi_weights=file(config["mimi_name"]),
        mimi_config=_read_json(file(mimi_config_name)) if mimi_config_name else None,
        tokenizer_path=file(config["tokenizer_name"]),
    )
    _check_weights(model, require_extra_heads=require_extra_heads)
    return model


def _local_file(directory: Path, filename: str) -> Path:
    """Return the path of a file of a model directory, from the hub where its name begins with hf://."""
    if filename.startswith("hf://"):
        owner, repo, rest = filename.removeprefix("hf://").split("/", 2)
        return _hub_file(f"{owner}/{repo}", rest)
    path = directory / filename
    if Path(filename).is_absolute() or ".." in Path(filename).parts:
        raise CheckpointError(f"{directory}/config.json: the file name {filename!r} leads out of the directory")
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; a model directory holds config.json and the files it names")
    return path


def _hub_file(repo: str, filename: str) -> Path:
    """Return the path of a file of a Hugging Face repository, downloaded if need be."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, HfHubHTTPError, HFValidationError, RepositoryNotFoundError
    from requests.exceptions import RequestException

    try:
        return Path(hf_hub_download(repo, filename))
    except (RepositoryNotFoundError, GatedRepoError, HFValidationError):
        raise CheckpointError(f"{repo}: neither a directory here nor a repository of the hub that you may read") from None
    except (EntryNotFoundError, HfHubHTTPError, RequestException, OSError) as error:
        reason = str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"{repo}: no directory of that name here, and {filename} could not be fetched from the hub ({reason}); "
            "check the connection, or give a directory or 'tiny'"
        ) from None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not JSON: {error}") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: expected a JSON object, got {type(value).__name__}")
    return value


def _read_config(path: Path) -> dict[str, Any]:
    """Read config.json; raises `CheckpointError` with all its faults."""
    config = _read_json(path)
    sizes = {key: config.get(key) for key in REQUIRED_SIZES}
    faults = [f"{key} must be a positive count, got {size!r}" for key, size in sizes.items() if type(size) is not int or size <= 0]
    faults += [f"{key} is missing" for key in ("mimi_name", "tokenizer_name") if not isinstance(config.get(key), str)]
    stt_config = config.get("stt_config")
    if not isinstance(stt_config, dict) or not isinstance(stt_config.get("audio_delay_seconds"), (int, float)):
        faults.append("stt_config.audio_delay_seconds is missing: this is no speech-to-text model")
    if config.get("dep_q"):
        faults.append(f"dep_q is {config['dep_q']!r}: the model speaks; only models that listen (dep_q 0) are used")
    if config.get("lora"):
        faults.append("lora is true: this is the config of an adapter, not of a whole model; merge it first")
    if faults:
        raise CheckpointError(f"{path}: {'; '.join(faults)}")
    return config


def _check_weights(model: ModelDir, *, require_extra_heads: bool) -> None:
    """Check the table of contents of both weight files: heads present, sizes as the config says."""
    read_header(model.mimi_weights)
    tensors = model.lm_header().tensors
    dim = model.config["dim"]
    wanted = {"text_emb.weight": (model.config["text_card"] + 1, dim)}
    wanted |= {f"emb.{index}.weight": (model.config["card"] + 1, dim) for index in range(model.n_q)}
    if require_extra_heads or model.num_heads:
        wanted |= {f"extra_heads.{index}.weight": (model.config.get("extra_heads_dim", 6), dim) for index in range(model.num_heads)}
    for name, shape in wanted.items():
        if name not in tensors:
            way_out = f"; use {DEFAULT_BASE}" if name.startswith("extra_heads") else ""
            raise CheckpointError(f"{model.lm_weights}: no tensor {name}, which config.json promises{way_out}")
        if tensors[name].shape != shape:
            raise CheckpointError(
                f"{model.lm_weights}: tensor {name} has shape {list(tensors[name].shape)}, config.json says {list(shape)}"
            )
