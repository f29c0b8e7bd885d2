"""Which clips a run learns from, which it replays, and on which it is validated; what cannot work is refused here."""

from __future__ import annotations

import dataclasses

from stt_ft.core import timing
from stt_ft.core.errors import ConfigError, DatasetError
from stt_ft.core.manifest import Clip, Dataset
from stt_ft.core.recipe import Recipe
from stt_ft.corpus.problems import numbers_in
from stt_ft.model.checkpoint_dir import ModelDir
from stt_ft.training.clips import SpokenClip, load_clips
from stt_ft.training.cutting import cut_to_fit
from stt_ft.training.epochs import pools_of


def training_clips(data: Dataset, model: ModelDir, recipe: Recipe) -> list[SpokenClip]:
    """Return the clips to learn from, after them the synthetic ones of another dataset, and those of a dataset that is replayed.

    Raises:
        ConfigError: a kind that is replayed is not there, or no recording is left to be learned.
        DatasetError: clips that cannot be learned, or a synthetic one that says a number on which the model is measured; by name.
    """
    clips = _load(data, model, recipe)
    if recipe.synthetic.dataset is not None and recipe.synthetic.share > 0:
        _refuse_measured_numbers(data, Dataset.open(recipe.synthetic.dataset))
        clips += [dataclasses.replace(clip, is_synthetic=True) for clip in _load_beside(recipe.synthetic.dataset, model, recipe)]
    if recipe.replay.dataset is not None:
        clips += [
            dataclasses.replace(clip, is_replay=True, is_synthetic=False) for clip in _load_beside(recipe.replay.dataset, model, recipe)
        ]
    pools = pools_of(clips)
    if recipe.replay.kinds and not any(clip.is_replay for clip in clips):
        way_out = "record ordinary sentences, name some by replay.dataset, or do without by --replay.kinds '[]' --replay.text_weight 0"
        names = ", ".join(recipe.replay.kinds)
        raise ConfigError(f"{data.directory}: replay.kinds names {names}, and no clip of train is of that kind; {way_out}")
    if not pools["recorded"] and pools["synthetic"]:
        raise ConfigError(f"{data.directory}: train holds no recording to learn, and synthetic clips are learned beside recordings only")
    if not pools["recorded"]:
        raise ConfigError(f"{data.directory}: replay.kinds takes in every clip of train, so there is nothing to learn beside the replay")
    return clips


def _refuse_measured_numbers(data: Dataset, synthetic: Dataset) -> None:
    """Raise `DatasetError` where a synthetic clip says a number of the dev or heldout split of `data`: it would be known by heart."""
    measured = {
        number: clip.path for split in data.splits() if split != "train" for clip in data.clips(split) for number in _numbers(data, clip)
    }
    for clip in synthetic.clips("train"):
        for number in sorted(_numbers(synthetic, clip) & measured.keys()):
            raise DatasetError(
                f"{synthetic.directory}: clip {clip.path} says {number}, as {measured[number]} does, on which the model is measured; "
                f"run the same `stt-ft synthesize` again with --apart_from {data.directory}: it makes such clips anew"
            )


def _numbers(data: Dataset, clip: Clip) -> set[str]:
    return numbers_in(data.read_sidecar(clip) if data.sidecar_path(clip).exists() else None, clip.extra.get("script"))


def _load(data: Dataset, model: ModelDir, recipe: Recipe) -> list[SpokenClip]:
    copies = recipe.augment.versions
    return _cut(load_clips(data, "train", model, recipe.batch, replay_kinds=recipe.replay.kinds, copies=copies), model, recipe)


def _load_beside(directory: str, model: ModelDir, recipe: Recipe) -> list[SpokenClip]:
    """Return the train split of another dataset, under names that say so."""
    clips = _load(Dataset.open(directory), model, recipe)
    return [dataclasses.replace(clip, clip_id=f"{directory}/{clip.clip_id}") for clip in clips]


def _cut(clips: list[SpokenClip], model: ModelDir, recipe: Recipe) -> list[SpokenClip]:
    """Cut clips that are too long where the recipe says so; others were refused on loading."""
    if recipe.batch.long_clips == "refuse":
        return clips
    max_frames = model.context
    if recipe.batch.max_clip_s is not None:
        max_frames = min(max_frames, timing.num_frames_covering(recipe.batch.max_clip_s))
    return [piece for clip in clips for piece in cut_to_fit(clip, max_frames=max_frames, num_prefix_frames=model.num_prefix_frames)]


def dev_clips(data: Dataset, model: ModelDir, recipe: Recipe) -> list[SpokenClip]:
    """Return the clips of the dev split, none where there is none; raises `ConfigError` where the recipe needs them, or numbers in them."""
    clips = load_clips(data, "dev", model, recipe.batch) if "dev" in data.splits() else []
    if recipe.calibration.method != "off" and (not clips or model.num_heads == 0):
        raise ConfigError(f"{data.directory}: calibration.method {recipe.calibration.method} needs pause heads and a dev split")
    needs_turns = recipe.validation.best_metric in ("cut_offs", "turn_area_s", "combined") and recipe.validation.every_steps > 0
    if needs_turns and clips and (model.num_heads == 0 or not any(any(clip.in_number) for clip in clips)):
        raise ConfigError(
            f"{data.directory}: validation.best_metric {recipe.validation.best_metric} needs pause heads and dev clips with numbers"
        )
    return clips
