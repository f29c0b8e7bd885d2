"""Make the tiny model that demo and tests run on: a Mimi codec and a speech-to-text LM of the real classes, trained from nothing on a CPU.

    python tools/make_tiny_model.py --workdir /tmp/tiny --out stt_ft/assets/tiny

Steps, each cached under `--workdir`: train the codec (`tiny_codec.py`) on speech from espeak-ng (`tiny_speech.py`), train the tokenizer,
speak and encode, train the LM. The LM learns the big model's fault: numbers of three or more digits are written in digits, in one lump,
after they have ended, and the pause heads are taught what the text stream will do. About an hour on 2 cores. `tools/measure_tiny_model.py`
then measures the result on voices, speeds and numbers never trained on and writes the model card.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("NO_TORCH_COMPILE", "1")

import numpy as np
import sentencepiece
import torch
import torch.nn.functional as F
from moshi.models import loaders
from moshi.models.lm import LMModel
from safetensors.torch import load_file, save_file
from tiny_codec import CODEBOOK_SIZE, NUM_CODEBOOKS, mimi_config, train_codec, vocabulary
from tiny_speech import SEED, Encoded, SpeechWorker, in_workers
from torch.nn.attention import SDPBackend, sdpa_kernel

from stt_ft.core import timing
from stt_ft.targets.interleave import PADDING_ID, TokenWord, build_text_stream
from stt_ft.targets.pause_targets import pause_targets
from stt_ft.text import prompts

TEXT_LAG_S = 0.5
NUM_TEXT_PIECES = 300
SENTENCE_PATIENCE = 16.0


def train_tokenizer(path: Path) -> None:
    """A unigram sentencepiece model with the ids of Kyutai's: 0 end of padding, 1, 2, 3 padding. Digits are pieces of their own."""
    rng = random.Random(SEED)
    lines = [(prompts.number_prompt(rng) if i % 2 else prompts.ordinary_prompt(rng)) for i in range(20_000)]
    written = io.BytesIO()  # given a path, sentencepiece would keep it in the model
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([text for prompt in lines for text in (prompt.written, " ".join(prompt.words))]),
        model_writer=written,
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
    path.write_bytes(written.getvalue())


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


def spoken_examples(
    workdir: Path, tokenizer: sentencepiece.SentencePieceProcessor, first_seed: int, num_clips: int
) -> tuple[list[tuple[np.ndarray, np.ndarray]], list[bool], int]:
    """Speak and encode clips, once: examples, whether each dictates a number, and how many frames there are in all."""
    path = workdir / f"clips_{first_seed}_{num_clips}.npz"
    if not path.exists():
        clips = list(in_workers(SpeechWorker.encode, [first_seed + i for i in range(num_clips)], workdir))
        examples = [make_example(clip, tokenizer) for clip in clips]
        np.savez(
            path,
            codes=np.concatenate([codes for codes, _ in examples], axis=1).astype(np.int16),
            targets=np.concatenate([targets for _, targets in examples]).astype(np.int16),
            ends=np.cumsum([codes.shape[1] for codes, _ in examples]),
            is_number=np.array([clip.prompt.number_span is not None for clip in clips]),
        )
    stored = np.load(path)
    cuts = stored["ends"][:-1]
    codes = np.split(stored["codes"].astype(np.int64), cuts, axis=1)
    targets = np.split(stored["targets"].astype(np.int64), cuts)
    return list(zip(codes, targets, strict=True)), stored["is_number"].tolist(), int(stored["ends"][-1])


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
        with sdpa_kernel(SDPBackend.MATH):  # a fifth faster here than the fused kernel, whose backward is slow on CPUs
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


