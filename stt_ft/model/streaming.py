"""The model run frame by frame, as on the production server, on many clips at a time.

Source: `rust/moshi-core/src/asr.rs` of kyutai-labs/moshi. The server's step `t` feeds the codes of frame `t - 1` and its own last text
token (the initial tokens at step 0), so row `t` here is what it sends after hearing frame `t`. Upstream's `LMGen` does the same when its
first frame is fed to it twice.

Clips run side by side in lanes. A lane that has finished a clip resets its state and starts the next one at once, as a slot of the server
does when a caller hangs up, so no lane waits for the longest clip.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from moshi.models.lm import LMModel
from moshi.modules.transformer import StreamingMultiheadAttention

from stt_ft.model.device import compile_only_on_gpu
from stt_ft.model.stt_lm import head_logits


@dataclass(frozen=True, kw_only=True)
class ClipStream:
    """The outputs of the model for one clip, one row a frame."""

    text_tokens: npt.NDArray[np.int32]  # [T]
    head_probs: npt.NDArray[np.float32]  # [T, H, C], softmax of every extra head

    @property
    def pause_probs(self) -> npt.NDArray[np.float32]:
        """Probability of class 0, a pause, of every extra head [T, H]."""
        return self.head_probs[..., 0]


def stream_codes(
    lm: LMModel,
    codes: Sequence[npt.NDArray[np.int16]],
    *,
    keys: Sequence[int] | None = None,
    temperature: float = 0.0,
    batch_size: int = 32,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> list[ClipStream]:
    """Run `lm`, in evaluation mode, on the codec codes [n_q, T] of clips, `batch_size` in one batch.

    The likeliest tokens are written or, at a `temperature`, tokens that are drawn (`written_tokens`), by the key of a clip (its place in
    `codes`, unless `keys` says another) and the same ones every time. A codebook that is -1 throughout a clip is not heard
    (`Serving.heard`). `progress` wraps the range of steps, to show how far along they are. Returns one stream a clip, in the order of
    `codes`.
    """
    if not codes:
        return []
    lanes = share_out([clip.shape[1] for clip in codes], batch_size)
    sequence, starts = _lay_out(lm, codes, lanes)

    with _memory_for(lm, max(clip.shape[1] for clip in codes)):
        chances = None if temperature == 0 else _chances(lm, codes, lanes, keys or range(len(codes)))
        tokens, probs = _listen(lm, sequence, starts, progress, temperature=temperature, chances=chances)
    streams: dict[int, ClipStream] = {}
    for row, lane in enumerate(lanes):
        for index, span in _spans(lane, codes):
            streams[index] = ClipStream(text_tokens=tokens[row, span].copy(), head_probs=probs[row, span].copy())
    return [streams[index] for index in range(len(codes))]


def share_out(lengths: Sequence[int], max_lanes: int) -> list[list[int]]:
    """Share clips out over at most `max_lanes` lanes of nearly equal length: the longest first, each to the lane that is free first."""
    lanes: list[list[int]] = [[] for _ in range(min(max_lanes, len(lengths)))]
    loads = [0] * len(lanes)
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        lane = loads.index(min(loads))
        lanes[lane].append(index)
        loads[lane] += lengths[index]
    return lanes


def _spans(lane: Sequence[int], codes: Sequence[npt.NDArray[np.int16]]) -> Iterator[tuple[int, slice]]:
    """Yield the clips of a lane and the steps of each."""
    start = 0
    for index in lane:
        stop = start + codes[index].shape[1]
        yield index, slice(start, stop)
        start = stop


def _lay_out(
    lm: LMModel, codes: Sequence[npt.NDArray[np.int16]], lanes: Sequence[Sequence[int]]
) -> tuple[torch.Tensor, npt.NDArray[np.bool_]]:
    """Return the inputs of every lane [B, 1 + n_q, S], text left open, and where a clip begins [B, S]; a lane without clips has -1."""
    num_steps = max(sum(codes[index].shape[1] for index in lane) for lane in lanes)
    sequence = torch.full((len(lanes), lm.num_codebooks, num_steps), lm.zero_token_id, dtype=torch.int32)
    starts = np.zeros((len(lanes), num_steps), dtype=bool)
    initial = lm._get_initial_token()[0, :, 0].to("cpu", torch.int32)
    for row, lane in enumerate(lanes):
        for index, span in _spans(lane, codes):
            if span.stop > span.start:
                sequence[row, 1:, span.start + 1 : span.stop] = torch.from_numpy(codes[index][:, :-1].astype(np.int32))
                sequence[row, :, span.start] = initial
                sequence[row, 1:, span.start][torch.from_numpy((codes[index] < 0).all(axis=1))] = lm.zero_token_id
                starts[row, span.start] = True
    return sequence, starts


@contextlib.contextmanager
def _memory_for(lm: LMModel, num_frames: int) -> Iterator[None]:
    """Keep no more frames in memory than the longest clip has: the attention reads all that it keeps, at every step, used or not."""
    attentions = [module for module in lm.transformer.modules() if isinstance(module, StreamingMultiheadAttention)]
    contexts = [attention.context for attention in attentions]
    try:
        for attention in attentions:
            if attention.context is not None:
                attention.context = min(attention.context, max(num_frames, 1))
        yield
    finally:
        for attention, context in zip(attentions, contexts, strict=True):
            attention.context = context


@torch.inference_mode()
def _listen(
    lm: LMModel,
    sequence: torch.Tensor,
    starts: npt.NDArray[np.bool_],
    progress: Callable[[Iterable[int]], Iterable[int]],
    *,
    temperature: float,
    chances: Iterator[npt.NDArray[np.float32]] | None,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Run every lane to its end; returns text tokens [B, S] and the probabilities of the heads [B, S, H, C]."""
    num_lanes, _, num_steps = sequence.shape
    sequence, begins = sequence.to(lm.device), torch.from_numpy(starts).to(lm.device)
    steps_with_a_start = set(np.flatnonzero(starts.any(axis=0)).tolist())
    text_tokens, head_probs = [], []
    with lm.streaming(num_lanes), compile_only_on_gpu(lm.device):
        for step in progress(range(num_steps)):
            heard = sequence[:, :, step : step + 1].long()
            if step > 0:
                heard[:, 0, 0] = torch.where(begins[:, step], heard[:, 0, 0], text_tokens[-1])
                if step in steps_with_a_start:
                    lm.reset_streaming(begins[:, step])
            hidden, text_logits = lm.forward_text(heard)
            chance = None if chances is None else torch.from_numpy(next(chances)).to(lm.device)
            text_tokens.append(written_tokens(text_logits[:, 0, 0].float(), temperature, chance))
            head_probs.append(head_logits(lm, hidden)[:, 0].float().softmax(dim=-1))
    if not text_tokens:
        return np.zeros((num_lanes, 0), np.int32), np.zeros((num_lanes, 0, len(lm.extra_heads), 1), np.float32)
    return torch.stack(text_tokens, dim=1).cpu().numpy().astype(np.int32), torch.stack(head_probs, dim=1).cpu().numpy()


