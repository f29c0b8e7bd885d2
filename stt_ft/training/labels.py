"""Labels as the base writes: recordings' scripts are plain words, and a base may write "One, two, nine." of them.

With `labels.style: base` every clip is taught in the candidate form (`text/written_style.py`) that the base itself finds likeliest when it
reads it: less is unlearnt where less is asked to change. The base chooses once, before the first step; the run directory keeps its choice.

A clip that dictates a number is taught without commas and full stops: a mark is written half a second after its word began, too early to
know whether the number goes on, and the pause heads follow what was written. Nor is the first digit of a clip capital: "Nine" is another
word to learn than "nine", and is misheard more often (docs/vad.md has the figures of both).

    labels.json      {"made_of": {…}, "styles": {"audio/sample_001.wav": "capital+stop", "audio/sample_002.wav": null, …}}

null leaves a clip's words as its transcript has them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from moshi.models.lm import LMModel
from torch.nn import functional as F

from stt_ft.core.atomic import write_json
from stt_ft.core.errors import AlignmentError
from stt_ft.core.progress import say, track
from stt_ft.core.recipe import Recipe
from stt_ft.model.checkpoint_dir import ModelDir
from stt_ft.model.stt_lm import forward
from stt_ft.text.written_style import WrittenStyle, styles
from stt_ft.training.data.batches import Batch, collate, filled_groups, make_stream
from stt_ft.training.data.clips import Lazy, TrainingClip, changed, fingerprint
from stt_ft.training.parallel import World

Styles = Mapping[str, WrittenStyle | None]
"""Clip id -> the style its words are to be written in; None leaves them as they are."""


@dataclass(frozen=True, kw_only=True)
class LabelWriter:
    """Writes the words of clips in a style, as text tokens."""

    model: ModelDir

    def written(self, clip: TrainingClip, style: WrittenStyle | None) -> TrainingClip | None:
        """Return `clip` written in `style`, or None where the tokenizer lacks a letter or the stream has no room for that."""
        if style is None:
            return dataclasses.replace(clip, style=None)
        tokenizer, before, words = self.model.tokenizer, clip.texts(self.model), []
        for word, old, new in zip(clip.words, before, style.write(before, clip.in_number, is_whole=not clip.goes_on), strict=True):
            tokens = word.tokens if new == old else tuple(tokenizer.encode(new))
            if new != old and (tokenizer.unk_id() in tokens or tokenizer.decode(list(tokens)) != new):
                return None
            words.append(dataclasses.replace(word, tokens=tokens))
        written = dataclasses.replace(clip, words=tuple(words), style=None)
        try:
            written.text_stream(self.model)
        except AlignmentError:
            return None
        return written

    def write(self, clip: TrainingClip) -> TrainingClip:
        """Return `clip` written in its own style; its words stay as they are where that cannot be written."""
        return clip if clip.style is None else self.written(clip, clip.style) or dataclasses.replace(clip, style=None)


def styled(clips: Sequence[TrainingClip], chosen: Styles) -> Lazy[TrainingClip]:
    """Return `clips` with the styles that were chosen for them, still to be written."""
    names = list(dict.fromkeys(chosen.values()))
    places = np.fromiter((names.index(chosen[clip.clip_id]) for clip in clips), dtype=np.int8, count=len(clips))
    return Lazy(len(clips), lambda index: dataclasses.replace(clips[index], style=names[places[index]]))


@dataclass(frozen=True, kw_only=True)
class StyleChooser:
    """Lets a base choose how clips are written. Clips of one id (a recording at several speeds) are written alike: the first decides.

    Attributes:
        lm: the base, or what is still equal to it; its mode is kept.
        autocast: gives the context in which it computes.
    """

    writer: LabelWriter
    recipe: Recipe
    lm: LMModel
    autocast: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext

    def choose(self, clips: Sequence[TrainingClip]) -> dict[str, WrittenStyle | None]:
        """Return the style of every clip: that of the highest log-likelihood of the whole text stream over the clip's codes.

        All forms of a clip are streams of equally many frames, padding counted, so their sums can be compared. Of equally likely forms
        the plainest is taken. The words of `clips` are those of their transcripts.
        """
        lm, was_training = self.lm, self.lm.training
        lm.eval()
        readings = self._readings(clips)
        scores = [0.0] * len(readings)
        with torch.no_grad(), self.autocast():
            for group in track(self._groups(readings), "batches of label forms read by the base"):
                forms = [self._form(clips[readings[index].place], readings[index].style) for index in group]
                batch = collate([make_stream(form, self.writer.model, self.recipe) for form in forms if form is not None])
                for index, score in zip(group, log_likelihoods(lm, batch), strict=True):
                    scores[index] = score
        lm.train(was_training)
        best: dict[str, tuple[float, WrittenStyle | None]] = {}
        for reading, score in zip(readings, scores, strict=True):
            if reading.clip_id not in best or score > best[reading.clip_id][0]:
                best[reading.clip_id] = score, reading.style
        return {clip_id: style for clip_id, (_, style) in best.items()}

    def _readings(self, clips: Sequence[TrainingClip]) -> list[_Reading]:
        """Return every form of every clip that can be written, the plainest of a clip first."""
        seen: set[str] = set()
        readings = []
        for place, clip in enumerate(clips):
            if clip.clip_id not in seen:
                seen.add(clip.clip_id)
                for style in styles(clip.texts(self.writer.model), clip.in_number, is_whole=not clip.goes_on):
                    if self._form(clip, style) is not None:
                        readings.append(_Reading(clip.clip_id, place, clip.num_frames, style))
        return readings

    def _form(self, clip: TrainingClip, style: WrittenStyle | None) -> TrainingClip | None:
        """Return `clip` written in `style`, None where that cannot be written, or is not taught."""
        if any(clip.in_number) and (style is None or style.commas or style.stop or (style.capital and clip.in_number[0])):
            return None
        return self.writer.written(clip, style)

    def _groups(self, readings: Sequence[_Reading]) -> list[list[int]]:
        batch, lengths = self.recipe.batch, [reading.num_frames for reading in readings]
        order = sorted(range(len(readings)), key=lambda index: lengths[index])
        return filled_groups(order, lengths, batch_size=batch.batch_size, max_frames=batch.max_frames_per_batch)


class _Reading(NamedTuple):
    """A clip, by its id and its place among all, in one of its forms."""

    clip_id: str
    place: int
    num_frames: int
    style: WrittenStyle | None


def labelled(
    train: Sequence[TrainingClip],
    dev: Sequence[TrainingClip],
    path: Path,
    base_sha256: str,
    chooser: StyleChooser,
    world: World,
    *,
    listens: bool,
) -> tuple[Sequence[TrainingClip], Sequence[TrainingClip]]:
    """Return the training clips with the styles that they are to be written in, and the dev clips written.

    Args:
        train: clips to learn from, with the words of their transcripts.
        dev: clips of validation, likewise.
        path: labels.json, which keeps the choice of the base once it is made.
        base_sha256: hash of the base's weights; a choice of another base is made anew.
        chooser: asks the base.
        world: the processes that share the run; the first one's choice is everybody's.
        listens: whether this process has to ask the base.
    """
    made_of = {"train": fingerprint(train), "dev": fingerprint(dev), "base_sha256": base_sha256}
    chosen = world.from_main(read_choice(path, made_of) if world.is_main else None)
    if chosen is None:
        chosen = world.from_main(chooser.choose([*train, *dev]) if listens else None)
        if world.is_main:
            write_choice(path, made_of, chosen)
    if world.is_main:
        say(f"{path}: labels in the form that the base finds likeliest: {choice_in_words(chosen)}")
    return styled(train, chosen), changed(styled(dev, chosen), chooser.writer.write)


def log_likelihoods(lm: LMModel, batch: Batch) -> list[float]:
    """Return for every row of `batch` the log-likelihood of its text stream, in nats: a sum over its frames, teacher-forced."""
    codes = batch.codes.to(lm.device)
    logits, tokens = forward(lm, codes).text_logits.float(), codes[:, 0]
    surprise = F.cross_entropy(logits.flatten(0, 1), tokens.clamp(min=0).flatten(), reduction="none").view(tokens.shape)
    return (-surprise.double() * (tokens >= 0)).sum(dim=1).tolist()


def read_choice(path: Path, made_of: Mapping[str, Any]) -> dict[str, WrittenStyle | None] | None:
    """Return the styles that labels.json at `path` keeps; None where there are none, or where they were `made_of` other clips or bases."""
    try:
        value = json.loads(path.read_bytes())
        if value["made_of"] != dict(made_of):
            return None
        return {clip_id: None if name is None else WrittenStyle.named(name) for clip_id, name in value["styles"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def write_choice(path: Path, made_of: Mapping[str, Any], chosen: Styles) -> None:
    """Write labels.json at `path`, whole or not at all."""
    names = {clip_id: None if style is None else style.name for clip_id, style in sorted(chosen.items())}
    write_json(path, {"made_of": dict(made_of), "styles": names})


def choice_in_words(chosen: Styles) -> str:
    """Return how many clips took which form, the commonest first."""
    counts = Counter("as they were" if style is None else style.name for style in chosen.values())
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))
