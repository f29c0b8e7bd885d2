"""Model directories of random weights, and a dataset of codes that fits them, for tests that need no model that hears."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from stt_ft.core import timing
from stt_ft.dataset.manifest import Clip, Dataset
from stt_ft.dataset.sidecar import Sidecar, Word
from stt_ft.model.checkpoint_dir import ModelDir, open_model

TOOL = Path(__file__).parent.parent / "tools" / "make_random_base.py"
RANK, SCALING = 4, 2.0
DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def make_random_base(out: Path, *, tool: ModuleType | None = None, **options) -> ModelDir:
    """Run tools/make_random_base.py in this process, or a `tool` with shapes of its own, and open what it wrote."""
    return open_model((tool or load_tool()).make_random_base(out, **options), require_extra_heads=False)


def load_tool() -> ModuleType:
    """Return tools/make_random_base.py as a module of its own."""
    spec = importlib.util.spec_from_file_location("make_random_base", TOOL)
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


def without_heads(model: ModelDir, out: Path) -> ModelDir:
    """The same model, its pause heads taken away."""
    import safetensors.torch

    shutil.copytree(model.directory, out, ignore=shutil.ignore_patterns("SHA256SUMS"))
    tensors = safetensors.torch.load_file(model.lm_weights)
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("extra_heads.")}
    safetensors.torch.save_file(kept, out / model.lm_weights.name, metadata={"format": "pt"})
    (out / "config.json").write_text(json.dumps({**model.config, "extra_heads_num_heads": 0}))
    return open_model(out, require_extra_heads=False)


def make_adapter(base: ModelDir, path: Path, *, seed: int = 0, base_sha256: str | None = None) -> Path:
    """An adapter of random matrices, with the first pause head and the text embedding trained in full."""
    import safetensors.torch
    import torch

    from stt_ft.core.provenance import file_sha256
    from stt_ft.model.lora import adapter_state_dict, add_lora
    from stt_ft.model.stt_lm import load_lm

    lm = load_lm(base)
    lm.requires_grad_(False)
    add_lora(lm, rank=RANK, scaling=SCALING, except_for=("extra_heads.0",))
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in lm.named_parameters():
        whole = name in ("extra_heads.0.weight", "text_emb.weight")
        if ".lora_" in name or whole:
            parameter.data.normal_(0, 0.1, generator=generator)
            parameter.requires_grad_(True)
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"scaling": str(SCALING), "base": base.name, "base_sha256": base_sha256 or file_sha256(base.lm_weights)}
    safetensors.torch.save_file(adapter_state_dict(lm, rank=RANK, dtype=torch.float32), path, metadata=metadata)
    return path


def random_codes(model: ModelDir, num_frames: int, seed: int = 0) -> np.ndarray:
    """Codec codes [n_q, T]."""
    return np.random.default_rng(seed).integers(0, model.config["card"], (model.n_q, num_frames)).astype(np.int16)


def spoken_words(rng: np.random.Generator, num_digits: int) -> tuple[Word, ...]:
    """ "order number is" and digits, one every 0.4 s or so."""
    words, time_s = [], 0.4
    for text in ("order", "number", "is", *(DIGITS[digit] for digit in rng.integers(0, 10, num_digits))):
        words.append(Word(text=text, start_s=round(time_s, 3), end_s=round(time_s + 0.3, 3)))
        time_s += 0.3 + float(rng.uniform(0.02, 0.2))
    return tuple(words)


def write_dataset(directory: Path, sizes: dict[str, int], seed: int = 0) -> Dataset:
    """A dataset of noisy clips with words; sizes: split -> number of clips."""
    from stt_ft.audio.files import write_wav

    rng = np.random.default_rng(seed)
    data = Dataset(directory)
    for split, size in sizes.items():
        clips = []
        for index in range(size):
            words = spoken_words(rng, int(rng.integers(3, 7)))
            samples = rng.normal(0, 0.1, timing.num_samples(words[-1].end_s + 0.3)).astype(np.float32)
            clip = Clip(path=f"audio/{split}_{index}.wav", duration_s=timing.samples_to_s(len(samples)))
            write_wav(data.audio_path(clip), samples)
            data.write_sidecar(clip, Sidecar(alignments=words))
            clips.append(clip)
        data.write_clips(split, clips)
    return data


def make_speaking_base(out: Path) -> ModelDir:
    """A model with a depformer, three codebooks spoken, which upstream's own forward pass needs and `open_model` refuses."""
    directory = load_tool().make_random_base(out, dep_q=3)
    weights, mimi, tokenizer = (directory / name for name in ("model.safetensors", "mimi.safetensors", "tokenizer.model"))
    config = json.loads((directory / "config.json").read_text())
    return ModelDir(
        name=str(out), directory=directory, config=config, lm_weights=weights, mimi_weights=mimi, mimi_config=None, tokenizer_path=tokenizer
    )


@pytest.fixture(scope="session")
def random_base(tmp_path_factory: pytest.TempPathFactory) -> ModelDir:
    """A pure speech-to-text model."""
    return make_random_base(tmp_path_factory.mktemp("models") / "random")


@pytest.fixture(scope="session")
def encoded_dataset(tmp_path_factory: pytest.TempPathFactory, random_base: ModelDir) -> Dataset:
    """Twelve training clips and four dev clips with codes of `random_base`."""
    from stt_ft.stages.finetune import encode

    data = write_dataset(tmp_path_factory.mktemp("data") / "orders", {"train": 12, "dev": 4})
    encode(str(data.directory), base=str(random_base.directory), device="cpu")
    return data
