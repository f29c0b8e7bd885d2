"""`stt-ft encode`: every clip through the codec once, so that training never runs it."""

from __future__ import annotations

from stt_ft.core.recipe import DEFAULT_BASE


def encode(dataset: str, *, base: str = DEFAULT_BASE, batch_size: int = 16, device: str = "auto") -> None:
    """Turn the sound of a dataset into codec codes and keep them beside it. Clips encoded before are left alone.

    Args:
        dataset: dataset directory.
        base: model whose codec to use: a hub repo id, a model directory, or tiny.
        batch_size: clips encoded side by side.
        device: cpu, cuda, cuda:1 …; auto takes a GPU where there is one.
    """
    from stt_ft.audio.files import read_audio
    from stt_ft.core.errors import ConfigError
    from stt_ft.core.manifest import Dataset
    from stt_ft.core.progress import say, track
    from stt_ft.model.checkpoint_dir import open_model
    from stt_ft.model.device import pick_device
    from stt_ft.model.mimi_codec import MimiCodec, codec_hash
    from stt_ft.model.token_store import TokenStore, audio_key

    if batch_size <= 0:
        raise ConfigError(f"--batch_size must be positive, got {batch_size}")
    data = Dataset.open(dataset)
    model = open_model(base, require_extra_heads=False)
    store = TokenStore.open(data.directory, codec_hash(model))
    clips = {audio_key(data.audio_path(clip)): clip for clip in data.clips()}
    missing = sorted(store.missing(clips), key=lambda key: clips[key].duration_s)
    if missing:
        codec = MimiCodec.load(model, pick_device(device))
        batches = [missing[first : first + batch_size] for first in range(0, len(missing), batch_size)]
        for keys in track(batches, "encoding batches"):
            sounds = [read_audio(data.audio_path(clips[key])) for key in keys]
            store.add(dict(zip(keys, codec.encode(sounds), strict=True)))
    say(f"{data.directory}: {len(missing)} clips encoded, {len(clips) - len(missing)} were there; codes in {store.directory}")
