"""Make the tiny model that demo and tests run on: a Mimi codec and a speech-to-text LM of the real classes, trained from nothing.

    python tools/tiny_people.py --fsdd DIR --out /tmp/tiny/people          the voices of people, once
    python tools/make_tiny_model.py --workdir /tmp/tiny --people /tmp/tiny/people --out stt_ft/assets/tiny

Steps, each kept under `--workdir`, so that a build that was killed goes on: train the codec (`tiny_codec.py`) on speech (`tiny_speech.py`),
train the tokenizer, speak and encode, train the LM. The LM learns to write as the big model does (capital, full stop), and its fault: a
long number is written in digits, in one lump, after it has ended, or in words, with commas; which of the two is drawn anew every time a
clip is seen, and kept through a stream. Its pause heads are taught what the text stream will do. About two hours on 2 cores; minutes on a
GPU (`--device cuda`). `tools/measure_tiny_model.py` then measures the result on voices, speeds and numbers never trained on and writes
the model card.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import math
import os
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
from tiny_speech import SEED, Spoken, speak_all
from torch.nn.attention import SDPBackend, sdpa_kernel

from stt_ft.core import timing
from stt_ft.dataset.sidecar import Word
from stt_ft.targets.interleave import END_PADDING_ID, PADDING_ID, build_text_stream
from stt_ft.targets.pause_targets import pause_targets
from stt_ft.text import prompts
from stt_ft.text.written_style import WrittenStyle

TEXT_LAG_S = 0.5
NUM_TEXT_PIECES = 340
NUMBER_PATIENCE, SENTENCE_PATIENCE = 3.0, 16.0
PADDING_WEIGHT = 0.6
CLIPS_A_SHARD = 1000

STYLE = WrittenStyle(capital=True, capital_i=True, commas=True, stop=True)

FORMS = ("digits", "words")
"""How a long number may be written: as a lump of digits when it has ended, or word by word."""


def train_tokenizer(path: Path) -> None:
    """A unigram sentencepiece model with the ids of Kyutai's: 0 end of padding, 1, 2, 3 padding. Digits are pieces of their own."""
    rng = random.Random(SEED)
    drawn = [(prompts.number_prompt(rng) if i % 2 else prompts.ordinary_prompt(rng)) for i in range(20_000)]
    texts = [" ".join(text) for prompt in drawn for text in (prompt.words, *(written(prompt, form) for form in FORMS))]
    model = io.BytesIO()  # given a path, sentencepiece would keep it in the model
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
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
    path.write_bytes(model.getvalue())


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


def written(prompt: prompts.Prompt, form: str) -> list[str]:
    """What the base writes for each spoken word, as the big model would: a capital first, a full stop last, "I".

    In `words` the words of a number have commas between them; in `digits` its last word is written as the lump and the others as nothing.
    """
    start, stop = prompt.number_span or (0, 0)
    in_number = [start <= index < stop for index in range(len(prompt.words))]
    if form == "words" or not any(in_number):
        return STYLE.write(prompt.words, in_number)
    with_lump = [*prompt.words[:start], prompt.digits, *prompt.words[stop:]]
    texts = STYLE.write(with_lump, [False] * len(with_lump))
    texts[start:start] = [""] * (stop - start - 1)
    return texts


