"""Make the tiny model that demo and tests run on: a Mimi codec and a speech-to-text LM of the real classes, trained from nothing on a CPU.

    python tools/make_tiny_model.py --workdir /tmp/tiny --out stt_ft/assets/tiny

Five steps, each cached under `--workdir`: speak (espeak-ng, whole utterances, true word times), train the codec (the encoder predicts the
spectrum and the word being said, then k-means), train the tokenizer, encode, train the LM. The LM learns the big model's fault: numbers of
three or more digits are written in digits, in one lump, after they have ended, and the pause heads are taught what the text stream will do.
About an hour on 2 cores. `tools/measure_tiny_model.py` then measures the result on voices, speeds and numbers never trained on and writes
the model card.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import multiprocessing
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

os.environ.setdefault("NO_TORCH_COMPILE", "1")

import numpy as np
import sentencepiece
import torch
import torch.nn.functional as F
from moshi.models import loaders
from moshi.models.compression import MimiModel
from moshi.models.lm import LMModel
from safetensors.torch import load_file, save_file

from stt_ft.audio import synthesis
from stt_ft.core import timing
from stt_ft.simulation.casting import BASE_CAST, perform
from stt_ft.targets.interleave import PADDING_ID, TokenWord, build_text_stream
from stt_ft.targets.pause_targets import pause_targets
from stt_ft.text import prompts

Item = TypeVar("Item")
SEED = 20261120
TEXT_LAG_S = 0.5
NUM_CODEBOOKS, CODEBOOK_SIZE = 16, 256
NUM_TEXT_PIECES = 300


@dataclass(frozen=True, kw_only=True)
class Spoken:
    """A synthesised clip with what was said."""

    samples: np.ndarray  # [num_samples] float32, 24 kHz
    words: tuple[synthesis.SpokenWord, ...]
    prompt: prompts.Prompt


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """A clip as codes [K, T] with what was said."""

    codes: np.ndarray
    words: tuple[synthesis.SpokenWord, ...]
    prompt: prompts.Prompt


# ---------------------------------------------------------------------------------------------------------------- speech


def speak_one(seed: int, synthesizer: synthesis.Synthesizer) -> Spoken:
    """Speak one random training clip; everything about it follows from `seed`."""
    rng = random.Random(seed)
    if rng.random() < 0.5:
        prompt = prompts.number_prompt(
            rng, allowed=lambda digits: any(prompts.belongs_to(digits, share) for share in BASE_CAST.digit_shares)
        )
    else:
        prompt = prompts.ordinary_prompt(rng)
    utterance, _ = perform(synthesizer, prompt.text, prompts.hesitations(rng, prompt), BASE_CAST, rng, tail_s=(1.8, 3.4))
    return Spoken(samples=utterance.samples, words=utterance.words, prompt=prompt)


class SpeechWorker:
    """A worker process: a synthesiser and, once it is trained, the codec."""

    _instance: SpeechWorker | None = None

    def __init__(self, codec_path: Path | None) -> None:
        torch.set_num_threads(1)
        self._synthesizer = synthesis.Synthesizer()
        self._mimi = None if codec_path is None else loaders.get_mimi(codec_path, mimi_config(), num_codebooks=NUM_CODEBOOKS)

    @classmethod
    def start(cls, codec_path: Path | None) -> None:
        cls._instance = cls(codec_path)

    @classmethod
    def speak(cls, seed: int) -> Spoken:
        assert cls._instance is not None
        return speak_one(seed, cls._instance._synthesizer)

    @classmethod
    @torch.inference_mode()
    def encode(cls, seed: int) -> Encoded:
        assert cls._instance is not None
        assert cls._instance._mimi is not None
        spoken = cls.speak(seed)
        samples = np.pad(spoken.samples, (0, timing.pad_to_whole_frames(len(spoken.samples))))
        codes = cls._instance._mimi.encode(torch.from_numpy(samples)[None, None])[0]
        return Encoded(codes=codes.numpy().astype(np.int16), words=spoken.words, prompt=spoken.prompt)


def in_workers(task: Callable[[int], Item], seeds: Sequence[int], codec_path: Path | None = None) -> Iterator[Item]:
    """Run `SpeechWorker.speak` or `SpeechWorker.encode` over seeds in two processes; results come in the order of the seeds.

    Each process takes every other seed: espeak-ng's voice carries on from one utterance to the next, so the order within a process is
    part of the recipe.
    """
    context = multiprocessing.get_context("spawn")
    with context.Pool(1, SpeechWorker.start, (codec_path,)) as even, context.Pool(1, SpeechWorker.start, (codec_path,)) as odd:
        results = [pool.imap(task, seeds[start::2], chunksize=8) for start, pool in enumerate((even, odd))]
        for index in range(len(seeds)):
            yield next(results[index % 2])


# ----------------------------------------------------------------------------------------------------------------- codec


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

    spectrum = torch.stft(F.pad(samples, (0, 400)), 400, 480, window=torch.hann_window(400), return_complex=True, center=False).abs() ** 2
    mel = ((whisper.audio.mel_filters("cpu", 80) @ spectrum).clamp(min=1e-6).log10() + 3.5) / 1.5
    melody = (
        torch.stft(F.pad(samples, (128, 2048)), 2048, 1920, window=torch.hann_window(2048), return_complex=True, center=False).abs() ** 2
    )
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


def train_codec(num_steps: int) -> MimiModel:
    """Train the encoder to predict the sound's spectrum and the word being said, then fit the residual codebooks by k-means."""
    mimi: Any = loaders.get_mimi(None, mimi_config(), num_codebooks=NUM_CODEBOOKS)
    for part in (mimi.encoder, mimi.downsample):
        for module in part.modules():
            if isinstance(module, torch.nn.Conv1d):  # the default shrinks activations layer by layer to 0.003 at the latent
                torch.nn.init.normal_(module.weight, std=(1.6 / module.weight[0].numel()) ** 0.5)
                if module.bias is not None:
                    torch.nn.init.zeros_(module.bias)
    spectrum, semantics = torch.nn.Linear(128, 360), torch.nn.Linear(128, 1 + 3 * len(vocabulary()))
    parts = (mimi.encoder, mimi.encoder_transformer, mimi.downsample, spectrum, semantics)
    parameters = [parameter for part in parts for parameter in part.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3)
    num_frames, batch_size = 30, 16
    length = num_frames * timing.SAMPLES_PER_FRAME
    clips = in_workers(SpeechWorker.speak, [SEED + 10**6 + i for i in range(200 + num_steps * 4)])
    rng, started = random.Random(SEED), time.time()
    pool = [next(clips) for _ in range(200)]
    for step in range(num_steps):
        for _ in range(4):
            pool[rng.randrange(len(pool))] = next(clips)
        sound, said = [], []
        for spoken in rng.sample(pool, batch_size):
            first = rng.randrange(max(1, len(spoken.samples) - timing.num_samples(1.6) - length))
            sound.append(torch.from_numpy(np.resize(spoken.samples[first : first + length], length)))
            said.append(semantic_targets(spoken, first, num_frames))
        batch = torch.stack(sound)
        latent = latents(mimi, batch).transpose(1, 2)
        spectral_loss = F.mse_loss(spectrum(latent), spectral_targets(batch))
        semantic_loss = F.cross_entropy(semantics(latent).flatten(0, 1), torch.stack(said).flatten())
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1, (step + 1) / 30) * 0.5 * (1 + math.cos(math.pi * step / num_steps))
        optimizer.zero_grad()
        (spectral_loss + 0.3 * semantic_loss).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if step % 50 == 0 or step == num_steps - 1:
            print(f"codec step {step}: spectrum {spectral_loss:.4f}, words {semantic_loss:.3f}, {time.time() - started:.0f} s", flush=True)
    sounds = [spoken.samples for spoken in pool]
    fit_codebooks(mimi, spectrum.weight.detach(), semantics.weight.detach(), sounds)
    with torch.no_grad():
        for tensor in mimi.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(tensor.bfloat16())  # what is shipped is what is trained on
    return mimi


