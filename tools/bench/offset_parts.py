"""Offsets of the parts on the way from sound to words: codec, pause rows, silence detectors, text stream, transcripts."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from moshi.models import loaders
from moshi.models.compression import MimiModel
from offset_sounds import CHANNELS, PEOPLE, REPOSITORY, SIMULATED, Offsets, Sounds, Take

from stt_ft.align.placing import STEP_S, place_words, shares_of_spans
from stt_ft.audio.levels import speech_span_s
from stt_ft.audio.silero_vad import CHUNK_S, SileroVad, is_installed
from stt_ft.core.timing import FRAME_S, SAMPLE_RATE_HZ, SAMPLES_PER_FRAME, frame_at, frame_heard_s
from stt_ft.dataset.sidecar import Word
from stt_ft.metrics.endpointing import SPEECH_THRESHOLD, silent_for_s, turn_rows
from stt_ft.model.checkpoint_dir import open_model
from stt_ft.model.codes import MimiCodec
from stt_ft.model.streaming import stream_codes
from stt_ft.model.stt_lm import load_lm
from stt_ft.model.transcriber import Transcriber
from stt_ft.model.words import words_from_tokens
from stt_ft.targets.interleave import END_PADDING_ID, PADDING_ID, build_text_stream

LEAST_ROOM_S = 0.2
LUMP_S = 0.35
"""Silence given to a word at each end, where there is as much: `place_words` is to take it away again."""


def codec(sounds: Sounds) -> Iterator[Offsets]:
    """Mimi: which frame carries the sound of a moment; streaming against whole files; the decoder, which nothing here uses."""
    whose = PEOPLE if sounds.people else SIMULATED
    takes = sounds.of(whose)
    tiny = MimiCodec.load(open_model("tiny"))
    torch.manual_seed(sounds.seed)
    shapes = {"tiny": tiny._mimi, "random": loaders.get_mimi(None)}
    rng = np.random.default_rng(sounds.seed)
    for name, mimi in shapes.items():
        offsets_s = [_first_frame_changed(mimi, take, rng) for take in takes[:6] for _ in range(4)]
        note = "first frame that a click at t changes, against the frame that holds t"
        yield Offsets.of("Mimi, encoder", whose, name, offsets_s, note)
    best_s, fit = _moment_told_best(tiny._mimi, takes)
    yield Offsets.of("Mimi, encoder: the 80 ms a frame tells best, against its own", whose, "tiny", [best_s], f"R² of the power {fit:.2f}")
    yield Offsets.of("Mimi, frame by frame against the whole file", whose, "tiny", [_streaming_shift_s(tiny, take) for take in takes[:6]])
    yield Offsets.of("Mimi, decoder (used nowhere)", whose, "tiny", [_first_sample_changed(tiny._mimi, take, rng) for take in takes[:6]])


def _latents(mimi: MimiModel, samples: np.ndarray, quantize: bool = False) -> np.ndarray:
    with torch.inference_mode():
        return mimi.encode_to_latent(torch.from_numpy(samples)[None, None], quantize=quantize)[0].numpy()  # [D, T]


def _first_frame_changed(mimi: MimiModel, take: Take, rng: np.random.Generator) -> float:
    """Put a click anywhere and return how many seconds' worth of frames after its own the first change comes."""
    samples = take.samples[: 40 * SAMPLES_PER_FRAME]
    samples = samples[: len(samples) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME]
    place = int(rng.integers(len(samples)))
    clicked = samples.copy()
    clicked[place] += 0.1
    changed = np.flatnonzero(np.abs(_latents(mimi, clicked) - _latents(mimi, samples)).max(axis=0) > 1e-6)
    return (int(changed[0]) - frame_at(place / SAMPLE_RATE_HZ)) * FRAME_S


def _moment_told_best(mimi: MimiModel, takes: Sequence[Take]) -> tuple[float, float]:
    """Predict the power of 80 ms of sound from a frame's quantised latents, for windows around it; return the best shift and its R²."""
    step = SAMPLES_PER_FRAME // 8
    heard, powers = [], []
    for take in takes:
        samples = take.samples[: len(take.samples) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME]
        heard.append(_latents(mimi, samples, quantize=True).T)
        powers.append(np.convolve((samples.reshape(-1, step) ** 2).mean(axis=1), np.ones(8) / 8, mode="valid"))
    fits = {shift: _explained(heard, powers, shift) for shift in range(-16, 17)}
    best = max(fits, key=lambda shift: fits[shift])
    return best * 0.01, fits[best]


