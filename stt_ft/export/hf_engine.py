"""`transformers` itself, on an exported directory: the likeliest token after every frame, and the pause heads on its hidden states."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from stt_ft.export.agreement import Heard
from stt_ft.export.hf_transformers import HEADS_NAME


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
