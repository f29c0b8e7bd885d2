"""A model directory, on disk or on the hub, with the files of `kyutai/stt-1b-en_fr-candle`.

    config.json            shape of the model, names of the other files, stt_config: text lag and silence prefix
    model.safetensors      the language model
    TOKENIZER.model        sentencepiece: 0 end-of-padding, 3 padding
    MIMI.safetensors       the codec (and, where its shape is not Mimi's own, its config)

Opening one checks that the files belong together, lie in the directory and have the bytes that SHA256SUMS tells of, where it is there. No
weights are loaded.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np

from stt_ft.core.config import Config, Limits, typed
from stt_ft.core.errors import AlignmentError, CheckpointError, ConfigError
from stt_ft.core.json_yaml import parse_json
from stt_ft.core.provenance import file_sha256
from stt_ft.core.recipe import DEFAULT_BASE
from stt_ft.core.storage import check_lies_inside, inside
from stt_ft.core.timing import frame_start_s, num_frames_covering
from stt_ft.dataset.sidecar import Word
from stt_ft.model.output_dir import check_sums
from stt_ft.model.safetensors_file import SafetensorsHeader, TensorSpec, read_header
from stt_ft.model.words import HeardWord, words_from_tokens
from stt_ft.targets.interleave import TextStream, build_text_stream
from stt_ft.targets.pause_targets import HORIZONS_S, MAX_PAUSE_LAG_S

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

EXPORTED_FROM = "exported_from_sha256"
"""Key of that metadata (`ModelDir.origin`)."""

TAIL_S = 2.5
"""Silence after a clip and the text lag, in seconds, in which the last words get written and the heads learn that the turn is over."""

NUM_HEAD_CLASSES = 6
"""Classes of a pause head: upstream's default, which Kyutai's 1b model has. Class 0 is the pause."""

UNFIT = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What upstream's constructors raise for a config or for weights that are not theirs."""

_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


_Count = Annotated[int, Limits(ge=1, le=1024)]
_Width = Annotated[int, Limits(ge=1, le=65_536)]
_Seconds = Annotated[float, Limits(ge=0, le=60)]
_Token = Annotated[int, Limits(ge=0, le=10_000_000)]
_FileName = Annotated[str, Limits(min_length=1)]


@dataclass(frozen=True, kw_only=True)
class SttConfig:
    """`stt_config` of config.json."""

    audio_delay_seconds: _Seconds
    audio_silence_prefix_seconds: _Seconds = 0.0


@dataclass(frozen=True, kw_only=True)
class ConfigJson(Config):
    """The keys of config.json that are relied on, with limits several times what Kyutai's models have; all others are upstream's."""

    __pydantic_config__: ClassVar[Any] = {**Config.__pydantic_config__, "extra": "ignore"}

    dim: _Width
    num_heads: _Count
    num_layers: _Count
    n_q: _Count
    card: Annotated[int, Limits(ge=1, le=32_767)]  # codes are int16
    text_card: Annotated[int, Limits(ge=1, le=1_000_000)]
    context: Annotated[int, Limits(ge=1, le=8192)]
    mimi_name: _FileName
    tokenizer_name: _FileName
    moshi_name: _FileName = MOSHI_NAME
    mimi_config_name: str | None = None
    stt_config: SttConfig | None = None
    dep_q: int | None = None
    lora: bool | None = None
    quantize: bool | None = None
    extra_heads_num_heads: Annotated[int, Limits(ge=0, le=64)] = 0
    extra_heads_dim: _Count = NUM_HEAD_CLASSES
    text_card_out: Annotated[int, Limits(ge=1, le=1_000_000)] | None = None
    existing_text_padding_id: _Token = 3
    existing_text_end_padding_id: _Token = 0
    hidden_scale: Annotated[float, Limits(gt=0, le=64)] = 4
    max_period: Annotated[float, Limits(gt=0, le=1e9)] = 10_000
    delays: tuple[Annotated[int, Limits(ge=0, le=8192)], ...] = ()
    conditioners: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        faults = []
        if self.stt_config is None:
            faults.append("stt_config.audio_delay_seconds is missing: this is no speech-to-text model")
        if self.dep_q:
            faults.append(f"dep_q is {self.dep_q}: the model speaks; only models that listen (dep_q 0) are used")
        if self.lora:
            faults.append("lora is true: this is the config of an adapter, not of a whole model; merge it first")
        if self.quantize:
            faults.append("quantize is true: only weights that are not quantized are used")
        for key in ("existing_text_padding_id", "existing_text_end_padding_id"):
            if getattr(self, key) >= self.text_card:
                faults.append(f"{key} must be one of text_card's {self.text_card} tokens, got {getattr(self, key)}")
        if faults:
            raise ValueError(*faults)


