"""How a Whisper checkpoint's attention follows the sound: measured once for each, on synthesised speech with known times.

Which heads look at the word being expected, and how far each runs behind it, belongs to a checkpoint and its training. OpenAI publishes
hand-picked heads for its own; even with those, words in running speech come 0.1 s late. So espeak-ng speaks a few dozen numbers and
sentences; the weights fitted on them are kept beside the checkpoint in NAME.pt.attention.json. Every checkpoint is measured alike.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from stt_ft.align.whisper_model import FRAMES_PER_S, LAGS, AttentionWeights, WhisperModel, lagged_attention, short_window_s
from stt_ft.audio.synthesis import ACCENTS, Synthesizer, Utterance, add_noise, insert_silence, scale_formants
from stt_ft.core.atomic import write_json
from stt_ft.core.errors import MissingExtra
from stt_ft.core.progress import say, track
from stt_ft.text.prompts import Manner, Prompt, number_prompt, ordinary_prompt, pauses

MEASURED = "measured 1"
"""The way of measuring and its version: a file of another version is measured anew."""

NUM_HEADS = 16
NUM_TAKES = 24
"""Half are numbers, some with pauses, half sentences. 24 take 24 s with tiny.en on two cores; 40 gave the same times."""

_SEED = 20_261
_SHRINKAGE = 3e-3
_FIT_ITERATIONS = 60
_VARIANTS = ("m1", "m3", "m7", "f1", "f2", "Andy", "Annie", "Michael")


def attention_weights(model: WhisperModel) -> tuple[AttentionWeights, str]:
    """Return the weights by which the attention of `model` is read, and the name of their source.

    They come from the file beside the checkpoint, or from a measurement made now. Without espeak-ng the known heads are read
    at the usual lag, and a message says so.
    """
    path = model.checkpoint_path.with_name(f"{model.checkpoint_path.name}.attention.json")
    known = _kept(path, model)
    if known is not None:
        return known, MEASURED
    try:
        synthesizer = Synthesizer()
    except MissingExtra as missing:
        say(f"word times rest on OpenAI's heads and the lag of tiny.en, not on this checkpoint: {missing}")
        return model.attention, "known heads"
    measured = measure(model, synthesizer)
    try:
        write_json(path, {"made_by": MEASURED, "model": model.identity, "heads": measured.heads, "weights": measured.weights.tolist()})
    except OSError as error:
        say(f"{path}: cannot be written ({error.strerror}); the checkpoint will be measured again next time")
    return measured, MEASURED


def measure(model: WhisperModel, synthesizer: Synthesizer) -> AttentionWeights:
    """Return the heads, lags and weights that tell best which token is spoken when, in speech with known word times."""
    dims = model.model.dims
    every = [(layer, head) for layer in range(dims.n_text_layer) for head in range(dims.n_text_head)]
    examples = []
    for utterance in track(_takes(synthesizer), "measuring how this checkpoint follows the sound (once)", total=NUM_TAKES):
        pieces = [model.tokens_of(word.text) for word in utterance.words]
        with torch.inference_mode():
            features = model.encode([utterance.samples], short_window_s(utterance.duration_s))
        (output,) = model.read(features, [model.tokens_of(*(word.text for word in utterance.words))], heads=every)
        scores = output.scores[:, :-1].float().cpu()
        examples.append((scores.clone(), _token_of_frame(utterance, [len(tokens) for tokens in pieces], scores.shape[-1])))
    chosen = best_heads(examples, NUM_HEADS)
    weights = fit_weights([(scores[chosen], tokens) for scores, tokens in examples])
    return AttentionWeights(heads=tuple(every[head] for head in chosen), weights=weights)


def best_heads(examples: Sequence[tuple[torch.Tensor, np.ndarray]], count: int) -> list[int]:
    """Return the `count` heads that keep most of their attention, at their own best lag, on the frames of the token being expected.

    Args:
        examples: raw attention scores of all heads [H, L, F], and the token in each frame or -1 [F].
        count: number of heads to return, as places in H.
    """
    kept = torch.zeros(len(LAGS), examples[0][0].shape[0])
    for scores, token_of_frame in examples:
        attention = scores[:, :, : len(token_of_frame)].float().softmax(dim=-1)
        frames = np.flatnonzero(token_of_frame >= 0)
        for row, lag in enumerate(LAGS):
            seen = frames[(frames + lag >= 0) & (frames + lag < attention.shape[-1])]
            kept[row] += attention[:, token_of_frame[seen], seen + lag].sum(dim=-1)
    return kept.max(dim=0).values.argsort(descending=True, stable=True)[:count].tolist()


def fit_weights(examples: Sequence[tuple[torch.Tensor, np.ndarray]]) -> np.ndarray:
    """Return the weights under which the shares tell best which token each frame belongs to: float32 [len(LAGS), H].

    Multinomial logistic regression over tokens with weights that all tokens share, shrunk towards zero.

    Args:
        examples: raw attention scores of the chosen heads [H, L, F], and the token in each frame or -1 where none is spoken [F].
    """
    rows = []
    for scores, token_of_frame in examples:
        spoken = torch.from_numpy(np.flatnonzero(token_of_frame >= 0))
        rows.append((lagged_attention(scores, len(token_of_frame))[..., spoken], torch.from_numpy(token_of_frame)[spoken]))
    num_frames = sum(len(tokens) for _, tokens in rows)
    weights = torch.zeros(rows[0][0].shape[:2], requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=_FIT_ITERATIONS)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        surprise = sum(F.cross_entropy(torch.einsum("kh,khlf->fl", weights, lagged), tokens, reduction="sum") for lagged, tokens in rows)
        total = surprise / num_frames + _SHRINKAGE * weights.square().sum()
        total.backward()
        return total

    with torch.enable_grad():
        optimizer.step(loss)  # pyright: ignore[reportArgumentType]
    return weights.detach().numpy()


def _takes(synthesizer: Synthesizer) -> Iterator[Utterance]:
    rng = random.Random(_SEED)
    for index in range(NUM_TAKES):
        prompt: Prompt = number_prompt(rng, min_digits=5, max_digits=10) if index % 2 else ordinary_prompt(rng)
        scale = rng.uniform(0.87, 1.15)
        utterance = synthesizer.speak(
            prompt.text,
            voice=f"{rng.choice(ACCENTS)}+{rng.choice(_VARIANTS)}",
            words_per_minute=round(rng.randrange(130, 210) / scale),
            pitch=rng.randrange(30, 71),
            pitch_range=rng.randrange(35, 66),
        )
        utterance = insert_silence(
            scale_formants(utterance, scale), pauses(rng, prompt, Manner.HESITANT), lead_s=rng.uniform(0.1, 1.0), tail_s=1.0
        )
        noise = np.random.default_rng(rng.getrandbits(64))
        samples = add_noise(utterance.samples, gain=rng.uniform(0.4, 0.9), noise_rms=10 ** rng.uniform(-4.0, -2.3), rng=noise)
        yield Utterance(samples=samples, words=utterance.words)


def _token_of_frame(utterance: Utterance, num_pieces: list[int], most_frames: int) -> np.ndarray:
    """Return the text token spoken in each encoder frame, -1 in silence; the tokens of a word share its span evenly: int64 [F]."""
    tokens = np.full(min(most_frames, int(np.ceil(utterance.duration_s * FRAMES_PER_S))), -1)
    first = 0
    for word, pieces in zip(utterance.words, num_pieces, strict=True):
        edges = np.linspace(word.start_s, word.end_s, pieces + 1) * FRAMES_PER_S
        for piece in range(pieces):
            tokens[round(edges[piece]) : round(edges[piece + 1])] = first + piece
        first += pieces
    return tokens


def _kept(path: Path, model: WhisperModel) -> AttentionWeights | None:
    """Return the weights that `path` holds for this very checkpoint, or None."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        weights = np.array(kept["weights"], dtype=np.float32)
        heads = tuple((int(layer), int(head)) for layer, head in kept["heads"])
        fits = (kept["made_by"], kept["model"], weights.shape) == (MEASURED, model.identity, (len(LAGS), len(heads)))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return AttentionWeights(heads=heads, weights=weights) if fits else None