@dataclass(frozen=True, kw_only=True)
class Example:
    """A clip as the LM sees it: codes [K, T], and for each of the forms its text stream [T] and pause targets [T, 4]."""

    codes: np.ndarray
    texts: np.ndarray  # [forms, T]
    targets: np.ndarray  # [forms, T, 4]
    is_number: bool
    voice: str

    @classmethod
    def of(cls, codes: np.ndarray, spoken: Spoken, tokenizer: sentencepiece.SentencePieceProcessor) -> Example:
        num_frames, texts, targets = codes.shape[1], [], []
        for form in FORMS:
            words = [
                Word(
                    text="",
                    tokens=tuple(tokenizer.encode(text)),
                    start_s=word.end_s if text[0].isdigit() else word.start_s,  # a lump appears when the number has ended
                    end_s=word.end_s,
                )
                for word, text in zip(spoken.words, written(spoken.prompt, form), strict=True)
                if text
            ]
            stream = build_text_stream(
                words, num_frames=num_frames, text_lag_s=TEXT_LAG_S, padding_id=PADDING_ID, end_padding_id=END_PADDING_ID
            )
            texts.append(stream.tokens)
            targets.append(pause_targets(stream.onset_frames, stream.sound_end_frames, num_frames, kind="count"))
        return cls(
            codes=codes.astype(np.uint8),
            texts=np.stack(texts).astype(np.int16),
            targets=np.stack(targets).astype(np.int8),
            is_number=spoken.prompt.number_span is not None,
            voice=spoken.voice,
        )

    def stream(self, form: int) -> tuple[np.ndarray, np.ndarray]:
        """Text and codes [1 + K, T], and pause targets [T, 4]."""
        return np.concatenate([self.texts[form][None].astype(np.int64), self.codes]), self.targets[form].astype(np.int64)


class Encoder:
    """The trained codec."""

    def __init__(self, directory: Path, device: str) -> None:
        config = json.loads((directory / "mimi_config.json").read_text())
        self._mimi = loaders.get_mimi(directory / "mimi.safetensors", config, device=device, num_codebooks=config["quantizer"]["n_q"])
        self._device = device

    @torch.inference_mode()
    def encode(self, clips: Sequence[Spoken]) -> list[np.ndarray]:
        """Codes [K, T] of each clip, all encoded together: the codec looks at no later frame, so padding at the end changes nothing."""
        num_frames = [timing.num_frames_covering(timing.samples_to_s(len(clip.samples))) for clip in clips]
        length = max(num_frames) * timing.SAMPLES_PER_FRAME
        batch = np.stack([np.pad(clip.samples, (0, length - len(clip.samples))) for clip in clips])
        codes = self._mimi.encode(torch.from_numpy(batch)[:, None].to(self._device)).cpu().numpy()
        return [one[:, :count] for one, count in zip(codes, num_frames, strict=True)]


def spoken_examples(
    workdir: Path, people: Path | None, tokenizer: sentencepiece.SentencePieceProcessor, first_seed: int, num_clips: int, device: str
) -> list[Example]:
    """Speak and encode clips, a shard at a time, each kept."""
    encoder, started, examples = Encoder(workdir, device), time.time(), []
    shards = [range(start, min(start + CLIPS_A_SHARD, num_clips)) for start in range(0, num_clips, CLIPS_A_SHARD)]
    paths = [workdir / f"clips_{first_seed + shard.start}_{len(shard)}.npz" for shard in shards]
    missing = [index for index, path in enumerate(paths) if not path.exists()]
    spoken = speak_all([first_seed + seed for index in missing for seed in shards[index]], people) if missing else iter(())
    for index in missing:
        made: list[Example] = []
        for size in [min(32, len(shards[index]) - start) for start in range(0, len(shards[index]), 32)]:
            clips = list(itertools.islice(spoken, size))
            made += [Example.of(codes, clip, tokenizer) for codes, clip in zip(encoder.encode(clips), clips, strict=True)]
        part = paths[index].with_suffix(".part.npz")
        np.savez_compressed(
            part,
            codes=np.concatenate([one.codes for one in made], axis=1),
            texts=np.concatenate([one.texts for one in made], axis=1),
            targets=np.concatenate([one.targets for one in made], axis=1),
            ends=np.cumsum([one.codes.shape[1] for one in made]),
            is_number=np.array([one.is_number for one in made]),
            voices=np.array([one.voice for one in made]),
        )
        part.rename(paths[index])
        print(f"clips: {shards[index].stop} of {num_clips}, {time.time() - started:.0f} s", flush=True)
    for path in paths:
        stored = np.load(path)
        cuts = stored["ends"][:-1]
        arrays = [np.split(stored[name], cuts, axis=1) for name in ("codes", "texts", "targets")]
        examples += [
            Example(codes=codes, texts=texts, targets=targets, is_number=bool(is_number), voice=str(voice))
            for codes, texts, targets, is_number, voice in zip(*arrays, stored["is_number"], stored["voices"], strict=True)
        ]
    return examples


