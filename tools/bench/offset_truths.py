"""Offsets of what carries sound and of what the others are judged by: channels, files, aligned references, and the truths themselves."""

from __future__ import annotations

import base64
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from offset_sounds import PEOPLE, REPOSITORY, SIMULATED, Offsets, Sounds, Take, delay_samples, digits_folder, in_ms

from stt_ft.align.aligner import AlignmentJob
from stt_ft.align.sphinx_aligner import SphinxWork
from stt_ft.align.whisper_aligner import WhisperWork
from stt_ft.audio.channel import add_pink_noise, phone_line
from stt_ft.audio.files import change_speed, read_audio, resample, write_wav
from stt_ft.audio.synthesis import Synthesizer, Utterance, insert_silence
from stt_ft.core.timing import SAMPLE_RATE_HZ
from stt_ft.dataset.sidecar import Word
from stt_ft.pages.offline_page import PageSounds
from stt_ft.simulation.casting import HELDOUT_CAST
from stt_ft.simulation.glued import SOUNDING_DB, sounding
from stt_ft.text.digit_words import ENGLISH_DIGITS

RATES_HZ = (8_000, 16_000, 22_050, 44_100, 48_000)
NUM_ALIGNED = 24
FORMATS = (  # suffix, what ffmpeg is told
    (".flac", []),
    (".ogg", ["-c:a", "libvorbis"]),
    (".opus", ["-c:a", "libopus"]),
    (".webm", ["-c:a", "libopus"]),
    (".mp3", ["-c:a", "libmp3lame"]),
    ("-without-xing.mp3", ["-c:a", "libmp3lame", "-write_xing", "0"]),
    (".m4a", ["-c:a", "aac"]),
    (".aac", ["-c:a", "aac"]),
    (".wma", ["-c:a", "wmav2"]),
)
EDGES_DB = (40.0, SOUNDING_DB, 30.0)
WORDS = (*ENGLISH_DIGITS, "order", "number", "room", "and")


def channels(sounds: Sounds) -> Iterator[Offsets]:
    """What sound goes through: telephone, noise, other rates, other speeds, silence put in, the microphone's resampler."""
    whose = PEOPLE if sounds.people else SIMULATED
    takes = [take.samples for take in sounds.of(whose)[:12]]
    for name, carry in {"phone_line": phone_line, "add_pink_noise, 0 dB": lambda sound: add_pink_noise(sound, 0.0, seed=1)}.items():
        yield Offsets.of(name, whose, "none", [delay_samples(sound, carry(sound)) / SAMPLE_RATE_HZ for sound in takes])
    there_and_back = [
        delay_samples(sound, resample(resample(sound, SAMPLE_RATE_HZ, rate), rate, SAMPLE_RATE_HZ)) for sound in takes for rate in RATES_HZ
    ]
    yield Offsets.of("resample, there and back", whose, "none", np.array(there_and_back) / SAMPLE_RATE_HZ, "8 to 48 kHz")
    yield Offsets.of("resample, one way", "clicks", "none", [_click_s(resample, rate) for rate in RATES_HZ], "8 to 48 kHz")
    try:
        import sphn
    except ImportError:
        pass
    else:

        def by_sphn(sound: np.ndarray, source: int, target: int) -> np.ndarray:
            return sphn.resample(sound[None], source, target)[0]

        yield Offsets.of("sphn.resample (used nowhere)", "clicks", "none", [_click_s(by_sphn, rate) for rate in RATES_HZ], "8 to 48 kHz")
    offsets_s = []
    for speed in (0.87, 0.9, 1.1, 1.15):
        for at_s in (0.5, 2.0, 9.0):
            sound = np.zeros(10 * SAMPLE_RATE_HZ, np.float32)
            sound[round(at_s * SAMPLE_RATE_HZ)] = 1.0
            offsets_s.append(np.abs(change_speed(sound, speed)).argmax() / SAMPLE_RATE_HZ - at_s / speed)
    yield Offsets.of("change_speed, against time / speed", "clicks", "none", offsets_s, "up to 9 s")
    yield Offsets.of("insert_silence, its word times", "clicks", "none", _inserted_s())
    offsets_s = []
    for sound in takes:
        resampler, narrow = soxr.ResampleStream(44_100, SAMPLE_RATE_HZ, 1, dtype="float32"), resample(sound, SAMPLE_RATE_HZ, 44_100)
        pieces = [resampler.resample_chunk(narrow[begin : begin + 441]) for begin in range(0, len(narrow), 441)]
        offsets_s.append(delay_samples(sound, np.concatenate(pieces)) / SAMPLE_RATE_HZ)
    yield Offsets.of("live microphone at 44.1 kHz, piece by piece", whose, "none", offsets_s, "its resampler, no device")


