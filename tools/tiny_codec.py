"""The tiny model's Mimi codec: an encoder trained to predict the spectrum and the word being said, and k-means for its codebooks."""

from __future__ import annotations

import functools
import json
import math
import random
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from moshi.models import loaders
from moshi.models.compression import MimiModel
from tiny_speech import SEED, Spoken, speak_all

from stt_ft.core import timing
from stt_ft.text import prompts

NUM_CODEBOOKS, CODEBOOK_SIZE = 16, 256


def mimi_config() -> dict[str, Any]:
    """Mimi's real configuration with small sizes."""
    config = json.loads(json.dumps(loaders._mimi_config))
    config["seanet"].update(n_filters=8, dimension=128)
    config["quantizer"].update(dimension=64, n_q=NUM_CODEBOOKS, bins=CODEBOOK_SIZE, input_dimension=128, output_dimension=128)
    config["transformer"].update(d_model=128, num_heads=4, num_layers=2, dim_feedforward=256, input_dimension=128, output_dimensions=[128])
    return config


def spectral_targets(samples: torch.Tensor) -> torch.Tensor:
    """Log-mel frames of 20 ms (80 bands, four a codec frame) and one 85 ms log spectrum up to 470 Hz, where the melody is: [B, T, 360]."""
    import whisper.audio

    windows = {size: torch.hann_window(size, device=samples.device) for size in (400, 2048)}
    spectrum = torch.stft(F.pad(samples, (0, 400)), 400, 480, window=windows[400], return_complex=True, center=False).abs() ** 2
    mel = ((whisper.audio.mel_filters(samples.device, 80) @ spectrum).clamp(min=1e-6).log10() + 3.5) / 1.5
    melody = torch.stft(F.pad(samples, (128, 2048)), 2048, 1920, window=windows[2048], return_complex=True, center=False).abs() ** 2
    melody = (melody[:, :40].clamp(min=1e-4).log10() - 1.0) / 1.5
    num_frames = samples.shape[1] // timing.SAMPLES_PER_FRAME
    mel = mel[:, :, : 4 * num_frames].unflatten(2, (num_frames, 4)).permute(0, 2, 1, 3).flatten(2)
    return torch.cat([mel, melody[:, :, :num_frames].transpose(1, 2)], dim=-1)


def latents(mimi: Any, samples: torch.Tensor) -> torch.Tensor:
    """Encoder output before the quantizer: [B, 128, T]."""
    (latent,) = mimi.encoder_transformer(mimi.encoder(samples[:, None]))
    return mimi._to_framerate(latent)


@functools.cache
def vocabulary() -> dict[str, int]:
    """Number every word that prompts can hold."""
    rng = random.Random(SEED)
    drawn = [prompts.number_prompt(rng) if i % 2 else prompts.ordinary_prompt(rng) for i in range(20_000)]
    return {word: index for index, word in enumerate(sorted({word for prompt in drawn for word in prompt.words}))}


def semantic_targets(spoken: Spoken, first_sample: int, num_frames: int) -> torch.Tensor:
    """Which word is being said in each frame and which third of it, 0 in silence: [T]. What Mimi's first codebook is taught from WavLM."""
    targets = torch.zeros(num_frames, dtype=torch.long)
    for word in spoken.words:
        for frame in range(num_frames):
            middle_s = timing.samples_to_s(first_sample) + timing.frame_start_s(frame) + timing.FRAME_S / 2
            if word.start_s <= middle_s < word.end_s:
                third = int(3 * (middle_s - word.start_s) / (word.end_s - word.start_s))
                targets[frame] = 1 + 3 * vocabulary()[word.text] + third
    return targets


BATCH_SIZE, CUT_FRAMES, NEW_CLIPS_A_STEP = 16, 30, 4


