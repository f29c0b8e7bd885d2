"""Transcripts by Whisper for clips without a script, and whether to trust them: a batch side by side, one token of each at a time.

The clips of a batch share every pass of the decoder, and the beams of a clip share its attention to the sound, so that on a CPU five beams
of eight clips cost little more than one clip without beams. openai-whisper's `decode` takes one clip at a time as soon as there are beams.
Without beams both write the same. With beams, this search goes on while a text that has not ended has more log probability per token than
the best text that has; `decode` stops when five texts have ended, which cuts numbers short: each of their digits might be the last.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from stt_ft.core.errors import AlignmentError

NUM_BEAMS = 5
"""Beams of a clip: texts that are followed at a time."""

_MAX_COMPRESSION, _MIN_LOG_PROB, _MAX_NO_SPEECH = 2.4, -1.0, 0.6
"""Whisper's own limits (`whisper.transcribe`) beyond which a transcript is not to be trusted."""

_MAX_TOKENS_PER_S, _MAX_TOKENS_BESIDE = 10, 10
"""Most tokens of a text for each second of sound, and beside them; nobody speaks faster, and a decoder beyond them repeats itself."""

_LONGEST_LOOP, _MAX_ROUNDS = 4, 6
"""A loop is up to four tokens, more than six times on end. No beam follows one, for in a loop every token is likely."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """The transcript of a clip.

    Attributes:
        text: its words, without space around them.
        mean_log_prob: mean log probability of its tokens and of its end.
        no_speech_prob: how likely the decoder takes the clip to hold no speech, 0 to 1.
        is_ended: whether the decoder came to an end within the tokens that the sound has room for.
    """

    text: str
    mean_log_prob: float
    no_speech_prob: float
    is_ended: bool


def trusted(written: Written) -> str | AlignmentError:
    """Return the transcript of a clip, or why it is not to be trusted."""
    if not written.text or (written.no_speech_prob > _MAX_NO_SPEECH and written.mean_log_prob < _MIN_LOG_PROB):
        return AlignmentError(f"no speech was heard in it (probability of no speech {written.no_speech_prob:.2f})")
    if not written.is_ended:
        return AlignmentError(f"Whisper comes to no end: {written.text[:60]!r}; give the clip a script")
    try:
        require_sense(written.text)
    except AlignmentError as error:
        return error
    return written.text


def require_sense(text: str) -> None:
    """Raise `AlignmentError` for a transcript that is empty or the same again and again."""
    from whisper.utils import compression_ratio

    if not text:
        raise AlignmentError("no speech was heard in it")
    if compression_ratio(text) > _MAX_COMPRESSION:
        raise AlignmentError(f"Whisper repeats itself: {text[:60]!r}; give the clip a script")


class Writer:
    """Writes the transcripts of a batch of clips.

    Args:
        model: openai-whisper's `Whisper`.
        tokenizer: its tokenizer, for language and task.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._start = [*tokenizer.sot_sequence, tokenizer.no_timestamps]
        self._max_tokens = model.dims.n_text_ctx // 2
        special = [tokenizer.transcribe, tokenizer.translate, tokenizer.sot, tokenizer.sot_prev, tokenizer.sot_lm, tokenizer.no_speech]
        self._never = torch.tensor(sorted({*tokenizer.non_speech_tokens, *special}), device=model.device)
        self._never_first = torch.tensor([*tokenizer.encode(" "), tokenizer.eot], device=model.device)
        self.provenance = {"writing": f"{NUM_BEAMS} beams, no prompt"}

    @torch.inference_mode()
    def write(self, features: torch.Tensor, durations_s: Sequence[float], *, num_beams: int = NUM_BEAMS) -> list[Written]:
        """Return the transcript of each clip.

        Args:
            features: encoder output [B, F, D].
            num_beams: texts followed at a time, for each clip; 1 takes the likeliest token after the likeliest token.
        """
        limits = [min(self._max_tokens, _MAX_TOKENS_BESIDE + math.ceil(_MAX_TOKENS_PER_S * seconds)) for seconds in durations_s]
        with contextlib.closing(_Pass(self._model)) as decoder:
            return self._search(decoder, features, limits, num_beams)

    def _search(self, decoder: _Pass, features: torch.Tensor, limits: Sequence[int], num_beams: int) -> list[Written]:
        """Beam search as in `whisper.decoding.BeamSearchDecoder`, but for when a clip is done (see the top of this file)."""
        eot, num_clips = self._tokenizer.eot, len(features)
        start = torch.tensor([self._start], device=features.device).expand(num_clips, -1)
        logits = decoder.read(start, features, [0, len(self._start) - 1])  # [B, 2, V]
        no_speech_probs = logits[:, 0].softmax(dim=-1)[:, self._tokenizer.no_speech].tolist()
        log_probs = self._allowed(logits[:, 1], is_first=True).log_softmax(dim=-1)
        scores, tokens = log_probs.topk(num_beams, dim=-1)  # [B, K]
        texts = tokens[..., None]  # [B, K, L]
        ended: list[dict[tuple[int, ...], float]] = [{} for _ in range(num_clips)]
        active = list(range(num_clips))  # the clip of each row
        if num_beams > 1:
            decoder.keep(torch.arange(num_clips, device=features.device).repeat_interleave(num_beams), "attn")
        while active:
            num_rows = len(active)
            logits = decoder.read(texts[:, :, -1].reshape(-1, 1), features, [0])[:, 0]  # [B * K, V]
            log_probs = self._allowed(logits, is_first=False).log_softmax(dim=-1)
            texts, scores, source, endings = _advance(texts, scores, log_probs.reshape(num_rows, num_beams, -1), eot)
            for row, text, score in endings:
                ended[active[row]][text] = score
            if num_beams > 1:
                scores = scores.masked_fill(_loops(texts), -torch.inf)
            highest, likeliest = scores.max(dim=1)  # [B]
            rows = []
            for row, (clip, score) in enumerate(zip(active, highest.tolist(), strict=True)):
                if texts.shape[-1] >= limits[clip]:
                    if not ended[clip]:
                        ended[clip][tuple(texts[row, likeliest[row]].tolist())] = score
                elif not ended[clip] or (num_beams > 1 and score / texts.shape[-1] > max(map(_mean, ended[clip].items()))):
                    rows.append(row)
            active = [active[row] for row in rows]
            if active and len(rows) < num_rows:
                scores, texts, source, features = scores[rows], texts[rows], source[rows], features[rows]
                decoder.keep(torch.tensor(rows, device=features.device), "cross_attn")
            if active and (num_beams > 1 or len(rows) < num_rows):
                decoder.keep(source.flatten(), "attn")
        return [self._best(ended[clip], no_speech_probs[clip], limits[clip]) for clip in range(num_clips)]

    def _best(self, found: dict[tuple[int, ...], float], no_speech_prob: float, limit: int) -> Written:
        text, total = max(found.items(), key=_mean)
        return Written(
            text=self._tokenizer.decode(list(text)).strip(),
            mean_log_prob=total / (len(text) + 1),
            no_speech_prob=no_speech_prob,
            is_ended=len(text) < limit,
        )

    def _allowed(self, logits: torch.Tensor, *, is_first: bool) -> torch.Tensor:
        """Return `logits` [N, V] with those of tokens that cannot stand there at -inf."""
        logits[:, self._never] = -torch.inf
        if is_first:
            logits[:, self._never_first] = -torch.inf
        return logits


