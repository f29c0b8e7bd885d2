"""A directory that `transformers` opens as `KyutaiSpeechToTextForConditionalGeneration`, processor and all.

    KyutaiSpeechToTextForConditionalGeneration.from_pretrained(DIR)

That class has no place for the pause heads: they lie beside it in `extra_heads.safetensors`, to be applied to the last hidden state.
Names are checked as a bijection against the class itself. Rotary position: upstream turns neighbouring pairs of a head's numbers,
`transformers` its two halves, so the rows of queries and keys are reordered. Source: `modeling_kyutai_speech_to_text.py` and
`modeling_mimi.py` of transformers 4.57.

To prove it, `transformers` itself runs on codes: the likeliest token after every frame, and the pause heads on its hidden states.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from moshi.models import loaders
from safetensors.torch import load_file

from stt_ft.core.atomic import write_text
from stt_ft.core.errors import CheckpointError, MissingExtra
from stt_ft.export.agreement import Heard
from stt_ft.export.candle import checked_header, gate_width
from stt_ft.model.checkpoint_dir import UNFIT, ModelDir
from stt_ft.model.merge import TORCH_TYPES, read_float32
from stt_ft.model.output_dir import check_output, whole_directory
from stt_ft.model.safetensors_file import SafetensorsHeader, SafetensorsWriter, TensorSpec, as_buffer, candle_name, read_header

WEIGHTS_NAME, HEADS_NAME = "model.safetensors", "extra_heads.safetensors"

_LAYER_NAMES = (
    (r"^transformer\.layers\.", "model.layers."), (r"^out_norm\.alpha$", "model.norm.weight"), (r"\.alpha$", ".weight"),
    (r"\.gating\.linear_in\.", ".mlp.fc1."), (r"\.gating\.linear_out\.", ".mlp.fc2."), (r"\.out_proj\.weight$", ".o_proj.linear.weight"),
    (r"\.norm1\.", ".input_layernorm."), (r"\.norm2\.", ".post_attention_layernorm."),
)  # fmt: skip
"""Candle's names of a layer's tensors -> those of `transformers`."""

_CODEC_NAMES = (
    (r"^", "codec_model."), (r"(\.conv){2,3}\.", ".conv."), (r"(\.convtr){2,3}\.", ".conv."), (r"coder\.model\.", "coder.layers."),
    (r"\.rvq_first(\.vq)?\.", ".semantic_residual_vector_quantizer."), (r"\.rvq_rest(\.vq)?\.", ".acoustic_residual_vector_quantizer."),
    (r"\._codebook\.", ".codebook."), (r"\._initialized$", ".initialized"), (r"\.embedding_sum$", ".embed_sum"),
    (r"coder_transformer\.transformer\.", "coder_transformer."), (r"\.linear(1|2)\.", r".mlp.fc\1."), (r"\.out_proj\.", ".o_proj."),
    (r"\.norm1\.", ".input_layernorm."), (r"\.norm2\.", ".post_attention_layernorm."),
    (r"\.layer_scale_1\.", ".self_attn_layer_scale."), (r"\.layer_scale_2\.", ".mlp_layer_scale."),
)  # fmt: skip
"""Candle's names of the codec's tensors -> those of `transformers`."""


class _Tensor:
    """A tensor to be written: its number type and shape now, its numbers when they are asked for."""

    def __init__(self, dtype: str, shape: tuple[int, ...], read: Callable[[], torch.Tensor]) -> None:
        self.spec, self.read = TensorSpec(dtype=dtype, shape=shape), read


def export_transformers(model: ModelDir, out: Path, *, overwrite: bool = False) -> list[str]:
    """Write `out` and return the names of its tensors, in order.

    Raises:
        MissingExtra: `transformers` is not installed.
        CheckpointError: a model that its class cannot build, tensors missing or left over, an existing `out`, too little disk.
    """
    try:
        from transformers import KyutaiSpeechToTextForConditionalGeneration
    except ImportError:
        raise MissingExtra("transformers 4.53 or newer", "transformers", "--format transformers") from None
    header, config = checked_header(model), stt_config(model)
    codec = _codec(read_header(model.mimi_weights), num_heads=config.codec_config.num_attention_heads, n_q=model.n_q)
    tensors = dict(_language_model(model, header)) | dict(codec)
    with torch.device("meta"):
        expected = {name: tuple(tensor.shape) for name, tensor in KyutaiSpeechToTextForConditionalGeneration(config).state_dict().items()}
    if wrong := sorted({name: tensor.spec.shape for name, tensor in tensors.items()}.items() ^ expected.items()):
        name, shape = wrong[0]
        raise CheckpointError(f"{model.directory}: transformers has no place for this model, such as {name} {list(shape)}")
    heads = {name: _tensor(header, name) for name in sorted(header.tensors) if name.startswith("extra_heads.")}
    check_output(out, overwrite=overwrite, num_bytes=sum(each.spec.num_bytes for each in (*tensors.values(), *heads.values())))
    with whole_directory(out) as directory:
        config.save_pretrained(directory)
        write_text(directory / "generation_config.json", generation_config(model))
        processor_of(model).save_pretrained(directory)
        _write(directory / WEIGHTS_NAME, tensors, header.metadata | model.origin)
        _write(directory / HEADS_NAME, heads, header.metadata | model.origin)
    return [*tensors, *heads]


def _tensor(header: SafetensorsHeader, name: str) -> _Tensor:
    spec = header.tensors[name]
    return _Tensor(spec.dtype, spec.shape, lambda: read_float32(header, name))


def _language_model(model: ModelDir, header: SafetensorsHeader) -> Iterator[tuple[str, _Tensor]]:
    """Yield the language model's tensors under their new names: one table of embeddings, and queries, keys and values apart."""
    own = {candle_name(name): name for name in header.tensors}
    tables = [own[name] for name in ("text_emb.weight", *(f"emb.{index}.weight" for index in range(model.n_q)))]
    yield "model.embed_tokens.embed_tokens.weight", _with_empty_row(header, tables)
    yield "lm_head.weight", _with_empty_row(header, [own["text_linear.weight"]])
    for name, source in own.items():
        if name.endswith(".in_proj_weight"):
            base = _renamed(name.removesuffix("in_proj_weight"), _LAYER_NAMES)
            yield from _projections(header, source, base, ".linear.weight", num_heads=int(model.config["num_heads"]))
        elif name.startswith("transformer.") or name == "out_norm.alpha":
            spec = header.tensors[source]
            shape = spec.shape[-1:] if name.endswith(".alpha") else spec.shape
            yield _renamed(name, _LAYER_NAMES), _Tensor(spec.dtype, shape, lambda s=source: read_float32(header, s))