def _explained(heard: Sequence[np.ndarray], powers: Sequence[np.ndarray], shift: int) -> float:
    inputs, wanted = [], []
    for latents, power in zip(heard, powers, strict=True):
        places = np.arange(len(latents)) * 8 + shift
        inside = (places >= 0) & (places < len(power))
        inputs.append(np.pad(latents[inside], ((0, 0), (0, 1)), constant_values=1.0))
        wanted.append(np.log10(power[places[inside]] + 1e-7))
    half = len(inputs) * 2 // 3
    x, y = np.concatenate(inputs[:half]), np.concatenate(wanted[:half])
    weights = np.linalg.solve(x.T @ x + 1e-2 * np.eye(x.shape[1]), x.T @ y)
    unseen, truth = np.concatenate(inputs[half:]), np.concatenate(wanted[half:])
    return 1 - float(np.mean((unseen @ weights - truth) ** 2) / truth.var())


def _streaming_shift_s(codec: MimiCodec, take: Take) -> float:
    """Return by how many seconds' worth of frames the codes of a stream agree best with those of the file."""
    samples = take.samples[: len(take.samples) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME]
    with codec.streaming() as encode_frame:
        streamed = np.stack([encode_frame(part) for part in samples.reshape(-1, SAMPLES_PER_FRAME)], axis=1)
    whole = codec.encode([samples])[0]
    num_frames = streamed.shape[1] - 4
    agreement = {shift: (streamed[:, 2 + shift :][:, :num_frames] == whole[:, 2:][:, :num_frames]).mean() for shift in (-2, -1, 0, 1, 2)}
    return max(agreement, key=lambda shift: float(agreement[shift])) * FRAME_S


def _first_sample_changed(mimi: MimiModel, take: Take, rng: np.random.Generator) -> float:
    """Change the codes of a frame and return how long after that frame's beginning the decoded sound changes."""
    samples = take.samples[: 30 * SAMPLES_PER_FRAME]
    with torch.inference_mode():
        codes = mimi.encode(torch.from_numpy(samples)[None, None])
        frame = int(rng.integers(codes.shape[2]))
        changed = codes.clone()
        changed[:, :, frame] = (changed[:, :, frame] + 7) % mimi.cardinality
        difference = (mimi.decode(changed) - mimi.decode(codes)).abs()[0, 0].numpy()
    return float(np.flatnonzero(difference > 1e-6)[0]) / SAMPLE_RATE_HZ - frame * FRAME_S


def pauses(sounds: Sounds) -> Iterator[Offsets]:
    """Pause rows: what row t has heard, against what the server's row t has heard."""
    model = open_model("tiny")
    mimi, lm = MimiCodec.load(model), load_lm(model)
    rng, offsets_s = np.random.default_rng(sounds.seed), []
    for take in sounds.simulated[:8]:
        codes = mimi.encode([take.samples[: 60 * SAMPLES_PER_FRAME]])[0]
        frame = int(rng.integers(10, 50))
        changed = codes.copy()
        changed[:, frame] = (changed[:, frame] + 7) % 256
        before, after = stream_codes(lm, [codes, changed])
        first = int(np.flatnonzero(np.abs(before.head_probs - after.head_probs).max(axis=(1, 2)) > 1e-6)[0])
        offsets_s.append((first - frame - 1) * FRAME_S)
    note = "first row that frame k changes, against k + 1; latencies include that frame (docs/decisions.md, 2026-11-20)"
    yield Offsets.of("pause rows", SIMULATED, "tiny", offsets_s, note)


