"""`stt-ft encode`: every clip through the codec once, so that training never runs it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stt_ft.core.manifest import Dataset
from stt_ft.core.recipe import DEFAULT_BASE, AugmentRecipe, Copy

if TYPE_CHECKING:
    import numpy as np

    from stt_ft.core.manifest import Clip


def encode(
    dataset: str | Path,
    *,
    base: str | Path = DEFAULT_BASE,
    batch_size: int = 16,
    device: str = "auto",
    speeds: list[float] | None = None,
    channels: list[str] | None = None,
) -> Dataset:
    """Turn the sound of a dataset into codec codes and keep them beside it. Clips encoded before are left alone.

    Args:
        dataset: dataset directory.
        base: model whose codec to use: a hub repo id, a model directory, or tiny.
        batch_size: clips encoded side by side.
        device: cpu, cuda, cuda:1 …; auto takes a GPU where there is one.
        speeds: encode the clips of train at these speeds too, pitch and formants included, for augment.speeds ("0.9,1.1").
        channels: encode the clips of train through these channels too, for augment.channels: a telephone line (phone) or noise so far below
            the speech (20dB), such as phone,20dB.

    Returns:
        The dataset.
    """
    from stt_ft.core.errors import ConfigError
    from stt_ft.core.progress import say, track
    from stt_ft.model.checkpoint_dir import open_model
    from stt_ft.model.device import pick_device
    from stt_ft.model.mimi_codec import MimiCodec, codec_hash
    from stt_ft.model.token_store import TokenStore, audio_key, copy_key

    if batch_size <= 0:
        raise ConfigError(f"--batch_size must be positive, got {batch_size}")
    copies = _copies(speeds or (), channels or ())
    data = Dataset.open(dataset)
    model = open_model(base, require_extra_heads=False)
    store = TokenStore.open(data.directory, codec_hash(model))
    clips = data.clips()
    keys = {clip.path: audio_key(data.audio_path(clip)) for clip in clips}
    heard = {keys[clip.path]: (clip, Copy()) for clip in clips}
    if copies:
        heard |= {copy_key(keys[clip.path], copy.name): (clip, copy) for clip in data.clips("train") for copy in copies}
    missing = sorted(store.missing(heard), key=lambda key: heard[key][0].duration_s / heard[key][1].speed)
    if missing:
        codec = MimiCodec.load(model, pick_device(device))
        batches = [missing[first : first + batch_size] for first in range(0, len(missing), batch_size)]
        for batch in track(batches, "encoding batches"):
            store.add(dict(zip(batch, codec.encode([_sound(data, *heard[key]) for key in batch]), strict=True)))
    say(f"{data.directory}: {len(missing)} clips encoded, {len(heard) - len(missing)} were there; codes in {store.directory}")
    return data


def _copies(speeds: Sequence[float], channels: Sequence[str]) -> tuple[Copy, ...]:
    """Return the copies that the flags ask for beside the recordings themselves; raises `ConfigError` for what cannot be one."""
    from stt_ft.audio.channel import channels_named
    from stt_ft.core.errors import ConfigError

    if wrong := [speed for speed in speeds if not 0.5 <= speed <= 2]:
        raise ConfigError(f"--speeds must be 0.5 to 2, got {wrong[0]}")
    try:
        channels_named(channels)
    except ValueError as error:
        raise ConfigError("; ".join(f"--channels: {mistake}" for mistake in error.args)) from None
    asked = AugmentRecipe(speeds=(1.0, *speeds), channels=tuple(channels)).copies
    return tuple(copy for copy in asked if copy.name)


def _sound(data: Dataset, clip: Clip, copy: Copy) -> np.ndarray:
    """Return a clip's sound as the copy has it."""
    from stt_ft.audio.channel import channels_named
    from stt_ft.audio.files import change_speed, read_audio

    samples = change_speed(read_audio(data.audio_path(clip)), copy.speed)
    return samples if copy.channel is None else channels_named([copy.channel])[0].carry(samples, clip.path)