def leading_directions(weights: torch.Tensor) -> torch.Tensor:
    """The 64 directions of the latent that a linear layer [N, 128] reads most, scaled by how much it does: [64, 128]."""
    _, scales, directions = torch.linalg.svd(weights, full_matrices=False)
    return (scales[:, None] * directions)[:64]


@torch.no_grad()
def fit_codebooks(mimi: Any, spectrum: torch.Tensor, semantics: torch.Tensor, sounds: Sequence[np.ndarray]) -> None:
    """k-means per codebook on the residuals: the first codebook sees what tells words apart, the others also what makes the spectrum."""
    from moshi.quantization.core_vq import _run_kmeans

    whole = [samples[: len(samples) - len(samples) % timing.SAMPLES_PER_FRAME] for samples in sounds]
    latent = torch.cat([latents(mimi, torch.from_numpy(samples)[None])[0].T for samples in whole])  # [N, 128]
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


# -------------------------------------------------------------------------------------------------------------- language


def train_tokenizer(path: Path) -> None:
    """A unigram sentencepiece model with the ids of Kyutai's: 0 end of padding, 1, 2, 3 padding. Digits are pieces of their own."""
    rng = random.Random(SEED)
    lines = [(prompts.number_prompt(rng) if i % 2 else prompts.ordinary_prompt(rng)) for i in range(20_000)]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([text for prompt in lines for text in (prompt.written, " ".join(prompt.words))]),
        model_prefix=str(path.with_suffix("")),
        vocab_size=NUM_TEXT_PIECES,
        model_type="unigram",
        split_digits=True,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=3,
        unk_piece="<unk>",
        minloglevel=2,
        num_threads=1,
    )


