"""What `transformers` wants to know of a model beside its weights: the config, with the codec's inside, and the processor."""

from __future__ import annotations

import json
from typing import Any

from moshi.models import loaders

from stt_ft.export.server_config import gate_width
from stt_ft.model.checkpoint_dir import ModelDir


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
    """Return the `MimiConfig` of the model's codec, with as many codebooks as the language model takes in."""
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
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=MoshiConverter(str(model.tokenizer_path)).converted(),
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
        unk_token=pieces.id_to_piece(pieces.unk_id()),
        pad_token=pieces.id_to_piece(model.padding_id),
    )
    extractor = KyutaiSpeechToTextFeatureExtractor(
        audio_delay_seconds=model.text_lag_s, audio_silence_prefix_seconds=model.silence_prefix_s
    )
    return KyutaiSpeechToTextProcessor(extractor, tokenizer)