def train_codec(num_steps: int, people: Path | None, device: str) -> MimiModel:
    """Train the encoder on speech of its own seeds, then fit the codebooks: a Mimi whose codes tell words and voices apart."""
    mimi: Any = loaders.get_mimi(None, mimi_config(), num_codebooks=NUM_CODEBOOKS, device=device)
    for part in (mimi.encoder, mimi.downsample):
        for module in part.modules():
            if isinstance(module, torch.nn.Conv1d):  # the default shrinks activations layer by layer to 0.003 at the latent
                torch.nn.init.normal_(module.weight, std=(1.6 / module.weight[0].numel()) ** 0.5)
                if module.bias is not None:
                    torch.nn.init.zeros_(module.bias)
    spectrum, semantics = (torch.nn.Linear(128, size, device=device) for size in (360, 1 + 3 * len(vocabulary())))
    parts = (mimi.encoder, mimi.encoder_transformer, mimi.downsample, spectrum, semantics)
    parameters = [parameter for part in parts for parameter in part.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3)
    rng, started = random.Random(SEED), time.time()
    first_clips = 400
    clips = speak_all([SEED + 10**6 + index for index in range(first_clips + num_steps * NEW_CLIPS_A_STEP)], people)
    pool = [next(clips) for _ in range(first_clips)]
    for step in range(num_steps):
        for _ in range(NEW_CLIPS_A_STEP):
            pool[rng.randrange(len(pool))] = next(clips)
        batch, said = cut(rng.sample(pool, BATCH_SIZE), rng)
        batch, said = batch.to(device), said.to(device)
        latent = latents(mimi, batch).transpose(1, 2)
        spectral_loss = F.mse_loss(spectrum(latent), spectral_targets(batch))
        semantic_loss = F.cross_entropy(semantics(latent).flatten(0, 1), said.flatten())
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1, (step + 1) / 30) * 0.5 * (1 + math.cos(math.pi * step / num_steps))
        optimizer.zero_grad()
        (spectral_loss + 0.6 * semantic_loss).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if step % 50 == 0 or step == num_steps - 1:
            print(f"codec step {step}: spectrum {spectral_loss:.4f}, words {semantic_loss:.3f}, {time.time() - started:.0f} s", flush=True)
    clips.close()
    fit_codebooks(mimi, spectrum.weight.detach(), semantics.weight.detach(), [spoken.samples for spoken in pool])
    with torch.no_grad():
        for tensor in mimi.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(tensor.bfloat16())  # what is shipped is what is trained on
    return mimi


def cut(clips: Iterable[Spoken], rng: random.Random) -> tuple[torch.Tensor, torch.Tensor]:
    """Cut `CUT_FRAMES` frames out of each clip: sound [B, samples] and what is said [B, T]."""
    length = CUT_FRAMES * timing.SAMPLES_PER_FRAME
    sound, said = [], []
    for spoken in clips:
        first = rng.randrange(max(1, len(spoken.samples) - timing.num_samples(1.6) - length))
        sound.append(torch.from_numpy(np.resize(spoken.samples[first : first + length], length)))
        said.append(semantic_targets(spoken, first, CUT_FRAMES))
    return torch.stack(sound), torch.stack(said)


def leading_directions(weights: torch.Tensor) -> torch.Tensor:
    """The 64 directions of the latent that a linear layer [N, 128] reads most, scaled by how much it does: [64, 128]."""
    _, scales, directions = torch.linalg.svd(weights, full_matrices=False)
    return (scales[:, None] * directions)[:64]


@torch.no_grad()
def fit_codebooks(mimi: Any, spectrum: torch.Tensor, semantics: torch.Tensor, sounds: Sequence[np.ndarray]) -> None:
    """k-means per codebook on the residuals: the first codebook sees what tells words apart, the others also what makes the spectrum."""
    from moshi.quantization.core_vq import _run_kmeans

    device = spectrum.device
    whole = [samples[: len(samples) - len(samples) % timing.SAMPLES_PER_FRAME] for samples in sounds]
    latent = torch.cat([latents(mimi, torch.from_numpy(samples)[None].to(device))[0].T for samples in whole])  # [N, 128]
    both = torch.cat([spectrum / spectrum.norm(), semantics / semantics.norm()])
    for part, weights in ((mimi.quantizer.rvq_first, semantics), (mimi.quantizer.rvq_rest, both)):
        part.input_proj.weight.copy_(leading_directions(weights).view_as(part.input_proj.weight))
        residual = start = part.input_proj(latent.T[None])[0].T
        for layer in part.vq.layers:
            projected = layer.project_in(residual)
            means, _ = _run_kmeans(projected, CODEBOOK_SIZE, 20)
            codebook = layer._codebook
            codebook.embedding_sum.copy_(means)
            codebook.cluster_usage.fill_(1)
            codebook._initialized.fill_(1)
            codebook._embedding = None
            residual = projected - means[torch.cdist(projected, means).argmin(-1)]
        left = residual.pow(2).sum(-1).mean() / (start - start.mean(0)).pow(2).sum(-1).mean()
        print(f"codebooks: {left:.1%} of the energy is left after {len(part.vq.layers)}", flush=True)