@dataclass(frozen=True, kw_only=True)
class MimiPart:
    """`seanet`, `transformer` or `quantizer` of mimi_config.json: what upstream builds one after the other, or asks for as it listens."""

    n_residual_layers: Annotated[int, Limits(ge=0, le=64)] = 1
    ratios: Annotated[tuple[int, ...], Limits(max_length=16)] = ()
    num_layers: _Count = 8
    n_q: _Count = 8
    context: Annotated[int, Limits(ge=1, le=8192)] | None = None
    max_period: Annotated[float, Limits(gt=0, le=1e9)] = 10_000
    kernel_size: _Count = 7
    residual_kernel_size: _Count = 3
    last_kernel_size: _Count = 7
    dilation_base: _Count = 2
    compress: _Count = 2


@dataclass(frozen=True, kw_only=True)
class MimiConfigJson(Config):
    """The keys of mimi_config.json that decide how long building takes; how big it gets is held against the weights (`MimiCodec.load`)."""

    __pydantic_config__: ClassVar[Any] = ConfigJson.__pydantic_config__

    seanet: MimiPart
    transformer: MimiPart
    quantizer: MimiPart
    sample_rate: Annotated[int, Limits(ge=1, le=192_000)]
    frame_rate: Annotated[float, Limits(gt=0, le=1000)]
    channels: Annotated[int, Limits(ge=1, le=2)]


@dataclass(frozen=True, kw_only=True)
class ModelDir:
    """An opened model: the paths of its files, and its config. No weights are loaded.

    Attributes:
        name: as the user gave it: `tiny`, a directory, or a hub repo id.
        directory: where config.json lies.
        mimi_config: shape of the codec; None for Mimi's own.
        has_new_heads: whether the pause heads that the config tells of are still to be learned (`with_new_heads`).
    """

    name: str
    directory: Path
    config: dict[str, Any]
    lm_weights: Path
    mimi_weights: Path
    mimi_config: dict[str, Any] | None
    tokenizer_path: Path
    has_new_heads: bool = False

    @functools.cached_property
    def _hashes(self) -> dict[Path, str]:
        return {}

    def sha256(self, path: Path) -> str:
        """Return the SHA-256 of one of the model's files, read once for an opened model."""
        if path not in self._hashes:
            self._hashes[path] = file_sha256(path)
        return self._hashes[path]

    @property
    def origin(self) -> dict[str, str]:
        """What an export whose bytes differ says in its metadata of the weights that it was made of."""
        return {EXPORTED_FROM: self.sha256(self.lm_weights)}

    @property
    def text_lag_s(self) -> float:
        """Delay of the text behind the sound, in seconds."""
        return float(self.config["stt_config"]["audio_delay_seconds"])

    @property
    def pause_lag_s(self) -> float:
        """How far behind the sound the pause heads' clock runs, in seconds: as the text, but at most `MAX_PAUSE_LAG_S`."""
        return min(self.text_lag_s, MAX_PAUSE_LAG_S)

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
    def num_head_classes(self) -> int:
        """Number of classes of each pause head."""
        return int(self.config.get("extra_heads_dim", NUM_HEAD_CLASSES))

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

    def text_stream(self, words: Sequence[Word], num_frames: int, *, lag_s: float | None = None) -> TextStream:
        """Place `words`, which have tokens and times in seconds of the stream, on a text stream of `num_frames` frames, which runs `lag_s`
        behind the sound, by default the model's text lag.

        Raises:
            AlignmentError: a word has no tokens, begins before the stream, or does not fit before its end.
        """
        ids = {"padding_id": self.padding_id, "end_padding_id": self.end_padding_id}
        return build_text_stream(words, num_frames=num_frames, text_lag_s=self.text_lag_s if lag_s is None else lag_s, **ids)

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
        """Read the table of contents of the language model's file; new pause heads stand in it as zeros."""
        header = read_header(self.lm_weights)
        if not self.has_new_heads:
            return header
        dtype = header.tensors["text_emb.weight"].dtype
        new = {name: TensorSpec(dtype=dtype, shape=shape) for name, shape in self.head_shapes().items()}
        return dataclasses.replace(header, tensors={**header.tensors, **new}, zeros=frozenset(new))

    def head_shapes(self) -> dict[str, tuple[int, int]]:
        """Return the names of the pause heads' weights, the same in PyTorch and Candle, and their shapes [C, D]."""
        shape = (self.num_head_classes, int(self.config["dim"]))
        return {f"extra_heads.{index}.weight": shape for index in range(self.num_heads)}

    def with_new_heads(self) -> ModelDir:
        """Return the model with pause heads of zeros, as many and as wide as those of Kyutai's 1b model.

        Raises `CheckpointError`: it has heads, which would be lost.
        """
        if self.num_heads:
            raise CheckpointError(
                f"{self.name}: has {self.num_heads} pause heads, which lora.heads: new would throw away; lora.heads: full trains them"
            )
        config = {**self.config, "extra_heads_num_heads": len(HORIZONS_S), "extra_heads_dim": NUM_HEAD_CLASSES}
        return dataclasses.replace(self, config=config, has_new_heads=True)


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
    path = file("config.json")
    config = _read_config(path, ConfigJson)
    if require_extra_heads and not config.get("extra_heads_num_heads"):
        raise CheckpointError(
            f"{name}: config.json has no extra heads (extra_heads_num_heads): this model has no pause heads to train or to show; "
            f"`train` with lora.heads: new gives it some, {DEFAULT_BASE} has them; or use its words alone (loss.pause_targets: off, "
            "`transcribe` without --pauses)"
        )
    mimi_config_name = config.get("mimi_config_name")
    model = ModelDir(
        name=name,
        config=config,
        directory=path.parent,
        lm_weights=file(config.get("moshi_name", MOSHI_NAME)),
        mimi_weights=file(config["mimi_name"]),
        mimi_config=_read_config(file(mimi_config_name), MimiConfigJson) if mimi_config_name else None,
        tokenizer_path=file(config["tokenizer_name"]),
    )
    check_sums(model.directory, model.sha256)
    _check_weights(model, require_extra_heads=require_extra_heads)
    _check_tokenizer(model)
    return model