def lm_config(num_text_pieces: int) -> dict[str, Any]:
    """The configuration of kyutai/stt-1b-en_fr-candle with small sizes."""
    return {
        "card": CODEBOOK_SIZE,
        "n_q": NUM_CODEBOOKS,
        "dep_q": 0,
        "delays": [0] * (NUM_CODEBOOKS + 1),
        "dim": 192,
        "text_card": num_text_pieces,
        "existing_text_padding_id": PADDING_ID,
        "num_heads": 6,
        "num_layers": 6,
        "hidden_scale": 4.125,
        "causal": True,
        "layer_scale": None,
        "context": 250,
        "max_period": 10000.0,
        "gating": "silu",
        "norm": "rms_norm_f32",
        "positional_embedding": "rope",
        "depformer_dim": 64,
        "depformer_num_heads": 2,
        "depformer_num_layers": 1,
        "depformer_dim_feedforward": 256,
        "depformer_multi_linear": True,
        "depformer_pos_emb": "none",
        "depformer_weights_per_step": True,
        "extra_heads_num_heads": 4,
        "extra_heads_dim": 6,
        "cross_attention": False,
    }


def written_words(clip: Encoded, tokenizer: sentencepiece.SentencePieceProcessor) -> list[TokenWord]:
    """What the base writes: words at their onset; a number of three or more digits as one lump of digits at its end."""
    words = []
    span = clip.prompt.number_span
    for index, word in enumerate(clip.words):
        if span is not None and span[0] <= index < span[1]:
            if index == span[1] - 1:
                words.append(TokenWord(tokens=tuple(tokenizer.encode(clip.prompt.digits)), start_s=word.end_s, end_s=word.end_s))
        else:
            words.append(TokenWord(tokens=tuple(tokenizer.encode(word.text)), start_s=word.start_s, end_s=word.end_s))
    return words


def make_example(clip: Encoded, tokenizer: sentencepiece.SentencePieceProcessor) -> tuple[np.ndarray, np.ndarray]:
    """Codes with their text stream [1 + K, T], and pause targets [T, 4]."""
    num_frames = clip.codes.shape[1]
    stream = build_text_stream(written_words(clip, tokenizer), num_frames=num_frames, text_lag_s=TEXT_LAG_S)
    targets = pause_targets(stream.onset_frames, num_frames, kind="count")
    return np.concatenate([stream.tokens[None], clip.codes.astype(np.int64)]), targets


