"""`stt-ft encode`: every clip through the codec once, so that training never runs it."""

from __future__ import annotations

from stt_ft.core.recipe import DEFAULT_BASE


def encode(
    dataset: str, *, base: str = DEFAULT_BASE, batch_size: int = 16, device: str = "auto", speeds: list[float] | None = None
) -> None:
    """Turn the sound of a dataset into codec codes and keep them beside it. Clips encoded before are left alone.

    Args:
        dataset: dataset directory.
        base: model whose codec to use: a hub repo id, a model directory, or tiny.
        batch_size: clips encoded side by side.
        device: cpu, cuda, cuda:1 …; auto takes a GPU where there is one.
        speeds: encode the clips of train at these speeds too, pitch and formants included, for augment.speeds ("0.9,1.1").
    """
    from stt_ft.audio.files import change_speed, read_audio
    from stt_ft.core.errors import ConfigError
    from stt_ft.core.manifest import Dataset
    from stt_ft.core.progress import say, track
    from stt_ft.model.checkpoint_dir import open_model
    from stt_ft.model.device import pick_device
    from stt_ft.model.mimi_codec import MimiCodec, codec_hash
    from stt_ft.model.token_store import TokenStore, audio_key, copy_key

    if batch_size <= 0:
        raise ConfigError(f"--batch_size must be positive, got {batch_size}")
    if wrong := [speed for speed in speeds or () if not 0.5 <= speed <= 2]:
        raise ConfigError(f"--speeds must be 0.5 to 2, got {wrong[0]}")
    data = Dataset.open(dataset)
    model = open_model(base, require_extra_heads=False)
    store = TokenStore.open(data.directory, codec_hash(model))
    clips = {audio_key(data.audio_path(clip)): (clip, 1.0) for clip in data.clips()}
    if speeds:
        trained_on = {clip.path for clip in data.clips("train")}
        clips |= {copy_key(key, speed): (clip, speed) for key, (clip, _) in clips.items() if clip.path in trained_on for speed in speeds}
    missing = sorted(store.missing(clips), key=lambda key: clips[key][0].duration_s / clips[key][1])
    if missing:
        codec = MimiCodec.load(model, pick_device(device))
        batches = [missing[first : first + batch_size] for first in range(0, len(missing), batch_size)]
        for keys in track(batches, "encoding batches"):
            sounds = [change_speed(read_audio(data.audio_path(clip)), speed) for clip, speed in (clips[key] for key in keys)]
            store.add(dict(zip(keys, codec.encode(sounds), strict=True)))
    say(f"{data.directory}: {len(missing)} clips encoded, {len(clips) - len(missing)} were there; codes in {store.directory}")