def batches(
    examples: Sequence[Example], frames_per_batch: int, words_share: float, rng: random.Random
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless batches of like length; two in five examples are streams of two or three clips. The form is drawn for each stream, anew."""
    lengths = [example.codes.shape[1] for example in examples]
    while True:
        order = [[index] for index in rng.sample(range(len(examples)), len(examples))]
        streams, position = [], 0
        while position < len(order):
            count = rng.choice((2, 3)) if rng.random() < 0.25 else 1
            streams.append([index for group in order[position : position + count] for index in group])
            position += count
        streams.sort(key=lambda stream: sum(lengths[index] for index in stream) + rng.random() * 12)
        packed: list[list[list[int]]] = [[]]
        for stream in streams:
            if (len(packed[-1]) + 1) * sum(lengths[index] for index in stream) > frames_per_batch and packed[-1]:
                packed.append([])
            packed[-1].append(stream)
        rng.shuffle(packed)
        for batch in packed:
            forms = [int(rng.random() < words_share) for _ in batch]
            parts = [[examples[index].stream(form) for index in stream] for stream, form in zip(batch, forms, strict=True)]
            codes = [np.concatenate([codes for codes, _ in stream], axis=1) for stream in parts]
            targets = [np.concatenate([targets for _, targets in stream]) for stream in parts]
            longest = max(item.shape[1] for item in codes)
            yield (
                torch.stack([F.pad(torch.from_numpy(item), (0, longest - item.shape[1]), value=-1) for item in codes]),
                torch.stack([F.pad(torch.from_numpy(item), (0, 0, 0, longest - len(item)), value=-100) for item in targets]),
            )


def hide_inputs(codes: torch.Tensor) -> torch.Tensor:
    """Hide part of the input so that the model listens, and to no single voice's details.

    One text token in five becomes padding; of every clip up to a quarter of the codes, and in one clip of three all codebooks past a random
    one, are left out.
    """
    inputs, device = codes.clone(), codes.device
    num_clips, num_streams, num_frames = codes.shape
    inputs[:, 0][(torch.rand(num_clips, num_frames, device=device) < 0.2) & (codes[:, 0] >= 0)] = PADDING_ID
    share = 0.25 * torch.rand(num_clips, 1, 1, device=device)
    hidden = torch.rand(num_clips, num_streams - 1, num_frames, device=device) < share
    last = torch.randint(2, NUM_CODEBOOKS, (num_clips,), device=device)
    last = torch.where(torch.rand(num_clips, device=device) < 1 / 3, last, NUM_CODEBOOKS)
    hidden |= torch.arange(NUM_CODEBOOKS, device=device)[None, :, None] >= last[:, None, None]
    inputs[:, 1:][hidden] = -1
    return inputs


def lm_loss(lm: LMModel, codes: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Text cross-entropy (padding at `PADDING_WEIGHT`) and pause-head cross-entropy."""
    inputs = hide_inputs(codes)
    sequence = torch.cat([lm._get_initial_token().expand(codes.shape[0], -1, -1), inputs], dim=2)[:, :, :-1]
    with torch.autocast(codes.device.type, torch.bfloat16):
        output, text_logits = lm.forward_text(sequence)
        head_logits = torch.stack([head(output) for head in lm.extra_heads], dim=2)
    text = codes[:, 0]
    weight = torch.where(text == PADDING_ID, PADDING_WEIGHT, 1.0) * (text >= 0)
    text_loss = F.cross_entropy(text_logits[:, 0].float().transpose(1, 2), text.clamp(min=0), reduction="none")
    head_loss = F.cross_entropy(head_logits.float().flatten(0, 2), targets.flatten(), ignore_index=-100)
    return (text_loss * weight).sum() / weight.sum(), head_loss


@dataclass(frozen=True, kw_only=True)
class Training:
    """How the LM is trained."""

    num_steps: int
    frames_per_batch: int
    words_share: float
    lr: float
    device: str


def train_lm(examples: Sequence[Example], config: dict[str, Any], how: Training, progress: Path) -> LMModel:
    """Train the LM from nothing; every 1000 steps all that is needed to go on is written to `progress`."""
    torch.manual_seed(SEED)
    lm = loaders.get_moshi_lm(None, config, device=how.device, dtype=torch.float32).train()
    optimizer = torch.optim.AdamW(lm.parameters(), lr=how.lr, betas=(0.9, 0.95), weight_decay=0.1)
    source, first_step = batches(examples, how.frames_per_batch, how.words_share, random.Random(SEED)), 0
    if progress.exists():
        kept = torch.load(progress, map_location=how.device, weights_only=True)
        lm.load_state_dict(kept["model"])
        optimizer.load_state_dict(kept["optimizer"])
        first_step = kept["step"]
        for _ in range(first_step):
            next(source)
    started, losses = time.time(), torch.zeros(2, device=how.device)
    for step in range(first_step, how.num_steps):
        torch.manual_seed(SEED + step)  # what is hidden follows from the step, so that a build that was killed goes on as it would have
        codes, targets = (tensor.to(how.device) for tensor in next(source))
        with attention_kernel(how.device):
            text_loss, head_loss = lm_loss(lm, codes, targets)
        for group in optimizer.param_groups:
            group["lr"] = how.lr * min(1, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / how.num_steps)))
        optimizer.zero_grad()
        (text_loss + 0.5 * head_loss).backward()
        torch.nn.utils.clip_grad_norm_(lm.parameters(), 1.0)
        optimizer.step()
        losses = torch.stack([text_loss.detach(), head_loss.detach()]).lerp(losses, 0.98 if step > first_step else 0.0)
        if step % 200 == 0 or step == how.num_steps - 1:
            text, heads = losses.tolist()
            print(f"lm step {step}: text {text:.4f}, heads {heads:.4f}, {time.time() - started:.0f} s", flush=True)
        if step % 1000 == 999:
            part = progress.with_suffix(".part")
            torch.save({"model": lm.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}, part)
            part.rename(progress)
    return lm.eval()


