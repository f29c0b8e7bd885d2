"""What a model takes of memory and disk at each stage, from sizes alone: no weights are read and nothing is run.

Each figure is a sum of terms that can be counted, times `SLACK` where an allocator is at work. Counts of weights are exact. The bytes that
a forward pass keeps for the backward pass were fitted to the tensors that autograd saves, on small random models of the same proportions
(tests/unit/model/test_footprint.py counts them again). What whole stages took beside what is said here: docs/real_1b.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stt_ft.core.config import typed
from stt_ft.core.cores import num_cores
from stt_ft.core.errors import ConfigError
from stt_ft.core.recipe import Recipe
from stt_ft.core.timing import FRAME_S, SAMPLE_RATE_HZ, num_frames_covering
from stt_ft.model.checkpoint_dir import NUM_HEAD_CLASSES, TAIL_S, TINY_DIR, ConfigJson, read_json_object

BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
"""Of one weight, by the number type that a recipe names."""

PROCESS_BYTES = 0.6 * 2**30
"""Python with torch, moshi and numpy loaded, before any model (0.51 to 0.65 GiB were measured)."""

SLACK = 1.1
"""What an allocator holds beyond what is in use, as a factor."""

KEPT_BYTES = {2: 73, 4: 115}
"""Bytes that a layer keeps for the backward pass, a frame and unit of `dim`, by the bytes of an activation. On a CPU attention, which
is written out there, comes on top: a share and a mask of dropout for every pair of frames."""

MIMI_BYTES = 384_644_996
"""The weights of Mimi in float32, as every model of Kyutai's has them."""

MIMI_BYTES_PER_S = 0.02 * 2**30
"""What Mimi's encoder takes for a second of sound: three of its widest activations, 64 channels at 24 kHz in float32. On a CPU 0.014 GiB
was measured between clips of 2 and 20 s."""

KERNEL_BYTES = 1.0 * 2**30
"""What a CPU holds besides while it encodes clips of many lengths, measured once, in a run over 28."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The sizes of a language model, and the silence around what it hears. `hidden` is the width of a layer's feed-forward part."""

    dim: int
    num_layers: int
    num_heads: int
    hidden: int
    n_q: int
    card: int
    text_card: int
    context: int
    num_pause_heads: int = 0
    pause_head_dim: int = NUM_HEAD_CLASSES
    text_lag_s: float = 0.5
    silence_prefix_s: float = 0.0
    mimi_bytes: int = MIMI_BYTES

    @classmethod
    def named(cls, name: str) -> Shape:
        """Return the shape of a model directory, of tiny, or of one of Kyutai's models (`KNOWN`), which need not be here.

        Raises `ConfigError` for any other name, `CheckpointError` for a config.json that cannot be used.
        """
        directory = TINY_DIR if name == "tiny" else Path(name)
        if (directory / "config.json").is_file():
            return cls._of_directory(directory)
        if name in KNOWN:
            return KNOWN[name]
        raise ConfigError(
            f"--base {name}: no config.json there, and its sizes are not known; give a model directory, tiny, {', '.join(KNOWN)}"
        )

    @classmethod
    def _of_directory(cls, directory: Path) -> Shape:
        path = directory / "config.json"
        try:
            config = typed(ConfigJson, read_json_object(path))
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None
        assert config.stt_config is not None  # ConfigJson refuses a model without
        wide, mimi = int(config.hidden_scale * config.dim), directory / config.mimi_name
        return cls(
            dim=config.dim, num_layers=config.num_layers, num_heads=config.num_heads, n_q=config.n_q, card=config.card,
            hidden=21 * config.dim // 8 if wide == 4 * config.dim else 2 * wide // 3,  # moshi.modules.gating.ActivationGating
            text_card=config.text_card, context=config.context, num_pause_heads=config.extra_heads_num_heads,
            pause_head_dim=config.extra_heads_dim, text_lag_s=config.stt_config.audio_delay_seconds,
            silence_prefix_s=config.stt_config.audio_silence_prefix_seconds,
            mimi_bytes=mimi.stat().st_size if mimi.is_file() else MIMI_BYTES,
        )  # fmt: skip

    @property
    def num_linear_weights(self) -> int:
        """Weights that get an adapter: those of all linear layers but the pause heads."""
        return self.num_layers * (4 * self.dim**2 + 3 * self.hidden * self.dim) + self.text_card * self.dim

    @property
    def num_weights(self) -> int:
        """All weights of the language model."""
        embeddings = (self.n_q * (self.card + 1) + self.text_card + 1) * self.dim
        return self.num_linear_weights + embeddings + (2 * self.num_layers + 1) * self.dim + self.num_pause_head_weights

    @property
    def num_pause_head_weights(self) -> int:
        return self.num_pause_heads * self.pause_head_dim * self.dim

    def num_adapter_weights(self, rank: int) -> int:
        """Return the weights of the matrices A and B of every layer that gets an adapter."""
        widths = self.num_layers * (4 * self.dim + 2 * self.dim + (self.dim + 2 * self.hidden) + (self.hidden + self.dim))
        return rank * (widths + self.dim + self.text_card)

    def num_trained(self, recipe: Recipe) -> int:
        """Return the weights that learn by `recipe`."""
        if recipe.lora.rank is None:
            return self.num_weights
        return self.num_adapter_weights(recipe.lora.rank) + (self.num_pause_head_weights if recipe.lora.learns_whole_heads else 0)

    def num_frames(self, seconds: float, tail_s: float = TAIL_S) -> int:
        """Return the frames of a clip of `seconds` with prefix, lag and tail."""
        return sum(map(num_frames_covering, (self.silence_prefix_s, seconds, self.text_lag_s + tail_s)))