def edges(sounds: Sounds) -> Iterator[Offsets]:
    """Silero: the first step of speech, the last one's end, and the half-second rule."""
    if not is_installed():
        return
    vad = SileroVad.load()
    for whose in (PEOPLE, SIMULATED):
        for channel, carry in CHANNELS.items():
            starts_s, ends_s, rules_s, unheard = [], [], [], 0
            for take in sounds.of(whose):
                sound = np.pad(carry(take.samples), (0, SAMPLE_RATE_HZ))
                probs = vad.speech_probs([sound])[0]
                speech, silent_s = np.flatnonzero(probs >= SPEECH_THRESHOLD), silent_for_s(probs, CHUNK_S)
                if len(speech) == 0:
                    unheard += 1
                    continue
                starts_s.append(speech[0] * CHUNK_S - take.begin_s)
                ends_s.append(np.flatnonzero(silent_s == 0)[-1] * CHUNK_S - take.end_s)
                rows = turn_rows(silent_s, CHUNK_S, len(sound) // SAMPLES_PER_FRAME, (0.5,))[:, 0]
                known_s = np.array([frame_heard_s(row) for row in range(len(rows))])
                fired = np.flatnonzero((rows > 0) & (known_s >= take.end_s))
                rules_s += [known_s[fired[0]] - take.end_s - 0.5] if len(fired) else []
            note = f"{unheard} takes in which it hears nobody" if unheard else ""
            if starts_s:
                yield Offsets.of(f"Silero, speech begins ({channel})", whose, "Silero's own", starts_s, note)
                yield Offsets.of(f"Silero, speech ends ({channel})", whose, "Silero's own", ends_s, note)
                yield Offsets.of(f"Silero, turn over after 0.5 s ({channel})", whose, "Silero's own", rules_s, "end of sound + 0.5 s is 0")


def spans(sounds: Sounds) -> Iterator[Offsets]:
    """`speech_span_s`, which tells takes that are too short or too long."""
    for whose in (PEOPLE, SIMULATED):
        for channel, carry in CHANNELS.items():
            found = [(take, speech_span_s(carry(take.samples), SAMPLE_RATE_HZ)) for take in sounds.of(whose)]
            if found:
                yield Offsets.of(
                    f"speech_span_s, begins ({channel})", whose, "none", [begin_s - take.begin_s for take, (begin_s, _) in found]
                )
                yield Offsets.of(f"speech_span_s, ends ({channel})", whose, "none", [end_s - take.end_s for take, (_, end_s) in found])


def placed(sounds: Sounds) -> Iterator[Offsets]:
    """`place_words`: words that were given up to 0.35 s of the silence at either side; ends with less than 0.2 s are not counted."""
    people = [sounds.number(index, num_digits=5, gap_s=0.8) for index in range(len(sounds.people))]
    for whose, takes in ((PEOPLE, people), (SIMULATED, sounds.simulated)):
        for channel, carry in CHANNELS.items():
            starts_s, ends_s = [], []
            for take in takes:
                words, sound = sorted(take.words, key=lambda word: word.start_s), carry(take.samples)
                duration_s = len(sound) / SAMPLE_RATE_HZ
                ends = [0.0, *(word.end_s for word in words)]
                starts = [*(word.start_s for word in words), duration_s]
                wide = [
                    (max(word.start_s - LUMP_S, ends[index]), min(word.end_s + LUMP_S, starts[index + 1]))
                    for index, word in enumerate(words)
                ]
                told = place_words(sound, shares_of_spans(wide, duration_s), [1] * len(words), shares_per_s=1 / STEP_S)
                for word, (from_s, to_s), (start_s, end_s) in zip(words, wide, told, strict=True):
                    starts_s += [start_s - word.start_s] if word.start_s - from_s > LEAST_ROOM_S else []
                    ends_s += [end_s - word.end_s] if to_s - word.end_s > LEAST_ROOM_S else []
            if starts_s:
                yield Offsets.of(f"place_words, begins ({channel})", whose, "none", starts_s)
                yield Offsets.of(f"place_words, ends ({channel})", whose, "none", ends_s)


def text_stream(sounds: Sounds) -> Iterator[Offsets]:
    """Words laid on the text stream, against upstream's stream, and read back."""
    cases = json.loads((REPOSITORY / "tests" / "golden" / "upstream_interleaver.json").read_text())["cases"]
    offsets_s = []
    for case in cases:
        words = [Word(text="", tokens=tuple(tokens), start_s=start_s, end_s=end_s) for tokens, start_s, end_s in case["words"]]
        stream = build_text_stream(
            words, num_frames=case["num_frames"], text_lag_s=case["text_lag_s"], padding_id=PADDING_ID, end_padding_id=END_PADDING_ID
        )
        theirs = [frame for frame, token in enumerate(case["tokens"]) if token > 3]
        ours = [frame for frame, token in enumerate(stream.tokens) if token > 3]
        offsets_s += [(our - their) * FRAME_S for our, their in zip(ours[-len(theirs) :], theirs, strict=True)]
    yield Offsets.of(
        "text stream: tokens against moshi-finetune's", "none", "none", offsets_s, "its recorded outputs, all tokens after the lag"
    )
    model = open_model("tiny")
    tokenizer, lag_s = model.tokenizer, model.text_lag_s
    ids = {"padding_id": model.padding_id, "end_padding_id": model.end_padding_id}
    rng = np.random.default_rng(sounds.seed)
    for lag in (lag_s, 2.5):
        words = [
            Word(text="", tokens=tuple(tokenizer.encode("one")), start_s=2 * i + rng.uniform(0, 1), end_s=2 * i + 1.5) for i in range(500)
        ]
        stream = build_text_stream(words, num_frames=13_000, text_lag_s=lag, padding_id=PADDING_ID, end_padding_id=END_PADDING_ID)
        back = words_from_tokens(stream.tokens, tokenizer, text_lag_s=lag, **ids)
        told_s = [heard.start_s - word.start_s for heard, word in zip(back, words, strict=True)]
        yield Offsets.of(
            f"word onset on the stream and back, lag {lag:g} s", "random times", "none", told_s, "the frame is all that is known"
        )
    for kind in ("number", "ordinary"):
        starts_s, ends_s = [], []
        for take in sounds.simulated:
            if take.kind == kind:
                words = [Word(text="", tokens=tuple(tokenizer.encode(w.text)), start_s=w.start_s, end_s=w.end_s) for w in take.words]
                stream = build_text_stream(
                    words,
                    num_frames=len(take.samples) // SAMPLES_PER_FRAME + 60,
                    text_lag_s=lag_s,
                    padding_id=PADDING_ID,
                    end_padding_id=END_PADDING_ID,
                )
                back = words_from_tokens(stream.tokens, tokenizer, text_lag_s=lag_s, **ids)
                starts_s += [heard.start_s - word.start_s for heard, word in zip(back, take.words, strict=True)]
                ends_s += [heard.end_s - word.end_s for heard, word in zip(back, take.words, strict=True)]
        yield Offsets.of(f"true words on the stream and back, begin ({kind})", SIMULATED, "none", starts_s)
        yield Offsets.of(f"true words on the stream and back, end ({kind})", SIMULATED, "none", ends_s, "a guess by the word's length")


def transcripts(sounds: Sounds) -> Iterator[Offsets]:
    """`transcribe`'s words, and those of a report: start, end and when they appeared."""
    tiny = Transcriber.open("tiny", device="cpu")
    for whose, kind in ((SIMULATED, "number"), (SIMULATED, "ordinary"), (PEOPLE, "number")):
        takes = [take for take in sounds.of(whose) if take.kind == kind][: 60 if whose == SIMULATED else 12]
        if not takes:
            continue
        pairs, num_words = [], 0
        for take, heard in zip(takes, tiny.transcribe([take.samples for take in takes]), strict=True):
            pairs += _matched(take.words, heard.words)
            num_words += len(take.words)
        note = f"{len(pairs)} of {num_words} words heard"
        if whose == PEOPLE:
            note += ": the tiny model does not know people's voices, these are chance"
        for what, offsets_s in {
            "begin": [told.start_s - true.start_s for true, told in pairs],
            "end": [told.end_s - true.end_s for true, told in pairs],
            "appeared, after the end of its sound": [told.appeared_s - true.end_s for true, told in pairs],
        }.items():
            yield Offsets.of(f"transcribe, words {what} ({kind})", whose, "tiny", offsets_s, note)
    take, offsets_s = sounds.simulated[-1], []
    sound = np.pad(take.samples, (0, -len(take.samples) % SAMPLES_PER_FRAME))
    with tiny.live() as listener:
        live = [listener.hear(part) for part in sound.reshape(-1, SAMPLES_PER_FRAME)]
        for frame in (*live, *listener.finish()):
            offsets_s += [word.appeared_s - frame.heard_s for word in frame.words]
    yield Offsets.of("word appeared, against the frame that sent it live", SIMULATED, "tiny", offsets_s)


def _matched(true: Sequence[Any], told: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Return pairs of words that are the same, in order."""
    texts = [[word.text.lower().strip(".,?!") for word in words] for words in (true, told)]
    blocks = difflib.SequenceMatcher(None, *texts, autojunk=False).get_matching_blocks()
    return [(true[block.a + index], told[block.b + index]) for block in blocks for index in range(block.size)]