def attention_kernel(device: str) -> Any:
    """The kernel for attention: on CPUs the plain one is a fifth faster here than the fused one, whose backward is slow there."""
    return sdpa_kernel(
        SDPBackend.MATH if device == "cpu" else [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    )


def fit_heads(lm: LMModel, fresh: Sequence[Example], num_steps: int, how: Training) -> None:
    """Fit the pause heads once more, alone, on clips that the rest has not learnt by heart; on sentences they learn to wait.

    A model this small never knows for sure whether a sentence goes on ("... last night" "because it was raining"), so there a frame with a
    word to come counts `SENTENCE_PATIENCE` times as much as one without. On numbers `NUMBER_PATIENCE` keeps the heads calm while words are
    written, or may be; once a lump is sure, they say so.
    """
    torch.manual_seed(SEED)
    heads = list(lm.extra_heads.parameters())
    optimizer = torch.optim.AdamW(heads, lr=3e-3, weight_decay=0.0)
    numbers, sentences = ([example for example in fresh if example.is_number == kind] for kind in (True, False))
    sources = [batches(examples, 1200, how.words_share, random.Random(SEED)) for examples in (numbers, sentences)]
    class_weights = [torch.tensor([1.0, *[patience] * 5], device=how.device) for patience in (NUMBER_PATIENCE, SENTENCE_PATIENCE)]
    for step in range(num_steps):
        loss = torch.zeros((), device=how.device)
        for source, weights in zip(sources, class_weights, strict=True):
            codes, targets = (tensor.to(how.device) for tensor in next(source))
            with torch.no_grad(), torch.autocast(how.device, torch.bfloat16), attention_kernel(how.device):
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
    parser.add_argument("--people", type=Path, help="what tools/tiny_people.py gathered; without it the model hears espeak-ng alone")
    parser.add_argument("--out", type=Path, default=Path("stt_ft/assets/tiny"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--num_clips", type=int, default=40_000)
    parser.add_argument("--codec_steps", type=int, default=2000)
    parser.add_argument("--lm_steps", type=int, default=10_000)
    parser.add_argument("--num_head_clips", type=int, default=3000)
    parser.add_argument("--head_steps", type=int, default=300)
    parser.add_argument("--frames_per_batch", type=int, default=2400)
    parser.add_argument("--words_share", type=float, default=0.3, help="how many streams write their long numbers in words")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--leave_out", nargs="*", default=[], help="voices that the LM is not to learn, to choose on")
    arguments = parser.parse_args()
    workdir, out, people, device = arguments.workdir, arguments.out, arguments.people, arguments.device
    workdir.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)

    codec_path, tokenizer_path = workdir / "mimi.safetensors", workdir / "tokenizer.model"
    if not codec_path.exists():
        mimi = train_codec(arguments.codec_steps, people, device)
        save_file(
            {name: tensor.bfloat16() if tensor.is_floating_point() else tensor for name, tensor in mimi.state_dict().items()}, codec_path
        )
    (workdir / "mimi_config.json").write_text(json.dumps(mimi_config(), indent=1))
    if not tokenizer_path.exists():
        train_tokenizer(tokenizer_path)
    tokenizer = sentencepiece.SentencePieceProcessor(str(tokenizer_path))
    examples = spoken_examples(workdir, people, tokenizer, SEED, arguments.num_clips, device)
    fresh = spoken_examples(workdir, people, tokenizer, SEED + arguments.num_clips, arguments.num_head_clips, device)
    examples = [example for example in examples if example.voice not in arguments.leave_out]
    num_hours = sum(example.codes.shape[1] for example in examples) * timing.FRAME_S / 3600
    print(f"{len(examples)} clips, {num_hours:.1f} h", flush=True)

    config, started = lm_config(tokenizer.get_piece_size()), time.time()
    how = Training(
        num_steps=arguments.lm_steps,
        frames_per_batch=arguments.frames_per_batch,
        words_share=arguments.words_share,
        lr=arguments.lr,
        device=device,
    )
    lm = train_lm(examples, config, how, out / "progress.pt")
    fit_heads(lm, fresh, arguments.head_steps, how)
    save_file(candle_names(lm.state_dict()), out / "model.safetensors")
    save_file(load_file(codec_path), out / "mimi.safetensors")
    (out / "progress.pt").unlink(missing_ok=True)
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
    minutes, where = (time.time() - started) / 60, f"{torch.get_num_threads()} CPU threads" if device == "cpu" else device
    build = {
        "seed": SEED,
        "num_lm": sum(parameter.numel() for parameter in lm.parameters()) / 1e6,
        "num_mimi": sum(tensor.numel() for tensor in load_file(codec_path).values()) / 1e6,
        "num_clips": len(examples),
        "num_words": len(vocabulary()),
        "num_head_clips": len(fresh),
        "num_hours": round(num_hours, 2),
        "build": f"{arguments.codec_steps} codec steps, {arguments.lm_steps} LM steps of up to {arguments.frames_per_batch} frames and "
        f"{arguments.head_steps} of the heads alone; the LM in {minutes:.0f} min on {where}",
    }
    (out / "build.json").write_text(json.dumps(build, indent=1) + "\n")
    full["model_id"] = {"sig": f"stt-ft-tiny-{SEED}", "epoch": 1}
    (out / "config.json").write_text(json.dumps(full, indent=1) + "\n")


if __name__ == "__main__":
    main()