def _advance(
    texts: torch.Tensor, scores: torch.Tensor, log_probs: torch.Tensor, eot: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, list[tuple[int, tuple[int, ...], float]]]:
    """Give every clip's beams one more token: the likeliest of all that may follow any of them.

    Args:
        texts: tokens of each beam [B, K, L].
        scores: their log probability [B, K].
        log_probs: of what may follow [B, K, V].

    Returns:
        texts [B, K, L + 1] and scores [B, K], likeliest first; the row of B * K that each went on from [B, K]; and what ended on the way,
        likelier than the last beam, as (row of B, tokens, log probability with the end).
    """
    num_rows, num_beams, _ = texts.shape
    best, tokens = log_probs.topk(num_beams + 1, dim=-1)  # [B, K, K + 1]
    totals = (scores[..., None] + best).flatten(1)
    order = totals.argsort(dim=-1, descending=True, stable=True)  # [B, K * (K + 1)]
    totals, tokens, beams = totals.gather(1, order), tokens.flatten(1).gather(1, order), order // (num_beams + 1)
    goes_on = tokens != eot
    place = goes_on.cumsum(dim=-1)
    endings = [
        (row, tuple(texts[row, beams[row, column]].tolist()), float(totals[row, column]))
        for row, column in (~goes_on & (place < num_beams) & totals.isfinite()).nonzero().tolist()
    ]
    chosen = (goes_on & (place <= num_beams)).nonzero()[:, 1].reshape(num_rows, num_beams)
    beams = beams.gather(1, chosen)
    before = texts.gather(1, beams[..., None].expand(-1, -1, texts.shape[-1]))
    source = torch.arange(num_rows, device=beams.device)[:, None] * num_beams + beams
    return torch.cat([before, tokens.gather(1, chosen)[..., None]], dim=-1), totals.gather(1, chosen), source, endings


