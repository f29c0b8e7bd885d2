"""Batches: clips of like length side by side, decided by the seed and the step alone, so that a resumed run needs no memory of them."""

from __future__ import annotations

import dataclasses
import itertools
import math
import typing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from stt_ft.core.recipe import Recipe
from stt_ft.core.timing import FRAME_RATE_HZ
from stt_ft.model.checkpoint_dir import ModelDir
from stt_ft.targets.pause_targets import HORIZONS_S, pause_targets
from stt_ft.training.data.augment import augment
from stt_ft.training.data.clips import Lazy, Pool, TrainingClip, changed, picked

NOTHING = -1
"""Code of a frame that is not there: no embedding, no loss (upstream `zero_token_id`)."""

IGNORE = -100
"""Pause target of a frame that is not there."""

Draw = Literal["takes", "order", "noise", "rounds"]
"""What random numbers are drawn for; each has streams of its own."""

POOLS = typing.get_args(Pool)

LENGTH_JITTER = 0.1
"""Lengths are shuffled by this share before clips are put together, so that batches differ from epoch to epoch."""


def random_stream(draw: Draw, seed: int, *place: int) -> np.random.Generator:
    """Return the random numbers drawn for `draw` at a place of the run: an epoch, and a clip or batch in it.

    Streams are told apart by `spawn_key`: of entropy alone, NumPy's SeedSequence takes [seed, epoch] and [seed, epoch, 0] for the same.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(typing.get_args(Draw).index(draw), *place)))


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Streams side by side, padded at the end to the longest.

    Attributes:
        codes: text tokens and codec codes, the targets at every frame [B, 1 + n_q, T].
        inputs: what the model is fed of them; differs where noise was put on the text [B, 1 + n_q, T].
        text_targets: text tokens to be learned [B, T].
        pause_targets: class of every frame and head [B, T, 4].
        is_replay: which rows are ordinary speech that is replayed [B].
        num_frames: frames that are there, padding not counted.
    """

    clip_ids: tuple[str, ...]
    codes: torch.Tensor
    inputs: torch.Tensor
    text_targets: torch.Tensor
    pause_targets: torch.Tensor
    is_replay: torch.Tensor
    num_frames: int

    def to(self, device: torch.device) -> Batch:
        if device.type == "cpu":
            return self
        names = [f.name for f in dataclasses.fields(self) if isinstance(getattr(self, f.name), torch.Tensor)]
        return dataclasses.replace(self, **{name: getattr(self, name).pin_memory().to(device, non_blocking=True) for name in names})

    def with_text_noise(self, is_noise: npt.NDArray[np.bool_], padding_id: int) -> Batch:
        """Return the batch with its input text tokens replaced by padding where `is_noise` [B, T] says; its targets stay as they are."""
        inputs = self.inputs.clone()
        inputs[:, 0] = inputs[:, 0].masked_fill(torch.from_numpy(is_noise) & (inputs[:, 0] >= 0), padding_id)
        return dataclasses.replace(self, inputs=inputs)

    def weighing_nothing(self) -> Batch:
        """Return a batch of the same shape of which nothing is learned."""
        return dataclasses.replace(
            self,
            text_targets=torch.full_like(self.text_targets, NOTHING),
            pause_targets=torch.full_like(self.pause_targets, IGNORE),
            is_replay=torch.zeros_like(self.is_replay),
            num_frames=0,
        )


@dataclass(frozen=True, kw_only=True)
class Stream:
    """One clip as training sees it: tokens and codes [1 + n_q, T], pause targets [T, 4], whether it is replayed."""

    clip_id: str
    codes: np.ndarray
    pause_targets: np.ndarray
    is_replay: bool = False


def make_stream(clip: TrainingClip, model: ModelDir, recipe: Recipe) -> Stream:
    """Lay the words of `clip` on the text stream and derive what the pause heads should say."""
    clip = clip.with_codes()
    text = clip.text_stream(model)
    heard = text if model.pause_lag_s == model.text_lag_s else clip.pause_stream(model)
    kind = "count" if recipe.loss.pause_targets == "count" else "binary"
    targets = pause_targets(heard.onset_frames, heard.sound_end_frames, clip.num_frames, kind=kind, num_classes=model.num_head_classes)
    if clip.goes_on:
        targets[~known_ahead(heard.onset_frames, clip.num_frames)] = IGNORE
    return Stream(
        clip_id=clip.clip_id,
        codes=np.concatenate([text.tokens[None], clip.codes.astype(np.int64)]),
        pause_targets=targets,
        is_replay=clip.is_replay,
    )


def known_ahead(onset_frames: np.ndarray, num_frames: int) -> np.ndarray:
    """Return where in a clip that goes on the horizon of a head [T, 4] lies before the last word, so that what comes in it is known."""
    reach = np.arange(num_frames)[:, None] + np.array(HORIZONS_S) * FRAME_RATE_HZ
    return reach <= onset_frames[-1]


