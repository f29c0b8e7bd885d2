"""`stt-ft export`: a model for the engine that will run it."""

from __future__ import annotations

FORMATS = ("candle", "gguf", "mlx", "transformers")


def export(model_dir: str, *, out: str, format: str = "candle", absolute_paths: bool = False, overwrite: bool = False) -> None:
    """Write a model directory that a production engine takes as it is.

    Args:
        model_dir: a merged model directory, a hub repo id, or tiny.
        out: directory to write.
        format: candle (moshi-server and stt-rs, with moshi-server.toml); gguf, mlx and transformers are not yet supported.
        absolute_paths: name the files in moshi-server.toml by absolute paths; otherwise the server is started in the directory.
        overwrite: replace an existing model directory.
    """
    from pathlib import Path

    from stt_ft.core.errors import ConfigError
    from stt_ft.core.progress import say
    from stt_ft.export.candle import export_candle
    from stt_ft.model.checkpoint_dir import open_model

    if format not in FORMATS:
        raise ConfigError(f"--format {format}: no such format; expected {', '.join(FORMATS)}")
    if format != "candle":
        raise ConfigError(f"--format {format}: not yet supported; candle is, which moshi-server and stt-rs run")
    model = open_model(model_dir, require_extra_heads=False)
    names = export_candle(model, Path(out), absolute_paths=absolute_paths, overwrite=overwrite)
    heads = sum(name.startswith("extra_heads.") for name in names)
    say(f"{out}: {len(names)} tensors, {heads} of them pause heads; run it with `moshi-server worker --config {out}/moshi-server.toml`")
