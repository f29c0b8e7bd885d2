"""The speech that the tiny model is trained on: espeak-ng with true word times, spoken and encoded in two processes."""

from __future__ import annotations

import json
import multiprocessing
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from moshi.models import loaders

from stt_ft.audio import synthesis
from stt_ft.core import timing
from stt_ft.simulation.casting import BASE_CAST, perform
from stt_ft.text import prompts

Item = TypeVar("Item")
SEED = 20261120


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


def speak_one(seed: int, synthesizer: synthesis.Synthesizer) -> Spoken:
    """Speak one random training clip; everything about it follows from `seed`."""
    rng = random.Random(seed)
    if rng.random() < 0.55:
        prompt = prompts.number_prompt(
            rng, allowed=lambda digits: any(prompts.belongs_to(digits, share) for share in BASE_CAST.digit_shares)
        )
    else:
        prompt = prompts.ordinary_prompt(rng)
    pauses_s = prompts.pauses(
        rng, prompt, rng.choice(tuple(prompts.Manner)), sentence_pause_prob=0.6, max_sentence_pause_s=0.7
    )  # more than people are measured on
    utterance, _ = perform(synthesizer, prompt.text, pauses_s, BASE_CAST, rng, tail_s=(1.8, 3.4))
    return Spoken(samples=utterance.samples, words=utterance.words, prompt=prompt)


class SpeechWorker:
    """A worker process: a synthesiser and, once it is trained, the codec."""

    _instance: SpeechWorker | None = None

    def __init__(self, codec_dir: Path | None) -> None:
        torch.set_num_threads(1)
        self._synthesizer = synthesis.Synthesizer()
        self._mimi = None
        if codec_dir is not None:
            config = json.loads((codec_dir / "mimi_config.json").read_text())
            self._mimi = loaders.get_mimi(codec_dir / "mimi.safetensors", config, num_codebooks=config["quantizer"]["n_q"])

    @classmethod
    def start(cls, codec_dir: Path | None) -> None:
        cls._instance = cls(codec_dir)

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


def in_workers(task: Callable[[int], Item], seeds: Sequence[int], codec_dir: Path | None = None) -> Iterator[Item]:
    """Run `SpeechWorker.speak` or `SpeechWorker.encode` over seeds in two processes; results come in the order of the seeds.

    `encode` needs the directory with the codec's weights and configuration.

    Each process takes every other seed: espeak-ng's voice carries on from one utterance to the next, so the order within a process is
    part of the recipe.
    """
    context = multiprocessing.get_context("spawn")
    with context.Pool(1, SpeechWorker.start, (codec_dir,)) as even, context.Pool(1, SpeechWorker.start, (codec_dir,)) as odd:
        results = [pool.imap(task, seeds[start::2], chunksize=8) for start, pool in enumerate((even, odd))]
        for index in range(len(seeds)):
            yield next(results[index % 2])
