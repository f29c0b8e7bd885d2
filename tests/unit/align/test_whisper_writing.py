"""What is written without a script: the search on a small random checkpoint, and what people said on real weights."""

from __future__ import annotations

import random
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from stt_ft.align.whisper_model import WhisperModel
from stt_ft.align.whisper_writing import Writer, _loops
from stt_ft.simulation.glued import SpokenDigits, mixed_gaps
from stt_ft.text.digit_words import digits_of_words
from stt_ft.text.spoken_forms import spoken_words

NUMBERS = (("george", "407293"), ("jackson", "7719362"), ("nicolas", "1584903"), ("yweweler", "33068125"))


def writer_of(model: WhisperModel) -> Writer:
    return Writer(model.model, model.tokenizer)


def loaded(path: Path) -> WhisperModel:
    return WhisperModel(str(path), language="en", device=torch.device("cpu"))


@pytest.fixture(scope="module")
def numbers(spoken_digits: SpokenDigits) -> list[np.ndarray]:
    rng = random.Random(6)
    return [spoken_digits.number(speaker, digits, mixed_gaps(rng, len(digits) - 1), rng).samples for speaker, digits in NUMBERS]


@pytest.mark.parametrize("num_beams", [1, 5])
def test_a_batch_writes_what_single_clips_write(small_whisper: Path, num_beams: int) -> None:
    model = loaded(small_whisper)
    rng = np.random.default_rng(0)
    lengths_s = (0.5, 2.0, 1.0)  # each has room for another number of tokens, so they leave the batch one by one
    features = model.encode([rng.standard_normal(round(24_000 * length_s)).astype(np.float32) * 0.1 for length_s in lengths_s])
    together = writer_of(model).write(features, lengths_s, num_beams=num_beams)
    for row, one in enumerate(together):
        (alone,) = writer_of(model).write(features[row : row + 1], lengths_s[row : row + 1], num_beams=num_beams)
        assert alone.text == one.text
        assert (alone.mean_log_prob, alone.no_speech_prob) == pytest.approx((one.mean_log_prob, one.no_speech_prob), rel=1e-3)


def test_a_text_without_end_is_cut_and_says_so(small_whisper: Path) -> None:
    model = loaded(small_whisper)
    model.model.decoder.token_embedding.weight.data[model.tokenizer.eot] = 0.0  # the end is never likelier than what is
    features = model.encode([np.zeros(24_000, dtype=np.float32)])
    (written,) = writer_of(model).write(features, [1.0], num_beams=1)
    assert not written.is_ended


def test_beams_find_no_text_less_likely_than_whispers_own_beams(tiny_en: Path, numbers: list[np.ndarray]) -> None:
    """`whisper.decode` with beams stops at five that have ended, and so writes less of a number than it might."""
    from whisper.decoding import DecodingOptions, DecodingTask

    model = loaded(tiny_en)
    numbers = numbers[:2]
    durations_s = [len(samples) / 24_000 for samples in numbers]
    with torch.inference_mode():
        features = model.encode(numbers)
    for row, ours in enumerate(writer_of(model).write(features, durations_s)):
        options = DecodingOptions(language="en", beam_size=5, without_timestamps=True, fp16=False)
        (theirs,) = DecodingTask(model.model, options).run(features[row : row + 1])
        assert ours.mean_log_prob >= theirs.avg_logprob - 1e-3, (ours.text, theirs.text)


def test_a_beam_that_says_the_same_again_and_again_is_a_loop() -> None:
    texts = torch.tensor([[[9, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2], [9, 9, 9, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2]]])
    assert _loops(texts).tolist() == [[True, False]]


def test_hooks_are_gone_when_it_is_written(small_whisper: Path) -> None:
    model = loaded(small_whisper)
    writer_of(model).write(model.encode([np.zeros(24_000, dtype=np.float32)]), [0.1])
    assert not any(module._forward_hooks for module in model.model.modules())


def test_without_beams_it_writes_what_openai_whisper_writes(tiny_en: Path, numbers: list[np.ndarray]) -> None:
    import whisper

    model = loaded(tiny_en)
    with torch.inference_mode():
        features = model.encode(numbers)
    ours = writer_of(model).write(features, [30.0] * len(numbers), num_beams=1)
    options = whisper.DecodingOptions(language="en", without_timestamps=True, fp16=False)
    results = whisper.decode(model.model, features, options)
    assert isinstance(results, list)
    for written, theirs in zip(ours, results, strict=True):
        assert written.text == theirs.text
        assert written.mean_log_prob == pytest.approx(theirs.avg_logprob, abs=1e-3)
        assert written.no_speech_prob == pytest.approx(theirs.no_speech_prob, abs=1e-3)


def test_numbers_that_people_said_come_out_right_and_in_time(tiny_en: Path, numbers: list[np.ndarray]) -> None:
    model = loaded(tiny_en)
    begin_s = time.process_time()
    with torch.inference_mode():
        features = model.encode(numbers)
    written = writer_of(model).write(features, [len(samples) / 24_000 for samples in numbers])
    seconds = time.process_time() - begin_s
    texts = [one.text for one in written]
    wrote = [digits_of_words(spoken_words(text, style="digits")) for text in texts]
    num_right = sum(one == digits for one, (_, digits) in zip(wrote, NUMBERS, strict=True))
    assert num_right >= len(NUMBERS) - 1, texts  # of 60 such numbers about 50 come out right
    assert seconds < 10  # a clip alone takes 0.6 s on one core