def _loops(texts: torch.Tensor) -> torch.Tensor:
    """Return which texts [B, K, L] end in the same few tokens again and again: bool [B, K]."""
    found = torch.zeros(texts.shape[:2], dtype=torch.bool, device=texts.device)
    for period in range(1, _LONGEST_LOOP + 1):
        tail = texts[..., -(_MAX_ROUNDS + 1) * period :]
        if tail.shape[-1] == (_MAX_ROUNDS + 1) * period:
            found |= (tail[..., period:] == tail[..., :-period]).all(dim=-1)
    return found


def _mean(found: tuple[tuple[int, ...], float]) -> float:
    """Return the log probability a token of a text and its log probability, as `whisper.decoding` ranks texts."""
    text, total = found
    return total / len(text)


def next_token_logits(
    decoder: Any,
    tokens: torch.Tensor,
    positions: torch.Tensor,
    features: torch.Tensor,
    places: torch.Tensor,
    *,
    mask: torch.Tensor,
    cache: dict[Any, torch.Tensor],
) -> torch.Tensor:
    """Return the logits of the token behind each of `places`: float32 [N, P, V].

    `TextDecoder.forward` of openai-whisper (20250625), but for tokens at any positions, under any mask, without the logits that nobody asks
    for. The N / B texts of a clip attend to its sound as the places of one text would: attention to the sound knows no order.

    Args:
        decoder: openai-whisper's `TextDecoder`.
        tokens: of B clips with N / B texts each, those of a clip side by side [N, T].
        positions: of the tokens in their text [T].
        features: encoder output [B, F, D].
        places: which of T.
        mask: added to the scores of attention among the tokens.
        cache: keys and values by the projection that makes them.
    """
    hidden = (decoder.token_embedding(tokens) + decoder.positional_embedding[positions]).to(features.dtype)
    for block in decoder.blocks:
        hidden = hidden + block.attn(block.attn_ln(hidden), mask=mask, kv_cache=cache)[0]
        looking = block.cross_attn_ln(hidden).reshape(len(features), -1, hidden.shape[-1])
        hidden = hidden + block.cross_attn(looking, features, kv_cache=cache)[0].reshape(hidden.shape)
        hidden = hidden + block.mlp(block.mlp_ln(hidden))
    hidden = decoder.ln(hidden[:, places])
    return (hidden @ decoder.token_embedding.weight.to(hidden.dtype).T).float()


class _Pass:
    """The decoder with the keys and values of all that it has read: of the text by clip and beam, of the sound by clip."""

    def __init__(self, model: Any) -> None:
        self._decoder = model.decoder
        self._cache, self._hooks = model.install_kv_cache_hooks()
        self._num_read = 0

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()

    def read(self, tokens: torch.Tensor, features: torch.Tensor, places: Sequence[int]) -> torch.Tensor:
        """Read `tokens` [N, T] behind those read before; return the logits at `places`: [N, P, V].

        Args:
            tokens: of B clips with N / B beams each, those of a clip side by side.
            features: encoder output [B, F, D].
            places: which of T.
        """
        positions = torch.arange(self._num_read, self._num_read + tokens.shape[1], device=tokens.device)
        self._num_read += tokens.shape[1]
        asked = torch.tensor(places, device=tokens.device)
        return next_token_logits(self._decoder, tokens, positions, features, asked, mask=self._decoder.mask, cache=self._cache)

    def keep(self, rows: torch.Tensor, attention: Literal["attn", "cross_attn"]) -> None:
        """Go on with these rows, in that order: of N texts (`attn`), some of them perhaps several times; of the sounds of B clips."""
        for block in self._decoder.blocks:
            for projection in (getattr(block, attention).key, getattr(block, attention).value):
                self._cache[projection] = self._cache[projection][rows]