def collate(streams: Sequence[Stream], *, length: int | None = None) -> Batch:
    """Put streams side by side, padded to `length` frames, by default to the longest."""
    num_frames = [stream.codes.shape[1] for stream in streams]
    length = length or max(num_frames)
    codes = np.full((len(streams), streams[0].codes.shape[0], length), NOTHING, dtype=np.int64)
    targets = np.full((len(streams), length, streams[0].pause_targets.shape[1]), IGNORE, dtype=np.int64)
    for row, stream in enumerate(streams):
        codes[row, :, : num_frames[row]] = stream.codes
        targets[row, : num_frames[row]] = stream.pause_targets
    return Batch(
        clip_ids=tuple(stream.clip_id for stream in streams),
        codes=torch.from_numpy(codes),
        inputs=torch.from_numpy(codes),
        text_targets=torch.from_numpy(codes[:, 0].copy()),
        pause_targets=torch.from_numpy(targets),
        is_replay=torch.tensor([stream.is_replay for stream in streams]),
        num_frames=sum(num_frames),
    )


@dataclass(frozen=True, kw_only=True)
class PlannedBatch:
    """A batch that is decided and not yet made: of several processes each makes the rows that it learns from.

    Attributes:
        takes: the clips in it, as they are to be heard, each made when it is asked for.
        lengths: how many frames each has.
        place: epoch, and number in it.
    """

    takes: Sequence[TrainingClip]
    lengths: npt.NDArray[np.int32]
    place: tuple[int, int]
    model: ModelDir
    recipe: Recipe

    @property
    def longest(self) -> int:
        """Frames of each row, padding counted."""
        return int(self.lengths.max())

    @property
    def num_frames(self) -> int:
        """Frames that are there, padding not counted."""
        return int(self.lengths.sum())

    def made(self, rows: slice = slice(None)) -> Batch:
        """Return the batch of these rows, as they are in the whole: of its length, and with its noise on the text."""
        streams = [make_stream(take, self.model, self.recipe) for take in self.takes[rows]]
        noise = random_stream("noise", self.recipe.seed, *self.place).random((len(self.takes), self.longest))
        batch = collate(streams, length=self.longest)
        return batch.with_text_noise(noise[rows] < self.recipe.loss.text_noise, self.model.padding_id)


class TrainingBatches:
    """An endless, seeded sequence of batches that can be entered at any point.

    How long the takes of an epoch are is known without their codes: only those of a batch that is due are read.
    """

    def __init__(
        self,
        clips: Sequence[TrainingClip],
        model: ModelDir,
        recipe: Recipe,
        *,
        write: Callable[[TrainingClip], TrainingClip] = lambda clip: clip,
    ) -> None:
        """Make batches of `clips`; `write` puts the words of a take in its clip's style (`LabelWriter.write`)."""
        self._write = write
        self._clips = clips
        self._model = model
        self._recipe = recipe
        facts = np.fromiter(((POOLS.index(clip.pool), clip.num_frames) for clip in clips), dtype=np.dtype("i1,i4"), count=len(clips))
        self._pools, self._lengths = facts["f0"], facts["f1"]
        self._alike = [picked(clips, np.flatnonzero(self._pools == pool)) for pool in range(len(POOLS))]
        self._planned: tuple[int, npt.NDArray[np.int64], npt.NDArray[np.int32], list[npt.NDArray[np.int64]]] | None = None

    def starting_at(self, index: int) -> Iterator[Batch]:
        """Yield batch number `index` and all that follow."""
        return (batch.made() for batch in self.planned(index))

    def planned(self, index: int) -> Iterator[PlannedBatch]:
        """Yield the plan of batch number `index` and of all that follow."""
        epoch = 0
        while index >= self.num_batches(epoch):
            index -= self.num_batches(epoch)
            epoch += 1
        for number_of_epoch in itertools.count(epoch):
            chosen, lengths, groups = self._plan(number_of_epoch)
            takes = self._takes(number_of_epoch, chosen)
            for number in range(index, len(groups)):
                group = groups[number]
                yield PlannedBatch(
                    takes=picked(takes, group),
                    lengths=lengths[group],
                    place=(number_of_epoch, number),
                    model=self._model,
                    recipe=self._recipe,
                )
            index = 0

    def num_batches(self, epoch: int) -> int:
        """Return the number of batches of an epoch; under a limit on frames it follows the lengths of that epoch's takes."""
        if self._recipe.batch.max_frames_per_batch is None:
            return -(-len(self._chosen(epoch)) // self._recipe.batch.batch_size)
        return len(self._plan(epoch)[2])

    def _chosen(self, epoch: int) -> npt.NDArray[np.int64]:
        return epoch_clips(self._pools, epoch, seed=self._recipe.seed, synthetic_share=self._recipe.synthetic.share)

    def _plan(self, epoch: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], list[npt.NDArray[np.int64]]]:
        """Return which clips are in an epoch, how many frames each take of them has, and which takes stand side by side."""
        if self._planned is None or self._planned[0] != epoch:
            recipe, chosen = self._recipe, self._chosen(epoch)
            lengths = self._lengths[chosen]
            if recipe.augment.changes_lengths:
                takes = self._takes(epoch, chosen, are_outlines=True)
                lengths = np.fromiter((take.num_frames for take in takes), dtype=np.int32, count=len(chosen))
            rng, limits = random_stream("order", recipe.seed, epoch), recipe.batch
            groups = group_by_length(lengths, batch_size=limits.batch_size, max_frames=limits.max_frames_per_batch, rng=rng)
            self._planned = epoch, chosen, lengths, groups
        return self._planned[1:]

    def _takes(self, epoch: int, chosen: npt.NDArray[np.int64], *, are_outlines: bool = False) -> Lazy[TrainingClip]:
        """Return the takes of an epoch, each made when it is asked for; outlines have words and frames, but no codes and no style."""
        recipe, write, clips, alike = self._recipe.augment, self._write, self._clips, self._alike
        if are_outlines:
            recipe, write = dataclasses.replace(recipe, code_dropout=0.0), lambda clip: clip
        else:
            clips, alike = changed(clips, TrainingClip.with_codes), [changed(others, TrainingClip.with_codes) for others in alike]

        def take(position: int) -> TrainingClip:
            index = int(chosen[position])
            others = alike[self._pools[index]]  # a clip is joined with its like, so that shares hold
            rng = random_stream("takes", self._recipe.seed, epoch, position)
            return augment(clips[index], others, recipe, max_frames=self._model.context, rng=rng, write=write)

        return Lazy(len(chosen), take)


