"""The formats a model can be exported to, by name."""

from __future__ import annotations

from pathlib import Path

from stt_ft.model.checkpoint_dir import ModelDir
from stt_ft.model.output_dir import check_sums

FORMATS = ("candle", "gguf", "mlx", "transformers")


def write_format(format: str, model: ModelDir, out: Path, *, absolute_paths: bool = False, overwrite: bool = False) -> list[str]:
    """Write `model` to `out` in a format of `FORMATS` and return the names of its tensors.

    Raises:
        MissingExtra: the format needs a package that is not installed.
        CheckpointError: what the format's own function raises, all before anything is written.
    """
    check_sums(model.directory)
    if format == "candle":
        from stt_ft.export.candle import export_candle

        return export_candle(model, out, absolute_paths=absolute_paths, overwrite=overwrite)
    if format == "gguf":
        from stt_ft.export.gguf import export_gguf

        return export_gguf(model, out, absolute_paths=absolute_paths, overwrite=overwrite)
    if format == "mlx":
        from stt_ft.export.mlx import export_mlx

        return export_mlx(model, out, overwrite=overwrite)
    from stt_ft.export.hf_transformers import export_transformers

    return export_transformers(model, out, overwrite=overwrite)


def how_to_run(format: str, model: ModelDir, out: Path) -> str:
    """Return one line that says what runs the exported directory, and what does not."""
    if format == "candle":
        line = f"run it with `moshi-server worker --config {out}/moshi-server.toml`"
        foreign = "; moshi-server knows Kyutai's Mimi alone and will refuse this codec's shape, tools/candle_probe takes it"
        return line + (foreign if model.mimi_config is not None else "")
    if format == "gguf":
        return "for programs on the Rust crate moshi; moshi-server itself opens safetensors only"
    if format == "mlx":
        return "run it with moshi_mlx"
    return f'KyutaiSpeechToTextForConditionalGeneration.from_pretrained("{out}") opens it; its pause heads lie in extra_heads.safetensors'