CHANCE = (1e-7, 0.999)
"""The range of the server's random numbers: none is so large that a token far from the likeliest could be drawn."""


def written_tokens(logits: torch.Tensor, temperature: float = 0.0, chance: torch.Tensor | None = None) -> torch.Tensor:
    """Return the tokens [B] that the server writes for `logits` [B, V]: the likeliest or, with `chance` [B, V] in `CHANCE`, drawn ones.

    Source: `gumbel_softmax` of candle-nn's `sampling.rs`, which `moshi::asr::State` draws with; no token is ruled out beforehand.
    """
    if chance is None:
        return logits.argmax(dim=-1)
    return (logits - temperature * torch.log(-torch.log(chance))).argmax(dim=-1)


def chances_of(key: int, size: int) -> Iterator[npt.NDArray[np.float32]]:
    """Yield random numbers [size] in `CHANCE` for step after step of one stream, the same ones for the same `key`."""
    rng, (low, high) = np.random.default_rng(key), CHANCE
    while True:
        yield low + (high - low) * rng.random(size, dtype=np.float32)


def _chances(
    lm: LMModel, codes: Sequence[npt.NDArray[np.int16]], lanes: Sequence[Sequence[int]], keys: Sequence[int]
) -> Iterator[npt.NDArray[np.float32]]:
    """Yield the random numbers of every lane [B, V] for step after step; each clip has its own, in whichever lane it runs."""
    size = lm.text_linear.out_features
    begins = [{span.start: index for index, span in _spans(lane, codes) if span.stop > span.start} for lane in lanes]
    of_lane = [chances_of(0, size) for _ in lanes]
    for step in itertools.count():
        for row, clips in enumerate(begins):
            if step in clips:
                of_lane[row] = chances_of(keys[clips[step]], size)
        yield np.stack([next(chances) for chances in of_lane])
