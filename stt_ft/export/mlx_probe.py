"""Runs `moshi_mlx` on codec codes, in the Python that has it: that may be another environment, so nothing of stt_ft is imported.

    python mlx_probe.py EXPORTED_DIR CODES.npz OUT.npz

CODES.npz: clip -> codes [n_q, T]. OUT.npz: clip:tokens [T], clip:pause [T, H]. Everything is computed in float32.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np


def listen(directory: Path, codes: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run Kyutai's own generator (`LmGen`) on each clip, greedily."""
    import mlx.core as mx  # pyright: ignore[reportMissingImports]
    from moshi_mlx import models, utils  # pyright: ignore[reportMissingImports]

    config = json.loads((directory / "config.json").read_text())
    model = models.Lm(models.LmConfig.from_config_dict(config))
    model.load_weights(str(directory / config["moshi_name"]), strict=True)
    model.set_dtype(mx.float32)
    heard = {}
    for clip, clip_codes in codes.items():
        for cache in model.transformer_cache:
            cache.reset()
        sampler = utils.Sampler(temp=0.0)
        generator = models.LmGen(model, max_steps=clip_codes.shape[1] + 1, text_sampler=sampler, audio_sampler=sampler)
        tokens, pauses = [], []
        for frame in mx.array(clip_codes.astype(np.int32)).transpose(1, 0):
            token, heads = generator.step_with_extra_heads(frame[None])
            tokens.append(int(token.reshape(-1)[0].item()))
            pauses.append([float(head.reshape(-1)[0].item()) for head in heads])
        heard[f"{clip}:tokens"] = np.array(tokens, dtype=np.int32)
        heard[f"{clip}:pause"] = np.array(pauses, dtype=np.float32).reshape(len(tokens), -1)
    return heard


def main() -> None:
    directory, codes, out = (Path(word) for word in sys.argv[1:])
    with np.load(codes) as clips:
        np.savez(out, **listen(directory, dict(clips)))  # pyright: ignore[reportArgumentType]


if __name__ == "__main__":
    main()
