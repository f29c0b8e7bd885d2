"""The clips of a split, ready to learn from: stored codes, and words as text tokens on the time of the stream.

`training_clips` and `dev_clips` say which clips a run learns from and is validated on, and refuse what cannot work. Clips longer than the
model's context are cut between words, where the recipe says so: every word is kept once, at its true time. A piece ends with the clip's own
closing silence, in which its last words are written. Nobody stopped speaking there, so what the pause heads should say of the time after
the cut is left open (`TrainingClip.goes_on`).
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from stt_ft.audio.sounds import sounds_of
from stt_ft.core import timing
from stt_ft.core.errors import AlignmentError, ConfigError, DatasetError
from stt_ft.core.manifest import Clip, Dataset, Word
from stt_ft.core.recipe import BatchRecipe, Recipe, Version
from stt_ft.core.serving import SERVINGS
from stt_ft.corpus.problems import faultless_sidecars, numbers_in, refuse_faulty
from stt_ft.model.checkpoint_dir import ModelDir
from stt_ft.model.codes import TokenStore
from stt_ft.targets.interleave import TextStream
from stt_ft.text.inverse.said_digits import number_runs
from stt_ft.text.written_style import WrittenStyle

SEARCHED_SHARE = 0.5
"""A clip is cut at the widest gap between words in this last share of the room that a piece has."""

Pool = Literal["recorded", "synthetic", "replayed"]
"""Why a clip is there: to be learned, to be learned beside the recordings, or to keep what the base knew."""


@dataclass(frozen=True, kw_only=True)
class TrainingClip:
    """A clip as a stream. Times are in seconds of the stream, which begins with the model's silence prefix.

    Attributes:
        codes: codec codes [n_q, T]: prefix, recording, and the silence in which the last words are written and the turn ends.
        words: words with their text tokens and times, in order.
        in_number: for each word, whether it belongs to a dictated number.
        num_recorded_frames: frames until the recording ends, prefix counted; what follows is silence.
        is_replay: whether it is ordinary speech that is replayed to keep what the base knew.
        is_synthetic: whether a synthesiser spoke it, to be learned beside the recordings.
        goes_on: whether the speaker went on where it was cut, so that its end is no end of a turn.
        style: how its words are still to be written, once it is known which are there (`LabelWriter`); None leaves them as they are.
    """

    clip_id: str
    codes: npt.NDArray[np.int16]
    words: tuple[Word, ...]
    in_number: tuple[bool, ...]
    num_recorded_frames: int
    is_replay: bool = False
    is_synthetic: bool = False
    goes_on: bool = False
    style: WrittenStyle | None = None

    @property
    def num_frames(self) -> int:
        return self.codes.shape[1]

    @property
    def pool(self) -> Pool:
        """Why the clip is there; a synthetic one whose kind is replayed counts as synthetic."""
        return "synthetic" if self.is_synthetic else "replayed" if self.is_replay else "recorded"

    def texts(self, model: ModelDir) -> list[str]:
        """Return the words as their tokens write them."""
        return [model.tokenizer.decode(list(word.tokens)) for word in self.words]

    def text_stream(self, model: ModelDir) -> TextStream:
        """Place the words on the text stream; raises `AlignmentError` when one has no room."""
        return model.text_stream(self.words, self.num_frames)

    def pause_stream(self, model: ModelDir) -> TextStream:
        """Place the words where the pause heads should know of them: on the text stream, or before it where that comes too late for an
        agent (`ModelDir.pause_lag_s`)."""
        return model.text_stream(self.words, self.num_frames, lag_s=model.pause_lag_s)


def training_clips(data: Dataset, model: ModelDir, recipe: Recipe) -> list[TrainingClip]:
    """Return the clips to learn from, after them the synthetic ones of another dataset, and those of a dataset that is replayed.

    Raises:
        ConfigError: a kind that is replayed is not there, or no recording is left to be learned.
        DatasetError: clips that cannot be learned, or a synthetic one that says a number on which the model is measured; by name.
    """
    clips = _load_train(data, model, recipe)
    if recipe.synthetic.dataset is not None and recipe.synthetic.share > 0:
        _refuse_measured_numbers(data, Dataset.open(recipe.synthetic.dataset))
        clips += [dataclasses.replace(clip, is_synthetic=True) for clip in _load_beside(recipe.synthetic.dataset, model, recipe)]
    if recipe.replay.dataset is not None:
        beside = _load_beside(recipe.replay.dataset, model, recipe)
        clips += [dataclasses.replace(clip, is_replay=True, is_synthetic=False) for clip in beside]
    if recipe.replay.kinds and not any(clip.is_replay for clip in clips):
        way_out = "record ordinary sentences, name some by replay.dataset, or do without by --replay.kinds '[]' --replay.text_weight 0"
        names = ", ".join(recipe.replay.kinds)
        raise ConfigError(f"{data.directory}: replay.kinds names {names}, and no clip of train is of that kind; {way_out}")
    pools = {clip.pool for clip in clips}
    if "recorded" not in pools and "synthetic" in pools:
        raise ConfigError(f"{data.directory}: train holds no recording to learn, and synthetic clips are learned beside recordings only")
    if "recorded" not in pools:
        raise ConfigError(f"{data.directory}: replay.kinds takes in every clip of train, so there is nothing to learn beside the replay")
    return clips


def dev_clips(data: Dataset, model: ModelDir, recipe: Recipe) -> list[TrainingClip]:
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


def _load_train(data: Dataset, model: ModelDir, recipe: Recipe) -> list[TrainingClip]:
    """Return the train split in all its versions; clips that are too long are cut where the recipe says so, and were refused otherwise."""
    clips = load_clips(data, "train", model, recipe.batch, replay_kinds=recipe.replay.kinds, versions=recipe.augment.versions)
    if recipe.batch.long_clips == "refuse":
        return clips
    max_frames = model.context
    if recipe.batch.max_clip_s is not None:
        max_frames = min(max_frames, timing.num_frames_covering(recipe.batch.max_clip_s))
    return [piece for clip in clips for piece in cut_to_fit(clip, max_frames=max_frames, num_prefix_frames=model.num_prefix_frames)]


def _load_beside(directory: str, model: ModelDir, recipe: Recipe) -> list[TrainingClip]:
    """Return the train split of another dataset, under names that say so."""
    clips = _load_train(Dataset.open(directory), model, recipe)
    return [dataclasses.replace(clip, clip_id=f"{directory}/{clip.clip_id}") for clip in clips]


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


def load_clips(
    data: Dataset,
    split: str,
    model: ModelDir,
    recipe: BatchRecipe,
    *,
    replay_kinds: Sequence[str] = (),
    versions: Sequence[Version] = (Version(),),
) -> list[TrainingClip]:
    """Load a split for training, every clip in each of `versions`; clips whose `kind` in the manifest is one of `replay_kinds` are replay.

    Raises:
        DatasetError: the split is empty, is dev and holds a synthetic clip, or clips have no codes, words with faults that `check` calls
            grave, words that do not fit, or are too long; named by id.
    """
    clips = data.measured_clips(split)
    store = TokenStore.of(data, model)
    sounds = sounds_of(data, clips, versions)
    missing = store.missing(sounds)
    if missing:
        first, which = missing[0].clip.path, f" at {missing[0].version.name}" if missing[0].version.name else ""
        raise DatasetError(
            f"{data.directory}: {len(missing)} clips of {split} have no codes for this base (first: {first}{which}); "
            f"run `stt-ft encode {data.directory} --base {model.name}{_version_flags(versions)}`"
        )
    sidecars, faults = faultless_sidecars(data, clips)
    words_of: dict[str, list[Word]] = {}
    for path, sidecar in sidecars.items():
        try:
            words_of[path] = [dataclasses.replace(word, tokens=model.tokens_of(word.text)) for word in sidecar.main_words]
        except AlignmentError as error:
            faults[path] = str(error)
    loaded = []
    for sound in sounds:
        clip, version = sound.clip, sound.version
        if clip.path in faults:
            continue
        try:
            words = [word.at_speed(version.speed) for word in words_of[clip.path]]
            played = dataclasses.replace(clip, duration_s=clip.duration_s / version.speed)
            codes = store.get(sound.key) if version.serving is None else SERVINGS[version.serving].heard(store.get(sound.key))
            loaded.append(_load_clip(played, codes, words, model, recipe, is_replay=clip.extra.get("kind") in replay_kinds))
        except (AlignmentError, DatasetError) as error:
            faults[clip.path] = str(error)
    refuse_faulty(data, split, {clip.path: faults[clip.path] for clip in clips if clip.path in faults}, purpose="trained on")
    if not loaded:
        raise DatasetError(f"{data.manifest_path(split)}: no clips to train on")
    return loaded


def _version_flags(versions: Sequence[Version]) -> str:
    """Return the flags of `encode` that make the codes of these versions."""
    speeds = [f"{version.speed:g}" for version in versions if version.channel is None and version.serving is None]
    channels = [version.channel for version in versions if version.channel is not None]
    return (f" --speeds {','.join(speeds)}" if speeds != ["1"] else "") + (f" --channels {','.join(channels)}" if channels else "")


def _load_clip(
    clip: Clip, codes: np.ndarray, words: Sequence[Word], model: ModelDir, recipe: BatchRecipe, *, is_replay: bool
) -> TrainingClip:
    """Put one clip together and make sure that its words fit."""
    if recipe.long_clips == "refuse" and recipe.max_clip_s is not None and clip.duration_s > recipe.max_clip_s:
        raise DatasetError(
            f"{clip.duration_s:.1f} s long, more than batch.max_clip_s {recipe.max_clip_s} (set batch.long_clips: cut, or raise the limit)"
        )
    num_recorded = model.num_prefix_frames + timing.num_frames_covering(clip.duration_s)
    num_frames = min(codes.shape[1], num_recorded + model.num_tail_frames(recipe.tail_s))
    runs = number_runs([word.text for word in words])
    loaded = TrainingClip(
        clip_id=clip.path,
        codes=codes[:, :num_frames],
        words=tuple(word.moved(timing.frame_start_s(model.num_prefix_frames)) for word in words),
        in_number=tuple(any(start <= position < stop for start, stop in runs) for position in range(len(words))),
        num_recorded_frames=min(num_recorded, num_frames),
        is_replay=is_replay,
        is_synthetic=clip.is_synthetic,
    )
    if recipe.long_clips == "refuse" and loaded.num_frames > model.context:
        raise DatasetError(
            f"{clip.duration_s:.1f} s long, with silence before and after {loaded.num_frames} frames, more than the model's context of "
            f"{model.context} (set batch.long_clips: cut)"
        )
    loaded.text_stream(model)
    return loaded


def fingerprint(clips: Sequence[TrainingClip]) -> str:
    """Return a hash of everything that training reads of `clips`, by which a resumed run knows its data again."""
    digest = hashlib.sha256()
    for clip in clips:
        digest.update(clip.codes.tobytes())
        marks = (*(("replay",) if clip.is_replay else ()), *(("synthetic",) if clip.is_synthetic else ()))
        digest.update(repr((clip.clip_id, clip.words, clip.in_number, clip.num_recorded_frames, *marks)).encode())
    return digest.hexdigest()


def cut_to_fit(clip: TrainingClip, *, max_frames: int, num_prefix_frames: int = 0) -> list[TrainingClip]:
    """Return `clip` in pieces of at most `max_frames` frames, itself when it is short enough.

    Args:
        clip: what was recorded.
        max_frames: the model's context, or less.
        num_prefix_frames: frames of silence that the model wants to hear first; every piece begins with those of the clip.

    Raises:
        DatasetError: words so close that no gap lies within the room of a piece.
    """
    if clip.num_frames <= max_frames:
        return [clip]
    tail = clip.codes[:, clip.num_recorded_frames :]
    pieces, first_word, start = [], 0, num_prefix_frames
    while start < clip.num_recorded_frames:
        room = max_frames - num_prefix_frames - tail.shape[1]
        next_word, stop = _cut(clip, first_word, start, room)
        shift = num_prefix_frames - start
        pieces.append(
            dataclasses.replace(
                clip,
                clip_id=f"{clip.clip_id} from {timing.frame_start_s(start - num_prefix_frames):.1f} s",
                codes=np.concatenate([clip.codes[:, :num_prefix_frames], clip.codes[:, start:stop], tail], axis=1),
                words=tuple(word.moved(timing.frame_start_s(shift)) for word in clip.words[first_word:next_word]),
                in_number=clip.in_number[first_word:next_word],
                num_recorded_frames=num_prefix_frames + stop - start,
                goes_on=stop < clip.num_recorded_frames,
            )
        )
        first_word, start = next_word, stop
    return [piece for piece in pieces if piece.words]


def _cut(clip: TrainingClip, first_word: int, start: int, room: int) -> tuple[int, int]:
    """Return the first word after the piece that begins at frame `start`, and the frame before which that piece ends."""
    if clip.num_recorded_frames - start <= room:
        return len(clip.words), clip.num_recorded_frames
    found = []  # width of the silence in seconds, next word, frame of the cut
    for index in range(first_word, len(clip.words) + 1):
        quiet_from_s = clip.words[index - 1].end_s if index > first_word else timing.frame_start_s(start)
        quiet_to_s = clip.words[index].start_s if index < len(clip.words) else timing.frame_start_s(clip.num_recorded_frames)
        frame = min(round((quiet_from_s + max(quiet_from_s, quiet_to_s)) / 2 * timing.FRAME_RATE_HZ), start + room)
        is_clear = timing.num_frames_covering(quiet_from_s) <= frame and (
            index > first_word or quiet_to_s > timing.frame_start_s(start + room)
        )
        if is_clear and frame > start:
            found.append((quiet_to_s - quiet_from_s, index, frame))
    if not found:
        at_s, room_s = timing.frame_start_s(start), timing.frame_start_s(room)
        raise DatasetError(f"clip {clip.clip_id}: no gap between words in the {room_s:.1f} s from {at_s:.1f} s on, where it must be cut")
    late = [cut for cut in found if cut[2] > start + room * (1 - SEARCHED_SHARE)] or found
    _, next_word, frame = max(late)
    return next_word, frame