def _local_file(directory: Path, filename: str) -> Path:
    """Return the path of a file of a model directory, from the hub where its name begins with hf://."""
    if filename.startswith("hf://"):
        match = re.fullmatch(f"hf://({_REPO_ID.pattern})/(.+)", filename)
        if match is None:
            raise CheckpointError(f"{directory}/config.json: {filename[:100]!r} is not hf://OWNER/REPO/FILE")
        return _hub_file(match[1], match[2])
    try:
        path = inside(directory, filename)
        check_lies_inside(path, home_of(directory))
    except ValueError as error:
        raise CheckpointError(f"{directory}/config.json: {filename[:100]!r}: {error}; put the file itself there") from None
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; a model directory holds config.json and the files it names")
    return path


def home_of(directory: Path) -> Path:
    """Return the directory to which links of a model directory may lead: itself, or, in the hub's cache (`models--OWNER--NAME/snapshots/
    COMMIT`, whose files are links into `models--OWNER--NAME/blobs`), that of the repository."""
    real = Path(os.path.realpath(directory))
    return real.parent.parent if real.parent.name == "snapshots" else real


def _hub_file(repo: str, filename: str) -> Path:
    """Return the path of a file of a Hugging Face repository, downloaded if need be."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, HfHubHTTPError, HFValidationError, RepositoryNotFoundError
    from requests.exceptions import RequestException

    try:
        inside(Path(), filename)
        return Path(hf_hub_download(repo, filename))
    except (RepositoryNotFoundError, GatedRepoError, HFValidationError):
        raise CheckpointError(f"{repo}: neither a directory here nor a repository of the hub that you may read") from None
    except (EntryNotFoundError, HfHubHTTPError, RequestException, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"{repo}: no directory of that name here, and {filename} could not be fetched from the hub ({reason}); "
            "check the connection, or give a directory or 'tiny'"
        ) from None


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object; raises `CheckpointError` for any other."""
    try:
        value = parse_json(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not JSON: {error}") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: expected a JSON object, got {type(value).__name__}")
    return value


def _read_config(path: Path, form: type[Config]) -> dict[str, Any]:
    """Read a JSON object that has the keys of `form`; raises `CheckpointError` with all its faults."""
    config = read_json_object(path)
    try:
        typed(form, config)
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from None
    return config


def _check_weights(model: ModelDir, *, require_extra_heads: bool) -> None:
    """Check the table of contents of both weight files: heads present, sizes as the config says."""
    read_header(model.mimi_weights)
    tensors = model.lm_header().tensors
    layers = {int(found[1]) for name in tensors if (found := re.match(r"transformer\.layers\.(\d{1,9})\.", name))}
    if layers != set(range(model.config["num_layers"])):
        raise CheckpointError(f"{model.lm_weights}: {len(layers)} layers, config.json says num_layers {model.config['num_layers']}")
    dim = model.config["dim"]
    wanted = {"text_emb.weight": (model.config["text_card"] + 1, dim)}
    wanted |= {f"emb.{index}.weight": (model.config["card"] + 1, dim) for index in range(model.n_q)}
    if require_extra_heads or model.num_heads:
        wanted |= model.head_shapes()
    for name, shape in wanted.items():
        if name not in tensors:
            way_out = f"; use {DEFAULT_BASE}" if name.startswith("extra_heads") else ""
            raise CheckpointError(f"{model.lm_weights}: no tensor {name}, which config.json promises{way_out}")
        if tensors[name].shape != shape:
            raise CheckpointError(
                f"{model.lm_weights}: tensor {name} has shape {list(tensors[name].shape)}, config.json says {list(shape)}"
            )


def _check_tokenizer(model: ModelDir) -> None:
    """Check that the tokenizer has a piece for every token that the model writes, and no other."""
    num_pieces, num_tokens = model.tokenizer.get_piece_size(), model.config.get("text_card_out") or model.config["text_card"]
    if num_pieces != num_tokens:
        raise CheckpointError(
            f"{model.tokenizer_path}: {num_pieces} pieces, where config.json's text_card is {num_tokens}: another model's"
        )
