"""The tiny model, tuned and merged, opened by upstream's own code: it writes the words that `stt-ft transcribe` writes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from moshi.utils.compile import no_compile
from upstream import generate, open_upstream

from stt_ft.audio.files import read_audio, write_wav
from stt_ft.audio.synthesis import Synthesizer
from stt_ft.core.recipe import LoraRecipe
from stt_ft.core.timing import SAMPLES_PER_FRAME
from stt_ft.model.checkpoint_dir import ModelDir, open_model
from stt_ft.model.lora import adapter_state_dict, make_trainable
from stt_ft.model.merge import Adapter, merge_adapter
from stt_ft.model.stt_lm import load_lm
from stt_ft.stages.transcribe import transcribe

TEXTS = (
    "please check the order number four one five",
    "my phone number is nine five eight zero two two nine",
    "hello, it is the wrong one",
)


@pytest.fixture
def merged(tiny_model, tmp_path) -> ModelDir:
    lm = load_lm(tiny_model)
    trainable = make_trainable(lm, LoraRecipe(rank=8), seed=0)
    for parameter in trainable.values():
        parameter.data += 0.01 * torch.randn_like(parameter)
    adapter = tmp_path / "lora.safetensors"
    safetensors.torch.save_file(adapter_state_dict(lm, rank=8, dtype=torch.float32), adapter, metadata={"scaling": "2.0"})
    merge_adapter(tiny_model, [Adapter.open(adapter)], tmp_path / "merged")
    return open_model(tmp_path / "merged")


@pytest.fixture
def recordings(tmp_path) -> list[Path]:
    synthesizer, paths = Synthesizer(), []
    for index, text in enumerate(TEXTS):
        paths.append(tmp_path / f"{index}.wav")
        write_wav(paths[-1], synthesizer.speak(text, voice="en-us+m3", words_per_minute=150, pitch=50, pitch_range=50).samples)
    return paths


@torch.no_grad()
def test_upstream_writes_the_words_that_transcribe_writes(merged, recordings, capsys):
    transcribe(str(merged.directory), *map(str, recordings), json=True, device="cpu")
    ours = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    info = open_upstream(merged.directory, merged.config)
    mimi, lm, tokenizer = info.get_mimi(), info.get_moshi(dtype=torch.float32), info.get_text_tokenizer()
    for path, heard in zip(recordings, ours, strict=True):
        samples = read_audio(path)
        sound = np.zeros(len(heard["pause"]) * SAMPLES_PER_FRAME, np.float32)
        sound[: len(samples)] = samples
        with no_compile():
            codes = mimi.encode(torch.from_numpy(sound)[None, None])[0].numpy()
        tokens, probs = generate(lm, codes)
        text = tokenizer.decode([int(token) for token in tokens if token > 3])
        assert text.split() == heard["text"].split()
        assert text
        np.testing.assert_allclose(np.array(heard["pause"]), probs, atol=1e-3)