def epoch_clips(pools: npt.NDArray[np.int8], epoch: int, *, seed: int, synthetic_share: float = 0.0) -> npt.NDArray[np.int64]:
    """Return the indices of the clips of an epoch: each recording and each replayed clip once, beside them synthetic ones.

    Of the synthetic ones there are as many as keep within `synthetic_share` of what is learned. They come round in shuffled rounds, going
    on in an epoch where the one before left off. `pools` has the place of each clip's pool in `POOLS`.
    """
    is_synthetic = pools == POOLS.index("synthetic")
    synthetic = np.flatnonzero(is_synthetic)
    most = math.floor(int((pools == POOLS.index("recorded")).sum()) * synthetic_share / (1 - synthetic_share) + 1e-9)
    if most < len(synthetic):
        synthetic = _by_turns(synthetic, most, epoch, seed)
    return np.sort(np.concatenate([synthetic, np.flatnonzero(~is_synthetic)]))


def _by_turns(indices: npt.NDArray[np.int64], count: int, epoch: int, seed: int) -> npt.NDArray[np.int64]:
    """Return `count` of `indices` in an epoch, from rounds that are shuffled anew each time, where the epoch before left off."""
    if count == 0:
        return indices[:0]
    first = epoch * count
    rounds = range(first // len(indices), -(-(first + count) // len(indices)))
    shuffled = np.concatenate([indices[random_stream("rounds", seed, number).permutation(len(indices))] for number in rounds])
    skipped = first - rounds.start * len(indices)
    return shuffled[skipped : skipped + count]


def group_by_length(
    lengths: npt.NDArray[np.int32], *, batch_size: int, max_frames: int | None, rng: np.random.Generator
) -> list[npt.NDArray[np.int64]]:
    """Return groups of positions of `lengths`: neighbours in length, the groups in random order.

    Args:
        lengths: frames of each clip.
        batch_size: most clips in a group.
        max_frames: most frames in a group, padding counted; a clip that is longer alone stands alone. None for no limit.
        rng: decides who stands beside whom among clips of about the same length, and the order of the groups.
    """
    jittered = lengths * rng.uniform(1 - LENGTH_JITTER, 1 + LENGTH_JITTER, len(lengths))
    order = np.argsort(jittered, kind="stable")
    groups = [np.array(group) for group in filled_groups(order.tolist(), lengths.tolist(), batch_size=batch_size, max_frames=max_frames)]
    return [groups[number] for number in rng.permutation(len(groups))]


def filled_groups(order: Sequence[int], lengths: Sequence[int], *, batch_size: int, max_frames: int | None) -> list[list[int]]:
    """Return the positions in `order` in groups, each filled as far as the limits of `group_by_length` allow."""
    groups: list[list[int]] = []
    longest = 0
    for index in order:
        longest = max(longest, lengths[index]) if groups else lengths[index]
        if groups and len(groups[-1]) < batch_size and (max_frames is None or longest * (len(groups[-1]) + 1) <= max_frames):
            groups[-1].append(index)
        else:
            groups.append([index])
            longest = lengths[index]
    return groups
