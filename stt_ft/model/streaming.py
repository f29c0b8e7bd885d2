"""Listening frame by frame, as the production server does, many clips at a time.

Source: `rust/moshi-core/src/asr.rs` of kyutai-labs/moshi. The server's step `t` feeds the codes of frame `t - 1` and its own last text
token (the initial tokens at step 0), so row `t` here is what it sends after hearing frame `t`. Upstream's `LMGen` does the same when its
first frame is fed to it twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from moshi.models.lm import LMModel

from stt_ft.model.device import compile_only_on_gpu
from stt_ft.model.stt_lm import head_logits


@dataclass(frozen=True, kw_only=True)
class ClipStream:
    """What the model wrote and expected while it listened to one clip, one row a frame."""

    text_tokens: npt.NDArray[np.int32]  # [T]
    pause_probs: npt.NDArray[np.float32]  # [T, H], probability of class 0 of every extra head


def stream_codes(
    lm: LMModel,
    codes: Sequence[npt.NDArray[np.int16]],
    *,
    batch_size: int = 32,
    temperature: float = 0.0,
    seed: int = 0,
    progress: Callable[[Iterable[list[int]]], Iterable[list[int]]] | None = None,
) -> list[ClipStream]:
    """Listen to clips from their codec codes.

    Args:
        lm: the model, in evaluation mode.
        codes: codec codes of each clip [n_q, T].
        batch_size: clips listened to side by side; clips of like length are put together.
        temperature: of the text tokens; 0 takes the likeliest.
        seed: of the draws when `temperature` is above 0.
        progress: wraps the list of batches, to show how far along they are.

    Returns:
        One stream a clip, in the order of `codes`.
    """
    order = sorted(range(len(codes)), key=lambda index: codes[index].shape[1])
    batches = [order[first : first + batch_size] for first in range(0, len(order), batch_size)]
    generator = torch.Generator(device=lm.device).manual_seed(seed)
    streams: dict[int, ClipStream] = {}
    for batch in progress(batches) if progress else batches:
        streams |= zip(batch, _stream_batch(lm, [codes[index] for index in batch], temperature, generator), strict=True)
    return [streams[index] for index in range(len(codes))]


@torch.inference_mode()
def _stream_batch(lm: LMModel, codes: Sequence[npt.NDArray[np.int16]], temperature: float, generator: torch.Generator) -> list[ClipStream]:
    """Listen to a few clips in step; a clip that has ended hears nothing (-1) until the others have."""
    num_frames = [clip.shape[1] for clip in codes]
    sequence = torch.full((len(codes), lm.num_codebooks, max(num_frames, default=0)), lm.zero_token_id, dtype=torch.long)
    for row, clip in enumerate(codes):
        sequence[row, 1:, 1 : clip.shape[1]] = torch.from_numpy(clip[:, :-1].astype(np.int64))
    sequence = sequence.to(lm.device)
    sequence[:, :, :1] = lm._get_initial_token()
    text_tokens, pause_probs = [], []
    with lm.streaming(len(codes)), compile_only_on_gpu(lm.device):
        for t in range(sequence.shape[2]):
            if t > 0:
                sequence[:, 0, t] = text_tokens[-1]
            hidden, text_logits = lm.forward_text(sequence[:, :, t : t + 1])
            text_tokens.append(_choose(text_logits[:, 0, 0].float(), temperature, generator))
            pause_probs.append(head_logits(lm, hidden)[:, 0].float().softmax(dim=-1)[..., 0])
    all_tokens = torch.stack(text_tokens, dim=1).cpu().numpy().astype(np.int32)
    all_probs = torch.stack(pause_probs, dim=1).cpu().numpy()
    return [ClipStream(text_tokens=all_tokens[row, :length], pause_probs=all_probs[row, :length]) for row, length in enumerate(num_frames)]


def _choose(logits: torch.Tensor, temperature: float, generator: torch.Generator) -> torch.Tensor:
    """Return one token a row of `logits` [B, V]: the likeliest, or a draw (the Gumbel trick, as in the server)."""
    if temperature <= 0:
        return logits.argmax(dim=-1)
    noise = torch.empty_like(logits).exponential_(generator=generator)
    return (logits / temperature - noise.log()).argmax(dim=-1)