def batches(
    examples: Sequence[tuple[np.ndarray, np.ndarray]], frames_per_batch: int, rng: random.Random
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless batches of like length; two in five examples are streams of two or three clips."""
    while True:
        order = [[index] for index in rng.sample(range(len(examples)), len(examples))]
        streams, position = [], 0
        while position < len(order):
            count = rng.choice((2, 3)) if rng.random() < 0.25 else 1
            streams.append([index for group in order[position : position + count] for index in group])
            position += count
        streams.sort(key=lambda stream: sum(examples[index][0].shape[1] for index in stream) + rng.random() * 12)
        packed: list[list[list[int]]] = [[]]
        for stream in streams:
            length = sum(examples[index][0].shape[1] for index in stream)
            if (len(packed[-1]) + 1) * length > frames_per_batch and packed[-1]:
                packed.append([])
            packed[-1].append(stream)
        rng.shuffle(packed)
        for batch in packed:
            codes = [np.concatenate([examples[index][0] for index in stream], axis=1) for stream in batch]
            targets = [np.concatenate([examples[index][1] for index in stream]) for stream in batch]
            longest = max(item.shape[1] for item in codes)
            yield (
                torch.stack([F.pad(torch.from_numpy(item), (0, longest - item.shape[1]), value=-1) for item in codes]),
                torch.stack([F.pad(torch.from_numpy(item), (0, 0, 0, longest - len(item)), value=-100) for item in targets]),
            )


def hide_inputs(codes: torch.Tensor) -> torch.Tensor:
    """Hide part of the input so that the model listens, and to no single voice's details.

    One text token in five becomes padding; of every clip up to a quarter of the codes, and in half the clips all codebooks past a random
    one, are left out.
    """
    inputs = codes.clone()
    num_clips, num_streams, num_frames = codes.shape
    inputs[:, 0][(torch.rand(num_clips, num_frames) < 0.2) & (codes[:, 0] >= 0)] = PADDING_ID
    hidden = torch.rand(num_clips, num_streams - 1, num_frames) < 0.25 * torch.rand(num_clips, 1, 1)
    first_hidden = torch.where(torch.rand(num_clips) < 0.5, torch.randint(2, NUM_CODEBOOKS, (num_clips,)), NUM_CODEBOOKS)
    hidden |= torch.arange(NUM_CODEBOOKS)[None, :, None] >= first_hidden[:, None, None]
    inputs[:, 1:][hidden] = -1
    return inputs


def lm_loss(lm: LMModel, codes: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Text cross-entropy (padding at 0.4) and pause-head cross-entropy."""
    inputs = hide_inputs(codes)
    sequence = torch.cat([lm._get_initial_token().expand(codes.shape[0], -1, -1), inputs], dim=2)[:, :, :-1]
    with torch.autocast("cpu", torch.bfloat16):
        output, text_logits = lm.forward_text(sequence)
        head_logits = torch.stack([head(output) for head in lm.extra_heads], dim=2)
    text = codes[:, 0]
    weight = torch.where(text == PADDING_ID, 0.4, 1.0) * (text >= 0)
    text_loss = F.cross_entropy(text_logits[:, 0].float().transpose(1, 2), text.clamp(min=0), reduction="none")
    head_loss = F.cross_entropy(head_logits.float().flatten(0, 2), targets.flatten(), ignore_index=-100)
    return (text_loss * weight).sum() / weight.sum(), head_loss


def train_lm(
    examples: Sequence[tuple[np.ndarray, np.ndarray]], config: dict[str, Any], num_steps: int, frames_per_batch: int, glimpses: Path
) -> LMModel:
    """Train the LM from nothing; every 1000 steps it is written to `glimpses`, to look at while it trains."""
    torch.manual_seed(SEED)
    lm = loaders.get_moshi_lm(None, config, dtype=torch.float32).train()
    optimizer = torch.optim.AdamW(lm.parameters(), lr=2e-3, betas=(0.9, 0.95), weight_decay=0.1)
    started, source = time.time(), batches(examples, frames_per_batch, random.Random(SEED))
    running = np.zeros(2)
    for step in range(num_steps):
        text_loss, head_loss = lm_loss(lm, *next(source))
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / num_steps)))
        optimizer.zero_grad()
        (text_loss + 0.5 * head_loss).backward()
        torch.nn.utils.clip_grad_norm_(lm.parameters(), 1.0)
        optimizer.step()
        running = (
            0.98 * running + 0.02 * np.array([text_loss.item(), head_loss.item()])
            if step
            else np.array([text_loss.item(), head_loss.item()])
        )
        if step % 100 == 0 or step == num_steps - 1:
            print(f"lm step {step}: text {running[0]:.4f}, heads {running[1]:.4f}, {time.time() - started:.0f} s", flush=True)
        if step % 1000 == 999:
            save_file(candle_names(lm.state_dict()), glimpses)
    return lm.eval()


