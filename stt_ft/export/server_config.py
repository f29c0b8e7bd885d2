"""`moshi-server.toml`: how the Rust server is told to run an exported model.

Source: `configs/config-stt-en_fr-hf.toml` and `config-stt-en-hf.toml` of kyutai-labs/delayed-streams-modeling; keys as `AsrConfig` of
moshi-server and `moshi::lm::Config` read them.
"""

from __future__ import annotations

import json
from pathlib import Path

from stt_ft.core.errors import CheckpointError
from stt_ft.core.timing import FRAME_RATE_HZ
from stt_ft.model.checkpoint_dir import ModelDir

PUBLISHED_DELAYS = {0.5: 6, 2.5: 32}
"""`asr_delay_in_tokens` of Kyutai's two models by their text lag in seconds; no one rounding of lag * 12.5 gives both."""

BATCH_SIZE = 64
"""Streams that the server carries at once (Kyutai's setting for the 1b model on one GPU)."""

MAX_SEQ_LEN = 40960
"""Longest stream in frames before the server's tables end: 54 minutes (Kyutai's setting)."""

_TEMPLATE = """\
# moshi-server worker --config moshi-server.toml
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
temperature = 0.0

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


def delay_in_tokens(text_lag_s: float) -> int:
    """Return `asr_delay_in_tokens`: the published value for Kyutai's lags, the nearest number of frames for others."""
    return PUBLISHED_DELAYS.get(text_lag_s, round(text_lag_s * FRAME_RATE_HZ))


def feedforward_dim(model: ModelDir) -> int:
    """Return Rust's `dim_feedforward` for PyTorch's `hidden_scale`, such that both make gates of the same width.

    Raises:
        CheckpointError: no value does.
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


def server_toml(model: ModelDir, *, directory: Path | None) -> str:
    """Return the text of `moshi-server.toml`.

    Args:
        model: the exported model.
        directory: where its files will lie, to name them by absolute paths; None names them relative to the file.
    """
    names = {
        "lm_model_file": model.lm_weights.name,
        "text_tokenizer_file": model.tokenizer_path.name,
        "audio_tokenizer_file": model.mimi_weights.name,
    }
    config = model.config
    toml = _TEMPLATE.format(
        paths_note="start it in this directory" if directory is None else "the paths below are absolute: start it anywhere",
        **{key: json.dumps(name if directory is None else str(directory / name)) for key, name in names.items()},
        asr_delay_in_tokens=delay_in_tokens(model.text_lag_s),
        batch_size=BATCH_SIZE,
        audio_vocab_size=config["card"] + 1,
        text_in_vocab_size=config["text_card"] + 1,
        text_out_vocab_size=config.get("text_card_out") or config["text_card"],
        audio_codebooks=model.n_q,
        d_model=config["dim"],
        num_heads=config["num_heads"],
        num_layers=config["num_layers"],
        dim_feedforward=feedforward_dim(model),
        context=model.context,
        max_period=int(config.get("max_period", 10_000)),
        max_seq_len=MAX_SEQ_LEN,
    )
    return toml + (_HEADS.format(num_heads=model.num_heads, dim=config.get("extra_heads_dim", 6)) if model.num_heads else "")
