"""What upstream's own code makes of a model directory, without ours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from moshi.models import LMGen
from moshi.models.lm import LMModel
from moshi.models.loaders import CheckpointInfo
from moshi.utils.compile import no_compile


def open_upstream(directory: Path, config: dict, **kwargs) -> CheckpointInfo:
    """Open local files as upstream's README says."""
    mimi_config = directory / config["mimi_config_name"] if config.get("mimi_config_name") else None
    return CheckpointInfo.from_hf_repo(
        "local/files",
        moshi_weights=directory / config["moshi_name"],
        mimi_weights=directory / config["mimi_name"],
        tokenizer=directory / config["tokenizer_name"],
        config_path=kwargs.pop("config_path", directory / "config.json"),
        mimi_config_path=mimi_config,
        **kwargs,
    )


def generate(lm: LMModel, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Run `LMGen` over codes [n_q, T], the first frame fed twice; returns tokens [T] and pause probabilities [T, H]."""
    frames = torch.from_numpy(codes.astype(np.int64))[None]
    frames = torch.cat([frames[:, :, :1], frames], dim=2)
    generator = LMGen(lm, use_sampling=False, check=True)
    tokens, probs = [], []
    with generator.streaming(1), no_compile():
        for t in range(codes.shape[1]):
            out, heads = generator.step_with_extra_heads(frames[:, :, t : t + 1])
            tokens.append(out[0, 0, 0].item())
            probs.append([head[0, 0, 0].item() for head in heads])
    return np.array(tokens), np.array(probs)
