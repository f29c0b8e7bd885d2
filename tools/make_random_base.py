"""Write a model directory of the right shape and random weights, to test what does not need a model that hears.

    python tools/make_random_base.py --shape tiny --out /tmp/random_tiny        a fraction of a second, under 1 MB
    python tools/make_random_base.py --shape served --out /tmp/served          a tiny language model behind a Mimi of the true shape, 400 MB
    python tools/make_random_base.py --shape 1b   --out /tmp/random_1b          half a minute, 2.4 GB

The files, their names, config keys and tensor names are those of `kyutai/stt-1b-en_fr-candle`; the same seed writes the same bytes.
"""

from __future__ import annotations

import argparse
import io
import json
import math
from pathlib import Path
from typing import Any

import safetensors.torch
import sentencepiece
import torch
from moshi.models import loaders
from moshi.models.lm import LMModel

from stt_ft.core.atomic import atomic_directory
from stt_ft.model.checkpoint_dir import NOT_FOR_THE_LM
from stt_ft.model.safetensors_file import SafetensorsWriter, TensorSpec, candle_name

CORPUS = "zero one two three four five six seven eight nine oh double order number is my phone location code the it please check yes hello"
SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"dim": 64, "num_heads": 2, "num_layers": 2, "n_q": 4, "card": 64, "text_card": 96, "context": 250, "max_period": 1e4},
    "served": {"dim": 64, "num_heads": 2, "num_layers": 2, "n_q": 32, "card": 2048, "text_card": 96, "context": 250, "max_period": 1e4},
    "1b": {"dim": 2048, "num_heads": 16, "num_layers": 16, "n_q": 32, "card": 2048, "text_card": 8000, "context": 750, "max_period": 1e5},
}
PADDING_SCALE = {"served": 3.0}
"""By how much the rows of text_linear for end-of-padding and padding exceed others: without, next to no word ends."""

TINY_MIMI = {
    "seanet": {"n_filters": 4, "dimension": 32},
    "quantizer": {"dimension": 16, "n_q": 4, "bins": 64, "input_dimension": 32, "output_dimension": 32},
    "transformer": {
        "d_model": 32, "num_heads": 2, "num_layers": 1, "dim_feedforward": 64, "input_dimension": 32, "output_dimensions": [32],
        "layer_scale": 0.3,
    },
}  # fmt: skip


