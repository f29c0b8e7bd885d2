"""Batches: clips of like length side by side, decided by the seed and the step alone, so that a resumed run needs no memory of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from stt_ft.core.recipe import Recipe
from stt_ft.model.checkpoint_dir import ModelDir
from stt_ft.targets.pause_targets import pause_targets
from stt_ft.training.augment import augment
from stt_ft.training.clips import SpokenClip

NOTHING = -1
"""Code of a frame that is not there: no embedding, no loss (upstream `zero_token_id`)."""

IGNORE = -100
"""Pause target of a frame that is not there."""

LENGTH_JITTER = 0.1
"""Lengths are shuffled by this share before clips are put together, so that batches differ from epoch to epoch."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Streams side by side, padded at the end to the longest.

    Attributes:
        codes: text tokens and codec codes, the targets at every frame [B, 1 + n_q, T].
        inputs: what the model is fed of them; differs where noise was put on the text [B, 1 + n_q, T].
        pause_targets: class of every frame and head [B, T, 4].
        num_frames: frames that are there, padding not counted.
    """

    clip_ids: tuple[str, ...]
    codes: torch.Tensor
    inputs: torch.Tensor
    pause_targets: torch.Tensor
    num_frames: int

    def to(self, device: torch.device) -> Batch:
        if device.type == "cpu":
            return self
        moved = {name: getattr(self, name).pin_memory().to(device, non_blocking=True) for name in ("codes", "inputs", "pause_targets")}
        return Batch(clip_ids=self.clip_ids, num_frames=self.num_frames, **moved)


@dataclass(frozen=True, kw_only=True)
class Stream:
    """One clip as training sees it: tokens and codes [1 + n_q, T], pause targets [T, 4]."""

    clip_id: str
    codes: np.ndarray
    pause_targets: np.ndarray


def make_stream(clip: SpokenClip, model: ModelDir, recipe: Recipe) -> Stream:
    """Lay the words of `clip` on the text stream and derive what the pause heads should say."""
    text = clip.text_stream(model)
    kind = "count" if recipe.loss.pause_targets == "count" else "binary"
    return Stream(
        clip_id=clip.clip_id,
        codes=np.concatenate([text.tokens[None], clip.codes.astype(np.int64)]),
        pause_targets=pause_targets(text.onset_frames, clip.num_frames, kind=kind, num_classes=model.config.get("extra_heads_dim", 6)),
    )


def collate(streams: Sequence[Stream], *, text_noise: float = 0.0, padding_id: int = 3, rng: np.random.Generator | None = None) -> Batch:
    """Put streams side by side; `text_noise` is the share of input text tokens that become padding."""
    num_frames = [stream.codes.shape[1] for stream in streams]
    codes = np.full((len(streams), streams[0].codes.shape[0], max(num_frames)), NOTHING, dtype=np.int64)
    targets = np.full((len(streams), max(num_frames), streams[0].pause_targets.shape[1]), IGNORE, dtype=np.int64)
    for row, stream in enumerate(streams):
        codes[row, :, : num_frames[row]] = stream.codes
        targets[row, : num_frames[row]] = stream.pause_targets
    inputs = codes
    if text_noise > 0:
        assert rng is not None
        inputs = codes.copy()
        inputs[:, 0][(rng.random(inputs[:, 0].shape) < text_noise) & (inputs[:, 0] >= 0)] = padding_id
    return Batch(
        clip_ids=tuple(stream.clip_id for stream in streams),
        codes=torch.from_numpy(codes),
        inputs=torch.from_numpy(inputs),
        pause_targets=torch.from_numpy(targets),
        num_frames=sum(num_frames),
    )


class TrainingBatches:
    """An endless, seeded sequence of batches that can be entered at any point."""

    def __init__(self, clips: Sequence[SpokenClip], model: ModelDir, recipe: Recipe) -> None:
        self._clips = list(clips)
        self._model = model
        self._recipe = recipe
        self.num_batches_per_epoch = -(-len(self._clips) // recipe.batch.batch_size)

    def starting_at(self, index: int) -> Iterator[Batch]:
        """Yield batch number `index` and all that follow."""
        while True:
            epoch, position = divmod(index, self.num_batches_per_epoch)
            for batch in self._epoch(epoch, first=position):
                yield batch
                index += 1

    def _epoch(self, epoch: int, first: int) -> Iterator[Batch]:
        """Yield the batches of an epoch from number `first` on: takes of like length together, batches in random order."""
        recipe = self._recipe
        takes = [self._take(epoch, index) for index in range(len(self._clips))]
        rng = np.random.default_rng([recipe.seed, epoch])
        lengths = np.array([take.num_frames for take in takes]) * rng.uniform(1 - LENGTH_JITTER, 1 + LENGTH_JITTER, len(takes))
        order = np.argsort(lengths, kind="stable")
        groups = [order[start : start + recipe.batch.batch_size] for start in range(0, len(order), recipe.batch.batch_size)]
        for number, group in enumerate(rng.permutation(len(groups))):
            if number < first:
                continue
            streams = [make_stream(takes[index], self._model, recipe) for index in groups[group]]
            noise_rng = np.random.default_rng([recipe.seed, epoch, number, 1])
            yield collate(streams, text_noise=recipe.loss.text_noise, padding_id=self._model.padding_id, rng=noise_rng)

    def _take(self, epoch: int, index: int) -> SpokenClip:
        rng = np.random.default_rng([self._recipe.seed, epoch, index, 0])
        return augment(self._clips[index], self._clips, self._recipe.augment, max_frames=self._model.context, rng=rng)
