"""Whisper as this program uses it: many clips through the encoder at once, and a known text through the decoder once.

openai-whisper gives the model, the tokenizer and beam search; the batched teacher-forced pass is here.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import torch
import torch.nn.functional as F

from stt_ft.audio.files import resample
from stt_ft.core.errors import CheckpointError, ConfigError, MissingExtra
from stt_ft.core.provenance import file_sha256
from stt_ft.core.timing import SAMPLE_RATE_HZ

WINDOW_S = 30.0
"""Seconds of sound that Whisper hears at once (`whisper.audio.CHUNK_LENGTH`)."""

FRAMES_PER_S = 50
"""Encoder frames a second (`whisper.audio.TOKENS_PER_SECOND`)."""

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

_RATE_HZ = 16_000

_DOWNLOAD_PATIENCE_S = 30.0
"""Seconds of silence after which a download is given up; openai-whisper itself would wait for ever behind a closed firewall."""


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
class Reading:
    """What the decoder made of one clip's text.

    Attributes:
        scores: attention scores of the alignment heads while each text token, and then the end, is expected [H, L + 1, F].
        log_probs: log probabilities of what comes at each text token's place and behind the last [L + 1, V].
    """

    scores: torch.Tensor
    log_probs: torch.Tensor


class WhisperModel:
    """A loaded Whisper checkpoint.

    Raises:
        CheckpointError: the file is no checkpoint, or the download failed.
        ConfigError: no such model name.
        MissingExtra: openai-whisper is not installed.
    """

    def __init__(self, name: str, *, language: str, device: torch.device) -> None:
        try:
            import whisper
            import whisper.tokenizer
        except ImportError:
            raise MissingExtra("openai-whisper", "whisper", "aligner whisper") from None
        self._whisper: Any = whisper
        self.device = device
        self.language = language
        self.model = self._load(name)
        if name not in whisper.available_models():
            self._take_known_heads()
        self.dtype = torch.float16 if device.type == "cuda" else torch.float32
        if device.type == "cuda":
            self.model = self.model.half()
        self.tokenizer = whisper.tokenizer.get_tokenizer(
            self.model.is_multilingual, num_languages=self.model.num_languages, language=self._language_code(language), task="transcribe"
        )
        self.provenance = {
            "aligner": "whisper",
            "openai-whisper": importlib.metadata.version("openai-whisper"),
            "model": self._identity(name),
        }
        self.provenance |= {"language": language, "dtype": str(self.dtype).removeprefix("torch.")}

    @property
    def max_text_tokens(self) -> int:
        """How many text tokens the decoder can read at once, beside those that begin and end a text."""
        return self.model.dims.n_text_ctx - len(self.tokenizer.sot_sequence) - 2

    def explicit_attention(self) -> contextlib.AbstractContextManager[None]:
        """Return a context in which attention is worked out step by step: masks of any shape count, and its scores can be seen."""
        return self._whisper.model.disable_sdpa()

    def encode(self, sounds: Sequence[np.ndarray], window_s: float = WINDOW_S) -> torch.Tensor:
        """Return the encoder's output for sounds at 24 kHz of at most `window_s`: [B, F, D].

        Whisper was trained on windows of `WINDOW_S`. A shorter one takes as much less time, and gives other numbers.
        """
        mel = torch.stack([self._mel(sound) for sound in sounds])
        if window_s >= WINDOW_S:
            return self.model.encoder(mel)
        num_frames = round(window_s * FRAMES_PER_S)
        encoder = self.model.encoder  # `AudioEncoder.forward` (openai-whisper 20250625), but for its demand for the whole window
        hidden = F.gelu(encoder.conv2(F.gelu(encoder.conv1(mel[:, :, : 2 * num_frames])))).permute(0, 2, 1)
        hidden = (hidden + encoder.positional_embedding[:num_frames]).to(hidden.dtype)
        for block in encoder.blocks:
            hidden = block(hidden)
        return encoder.ln_post(hidden)

    def read(self, features: torch.Tensor, texts: Sequence[Sequence[int]]) -> list[Reading]:
        """Pass the tokens of known texts through the decoder, once, all together.

        Args:
            features: encoder output [B, F, D].
            texts: text tokens of each clip.
        """
        start = [*self.tokenizer.sot_sequence, self.tokenizer.no_timestamps]
        longest = max(len(text) for text in texts)
        rows = [[*start, *text, *[self.tokenizer.eot] * (longest - len(text) + 1)] for text in texts]
        tokens = torch.tensor(rows, device=self.device)  # [B, T]
        scores: dict[int, torch.Tensor] = {}
        heads = self._alignment_heads()
        hooks = [
            self.model.decoder.blocks[layer].cross_attn.register_forward_hook(
                lambda _module, _inputs, outputs, layer=layer, chosen=chosen: scores.__setitem__(layer, outputs[-1][:, chosen])
            )
            for layer, chosen in heads.items()
        ]
        try:
            with torch.inference_mode(), self.explicit_attention():
                logits = self.model.decoder(tokens, features)
        finally:
            for hook in hooks:
                hook.remove()
        together = torch.cat([scores[layer] for layer in heads], dim=1)  # [B, H, T, F]
        readings = []
        for row, text in enumerate(texts):
            expecting = slice(len(start) - 1, len(start) + len(text))  # what expects a token is the place before it
            log_probs = logits[row, expecting].float().log_softmax(dim=-1)
            readings.append(Reading(scores=together[row, :, expecting], log_probs=log_probs))
        return readings

    def transcribe(self, features: torch.Tensor, *, beam_size: int = 5) -> list[Any]:
        """Return Whisper's decoding results (text, avg_logprob, no_speech_prob, compression_ratio) for encoder output [B, F, D].

        One clip at a time: with beams, `whisper.decode` (20250625) does not repeat the features of a batch and fails.
        """
        options = self._whisper.DecodingOptions(
            language=self._language_code(self.language), beam_size=beam_size, without_timestamps=True, fp16=self.device.type == "cuda"
        )
        with torch.inference_mode():
            return [self._whisper.decode(self.model, row, options) for row in features]

    def transcribe_long(self, sound: np.ndarray, *, beam_size: int = 5) -> str:
        """Return the transcript of a sound of any length by `whisper.transcribe`, without its random second attempts."""
        heard = self._whisper.transcribe(
            self.model,
            resample(sound, SAMPLE_RATE_HZ, _RATE_HZ),
            language=self._language_code(self.language),
            beam_size=beam_size,
            temperature=0.0,
            condition_on_previous_text=False,
            fp16=self.device.type == "cuda",
        )
        return heard["text"].strip()

    def _mel(self, sound: np.ndarray) -> torch.Tensor:
        audio = self._whisper.audio
        samples = audio.pad_or_trim(torch.from_numpy(resample(sound, SAMPLE_RATE_HZ, _RATE_HZ)))
        return audio.log_mel_spectrogram(samples, self.model.dims.n_mels).to(self.device, self.dtype)

    def _take_known_heads(self) -> None:
        """Give a checkpoint from a file, which names no alignment heads, those of OpenAI's model of its shape; fine-tuning keeps a shape.

        Without them openai-whisper takes every head of the upper half, most of which follow no sound.
        """
        dims = self.model.dims
        name = MODEL_OF_SHAPE.get((dims.n_text_layer, dims.n_text_head, dims.n_vocab))
        if name is not None:
            self.model.set_alignment_heads(self._whisper._ALIGNMENT_HEADS[name])

    def _alignment_heads(self) -> dict[int, torch.Tensor]:
        """Return layer -> heads that are known to follow the sound."""
        chosen: dict[int, list[int]] = {}
        for layer, head in self.model.alignment_heads.indices().T.tolist():
            chosen.setdefault(layer, []).append(head)
        return {layer: torch.tensor(heads, device=self.device) for layer, heads in sorted(chosen.items())}

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
        except Exception as error:  # torch.load raises what it likes on a broken file
            raise CheckpointError(f"{name}: not a Whisper checkpoint ({type(error).__name__}: {str(error)[:120]})") from None

    def _identity(self, name: str) -> str:
        """Return the model's name, and for a file its hash."""
        path = Path(name)
        return name if not path.is_file() else f"{path.name} sha256:{file_sha256(path)[:16]}"

    def _language_code(self, language: str) -> str:
        code = language.partition("-")[0].lower()
        if code not in self._whisper.tokenizer.LANGUAGES:
            raise ConfigError(f"--language {language}: Whisper does not know it")
        return code
