"""A small, randomly initialised Whisper checkpoint in openai-whisper's own format."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session")
def small_whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    whisper_model = pytest.importorskip("whisper.model")
    torch.manual_seed(0)
    dims = whisper_model.ModelDimensions(
        n_mels=80, n_audio_ctx=1500, n_audio_state=64, n_audio_head=4, n_audio_layer=2, n_vocab=51865,
        n_text_ctx=448, n_text_state=64, n_text_head=4, n_text_layer=2,
    )  # fmt: skip
    model = whisper_model.Whisper(dims)
    torch.nn.init.normal_(model.decoder.positional_embedding, std=0.1)
    path = tmp_path_factory.mktemp("whisper") / "small.pt"
    torch.save({"dims": dims.__dict__, "model_state_dict": model.state_dict()}, path)
    return path
