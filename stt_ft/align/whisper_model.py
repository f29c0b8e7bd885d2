"""Whisper as this program uses it: many clips through the encoder at once, and a known text through the decoder once.

openai-whisper gives the model and the tokenizer; the batched teacher-forced pass is here, and how the decoder's attention is read. Each
head follows the sound in its own way: some look at the word being expected, some tenths of a second behind it, some at the word before.
So several heads, each at several lags, are added up with weights that are fitted once for each checkpoint (`whisper_heads`).
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import math
import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import torch
import torch.nn.functional as F

from stt_ft.align.whisper_writing import NUM_BEAMS, Writer
from stt_ft.audio.files import resample
from stt_ft.core.errors import CheckpointError, ConfigError
from stt_ft.core.provenance import file_sha256
from stt_ft.core.timing import SAMPLE_RATE_HZ

WINDOW_S = 30.0
"""Seconds of sound in Whisper's window (`whisper.audio.CHUNK_LENGTH`)."""

_WINDOW_STEP_S, _WINDOW_SPARE_S = 2.5, 0.5
"""Short windows grow in these steps, and leave at least this much silence behind the sound."""

FRAMES_PER_S = 50
"""Encoder frames per second (`whisper.audio.TOKENS_PER_SECOND`)."""

MODEL_OF_SHAPE = {
    (4, 6, 51864): "tiny.en",
    (4, 6, 51865): "tiny",
    (6, 8, 51864): "base.en",
    (6, 8, 51865): "base",
    (12, 12, 51864): "small.en",
    (12, 12, 51865): "small",
    (24, 16, 51864): "medium.en",
    (24, 16, 51865): "medium",
    (32, 20, 51865): "large-v2",  # large-v1 has the same shape
    (32, 20, 51866): "large-v3",
    (4, 20, 51866): "large-v3-turbo",
}
"""OpenAI's models by the decoder's layers, its heads a layer, and the vocabulary."""

LAGS = tuple(range(-4, 17, 2))
"""Encoder frames (20 ms) by which attention may run behind the sound it belongs to; negative ones run ahead of it."""

KNOWN_LAG_FRAMES = 5
"""How far OpenAI's alignment heads run behind on average: 100 ms, measured on tiny.en."""

_MEDIAN_WIDTH = 7  # frames, as in Whisper
_LEAST, _MOST = -3.0, 6.0  # standard deviations; one frame's peak does not outweigh the others
_LEAST_LOG_SHARE = -4.0

_RATE_HZ = 16_000

_MAX_WORDS_KNOWN = 50_000
"""Words whose tokens are remembered: readings of numbers ask for the same few words thousands of times."""

_DOWNLOAD_PATIENCE_S = 30.0
"""Seconds of silence after which a download is given up; openai-whisper itself would wait for ever behind a closed firewall."""


def short_window_s(duration_s: float) -> float:
    """Return the window that a sound of known text needs, in seconds, at most `WINDOW_S`; it depends on nothing but the duration."""
    return min(WINDOW_S, _WINDOW_STEP_S * math.ceil((duration_s + _WINDOW_SPARE_S) / _WINDOW_STEP_S))