def _click_s(convert: Any, rate_hz: int) -> float:
    sound = np.zeros(rate_hz, np.float32)
    sound[rate_hz // 2] = 1.0
    return float(np.abs(convert(sound, rate_hz, SAMPLE_RATE_HZ)).argmax()) / SAMPLE_RATE_HZ - 0.5


def _inserted_s() -> list[float]:
    """Mark the beginning of three words with clicks, put silence between them, and find the clicks again."""
    begins_s = (0.2, 0.7, 1.3)
    sound = np.zeros(2 * SAMPLE_RATE_HZ, np.float32)
    for number, begin_s in enumerate(begins_s, start=1):
        sound[round(begin_s * SAMPLE_RATE_HZ)] = number / 4
    words = tuple(Word(text="one", start_s=begin_s, end_s=begin_s + 0.3) for begin_s in begins_s)
    moved = insert_silence(Utterance(samples=sound, words=words), {1: 0.4321, 2: 1.1}, lead_s=0.3333, tail_s=0.2)
    return [at / SAMPLE_RATE_HZ - word.start_s for at, word in zip(np.flatnonzero(moved.samples), moved.words, strict=True)]


def files(sounds: Sounds) -> Iterator[Offsets]:
    """Sound files of other programs, read as the project reads them; and the MP3 that a page carries."""
    whose = PEOPLE if sounds.people else SIMULATED
    takes = [take.samples for take in sounds.of(whose)[:4]]
    offsets_s = []
    for number, sound in enumerate(takes):
        path = sounds.scratch / f"page{number}.mp3"
        path.write_bytes(base64.b64decode(PageSounds(sounds.scratch).source(path, sound).partition(",")[2]))
        offsets_s.append(delay_samples(sound, read_audio(path)) / SAMPLE_RATE_HZ)
    yield Offsets.of("a page's MP3, read back", whose, "none", offsets_s, "by libsndfile, in no browser")
    if shutil.which("ffmpeg") is None:
        return
    for suffix, options in FORMATS:
        offsets_s, notes = [], []
        for rate in (8_000, 24_000, 44_100):
            rates_s = []
            for number, sound in enumerate(takes):
                source, path = sounds.scratch / "source.wav", sounds.scratch / f"{number}-{rate}{suffix}"
                write_wav(source, resample(sound, SAMPLE_RATE_HZ, rate), rate)
                subprocess.run(["ffmpeg", "-v", "error", "-y", "-i", str(source), *options, str(path)], check=True)
                rates_s.append(delay_samples(sound, read_audio(path)) / SAMPLE_RATE_HZ)
            notes.append(in_ms(1000 * float(np.median(rates_s))))
            offsets_s += rates_s
        reader = "libsndfile" if _by_libsndfile(path) else "ffmpeg"
        yield Offsets.of(f"{suffix} by ffmpeg, read by {reader}", whose, "none", offsets_s, f"{', '.join(notes)} at 8, 24, 44.1 kHz")


def _by_libsndfile(path: Path) -> bool:
    try:
        soundfile.info(str(path))
    except soundfile.LibsndfileError:
        return False
    return True


def references(sounds: Sounds) -> Iterator[Offsets]:
    """Words of `annotate` with their script, and the end of the last word's sound, which every latency counts from."""
    workers: dict[str, Any] = {"sphinx": (SphinxWork(), "sphinx's own")}
    sys.path.insert(0, str(REPOSITORY / "tools"))
    from real_whisper import checkpoint

    path = checkpoint()
    if path is not None:
        workers["Whisper"] = (WhisperWork(str(path), language="en", device="cpu", batch_size=8), "tiny.en, real")
    simulated = [take for kind in ("number", "ordinary") for take in [t for t in sounds.simulated if t.kind == kind][: NUM_ALIGNED // 2]]
    for whose, takes in ((PEOPLE, sounds.people[:NUM_ALIGNED]), (SIMULATED, simulated)):
        jobs = [_job(sounds.scratch / f"{whose}{number}.wav", take) for number, take in enumerate(takes)]
        for name, (work, weights) in workers.items() if jobs else ():
            told = {result.clip_id: result.words for result in work.results(jobs)}
            starts_s, ends_s, last_s = [], [], []
            for job, take in zip(jobs, takes, strict=True):
                words = told[job.clip_id]
                if len(words) != len(take.words):
                    continue
                starts_s += [word.start_s - true.start_s for word, true in zip(words, take.words, strict=True)]
                ends_s += [word.end_s - true.end_s for word, true in zip(words, take.words, strict=True)]
                last_s.append(max(word.end_s for word in words) - take.end_s)
            note = f"{len(last_s)} of {len(takes)} scripts aligned word for word"
            yield Offsets.of(f"{name}, words begin", whose, weights, starts_s, note)
            yield Offsets.of(f"{name}, words end", whose, weights, ends_s, note)
            yield Offsets.of(f"{name}, the last word's sound ends (`speech_end_s`)", whose, weights, last_s, note)


def _job(path: Path, take: Take) -> AlignmentJob:
    write_wav(path, take.samples)
    return AlignmentJob(clip_id=path.stem, audio_path=path, script=" ".join(word.text for word in take.words), language="en")


def truths(sounds: Sounds) -> Iterator[Offsets]:
    """The times that all others are held against: espeak's events and the edges of people's files, against the power of the sound."""
    synthesizer = Synthesizer()
    spoken = [
        (word, synthesizer.speak(word, voice=voice, words_per_minute=rate))
        for voice in HELDOUT_CAST.voices
        for word in WORDS
        for rate in (150, 185)
    ]
    for below_db in EDGES_DB:
        heard = [(word, said, _sounding_s(said.samples, below_db)) for word, said in spoken]
        sound = f"{SIMULATED}, single words"
        for name, chosen in (
            ('but "two"', [one for one in heard if one[0] != "two"]),
            ('"two": the closure of its t', [one for one in heard if one[0] == "two"]),
        ):
            offsets_s = [said.words[0].start_s - begin_s for _, said, (begin_s, _) in chosen]
            yield Offsets.of(f"espeak's word begins ({name})", sound, "none", offsets_s, f"sound {below_db:g} dB below its loudest")
        offsets_s = [said.words[-1].end_s - end_s for _, said, (_, end_s) in heard]
        yield Offsets.of("espeak's word ends", sound, "none", offsets_s, f"sound {below_db:g} dB below its loudest")
    if sounds.digits is None:
        return
    for below_db in EDGES_DB:
        by_speaker: dict[str, list[tuple[float, float]]] = {}
        for path in sorted(digits_folder().glob("*.wav")):
            samples = read_audio(path)
            begin_s, end_s = _sounding_s(samples, below_db)
            by_speaker.setdefault(path.stem.split("_")[1], []).append((-begin_s, len(samples) / SAMPLE_RATE_HZ - end_s))
        for what, column in (("begins", 0), ("ends", 1)):
            medians = ", ".join(f"{who} {in_ms(1000 * float(np.median([one[column] for one in cut])))}" for who, cut in by_speaker.items())
            offsets_s = [one[column] for cut in by_speaker.values() for one in cut]
            note = f"sound {below_db:g} dB below its loudest; medians: {medians}"
            yield Offsets.of(
                f"a digit {what}: its file's edge (the truth until 2026-11-26)", f"{PEOPLE}, all files", "none", offsets_s, note
            )


def _sounding_s(samples: np.ndarray, below_db: float) -> tuple[float, float]:
    first, last = sounding(samples, below_db)
    return first / SAMPLE_RATE_HZ, last / SAMPLE_RATE_HZ
