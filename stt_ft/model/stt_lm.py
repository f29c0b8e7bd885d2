"""The language model: loading it, and one forward pass over a whole clip.

Upstream's `LMModel.forward` always runs the depformer, which a speech-to-text model (`dep_q == 0`) does not have, and discards the
transformer's output, which the pause heads need. This module therefore wraps `LMModel.forward_text`, which is public too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from moshi.models import loaders
from moshi.models.lm import LMModel
from moshi.models.lm_utils import _delay_sequence, _undelay_sequence
from safetensors import SafetensorError
from torch import nn

from stt_ft.core.errors import CheckpointError
from stt_ft.model.checkpoint_dir import UNFIT, ModelDir
from stt_ft.model.device import compile_only_on_gpu
from stt_ft.model.lora import attach_adapter
from stt_ft.model.safetensors_file import check_finite


@dataclass(frozen=True, kw_only=True)
class SttOutput:
    """The outputs of the model at every frame; position t predicts `codes[..., t]` from `codes[..., :t]`."""

    hidden: torch.Tensor  # [B, T, D], after the output norm
    text_logits: torch.Tensor  # [B, T, V]
    head_logits: torch.Tensor  # [B, T, H, C]


def load_lm(
    model: ModelDir, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32, lora_weights: Path | None = None
) -> LMModel:
    """Load the language model in evaluation mode, with the adapter of `lora_weights` where one is given.

    New pause heads are zeros: they say 1/6 of every class, and no gradient of theirs reaches the model before they have learned something.

    Raises `CheckpointError`: weights that do not fit the config or are not finite, or an adapter that does not fit the model.
    """
    kwargs = {**model.lm_kwargs, **({"extra_heads_num_heads": 0} if model.has_new_heads else {})}
    try:
        lm = loaders.get_moshi_lm(model.lm_weights, lm_kwargs=kwargs, device=device, dtype=dtype)
    except (*UNFIT, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{model.lm_weights}: these weights do not fit {model.directory / 'config.json'}: {reason}") from None
    check_finite(lm.state_dict(), model.lm_weights)
    for num_classes, width in model.head_shapes().values() if model.has_new_heads else ():
        head = nn.Linear(width, num_classes, bias=False, device=device, dtype=dtype)
        lm.extra_heads.append(head)
        nn.init.zeros_(head.weight)
    if lora_weights is not None:
        attach_adapter(lm, lora_weights)
    return lm.eval()


def forward(lm: LMModel, codes: torch.Tensor) -> SttOutput:
    """Run the model over whole clips, teacher-forced; gradients follow its mode and the caller's.

    `codes` [B, 1 + n_q, T] are text tokens, then codec codes; -1 contributes no embedding, and a codebook that is -1 throughout a clip has
    no initial token either. The logits are aligned with `codes`: the initial
    token is put in front and the last step, which nothing follows, is dropped.
    """
    initial = lm._get_initial_token().expand(len(codes), -1, -1).masked_fill((codes < 0).all(dim=2, keepdim=True), lm.zero_token_id)
    delayed = _delay_sequence(lm.delays, codes, initial) if any(lm.delays) else codes
    sequence = torch.cat([initial, delayed], dim=2)
    with compile_only_on_gpu(codes.device):
        hidden, text_logits = lm.forward_text(sequence[:, :, :-1])
    if any(lm.delays):
        text_logits, _ = _undelay_sequence(lm.delays[:1], text_logits)
    return SttOutput(hidden=hidden, text_logits=text_logits[:, 0], head_logits=head_logits(lm, hidden))


def head_logits(lm: LMModel, hidden: torch.Tensor) -> torch.Tensor:
    """Apply the extra heads to `hidden` [B, T, D]; returns [B, T, H, C], empty over H where the model has no heads."""
    if len(lm.extra_heads) == 0:
        return hidden.new_zeros(*hidden.shape[:2], 0, 1)
    return torch.stack([head(hidden.to(next(head.parameters()).dtype)) for head in lm.extra_heads], dim=2)
