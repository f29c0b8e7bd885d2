"""Candle, Kyutai's production engine: a directory that `moshi-server` and `stt-rs` take as it is, and the engine run on it here.

The directory has Candle's tensor names, and beside them `moshi-server.toml`, by which the server is told to run the model, and
`moshi-server-unmute.toml`, by which it runs as Unmute deploys it. Source of the keys: `configs/config-stt-en_fr-hf.toml` and
`config-stt-en-hf.toml` of kyutai-labs/delayed-streams-modeling, as `AsrConfig` of moshi-server and `moshi::lm::Config` read them. The
engine is `tools/candle_probe`, built with cargo once and outside the checkout: in `~/.cache/stt-ft/candle_probe`, or where
STT_FT_CANDLE_TARGET says.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

import stt_ft
from stt_ft.core.atomic import write_text
from stt_ft.core.errors import CheckFailed, CheckpointError, SttFtError
from stt_ft.core.progress import say
from stt_ft.core.serving import KYUTAI, SERVINGS, Serving
from stt_ft.core.timing import FRAME_RATE_HZ
from stt_ft.export.agreement import Heard
from stt_ft.model.checkpoint_dir import MOSHI_NAME, ModelDir
from stt_ft.model.merge import write_config_and_companions
from stt_ft.model.output_dir import check_output, whole_directory
from stt_ft.model.safetensors_file import SafetensorsHeader, SafetensorsWriter, as_buffer, candle_name, read_header

FIXED = {
    "norm": "rms_norm_f32", "gating": "silu", "positional_embedding": "rope", "causal": True, "layer_scale": None, "kv_repeat": 1,
    "cross_attention": False,
}  # fmt: skip
"""Values that the engine takes for granted, and defaults of a config without these keys."""

PUBLISHED_DELAYS = {0.5: 6, 2.5: 32}
"""`asr_delay_in_tokens` of Kyutai's two models by their text lag in seconds; no one rounding of lag * 12.5 gives both."""

BATCH_SIZE = 64
"""Streams that the server carries at once (Kyutai's setting for the 1b model on one GPU)."""

MAX_SEQ_LEN = 40960
"""Longest stream in frames before the server's tables end: 54 minutes (Kyutai's setting)."""

SERVER_TOML = "moshi-server.toml"
"""Name of moshi-server's file, as Kyutai serves the model unless another serving is asked for."""

_TEMPLATE = """\
# moshi-server worker --config {file_name}
# {paths_note}
static_dir = "./static/"
log_dir = "$HOME/tmp/stt-logs"
instance_name = "stt"
authorized_ids = ["public_token"]

[modules.asr]
path = "/api/asr-streaming"
type = "BatchedAsr"
lm_model_file = {lm_model_file}
text_tokenizer_file = {text_tokenizer_file}
audio_tokenizer_file = {audio_tokenizer_file}
asr_delay_in_tokens = {asr_delay_in_tokens}
batch_size = {batch_size}
conditioning_learnt_padding = true
temperature = {temperature}

[modules.asr.model]
audio_vocab_size = {audio_vocab_size}
text_in_vocab_size = {text_in_vocab_size}
text_out_vocab_size = {text_out_vocab_size}
audio_codebooks = {audio_codebooks}

[modules.asr.model.transformer]
d_model = {d_model}
num_heads = {num_heads}
num_layers = {num_layers}
dim_feedforward = {dim_feedforward}
causal = true
norm_first = true
bias_ff = false
bias_attn = false
context = {context}
max_period = {max_period}
use_conv_block = false
use_conv_bias = true
gating = "silu"
norm = "RmsNorm"
positional_embedding = "Rope"
conv_layout = false
conv_kernel_size = 3
kv_repeat = 1
max_seq_len = {max_seq_len}
"""

_HEADS = """
[modules.asr.model.extra_heads]
num_heads = {num_heads}
dim = {dim}
"""

_CLIENT = """
# The agent behind the server, for `stt-ft evaluate --serving`; the server passes over it.
[client]
rule = {rule}
flush_s = {flush_s}
flush_speed = {flush_speed}
"""

TARGET_VARIABLE = "STT_FT_CANDLE_TARGET"
"""Environment variable that names the directory for cargo's outputs."""