def candle_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Name the tensors as kyutai/stt-1b-en_fr-candle does, in bfloat16."""
    renamed = {
        name.replace("self_attn.in_projs.0.weight", "self_attn.in_proj_weight").replace(
            "self_attn.out_projs.0.weight", "self_attn.out_proj.weight"
        ): tensor
        for name, tensor in state.items()
    }
    return {name: tensor.detach().bfloat16().contiguous() for name, tensor in renamed.items()}


def main() -> None:
    """Run the five steps, skipping those whose result lies in the work directory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("stt_ft/assets/tiny"))
    parser.add_argument("--num_clips", type=int, default=11_000)
    parser.add_argument("--codec_steps", type=int, default=900)
    parser.add_argument("--lm_steps", type=int, default=4000)
    parser.add_argument("--frames_per_batch", type=int, default=2400)
    arguments = parser.parse_args()
    workdir, out = arguments.workdir, arguments.out
    workdir.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    torch.set_num_threads(2)

    codec_path, tokenizer_path, clips_path = (
        workdir / "mimi.safetensors",
        workdir / "tokenizer.model",
        workdir / f"clips_{arguments.num_clips}.npz",
    )
    if not codec_path.exists():
        mimi = train_codec(arguments.codec_steps)
        save_file(
            {name: tensor.bfloat16() if tensor.is_floating_point() else tensor for name, tensor in mimi.state_dict().items()}, codec_path
        )
    (workdir / "mimi_config.json").write_text(json.dumps(mimi_config(), indent=1))
    if not tokenizer_path.exists():
        train_tokenizer(tokenizer_path)
    tokenizer = sentencepiece.SentencePieceProcessor(str(tokenizer_path))
    if not clips_path.exists():
        clips = in_workers(SpeechWorker.encode, [SEED + i for i in range(arguments.num_clips)], codec_path)
        examples = [make_example(clip, tokenizer) for clip in clips]
        np.savez(
            clips_path,
            codes=np.concatenate([codes for codes, _ in examples], axis=1).astype(np.int16),
            targets=np.concatenate([targets for _, targets in examples]).astype(np.int16),
            ends=np.cumsum([codes.shape[1] for codes, _ in examples]),
        )
    stored = np.load(clips_path)
    cuts = stored["ends"][:-1]
    examples = list(
        zip(np.split(stored["codes"].astype(np.int64), cuts, axis=1), np.split(stored["targets"].astype(np.int64), cuts), strict=True)
    )
    print(f"{len(examples)} clips, {stored['ends'][-1] * timing.FRAME_S / 3600:.1f} h", flush=True)

    config, started = lm_config(tokenizer.get_piece_size()), time.time()
    lm = train_lm(examples, config, arguments.lm_steps, arguments.frames_per_batch, workdir / "glimpse.safetensors")
    save_file(candle_names(lm.state_dict()), out / "model.safetensors")
    save_file(load_file(codec_path), out / "mimi.safetensors")
    (out / "tokenizer.model").write_bytes(tokenizer_path.read_bytes())
    (out / "mimi_config.json").write_text(json.dumps(mimi_config(), indent=1) + "\n")
    names = {
        "moshi_name": "model.safetensors",
        "mimi_name": "mimi.safetensors",
        "mimi_config_name": "mimi_config.json",
        "tokenizer_name": "tokenizer.model",
    }
    stt = {"audio_silence_prefix_seconds": 0.0, "audio_delay_seconds": TEXT_LAG_S}
    full = {**config, **names, "model_type": "stt", "lora": False, "stt_config": stt, "lm_gen_config": {"temp": 0.0, "temp_text": 0.0}}
    build = {
        "seed": SEED,
        "num_lm": sum(parameter.numel() for parameter in lm.parameters()) / 1e6,
        "num_mimi": sum(tensor.numel() for tensor in load_file(codec_path).values()) / 1e6,
        "num_clips": len(examples),
        "num_hours": round(float(stored["ends"][-1]) * timing.FRAME_S / 3600, 2),
        "build": f"{arguments.codec_steps} codec steps, {arguments.lm_steps} LM steps of up to {arguments.frames_per_batch} frames in "
        f"{(time.time() - started) / 60:.0f} min on {torch.get_num_threads()} CPU threads",
    }
    (out / "build.json").write_text(json.dumps(build, indent=1) + "\n")
    full["model_id"] = {"sig": f"stt-ft-tiny-{SEED}", "epoch": 1}
    (out / "config.json").write_text(json.dumps(full, indent=1) + "\n")


if __name__ == "__main__":
    main()