@contextlib.contextmanager
def _patience(seconds: float) -> Iterator[None]:
    """Let new connections give up after `seconds` without an answer."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


@dataclass(frozen=True, kw_only=True)
class AttentionWeights:
    """Which heads are read and how they are added up.

    Attributes:
        heads: (layer, head) of the decoder's cross-attention, H of them.
        weights: one for each lag and head, float32 [len(LAGS), H].
    """

    heads: tuple[tuple[int, int], ...]
    weights: np.ndarray

    @classmethod
    def untuned(cls, heads: Sequence[tuple[int, int]]) -> AttentionWeights:
        """Return the mean of `heads` at the lag that is usual: all that can be done without speech of known times."""
        nearest = [abs(lag - KNOWN_LAG_FRAMES) == min(abs(other - KNOWN_LAG_FRAMES) for other in LAGS) for lag in LAGS]
        share = np.array(nearest, dtype=np.float32) / (sum(nearest) * len(heads))
        return cls(heads=tuple(heads), weights=np.repeat(share[:, None], len(heads), axis=1))

    def log_shares(self, scores: torch.Tensor, num_frames: int) -> np.ndarray:
        """Return the log of each token's share in each frame, at least `_LEAST_LOG_SHARE`: float64 [L, num_frames].

        Args:
            scores: raw attention scores (before softmax) of `heads` while each of L tokens is expected [H, L, frames].
            num_frames: frames that hold sound; those behind are padding and are left out.
        """
        lagged = lagged_attention(scores, num_frames)
        logits = torch.einsum("kh,khlf->lf", torch.from_numpy(self.weights).to(lagged), lagged)
        return logits.log_softmax(dim=0).clamp(min=_LEAST_LOG_SHARE).double().cpu().numpy()


def lagged_attention(scores: torch.Tensor, num_frames: int) -> torch.Tensor:
    """Return attention comparable over tokens, once for each of `LAGS`, moved back by it: [len(LAGS), H, L, num_frames].

    The normalising and the median over frames are Whisper's (`whisper.timing.find_alignment`).
    """
    attention = scores[:, :, :num_frames].float().softmax(dim=-1)
    std, mean = torch.std_mean(attention, dim=-2, keepdim=True, unbiased=False)
    salience = _median_filter((attention - mean) / std.clamp(min=1e-8)).clamp(_LEAST, _MOST)
    ahead = -min(LAGS)
    padded = F.pad(salience, (ahead, max(LAGS)))
    return torch.stack([padded[..., ahead + lag : ahead + lag + num_frames] for lag in LAGS])


def _median_filter(attention: torch.Tensor) -> torch.Tensor:
    """Return the running median over frames [..., F], edges reflected; too short an axis is left as it is."""
    half = _MEDIAN_WIDTH // 2
    if attention.shape[-1] <= half:
        return attention
    values = list(F.pad(attention, (half, half), mode="reflect").unfold(-1, _MEDIAN_WIDTH, 1).unbind(-1))
    while len(values) > half + 1:  # the largest of each window goes; what `Tensor.median` finds, ten times as fast
        largest = values.pop()
        for place, value in enumerate(values):
            values[place], largest = torch.minimum(value, largest), torch.maximum(value, largest)
    return functools.reduce(torch.maximum, values)


@dataclass(frozen=True, kw_only=True)
class DecoderOutput:
    """The decoder's output over one clip's text.

    Attributes:
        scores: raw attention scores of the heads that were read while each text token, and then the end, is expected [H, L + 1, F].
        log_probs: log probabilities of the token at each place of the text and behind the last [L + 1, V].
    """

    scores: torch.Tensor
    log_probs: torch.Tensor


class WhisperModel:
    """A loaded Whisper checkpoint.

    Raises:
        CheckpointError: the file is no checkpoint, or the download failed.
        ConfigError: no such model name.
    """

    def __init__(self, name: str, *, language: str, device: torch.device) -> None:
        import whisper
        import whisper.tokenizer

        self._whisper: Any = whisper
        self.device = device
        self.language = language
        self.model = self._load(name)
        self.checkpoint_path = self._path_of(name)
        self.identity = f"{Path(name).name} sha256:{file_sha256(Path(name))[:16]}" if Path(name).is_file() else name
        self.attention = AttentionWeights.untuned(self._known_heads())
        self.dtype = torch.float16 if device.type == "cuda" else torch.float32
        if device.type == "cuda":
            self.model = self.model.half()
        self.tokenizer = whisper.tokenizer.get_tokenizer(
            self.model.is_multilingual, num_languages=self.model.num_languages, language=self._language_code(language), task="transcribe"
        )
        self._tokens_of_word = functools.lru_cache(maxsize=_MAX_WORDS_KNOWN)(lambda word: self.tokenizer.encode(f" {word}"))
        self.writer = Writer(self.model, self.tokenizer)
        version = importlib.metadata.version("openai-whisper")
        self.provenance = {"aligner": "whisper", "openai-whisper": version, "model": self.identity, "language": language}
        self.provenance["dtype"] = str(self.dtype).removeprefix("torch.")

    @property
    def max_text_tokens(self) -> int:
        """Number of text tokens that the decoder can read at once, beside those that begin and end a text."""
        return self.model.dims.n_text_ctx - len(self.tokenizer.sot_sequence) - 2

    def explicit_attention(self) -> contextlib.AbstractContextManager[None]:
        """Return a context in which attention is worked out step by step: masks of any shape count, and its scores can be seen."""
        return self._whisper.model.disable_sdpa()

    def encode(self, sounds: Sequence[np.ndarray], window_s: float = WINDOW_S) -> torch.Tensor:
        """Return the encoder's output for sounds at 24 kHz of at most `window_s`: [B, F, D].

        Whisper was trained on windows of `WINDOW_S`. A shorter one takes as much less time, and gives other numbers.
        """
        mel = torch.stack([self._mel(sound, window_s) for sound in sounds])
        if window_s >= WINDOW_S:
            return self.model.encoder(mel)
        num_frames = round(window_s * FRAMES_PER_S)
        encoder = self.model.encoder  # `AudioEncoder.forward` (openai-whisper 20250625), but for its demand for the whole window
        hidden = F.gelu(encoder.conv2(F.gelu(encoder.conv1(mel[:, :, : 2 * num_frames])))).permute(0, 2, 1)
        hidden = (hidden + encoder.positional_embedding[:num_frames]).to(hidden.dtype)
        for block in encoder.blocks:
            hidden = block(hidden)
        return encoder.ln_post(hidden)

    def tokens_of(self, *words: str) -> list[int]:
        """Return the text tokens of words that follow others."""
        return [token for word in words for token in self._tokens_of_word(word)]

    def read(
        self, features: torch.Tensor, texts: Sequence[Sequence[int]], *, heads: Sequence[tuple[int, int]] | None = None
    ) -> list[DecoderOutput]:
        """Pass the tokens of known texts through the decoder, once, all together.

        Args:
            features: encoder output [B, F, D].
            heads: (layer, head) of the cross-attention to read, by default those of `attention`.
        """
        heads = self.attention.heads if heads is None else heads
        start = [*self.tokenizer.sot_sequence, self.tokenizer.no_timestamps]
        longest = max(len(text) for text in texts)
        rows = [[*start, *text, *[self.tokenizer.eot] * (longest - len(text) + 1)] for text in texts]
        tokens = torch.tensor(rows, device=self.device)  # [B, T]
        scores: dict[Any, torch.Tensor] = {}  # cross-attention -> the scores of its heads [B, heads, T, F]
        attention_of = {layer: self.model.decoder.blocks[layer].cross_attn for layer, _ in heads}

        def keep(attention: Any, _inputs: Any, outputs: tuple[torch.Tensor, torch.Tensor]) -> None:
            scores[attention] = outputs[-1]

        hooks = [attention.register_forward_hook(keep) for attention in attention_of.values()]
        try:
            with torch.inference_mode(), self.explicit_attention():
                logits = self.model.decoder(tokens, features)
        finally:
            for hook in hooks:
                hook.remove()
        together = torch.stack([scores[attention_of[layer]][:, head] for layer, head in heads], dim=1)  # [B, H, T, F]
        outputs = []
        for row, text in enumerate(texts):
            expecting = slice(len(start) - 1, len(start) + len(text))  # what expects a token is the place before it
            log_probs = logits[row, expecting].float().log_softmax(dim=-1)
            outputs.append(DecoderOutput(scores=together[row, :, expecting], log_probs=log_probs))
        return outputs

    def transcribe_long(self, sound: np.ndarray) -> str:
        """Return the transcript of a sound of any length by `whisper.transcribe`, without its random second attempts."""
        heard = self._whisper.transcribe(
            self.model,
            resample(sound, SAMPLE_RATE_HZ, _RATE_HZ),
            language=self._language_code(self.language),
            beam_size=NUM_BEAMS,
            temperature=0.0,
            condition_on_previous_text=False,
            fp16=self.device.type == "cuda",
        )
        return heard["text"].strip()

    def _mel(self, sound: np.ndarray, window_s: float) -> torch.Tensor:
        """Return the log mel spectrum of a sound and the silence behind it, of at least `window_s`."""
        audio = self._whisper.audio
        length = min(audio.N_SAMPLES, round(window_s * _RATE_HZ) + audio.N_FFT)  # the last frames reach beyond the window
        samples = audio.pad_or_trim(torch.from_numpy(resample(sound, SAMPLE_RATE_HZ, _RATE_HZ)), length)
        return audio.log_mel_spectrogram(samples, self.model.dims.n_mels).to(self.device, self.dtype)

    def _known_heads(self) -> list[tuple[int, int]]:
        """Return OpenAI's alignment heads for a model of this shape, which fine-tuning keeps; of another, all heads of the upper half.

        A checkpoint that is not OpenAI's own download names none, and openai-whisper would take the upper half for it.
        """
        dims = self.model.dims
        name = MODEL_OF_SHAPE.get((dims.n_text_layer, dims.n_text_head, dims.n_vocab))
        if name is not None:
            self.model.set_alignment_heads(self._whisper._ALIGNMENT_HEADS[name])
        return [(layer, head) for layer, head in self.model.alignment_heads.indices().T.tolist()]

    def _path_of(self, name: str) -> Path:
        """Return where the checkpoint lies: the named file, or where `whisper.load_model` keeps its downloads."""
        url = self._whisper._MODELS.get(name)
        if url is None:
            return Path(name)
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "whisper" / url.rpartition("/")[2]

    def _load(self, name: str) -> Any:
        whisper = self._whisper
        if name not in whisper.available_models() and not Path(name).is_file():
            names = ", ".join(whisper.available_models())
            raise ConfigError(f"--model {name}: neither a Whisper model nor a .pt file here; models are {names}")
        try:
            with _patience(_DOWNLOAD_PATIENCE_S):
                return whisper.load_model(name, device=self.device).eval()
        except (URLError, OSError, TimeoutError) as error:
            raise CheckpointError(f"Whisper model {name} could not be downloaded ({error}); give --model the path of a .pt file") from None
        except Exception as error:  # torch.load raises errors of many kinds on a broken file
            raise CheckpointError(f"{name}: not a Whisper checkpoint ({type(error).__name__}: {str(error)[:120]})") from None

    def _language_code(self, language: str) -> str:
        code = language.partition("-")[0].lower()
        if code not in self._whisper.tokenizer.LANGUAGES:
            raise ConfigError(f"--language {language}: Whisper does not know it")
        return code