def export_candle(
    model: ModelDir, out: Path, *, absolute_paths: bool = False, overwrite: bool = False, serving: Serving | None = None
) -> list[str]:
    """Write `out` and return the names of its tensors, in order; the server's files as `write_server_tomls` has them.

    Raises `CheckpointError`: a model that the engine cannot build, tensors missing or left over, an existing `out`, too little disk.
    """
    header = checked_header(model)
    with model_directory(model, out, num_bytes=model.lm_weights.stat().st_size, overwrite=overwrite) as written:
        is_renamed = any(candle_name(name) != name for name in header.tensors)  # else the bytes stay as they are
        write_candle_named(header, written.lm_weights, model.origin if is_renamed else {})
        write_server_tomls(written, out=out if absolute_paths else None, serving=serving)
    return [candle_name(name) for name in header.tensors]


@contextlib.contextmanager
def model_directory(model: ModelDir, out: Path, *, num_bytes: int, overwrite: bool, moshi_name: str = MOSHI_NAME) -> Iterator[ModelDir]:
    """Yield the model in a directory that becomes `out`: config, tokenizer and codec are there, and the language model's file has room.

    Raises `CheckpointError`: a broken codec, an existing `out`, too little disk.
    """
    codec = read_header(model.mimi_weights)
    companions = model.mimi_weights.stat().st_size + model.tokenizer_path.stat().st_size
    check_output(out, overwrite=overwrite, num_bytes=num_bytes + companions)
    with whole_directory(out) as directory:
        written = write_config_and_companions(model, directory, moshi_name=moshi_name)
        write_candle_named(codec, written.mimi_weights)
        yield written