def _codec(header: SafetensorsHeader, *, num_heads: int, n_q: int) -> Iterator[tuple[str, _Tensor]]:
    """Yield the codec's tensors under their new names, in float32, in which `transformers` runs it; codebooks beyond `n_q` are left out."""
    for source, spec in header.tensors.items():
        name = candle_name(source)
        codebook = re.match(r"quantizer\.rvq_rest\.vq\.layers\.(\d+)\.", name)
        if codebook is not None and int(codebook[1]) >= n_q - 1:
            continue
        if name.endswith(".in_proj_weight"):
            base = _renamed(name.removesuffix("in_proj_weight"), _CODEC_NAMES)
            for projection, tensor in _projections(header, source, base, ".weight", num_heads=num_heads):
                yield projection, _Tensor("F32", tensor.spec.shape, tensor.read)
        else:
            yield _renamed(name, _CODEC_NAMES), _Tensor("F32", spec.shape, lambda s=source: read_float32(header, s))


def _renamed(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def _with_empty_row(header: SafetensorsHeader, names: list[str]) -> _Tensor:
    """Return the tables one under the other, and a row of zeros: `transformers` keeps a token more than upstream does."""
    specs = [header.tensors[name] for name in names]
    shape = (sum(spec.shape[0] for spec in specs) + 1, specs[0].shape[1])
    return _Tensor(specs[0].dtype, shape, lambda: torch.cat([*(read_float32(header, name) for name in names), torch.zeros(1, shape[1])]))


def _projections(header: SafetensorsHeader, source: str, base: str, suffix: str, *, num_heads: int) -> Iterator[tuple[str, _Tensor]]:
    """Yield queries, keys and values of a stacked projection; the first two with their rows reordered for rotary position."""
    spec = header.tensors[source]
    shape = (spec.shape[0] // 3, spec.shape[1])
    for index, letter in enumerate("qkv"):

        def read(index: int = index, letter: str = letter) -> torch.Tensor:
            part = read_float32(header, source).chunk(3)[index]
            return part if letter == "v" else halves_from_pairs(part, num_heads)

        yield f"{base}{letter}_proj{suffix}", _Tensor(spec.dtype, shape, read)


def halves_from_pairs(weight: torch.Tensor, num_heads: int) -> torch.Tensor:
    """Reorder the rows of each head from (a0 b0 a1 b1 …) to (a0 a1 … b0 b1 …)."""
    heads = weight.unflatten(0, (num_heads, -1))
    return torch.cat([heads[:, 0::2], heads[:, 1::2]], dim=1).flatten(0, 1)


def _write(path: Path, tensors: dict[str, _Tensor], metadata: dict[str, str]) -> None:
    with SafetensorsWriter(path, {name: tensor.spec for name, tensor in tensors.items()}, {**metadata, "format": "pt"}) as writer:
        for name, tensor in tensors.items():
            writer.write(name, as_buffer(tensor.read().to(TORCH_TYPES[tensor.spec.dtype])))


def stt_config(model: ModelDir) -> Any:
    """Return the `KyutaiSpeechToTextConfig` of `model`."""
    from transformers import KyutaiSpeechToTextConfig

    config = model.config
    vocab, codes = int(config["text_card"]) + 1, int(config["card"]) + 1
    made = KyutaiSpeechToTextConfig(
        codebook_vocab_size=codes,
        vocab_size=vocab,
        hidden_size=int(config["dim"]),
        num_hidden_layers=int(config["num_layers"]),
        num_attention_heads=int(config["num_heads"]),
        # A table of cosines grows with the stream; this is only how far it reaches at first.
        max_position_embeddings=model.context,
        rope_theta=float(config.get("max_period", 10_000)),
        sliding_window=model.context,
        ffn_dim=2 * gate_width(model),
        num_codebooks=model.n_q,
        audio_bos_token_id=codes - 1,
        audio_pad_token_id=vocab + model.n_q * codes,
        pad_token_id=model.padding_id,
        bos_token_id=vocab - 1,
        codec_config=codec_config(model),
        architectures=["KyutaiSpeechToTextForConditionalGeneration"],
    )
    made.stt_ft_text_lag_s, made.stt_ft_num_extra_heads = model.text_lag_s, model.num_heads
    return made


def codec_config(model: ModelDir) -> dict[str, Any]:
    """Return the `MimiConfig` of the model's codec, with as many codebooks as the language model takes in.

    Raises `CheckpointError`: mimi_config.json lacks a key.
    """
    try:
        shape = model.mimi_config or loaders._mimi_config
        seanet, quantizer, transformer = shape["seanet"], shape["quantizer"], shape["transformer"]
        return {
            "model_type": "mimi",
            "hidden_size": seanet["dimension"],
            "num_filters": seanet["n_filters"],
            "num_residual_layers": seanet["n_residual_layers"],
            "upsampling_ratios": seanet["ratios"],
            "kernel_size": seanet["kernel_size"],
            "last_kernel_size": seanet["last_kernel_size"],
            "residual_kernel_size": seanet["residual_kernel_size"],
            "dilation_growth_rate": seanet["dilation_base"],
            "compress": seanet["compress"],
            "codebook_size": quantizer["bins"],
            "codebook_dim": quantizer["dimension"],
            "vector_quantization_hidden_dimension": quantizer["dimension"],
            "num_quantizers": model.n_q,
            "upsample_groups": seanet["dimension"],
            "num_hidden_layers": transformer["num_layers"],
            "intermediate_size": transformer["dim_feedforward"],
            "num_attention_heads": transformer["num_heads"],
            "num_key_value_heads": transformer["num_heads"],
            "rope_theta": float(transformer["max_period"]),
            "sliding_window": transformer["context"],
            "layer_scale_initial_scale": transformer["layer_scale"],
        }
    except KeyError as error:
        raise CheckpointError(f"{model.directory}: its codec's config has no {error}, which transformers asks for") from None


def generation_config(model: ModelDir) -> str:
    """Return generation_config.json: greedy, one frame of sound at a time, as a stream is heard."""
    config = {
        "do_sample": False,
        "audio_window_size": 1,
        "cache_implementation": "sliding_window",
        "codec_use_cache": True,
        "codec_cache_implementation": "sliding_window",
        "bos_token_id": int(model.config["text_card"]),
        "pad_token_id": model.padding_id,
    }
    return json.dumps(config, indent=1) + "\n"


def processor_of(model: ModelDir) -> Any:
    """Return the `KyutaiSpeechToTextProcessor` of `model`: its tokenizer, and how much silence its sound is given."""
    from transformers import KyutaiSpeechToTextFeatureExtractor, KyutaiSpeechToTextProcessor, PreTrainedTokenizerFast
    from transformers.convert_slow_tokenizer import MoshiConverter

    pieces = model.tokenizer
    try:
        converted = MoshiConverter(str(model.tokenizer_path)).converted()
    except UNFIT as error:  # it knows tokenizers of one kind (unigram), as Kyutai's are
        raise CheckpointError(f"{model.tokenizer_path}: transformers cannot convert this tokenizer: {error}") from None
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=converted,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
        unk_token=pieces.id_to_piece(pieces.unk_id()),
        pad_token=pieces.id_to_piece(model.padding_id),
    )
    extractor = KyutaiSpeechToTextFeatureExtractor(
        audio_delay_seconds=model.text_lag_s, audio_silence_prefix_seconds=model.silence_prefix_s
    )
    return KyutaiSpeechToTextProcessor(extractor, tokenizer)


@torch.inference_mode()
def run_transformers(directory: Path, codes: Mapping[str, np.ndarray], tokens: Mapping[str, np.ndarray]) -> dict[str, Heard]:
    """Let `KyutaiSpeechToTextForConditionalGeneration` hear codes [n_q, T] in float32, given the tokens [T] written at each frame."""
    from transformers import KyutaiSpeechToTextForConditionalGeneration

    # from_pretrained evaluates (no dropout); its annotation promises a pair too, which it returns only when asked.
    model: Any = KyutaiSpeechToTextForConditionalGeneration.from_pretrained(directory, dtype=torch.float32)
    heads = torch.stack([weight.float() for _, weight in sorted(load_file(directory / HEADS_NAME).items())] or [torch.zeros(1, 1)])
    config: Any = model.config
    heard = {}
    for clip, clip_codes in codes.items():
        inputs = torch.full((1, clip_codes.shape[1], 1 + config.num_codebooks), int(config.audio_bos_token_id))
        inputs[:, 0, 0] = config.bos_token_id
        inputs[0, 1:, 0] = torch.from_numpy(tokens[clip][:-1].astype(np.int64))
        inputs[0, 1:, 1:] = torch.from_numpy(clip_codes[:, :-1].T.astype(np.int64))
        hidden = model.model(input_ids=inputs, use_cache=False).last_hidden_state
        # The class keeps one token more than the model writes: the last one, with no weight.
        text = model.lm_head(hidden)[0, :, :-1].argmax(dim=-1)
        pauses = torch.einsum("td,hcd->thc", hidden[0], heads).softmax(dim=-1)[..., 0] if heads.shape[0] and heads.dim() == 3 else None
        heard[clip] = Heard(
            text_tokens=text.numpy().astype(np.int32),
            pause_probs=np.zeros((len(text), 0), dtype=np.float32) if pauses is None else pauses.numpy(),
        )
    return heard
