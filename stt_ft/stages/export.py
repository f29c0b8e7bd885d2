"""`stt-ft export`: a model for the engine that will run it, and the proof that it runs there as it does here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from stt_ft.model.checkpoint_dir import ModelDir


def export(
    model_dir: str | Path,
    *,
    out: str | Path,
    format: str = "candle",
    absolute_paths: bool = False,
    overwrite: bool = False,
    verify: bool = False,
    dataset: str | Path | None = None,
    split: str = "heldout",
    num_clips: int = 20,
) -> Path:
    """Write a model directory that a production engine takes as it is.

    Args:
        model_dir: a merged model directory, a hub repo id, or tiny.
        out: directory to write.
        format: candle (moshi-server and stt-rs, with moshi-server.toml), gguf (q8_0, for programs on the Rust crate moshi), mlx (moshi_mlx,
            for Apple's chips) or transformers (KyutaiSpeechToTextForConditionalGeneration).
        absolute_paths: name the files in moshi-server.toml by absolute paths; otherwise the server is started in the directory.
        overwrite: replace an existing model directory.
        verify: let the engine itself listen to clips and compare its tokens and pause probabilities with PyTorch's; exit 1 where they
            differ. candle and gguf build tools/candle_probe with cargo, once, in ~/.cache/stt-ft.
        dataset: what to verify on; without it, on random codes, which tell the same about the arithmetic.
        split: which of its clips.
        num_clips: how many.

    Returns:
        The directory that was written.
    """
    from stt_ft.core.errors import ConfigError
    from stt_ft.core.progress import emit_json, say
    from stt_ft.export.formats import FORMATS, how_to_run, write_format
    from stt_ft.export.verify import engine_of, verify_export
    from stt_ft.model.checkpoint_dir import open_model

    if format not in FORMATS:
        raise ConfigError(f"--format {format}: no such format; expected {', '.join(FORMATS)}")
    if num_clips < 1:
        raise ConfigError(f"--num_clips {num_clips}: at least one")
    if dataset is not None and not verify:
        raise ConfigError("--dataset is what --verify listens to; give --verify too")
    model = open_model(model_dir, require_extra_heads=False)
    engine = engine_of(format) if verify else None
    codes = _codes(model, dataset, split=split, num_clips=num_clips) if verify else {}
    names = write_format(format, model, Path(out), absolute_paths=absolute_paths, overwrite=overwrite)
    heads = sum("extra_heads." in name for name in names)
    say(f"{out}: {len(names)} tensors, {heads} of them pause heads; {how_to_run(format, model, Path(out))}")
    if engine is not None:
        result = verify_export(engine, model, Path(out), codes)
        say(f"{out}: verified: {result}")
        emit_json(result.to_json())
    return Path(out)


def _codes(model: ModelDir, dataset: str | Path | None, *, split: str, num_clips: int) -> dict[str, np.ndarray]:
    """Return codec codes by clip: of the first clips of a split, or made up where there is no dataset."""
    import torch

    from stt_ft.core.manifest import Dataset
    from stt_ft.export.verify import random_clips
    from stt_ft.report.listening import codes_of

    if dataset is None:
        return random_clips(model, num_clips)
    data = Dataset.open(dataset)
    clips = data.clips(split)[:num_clips]
    codes = codes_of(model, data, clips, batch_size=num_clips, device=torch.device("cpu"))
    return dict(zip((clip.path for clip in clips), codes, strict=True))
