"""Which clips a run learns from, which it replays, and on which it is validated; what cannot work is refused here."""

from __future__ import annotations

import dataclasses

from stt_ft.core import timing
from stt_ft.core.errors import ConfigError
from stt_ft.core.manifest import Dataset
from stt_ft.core.recipe import Recipe
from stt_ft.model.checkpoint_dir import ModelDir
from stt_ft.training.clips import SpokenClip, load_clips
from stt_ft.training.cutting import cut_to_fit


def training_clips(data: Dataset, model: ModelDir, recipe: Recipe) -> list[SpokenClip]:
    """Return the clips to learn from, and after them those of a dataset that is replayed."""
    clips = _cut(
        load_clips(data, "train", model, recipe.batch, replay_kinds=recipe.replay.kinds, copies=recipe.augment.copies), model, recipe
    )
    if recipe.replay.dataset is not None:
        replay = _cut(
            load_clips(Dataset.open(recipe.replay.dataset), "train", model, recipe.batch, copies=recipe.augment.copies), model, recipe
        )
        clips += [dataclasses.replace(clip, clip_id=f"{recipe.replay.dataset}/{clip.clip_id}", is_replay=True) for clip in replay]
    num_replayed = sum(clip.is_replay for clip in clips)
    if recipe.replay.kinds and not any(clip.is_replay for clip in clips):
        way_out = "record ordinary sentences, name some by replay.dataset, or do without by --replay.kinds '[]' --replay.text_weight 0"
        names = ", ".join(recipe.replay.kinds)
        raise ConfigError(f"{data.directory}: replay.kinds names {names}, and no clip of train is of that kind; {way_out}")
    if num_replayed == len(clips):
        raise ConfigError(f"{data.directory}: replay.kinds takes in every clip of train, so there is nothing to learn beside the replay")
    return clips


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
    needs_turns = recipe.evaluation.best_metric in ("cut_offs", "turn_area_s", "combined") and recipe.evaluation.every_steps > 0
    if needs_turns and clips and (model.num_heads == 0 or not any(any(clip.in_number) for clip in clips)):
        raise ConfigError(
            f"{data.directory}: evaluation.best_metric {recipe.evaluation.best_metric} needs pause heads and dev clips with numbers"
        )
    return clips