def write_candle_named(header: SafetensorsHeader, path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write the tensors of a file, with more `metadata`, under the engine's names, byte for byte: Kyutai's Mimi has them already, one saved
    by PyTorch has not."""
    source_of = {candle_name(name): name for name in header.tensors}
    specs = {name: header.tensors[source] for name, source in source_of.items()}
    with SafetensorsWriter(path, specs, {"format": "pt", **header.metadata, **(metadata or {})}) as writer:
        for name, source in source_of.items():
            writer.write(name, as_buffer(header.tensor(source)))


def checked_header(model: ModelDir) -> SafetensorsHeader:
    """Return the table of contents of a language model that the engines can build; every exporter begins here.

    Raises:
        CheckpointError: one that they cannot build (every reason is named), tensors missing or left over, or of another shape than
            config.json's.
    """
    config = model.config
    reasons = [f"{key} is {config[key]!r} where it takes {value!r}" for key, value in FIXED.items() if config.get(key, value) != value]
    if any(config.get("delays", [])):
        reasons.append("delays are not all 0")
    if config.get("conditioners"):
        reasons.append("it has conditioners")
    if reasons:
        raise CheckpointError(f"{model.directory}: the engines cannot run this model: {'; '.join(reasons)}")
    header = model.lm_header()
    _check_tensors(model, header)
    return header


def _expected_shapes(model: ModelDir) -> dict[str, tuple[int, ...]]:
    """Return the tensors that the engine asks for, with their shapes (`LmModel::new` of moshi-core)."""
    config, dim, gate = model.config, int(model.config["dim"]), gate_width(model)
    text_in, text_out = int(config["text_card"]) + 1, int(config.get("text_card_out") or config["text_card"])
    shapes = {"text_emb.weight": (text_in, dim), "text_linear.weight": (text_out, dim), "out_norm.alpha": (1, 1, dim)}
    shapes |= {f"emb.{index}.weight": (int(config["card"]) + 1, dim) for index in range(model.n_q)}
    shapes |= model.head_shapes()
    of_a_layer = {
        "self_attn.in_proj_weight": (3 * dim, dim),
        "self_attn.out_proj.weight": (dim, dim),
        "norm1.alpha": (1, 1, dim),
        "norm2.alpha": (1, 1, dim),
        "gating.linear_in.weight": (2 * gate, dim),
        "gating.linear_out.weight": (dim, gate),
    }
    layers = range(config["num_layers"])
    return shapes | {f"transformer.layers.{layer}.{name}": shape for layer in layers for name, shape in of_a_layer.items()}


def _check_tensors(model: ModelDir, header: SafetensorsHeader) -> None:
    """Raise `CheckpointError` for tensors that the engine asks for and are not there, are of another shape, or are unknown to it."""
    found = {candle_name(name): spec.shape for name, spec in header.tensors.items()}
    expected, faults = _expected_shapes(model), []
    if missing := sorted(expected.keys() - found.keys()):
        faults.append(f"lacks {', '.join(missing[:4])}")
    if extra := sorted(found.keys() - expected.keys()):
        faults.append(f"holds {', '.join(extra[:4])}, which the engine does not know")
    if wrong := [name for name in sorted(expected.keys() & found.keys()) if expected[name] != found[name]]:
        name = wrong[0]
        faults.append(f"has {name} of shape {list(found[name])} where config.json asks for {list(expected[name])}")
    if faults:
        raise CheckpointError(f"{model.lm_weights}: {' and '.join(faults)}")


def delay_in_tokens(text_lag_s: float) -> int:
    """Return `asr_delay_in_tokens`: the published value for Kyutai's lags, the nearest number of frames for others."""
    return PUBLISHED_DELAYS.get(text_lag_s, round(text_lag_s * FRAME_RATE_HZ))


def feedforward_dim(model: ModelDir) -> int:
    """Return Rust's `dim_feedforward` for PyTorch's `hidden_scale`, such that both make gates of the same width.

    Raises `CheckpointError`: no value does.
    """
    dim, python_width = int(model.config["dim"]), gate_width(model)
    for candidate in (4 * dim, int(model.config.get("hidden_scale", 4) * dim)):
        rust_width = 11 * dim // 4 if candidate == 4 * dim else 2 * candidate // 3
        if rust_width == python_width:
            return candidate
    raise CheckpointError(f"{model.directory / 'config.json'}: moshi-server cannot build gates {python_width} wide for dim {dim}")


def gate_width(model: ModelDir) -> int:
    """Return the width of the gates that upstream's `ActivationGating` makes."""
    dim = int(model.config["dim"])
    dim_feedforward = int(model.config.get("hidden_scale", 4) * dim)
    return 21 * dim // 8 if dim_feedforward == 4 * dim else 2 * dim_feedforward // 3


def write_server_tomls(written: ModelDir, *, out: Path | None, serving: Serving | None = None) -> None:
    """Write `moshi-server.toml` beside an exported model as `serving` says or, without one, as Kyutai does, and a file for each other name.

    They name the files there by absolute paths under `out`, where that is given.
    """
    directory = None if out is None else out.absolute()
    servings = SERVINGS if serving is None else {"kyutai": serving}
    for name, one in servings.items():
        file_name = SERVER_TOML if name == "kyutai" else f"moshi-server-{name}.toml"
        write_text(written.directory / file_name, server_toml(written, directory=directory, serving=one, file_name=file_name))


def server_toml(model: ModelDir, *, directory: Path | None, serving: Serving = KYUTAI, file_name: str = SERVER_TOML) -> str:
    """Return the text of moshi-server's file for an exported model, with paths under `directory` or, where it is None, relative ones."""
    names = {
        "lm_model_file": model.lm_weights.name,
        "text_tokenizer_file": model.tokenizer_path.name,
        "audio_tokenizer_file": model.mimi_weights.name,
    }
    config = model.config
    toml = _TEMPLATE.format(
        file_name=file_name,
        paths_note="start it in this directory" if directory is None else "the paths below are absolute: start it anywhere",
        **{key: json.dumps(name if directory is None else str(directory / name)) for key, name in names.items()},
        asr_delay_in_tokens=delay_in_tokens(model.text_lag_s),
        batch_size=BATCH_SIZE,
        audio_vocab_size=config["card"] + 1,
        text_in_vocab_size=config["text_card"] + 1,
        text_out_vocab_size=config.get("text_card_out") or config["text_card"],
        audio_codebooks=serving.num_codebooks(model.n_q),
        temperature=serving.temperature,
        d_model=config["dim"],
        num_heads=config["num_heads"],
        num_layers=config["num_layers"],
        dim_feedforward=feedforward_dim(model),
        context=model.context,
        max_period=int(config.get("max_period", 10_000)),
        max_seq_len=MAX_SEQ_LEN,
    )
    if model.num_heads:
        toml += _HEADS.format(num_heads=model.num_heads, dim=model.num_head_classes)
    if serving.flush_s or serving.rule != KYUTAI.rule:
        toml += _CLIENT.format(rule=json.dumps(serving.rule), flush_s=serving.flush_s, flush_speed=serving.flush_speed)
    return toml


class CargoMissing(SttFtError):
    """There is no Rust toolchain to build the engine with."""

    def __init__(self) -> None:
        super().__init__("cargo is not installed, and the engine is built with it; https://rustup.rs installs it, or leave --verify out")


def probe_source() -> Path:
    """Return the directory of the probe's Cargo.toml: in the checkout, or inside the installed package."""
    package = Path(stt_ft.__file__).parent
    checkout = package.parent / "tools" / "candle_probe"
    return checkout if (checkout / "Cargo.toml").is_file() else package / "assets" / "candle_probe"


def target_directory() -> Path:
    """Return where cargo keeps what it builds."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get(TARGET_VARIABLE) or cache / "stt-ft" / "candle_probe")


def build_probe() -> Path:
    """Build the probe, which takes minutes the first time and a moment later, and return the program.

    Raises:
        CargoMissing: there is no cargo.
        CheckFailed: it does not build; with the compiler's last lines.
    """
    cargo = shutil.which("cargo")
    if cargo is None:
        raise CargoMissing
    target = target_directory()
    program = target / "release" / "candle_probe"
    if not program.exists():
        say(f"building the engine in {target}; minutes, once only")
    manifest = probe_source() / "Cargo.toml"
    command = [cargo, "build", "--release", "--locked", "--quiet", "--manifest-path", str(manifest), "--target-dir", str(target)]
    built = subprocess.run(command, capture_output=True, text=True)
    if built.returncode:
        raise CheckFailed(f"{manifest} does not build: {_last_lines(built.stderr)}")
    return program


def run_on_codes(program: Path, model: Path, codes: Mapping[str, np.ndarray]) -> dict[str, Heard]:
    """Run the engine in float32 on codec codes [n_q, T] by clip, as many of them as it reads; it writes the likeliest tokens."""
    toml = (model / SERVER_TOML).read_text(encoding="utf-8")
    num_heard = int(re.search(r"^audio_codebooks = (\d+)$", toml, re.MULTILINE)[1])  # pyright: ignore[reportOptionalSubscript]
    with tempfile.TemporaryDirectory() as scratch:
        served = Path(scratch) / "served"  # the exported directory, but for chance
        served.mkdir()
        for file in model.iterdir():
            (served / file.name).symlink_to(file.absolute())
        (served / SERVER_TOML).unlink()
        write_text(served / SERVER_TOML, re.sub(r"^temperature = .*$", "temperature = 0.0", toml, flags=re.MULTILINE))
        path = Path(scratch) / "codes.safetensors"
        # Clips go by number, so that no name of a file has to be a name of a tensor.
        numbered = {f"{index:06d}": np.ascontiguousarray(clip[:num_heard], dtype=np.int64) for index, clip in enumerate(codes.values())}
        safetensors.numpy.save_file(numbered, path)
        by_clip: dict[str, list[dict[str, Any]]] = {number: [] for number in numbered}
        for row in run_probe(program, served, "--codes", str(path), "--dtype", "f32"):
            by_clip[row["clip"]].append(row)
    return {clip: _stream(rows) for clip, rows in zip(codes, by_clip.values(), strict=True)}


def run_probe(program: Path, model: Path, *arguments: str) -> list[dict[str, Any]]:
    """Run the probe on the exported directory `model` and return its rows, one a frame."""
    environment = {**os.environ, "RUST_BACKTRACE": "0"}
    done = subprocess.run([str(program), str(model), *arguments], capture_output=True, text=True, env=environment)
    if done.returncode:
        raise CheckFailed(f"{model}: the engine cannot run it: {_last_lines(done.stderr)}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def _stream(rows: list[dict[str, Any]]) -> Heard:
    return Heard(
        text_tokens=np.array([row["text_token"] for row in rows], dtype=np.int32),
        pause_probs=np.array([row["pause"] for row in rows], dtype=np.float32).reshape(len(rows), -1),
    )


def _last_lines(text: str) -> str:
    """Return the last six lines of a program's output on one line."""
    return " | ".join(line.strip() for line in text.strip().splitlines()[-6:] if line.strip())
