"""`stt-ft encode`: every clip through the codec once, so that training never runs it."""

from __future__ import annotations

from collections.abc import Sequence

from stt_ft.core.recipe import DEFAULT_BASE, AugmentRecipe, Copy


def encode(
    dataset: str,
    *,
    base: str = DEFAULT_BASE,
    batch_size: int = 16,
    device: str = "auto",
    speeds: list[float] | None = None,
    channels: list[str] | None = None,
) -> None:
    """Turn the sound of a dataset into codec codes and keep them beside it. Clips encoded before are left alone.

    Under torchrun or SLURM every process takes its share of the clips, on a GPU of its own.

    Args:
        dataset: dataset directory.
        base: model whose codec to use: a hub repo id, a model directory, or tiny.
        batch_size: clips encoded side by side.
        device: cpu, cuda, cuda:1 …; auto takes a GPU where there is one.
        speeds: encode the clips of train at these speeds too, pitch and formants included, for augment.speeds ("0.9,1.1").
        channels: encode the clips of train through these channels too, for augment.channels: a telephone line (phone) or noise so far below
            the speech (20dB), such as phone,20dB.
    """
    import os

    import torch

    from stt_ft.align.batch import own_device, shard_of
    from stt_ft.core.errors import ConfigError
    from stt_ft.core.manifest import Dataset
    from stt_ft.core.progress import say
    from stt_ft.model.checkpoint_dir import open_model
    from stt_ft.model.codes import TokenStore, encoded, sounds_of
    from stt_ft.model.device import pick_device

    if batch_size <= 0:
        raise ConfigError(f"--batch_size must be positive, got {batch_size}")
    copies = _copies(speeds or (), channels or ())
    data = Dataset.open(dataset)
    model = open_model(base, require_extra_heads=False)
    store = TokenStore.of(data, model)
    sounds = shard_of([*sounds_of(data, data.clips()), *sounds_of(data, data.clips("train") if copies else (), copies)], os.environ)
    missing = store.missing(sounds)
    num_encoded = 0
    target = pick_device(own_device(device, os.environ, torch.cuda.device_count()))
    for codes in encoded(model, data, missing, batch_size=batch_size, device=target):
        store.add(codes)
        num_encoded += len(codes)
    say(f"{data.directory}: {num_encoded} clips encoded, {len(sounds) - len(missing)} were there; codes in {store.directory}")


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
