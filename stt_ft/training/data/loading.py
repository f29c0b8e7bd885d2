"""The clips that a run learns from and is validated on: which they are, what is wrong with them, and a table of all in little memory.

`training_clips` and `dev_clips` refuse what cannot work, before anything is written. Of every clip the table keeps words and times in
arrays, some 150 bytes; a `TrainingClip` is made of them whenever it is asked for, and its codes are read when a batch needs them.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from stt_ft.audio.sounds import version_key
from stt_ft.core import timing
from stt_ft.core.errors import AlignmentError, ConfigError, DatasetError
from stt_ft.core.recipe import BatchRecipe, Recipe, Version
from stt_ft.corpus.packed_words import PackedClips, packed_clips
from stt_ft.corpus.problems import numbers_of, refuse_faulty
from stt_ft.dataset.manifest import Dataset
from stt_ft.dataset.sidecar import Word
from stt_ft.model.checkpoint_dir import ModelDir
from stt_ft.model.codes import TokenStore
from stt_ft.training.data.clips import Lazy, StoredCodes, TrainingClip, chained, changed, cut_to_fit


def training_clips(data: Dataset, model: ModelDir, recipe: Recipe) -> Lazy[TrainingClip]:
    """Return the clips to learn from, after them the synthetic ones of another dataset, and those of a dataset that is replayed.

    Raises:
        ConfigError: a kind that is replayed is not there, or no recording is left to be learned.
        DatasetError: clips that cannot be learned, or a synthetic one that says a number on which the model is measured; by name.
    """
    parts = [_load_train(data, model, recipe)]
    if recipe.synthetic.dataset is not None and recipe.synthetic.share > 0:
        _refuse_measured_numbers(data, Dataset.open(recipe.synthetic.dataset))
        parts.append(_load_beside(recipe.synthetic.dataset, model, recipe, is_synthetic=True))
    if recipe.replay.dataset is not None:
        parts.append(_load_beside(recipe.replay.dataset, model, recipe, is_replay=True, is_synthetic=False))
    clips = chained(parts)
    if recipe.replay.kinds and not any(clip.is_replay for clip in clips):
        way_out = "record ordinary sentences, name some by replay.dataset, or do without by --replay.kinds '[]' --replay.text_weight 0"
        names = ", ".join(recipe.replay.kinds)
        raise ConfigError(f"{data.directory}: replay.kinds names {names}, and no clip of train is of that kind; {way_out}")
    has_recordings = any(clip.pool == "recorded" for clip in clips)
    if not has_recordings and any(clip.is_synthetic for clip in clips):
        raise ConfigError(f"{data.directory}: train holds no recording to learn, and synthetic clips are learned beside recordings only")
    if not has_recordings:
        raise ConfigError(f"{data.directory}: replay.kinds takes in every clip of train, so there is nothing to learn beside the replay")
    return clips


def dev_clips(data: Dataset, model: ModelDir, recipe: Recipe) -> Sequence[TrainingClip]:
    """Return the clips of the dev split, none where there is none; raises `ConfigError` where the recipe needs them, or numbers in them."""
    clips = load_clips(data, "dev", model, recipe.batch) if "dev" in data.splits() else []
    if recipe.calibration.method != "off" and (not clips or model.num_heads == 0):
        needs = f"calibration.method {recipe.calibration.method} needs pause heads (lora.heads: new) and a dev split"
        raise ConfigError(f"{data.directory}: {needs}")
    needs_turns = recipe.validation.best_metric in ("cut_offs", "turn_area_s", "combined") and recipe.validation.every_steps > 0
    if needs_turns and clips and (model.num_heads == 0 or not any(any(clip.in_number) for clip in clips)):
        needs = f"validation.best_metric {recipe.validation.best_metric} needs pause heads (lora.heads: new) and dev clips with numbers"
        raise ConfigError(f"{data.directory}: {needs}")
    return clips


def _load_train(data: Dataset, model: ModelDir, recipe: Recipe) -> Lazy[TrainingClip]:
    """Return the train split in all its versions; clips that are too long are cut where the recipe says so, and were refused otherwise."""
    clips = load_clips(data, "train", model, recipe.batch, replay_kinds=recipe.replay.kinds, versions=recipe.augment.versions)
    if recipe.batch.long_clips == "refuse":
        return clips
    max_frames = model.context
    if recipe.batch.max_clip_s is not None:
        max_frames = min(max_frames, timing.num_frames_covering(recipe.batch.max_clip_s))

    def pieces_of(clip: TrainingClip) -> list[TrainingClip]:
        return cut_to_fit(clip, max_frames=max_frames, num_prefix_frames=model.num_prefix_frames)

    ends = np.cumsum([len(pieces_of(clip)) for clip in clips])

    def piece(index: int) -> TrainingClip:
        number = int(np.searchsorted(ends, index, side="right"))
        return pieces_of(clips[number])[index - int(ends[number])]

    return Lazy(int(ends[-1]), piece)


def _load_beside(directory: str, model: ModelDir, recipe: Recipe, **marks: bool) -> Lazy[TrainingClip]:
    """Return the train split of another dataset, marked, and under names that say where it is from."""
    clips = _load_train(Dataset.open(directory), model, recipe)
    return changed(clips, lambda clip: dataclasses.replace(clip, clip_id=f"{directory}/{clip.clip_id}", **marks))


def _refuse_measured_numbers(data: Dataset, synthetic: Dataset) -> None:
    """Raise `DatasetError` where a synthetic clip says a number of the dev or heldout split of `data`: it would be known by heart."""
    held = [clip for split in data.splits() if split != "train" for clip in data.clips(split)]
    measured = {number: clip.path for clip, numbers in numbers_of(data, held) for number in numbers}
    for clip, numbers in numbers_of(synthetic, synthetic.each_clip("train")):
        for number in sorted(numbers & measured.keys()):
            raise DatasetError(
                f"{synthetic.directory}: clip {clip.path} says {number}, as {measured[number]} does, on which the model is measured; "
                f"run the same `stt-ft synthesize` again with --apart_from {data.directory}: it makes such clips anew"
            )


@dataclass(frozen=True, kw_only=True)
class _Table:
    """The clips of a split in little room, every clip in each version, version by version."""

    model: ModelDir
    recipe: BatchRecipe
    versions: Sequence[Version]
    store: TokenStore
    places: dict[str, int] = field(default_factory=dict)
    lexicon: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    chunks: list[tuple[PackedClips, npt.NDArray[np.int32]]] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)

    @property
    def num_clips(self) -> int:
        return self.ends[-1] if self.ends else 0

    def place_of(self, text: str) -> int:
        """Return the place of a word in the lexicon; raises `AlignmentError` as `ModelDir.tokens_of` does."""
        if text not in self.places:
            self.lexicon.append((text, self.model.tokens_of(text)))
            self.places[text] = len(self.places)
        return self.places[text]

    def add(self, packed: PackedClips, entries: npt.NDArray[np.int64], faults: dict[str, str]) -> None:
        """Take in more clips and put into `faults` what is wrong with any."""
        found, places = dict(packed.faults), np.zeros(len(packed.texts), dtype=np.int32)
        for at, text in enumerate(packed.texts):
            try:
                places[at] = self.place_of(text)
            except AlignmentError as error:
                found = {clip: str(error) for clip in packed.clips_with(at)} | found
        chunk = dataclasses.replace(packed, keys=(), texts=(), words=places[packed.words]), entries.astype(np.int32)
        for at in range(len(packed.paths)):
            try:
                if at not in found:
                    self.check(*chunk, at)
            except (AlignmentError, DatasetError) as error:
                found[at] = str(error)
        faults |= {packed.path(at): found[at] for at in sorted(found) if packed.path(at) not in faults}
        self.chunks.append(chunk)
        self.ends.append(self.num_clips + len(packed.paths))

    def clip(self, index: int) -> TrainingClip:
        """Return clip number `index` in one of its versions."""
        version, number = divmod(index, self.num_clips)
        chunk = bisect.bisect_right(self.ends, number)
        packed, entries = self.chunks[chunk]
        return self.made(packed, entries, number - self.ends[chunk] + len(packed.paths), version)

    def made(self, packed: PackedClips, entries: npt.NDArray[np.int32], at: int, version: int) -> TrainingClip:
        """Return the clip at a place of a chunk in a version."""
        speed, prefix_s = self.versions[version].speed, timing.frame_start_s(self.model.num_prefix_frames)
        places, times_s, in_number = packed.words_of(at)
        words = [
            Word(text=text, start_s=start_s, end_s=end_s, tokens=tokens)
            for (text, tokens), start_s, end_s in zip(
                map(self.lexicon.__getitem__, places), *(times_s / speed + prefix_s).tolist(), strict=True
            )
        ]
        entry = int(entries[version, at])
        num_recorded, num_frames = self.lengths(float(packed.durations_s[at]) / speed, entry)
        return TrainingClip(
            clip_id=packed.path(at),
            codes=np.empty((0, num_frames), dtype=np.int16),
            words=tuple(words),
            in_number=tuple(in_number),
            num_recorded_frames=num_recorded,
            is_replay=bool(packed.is_replay[at]),
            is_synthetic=bool(packed.is_synthetic[at]),
            stored=StoredCodes(store=self.store, entry=entry, serving=self.versions[version].serving, spans=((0, num_frames),)),
        )

    def lengths(self, duration_s: float, entry: int) -> tuple[int, int]:
        """Return the frames of a clip of this duration, until the recording ends and in all."""
        num_recorded = self.model.num_prefix_frames + timing.num_frames_covering(duration_s)
        num_frames = min(self.store.num_frames(entry), num_recorded + self.model.num_tail_frames(self.recipe.tail_s))
        return min(num_recorded, num_frames), num_frames

    def check(self, packed: PackedClips, entries: npt.NDArray[np.int32], at: int) -> None:
        """Make sure that the words of a clip fit in every version; raises `AlignmentError` or `DatasetError`."""
        limit_s = self.recipe.max_clip_s if self.recipe.long_clips == "refuse" else None
        places, times_s, _ = packed.words_of(at)
        num_tokens = sum(len(self.lexicon[place][1]) for place in places)
        lag_s = timing.frame_start_s(self.model.num_prefix_frames) + self.model.text_lag_s
        for number, version in enumerate(self.versions):
            duration_s = float(packed.durations_s[at]) / version.speed
            if limit_s is not None and duration_s > limit_s:
                raise DatasetError(
                    f"{duration_s:.1f} s long, more than batch.max_clip_s {limit_s} (set batch.long_clips: cut, or raise the limit)"
                )
            _, num_frames = self.lengths(duration_s, int(entries[number, at]))
            if self.recipe.long_clips == "refuse" and num_frames > self.model.context:
                raise DatasetError(
                    f"{duration_s:.1f} s long, with silence before and after {num_frames} frames, more than the model's context of "
                    f"{self.model.context} (set batch.long_clips: cut)"
                )
            # Words of which all tokens would fit behind the onset of the last one do fit; of others it is found out.
            if timing.frame_at(float(times_s[0, -1]) / version.speed + lag_s) + num_tokens >= num_frames:
                self.made(packed, entries, at, number).text_stream(self.model)


def load_clips(
    data: Dataset,
    split: str,
    model: ModelDir,
    recipe: BatchRecipe,
    *,
    replay_kinds: Sequence[str] = (),
    versions: Sequence[Version] = (Version(),),
) -> Lazy[TrainingClip]:
    """Load a split for training, every clip in each of `versions`; clips whose `kind` in the manifest is one of `replay_kinds` are replay.

    Raises:
        DatasetError: the split is empty, is dev and holds a synthetic clip, or clips have no codes, words with faults that `check` calls
            grave, words that do not fit, or are too long; named by id.
    """
    store = TokenStore.of(data, model)
    table = _Table(model=model, recipe=recipe, versions=versions, store=store)
    faults: dict[str, str] = {}
    num_missing, missing = 0, dict[int, str]()  # version -> the first clip that has no codes
    for packed in packed_clips(data, split, replay_kinds=replay_kinds):
        entries = np.array([store.find([version_key(key, version) for key in packed.keys]) for version in versions])
        for version, at in np.argwhere(entries < 0).tolist():
            num_missing += 1
            missing.setdefault(version, packed.path(at))
        if not num_missing:
            table.add(packed, entries, faults)
    if missing:
        version = versions[min(missing)]
        which = f"{missing[min(missing)]} at {version.name}" if version.name else missing[min(missing)]
        raise DatasetError(
            f"{data.directory}: {num_missing} clips of {split} have no codes for this base (first: {which}); "
            f"run `stt-ft encode {data.directory} --base {model.name}{_version_flags(versions)}`"
        )
    refuse_faulty(data, split, faults, purpose="trained on")
    if not table.num_clips:
        raise DatasetError(f"{data.manifest_path(split)}: no clips to train on")
    return Lazy(table.num_clips * len(versions), table.clip)


def _version_flags(versions: Sequence[Version]) -> str:
    """Return the flags of `encode` that make the codes of these versions."""
    speeds = [f"{version.speed:g}" for version in versions if version.channel is None and version.serving is None]
    channels = [version.channel for version in versions if version.channel is not None]
    return (f" --speeds {','.join(speeds)}" if speeds != ["1"] else "") + (f" --channels {','.join(channels)}" if channels else "")