def fit_heads(
    lm: LMModel, numbers: Sequence[tuple[np.ndarray, np.ndarray]], sentences: Sequence[tuple[np.ndarray, np.ndarray]], num_steps: int
) -> None:
    """Fit the pause heads once more, alone, on clips that the rest has not learnt by heart; on sentences they learn to wait.

    A model this small never knows for sure whether a sentence goes on ("... last night" "because it was raining"), so there a frame with a
    word to come counts `SENTENCE_PATIENCE` times as much as one without. On numbers the heads go on saying what the text stream will do.
    """
    torch.manual_seed(SEED)
    heads = list(lm.extra_heads.parameters())
    optimizer = torch.optim.AdamW(heads, lr=3e-3, weight_decay=0.0)
    sources = [batches(examples, 1200, random.Random(SEED)) for examples in (numbers, sentences)]
    class_weights = [torch.tensor([1.0, *[patience] * 5]) for patience in (1.0, SENTENCE_PATIENCE)]
    for step in range(num_steps):
        loss = torch.zeros(())
        for source, weights in zip(sources, class_weights, strict=True):
            codes, targets = next(source)
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
                sequence = torch.cat([lm._get_initial_token().expand(codes.shape[0], -1, -1), codes], dim=2)[:, :, :-1]
                output, _ = lm.forward_text(sequence)
            logits = torch.stack([head(output.float()) for head in lm.extra_heads], dim=2)
            loss = loss + F.cross_entropy(logits.flatten(0, 2), targets.flatten(), weight=weights, ignore_index=-100)
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * 0.5 * (1 + math.cos(math.pi * step / num_steps))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 100 == 0 or step == num_steps - 1:
            print(f"heads step {step}: {loss.item():.4f}", flush=True)


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
    """Run the steps, skipping those whose result lies in the work directory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("stt_ft/assets/tiny"))
    parser.add_argument("--num_clips", type=int, default=30_000)
    parser.add_argument("--codec_steps", type=int, default=900)
    parser.add_argument("--lm_steps", type=int, default=7500)
    parser.add_argument("--num_head_clips", type=int, default=3000)
    parser.add_argument("--head_steps", type=int, default=300)
    parser.add_argument("--frames_per_batch", type=int, default=2400)
    arguments = parser.parse_args()
    workdir, out = arguments.workdir, arguments.out
    workdir.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    torch.set_num_threads(2)

    codec_path, tokenizer_path = workdir / "mimi.safetensors", workdir / "tokenizer.model"
    if not codec_path.exists():
        mimi = train_codec(arguments.codec_steps)
        save_file(
            {name: tensor.bfloat16() if tensor.is_floating_point() else tensor for name, tensor in mimi.state_dict().items()}, codec_path
        )
    (workdir / "mimi_config.json").write_text(json.dumps(mimi_config(), indent=1))
    if not tokenizer_path.exists():
        train_tokenizer(tokenizer_path)
    tokenizer = sentencepiece.SentencePieceProcessor(str(tokenizer_path))
    examples, _, num_frames = spoken_examples(workdir, tokenizer, SEED, arguments.num_clips)
    fresh, is_number, _ = spoken_examples(workdir, tokenizer, SEED + arguments.num_clips, arguments.num_head_clips)
    num_hours = num_frames * timing.FRAME_S / 3600
    print(f"{len(examples)} clips, {num_hours:.1f} h", flush=True)

    config, started = lm_config(tokenizer.get_piece_size()), time.time()
    lm = train_lm(examples, config, arguments.lm_steps, arguments.frames_per_batch, workdir / "glimpse.safetensors")
    numbers, sentences = ([example for example, is_in in zip(fresh, is_number, strict=True) if is_in == kind] for kind in (True, False))
    fit_heads(lm, numbers, sentences, arguments.head_steps)
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
    minutes, threads = (time.time() - started) / 60, torch.get_num_threads()
    build = {
        "seed": SEED,
        "num_lm": sum(parameter.numel() for parameter in lm.parameters()) / 1e6,
        "num_mimi": sum(tensor.numel() for tensor in load_file(codec_path).values()) / 1e6,
        "num_clips": len(examples),
        "num_words": len(vocabulary()),
        "num_head_clips": len(fresh),
        "num_hours": round(num_hours, 2),
        "build": f"{arguments.codec_steps} codec steps, {arguments.lm_steps} LM steps of up to {arguments.frames_per_batch} frames and "
        f"{arguments.head_steps} of the heads alone; the LM in {minutes:.0f} min on {threads} CPU threads",
    }
    (out / "build.json").write_text(json.dumps(build, indent=1) + "\n")
    full["model_id"] = {"sig": f"stt-ft-tiny-{SEED}", "epoch": 1}
    (out / "config.json").write_text(json.dumps(full, indent=1) + "\n")


if __name__ == "__main__":
    main()