def make_random_base(
    out: Path, *, shape: str = "tiny", seed: int = 0, dep_q: int = 0, extra_heads: bool = True, text_lag_s: float = 0.5
) -> Path:
    """Write a random model directory to `out`, which must not exist, and return it."""
    generator = torch.Generator().manual_seed(seed)
    config = _config(shape, dep_q=dep_q, extra_heads=extra_heads, text_lag_s=text_lag_s)
    with atomic_directory(out) as directory:
        (directory / config["tokenizer_name"]).write_bytes(_tokenizer(config["text_card"]))
        _write_lm(directory / config["moshi_name"], config, generator, padding_scale=PADDING_SCALE.get(shape, 1.0))
        mimi_config = loaders._mimi_config if shape != "tiny" else {**loaders._mimi_config, **_tiny_mimi_sections()}
        if shape == "tiny":
            config["mimi_config_name"] = "mimi_config.json"
            (directory / "mimi_config.json").write_text(json.dumps(mimi_config, indent=1))
        _write_mimi(directory / config["mimi_name"], mimi_config, generator)
        (directory / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    return out


def _config(shape: str, *, dep_q: int, extra_heads: bool, text_lag_s: float) -> dict[str, Any]:
    """Return config.json with the keys of Kyutai's published one; a `dep_q` above 0 adds a small depformer."""
    sizes = SIZES[shape]
    return {
        **sizes, "dep_q": dep_q, "delays": [0] * (sizes["n_q"] + 1), "existing_text_padding_id": 3, "hidden_scale": 4.125,
        "causal": True, "layer_scale": None, "gating": "silu", "norm": "rms_norm_f32", "positional_embedding": "rope",
        "depformer_dim": sizes["dim"] // 2, "depformer_num_heads": sizes["num_heads"], "depformer_num_layers": 1,
        "depformer_dim_feedforward": None, "depformer_multi_linear": True, "depformer_pos_emb": "none",
        "depformer_weights_per_step": True, "conditioners": {}, "cross_attention": False,
        "extra_heads_num_heads": 4 if extra_heads else 0, "extra_heads_dim": 6, "lora": False,
        "lm_gen_config": {"temp": 0.0, "temp_text": 0.0, "top_k": 250, "top_k_text": 50},
        "stt_config": {"audio_delay_seconds": text_lag_s, "audio_silence_prefix_seconds": 0.0},
        "model_type": "stt", "model_id": {"sig": "random", "epoch": 0},
        "moshi_name": "model.safetensors", "mimi_name": "mimi.safetensors", "tokenizer_name": "tokenizer.model",
    }  # fmt: skip


def _tiny_mimi_sections() -> dict[str, Any]:
    return {section: {**loaders._mimi_config[section], **changes} for section, changes in TINY_MIMI.items()}


def _tokenizer(text_card: int) -> bytes:
    """Train a sentencepiece model with ids 0 end-of-padding, 1, 2, 3 padding, filled up to `text_card` pieces."""
    learned = 80
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(  # pyright: ignore[reportAttributeAccessIssue]
        sentence_iterator=iter([CORPUS] * 4 + ["0123456789 abcdefghijklmnopqrstuvwxyz'-.,?!"]),
        model_writer=model,
        vocab_size=text_card,
        user_defined_symbols=[f"▁filler{index}" for index in range(text_card - learned)],
        hard_vocab_limit=True,
        model_type="bpe",
        character_coverage=1.0,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=3,
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()


def _write_lm(path: Path, config: dict[str, Any], generator: torch.Generator, *, padding_scale: float) -> None:
    """Write random bfloat16 weights tensor by tensor; shapes come from upstream's own model built on the meta device."""
    others = (*NOT_FOR_THE_LM, "lora", "conditioners")
    lm = LMModel(device=torch.device("meta"), dtype=torch.bfloat16, **{k: v for k, v in config.items() if k not in others})
    shapes = {candle_name(name) if name.startswith("transformer.") else name: tuple(t.shape) for name, t in lm.state_dict().items()}
    specs = {name: TensorSpec(dtype="BF16", shape=shape) for name, shape in shapes.items()}
    with SafetensorsWriter(path, specs, metadata={"format": "pt"}) as writer:
        for name, shape in shapes.items():
            std = 0.5 if name.startswith(("emb.", "text_emb.")) else 1 / math.sqrt(shape[-1])
            weight = torch.ones(shape) if name.endswith("alpha") else torch.empty(shape).normal_(0, std, generator=generator)
            if name == "text_linear.weight":
                weight[[0, config["existing_text_padding_id"]]] *= padding_scale
            writer.write(name, weight.bfloat16().view(torch.uint8).flatten().numpy())


def _write_mimi(path: Path, mimi_config: dict[str, Any], generator: torch.Generator) -> None:
    """Write a Mimi of random codebooks whose convolutions keep variance: initialised by default, they shrink everything to nothing."""
    mimi = loaders.get_mimi(None, mimi_config, num_codebooks=mimi_config["quantizer"]["n_q"])
    with torch.no_grad():
        for name, parameter in sorted(mimi.named_parameters()):
            if parameter.dim() > 1:
                parameter.normal_(0, math.sqrt(1.6 / parameter[0].numel()), generator=generator)
            elif name.endswith("bias"):
                parameter.zero_()
        for name, buffer in sorted(mimi.named_buffers()):
            if name.endswith("embedding_sum"):
                buffer.normal_(generator=generator)
            elif name.endswith(("cluster_usage", "_initialized")):
                buffer.fill_(1)
    safetensors.torch.save_file({name: tensor.contiguous() for name, tensor in sorted(mimi.state_dict().items())}, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=sorted(SIZES), default="tiny")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dep-q", type=int, default=0, help="codebooks the model speaks (0: speech-to-text only)")
    parser.add_argument("--no-extra-heads", action="store_true", help="leave the pause heads out")
    arguments = parser.parse_args()
    print(
        make_random_base(
            arguments.out, shape=arguments.shape, seed=arguments.seed, dep_q=arguments.dep_q, extra_heads=not arguments.no_extra_heads
        )
    )


if __name__ == "__main__":
    main()