def _kyutai_1b(num_pause_heads: int) -> Shape:
    return Shape(
        dim=2048, num_layers=16, num_heads=16, hidden=5632, n_q=32, card=2048, text_card=8000, context=750, num_pause_heads=num_pause_heads
    )


_KYUTAI_2_6B = Shape(
    dim=2048, num_layers=48, num_heads=32, hidden=5632, n_q=32, card=2048, text_card=4000, context=375, text_lag_s=2.5, silence_prefix_s=1.0
)

KNOWN: Mapping[str, Shape] = {
    "kyutai/stt-1b-en_fr-candle": _kyutai_1b(4),
    "kyutai/stt-1b-en_fr": _kyutai_1b(0),
    "kyutai/stt-2.6b-en-candle": _KYUTAI_2_6B,
    "kyutai/stt-2.6b-en": _KYUTAI_2_6B,
}
"""Kyutai's models. Source: config.json of the first as moshi's loader reads it; of the 2.6b, the defaults of transformers'
`KyutaiSpeechToTextConfig`, which are that model's."""


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """What a model takes in bytes, of the memory of a process on a CPU or, with `on_gpu`, of the memory of the GPU.

    On a CPU the pages of the file that is read count while the weights are made of them, as they do in what the system tells.
    """

    shape: Shape
    on_gpu: bool = False

    def merge(self) -> float:
        """Of `merge` and `export`, which go tensor by tensor and never use a GPU: the widest tensor four times, in float32."""
        widest = max(self.shape.dim * 2 * self.shape.hidden, self.shape.dim * self.shape.text_card)
        return PROCESS_BYTES + 4 * widest * 4

    def encode(self, clip_s: float, batch_size: int = 16) -> float:
        """Of `encode` with clips of `clip_s`: a GPU takes `batch_size` at once, a CPU one a core."""
        sound_s = self.shape.num_frames(clip_s) * FRAME_S * (batch_size if self.on_gpu else min(batch_size, num_cores()))
        share = self.shape.mimi_bytes / MIMI_BYTES  # of another codec, such as the tiny model's
        kept = self.shape.mimi_bytes * (1 if self.on_gpu else 2) + (0 if self.on_gpu else KERNEL_BYTES * share)
        return PROCESS_BYTES + kept + SLACK * sound_s * MIMI_BYTES_PER_S * share

    def listen(self, clip_s: float, batch_size: int) -> float:
        """Of `evaluate` and `transcribe` with `batch_size` clips at once: loading, or running with what attention remembers."""
        item = 2 if self.on_gpu else 4
        weights = self.shape.num_weights * item
        loading = weights + (0 if self.on_gpu else self.base_bytes)
        running = weights + self._memory(self.shape.num_frames(clip_s), batch_size, item)
        return PROCESS_BYTES + max(loading, SLACK * running + self.shape.mimi_bytes)

    def train(self, recipe: Recipe, clip_s: float, num_dev: int = 32) -> float:
        """Of `train` by `recipe` with clips of `clip_s`: a step, or listening to `num_dev` clips at once where the recipe asks for it."""
        passes = self.step_bytes(recipe, clip_s)
        listening = self._learner_bytes(recipe) + self._listening_bytes(recipe, clip_s, num_dev) if recipe.validation.listen else 0.0
        return PROCESS_BYTES + SLACK * max(passes, listening)

    def step_bytes(self, recipe: Recipe, clip_s: float) -> float:
        """Return what weights, optimizer and one forward pass take."""
        num_frames = self.shape.num_frames(clip_s, recipe.batch.tail_s)
        return self._learner_bytes(recipe) + recipe.batch.batch_size * num_frames * self.frame_bytes(recipe, num_frames)

    def frame_bytes(self, recipe: Recipe, num_frames: int) -> float:
        """Return what one frame of a clip of `num_frames` keeps for the backward pass."""
        shape, item = self.shape, BYTES[recipe.precision]
        attention = 0 if self.on_gpu else (item + 1) * shape.num_heads * num_frames
        layer = KEPT_BYTES[item] * shape.dim + attention
        if recipe.batch.gradient_checkpointing:  # the input of each layer, and one of them anew
            return shape.num_layers * shape.dim * item + layer + 4 * shape.text_card
        return shape.num_layers * layer + 4 * shape.text_card

    def _learner_bytes(self, recipe: Recipe) -> float:
        """Frozen weights, and for each that learns itself in float32, its gradient, and the two means of AdamW."""
        frozen = self.shape.num_weights * BYTES[recipe.precision] if recipe.lora.enable else 0
        return frozen + 16 * self.shape.num_trained(recipe)

    def _listening_bytes(self, recipe: Recipe, clip_s: float, num_dev: int) -> float:
        """Merged weights beside those of the base, and what attention remembers."""
        item = BYTES[recipe.precision] if recipe.lora.enable else 4
        merged = self.shape.num_linear_weights * item if recipe.lora.enable else 0
        return merged + self._memory(self.shape.num_frames(clip_s), num_dev, item)

    def _memory(self, num_frames: int, batch_size: int, item: int) -> float:
        """Keys and values of every layer."""
        return 2 * self.shape.num_layers * min(num_frames, self.shape.context) * self.shape.dim * item * batch_size

    @property
    def base_bytes(self) -> int:
        """Of the base's language model on disk, in bfloat16."""
        return self.shape.num_weights * 2

    def model_bytes(self) -> int:
        """Of a merged or exported model directory on disk."""
        return self.base_bytes + self.shape.mimi_bytes

    def checkpoint_bytes(self, recipe: Recipe) -> int:
        """Of one checkpoint: the adapter in the recipe's type; trained weights and the means of AdamW in float32."""
        return self.shape.num_trained(recipe) * (BYTES[recipe.precision] + 12)

    def codes_bytes_per_hour(self, num_versions: int) -> float:
        """Of the codes of an hour of recordings in `num_versions` versions (speeds, channels), tails not counted."""
        return num_versions * self.shape.n_q * 2 * 3600 / FRAME_S

    @staticmethod
    def sound_bytes_per_hour() -> float:
        """Of an hour of recordings: 16 bits at the model's rate."""
        return 3600.0 * SAMPLE_RATE_HZ * 2
